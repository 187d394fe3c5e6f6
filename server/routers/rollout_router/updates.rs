//! `rollout.onChange`: the live rollouts at once, then every change, none twice and none lost.
//!
//! An event's id is the place of its change in the history of all rollouts: time, rollout, version.
//! A client that comes back with it is told the changes after that place, read from the history.
//! Within a connection the version of each rollout decides what is new, so that neither the moment
//! between reading and listening nor a listener that fell behind loses or repeats a change.

use std::{collections::HashMap, fmt, sync::Arc};

use futures::Stream;
use schemars::JsonSchema;
use serde::Serialize;
use tokio::sync::broadcast::error::RecvError;

use super::{answers::RolloutState, history::HistoryEntry, refusals::refusal};
use crate::{
    _core::{errors::RpcError, procedure::Tracked},
    rollout::{
        controller::{Change, Controller},
        errors::ControlError,
        status::Status,
    },
};

/// What is rolled out, and what changed.
#[derive(Clone, Debug, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub(super) struct Update {
    /// The rollouts that are under way, the newest first, as they are when the event is sent.
    live: Vec<RolloutState>,
    /// What changed; null in the first event of a connection that resumes nothing.
    change: Option<Changed>,
}

/// One change.
#[derive(Clone, Debug, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
struct Changed {
    /// The rollout, as it is when the event is sent.
    rollout: RolloutState,
    /// The line of its history.
    #[serde(flatten)]
    entry: HistoryEntry,
}

/// A place in the history of all rollouts.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Place {
    at_ms: i64,
    rollout: String,
    version: i64,
}

impl Update {
    fn new(place: &Place, rollouts: &[Status], change: Option<Changed>) -> Tracked<Self> {
        let data = Self {
            live: live(rollouts),
            change,
        };
        Tracked {
            id: place.to_string(),
            data,
        }
    }
}

impl Changed {
    fn new(status: &Status, entry: HistoryEntry) -> Self {
        Self {
            rollout: RolloutState::new(status),
            entry,
        }
    }
}

impl Place {
    /// Before all changes.
    const START: Self = Self {
        at_ms: 0,
        rollout: String::new(),
        version: 0,
    };

    fn of(status: &Status, entry: &HistoryEntry) -> Self {
        Self {
            at_ms: entry.at.timestamp_millis(),
            rollout: status.id.clone(),
            version: entry.version,
        }
    }

    fn parse(id: &str) -> Option<Self> {
        let (at_ms, rest) = id.split_once('.')?;
        let (rollout, version) = rest.rsplit_once('.')?;
        Some(Self {
            at_ms: at_ms.parse().ok()?,
            rollout: rollout.to_owned(),
            version: version.parse().ok()?,
        })
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}.{}", self.at_ms, self.rollout, self.version)
    }
}

/// Tells each change once.
struct Follower {
    controller: Arc<Controller>,
    /// The version last told of each rollout.
    told: HashMap<String, i64>,
}

impl Follower {
    /// The changes of these rollouts that are after `since` and were not told yet, in the order of
    /// the history; from now on they count as told.
    async fn news(
        &mut self,
        rollouts: &[Status],
        since: &Place,
    ) -> Result<Vec<(Place, Changed)>, ControlError> {
        let mut news = Vec::new();
        for status in rollouts {
            let told = self.told.get(&status.id).copied().unwrap_or(-1);
            let ended = status.ended_at.map(|at| at.timestamp_millis());
            if told >= status.version {
                continue;
            } else if ended.is_some_and(|ended| ended < since.at_ms) {
                self.told.insert(status.id.clone(), status.version);
                continue;
            }
            for row in self.controller.archive().history(&status.id).await? {
                let entry = HistoryEntry::new(row);
                let place = Place::of(status, &entry);
                if entry.version > told {
                    self.told.insert(status.id.clone(), entry.version);
                    if place > *since {
                        news.push((place, Changed::new(status, entry)));
                    }
                }
            }
        }
        news.sort_by(|(a, _), (b, _)| a.cmp(b));
        Ok(news)
    }

    /// A change that the history does not have: it came into force, and is yet to be written.
    fn unwritten(&mut self, change: &Change) -> Option<(Place, Changed)> {
        let status = &change.status;
        let told = self.told.get(&status.id).copied().unwrap_or(-1);
        if told >= status.version {
            return None;
        }
        self.told.insert(status.id.clone(), status.version);
        let entry = HistoryEntry::of_change(change);
        Some((Place::of(status, &entry), Changed::new(status, entry)))
    }
}

/// The events of one subscription.
pub(super) async fn follow(
    controller: Arc<Controller>,
    last_event_id: Option<&str>,
) -> Result<impl Stream<Item = Result<Tracked<Update>, RpcError>> + use<>, RpcError> {
    // Listening comes first: what changes while the history is read is told after it.
    let mut changes = controller.subscribe();
    let mut follower = Follower {
        controller: controller.clone(),
        told: HashMap::new(),
    };
    let resumed = last_event_id.and_then(Place::parse);
    let since = resumed.clone().unwrap_or(Place::START);
    let rollouts = controller.list().await.map_err(refusal)?;
    let history = follower.news(&rollouts, &since).await.map_err(refusal)?;

    Ok(async_stream::stream! {
        if resumed.is_none() {
            let newest = history.last().map_or(&since, |(place, _)| place);
            yield Ok(Update::new(newest, &rollouts, None));
        } else {
            for (place, change) in history {
                yield Ok(Update::new(&place, &rollouts, Some(change)));
            }
        }
        loop {
            let change = match changes.recv().await {
                Ok(change) => Some(change),
                // What this listener was too slow for is in the history.
                Err(RecvError::Lagged(_)) => None,
                Err(RecvError::Closed) => return,
            };
            let read = async {
                let rollouts = controller.list().await?;
                let news = follower.news(&rollouts, &Place::START).await?;
                Ok::<_, ControlError>((rollouts, news))
            };
            let (rollouts, mut news) = match read.await {
                Ok(read) => read,
                Err(error) => {
                    yield Err(refusal(error));
                    return;
                }
            };
            news.extend(change.and_then(|change| follower.unwritten(&change)));
            for (place, change) in news {
                yield Ok(Update::new(&place, &rollouts, Some(change)));
            }
        }
    })
}

fn live(rollouts: &[Status]) -> Vec<RolloutState> {
    let live = rollouts.iter().filter(|status| !status.state.is_final());
    live.map(RolloutState::new).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_is_its_own_id() {
        let place = Place {
            at_ms: 1_700_000_000_123,
            rollout: "0190-a.b".into(),
            version: 7,
        };
        assert_eq!(Place::parse(&place.to_string()), Some(place));
        for id in ["", "x", "1.2", "a.b.c", "1.b.c"] {
            assert_eq!(Place::parse(id), None, "{id}");
        }
        assert_eq!(Place::parse(&Place::START.to_string()), Some(Place::START));
    }
}
