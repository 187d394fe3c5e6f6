//! Who is in the fleet: each process says every two seconds that it lives, and what it has in force.
//!
//! A process that says nothing for 15 s is gone, as far as the others can tell: it was killed, is frozen, or has no way to
//! the database. After a day nobody speaks of it any more. The same word and its answer tell the process how far its clock
//! is from the database's ([`clock`]).

use std::{
    future::Future,
    pin::pin,
    sync::{Arc, OnceLock},
    time::{Duration, Instant},
};

use async_trait::async_trait;
use chrono::{DateTime, SubsecRound, Utc};
use parking_lot::Mutex;
use serde::{Deserialize, Serialize};
use tokio::time::{sleep, timeout};

use crate::{
    _core::{
        clock::{self, Ahead, Belief},
        errors::in_full,
        failure_edge::FailureEdge,
        feature_flags::FeatureFlags,
        units::Percent,
    },
    recording::Log,
    rollout::controller::Controller,
};

/// Between two words.
const INTERVAL: Duration = Duration::from_secs(2);
/// Between two looks whether something else is in force, which is said at once.
const LOOK: Duration = Duration::from_millis(250);
/// How long a word may take; the next says the same.
const PATIENCE: Duration = Duration::from_secs(5);
/// How long the last word may, at a stop.
const LAST_PATIENCE: Duration = Duration::from_secs(1);
/// How often a start asks for the time: the quickest answer counts.
const QUESTIONS: usize = 3;

/// A process as it introduces itself.
#[derive(Clone, Debug)]
pub struct Introduced {
    /// Names it, as the lease does.
    pub holder: String,
    /// Its machine and port.
    pub name: String,
    /// Its release.
    pub release: &'static str,
}

/// What a process says of itself.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ReplicaReport {
    /// Events that are not stored yet.
    pub waiting: u64,
    /// Events that found no room since it began.
    pub dropped: u64,
    /// Events that the database refused since it began.
    pub set_aside: u64,
    /// How far its machine's clock is ahead of the database's, in milliseconds.
    pub ahead_ms: i64,
    /// What it has in force: the kill switch and each rollout that is under way.
    pub in_force: Vec<ReportedVersion>,
}

/// A version that is in force.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ReportedVersion {
    /// The rollout's id, or [`FLAGS`].
    pub of: String,
    /// Its version.
    pub version: i64,
    /// The share that users get, in percent.
    pub share: Percent,
}

/// The kill switch with the live share, among what is in force.
pub const FLAGS: &str = "flags";

/// A process that said something within a day.
#[derive(Clone, Debug)]
pub struct Replica {
    /// Names it, as the lease does.
    pub holder: String,
    /// Its machine and port.
    pub name: String,
    /// Its release.
    pub release: String,
    /// When it said its first word, by the clock of the database.
    pub started_at: DateTime<Utc>,
    /// When it said its last.
    pub seen_at: DateTime<Utc>,
    /// Whether it said that it stops.
    pub has_ended: bool,
    /// What it said last.
    pub report: ReplicaReport,
}

/// All processes on a database.
#[derive(Clone, Debug)]
pub struct Roll {
    /// By the clock of the database.
    pub now: DateTime<Utc>,
    /// Who moves the rollouts, if anybody does.
    pub leader: Option<String>,
    /// Those of the last day, the newest first; at most [`MOST`].
    pub replicas: Vec<Replica>,
}

/// Processes that are told of at most: those that said something last.
pub const MOST: usize = 200;

/// Where processes say that they live. Times are those of the database.
#[async_trait]
pub trait ReplicaStore: Send + Sync {
    /// The time, in milliseconds since 1970; `None` where no other process can be on the database.
    async fn clock_ms(&self) -> anyhow::Result<Option<i64>>;
    /// Says that a process lives. Returns the time.
    async fn say(&self, who: &Introduced, report: &ReplicaReport) -> anyhow::Result<i64>;
    /// Says that a process stops.
    async fn bow_out(&self, holder: &str) -> anyhow::Result<()>;
    /// Who said something within a day.
    async fn roll(&self) -> anyhow::Result<Roll>;
}

/// What this process says, and what the others said.
pub struct Replicas {
    store: Arc<dyn ReplicaStore>,
    controller: Arc<Controller>,
    flags: Arc<FeatureFlags>,
    log: Arc<Log>,
    is_shared: bool,
    since: DateTime<Utc>,
    /// Its machine and port, once it listens.
    name: OnceLock<String>,
    ahead: Mutex<Clock>,
    /// What was in force when it spoke last.
    said: Mutex<Vec<ReportedVersion>>,
    outage: FailureEdge,
}

#[derive(Default)]
struct Clock {
    questions: Ahead,
    ahead_ms: i64,
}

impl Replicas {
    /// Over a database.
    pub fn new(
        store: Arc<dyn ReplicaStore>,
        controller: Arc<Controller>,
        flags: Arc<FeatureFlags>,
        log: Arc<Log>,
        since: DateTime<Utc>,
    ) -> Arc<Self> {
        Arc::new(Self {
            is_shared: controller.is_shared(),
            store,
            controller,
            flags,
            log,
            since,
            name: OnceLock::new(),
            ahead: Mutex::default(),
            said: Mutex::default(),
            outage: FailureEdge::default(),
        })
    }

    /// Says every two seconds that this process lives, until `stopping` resolves; then that it stops.
    pub async fn run(self: Arc<Self>, stopping: impl Future<Output = ()> + Send) {
        if !self.is_shared {
            return;
        }
        let mut stopping = pin!(stopping);
        loop {
            // A connection that died in silence would keep it waiting for ever.
            let said = timeout(PATIENCE, self.say()).await;
            match said.unwrap_or_else(|_| Err(anyhow::anyhow!("no answer within 5 s"))) {
                Ok(()) => drop(self.outage.ends()),
                Err(error) if self.outage.begins() => {
                    let error = in_full(error.as_ref());
                    tracing::warn!(error, "the other servers do not hear that this one lives");
                }
                Err(_) => {}
            }
            tokio::select! {
                () = &mut stopping => break,
                () = sleep(INTERVAL) => {}
                () = self.moved() => {}
            }
        }
        // Who cannot be told sees it in 15 s.
        let _ = timeout(LAST_PATIENCE, self.store.bow_out(self.controller.holder())).await;
    }

    /// This process listens here.
    pub fn listens(&self, name: String) {
        // It does once.
        let _ = self.name.set(name);
    }

    /// Resolves when something else is in force than it said.
    async fn moved(&self) {
        loop {
            sleep(LOOK).await;
            if self.in_force() != *self.said.lock() {
                return;
            }
        }
    }

    async fn say(&self) -> anyhow::Result<()> {
        let who = Introduced {
            holder: self.controller.holder().to_owned(),
            name: self.name(),
            release: env!("CARGO_PKG_VERSION"),
        };
        let report = self.report();
        self.said.lock().clone_from(&report.in_force);
        let (before_ms, begun) = (clock::machine().timestamp_millis(), Instant::now());
        let told_ms = self.store.say(&who, &report).await?;
        let ahead_ms = {
            let mut ahead = self.ahead.lock();
            ahead.ahead_ms = (ahead.questions).note(before_ms, begun.elapsed(), told_ms);
            ahead.ahead_ms
        };
        go_by(ahead_ms);
        Ok(())
    }

    fn name(&self) -> String {
        self.name.get().cloned().unwrap_or_default()
    }

    /// What this process has to say.
    fn report(&self) -> ReplicaReport {
        let (dropped, set_aside) = self.log.lost();
        ReplicaReport {
            waiting: self.log.waiting() as u64,
            dropped,
            set_aside,
            ahead_ms: self.ahead.lock().ahead_ms,
            in_force: self.in_force(),
        }
    }

    fn in_force(&self) -> Vec<ReportedVersion> {
        let live = self.flags.live();
        let steered = &live.steered;
        let flags = ReportedVersion {
            of: FLAGS.to_owned(),
            version: steered.version,
            share: if steered.killed {
                Percent::ZERO
            } else {
                steered.share
            },
        };
        let rollouts = self.controller.in_force().into_iter();
        let rollouts = rollouts.map(|(of, version, share)| ReportedVersion { of, version, share });
        std::iter::once(flags).chain(rollouts).collect()
    }

    /// All processes on the database. Where there can be one only, it is asked nothing, and `now` is the time.
    pub async fn roll(&self, now: DateTime<Utc>) -> anyhow::Result<Roll> {
        if self.is_shared {
            return self.store.roll().await;
        }
        let holder = self.controller.holder().to_owned();
        let now = now.trunc_subsecs(3);
        Ok(Roll {
            now,
            leader: self.controller.leads().then(|| holder.clone()),
            replicas: vec![Replica {
                holder,
                name: self.name(),
                release: env!("CARGO_PKG_VERSION").to_owned(),
                started_at: self.since.trunc_subsecs(3),
                seen_at: now,
                has_ended: false,
                report: self.report(),
            }],
        })
    }

    /// The process that answers, as the lease names it.
    pub fn here(&self) -> &str {
        self.controller.holder()
    }
}

/// Asks the database for the time, so that a start goes by it from its first event on.
///
/// # Errors
///
/// Where the database does not answer.
pub async fn set_clock(store: &dyn ReplicaStore) -> anyhow::Result<()> {
    let (mut questions, mut ahead_ms) = (Ahead::default(), 0);
    for _ in 0..QUESTIONS {
        let (before_ms, begun) = (clock::machine().timestamp_millis(), Instant::now());
        let Some(told_ms) = store.clock_ms().await? else {
            return Ok(());
        };
        ahead_ms = questions.note(before_ms, begun.elapsed(), told_ms);
    }
    go_by(ahead_ms);
    Ok(())
}

/// Goes by the database's clock where the machine's is too far from it, and says so once.
fn go_by(ahead_ms: i64) {
    match clock::put_right(ahead_ms) {
        Belief::Lost => tracing::error!(
            ahead_ms,
            "this machine's clock is not the database's, which this server goes by from now on; see to NTP"
        ),
        Belief::Regained => tracing::info!(ahead_ms, "this machine's clock is right again"),
        Belief::Same => {}
    }
}
