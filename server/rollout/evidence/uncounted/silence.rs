//! Whether the candidate has stopped answering, or never began, while control answers.
//!
//! What is looked at is the run of its first attempts since its last good answer: [`ENOUGH`] of them,
//! whatever their ends, is more than chance. What could be one user rather than the model is asked
//! for: a script that repeats a request which is too long makes such a run alone. So the run has to
//! be of as many users as the candidate has had within a day, [`USERS`] at most; a candidate with one
//! user is judged by that one.
//!
//! Control has to give good answers within the same run. Near the end of a ramp it may have no user who
//! asks just then; there a longer run decides, by what control did last. Of ends that an outage of both
//! arms looks like (a 5xx, a timeout, a broken connection) the run has to be so long that control would
//! have shown.
//!
//! At any share all who ask may be the candidate's, as where everybody is behind one id. A run as long that lasts for a
//! day, in which nobody asks control, decides there: no outage of both sides is meant to last that long.

use serde::{Deserialize, Serialize};

use super::{super::Edition, RequestEnd};
use crate::_core::{assignment::Variant, units::Percent};

/// First attempts without a good answer.
const ENOUGH: u64 = 20;
/// The same where control is silent, of ends that no outage looks like.
const ENOUGH_ALONE: u64 = 40;
/// How probable it may be that control, if it asks as its share of users does, is silent by chance.
const UNSEEN: f64 = 0.01;
/// Users who have to be in the run, where the candidate has so many.
const USERS: usize = 4;
/// A user counts as the candidate's for so long: a day.
const PRESENT_MS: i64 = DAY_MS;
const DAY_MS: i64 = 86_400_000;
/// Good answers of control within the run.
const CONTROL_GOOD: u64 = 2;
/// Failures in a row after which an outage, if it is one, has begun for sure; one good answer of control is enough then,
/// where control is asked seldom.
const UNDER_WAY: u64 = 3;
/// From this share on control may have nobody who asks.
const NEARLY_ALL: f64 = 90.0;
/// Ends of control's attempts that are remembered.
const REMEMBERED: u32 = 16;

/// The run of the candidate's first attempts since its last good answer.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct Silence {
    attempts: u64,
    /// Of them, those that no outage looks like.
    #[serde(default)]
    its_own: u64,
    /// Since the run began: control's good answers and its other attempts.
    control: [u64; 2],
    /// Control's good answers since the run was [`UNDER_WAY`]; not kept by editions before the fifth.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    good_since: Option<u64>,
    /// The candidate's last users, the newest first.
    users: Vec<User>,
    /// Control's last attempts, a bit each; 1 is good.
    last_of_control: u16,
    remembered: u32,
    /// Since when every attempt is the candidate's and fails; not kept by editions before the eighth.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    alone_since_ms: Option<i64>,
}

#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
struct User {
    subject: u64,
    at_ms: i64,
    in_run: bool,
}

impl Silence {
    pub(super) fn new(edition: Edition) -> Self {
        Self {
            good_since: (edition >= Edition::Fifth).then_some(0),
            ..Self::default()
        }
    }

    /// As if nothing had been seen.
    pub(super) fn begin_anew(&mut self) {
        *self = Self {
            good_since: self.good_since.map(|_| 0),
            ..Self::default()
        };
    }

    /// Takes note of an attempt; whether something may now be proven that was not.
    pub(super) fn fold(
        &mut self,
        edition: Edition,
        arm: Variant,
        subject: u64,
        end: RequestEnd,
        at_ms: i64,
    ) -> bool {
        let is_good = end == RequestEnd::Answered;
        if arm == Variant::Control || is_good {
            self.alone_since_ms = None;
        } else if edition >= Edition::Eighth {
            self.alone_since_ms = self.alone_since_ms.or(Some(at_ms));
        }
        if arm == Variant::Control {
            self.last_of_control = self.last_of_control << 1 | u16::from(is_good);
            self.remembered = (self.remembered + 1).min(REMEMBERED);
            if self.attempts > 0 {
                self.control[usize::from(!is_good)] += 1;
            }
            if self.attempts >= UNDER_WAY
                && let Some(good) = &mut self.good_since
            {
                *good += u64::from(is_good);
            }
        } else {
            if is_good {
                self.attempts = 0;
                self.its_own = 0;
                self.control = [0; 2];
                self.good_since = self.good_since.map(|_| 0);
                self.users.iter_mut().for_each(|user| user.in_run = false);
            } else {
                self.attempts += 1;
                self.its_own += u64::from(!end.is_like_an_outage());
            }
            self.users.retain(|user| {
                user.subject != subject && at_ms.saturating_sub(user.at_ms) < PRESENT_MS
            });
            self.users.truncate(USERS - 1);
            let in_run = !is_good;
            let user = User {
                subject,
                at_ms,
                in_run,
            };
            self.users.insert(0, user);
        }
        self.attempts >= ENOUGH
    }

    /// The candidate's first attempts since its last good answer.
    pub(super) fn attempts(&self) -> u64 {
        self.attempts
    }

    /// Whether the candidate gives no answer, and control does.
    pub(super) fn is_proven(&self, share: Percent) -> bool {
        if self.attempts < ENOUGH || self.users.iter().any(|user| !user.in_run) {
            return false;
        }
        if self.attempts >= ENOUGH_ALONE && self.is_alone() && self.control_answers() {
            return true;
        }
        let [good, other] = self.control;
        let is_answered = self.good_since.is_some_and(|good| good > 0);
        if share.get() >= NEARLY_ALL && is_answered && other == 0 {
            return true;
        }
        if good + other >= CONTROL_GOOD {
            return good >= CONTROL_GOOD && good > other;
        }
        let is_long = share >= Percent::FULL
            || self.its_own >= ENOUGH_ALONE
            || self.attempts as f64 >= shown_after(share);
        share.get() >= NEARLY_ALL && is_long && other == 0 && self.control_answers()
    }

    /// Whether from the first to the last attempt of a day all were the candidate's, and failed. That time passes in which
    /// nobody asks either side says nothing.
    pub(super) fn is_alone(&self) -> bool {
        let newest = self.users.first();
        newest.is_some_and(|newest| self.is_alone_until(newest.at_ms))
    }

    /// The same from the first attempt to this moment.
    pub(super) fn is_alone_until(&self, at_ms: i64) -> bool {
        let is_long = |since: i64| at_ms.saturating_sub(since) >= DAY_MS;
        self.alone_since_ms.is_some_and(is_long)
    }

    /// Whether most of control's last attempts were good, if there were any.
    pub(super) fn control_answers(&self) -> bool {
        let mask = u16::try_from((1_u32 << self.remembered) - 1).unwrap_or(u16::MAX);
        let good = (self.last_of_control & mask).count_ones();
        self.remembered == 0 || 2 * good > self.remembered
    }
}

/// The candidate's attempts within which control shows, whatever the ends are; at least
/// [`ENOUGH_ALONE`].
fn shown_after(share: Percent) -> f64 {
    let attempts = UNSEEN.ln() / (share.get() / 100.0).ln();
    attempts.max(ENOUGH_ALONE as f64)
}

#[cfg(test)]
mod tests {
    use Variant::{Candidate, Control};

    use super::{super::UncountedKind, *};

    const REFUSED: RequestEnd = RequestEnd::Uncounted(UncountedKind::Refused);

    fn share(percent: f64) -> Percent {
        Percent::new(percent).expect("a share")
    }

    /// Attempts of arm, user, good.
    fn after(attempts: impl IntoIterator<Item = (Variant, u64, bool)>) -> Silence {
        let mut silence = Silence::default();
        for (n, (arm, user, good)) in (0..).zip(attempts) {
            let end = if good { RequestEnd::Answered } else { REFUSED };
            silence.fold(Edition::NEWEST, arm, user, end, n * 100);
        }
        silence
    }

    fn by_turns(n: i32) -> Variant {
        if n % 2 == 0 { Control } else { Candidate }
    }

    fn silent(attempts: u64, users: u64) -> impl Iterator<Item = (Variant, u64, bool)> {
        (0..attempts).flat_map(move |n| {
            [
                (Candidate, n % users, false),
                (Control, 1_000 + n % 9, true),
            ]
        })
    }

    #[test]
    fn twenty_attempts_without_an_answer_are_enough_and_nineteen_are_not() {
        for users in 1..=4 {
            assert!(
                !after(silent(19, users)).is_proven(share(10.0)),
                "{users} users"
            );
            assert!(
                after(silent(20, users)).is_proven(share(10.0)),
                "{users} users"
            );
        }
    }

    #[test]
    fn one_user_who_is_never_answered_says_nothing_where_there_are_others() {
        let others = (0..10).map(|user| (Candidate, 100 + user, true));
        let after = after(others.chain(silent(1_000, 1)));
        assert!(!after.is_proven(share(10.0)), "a script that repeats");
    }

    #[test]
    fn one_good_answer_ends_the_run() {
        let attempts = silent(19, 4)
            .chain([(Candidate, 7, true)])
            .chain(silent(19, 4));
        assert!(!after(attempts).is_proven(share(10.0)));
    }

    #[test]
    fn a_control_that_fails_as_well_blames_nobody() {
        let attempts = (0..200).map(|n| (by_turns(n), (n % 9) as u64, false));
        assert!(!after(attempts).is_proven(share(50.0)));
        let mostly = (0..200).map(|n| (by_turns(n), (n % 9) as u64, n % 2 == 0 && n % 10 == 0));
        assert!(!after(mostly).is_proven(share(50.0)));
    }

    #[test]
    fn where_control_has_nobody_who_asks_a_longer_run_decides() {
        let candidate = |attempts: u64| (0..attempts).map(|n| (Candidate, n % 9, false));
        let known = || (0..20).map(|user| (Control, user, true));
        let cases = [
            (39, 95.0, false),
            (40, 95.0, true),
            (40, 99.0, true),
            (20, 100.0, true),
            (1_000, 50.0, false),
        ];
        for (attempts, percent, proven) in cases {
            let silence = after(known().chain(candidate(attempts)));
            assert_eq!(silence.is_proven(share(percent)), proven, "{percent} %");
        }
        let failing = (0..20).map(|user| (Control, user, false));
        let silence = after(failing.chain(candidate(100)));
        assert!(!silence.is_proven(share(99.0)), "control failed at last");
    }

    #[test]
    fn where_control_is_asked_seldom_one_good_answer_in_the_midst_of_a_run_is_enough() {
        let run = |edition, before: usize, percent| {
            let mut silence = Silence::new(edition);
            for n in 0..20 {
                if n == before {
                    silence.fold(Edition::NEWEST, Control, 1_000, RequestEnd::Answered, 0);
                }
                silence.fold(
                    Edition::NEWEST,
                    Candidate,
                    n as u64 % 9,
                    RequestEnd::Failed,
                    0,
                );
            }
            silence.is_proven(share(percent))
        };
        assert!(run(Edition::Fifth, 3, 95.0));
        assert!(!run(Edition::Fifth, 2, 95.0), "it may have begun after");
        assert!(!run(Edition::Fifth, 3, 50.0), "control is asked often");
        assert!(!run(Edition::Fourth, 3, 95.0));
    }

    #[test]
    fn a_day_of_failures_in_which_nobody_asks_control_is_enough_at_any_share() {
        const HOUR_MS: i64 = DAY_MS / 24;
        let hours = |edition, attempts: i64, control: Option<(i64, RequestEnd)>| {
            let mut silence = Silence::new(edition);
            silence.fold(edition, Candidate, 1, RequestEnd::Answered, -1);
            for n in 0..attempts {
                let at_ms = n * HOUR_MS / 2;
                silence.fold(edition, Candidate, 1, RequestEnd::Failed, at_ms);
                if let Some((_, end)) = control.filter(|(when, _)| *when == n) {
                    silence.fold(edition, Control, 2, end, at_ms);
                }
            }
            silence.is_proven(share(50.0))
        };
        let newest = Edition::NEWEST;
        assert!(hours(newest, 49, None));
        assert!(!hours(newest, 48, None), "not a day yet");
        assert!(!hours(Edition::Seventh, 1_000, None));
        assert!(
            !hours(newest, 60, Some((30, RequestEnd::Answered))),
            "control was asked"
        );
        assert!(
            !hours(newest, 90, Some((3, RequestEnd::Failed))),
            "and it failed at last"
        );
        let mut few = Silence::new(newest);
        for n in 0..30 {
            few.fold(newest, Candidate, 1, RequestEnd::Failed, n * HOUR_MS);
        }
        assert!(few.is_alone() && !few.is_proven(share(50.0)), "too few");
    }

    #[test]
    fn an_outage_of_both_arms_blames_nobody_before_control_would_have_shown() {
        let outage = |attempts: u64, end: RequestEnd| {
            let mut silence = after((0..20).map(|user| (Control, user, true)));
            for n in 0..attempts {
                silence.fold(Edition::NEWEST, Candidate, n % 9, end, 10_000);
            }
            silence
        };
        for (percent, attempts) in [(90.0, 44), (95.0, 90), (98.0, 228), (99.0, 459)] {
            for end in [RequestEnd::Failed, RequestEnd::TimedOut] {
                let short = outage(attempts - 1, end);
                assert!(!short.is_proven(share(percent)), "{percent} %");
                let long = outage(attempts, end);
                assert!(long.is_proven(share(percent)), "{percent} %");
            }
        }
        for end in [RequestEnd::FailedAlone, REFUSED] {
            for percent in [90.0, 99.0] {
                assert!(!outage(39, end).is_proven(share(percent)), "{end:?}");
                assert!(outage(40, end).is_proven(share(percent)), "{end:?}");
            }
        }
        let mut seen = outage(458, RequestEnd::Failed);
        seen.fold(Edition::NEWEST, Control, 1, RequestEnd::Failed, 10_000);
        seen.fold(Edition::NEWEST, Candidate, 1, RequestEnd::Failed, 10_000);
        assert!(!seen.is_proven(share(99.0)), "control fails as well");
    }

    #[test]
    fn users_who_left_a_day_ago_are_not_asked_for() {
        let mut silence = Silence::default();
        silence.fold(Edition::NEWEST, Candidate, 1, RequestEnd::Answered, 0);
        for n in 0..20 {
            silence.fold(Edition::NEWEST, Candidate, 2, REFUSED, 1_000 + n);
            silence.fold(Edition::NEWEST, Control, 3, RequestEnd::Answered, 1_000 + n);
        }
        assert!(!silence.is_proven(share(10.0)));
        silence.fold(Edition::NEWEST, Candidate, 2, REFUSED, PRESENT_MS);
        assert!(silence.is_proven(share(10.0)));
    }
}
