//! What is in force, for whoever asks the way.

use std::{collections::BTreeMap, sync::Arc};

use super::{Move, OwedMoveBack, covers};

/// The moves in force, by name.
#[derive(Default)]
pub(super) struct MoveTable(pub(super) BTreeMap<String, Arc<Move>>);

impl MoveTable {
    /// What names the procedure, or else its namespace.
    pub(super) fn of(&self, procedure: &str) -> Option<&Arc<Move>> {
        if self.0.is_empty() {
            return None;
        }
        let space = || {
            let (space, _) = procedure.split_once('.')?;
            self.0.get(&format!("{space}.*"))
        };
        self.0.get(procedure).or_else(space)
    }
}

/// What is stored, with what is owed above it.
pub(super) fn laid_over(
    stored: &BTreeMap<String, Arc<Move>>,
    owed: &BTreeMap<String, OwedMoveBack>,
) -> BTreeMap<String, Arc<Move>> {
    let mut all = stored.clone();
    for (name, OwedMoveBack { change, taken }) in owed {
        let is_of = |(id, _): &(String, _)| all.get(name).is_some_and(|it| it.id == *id);
        // What was changed since is another move, of which nothing is proven.
        if taken.as_ref().is_none_or(is_of) {
            put(&mut all, change.clone());
        }
    }
    all
}

/// Puts a move among the others: one of a namespace takes the place of those of its procedures.
pub(super) fn put(all: &mut BTreeMap<String, Arc<Move>>, change: Arc<Move>) {
    all.retain(|name, _| !covers(&change.name, name));
    all.insert(change.name.clone(), change);
}
