//! Reads the catalog again while the server runs: on SIGHUP, and when its file, or one of a prompt, has changed.
//!
//! What a start would refuse is refused as a whole, and the catalog in use stays. Requests that have begun
//! go on with the one that they began with.

use std::{
    collections::HashMap,
    path::{Path, PathBuf},
    pin::pin,
    sync::Arc,
    time::{Duration, SystemTime},
};

use anyhow::Context as _;
use serde_json::json;
use tokio::time::sleep;

use super::{catalog, signals::Hangups};
use crate::{
    _core::clock,
    alerting::{Alert, Outbox, RESOLVES, Severity},
    config::Config,
    model_router::ModelRouter,
    providers::sandbox::Sandbox,
    rollout::{
        controller::{Controller, Plans},
        plan::Library,
    },
};

/// What a file looks like from outside; another look is another content.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Stamp {
    modified: Option<SystemTime>,
    bytes: u64,
    node: u64,
}

impl Stamp {
    /// Of the file at this path; `None` where there is none.
    pub(super) async fn of(path: &Path) -> Option<Self> {
        let metadata = tokio::fs::metadata(path).await.ok()?;
        #[cfg(unix)]
        let node = std::os::unix::fs::MetadataExt::ino(&metadata);
        #[cfg(not(unix))]
        let node = 0;
        Some(Self {
            modified: metadata.modified().ok(),
            bytes: metadata.len(),
            node,
        })
    }
}

/// Who has to do with a catalog.
pub(super) struct Reload {
    pub(super) config: Config,
    pub(super) models: Arc<ModelRouter>,
    pub(super) controller: Arc<Controller>,
    pub(super) outbox: Arc<dyn Outbox>,
    /// Where the sandbox answers, if it runs.
    pub(super) sandbox_url: Option<String>,
    /// What its file looked like before it was read.
    pub(super) seen: Option<Stamp>,
    pub(super) hangups: Hangups,
}

impl Reload {
    /// Reads it whenever there is a cause, until `stopping` resolves. The built-in catalog never changes, but a model whose key
    /// was refused is asked again once it is read.
    pub(super) async fn run(mut self, stopping: impl Future<Output = ()>) {
        let path = self.config.models.catalog.clone();
        let mut stopping = pin!(stopping);
        let mut seen: Seen = path.iter().map(|it| (it.clone(), self.seen)).collect();
        let name = match &path {
            Some(path) => path.display().to_string(),
            None => "the built-in catalog".to_owned(),
        };
        // Lives as long as providers without a key may be asked.
        let mut sandbox = None;
        let mut refused = Vec::new();
        loop {
            let mut files = self.models.catalog().prompt_files.clone();
            files.extend(path.clone());
            seen.retain(|file, _| files.contains(file));
            tokio::select! {
                () = &mut stopping => return,
                () = self.hangups.next() => seen = look(&files).await,
                () = changed(&files, &mut seen, self.config.models.catalog_poll) => {}
            }
            match self.reload(&mut sandbox).await {
                Ok(()) => self.adopted(&name, &mut refused).await,
                Err(error) => self.refused(&name, &error, &mut refused).await,
            }
        }
    }

    async fn reload(&mut self, sandbox: &mut Option<Sandbox>) -> anyhow::Result<()> {
        let config = &self.config;
        let read = catalog::load(config)?;
        let known = catalog::known(&read);
        let library = Library::load(config.rollout.plans.as_deref(), &known)?;
        if self.sandbox_url.is_none() {
            *sandbox = catalog::sandbox(config, &read).await?;
            self.sandbox_url = sandbox.as_ref().map(|it| it.base_url().to_owned());
        }
        let clients = self.models.clients_of(&read, self.sandbox_url.as_deref());
        let clients = clients.context("the new catalog's providers cannot be spoken to")?;
        self.models.adopt(read, clients).await;
        self.controller.go_by(Plans { library, known });
        Ok(())
    }

    async fn adopted(&self, path: &str, refused: &mut Vec<String>) {
        count("adopted");
        let catalog = self.models.catalog();
        let (models, tasks) = (catalog.models.len(), catalog.tasks.len());
        tracing::info!(path, models, tasks, "the catalog was read again");
        if !refused.is_empty() {
            let resolves = std::mem::take(refused);
            let details =
                json!({"path": path, "models": models, "tasks": tasks, RESOLVES: resolves});
            let title = "The catalog is in use";
            let text = format!("`{path}` was refused before, and is in use now.");
            self.alert(Severity::Info, title, text, details).await;
        }
    }

    async fn refused(&self, path: &str, error: &anyhow::Error, refused: &mut Vec<String>) {
        count("refused");
        let faults = format!("{error:#}");
        tracing::error!(path, "the catalog in use stays: {faults}");
        let title = "A catalog was refused";
        let text = format!("`{path}` has changed and is not used; the one before stays. {faults}");
        let told = self.alert(Severity::Warning, title, text, json!({"path": path}));
        refused.extend(told.await);
        let beyond = refused.len().saturating_sub(MOST_REFUSED);
        refused.drain(..beyond);
    }

    /// Writes an alert; its id where that succeeded.
    #[expect(
        clippy::disallowed_methods,
        reason = "a file that changes is an edge: it has a clock"
    )]
    async fn alert(
        &self,
        severity: Severity,
        title: &str,
        text: String,
        details: serde_json::Value,
    ) -> Option<String> {
        let alert = Alert::of_catalog(severity, title.to_owned(), text, details, clock::now());
        catalog::send(&*self.outbox, &alert)
            .await
            .then_some(alert.id)
    }
}

/// Alerts that a good catalog ends, at most.
const MOST_REFUSED: usize = 100;

fn count(result: &'static str) {
    metrics::counter!("catalog_reloads_total", "result" => result).increment(1);
}

/// What files look like.
type Seen = HashMap<PathBuf, Option<Stamp>>;

async fn look(files: &[PathBuf]) -> Seen {
    let mut seen = Seen::new();
    for file in files {
        seen.insert(file.clone(), Stamp::of(file).await);
    }
    seen
}

/// Resolves when a file is another one than `seen`, and all have looked so twice: one may be under way. Of a file that
/// nobody has seen yet, the first look counts.
async fn changed(files: &[PathBuf], seen: &mut Seen, interval: Duration) {
    let mut before = look(files).await;
    for (file, stamp) in &before {
        seen.entry(file.clone()).or_insert(*stamp);
    }
    loop {
        sleep(interval).await;
        let now = look(files).await;
        if now != *seen && now == before {
            *seen = now;
            return;
        }
        before = now;
    }
}
