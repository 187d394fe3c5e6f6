//! `featureFlags.onChange`: what is in force at once, then every change.
//!
//! An event's id is the version that it shows. A client that comes back with it is sent the changes
//! after that version, read from the history; where the history cannot be read, and where a listener
//! fell too far behind, the state alone is sent. So a kill is sent also while the database is away.
//!
//! Another process may have sent the last one, and this one may be behind it. It catches up first, and
//! sends nothing again that the client has seen. Where the state alone is sent, its id is the client's own:
//! the line of a change that is in the state may still come.

use std::collections::HashSet;

use futures::Stream;
use schemars::JsonSchema;
use serde::Serialize;
use tokio::sync::broadcast::error::RecvError;

use super::{
    MAX_HISTORY, State,
    answers::{FlagsChange, FlagsState},
};
use crate::_core::{errors::RpcError, procedure::Tracked};

/// What is in force, and what changed.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub(super) struct FlagsUpdate {
    /// What is in force when the event is sent.
    state: FlagsState,
    /// What changed. Null in the first event of a connection that resumes nothing, and where a change
    /// that was sent before has been stored.
    change: Option<FlagsChange>,
}

impl FlagsUpdate {
    fn state(state: FlagsState) -> Tracked<Self> {
        Self::tracked(state.version(), state, None)
    }

    fn tracked(version: i64, state: FlagsState, change: Option<FlagsChange>) -> Tracked<Self> {
        Tracked {
            id: version.to_string(),
            data: Self { state, change },
        }
    }
}

/// Before the first version.
const NOTHING: i64 = 0;

/// The events of one subscription.
pub(super) async fn follow(
    state: State,
    last_event_id: Option<&str>,
) -> impl Stream<Item = Result<Tracked<FlagsUpdate>, RpcError>> + use<> {
    // Listening comes first: what changes while the history is read is sent after it.
    let mut changes = state.live.subscribe();
    let seen = last_event_id.and_then(|id| id.parse::<i64>().ok());
    let told_before = match seen {
        Some(version) if state.live.catches_up(version).await => version,
        // A change that was never stored, which a crash forgot; or nobody can say.
        _ => NOTHING,
    };
    let missed = match seen {
        Some(version) => state.live.since(version, MAX_HISTORY).await.ok(),
        None => None,
    };
    async_stream::stream! {
        let mut told = HashSet::new();
        let mut told_before = told_before;
        match missed {
            // Where nothing was missed, the state is sent all the same: the event that was seen last may
            // have been of a change that this process never stored and a crash forgot.
            Some(missed) if !missed.is_empty() => for change in missed {
                let version = change.version;
                let line = FlagsChange::new(&change, state.live.is_stored(&change.id));
                told.insert(change.id);
                yield Ok(FlagsUpdate::tracked(version, state.now(), Some(line)));
            },
            _ if told_before > NOTHING => yield Ok(FlagsUpdate::tracked(told_before, state.now(), None)),
            _ => yield Ok(FlagsUpdate::state(state.now())),
        }
        loop {
            match changes.recv().await {
                Ok(news) => match &news.change {
                    Some(change) if told.contains(&change.id) || change.version <= told_before => {}
                    change => {
                        // The database went back: the same versions are given to other changes.
                        if news.state.flag.version < told_before {
                            told_before = NOTHING;
                        }
                        let version = change.as_ref().map_or(news.state.flag.version, |it| it.version);
                        let line = change.as_ref();
                        let line = line.map(|it| FlagsChange::new(it, news.state.is_stored));
                        let now = FlagsState::new(&state, &news.state);
                        yield Ok(FlagsUpdate::tracked(version, now, line));
                    }
                },
                Err(RecvError::Lagged(_)) => {
                    told_before = NOTHING;
                    yield Ok(FlagsUpdate::state(state.now()));
                }
                Err(RecvError::Closed) => return,
            }
            // Only what was sent between listening and reading could come twice.
            if changes.is_empty() {
                told.clear();
            }
        }
    }
}
