//! Who is in the fleet: each process says every two seconds that it lives, and what it has in force.
//!
//! A process that says nothing for 15 s is gone, as far as the others can see: it was killed, is frozen, or has no way
//! to the database. After a day it is listed no more. By the same report and its answer the process knows how far its
//! clock is from the database's ([`clock`]).
//!
//! It also says, by marks that show nothing else, what all have to have in common ([`alike`]). A process that begins
//! beside one that gives users other sides does not serve; of anything else that differs it says what.

use std::{
    future::Future,
    pin::pin,
    sync::Arc,
    time::{Duration, Instant},
};

use async_trait::async_trait;
use chrono::{DateTime, SubsecRound, Utc};
use parking_lot::Mutex;
use tokio::time::{sleep, timeout};

use super::{
    alike,
    replica::{FLAGS, GONE, Introduced, Marks, Replica, ReplicaReport, ReportedVersion, Roll},
};
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
/// After so many words a process looks whether the one that leads has something otherwise.
const WORDS_PER_LOOK: u32 = 5;
/// Counts what this process has otherwise than the one that leads.
const DIFFERING: &str = "fleet_settings_differing";
/// How often a start asks for the time: the quickest answer counts.
const QUESTIONS: usize = 3;

/// Where processes say that they live. Times are those of the database.
#[async_trait]
pub trait ReplicaStore: Send + Sync {
    /// The time, in milliseconds since 1970; `None` where no other process can be on the database.
    async fn clock_ms(&self) -> anyhow::Result<Option<i64>>;
    /// Says that a process lives. Returns the time.
    async fn report(&self, who: &Introduced, report: &ReplicaReport) -> anyhow::Result<i64>;
    /// Says so the first time, where `may_join` agrees with who is there, this process not among them. Of several that
    /// join at once each sees those before it.
    async fn join(
        &self,
        who: &Introduced,
        report: &ReplicaReport,
        may_join: &(dyn for<'a> Fn(&'a Roll) -> anyhow::Result<()> + Sync),
    ) -> anyhow::Result<()>;
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
    marks: Box<dyn Fn() -> Marks + Send + Sync>,
    /// What it has otherwise than the one that leads.
    differing: Mutex<Vec<String>>,
    /// Its machine and port.
    name: Mutex<String>,
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
    /// Over a database, of a process with this name, until it listens at another port, that began then.
    pub fn new(
        store: Arc<dyn ReplicaStore>,
        controller: Arc<Controller>,
        flags: Arc<FeatureFlags>,
        log: Arc<Log>,
        (name, since): (String, DateTime<Utc>),
        marks: impl Fn() -> Marks + Send + Sync + 'static,
    ) -> Arc<Self> {
        Arc::new(Self {
            is_shared: controller.is_shared(),
            store,
            controller,
            flags,
            log,
            since,
            marks: Box::new(marks),
            differing: Mutex::default(),
            name: Mutex::new(name),
            ahead: Mutex::default(),
            said: Mutex::default(),
            outage: FailureEdge::default(),
        })
    }

    /// Looks who is there, and is there from then on, before this process serves anybody.
    ///
    /// # Errors
    ///
    /// Where a process that lives gives users other sides, or the database does not say.
    pub async fn join(&self) -> anyhow::Result<()> {
        if !self.is_shared {
            return Ok(());
        }
        let (who, report) = (self.who(), self.report());
        self.store
            .join(&who, &report, &|roll| self.fits(roll))
            .await
    }

    /// Refuses processes that live and give users other sides.
    fn fits(&self, roll: &Roll) -> anyhow::Result<()> {
        let here = self.this(roll.now);
        for other in roll.replicas.iter().filter(|it| it.lives(roll.now)) {
            let differing = alike::differences(&here, other);
            let names = differing.join(", ");
            anyhow::ensure!(
                !alike::divides(&differing),
                "this server has another {names} than `{}`, which serves on the same database: users would change sides with \
                 each request that another server answers. Give all the same; to change it, stop all servers first (one that \
                 was killed counts for {} s)",
                other.name,
                GONE.num_seconds(),
            );
            if !differing.is_empty() {
                tracing::warn!(
                    differing = names,
                    other = other.name,
                    "this server has something otherwise than another one on its database"
                );
            }
        }
        Ok(())
    }

    /// Looks what this process has otherwise than the one that leads, and says so once.
    async fn compare(&self) -> anyhow::Result<()> {
        let roll = self.store.roll().await?;
        let differing = match roll.model() {
            Some(model) => alike::differences(&self.this(roll.now), model),
            None => Vec::new(),
        };
        metrics::gauge!(DIFFERING).set(differing.len() as f64);
        let mut known = self.differing.lock();
        if *known != differing {
            match differing.is_empty() {
                true => tracing::info!("this server has all as the one that leads"),
                false => tracing::warn!(
                    differing = differing.join(", "),
                    "this server has something otherwise than the one that leads; users see the difference"
                ),
            }
            *known = differing;
        }
        Ok(())
    }

    /// Says every two seconds that this process lives, until `stopping` resolves; then that it stops.
    pub async fn run(self: Arc<Self>, stopping: impl Future<Output = ()> + Send) {
        if !self.is_shared {
            return;
        }
        let mut stopping = pin!(stopping);
        let mut words = 0_u32;
        loop {
            // A connection that died in silence would keep it waiting for ever.
            let said = timeout(PATIENCE, async {
                self.send_report().await?;
                words = words.wrapping_add(1);
                match words.is_multiple_of(WORDS_PER_LOOK) {
                    true => self.compare().await,
                    false => Ok(()),
                }
            });
            let said = said.await;
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
        *self.name.lock() = name;
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

    async fn send_report(&self) -> anyhow::Result<()> {
        let (who, report) = (self.who(), self.report());
        self.said.lock().clone_from(&report.in_force);
        let (before_ms, begun) = (clock::machine().timestamp_millis(), Instant::now());
        let told_ms = self.store.report(&who, &report).await?;
        let ahead_ms = {
            let mut ahead = self.ahead.lock();
            ahead.ahead_ms = (ahead.questions).note(before_ms, begun.elapsed(), told_ms);
            ahead.ahead_ms
        };
        go_by(ahead_ms);
        Ok(())
    }

    fn who(&self) -> Introduced {
        Introduced {
            holder: self.controller.holder().to_owned(),
            name: self.name.lock().clone(),
            release: env!("CARGO_PKG_VERSION"),
        }
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
            marks: (self.marks)(),
        }
    }

    /// As it would be in the roll.
    fn this(&self, now: DateTime<Utc>) -> Replica {
        Replica {
            holder: self.controller.holder().to_owned(),
            name: self.name.lock().clone(),
            release: env!("CARGO_PKG_VERSION").to_owned(),
            started_at: self.since.trunc_subsecs(3),
            seen_at: now,
            has_ended: false,
            report: self.report(),
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
            leader: self.controller.leads().then_some(holder),
            replicas: vec![self.this(now)],
        })
    }

    /// The process that answers, as the lease names it.
    pub fn here(&self) -> &str {
        self.controller.holder()
    }
}

/// Describes what is counted here to the recorder.
pub fn describe() {
    metrics::describe_gauge!(
        DIFFERING,
        "Settings that this process has otherwise than the one that leads"
    );
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
