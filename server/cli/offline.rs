//! What is kept of rollouts, read from the database without a server.

use std::{borrow::Cow, io::Write, path::Path, sync::Arc};

use anyhow::{Context as _, bail};

use super::which::{NONE_YET, is_last};
use crate::{
    config::Config,
    rollout::{archive::Archive, plan::is_rehearsal, store::StoredStatus, world::World},
    storage::Storage,
};

async fn open(config: &Config) -> anyhow::Result<(Storage, Archive)> {
    let storage = Storage::open_read_only(&config.database.url).await?;
    let archive = Archive::new(Arc::new(storage.clone()));
    Ok((storage, archive))
}

/// The id for `last`: rehearsals, which concern nobody, are never it.
async fn which<'a>(archive: &Archive, id: &'a str) -> anyhow::Result<Cow<'a, str>> {
    if !is_last(id) {
        return Ok(id.into());
    }
    let stored = archive.list().await?;
    // Of a damaged one nobody knows whether it is the last.
    let read = stored.iter().map(StoredStatus::read);
    let statuses: Vec<_> = read.collect::<anyhow::Result<_>>()?;
    let real = statuses
        .into_iter()
        .filter(|status| !is_rehearsal(&status.tasks));
    let last = real.max_by_key(|status| status.started_at);
    Ok(last.context(NONE_YET)?.id.into())
}

/// Folds the events of a rollout again; fails where something comes out differently.
pub(super) async fn replay(config: &Config, id: &str, json: bool) -> anyhow::Result<()> {
    let (storage, archive) = open(config).await?;
    let replay = async { anyhow::Ok(archive.replay(&which(&archive, id).await?).await?) };
    let replay = replay.await;
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
    let picture = async { anyhow::Ok(archive.plot(&which(&archive, id).await?, now).await?) };
    let picture = picture.await;
    storage.close().await;
    write_out(&picture?, output)
}

/// Writes the deployment log of a rollout.
pub(super) async fn report(config: &Config, id: &str, output: Option<&Path>) -> anyhow::Result<()> {
    let (storage, archive) = open(config).await?;
    let now = World::real().now().wall;
    let report = async { anyhow::Ok(archive.report(&which(&archive, id).await?, now).await?) };
    let report = report.await;
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
