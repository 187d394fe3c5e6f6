//! What this process has to have in common with the others on its database ([`crate::fleet::alike`]).

use std::sync::Arc;

use super::sessions;
use crate::{
    config::Config,
    fleet::{
        alike::{CATALOG, PLANS, mark, mark_of_secret},
        replica::Marks,
    },
    model_router::{ModelRouter, catalog::Catalog},
    rollout::{controller::Controller, plan::Library},
};

/// Settings that decide what users get, who they are, and how much of it there is. All others are a process's own, as its
/// address and its way to the database, or change what nobody sees who goes from one process to another.
const OF_ALL: [&str; 25] = [
    "ADMIN_ROLES",
    "ASSIGNMENT_ALGORITHM",
    "ASSIGNMENT_SALT",
    "ATTEMPT_TIMEOUT",
    "CHAT_DEADLINE",
    "CHAT_HISTORY_TOKENS",
    "CHAT_RATE_LIMIT",
    "EVENT_RETENTION",
    "FORCED_OFF_USERS",
    "FORCED_ON_USERS",
    "FORCE_MODEL_ROUTING",
    "FORCE_OPENROUTER",
    "FORCE_SERVER_SIDE_CHAT",
    "FORCE_STREAMING",
    "FORCE_UTCP",
    "MODEL_ROUTING",
    "OPENROUTER_ROLLOUT_PERCENTAGE",
    "OWNER_OPEN_ID",
    "ROLE_CLAIM",
    "SESSION_TTL",
    "TEXT_RETENTION",
    "TEXT_TASKS",
    "VIEWER_ROLES",
    "VITE_APP_ID",
    "WRONG_KEYS_PER_MINUTE",
];

/// Marks what is in force now, whenever it is asked: the catalog may be read again.
///
/// # Errors
///
/// Where there is no secret that signs sessions.
pub(super) fn marks(
    config: &Config,
    models: &Arc<ModelRouter>,
    controller: &Arc<Controller>,
) -> anyhow::Result<impl Fn() -> Marks + Send + Sync + use<>> {
    let settings = config
        .settings
        .iter()
        .filter(|it| OF_ALL.contains(&it.name));
    let settings = settings.map(|it| mark(it.name, it.value.as_deref().unwrap_or_default()));
    let secret = mark_of_secret(&sessions::session_secret(config)?)?;
    let settings: Marks = settings.chain([secret]).collect();
    let (models, controller) = (models.clone(), controller.clone());
    Ok(move || {
        let mut marks = settings.clone();
        marks.extend([
            mark(CATALOG, &as_text(&models.catalog())),
            mark(PLANS, &plans_as_text(&controller.plans().library)),
        ]);
        marks
    })
}

/// All that a catalog says; where its files lie is each process's own.
fn as_text(catalog: &Catalog) -> String {
    let Catalog {
        providers,
        models,
        tasks,
        unrouted,
        privacy,
        prompt_files: _,
    } = catalog;
    format!("{providers:?} {models:?} {tasks:?} {unrouted:?} {privacy:?}")
}

fn plans_as_text(library: &Library) -> String {
    format!("{library:?}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Sources;

    #[test]
    fn two_that_read_the_same_say_the_same() {
        let sources = Sources::default();
        let config = Config::load(&sources).expect("a configuration");
        for name in OF_ALL {
            assert!(config.settings.iter().any(|it| it.name == name), "{name}");
        }
        let read = || crate::app::catalog::load(&config).expect("a catalog");
        assert_eq!(as_text(&read()), as_text(&read()));
        let known = crate::app::catalog::known(&read());
        let plans = || Library::load(None, &known).expect("plans");
        assert_eq!(plans_as_text(&plans()), plans_as_text(&plans()));
    }
}
