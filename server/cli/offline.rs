//! What is kept of rollouts, read from the database without a server.

use std::{io::Write, path::Path, sync::Arc};

use anyhow::{Context as _, bail};

use crate::{
    _core::{config::Config, feature_flags::FeatureFlags},
    ai_metrics::AiMetrics,
    rollout::{
        controller::{Controller, Parts, World},
        plan::{Known, Library},
    },
    storage::Storage,
};

/// A controller that never runs: it takes no lease, decides nothing and writes nothing.
async fn open(config: &Config) -> anyhow::Result<(Storage, Arc<Controller>)> {
    let storage = Storage::open_read_only(&config.database.url).await?;
    let controller = Controller::open(Parts {
        store: Arc::new(storage.clone()),
        flags: Arc::new(FeatureFlags::new(config.flags.clone())),
        metrics: Arc::new(AiMetrics::drained()),
        library: Library::default(),
        known: Known::default(),
        world: World::real(),
        holder: "a command that only reads".to_owned(),
    })
    .await?;
    Ok((storage, controller))
}

/// Folds the events of a rollout again; fails where something comes out differently.
pub(super) async fn replay(config: &Config, id: &str, json: bool) -> anyhow::Result<()> {
    let (storage, controller) = open(config).await?;
    let replay = controller.replay(id).await;
    storage.close().await;
    let replay = replay?;
    let mut out = std::io::stdout().lock();
    if json {
        serde_json::to_writer_pretty(&mut out, &replay)?;
        writeln!(out)?;
    } else {
        for decision in &replay.decisions {
            let verdict = if decision.same_verdict {
                "the same verdict"
            } else {
                "ANOTHER verdict"
            };
            let (version, action) = (decision.version, &decision.action);
            writeln!(out, "version {version:<4} {action:<14} {verdict}")?;
        }
        for remark in &replay.remarks {
            writeln!(out, "note: {remark}")?;
        }
        let (events, ratings) = (replay.events, replay.ratings);
        writeln!(
            out,
            "{events} events were folded, {ratings} of them ratings"
        )?;
    }
    if !replay.is_identical {
        bail!("the replay differs from what was stored: see the lines and notes above");
    }
    if !json {
        writeln!(out, "identical, bit for bit")?;
    }
    Ok(())
}

/// Writes the deployment log of a rollout.
pub(super) async fn report(config: &Config, id: &str, output: Option<&Path>) -> anyhow::Result<()> {
    let (storage, controller) = open(config).await?;
    let report = controller.report(id).await;
    storage.close().await;
    let report = report?;
    match output {
        Some(file) => std::fs::write(file, report)
            .with_context(|| format!("cannot write `{}`", file.display())),
        None => Ok(write!(std::io::stdout(), "{report}")?),
    }
}
