//! How much a key may have.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::_core::{amount::Amount, priority::Priority, units::Microdollars};

/// The most that a day's budget of tokens can be.
pub const MAX_TOKENS: u64 = 1_000_000_000_000;
/// What a day's budget of money can be, in US dollars.
pub const DOLLARS: std::ops::RangeInclusive<f64> = 0.01..=1_000_000.0;

/// What a key may have; everything where nothing is said. A day is one of UTC.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
// What is asked for and not known is a slip; what is stored may be of a later release.
#[schemars(rename = "Limits", deny_unknown_fields)]
pub struct KeyLimits {
    /// Requests a minute; so many may also come at once.
    #[serde(default)]
    #[schemars(range(min = 1))]
    pub requests_per_minute: Option<u32>,
    /// Tokens a day, read and written.
    #[serde(default)]
    #[schemars(range(min = 1, max = MAX_TOKENS))]
    pub tokens_per_day: Option<u64>,
    /// US dollars a day.
    #[serde(default)]
    #[schemars(range(min = *DOLLARS.start(), max = *DOLLARS.end()))]
    pub dollars_per_day: Option<f64>,
    /// The highest priority of its calls where an account's quota makes them wait.
    #[serde(default)]
    pub priority: Option<Priority>,
}

/// More than anybody uses, and far from where sums end.
const EVERYTHING: i64 = i64::MAX / 4;

impl KeyLimits {
    /// The budget of a day.
    pub(super) fn budget(&self) -> Amount {
        let tokens = self
            .tokens_per_day
            .map(|it| i64::try_from(it).unwrap_or(EVERYTHING));
        let cost = self.dollars_per_day.map(Microdollars::from_dollars);
        Amount {
            tokens: tokens.map_or(EVERYTHING, |it| it.min(EVERYTHING)),
            cost: cost.unwrap_or(Microdollars(EVERYTHING)),
        }
    }

    /// Whether there is a budget.
    pub(super) fn has_budget(&self) -> bool {
        self.tokens_per_day.is_some() || self.dollars_per_day.is_some()
    }

    /// Of an amount, what a budget is set for.
    pub(super) fn limited(&self, amount: Amount) -> Amount {
        let keep = |is_limited: bool| move |it| if is_limited { it } else { 0 };
        amount.map(
            keep(self.tokens_per_day.is_some()),
            keep(self.dollars_per_day.is_some()),
        )
    }
}
