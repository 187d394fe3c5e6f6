//! What is in force: what is stored, and above it what is owed to the store. Pure; who calls it holds
//! the lock.

use chrono::{DateTime, Utc};

use super::store::{FlagChange, FlagPosition, StoredFlag};
use crate::_core::{
    actor::Actor,
    feature_flags::{ChangeAuthor, Steered},
    units::Percent,
};

/// What somebody wants.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum FlagWish {
    /// The kill switch on or off.
    Kill(bool),
    /// Another live share.
    Share(Percent),
}

/// A wish with its author.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct FlagRequest {
    pub(super) id: String,
    pub(super) at: DateTime<Utc>,
    pub(super) actor: Actor,
    pub(super) reason: String,
    pub(super) wish: FlagWish,
    /// The share of the settings, where it is they that ask.
    pub(super) configured: Option<Percent>,
}

/// The flag in memory.
#[derive(Debug)]
pub(super) struct FlagMemory {
    /// As far as is known.
    pub(super) stored: StoredFlag,
    /// Lowerings that are in force and not stored, in their order.
    pub(super) owed: Vec<FlagRequest>,
    /// What the settings want raised, to be written before it is in force.
    pub(super) settings: Option<FlagRequest>,
    /// What is being written. Whoever bases a change on a version has to know of it: of two at once the
    /// second is refused, also where the first is not in force yet.
    pub(super) writing: Option<StoredFlag>,
}

impl FlagWish {
    pub(super) fn apply(self, before: FlagPosition) -> FlagPosition {
        match self {
            Self::Kill(killed) => FlagPosition { killed, ..before },
            Self::Share(share) => FlagPosition { share, ..before },
        }
    }

    /// Whether nobody gets the candidate by it who did not before.
    pub(super) fn lowers(self, before: FlagPosition) -> bool {
        let after = self.apply(before);
        after.share <= before.share && (after.killed || !before.killed)
    }

    /// Applied again above what turned out to be stored, it still only lowers.
    fn lower(self, before: FlagPosition) -> FlagPosition {
        if self.lowers(before) {
            self.apply(before)
        } else {
            before
        }
    }
}

impl FlagRequest {
    fn change(&self, before: &StoredFlag, after: FlagPosition) -> StoredFlag {
        let version = before.version + 1;
        StoredFlag {
            position: after,
            version,
            configured: self.configured.unwrap_or(before.configured),
            last: Some(FlagChange {
                id: self.id.clone(),
                version,
                at: self.at,
                actor: self.actor.clone(),
                reason: self.reason.clone(),
                before: before.position,
                after,
            }),
        }
    }
}

impl FlagMemory {
    /// What is in force, as it will be stored.
    pub(super) fn in_force(&self) -> StoredFlag {
        self.owed
            .iter()
            .fold(self.stored.clone(), |flag, owed| lowered(&flag, owed))
    }

    /// What a change is based on: what is in force, or what is about to be.
    pub(super) fn newest(&self) -> StoredFlag {
        let in_force = self.in_force();
        match &self.writing {
            Some(writing) if writing.version > in_force.version => writing.clone(),
            _ => in_force,
        }
    }

    /// What is to be written next.
    pub(super) fn due(&self) -> Option<StoredFlag> {
        match (self.owed.first(), &self.settings) {
            (Some(owed), _) => Some(lowered(&self.stored, owed)),
            (None, settings) => settings.as_ref().map(|asked| self.raised(asked)),
        }
    }

    /// The lines of the history that are not stored, oldest first.
    pub(super) fn owed_changes(&self) -> Vec<FlagChange> {
        let mut flag = self.stored.clone();
        let mut changes = Vec::new();
        for owed in &self.owed {
            flag = lowered(&flag, owed);
            changes.extend(flag.last.clone());
        }
        changes
    }

    /// The flag with a wish fulfilled, above what is stored.
    pub(super) fn raised(&self, asked: &FlagRequest) -> StoredFlag {
        asked.change(&self.stored, asked.wish.apply(self.stored.position))
    }

    pub(super) fn owes(&self, id: &str) -> bool {
        self.owed.iter().any(|owed| owed.id == id)
    }

    /// Takes up what the store has, and the `changes` that made it: a greater version whatever it says;
    /// another change at the same version or before, which is a database that was put back, only where
    /// it lowers.
    pub(super) fn adopt(&mut self, found: StoredFlag, changes: &[FlagChange]) {
        let is_done = |asked: &FlagRequest| changes.iter().any(|change| change.id == asked.id);
        self.owed.retain(|owed| !is_done(owed));
        self.settings = self.settings.take().filter(|asked| !is_done(asked));
        if found.version > self.stored.version || found.is_same(&self.stored) {
            self.stored = found;
            return;
        }
        let lost = std::mem::replace(&mut self.stored, found);
        let Some(last) = lost.last else { return };
        let (was, is) = (lost.position, self.stored.position);
        let again = |part: &str, wish| FlagRequest {
            // Not the id of the lost change, which the alerts may know.
            id: format!("{}-{part}", last.id),
            at: last.at,
            actor: last.actor.clone(),
            reason: last.reason.clone(),
            wish,
            configured: None,
        };
        let mut owed = Vec::new();
        if was.killed && !is.killed {
            owed.push(again("kill", FlagWish::Kill(true)));
        }
        if was.share < is.share {
            owed.push(again("share", FlagWish::Share(was.share)));
        }
        owed.append(&mut self.owed);
        self.owed = owed;
    }

    pub(super) fn steered(&self) -> Steered {
        let flag = self.in_force();
        Steered {
            share: flag.position.share,
            killed: flag.position.killed,
            version: flag.version,
            last_change: flag.last.map(|last| ChangeAuthor {
                reason: last.reason,
                actor: last.actor,
                at: last.at,
            }),
        }
    }
}

fn lowered(flag: &StoredFlag, owed: &FlagRequest) -> StoredFlag {
    owed.change(flag, owed.wish.lower(flag.position))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn percent(value: f64) -> Percent {
        Percent::new(value).expect("a percentage")
    }

    fn flag(version: i64, share: f64, killed: bool, id: &str) -> StoredFlag {
        let position = FlagPosition {
            share: percent(share),
            killed,
        };
        StoredFlag {
            position,
            version,
            configured: Percent::ZERO,
            last: Some(FlagChange {
                id: id.to_owned(),
                version,
                at: DateTime::UNIX_EPOCH,
                actor: Actor::User(1),
                reason: "so".to_owned(),
                before: position,
                after: position,
            }),
        }
    }

    fn asked(id: &str, wish: FlagWish) -> FlagRequest {
        FlagRequest {
            id: id.to_owned(),
            at: DateTime::UNIX_EPOCH,
            actor: Actor::User(2),
            reason: "stop".to_owned(),
            wish,
            configured: None,
        }
    }

    fn in_force(memory: &FlagMemory) -> (i64, f64, bool) {
        let Steered {
            version,
            share,
            killed,
            ..
        } = memory.steered();
        (version, share.get(), killed)
    }

    fn adopt(memory: &mut FlagMemory, found: StoredFlag) {
        let change = found.last.clone().expect("a change");
        memory.adopt(found, &[change]);
    }

    #[test]
    fn what_is_owed_stays_in_force_above_what_others_write() {
        let mut memory = FlagMemory {
            stored: flag(3, 50.0, false, "a"),
            owed: vec![
                asked("k", FlagWish::Kill(true)),
                asked("s", FlagWish::Share(percent(20.0))),
            ],
            settings: None,
            writing: None,
        };
        assert_eq!(in_force(&memory), (5, 20.0, true));
        adopt(&mut memory, flag(7, 10.0, false, "b"));
        assert_eq!(in_force(&memory), (9, 10.0, true), "the smaller of both");
        adopt(&mut memory, flag(8, 90.0, true, "k"));
        assert_eq!(
            in_force(&memory),
            (9, 20.0, true),
            "one of the two is stored"
        );
        adopt(&mut memory, flag(9, 20.0, true, "s"));
        assert_eq!(in_force(&memory), (9, 20.0, true));
        assert!(memory.owed.is_empty());
        adopt(&mut memory, flag(10, 60.0, false, "c"));
        assert_eq!(
            in_force(&memory),
            (10, 60.0, false),
            "a greater version raises"
        );
    }

    #[test]
    fn a_database_that_was_put_back_raises_nothing() {
        let mut memory = FlagMemory {
            stored: flag(5, 10.0, true, "e"),
            owed: Vec::new(),
            settings: None,
            writing: None,
        };
        adopt(&mut memory, flag(3, 50.0, false, "c"));
        assert_eq!(in_force(&memory), (5, 10.0, true));
        assert_eq!(memory.owed.len(), 2);
        adopt(&mut memory, flag(3, 50.0, false, "c"));
        assert_eq!(memory.owed.len(), 2, "once");
        let mut memory = FlagMemory {
            stored: flag(5, 90.0, false, "e"),
            owed: Vec::new(),
            settings: None,
            writing: None,
        };
        adopt(&mut memory, flag(4, 50.0, true, "d"));
        assert_eq!(
            in_force(&memory),
            (4, 50.0, true),
            "what lowers is taken over"
        );
    }

    #[test]
    fn a_wish_lowers_where_nobody_is_added() {
        let at = |share, killed| FlagPosition {
            share: percent(share),
            killed,
        };
        for (wish, before, lowers) in [
            (FlagWish::Kill(true), at(10.0, false), true),
            (FlagWish::Kill(true), at(10.0, true), true),
            (FlagWish::Kill(false), at(10.0, true), false),
            (FlagWish::Kill(false), at(10.0, false), true),
            (FlagWish::Share(percent(10.0)), at(10.0, false), true),
            (FlagWish::Share(percent(9.0)), at(10.0, true), true),
            (FlagWish::Share(percent(11.0)), at(10.0, true), false),
        ] {
            assert_eq!(wish.lowers(before), lowers, "{wish:?} at {before:?}");
        }
    }
}
