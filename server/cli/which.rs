//! Which rollout a command means: its id, the beginning of one, or `last`.

use anyhow::Context as _;

use super::client::Client;
use crate::{
    rollout::plan::is_rehearsal,
    routers::{methods::ROLLOUT_LIST, rollout_router::ListRollouts},
};

/// The word for the rollout that was started last, so that nobody copies an id in a bad hour.
const LAST: &str = "last";
/// There is none.
pub(super) const NONE_YET: &str = "no rollout was started yet";

/// Whether the rollout is meant that was started last. No id begins so, so the case is nobody's concern.
pub(super) fn is_last(id: &str) -> bool {
    id.eq_ignore_ascii_case(LAST)
}

/// The id to ask a server for. Rehearsals, which concern nobody, are never the last.
pub(super) async fn of(client: &Client, id: String) -> anyhow::Result<String> {
    if !is_last(&id) {
        return Ok(id);
    }
    let rollouts = client.call(&ROLLOUT_LIST, &ListRollouts { all: true });
    let rollouts = rollouts.await?;
    let real = rollouts.into_iter().filter(|it| !is_rehearsal(&it.tasks));
    let last = real.max_by_key(|rollout| rollout.started_at);
    Ok(last.context(NONE_YET)?.id)
}
