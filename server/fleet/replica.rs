//! A process of the fleet, as the others know it.

use std::collections::BTreeMap;

use chrono::{DateTime, TimeDelta, Utc};
use serde::{Deserialize, Serialize};

use crate::_core::units::Percent;

/// A process that has said nothing for so long is gone.
pub const GONE: TimeDelta = TimeDelta::seconds(15);
/// Processes that are listed at most: those that reported last.
pub const MOST: usize = 200;

/// What all processes have to have in common ([`alike`](super::alike)): a mark of each thing, by its name.
pub type Marks = BTreeMap<String, String>;

/// A process as it introduces itself.
#[derive(Clone, Debug)]
pub struct Introduced {
    /// Names it, as the lease does.
    pub holder: String,
    /// Its machine and port.
    pub name: String,
    /// Its release.
    pub release: &'static str,
}

/// What a process says of itself.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ReplicaReport {
    /// Events that are not stored yet.
    pub waiting: u64,
    /// Events that found no room since it began.
    pub dropped: u64,
    /// Events that the database refused since it began.
    pub set_aside: u64,
    /// How far its machine's clock is ahead of the database's, in milliseconds.
    pub ahead_ms: i64,
    /// What it has in force: the kill switch and each rollout that is under way.
    pub in_force: Vec<ReportedVersion>,
    /// Of what all have to have in common.
    pub marks: Marks,
}

/// A version that is in force.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ReportedVersion {
    /// The rollout's id, or [`FLAGS`].
    pub of: String,
    /// Its version.
    pub version: i64,
    /// The share that users get, in percent.
    pub share: Percent,
}

/// The kill switch with the live share, among what is in force.
pub const FLAGS: &str = "flags";

/// A process that said something within a day.
#[derive(Clone, Debug)]
pub struct Replica {
    /// Names it, as the lease does.
    pub holder: String,
    /// Its machine and port.
    pub name: String,
    /// Its release.
    pub release: String,
    /// When it said its first word, by the clock of the database.
    pub started_at: DateTime<Utc>,
    /// When it said its last.
    pub seen_at: DateTime<Utc>,
    /// Whether it said that it stops.
    pub has_ended: bool,
    /// What it said last.
    pub report: ReplicaReport,
}

impl Replica {
    /// Whether it said something lately, and not that it stops.
    pub fn lives(&self, now: DateTime<Utc>) -> bool {
        !self.has_ended && now - self.seen_at < GONE
    }
}

/// All processes on a database.
#[derive(Clone, Debug)]
pub struct Roll {
    /// By the clock of the database.
    pub now: DateTime<Utc>,
    /// Who moves the rollouts, if anybody does.
    pub leader: Option<String>,
    /// Those of the last day, the newest first; at most [`MOST`].
    pub replicas: Vec<Replica>,
}

impl Roll {
    /// The process that others are compared with: the one that leads, or where none does that lives, the oldest.
    pub fn model(&self) -> Option<&Replica> {
        let living = self.replicas.iter().filter(|it| it.lives(self.now));
        living.min_by_key(|it| (self.leader.as_ref() != Some(&it.holder), it.started_at))
    }
}
