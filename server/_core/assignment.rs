//! Which users are in a rollout: a hash of salt and subject, compared with the share.
//!
//! Both sides are whole numbers of thousandths of a percent, so the answer is the same on every
//! machine. A share only moves the limit: whoever is in at 10 % is in at 50 %, and whoever leaves
//! when it sinks comes back first when it rises.
//!
//! Besides its own algorithm there are those of other systems, so that a team that comes from one
//! keeps its users where they are: the same share takes exactly the same users. What the salt is in
//! each, and how a system's own comparison becomes `bucket < limit`, is said in its file.

mod flagd;
mod growthbook;
mod launchdarkly;
mod unleash;

use std::{fmt, io::Read};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::units::Percent;

/// Buckets are numbered from 0 to one less than this; each is a thousandth of a percent of users.
pub const BUCKETS: u32 = 100_000;
/// Buckets in one percent of users.
const PER_PERCENT: u32 = BUCKETS / 100;

/// How a subject becomes a bucket; kept with a rollout and never changed in flight.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum Algorithm {
    /// Salted murmur3 into 100,000 buckets.
    #[serde(rename = "murmur3-100k")]
    Murmur3,
    /// `id % 100`, as the TypeScript server did.
    #[serde(rename = "legacy-modulo")]
    LegacyModulo,
    /// As Unleash's `flexibleRollout`.
    #[serde(rename = "unleash")]
    Unleash,
    /// As flagd's `fractional`, second version.
    #[serde(rename = "flagd")]
    Flagd,
    /// As GrowthBook's hash, version 2.
    #[serde(rename = "growthbook-v2")]
    GrowthBookV2,
    /// As LaunchDarkly's percentage rollouts.
    #[serde(rename = "launchdarkly")]
    LaunchDarkly,
}

impl Algorithm {
    /// All of them.
    pub const ALL: [Self; 6] = [
        Self::Murmur3,
        Self::LegacyModulo,
        Self::Unleash,
        Self::Flagd,
        Self::GrowthBookV2,
        Self::LaunchDarkly,
    ];

    /// As in settings and on the wire.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Murmur3 => "murmur3-100k",
            Self::LegacyModulo => "legacy-modulo",
            Self::Unleash => "unleash",
            Self::Flagd => "flagd",
            Self::GrowthBookV2 => "growthbook-v2",
            Self::LaunchDarkly => "launchdarkly",
        }
    }
}

/// Which of the two sides serves a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Variant {
    /// The models in use so far.
    Control,
    /// The models being rolled out.
    Candidate,
}

impl Variant {
    /// In lower case, as it is serialised.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Control => "control",
            Self::Candidate => "candidate",
        }
    }
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
    /// A stable 64-bit hash, for evidence, which has to distinguish subjects and need not know them:
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
/// hashed there too. The salt is the group id in `unleash`, the flag key in `flagd`, the seed in
/// `growthbook-v2`, and in `launchdarkly` the flag key, a dot and the flag's salt, or the rollout's
/// seed.
pub fn bucket(algorithm: Algorithm, salt: &str, subject: &Subject) -> u32 {
    let number;
    let id = match subject {
        Subject::User(id) => {
            number = id.to_string();
            &number
        }
        Subject::Opaque(id) => id,
    };
    match (algorithm, subject) {
        (Algorithm::LegacyModulo, Subject::User(id)) => id.rem_euclid(100) as u32 * PER_PERCENT,
        (Algorithm::Murmur3 | Algorithm::LegacyModulo, _) => scaled(murmur3_32(salt, ":", id)),
        (Algorithm::Unleash, _) => unleash::bucket(salt, id),
        (Algorithm::Flagd, _) => flagd::bucket(salt, id),
        (Algorithm::GrowthBookV2, _) => growthbook::bucket(salt, id),
        (Algorithm::LaunchDarkly, _) => launchdarkly::bucket(salt, id),
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

/// `murmur3_x86_32`, seed 0.
fn murmur3_32(salt: &str, separator: &str, id: &str) -> u32 {
    let text = salt.as_bytes().chain(separator.as_bytes());
    // Reading from memory cannot fail; if it did, the subject would be the last to come in.
    murmur3::murmur3_32(&mut text.chain(id.as_bytes()), 0).unwrap_or(u32::MAX)
}

/// A hash as a bucket, all buckets equally likely.
fn scaled(hash: u32) -> u32 {
    ((u64::from(hash) * u64::from(BUCKETS)) >> 32) as u32
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn percent(value: f64) -> Percent {
        Percent::new(value).expect("a percentage")
    }

    /// The bucket is in at one share and not yet at another.
    #[track_caller]
    pub(super) fn takes_exactly(bucket: u32, in_at: f64, out_at: f64) {
        assert!(
            is_in(bucket, percent(in_at)),
            "{bucket} is not in at {in_at} %"
        );
        assert!(
            !is_in(bucket, percent(out_at)),
            "{bucket} is in at {out_at} %"
        );
    }

    /// All that mix a salt in.
    fn salted() -> impl Iterator<Item = Algorithm> {
        let all = Algorithm::ALL.into_iter();
        all.filter(|algorithm| *algorithm != Algorithm::LegacyModulo)
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
            let (salt, rest) = text.split_at(text.len() / 2);
            assert_eq!(murmur3_32("", salt, rest), hash, "{text}");
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
            for algorithm in Algorithm::ALL {
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
            for algorithm in Algorithm::ALL {
                let bucket = bucket(algorithm, &salt, &Subject::User(id));
                let ins: Vec<_> = shares.iter().map(|share| is_in(bucket, percent(*share))).collect();
                prop_assert!(ins.is_sorted(), "{ins:?}");
            }
        }
    }

    #[test]
    fn the_users_of_a_share_are_a_subset_of_those_of_any_larger_one() {
        for algorithm in Algorithm::ALL {
            let buckets: Vec<_> = (1..=5_000)
                .map(|id| bucket(algorithm, "salt", &Subject::User(id)))
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
    }

    /// χ² of 100 cells over 100,000 users; 99 degrees of freedom, so 167 is p ≈ 2·10⁻⁵.
    #[test]
    fn users_spread_evenly_over_the_buckets() {
        for algorithm in salted() {
            for salt in ["modelramp", "", "a", "0193f0c2"] {
                let mut cells = [0_u32; 100];
                for id in 1..=100_000 {
                    let bucket = bucket(algorithm, salt, &Subject::User(id));
                    cells[(bucket / PER_PERCENT) as usize] += 1;
                }
                let chi: f64 = cells
                    .iter()
                    .map(|count| (f64::from(*count) - 1000.0).powi(2) / 1000.0)
                    .sum();
                assert!(chi < 167.0, "{algorithm:?}, salt `{salt}`: χ² = {chi}");
            }
        }
    }

    /// Who is in under one salt says nothing about another: |z| < 5 for all pairs, at 10 % and 50 %.
    #[test]
    fn two_salts_choose_independently() {
        const USERS: i64 = 5_000;
        const SALTS: usize = 20;
        for algorithm in salted() {
            let rollouts: Vec<Vec<u32>> = (0..SALTS)
                .map(|n| {
                    let salt = format!("salt-{n}");
                    let of = |id| bucket(algorithm, &salt, &Subject::User(id));
                    (1..=USERS).map(of).collect()
                })
                .collect();
            for share in [10.0, 50.0] {
                for (n, first) in rollouts.iter().enumerate() {
                    for (m, second) in rollouts.iter().enumerate().skip(n + 1) {
                        let z = overlap(first, second, percent(share));
                        assert!(
                            z.abs() < 5.0,
                            "{algorithm:?} {n}, {m} at {share} %: z = {z}"
                        );
                    }
                }
            }
        }
    }

    /// By how many standard errors those who are in both times differ from chance.
    fn overlap(first: &[u32], second: &[u32], share: Percent) -> f64 {
        let pairs = first.iter().zip(second);
        let both = pairs.filter(|(a, b)| is_in(**a, share) && is_in(**b, share));
        let p = (share.get() / 100.0).powi(2);
        let mean = first.len() as f64 * p;
        (both.count() as f64 - mean) / (mean * (1.0 - p)).sqrt()
    }
}
