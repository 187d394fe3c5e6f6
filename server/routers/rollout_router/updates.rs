//! `rollout.onChange`: the live rollouts at once, then every change, none twice and none lost.
//!
//! An event's id is the place of its change in the history of all rollouts, which is the same on each process
//! that serves one database, and needs no clock. A client that comes back with it, to whichever process, is told
//! the changes after that place, read from the history. A change that is in force and not written yet has no place:
//! its id is the place before it, with its rollout and version. Within a connection the version of each rollout
//! decides what is new, so that neither the moment between reading and listening nor a listener that fell
//! behind loses or repeats a change.

use std::{collections::HashMap, fmt, sync::Arc};

use futures::Stream;
use schemars::JsonSchema;
use serde::Serialize;
use tokio::sync::broadcast::error::RecvError;

use super::{answers::RolloutState, history::HistoryEntry, refusals::refusal};
use crate::{
    _core::{errors::RpcError, procedure::Tracked},
    rollout::{
        archive::PAGE,
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

/// A place in the history of all rollouts, and the last change that was sent.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct HistoryPosition {
    pos: i64,
    rollout: String,
    version: i64,
}

/// An id of a client: of this release, or of one in which places were times.
#[derive(Debug, PartialEq, Eq)]
enum Resumed {
    At(HistoryPosition),
    After { at_ms: i64, told: HistoryPosition },
}

impl Update {
    fn new(place: &HistoryPosition, rollouts: &[Status], change: Option<Changed>) -> Tracked<Self> {
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

impl Resumed {
    fn parse(id: &str) -> Option<Self> {
        let (place, rest) = id.split_once('.')?;
        let (rollout, version) = rest.rsplit_once('.')?;
        let told = |pos| {
            Some(HistoryPosition {
                pos,
                rollout: rollout.to_owned(),
                version: version.parse().ok()?,
            })
        };
        match place.strip_prefix('p') {
            Some(pos) => told(pos.parse().ok()?).map(Self::At),
            None => Some(Self::After {
                at_ms: place.parse().ok()?,
                told: told(0)?,
            }),
        }
    }

    async fn place(self, controller: &Controller) -> Result<HistoryPosition, ControlError> {
        let archive = controller.archive();
        let last = archive.last_place().await?;
        let (pos, told) = match self {
            Self::At(place) => (place.pos, place),
            Self::After { at_ms, told } => {
                let pos = archive.place_of(&told.rollout, told.version, at_ms).await?;
                (pos, told)
            }
        };
        // A database that went back lacks what the client was sent, and goes on from where it ends.
        let pos = pos.min(last);
        Ok(HistoryPosition { pos, ..told })
    }
}

impl fmt::Display for HistoryPosition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "p{}.{}.{}", self.pos, self.rollout, self.version)
    }
}

/// Tells each change once.
struct Follower {
    controller: Arc<Controller>,
    /// What was sent last.
    place: HistoryPosition,
    /// The version last sent of each rollout.
    told: HashMap<String, i64>,
}

impl Follower {
    /// The next changes that are in the history and were not sent yet; whether there may be more.
    async fn news(
        &mut self,
        rollouts: &[Status],
    ) -> Result<(Vec<(HistoryPosition, Changed)>, bool), ControlError> {
        let rows = self
            .controller
            .archive()
            .history_after(self.place.pos)
            .await?;
        let is_all = rows.len() < PAGE;
        let mut news = Vec::new();
        for (pos, row) in rows {
            let id = row.rollout_id.clone();
            let Some(status) = rollouts.iter().find(|status| status.id == id) else {
                // It began after the rollouts were read, and is sent with the next change.
                return Ok((news, true));
            };
            let entry = HistoryEntry::new(row);
            self.place.pos = pos;
            if self.is_new(&id, entry.version) {
                news.push((self.place.clone(), Changed::new(status, entry)));
            }
        }
        Ok((news, is_all))
    }

    /// A change that the history does not have: it came into force, and is yet to be written.
    fn unwritten(&mut self, change: &Change) -> Option<(HistoryPosition, Changed)> {
        let status = &change.status;
        if !self.is_new(&status.id, status.version) {
            return None;
        }
        let entry = HistoryEntry::of_change(change);
        Some((self.place.clone(), Changed::new(status, entry)))
    }

    /// Whether this was not sent yet; it is from now on.
    fn is_new(&mut self, id: &str, version: i64) -> bool {
        let told = self.told.entry(id.to_owned()).or_insert(-1);
        let is_new = *told < version;
        if is_new {
            *told = version;
            id.clone_into(&mut self.place.rollout);
            self.place.version = version;
        }
        is_new
    }
}

/// The events of one subscription.
pub(super) async fn follow(
    controller: Arc<Controller>,
    last_event_id: Option<&str>,
) -> Result<impl Stream<Item = Result<Tracked<Update>, RpcError>> + use<>, RpcError> {
    // Listening comes first: what changes while the history is read is sent after it.
    let mut changes = controller.subscribe();
    let resumed = last_event_id.and_then(Resumed::parse);
    let is_resumed = resumed.is_some();
    let place = match resumed {
        Some(resumed) => resumed.place(&controller).await,
        None => controller
            .archive()
            .last_place()
            .await
            .map(|pos| HistoryPosition {
                pos,
                ..HistoryPosition::default()
            }),
    };
    let place = place.map_err(refusal)?;
    let mut rollouts = controller.list().await.map_err(refusal)?;
    let told = match is_resumed {
        true => HashMap::from([(place.rollout.clone(), place.version)]),
        // They are sent as they are.
        false => rollouts
            .iter()
            .map(|it| (it.id.clone(), it.version))
            .collect(),
    };
    let mut follower = Follower {
        controller: controller.clone(),
        place,
        told,
    };

    Ok(async_stream::stream! {
        if !is_resumed {
            yield Ok(Update::new(&follower.place, &rollouts, None));
        }
        let mut change = None;
        loop {
            loop {
                let (news, is_all) = match follower.news(&rollouts).await {
                    Ok(news) => news,
                    Err(error) => {
                        yield Err(refusal(error));
                        return;
                    }
                };
                for (place, change) in news {
                    yield Ok(Update::new(&place, &rollouts, Some(change)));
                }
                if is_all {
                    break;
                }
            }
            let unwritten = change.take().and_then(|change: Arc<Change>| follower.unwritten(&change));
            if let Some((place, change)) = unwritten {
                yield Ok(Update::new(&place, &rollouts, Some(change)));
            }
            change = match changes.recv().await {
                Ok(change) => Some(change),
                // What this listener was too slow for is in the history.
                Err(RecvError::Lagged(_)) => None,
                Err(RecvError::Closed) => return,
            };
            rollouts = match controller.list().await {
                Ok(rollouts) => rollouts,
                Err(error) => {
                    yield Err(refusal(error));
                    return;
                }
            };
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
        let place = HistoryPosition {
            pos: 123,
            rollout: "0190-a.b".into(),
            version: 7,
        };
        let at = |place: &HistoryPosition| Some(Resumed::At(place.clone()));
        assert_eq!(Resumed::parse(&place.to_string()), at(&place));
        let start = HistoryPosition::default();
        assert_eq!(Resumed::parse(&start.to_string()), at(&start));
        for id in ["", "x", "1.2", "a.b.c", "1.b.c", "p1.b.c", "p.b.1"] {
            assert_eq!(Resumed::parse(id), None, "{id}");
        }
    }

    #[test]
    fn ids_of_before_are_times() {
        let told = HistoryPosition {
            pos: 0,
            rollout: "0190".into(),
            version: 7,
        };
        let at_ms = 1_700_000_000_123;
        let resumed = Resumed::parse("1700000000123.0190.7");
        assert_eq!(resumed, Some(Resumed::After { at_ms, told }));
    }
}
