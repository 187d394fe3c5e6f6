//! What one tick of the rollouts' controller costs on a SQLite file, and a look at new events alone:
//! `cargo bench --bench tick`.
//!
//! The controller's clock is made up and moves on a second with each tick, so evidence is stored as
//! often as in a server, with every fifth.

#![expect(clippy::print_stdout, reason = "a benchmark prints its figures")]

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use anyhow::ensure;
use chrono::{DateTime, TimeDelta};
use modelramp::{
    _core::{
        actor::Actor,
        assignment::{Subject, Variant},
        feature_flags::FeatureFlags,
        units::Microdollars,
    },
    ai_metrics::AiMetrics,
    config::{Config, Sources},
    providers::fault::FaultKind,
    recording::{Attempted, Event, Log, Outcome},
    rollout::{
        controller::{Controller, ControllerParts, Wishes, World},
        plan::{KnownNames, Library},
        status::Moment,
    },
    storage::Storage,
};
use tempfile::TempDir;

const BEGIN_MS: i64 = 1_762_637_425_678;
/// Of each case.
const TICKS: usize = 400;
/// Events that each rollout has seen before.
const BEFORE: usize = 20_000;
const USERS: u64 = 20_011;

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    println!("{:<36}{:>10}{:>10}{:>10}", "", "median", "p99", "longest");
    for (rollouts, events) in [(1, 0), (10, 0), (1, 1_000), (10, 1_000)] {
        let mut rig = Rig::new(rollouts).await?;
        let (mut ticks, mut looks) = (Vec::new(), Vec::new());
        for _ in 0..TICKS {
            rig.second(events);
            let started = Instant::now();
            let is_written = rig.controller.tick().await;
            ticks.push(started.elapsed());
            ensure!(is_written, "a tick did not write");
        }
        for _ in 0..TICKS {
            rig.second(events);
            let started = Instant::now();
            rig.controller.look();
            looks.push(started.elapsed());
            ensure!(rig.controller.tick().await, "a tick did not write");
        }
        let statuses = rig.controller.list().await?;
        let live = statuses.iter().filter(|it| !it.state.is_final()).count();
        ensure!(live == rollouts, "a rollout has ended");
        for (what, times) in [("tick", &mut ticks), ("look", &mut looks)] {
            line(&format!("{what}, {rollouts} live, {events} events"), times);
        }
        rig.storage.close().await;
    }
    Ok(())
}

fn line(what: &str, times: &mut [Duration]) {
    times.sort_unstable();
    let ms = |permille: usize| {
        let place = (times.len() * permille / 1_000).min(times.len() - 1);
        format!("{:.2} ms", times[place].as_secs_f64() * 1_000.0)
    };
    let (median, p99, longest) = (ms(500), ms(990), ms(1_000));
    println!("{what:<36}{median:>10}{p99:>10}{longest:>10}");
}

/// A controller over a file of its own.
struct Rig {
    controller: Arc<Controller>,
    flags: Arc<FeatureFlags>,
    metrics: Arc<AiMetrics>,
    storage: Storage,
    /// Milliseconds since the beginning.
    clock: Arc<AtomicU64>,
    rollouts: usize,
    requests: u64,
    _folder: TempDir,
}

impl Rig {
    /// With so many live rollouts, one for each task.
    async fn new(rollouts: usize) -> anyhow::Result<Self> {
        // A disk, where a temporary folder might be memory.
        let folder = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR"))?;
        let url = format!("sqlite://{}", folder.path().join("tick.db").display());
        let config = Config::load(&Sources {
            environment: [("DATABASE_URL".to_owned(), url.clone())].into(),
            working_dir: folder.path().to_owned(),
            config_file: None,
        })?;
        let clock = Arc::new(AtomicU64::new(0));
        let storage = Storage::open(&url).await?;
        let flags = Arc::new(FeatureFlags::new(config.flags));
        let log = Arc::new(Log::default());
        let metrics = Arc::new(AiMetrics::over(log.clone()));
        let controller = Controller::open(ControllerParts {
            store: Arc::new(storage.clone()),
            flags: flags.clone(),
            metrics: metrics.clone(),
            log,
            library: Library::default(),
            known: KnownNames::default(),
            world: world(clock.clone()),
            seen: Default::default(),
            holder: "bench".into(),
        })
        .await?;
        let mut rig = Self {
            controller,
            flags,
            metrics,
            storage,
            clock,
            rollouts,
            requests: 0,
            _folder: folder,
        };
        for task in 0..rollouts {
            let plan = format!(
                "name = \"bench-{task}\"\ntasks = [\"task-{task}\"]\ndeadline = \"30days\"\n\
                 [no_traffic]\nalert_after = \"7days\"\nhold = false\n\
                 [[stages]]\nshare = 50\nsoak = \"29days\"\n"
            );
            let started =
                rig.controller
                    .start(&plan, "a bench", &Actor::User(1), Wishes::default());
            started.await?;
        }
        for _ in 0..20 {
            rig.second(BEFORE / 20 * rollouts);
            ensure!(rig.controller.tick().await, "a tick did not write");
        }
        Ok(rig)
    }

    /// A second passes, with so many requests.
    fn second(&mut self, requests: usize) {
        self.clock.fetch_add(1_000, Ordering::Relaxed);
        let at_ms = BEGIN_MS + self.clock.load(Ordering::Relaxed).cast_signed();
        for _ in 0..requests {
            self.requests += 1;
            let random = self.requests.wrapping_mul(0x9e37_79b9_7f4a_7c15);
            let task = format!("task-{}", self.requests as usize % self.rollouts);
            let user = (random % USERS + 1).cast_signed();
            let subject = Subject::User(user);
            let assigned = self.flags.assign(&task, Some(&subject));
            let variant = assigned.decision.variant;
            let attempt = Event::of_attempt(Attempted {
                request_id: format!("0193f0c2-0000-7000-8000-{random:012x}").into(),
                subject: Some(&subject),
                rollout: assigned.rollout.and_then(|rollout| rollout.judged_as()),
                counted: true,
                model: match variant {
                    Variant::Control => "gemma-3-27b".into(),
                    Variant::Candidate => "glm-4.5-air-free".into(),
                },
                task: task.into(),
                variant,
                position: 0,
            });
            self.metrics.record(Event {
                at_ms,
                latency_ms: 300.0 + (random % 3_000) as f64,
                first_token_ms: Some(100.0),
                words_ms: None,
                prompt_tokens: 300,
                completion_tokens: 120,
                quality: None,
                answer_chars: None,
                status: None,
                cause: None,
                finish: None,
                cost: Microdollars(42),
                outcome: if random.is_multiple_of(100) {
                    Outcome::Fault(FaultKind::Upstream)
                } else {
                    Outcome::Success
                },
                ..attempt
            });
        }
    }
}

/// A clock that is told, and ids that differ.
fn world(clock: Arc<AtomicU64>) -> World {
    let ids = AtomicU64::new(0);
    let now = move || {
        let ms = clock.load(Ordering::Relaxed);
        let begin = DateTime::from_timestamp_millis(BEGIN_MS).unwrap_or_default();
        Moment {
            wall: begin + TimeDelta::milliseconds(ms.cast_signed()),
            monotonic: Duration::from_millis(ms),
        }
    };
    let random = move || u128::from(ids.fetch_add(1, Ordering::Relaxed)) << 64 | 1;
    World::new(now, random)
}
