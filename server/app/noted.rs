//! What a start adds to the audit.

use crate::{
    _core::{clock, errors::in_full},
    config::Config,
    storage::Storage,
};

/// Where one process of several listens is no setting of theirs all.
const OF_ONE_PROCESS: [&str; 1] = ["PORT"];
/// What stands in the place of a secret.
const SECRET: &str = "(set)";

/// Writes into the audit which settings are not what they were at the last start. A database that does not take it is no
/// reason not to start.
#[expect(
    clippy::disallowed_methods,
    reason = "the edge where a start gets its time"
)]
pub(super) async fn settings(storage: &Storage, config: &Config) {
    let given = config.settings.iter().filter(|it| it.origin.is_some());
    let given = given.filter(|it| !OF_ONE_PROCESS.contains(&it.name));
    let values = given.filter_map(|it| {
        let secret = (it.is_secret && it.is_set).then(|| SECRET.to_owned());
        Some((it.name, secret.or_else(|| it.value.clone())?))
    });
    if let Err(error) = storage.note_settings(&values.collect(), clock::now()).await {
        let error = in_full(error.as_ref());
        tracing::warn!(error, "which settings have changed is not in the audit");
    }
}
