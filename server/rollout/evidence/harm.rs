//! What may happen to a user.

use serde::{Deserialize, Serialize};

/// What may happen to a user and speaks against the arm; in the order in which streams are stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum Harm {
    /// The request failed.
    Error,
    /// It was slower than control's P50.
    AboveP50,
    /// It was slower than control's P95.
    AboveP95,
    /// It was slower than control's P99.
    AboveP99,
    /// The user rated the answer bad.
    BadRating,
    /// The answer has a flaw.
    Flawed,
}

impl Harm {
    pub(super) const ALL: [Self; 6] = [
        Self::Error,
        Self::AboveP50,
        Self::AboveP95,
        Self::AboveP99,
        Self::BadRating,
        Self::Flawed,
    ];
    /// Of which it is shown how many times as often they happen. Half of control's requests are slower than its
    /// P50, so a ratio says little there.
    pub(super) const SHOWN: [Self; 4] = [Self::Error, Self::AboveP95, Self::AboveP99, Self::Flawed];
    pub(super) const COUNT: usize = Self::ALL.len();
    /// In the order of the thresholds.
    pub(super) const SLOW: [Self; 3] = [Self::AboveP50, Self::AboveP95, Self::AboveP99];
}
