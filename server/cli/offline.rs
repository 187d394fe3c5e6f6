//! What is kept of rollouts, read from the database without a server.

use std::{io::Write, path::Path, sync::Arc};

use anyhow::{Context as _, bail};

use crate::{
    config::Config,
    rollout::{archive::Archive, world::World},
    storage::Storage,
};

async fn open(config: &Config) -> anyhow::Result<(Storage, Archive)> {
    let storage = Storage::open_read_only(&config.database.url).await?;
    let archive = Archive::new(Arc::new(storage.clone()));
    Ok((storage, archive))
}

/// Folds the events of a rollout again; fails where something comes out differently.
pub(super) async fn replay(config: &Config, id: &str, json: bool) -> anyhow::Result<()> {
    let (storage, archive) = open(config).await?;
    let replay = archive.replay(id).await;
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

/// Draws how a rollout went.
pub(super) async fn plot(config: &Config, id: &str, output: Option<&Path>) -> anyhow::Result<()> {
    let (storage, archive) = open(config).await?;
    let now = World::real().now().wall;
    let picture = archive.plot(id, now).await;
    storage.close().await;
    write_out(&picture?, output)
}

/// Writes the deployment log of a rollout.
pub(super) async fn report(config: &Config, id: &str, output: Option<&Path>) -> anyhow::Result<()> {
    let (storage, archive) = open(config).await?;
    let now = World::real().now().wall;
    let report = archive.report(id, now).await;
    storage.close().await;
    write_out(&report?, output)
}

/// Into a file, or to standard output.
fn write_out(text: &str, output: Option<&Path>) -> anyhow::Result<()> {
    match output {
        Some(file) => {
            std::fs::write(file, text).with_context(|| format!("cannot write `{}`", file.display()))
        }
        None => Ok(write!(std::io::stdout(), "{text}")?),
    }
}
