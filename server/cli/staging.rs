//! `modelramp staging`: moves testers to the candidate, watches for a day, and says whether to go on with users.
//!
//! What is watched is a rollout on the server, so the command may be stopped or killed: a note beside the report names
//! the rollout, and the same command goes on. The report says what was seen, what is to be done, and what only
//! people know.

mod report;
mod verdict;

use std::{
    io::{ErrorKind, Write as _},
    path::{Path, PathBuf},
    pin::pin,
    time::Duration,
};

use anyhow::{Context as _, bail, ensure};
use chrono::{DateTime, Utc};
use clap::Args;
use serde::{Deserialize, Serialize};
use tokio::time::sleep;

use super::{
    arguments::plan_text,
    client::{CallError, Client},
    findings::{CheckOutcome, Findings},
    smoke,
    table::moment,
};
use crate::{
    _core::{http_client, text_file, units::counted},
    app,
    config::{ClientConfig, Sources},
    routers::{
        methods::{ROLLOUT_GET, ROLLOUT_LIST, ROLLOUT_START, ROLLOUT_VALIDATE},
        rollout_router::{
            ListRollouts, StartRollout, ValidatePlan, WhichRollout, answers::RolloutDetails,
        },
    },
};

/// Arguments of `modelramp staging`.
#[derive(Debug, Args)]
pub(super) struct Arguments {
    /// The server's address; HOST and PORT of the settings where it is not given.
    #[arg(long, value_name = "URL")]
    url: Option<String>,
    /// The plan: its name, or a TOML file.
    #[arg(long, default_value = "staging")]
    plan: String,
    /// How long it is watched, from the rollout's start on.
    #[arg(long = "for", value_name = "TIME", default_value = "24h", value_parser = humantime::parse_duration)]
    duration: Duration,
    /// Where the report goes. A note beside it names the rollout until then.
    #[arg(long, short, value_name = "FILE", default_value = "staging-report.md")]
    output: PathBuf,
    /// Why, for the rollout's history.
    #[arg(long, default_value = "staging")]
    reason: String,
}

/// The longest and the shortest pause between two looks, and how many looks there are at least.
const MOST_PAUSE: Duration = Duration::from_secs(10);
const LEAST_PAUSE: Duration = Duration::from_secs(1);
const LOOKS: u32 = 20;
/// How long after the end a server may be away before this is given up.
const PATIENCE: Duration = Duration::from_secs(600);

/// What is watched; the note beside the report.
#[derive(Debug, Serialize, Deserialize)]
struct Watched {
    rollout: String,
}

/// What was seen when the time was over.
struct Seen {
    details: RolloutDetails,
    until: DateTime<Utc>,
}

/// Starts or goes on, watches, and writes the report; fails where it says no-go.
pub(super) async fn run(arguments: Arguments, sources: &Sources) -> anyhow::Result<()> {
    http_client::install_tls();
    let config = ClientConfig::load(sources, arguments.url.clone())?;
    let client = Client::new(&config)?;
    let note = beside(&arguments.output, ".watching");
    let id = match read(&note)? {
        Some(watched) => {
            print(&format!("going on with rollout {}", watched.rollout))?;
            watched.rollout
        }
        None => {
            let shown = arguments.output.display();
            let is_there = arguments.output.exists();
            ensure!(
                !is_there,
                "`{shown}` is there already; name another file with `--output`"
            );
            let rollout = begin(&client, &arguments).await?;
            let watched = Watched { rollout };
            write(&note, &serde_json::to_string(&watched)?)?;
            watched.rollout
        }
    };
    let seen = watch(&client, &id, arguments.duration).await?;
    let mut findings = Findings::default();
    verdict::of_rollout(&seen.details, &mut findings);
    let told = verdict::of_alerts(&client, &seen.details, &mut findings).await;
    smoke::look(&client, &mut findings).await;
    let history = report::history(&client, &id).await?;
    let page = report::page(&seen, &findings, &told, &history, &config.url);
    write(&arguments.output, &page)?;
    std::fs::remove_file(&note).with_context(|| format!("cannot remove `{}`", note.display()))?;
    let failed = findings.count(CheckOutcome::Fail);
    let shown = arguments.output.display();
    if failed > 0 {
        let failed = counted(failed, "check");
        bail!("no-go: {failed} failed; `{shown}` says which, and what to do");
    }
    writeln!(
        std::io::stdout(),
        "go: nothing failed, and {} for people to look at; see `{shown}`",
        match findings.count(CheckOutcome::Warn) {
            1 => "1 check is".to_owned(),
            warned => format!("{warned} checks are"),
        }
    )?;
    Ok(())
}

/// The rollout of the plan that is under way, or a new one.
async fn begin(client: &Client, arguments: &Arguments) -> anyhow::Result<String> {
    let plan = plan_text(&arguments.plan)?;
    let input = ValidatePlan {
        plan: plan.clone(),
        requests_per_day: None,
        baseline: None,
    };
    let checked = client.call(&ROLLOUT_VALIDATE, &input).await?;
    let faults: Vec<_> = checked
        .faults
        .iter()
        .map(|it| it.message.as_str())
        .collect();
    let name = (checked.plan.map(|it| it.name))
        .with_context(|| format!("the plan cannot be used: {}", faults.join("; ")))?;
    let live = client.call(&ROLLOUT_LIST, &ListRollouts::default()).await?;
    // It may have been started by a run that was killed before it could note it down.
    if let Some(live) = live.into_iter().find(|it| it.plan == name) {
        print(&format!(
            "rollout {} of plan `{name}` is under way; it is watched",
            live.id
        ))?;
        return Ok(live.id);
    }
    let start = StartRollout {
        plan,
        reason: arguments.reason.clone(),
        keep_users: false,
        take_back: false,
    };
    let started = client.call(&ROLLOUT_START, &start).await?;
    print(&format!(
        "rollout {} of plan `{name}` has begun",
        started.state.id
    ))?;
    for moves in &started.moves {
        print(moves)?;
    }
    Ok(started.state.id)
}

/// Looks at it until its time is over, or it is.
#[expect(clippy::disallowed_methods, reason = "a command looks now")]
async fn watch(client: &Client, id: &str, duration: Duration) -> anyhow::Result<Seen> {
    let pause = (duration / LOOKS).clamp(LEAST_PAUSE, MOST_PAUSE);
    let mut interrupted = pin!(app::stop_signal()?);
    let which = WhichRollout { id: id.to_owned() };
    let mut version = None;
    let mut away_since = None;
    loop {
        let now = Utc::now();
        match client.call(&ROLLOUT_GET, &which).await {
            Ok(details) => {
                away_since = None;
                let state = &details.state;
                if version.replace(state.version) != Some(state.version) {
                    let (name, share, reason) = (state.state.name(), state.share, &state.reason);
                    print(&format!("{}  {name} at {share} %: {reason}", moment(now)))?;
                }
                let ends = state.started_at + duration;
                if !state.live || now >= ends {
                    let until = state.ended_at.unwrap_or(now);
                    return Ok(Seen { details, until });
                }
            }
            Err(
                error @ (CallError::Unreachable { .. }
                | CallError::Slow { .. }
                | CallError::Foreign { .. }),
            ) => {
                let since = *away_since.get_or_insert(now);
                if since == now {
                    print(&format!("{}  {error}; it is tried again", moment(now)))?;
                }
                if (now - since).to_std().unwrap_or_default() > PATIENCE.max(duration) {
                    return Err(error).context("given up; the same command goes on");
                }
            }
            Err(error) => return Err(error.into()),
        }
        tokio::select! {
            () = &mut interrupted => bail!(
                "stopped; rollout {id} goes on, and the same command goes on watching it"
            ),
            () = sleep(pause) => {}
        }
    }
}

/// A file beside another.
fn beside(file: &Path, ending: &str) -> PathBuf {
    let mut name = file.as_os_str().to_owned();
    name.push(ending);
    PathBuf::from(name)
}

fn read(note: &Path) -> anyhow::Result<Option<Watched>> {
    let shown = note.display();
    let text = match text_file::read(note) {
        Ok(text) => text,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error).with_context(|| format!("cannot read `{shown}`")),
    };
    let watched = serde_json::from_str(&text);
    let watched =
        watched.with_context(|| format!("`{shown}` names no rollout; remove it to begin anew"))?;
    Ok(Some(watched))
}

/// The whole file, or none of it.
fn write(file: &Path, text: &str) -> anyhow::Result<()> {
    let half = beside(file, ".part");
    std::fs::write(&half, text)
        .and_then(|()| std::fs::rename(&half, file))
        .with_context(|| format!("cannot write `{}`", file.display()))
}

fn print(line: &str) -> anyhow::Result<()> {
    Ok(writeln!(std::io::stderr(), "{line}")?)
}
