//! What an account has used of its quota.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::rest::RestTimes;

/// What all processes together may use of an account.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Most {
    /// Requests in any 60 seconds.
    pub minute: Option<u32>,
    /// Requests of a day.
    pub day: Option<u32>,
    /// Tokens in any 60 seconds.
    pub tokens: Option<u64>,
}

/// What an account has used of its quota.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Used {
    /// A day, counted from 1970.
    pub day: i64,
    /// Requests of that day.
    pub requests: u32,
    /// When those of the last minute were made by the one process that there is, in milliseconds since 1970.
    pub sent_ms: Vec<i64>,
    /// When tokens of the last minute were used, and how many, where they are limited.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub tokens: Vec<(i64, u32)>,
    /// When slots of the last minute were given to several processes, and how many.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub given: Vec<(i64, u32)>,
    /// Until when the account rests, in milliseconds since 1970; 0 where it does not.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub rests_until_ms: i64,
    /// When that was reported first.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub rests_since_ms: i64,
    /// Counts the reports of all processes.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub version: i64,
    /// The last report of each process.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub last: BTreeMap<String, LastReport>,
}

impl Used {
    /// The last rest.
    pub(super) fn rests(&self) -> RestTimes {
        RestTimes {
            since_ms: self.rests_since_ms,
            until_ms: self.rests_until_ms,
        }
    }

    /// Slots that were given since the last rest was over.
    pub fn gone(&self) -> u32 {
        let gone = self.slots().filter(|at_ms| *at_ms > self.rests_until_ms);
        u32::try_from(gone.count()).unwrap_or(u32::MAX)
    }
}

fn is_zero(number: &i64) -> bool {
    *number == 0
}

/// The last report of a process.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct LastReport {
    /// Its number.
    pub number: u64,
    /// Which time it was.
    #[serde(default)]
    pub time: u64,
    /// When it was made, in milliseconds since 1970.
    pub at_ms: i64,
    /// The time of the slots that it was given, and their tokens.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub slot: Option<(i64, i64)>,
    /// How many they are.
    #[serde(default = "one")]
    pub slots: i64,
}

/// Of a release that reports each call by itself.
fn one() -> i64 {
    1
}
