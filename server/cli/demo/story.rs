//! What is shown, and what must come of it.

use std::time::Duration;

use anyhow::{Context as _, bail, ensure};
use parking_lot::Mutex;
use serde_json::{Value, json};
use tokio::time::{Instant, sleep};
use url::Url;

use super::print;
use crate::{
    _core::{http_client, units::counted},
    cli::{client::Client, drive::traffic::DriveProgress, table::moment},
    rollout::{
        finding::{Arm, Finding},
        record::Action,
        status::RunState,
    },
    routers::{
        methods::{ROLLOUT_GET, ROLLOUT_HISTORY, ROLLOUT_START},
        rollout_router::{StartRollout, WhichPast, WhichRollout, answers::RolloutState},
    },
};

/// The shipped plan, to which each rollout adds its models.
const PLAN: &str = include_str!("../../rollout/plans/demo.toml");
/// Between two looks at a rollout.
const GLANCE: Duration = Duration::from_millis(250);
/// Between two lines while nothing changes.
const REMINDER: Duration = Duration::from_secs(5);
/// How long the bad model still does well, in the second rollout.
const GOOD_TIME: Duration = Duration::from_secs(8);
/// How long messages that were under way when it was taken back may take to end.
const LAST_MESSAGES: Duration = Duration::from_secs(60);
/// How long it is then watched.
const AFTERMATH: Duration = Duration::from_secs(2);

/// The demo, as one who steers sees it.
pub(super) struct Story<'a> {
    client: Client,
    http: reqwest::Client,
    /// Where the sandbox's `/control` is.
    sandbox: Url,
    progress: &'a Mutex<DriveProgress>,
    began: Instant,
}

impl<'a> Story<'a> {
    pub(super) fn new(
        client: Client,
        sandbox: &str,
        progress: &'a Mutex<DriveProgress>,
    ) -> anyhow::Result<Self> {
        Ok(Self {
            client,
            http: http_client::builder().build()?,
            sandbox: sandbox.parse().context("the sandbox has no address")?,
            progress,
            began: Instant::now(),
        })
    }

    /// All rollouts.
    pub(super) async fn run(&self) -> anyhow::Result<()> {
        print("200 users chat with the model `trusty`, 40 messages a second.\n")?;
        print("1. A better model, `swift`, is rolled out: 10 %, 50 %, then everybody.")?;
        let id = self
            .start("trusty", "swift", "swift answers sooner and as well")
            .await?;
        let end = self.follow(&id, None, None).await?;
        ensure!(
            end.state == RunState::Completed,
            "the first rollout should have completed, but it is {}: {:?}",
            end.state.name(),
            end.reason
        );

        print(
            "\n2. Another model, `shiny`, replaces `swift` in the same way. At first it does well.",
        )?;
        let id = self
            .start("swift", "shiny", "shiny is all the rage")
            .await?;
        let until = Instant::now() + GOOD_TIME;
        let still = self.follow(&id, None, Some(until)).await?;
        ensure!(
            still.live,
            "the second rollout ended too early: {:?}",
            still.reason
        );
        self.spoil("shiny").await?;
        self.narrate("`shiny` turns bad: from now on, two of three requests to it fail")?;
        let broke = Instant::now();
        let end = self.follow(&id, Some(still.version), None).await?;
        ensure!(
            end.state == RunState::RolledBack,
            "the second rollout should have been rolled back, but it is {}: {:?}",
            end.state.name(),
            end.reason
        );
        let took = broke.elapsed().as_secs_f64();
        self.narrate(&format!("taken back {took:.1} s after it turned bad"))?;
        self.settle().await?;
        let before = self.requests_to("shiny").await?;
        sleep(AFTERMATH).await;
        let after = self.requests_to("shiny").await?;
        ensure!(
            before == after,
            "`shiny` still got {} after it was taken back",
            counted(after - before, "request")
        );
        self.narrate(&format!(
            "`shiny` got {} in all, and none since it was taken back",
            counted(after, "request")
        ))?;
        self.history(&id).await?;

        print(
            "\n3. A third model, `glib`, answers sooner than both and never fails. But it answers in German, \
             and the catalog says that this task's answers are in English.",
        )?;
        let id = self
            .start("swift", "glib", "glib is the fastest of all")
            .await?;
        let began = Instant::now();
        let end = self.follow(&id, None, None).await?;
        ensure!(
            end.state == RunState::RolledBack && end.reason.contains("in another language"),
            "the third rollout should have been rolled back for its language, but it is {}: {:?}",
            end.state.name(),
            end.reason
        );
        let took = began.elapsed().as_secs_f64();
        self.narrate(&format!(
            "taken back {took:.1} s after its start, without a single error"
        ))
    }

    /// Starts a rollout of the shipped plan with these models; its id.
    async fn start(&self, control: &str, candidate: &str, why: &str) -> anyhow::Result<String> {
        let routes = format!(
            "tasks = [\"chat\"]\ncontrol = [\"{control}\"]\ncandidate = [\"{candidate}\", \"{control}\"]\n"
        );
        let input = StartRollout {
            plan: routes + PLAN,
            reason: why.to_owned(),
            keep_users: false,
            take_back: false,
        };
        let started = self.client.call(&ROLLOUT_START, &input).await?;
        Ok(started.state.id)
    }

    /// Narrates what comes after a version until the rollout ends, or until then; where it was at
    /// last.
    async fn follow(
        &self,
        id: &str,
        since: Option<i64>,
        until: Option<Instant>,
    ) -> anyhow::Result<RolloutState> {
        let (mut version, mut told) = (since, Instant::now());
        let which = WhichRollout { id: id.to_owned() };
        loop {
            let now = self.client.call(&ROLLOUT_GET, &which).await?;
            let (rollout, finding) = (now.state, now.finding);
            let (state, share, reason) = (rollout.state.name(), rollout.share, &rollout.reason);
            if Some(rollout.version) != version {
                version = Some(rollout.version);
                self.narrate(&format!("{state} at {share} %: {reason}"))?;
                told = Instant::now();
            } else if told.elapsed() > REMINDER {
                self.narrate(&self.figures(&finding))?;
                told = Instant::now();
            }
            if !rollout.live || until.is_some_and(|until| Instant::now() >= until) {
                return Ok(rollout);
            }
            if let RunState::WaitingAtGate { .. } = rollout.state {
                bail!("the rollout asks a person: {reason:?}");
            }
            sleep(GLANCE).await;
        }
    }

    fn figures(&self, finding: &Finding) -> String {
        let DriveProgress {
            answered,
            failed,
            candidate_share,
            ..
        } = *self.progress.lock();
        let arm = |arm: &Arm| format!("{} of {} failed", arm.errors, arm.requests);
        format!(
            "   candidate {}, control {}; of the latest messages {:.0} % went to the candidate; {answered} answered, {failed} not",
            arm(&finding.candidate),
            arm(&finding.control),
            candidate_share * 100.0
        )
    }

    /// Waits until all messages have ended that were sent so far: which model they ask may have been
    /// chosen before.
    async fn settle(&self) -> anyhow::Result<()> {
        let began = Instant::now();
        let seen = self.progress.lock().due;
        let mut sent = None;
        loop {
            let DriveProgress { due, settled, .. } = *self.progress.lock();
            // What is seen is a moment old, so only the next sight has all that were sent.
            if due > seen {
                sent.get_or_insert(due);
            }
            if sent.is_some_and(|sent| settled >= sent) {
                return Ok(());
            }
            ensure!(
                began.elapsed() < LAST_MESSAGES,
                "a message is still open {} s after it was sent",
                LAST_MESSAGES.as_secs()
            );
            sleep(GLANCE).await;
        }
    }

    /// Lets a model fail.
    async fn spoil(&self, model: &str) -> anyhow::Result<()> {
        let url = self.sandbox.join(&format!("/control/models/{model}"))?;
        let wanted = json!({"latency_ms": 40, "error_rate": 0.67, "fault": "503"});
        let response = self.http.put(url).json(&wanted).send().await?;
        response.error_for_status()?;
        Ok(())
    }

    async fn requests_to(&self, model: &str) -> anyhow::Result<u64> {
        let response = self.http.get(self.sandbox.join("/control/stats")?).send();
        let stats: Value = response.await?.json().await?;
        Ok(stats["models"][model]["requests"].as_u64().unwrap_or(0))
    }

    /// The last word of a rollout's history, as anybody can read it later.
    async fn history(&self, id: &str) -> anyhow::Result<()> {
        let which = WhichPast::of(id.to_owned());
        let entries = self.client.call(&ROLLOUT_HISTORY, &which).await?;
        print("\nIts history, as `modelramp rollout history` shows it:")?;
        for entry in &entries {
            print(&format!(
                "  {} {} by {}: {}",
                moment(entry.at),
                entry.action,
                entry.actor,
                entry.reason
            ))?;
        }
        let ended = entries.iter();
        let ended = ended.filter(|entry| entry.action == Action::RolledBack);
        ensure!(
            ended.count() == 1,
            "the history should tell of one rollback"
        );
        Ok(())
    }

    fn narrate(&self, line: &str) -> anyhow::Result<()> {
        print(&format!(
            "  {:>5.1} s  {line}",
            self.began.elapsed().as_secs_f64()
        ))
    }
}
