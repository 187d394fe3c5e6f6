//! How long each user's requests take, as it was in the week before a rollout.
//!
//! How long a request takes is first of all a property of who asks: of the prompts, the tasks and the
//! region. Where users differ, a few slow ones in the smaller arm look like a slow model. So users are
//! compared with those who were as slow before, and each latency is measured in the usual ones of its class.

use serde::{Deserialize, Serialize};

/// How many classes there are, beside users without a past.
pub(super) const COUNT: usize = 12;
/// Where requests are compared: each class and users without a past, of streams and of other answers.
pub(super) const STRATA: usize = 2 * (COUNT + 1);
/// No class is narrower; of the logarithm.
const NARROWEST: f64 = 0.1;
/// Standard deviations between users that all classes together span.
const SPAN: f64 = 5.0;

/// Sums over the logarithms of latencies.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct LogLatencies {
    /// How many latencies were summed.
    pub count: u32,
    /// Of ln(ms).
    pub sum: f64,
    /// Of ln(ms)².
    pub squares: f64,
}

impl LogLatencies {
    /// Adds a latency in milliseconds, as at least 1; one that is no number is left out.
    pub fn add(&mut self, ms: f64) {
        if ms.is_finite() {
            let log = ms.max(1.0).ln();
            self.count = self.count.saturating_add(1);
            self.sum += log;
            self.squares += log * log;
        }
    }

    /// The same of latencies that all are e to this power times as long.
    fn scaled(&self, log: f64) -> Self {
        let n = f64::from(self.count);
        Self {
            count: self.count,
            sum: self.sum + n * log,
            squares: self.squares + 2.0 * log * self.sum + n * log * log,
        }
    }

    fn plus(&self, other: Self) -> Self {
        Self {
            count: self.count.saturating_add(other.count),
            sum: self.sum + other.sum,
            squares: self.squares + other.squares,
        }
    }

    fn mean(&self) -> f64 {
        self.sum / f64::from(self.count)
    }
}

/// What users' whole answers and the first words of their streams took, as one: first words as if they took as long
/// as whole answers do on average, so that who streams is not taken for who is fast.
pub(super) fn together(
    users: impl Iterator<Item = [LogLatencies; 2]> + Clone,
) -> impl Iterator<Item = LogLatencies> + Clone {
    let sum = |part: usize| {
        let of_all = users.clone().map(|user| user[part]);
        of_all.fold(LogLatencies::default(), |sum, user| sum.plus(user))
    };
    let [whole, first_words] = [sum(0), sum(1)];
    let log = match (whole.count, first_words.count) {
        (0, _) | (_, 0) => 0.0,
        _ => whole.mean() - first_words.mean(),
    };
    users.map(move |[whole, first_words]| match first_words.count {
        0 => whole,
        _ => whole.plus(first_words.scaled(log)),
    })
}

/// Where requests of users of a class are compared, from 0 to [`STRATA`] exclusive: streams apart.
pub(super) fn stratum(class: usize, is_streamed: bool) -> usize {
    class + if is_streamed { COUNT + 1 } else { 0 }
}

/// Whether that is where requests of users without a past are.
pub(super) fn is_without_past(stratum: usize) -> bool {
    stratum.is_multiple_of(COUNT + 1)
}

/// Classes of users by their mean log latency, all of one width around the mean of all users.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct Classes {
    middle: f64,
    width: f64,
    /// Requests that the mean of all weighs in the estimate of a user's own, so that few say little.
    prior: f64,
}

impl Classes {
    /// From what is known of each user. The spread between users is what is left of the spread between
    /// their means when the spread within users is taken off.
    pub(super) fn of(users: impl Iterator<Item = LogLatencies> + Clone) -> Self {
        let users = users.filter(|user| user.count > 0);
        let count = users.clone().count() as f64;
        if count < 2.0 {
            return Self::default();
        }
        let middle = users.clone().map(|user| user.mean()).sum::<f64>() / count;
        let (mut within, mut freedom, mut between, mut share) = (0.0, 0.0, 0.0, 0.0);
        for user in users {
            let n = f64::from(user.count);
            within += user.squares - n * user.mean().powi(2);
            freedom += n - 1.0;
            between += (user.mean() - middle).powi(2) / (count - 1.0);
            share += 1.0 / n / count;
        }
        let within = if freedom > 0.0 {
            (within / freedom).max(0.0)
        } else {
            0.0
        };
        let spread = (between - within * share).max(1e-6);
        Self {
            middle,
            width: (SPAN * spread.sqrt() / COUNT as f64).max(NARROWEST),
            prior: within / spread,
        }
    }

    /// The class of a user, from 1 to [`COUNT`].
    pub(super) fn class(&self, user: LogLatencies) -> u32 {
        let n = f64::from(user.count);
        let own = n * (user.mean() - self.middle) / (n + self.prior);
        let place = own / self.width + COUNT as f64 / 2.0;
        // The cast saturates, and turns what is no number into 0.
        1 + (place as u32).min(COUNT as u32 - 1)
    }

    /// How many times the usual latency the requests of a class take; 1 without a past.
    pub(super) fn usual(&self, class: usize) -> f64 {
        if class == 0 {
            return 1.0;
        }
        ((class as f64 - 0.5 - COUNT as f64 / 2.0) * self.width).exp()
    }

    /// The usual latency of the slowest class.
    pub(super) fn slowest(&self) -> f64 {
        self.usual(COUNT)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A user whose latencies are so many times and a fifth more or less than `ms`.
    fn user(ms: f64, count: u32) -> LogLatencies {
        let mut user = LogLatencies::default();
        for n in 0..count {
            user.add(ms * if n % 2 == 0 { 0.8 } else { 1.25 });
        }
        user
    }

    #[test]
    fn users_are_in_the_class_of_their_latency() {
        let users: Vec<_> = (0..100)
            .map(|n| user(1_000.0 * 1.03_f64.powi(n - 50), 40))
            .collect();
        let classes = Classes::of(users.iter().copied());
        let of: Vec<_> = users.iter().map(|it| classes.class(*it)).collect();
        assert!(of.is_sorted());
        let distinct = of.iter().collect::<std::collections::BTreeSet<_>>();
        assert!(distinct.len() >= 8, "{of:?}");
        for (user, class) in users.iter().zip(of) {
            let usual = 1_000.0 * classes.usual(class as usize);
            let ratio = user.mean().exp() / usual;
            assert!((0.7..1.4).contains(&ratio), "{ratio} in class {class}");
        }
        assert!(classes.slowest() > 2.0);
    }

    #[test]
    fn few_requests_say_little() {
        let users: Vec<_> = (0..50)
            .map(|n| user(800.0 + 8.0 * f64::from(n), 20))
            .collect();
        let classes = Classes::of(users.into_iter());
        let middle = classes.class(user(1_000.0, 20));
        assert!(classes.class(user(1_300.0, 2)) < classes.class(user(1_300.0, 200)));
        assert!(classes.class(user(1_300.0, 200)) > middle);
    }

    #[test]
    fn nothing_known_is_one_class() {
        let classes = Classes::of([user(500.0, 9)].into_iter());
        assert_eq!(classes.usual(0), 1.0);
        assert!(classes.slowest().is_finite());
        let mut absurd = LogLatencies::default();
        [f64::NAN, f64::INFINITY, -1.0, 0.0]
            .into_iter()
            .for_each(|ms| absurd.add(ms));
        assert_eq!(absurd.count, 2);
        let classes = Classes::of([absurd, user(1e300, 3)].into_iter());
        assert!((1..=COUNT as u32).contains(&classes.class(user(1e-300, 1))));
    }
}
