//! What the store keeps of rollouts, for whoever only reads: a server's procedures, and commands that
//! need no server.
//!
//! A controller's memory is ahead of it by a tick's changes and some seconds of evidence.

use std::{borrow::Cow, sync::Arc};

use chrono::{DateTime, Utc};

use super::{
    audit::{self, Explanation},
    course::Course,
    errors::ControlError,
    plot,
    replay::{self, Replay},
    report,
    rollout::Rollout,
    store::{AuditRow, RolloutStore, StoredStatus},
    view::View,
};

/// Lines of the history that are read at once.
pub const PAGE: usize = 200;
/// Characters of a UUID.
const ID_LENGTH: usize = 36;
/// Ids that are named where the beginning of one is not enough.
const AMBIGUOUS: usize = 5;

/// Reads rollouts. Wherever an id is asked for, its beginning is enough if no other begins so.
#[derive(Clone)]
pub struct Archive {
    store: Arc<dyn RolloutStore>,
}

impl Archive {
    /// An archive over a store.
    pub fn new(store: Arc<dyn RolloutStore>) -> Self {
        Self { store }
    }

    /// All rollouts, the newest first, also those that are damaged.
    pub async fn list(&self) -> Result<Vec<StoredStatus>, ControlError> {
        self.store.statuses().await.map_err(ControlError::Store)
    }

    /// One rollout with what its traffic proves at a moment.
    pub async fn get(&self, id: &str, at: DateTime<Utc>) -> Result<View, ControlError> {
        Ok(View::of(&self.rollout(id).await?, at))
    }

    /// One rollout, whole.
    pub async fn rollout(&self, id: &str) -> Result<Rollout, ControlError> {
        let id = &*self.whole_id(id).await?;
        let stored = self.store.rollout(id).await.map_err(ControlError::Store)?;
        match stored {
            Some(stored) => Rollout::from_stored(&stored).map_err(ControlError::Store),
            None => Err(ControlError::UnknownRollout { id: id.to_owned() }),
        }
    }

    /// Its history, oldest first.
    pub async fn history(&self, id: &str) -> Result<Vec<AuditRow>, ControlError> {
        let id = &*self.whole_id(id).await?;
        let rows = self.store.audit(id).await.map_err(ControlError::Store)?;
        if rows.is_empty() {
            // A start is in it, so there is no such rollout, or its history is gone.
            self.rollout(id).await?;
        }
        Ok(rows)
    }

    /// The history of all rollouts after a place, at most some hundred lines at once, each with its place.
    pub async fn history_after(&self, place: i64) -> Result<Vec<(i64, AuditRow)>, ControlError> {
        let read = self.store.audit_after(place, PAGE).await;
        read.map_err(ControlError::Store)
    }

    /// The place of the last line of that history.
    pub async fn last_place(&self) -> Result<i64, ControlError> {
        self.store.last_place().await.map_err(ControlError::Store)
    }

    /// The place of the line that made a version, or of the last line before a time (milliseconds since 1970).
    pub async fn place_of(&self, id: &str, version: i64, at_ms: i64) -> Result<i64, ControlError> {
        let read = self.store.place_of(id, version, at_ms).await;
        read.map_err(ControlError::Store)
    }

    /// Each decision with its evidence in words and figures, oldest first.
    pub async fn why(&self, id: &str) -> Result<Vec<Explanation>, ControlError> {
        let rows = self.history(id).await?;
        Ok(rows.iter().map(audit::explain).collect())
    }

    /// The deployment log, as Markdown, with the figures of a moment.
    pub async fn report(&self, id: &str, at: DateTime<Utc>) -> Result<String, ControlError> {
        let view = self.get(id, at).await?;
        let rows = self.history(&view.status.id).await?;
        let placebo = self.store.newest_placebo(&view.status.plan).await;
        let placebo = placebo.map_err(ControlError::Store)?;
        Ok(report::markdown(&view, &rows, placebo.as_ref()))
    }

    /// Draws how a rollout went, up to a moment, as SVG: its log is folded again.
    pub async fn plot(&self, id: &str, at: DateTime<Utc>) -> Result<String, ControlError> {
        let rollout = self.rollout(id).await?;
        let until = rollout.status.ended_at.unwrap_or(at);
        let mut course = Course::new(&rollout.status, until);
        let id = &rollout.status.id;
        let replayed = replay::replay_watched(&*self.store, id, &mut |it| course.see(&it)).await;
        if let Some(replay) = replayed.map_err(ControlError::Store)? {
            let gone = replay.events_stored.saturating_sub(replay.events);
            if gone > 0 {
                course.lacks(gone, &View::of(&rollout, until).verdict);
            }
        }
        Ok(plot::svg(&course))
    }

    /// Folds the log of a rollout again, and compares.
    pub async fn replay(&self, id: &str) -> Result<Replay, ControlError> {
        let id = &*self.whole_id(id).await?;
        let replay = replay::replay(&*self.store, id).await;
        let unknown = || ControlError::UnknownRollout { id: id.to_owned() };
        replay.map_err(ControlError::Store)?.ok_or_else(unknown)
    }

    /// The id that begins so, in small or capital letters. A whole one stays as it is; whether there is
    /// such a rollout shows later.
    pub async fn whole_id<'a>(&self, id: &'a str) -> Result<Cow<'a, str>, ControlError> {
        let small = id.to_ascii_lowercase();
        let id = if small == id {
            Cow::from(id)
        } else {
            Cow::from(small)
        };
        if id.is_empty() || id.len() >= ID_LENGTH {
            return Ok(id);
        }
        let mut matches: Vec<_> = self.list().await?.into_iter().map(|it| it.id).collect();
        matches.retain(|it| it.starts_with(&*id));
        match &*matches {
            [] => Ok(id),
            [one] => Ok(one.clone().into()),
            _ => {
                matches.truncate(AMBIGUOUS);
                let id = id.into_owned();
                Err(ControlError::Ambiguous { id, matches })
            }
        }
    }
}
