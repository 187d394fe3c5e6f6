//! Which users are in a rollout: a hash of salt and subject, compared with the share.
//!
//! Both sides are whole numbers of thousandths of a percent, so the answer is the same on every
//! machine. A share only moves the limit: whoever is in at 10 % is in at 50 %, and whoever leaves
//! when it sinks comes back first when it rises.

use std::{fmt, io::Read};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{config::Algorithm, units::Percent};

/// Buckets are numbered from 0 to one less than this; each is a thousandth of a percent of users.
pub const BUCKETS: u32 = 100_000;
/// Buckets in one percent of users.
const PER_PERCENT: u32 = BUCKETS / 100;

/// Which of the two routes serves a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Variant {
    /// The models in use so far.
    Control,
    /// The models being rolled out.
    Candidate,
}

/// Who is assigned: a user of the database, or whatever id an API caller brings.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Subject {
    /// A positive user id.
    User(i64),
    /// An opaque id, not empty.
    Opaque(String),
}

impl Subject {
    /// A user; `None` unless the id is positive.
    pub fn user(id: i64) -> Option<Self> {
        (id > 0).then_some(Self::User(id))
    }

    /// Reads an id: a positive whole number is a user's, any other text that is not a number is
    /// opaque. `None` for an empty text and for numbers that no user can have: 0, negative,
    /// fractional (docs/compatibility.md, C3).
    pub fn parse(text: &str) -> Option<Self> {
        let text = text.trim();
        let unsigned = text.strip_prefix('-').unwrap_or(text);
        let digits = |part: &str| !part.is_empty() && part.bytes().all(|b| b.is_ascii_digit());
        let whole = digits(unsigned);
        let fraction = unsigned
            .split_once('.')
            .is_some_and(|(whole, fraction)| digits(whole) && digits(fraction));
        if text.is_empty() || fraction || (whole && unsigned.len() < text.len()) {
            return None;
        }
        match text.parse() {
            Ok(0) => None,
            Ok(id) if whole && !text.starts_with('0') => Self::user(id),
            // Digits that begin with 0 or are no `i64` name something other than a user.
            _ => Some(Self::Opaque(text.to_owned())),
        }
    }
}

impl Subject {
    /// A stable 64-bit hash, for evidence that has to tell subjects apart and need not know them:
    /// half of `murmur3_x64_128` of the id, seed 0.
    pub fn key(&self) -> u64 {
        let hash = murmur3::murmur3_x64_128(&mut self.to_string().as_bytes(), 0);
        // Reading from memory cannot fail.
        hash.unwrap_or_default() as u64
    }
}

impl fmt::Display for Subject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::User(id) => id.fmt(f),
            Self::Opaque(id) => id.fmt(f),
        }
    }
}

/// The subject's bucket, below [`BUCKETS`].
///
/// `murmur3-100k` is `murmur3_x86_32("salt:subject", seed 0) · 100,000 / 2³²`. `legacy-modulo` is
/// `id mod 100`, in thousandths of a percent; the TypeScript server knew no opaque ids, so these are
/// hashed there too.
pub fn bucket(algorithm: Algorithm, salt: &str, subject: &Subject) -> u32 {
    match (algorithm, subject) {
        (Algorithm::LegacyModulo, Subject::User(id)) => id.rem_euclid(100) as u32 * PER_PERCENT,
        (_, Subject::User(id)) => hashed(salt, &id.to_string()),
        (_, Subject::Opaque(id)) => hashed(salt, id),
    }
}

/// Whether a bucket is below the share.
pub fn is_in(bucket: u32, share: Percent) -> bool {
    bucket < threshold(share)
}

/// The first bucket that is out: 0 lets nobody in, [`BUCKETS`] everybody.
pub fn threshold(share: Percent) -> u32 {
    // A share is 0 to 100 by its type, so this is 0 to 100,000.
    (share.get() * f64::from(PER_PERCENT)).round() as u32
}

fn hashed(salt: &str, id: &str) -> u32 {
    let mut text = salt.as_bytes().chain(&b":"[..]).chain(id.as_bytes());
    // Reading from memory cannot fail; if it did, the subject would be the last to come in.
    let hash = murmur3::murmur3_32(&mut text, 0).unwrap_or(u32::MAX);
    ((u64::from(hash) * u64::from(BUCKETS)) >> 32) as u32
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const ALGORITHMS: [Algorithm; 2] = [Algorithm::Murmur3, Algorithm::LegacyModulo];

    fn percent(value: f64) -> Percent {
        Percent::new(value).expect("a percentage")
    }

    #[test]
    fn hash_is_murmur3_x86_32() {
        for (text, hash) in [
            ("", 0),
            ("a", 1_009_084_850),
            ("hello", 613_153_351),
            ("gr1:123", 538_421_172),
            ("groupX:999", 3_843_606_124),
        ] {
            let computed = murmur3::murmur3_32(&mut text.as_bytes(), 0).expect("no I/O");
            assert_eq!(computed, hash, "{text}");
        }
    }

    #[test]
    fn hash_agrees_with_unleash() {
        // n = hash mod 100 + 1, published by Unleash.
        for (group, id, n) in [("gr1", "123", 73), ("groupX", "999", 25)] {
            let mut text = group.as_bytes().chain(&b":"[..]).chain(id.as_bytes());
            let hash = murmur3::murmur3_32(&mut text, 0).expect("no I/O");
            assert_eq!(hash % 100 + 1, n, "{group}:{id}");
        }
    }

    #[test]
    fn bucket_is_the_hash_scaled_to_100000() {
        let user = bucket(Algorithm::Murmur3, "gr1", &Subject::User(123));
        assert_eq!(user, (538_421_172_u64 * 100_000 / (1 << 32)) as u32);
        let opaque = bucket(Algorithm::Murmur3, "gr1", &Subject::Opaque("123".into()));
        assert_eq!(
            opaque, user,
            "the same id on two ways in is the same subject"
        );
    }

    #[test]
    fn legacy_modulo_is_where_the_typescript_server_had_users() {
        for (id, percent_in) in [(9, 10.0), (109, 10.0), (100, 1.0), (i64::MAX, 8.0)] {
            let bucket = bucket(Algorithm::LegacyModulo, "any", &Subject::User(id));
            assert!(is_in(bucket, percent(percent_in)), "{id}");
            assert!(!is_in(bucket, percent(percent_in - 1.0)), "{id}");
        }
    }

    #[test]
    fn ids_are_users_or_opaque_and_never_impossible_numbers() {
        assert_eq!(Subject::parse(" 42 "), Some(Subject::User(42)));
        let digits = "99999999999999999999";
        for opaque in [
            "team-a", "a b", "007", digits, "1e5", "nan", "-", "1.2.3", "a@b.c",
        ] {
            assert_eq!(Subject::parse(opaque), Some(Subject::Opaque(opaque.into())));
        }
        for refused in [
            "", "  ", "0", "00", "-0", "-5", "1.5", "0.5", "-1.5", "10.0",
        ] {
            assert_eq!(Subject::parse(refused), None, "{refused}");
        }
    }

    #[test]
    fn a_share_is_exact_to_a_thousandth_of_a_percent() {
        for (share, limit) in [
            (0.0, 0),
            (0.001, 1),
            (0.1, 100),
            (12.5, 12_500),
            (33.333, 33_333),
        ] {
            assert_eq!(threshold(percent(share)), limit, "{share}");
        }
        assert_eq!(threshold(Percent::FULL), BUCKETS);
    }

    proptest! {
        #[test]
        fn nobody_at_0_everybody_at_100(salt in ".{0,20}", id in 1..i64::MAX, text in ".{1,40}") {
            for algorithm in ALGORITHMS {
                for subject in [Subject::User(id), Subject::Opaque(text.clone())] {
                    let bucket = bucket(algorithm, &salt, &subject);
                    prop_assert!(bucket < BUCKETS);
                    prop_assert!(!is_in(bucket, Percent::ZERO));
                    prop_assert!(is_in(bucket, Percent::FULL));
                }
            }
        }

        #[test]
        fn who_is_in_stays_in_when_the_share_grows(
            salt in "[a-z0-9]{1,20}",
            id in 1..i64::MAX,
            mut shares in prop::collection::vec(0.0..=100.0, 2..20),
        ) {
            shares.sort_by(f64::total_cmp);
            for algorithm in ALGORITHMS {
                let bucket = bucket(algorithm, &salt, &Subject::User(id));
                let ins: Vec<_> = shares.iter().map(|share| is_in(bucket, percent(*share))).collect();
                prop_assert!(ins.is_sorted(), "{ins:?}");
            }
        }
    }

    #[test]
    fn the_users_of_a_share_are_a_subset_of_those_of_any_larger_one() {
        let buckets: Vec<_> = (1..=20_000)
            .map(|id| bucket(Algorithm::Murmur3, "salt", &Subject::User(id)))
            .collect();
        let mut before = vec![false; buckets.len()];
        for tenth in 0..=1000 {
            let share = percent(f64::from(tenth) / 10.0);
            for (was_in, bucket) in before.iter_mut().zip(&buckets) {
                let now_in = is_in(*bucket, share);
                assert!(now_in || !*was_in, "somebody left at {share} %");
                *was_in = now_in;
            }
        }
        assert!(before.iter().all(|is_in| *is_in));
    }

    /// χ² of 100 cells over 100,000 users; 99 degrees of freedom, so 167 is p ≈ 2·10⁻⁵.
    #[test]
    fn users_spread_evenly_over_the_buckets() {
        for salt in ["modelramp", "", "a", "0193f0c2"] {
            let mut cells = [0_u32; 100];
            for id in 1..=100_000 {
                let bucket = bucket(Algorithm::Murmur3, salt, &Subject::User(id));
                cells[(bucket / PER_PERCENT) as usize] += 1;
            }
            let chi: f64 = cells
                .iter()
                .map(|count| (f64::from(*count) - 1000.0).powi(2) / 1000.0)
                .sum();
            assert!((50.0..167.0).contains(&chi), "salt `{salt}`: χ² = {chi}");
        }
    }

    /// Who is in under one salt says nothing about another: |z| < 5 for all pairs, at 10 % and 50 %.
    #[test]
    fn two_salts_choose_independently() {
        const USERS: i64 = 5_000;
        const SALTS: usize = 20;
        let rollouts: Vec<Vec<u32>> = (0..SALTS)
            .map(|n| {
                let salt = format!("salt-{n}");
                let of = |id| bucket(Algorithm::Murmur3, &salt, &Subject::User(id));
                (1..=USERS).map(of).collect()
            })
            .collect();
        for share in [10.0, 50.0] {
            let p = share / 100.0;
            let share = percent(share);
            for (n, first) in rollouts.iter().enumerate() {
                for (m, second) in rollouts.iter().enumerate().skip(n + 1) {
                    let both = first
                        .iter()
                        .zip(second)
                        .filter(|(a, b)| is_in(**a, share) && is_in(**b, share))
                        .count() as f64;
                    let mean = USERS as f64 * p * p;
                    let z = (both - mean) / (mean * (1.0 - p * p)).sqrt();
                    assert!(z.abs() < 5.0, "salts {n} and {m} at {share} %: z = {z}");
                }
            }
        }
    }
}
