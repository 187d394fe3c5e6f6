//! A share that is lower in this process than what is stored.

use chrono::{DateTime, Utc};

use crate::{
    _core::{actor::Actor, units::Percent},
    rollout::rollout::{Cap, CommandKind},
};

/// A lowering that is in force in this process and not stored: a person asked for it here while another process leads, or
/// it was made here as this one led. It is made whatever was done meanwhile, as somebody may have been told of it.
#[derive(Clone, Debug, PartialEq)]
pub struct Lowering {
    /// The rollout's id.
    pub rollout: String,
    /// The version that it is based on.
    pub based_on: i64,
    /// Names the cap that keeps it in force here.
    pub number: u64,
    /// What it was.
    pub kind: CommandKind,
    /// Who did it.
    pub actor: Actor,
    /// The reason that was given.
    pub reason: String,
    /// When it came into force here.
    pub at: DateTime<Utc>,
}

impl Lowering {
    /// Keeps it in force here until there is a greater version than this one.
    pub(super) fn cap(&self, version: i64) -> Cap {
        let share = match self.kind {
            CommandKind::SetShare(share) => share,
            _ => Percent::ZERO,
        };
        Cap {
            number: self.number,
            version,
            share,
            is_back: self.kind == CommandKind::RollBack,
        }
    }
}
