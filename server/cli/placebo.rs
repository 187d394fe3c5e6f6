//! `modelramp rollout placebo`: what a plan would have taken back without a cause, on one's own traffic.

use std::{
    io::{IsTerminal as _, Write as _},
    num::NonZero,
    sync::atomic::{AtomicU32, Ordering},
};

use anyhow::{Context as _, bail};
use chrono::TimeDelta;
use clap::Args;

use super::{arguments::plan_text, client::ClientOptions};
use crate::{
    config::Config,
    rollout::{
        placebos::Placebo,
        plan::{KnownNames, Library, Plan},
        simulate::placebo::{self, ControlLog, PlaceboStore as _},
        world::World,
    },
    routers::methods::{MakePlacebo, ROLLOUT_PLACEBO},
    storage::Storage,
};

/// Rollouts that a server makes at most.
const MOST_KEPT: u32 = 50;
/// Requests that are divided: the first of them.
const MOST: usize = 2_000_000;

/// Which rollouts.
#[derive(Debug, Args)]
pub(super) struct Arguments {
    /// A plan's name, a TOML file, or `-` for standard input.
    #[arg(long, default_value = "standard")]
    plan: String,
    /// How many days of traffic, up to now.
    #[arg(long, default_value_t = 14, value_parser = clap::value_parser!(i64).range(1..=365))]
    days: i64,
    /// How many rollouts.
    #[arg(long, default_value_t = 200, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    salts: u32,
    /// Another seed divides the users in other ways; the same one in the same.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Has the running server make them, of fewer requests and at most 50 rollouts, and keep what came of it: for the
    /// report, for whoever starts the plan, and where the plan demands it.
    #[arg(long)]
    pub(super) keep: bool,
}

/// Has the running server make them, and keep what came of it.
pub(super) async fn keep(ask: &ClientOptions<'_>, arguments: Arguments) -> anyhow::Result<String> {
    let input = MakePlacebo {
        plan: plan_text(&arguments.plan)?,
        days: Some(arguments.days),
        salts: Some(arguments.salts.min(MOST_KEPT)),
        seed: Some(arguments.seed),
    };
    ask.show(&ROLLOUT_PLACEBO, &input, |kept| {
        format!("{}\n", kept.placebo)
    })
    .await
}

/// Reads the database, divides, judges, and prints; fails where more is taken back than chance explains.
pub(super) async fn run(config: &Config, arguments: Arguments, json: bool) -> anyhow::Result<()> {
    let Arguments {
        plan,
        days,
        salts,
        seed,
        keep: _,
    } = arguments;
    let plan = find(config, &plan)?;
    let log = read(config, &plan, days).await?;
    if log.requests() == 0 {
        bail!(
            "no request of the last {days} days was answered by control, so there is nothing to divide"
        );
    }
    let work = move || {
        let shown = AtomicU32::new(0);
        let is_terminal = std::io::stderr().is_terminal();
        let threads = std::thread::available_parallelism().unwrap_or(NonZero::<usize>::MIN);
        let placebo = placebo::run(&plan, &log, salts, seed, threads, &|done| {
            // Called from every thread; a closed standard error is no reason to stop.
            if is_terminal && shown.fetch_max(done, Ordering::Relaxed) < done {
                let _ = write!(std::io::stderr(), "\r{done} of {salts} rollouts");
            }
        });
        if is_terminal {
            let _ = write!(std::io::stderr(), "\r\u{1b}[K");
        }
        placebo
    };
    let placebo = tokio::task::spawn_blocking(work).await;
    show(&placebo.context("the rollouts could not be judged")?, json)
}

fn show(placebo: &Placebo, json: bool) -> anyhow::Result<()> {
    let mut out = std::io::stdout().lock();
    if json {
        serde_json::to_writer_pretty(&mut out, placebo)?;
        writeln!(out)?;
    } else {
        writeln!(out, "{placebo}")?;
    }
    if placebo.is_too_often() {
        bail!(
            "on this traffic the plan takes back more than its tests are meant to: raise `rollback`, leave the metric \
             out of `weights`, or begin with a larger share"
        );
    }
    Ok(())
}

/// A plan of the settings' folder, one that ships, or a text.
fn find(config: &Config, plan: &str) -> anyhow::Result<Plan> {
    let (text, known) = (plan_text(plan)?, KnownNames::default());
    if Plan::is_text(&text) {
        return Ok(Plan::parse(&text, plan, &known)?);
    }
    let library = Library::load(config.rollout.plans.as_deref(), &known)?;
    let found = library.get(text.trim()).cloned();
    found.with_context(|| {
        let known: Vec<_> = library.plans().map(|plan| plan.name.as_str()).collect();
        format!("unknown plan `{text}`; known are {}", known.join(", "))
    })
}

async fn read(config: &Config, plan: &Plan, days: i64) -> anyhow::Result<ControlLog> {
    let storage = Storage::open_read_only(&config.database.url).await?;
    let now = World::real().now().wall;
    let span = (now - TimeDelta::days(days), now);
    let log = storage.control_traffic(&plan.tasks, span, MOST).await;
    storage.close().await;
    log
}
