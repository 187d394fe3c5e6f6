//! Which edition of the tests judges a rollout.

use serde::{Deserialize, Serialize};

/// A rollout is judged to its end, and replayed, by the edition that it began with.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Edition {
    /// Latencies are compared among users who failed as often; a request that failed counts as fast.
    #[default]
    First,
    /// Latencies are compared among users who were as slow before.
    Second,
    /// The quality of answers is judged.
    Third,
    /// The same, and the reasons say what a proof still lacks.
    Fourth,
    /// An outage of control proves nothing, one of both sides blames neither, and the last hours have to agree
    /// with a proof.
    Fifth,
    /// A streamed answer is as slow as its first words are, and compared with other streams alone.
    Sixth,
    /// An outage that is over when evidence finds what it did is one as well.
    Seventh,
    /// A stream that its reader left after the first words was answered; a candidate that fails for a day, in which
    /// nobody asked control, gives no answer; an E of the last hours that reads 1.00 is one of 1; the third outage
    /// within the plan's period is final, and not the second.
    Eighth,
    /// An outage of the candidate is a change of what it usually loses, is found for an hour after it is over, and the
    /// fifth within the plan's period is final, two later for each that control had.
    Ninth,
    /// How alike the requests of one user are is learnt from those that are compared alone, and what they weigh for it
    /// changes at full hours alone.
    Tenth,
}

impl Edition {
    /// What new rollouts are judged by.
    pub const NEWEST: Self = Self::Tenth;

    /// Whether how alike a user's requests are is learnt from one that is, or is not, compared.
    pub(super) fn learns_from(self, is_compared: bool) -> bool {
        is_compared || self < Self::Tenth
    }

    /// Whether the requests of this stratum are compared with each other; those of users without a past,
    /// who are in the first one, are not comparable.
    pub(super) fn judges(self, stratum: usize) -> bool {
        self == Self::First || stratum > 0
    }
}
