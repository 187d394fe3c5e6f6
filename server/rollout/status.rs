//! Where a rollout is.
//!
//! A soak is counted, not computed from a deadline: each tick adds what both clocks agree has passed,
//! two ticks at most. So a pause shifts the end, time while no process ran does not count, and a
//! wall clock that jumps neither skips a stage nor repeats one.

use std::time::Duration;

use chrono::{DateTime, SubsecRound as _, Utc};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{evidence::Level, plan::Plan};
use crate::_core::{actor::Actor, assignment::Algorithm, feature_flags::Began, units::Percent};

/// Between two ticks.
pub const TICK: Duration = Duration::from_secs(1);

/// Where a rollout is.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Status {
    /// UUIDv7 text.
    pub id: String,
    /// The plan's name.
    pub plan: String,
    /// The tasks it covers; none covers all.
    pub tasks: Vec<String>,
    /// What it is doing.
    pub state: RunState,
    /// The stage it is in, counted from 0.
    pub stage: usize,
    /// How many there are.
    pub stages: usize,
    /// Subjects below this share get the candidate.
    pub share: Percent,
    /// Milliseconds of the stage's soak that have passed; pauses and holds do not count.
    pub soaked_ms: u64,
    /// Counts the changes; a change names the version it is based on.
    pub version: i64,
    /// How subjects become buckets; never changes in flight.
    pub algorithm: Algorithm,
    /// Drawn when the rollout began.
    pub salt: String,
    /// When it began.
    pub started_at: DateTime<Utc>,
    /// When its stage began.
    pub stage_began_at: DateTime<Utc>,
    /// When it reached a final state.
    pub ended_at: Option<DateTime<Utc>>,
    /// When a person let go of it, so that its end decides no more; only ended ones.
    #[serde(default)]
    pub released_at: Option<DateTime<Utc>>,
    /// Who made the last change.
    pub changed_by: Actor,
    /// Why, in words.
    pub reason: String,
    /// Since when evidence has been below the level watch; null while it is not.
    pub clear_since: Option<DateTime<Utc>>,
    /// The outage of the candidate that is waited for; null where there is none.
    #[serde(default)]
    pub outage: Option<Outage>,
    /// How many outages it had.
    #[serde(default)]
    pub outages: u32,
    /// What people have been told already.
    pub told: Told,
    /// The models of both arms as they were at the start; none in rollouts of an earlier release.
    #[serde(default)]
    pub models: Vec<Models>,
    /// Whom to call about it, where its plan says.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub on_call: Option<String>,
}

/// An outage of the candidate. Meanwhile nobody gets it, and the server asks it small questions of its own.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Outage {
    /// When it was found.
    pub since: DateTime<Utc>,
    /// The share that it comes back to.
    pub share: Percent,
    /// Milliseconds for which the candidate has answered probes, since one failed and the next was not answered either.
    pub calm_ms: u64,
    /// Milliseconds for which it has not, in all.
    pub failing_ms: u64,
    /// The last probe; null where there was none, or nothing could be asked.
    pub probe: Option<Probe>,
}

/// A small request that nobody waits for, outside the evidence.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Probe {
    /// When it ended.
    pub at: DateTime<Utc>,
    /// Whether the candidate answered.
    pub is_answered: bool,
}

/// For so long a probe shows how the candidate is: the next one should have come by then.
const PROBE_HOLDS: Duration = Duration::from_secs(60);

impl Outage {
    /// It begins; `share` is what it comes back to.
    pub fn new(since: DateTime<Utc>, share: Percent) -> Self {
        Self {
            since: since.trunc_subsecs(3),
            share,
            calm_ms: 0,
            failing_ms: 0,
            probe: None,
        }
    }

    /// Takes note of a probe; `None` is one that could not be made, which shows nothing. One that fails is chance only if
    /// the next one is answered.
    pub fn probed(&mut self, is_answered: Option<bool>, at: DateTime<Utc>) {
        let is_failing = self.probe.is_some_and(|it| !it.is_answered);
        if is_answered != Some(true) && is_failing {
            self.calm_ms = 0;
        }
        self.probe = is_answered.map(|is_answered| Probe {
            at: at.trunc_subsecs(3),
            is_answered,
        });
    }

    fn wait(&mut self, passed_ms: u64, now: DateTime<Utc>) {
        let told = self.probe.filter(|it| passed(it.at, now) <= PROBE_HOLDS);
        match told.map(|probe| probe.is_answered) {
            Some(true) => self.calm_ms = self.calm_ms.saturating_add(passed_ms),
            Some(false) => self.failing_ms = self.failing_ms.saturating_add(passed_ms),
            None => {}
        }
    }
}

/// The models of both arms for some tasks, the primary first.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Models {
    /// The tasks that have these.
    pub tasks: Vec<String>,
    /// Control's.
    pub control: Vec<String>,
    /// The candidate's.
    pub candidate: Vec<String>,
}

impl Models {
    /// As requests see them.
    pub(super) fn began(&self) -> Began {
        Began {
            tasks: self.tasks.clone(),
            control: self.control.clone(),
            candidate: self.candidate.clone(),
        }
    }
}

/// What a rollout is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[schemars(rename = "State")]
#[serde(
    tag = "name",
    rename_all = "kebab-case",
    rename_all_fields = "camelCase"
)]
pub enum RunState {
    /// Its stage soaks, or gathers evidence.
    Running,
    /// A person stopped its ramp; the share stays, and it is still judged.
    Paused,
    /// The stage is over and a person is asked.
    WaitingAtGate {
        /// Whether evidence recommends the next stage.
        recommended: bool,
    },
    /// Its ramp is frozen until the cause is gone.
    Holding {
        /// The cause.
        because: Hold,
    },
    /// The last stage is over. Final: whoever was held out gets the candidate as well.
    Completed,
    /// Everybody is back on control; final.
    RolledBack,
}

/// Why a ramp is frozen.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Hold {
    /// Evidence is at the level watch.
    Watch,
    /// Evidence is at the level hold; left after an hour of clear evidence.
    Evidence,
    /// The arms' users are not in the ratio of the share.
    SampleRatio,
    /// The candidate breaks the absolute limit, and so does control.
    BothSidesFailing,
    /// A kind of outcome that is no error comes more often on the candidate than on control.
    ExcludedDiffer,
    /// The provider refuses our account, which both arms may share; left after five minutes of calm.
    Account,
    /// The candidate has an outage: nobody gets it until it has answered probes for as long as the plan wants.
    Outage,
    /// No requests come.
    NoTraffic,
    /// The plan's deadline is over.
    Deadline,
}

/// What people have been told; each is told once until it is over.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Told {
    /// The highest level since evidence was last clear for an hour, or the stage began.
    pub level: Option<Level>,
    /// That both sides fail.
    pub both_failing: bool,
    /// That the sample ratio does not fit.
    pub sample_ratio: bool,
    /// That outcomes differ which are no errors.
    #[serde(default)]
    pub excluded_differ: bool,
    /// That the model which judges answers does not count any more.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub judge_stopped: bool,
    /// That no requests come.
    pub no_traffic: bool,
    /// That the provider refuses our account.
    pub provider_refusing: bool,
    /// That what is served is not what was decided.
    pub not_converged: bool,
    /// How it does, the last time; null before the first.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub digest_at: Option<DateTime<Utc>>,
}

impl Told {
    /// A promotion ends what was told before, also at whoever is on call, so what comes back within the hour is told again.
    pub fn promoted(&mut self) {
        self.level = None;
        self.both_failing = false;
        self.provider_refusing = false;
    }
}

impl RunState {
    /// Whether nothing can follow by itself.
    pub const fn is_final(self) -> bool {
        matches!(self, Self::Completed | Self::RolledBack)
    }

    /// As on the wire.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Running => "running",
            Self::Paused => "paused",
            Self::WaitingAtGate { .. } => "waiting-at-gate",
            Self::Holding { .. } => "holding",
            Self::Completed => "completed",
            Self::RolledBack => "rolled-back",
        }
    }
}

/// Both clocks, read together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Moment {
    /// What the wall says; may jump.
    pub wall: DateTime<Utc>,
    /// Since some moment of this process; never jumps.
    pub monotonic: Duration,
}

/// What has passed between two moments of the wall clock; nothing where it was set back.
pub fn passed(from: DateTime<Utc>, to: DateTime<Utc>) -> Duration {
    (to - from).to_std().unwrap_or_default()
}

impl Moment {
    /// What both clocks agree has passed since an earlier moment, two ticks at most.
    pub fn since(self, earlier: Self) -> Duration {
        let wall = passed(earlier.wall, self.wall);
        let monotonic = self.monotonic.saturating_sub(earlier.monotonic);
        wall.min(monotonic).min(TICK * 2)
    }
}

impl Status {
    /// Reads what is stored; its version is kept beside it.
    pub fn read(stored: &Value, version: i64) -> serde_json::Result<Self> {
        let mut status = Self::deserialize(stored)?;
        status.version = version;
        Ok(status)
    }

    /// The share that users get, or get again once the candidate's outage is over.
    pub fn share_without_outage(&self) -> Percent {
        self.outage.as_ref().map_or(self.share, |it| it.share)
    }

    /// Adds to the soak, where the state is one that soaks, or to the wait for the end of an outage.
    pub fn soak(&mut self, passed: Duration, now: DateTime<Utc>) {
        let passed = u64::try_from(passed.as_millis()).unwrap_or(u64::MAX);
        match (self.state, &mut self.outage) {
            (RunState::Running, _) => self.soaked_ms = self.soaked_ms.saturating_add(passed),
            (RunState::Holding { .. }, Some(outage)) => outage.wait(passed, now),
            _ => {}
        }
    }

    /// The models of both arms, in words.
    pub fn models_in_words(&self) -> String {
        let words = self.models.iter().map(|it| {
            let tasks = if self.models.len() == 1 {
                String::new()
            } else {
                format!("{}: ", it.tasks.join(", "))
            };
            let list = |models: &[String]| match models {
                [] => "none".to_owned(),
                models => models.join(", then "),
            };
            let (control, candidate) = (list(&it.control), list(&it.candidate));
            format!("{tasks}control {control}; candidate {candidate}")
        });
        let words: Vec<_> = words.collect();
        if words.is_empty() {
            "not kept".to_owned()
        } else {
            words.join(". ")
        }
    }

    /// What is left of the soak; nothing beyond the last stage.
    pub fn left(&self, plan: &Plan) -> Duration {
        let soak = plan
            .stages
            .get(self.stage)
            .map_or(Duration::ZERO, |it| it.soak);
        soak.saturating_sub(Duration::from_millis(self.soaked_ms))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn moment(wall_ms: i64, monotonic_ms: u64) -> Moment {
        Moment {
            wall: DateTime::from_timestamp_millis(wall_ms).expect("a time"),
            monotonic: Duration::from_millis(monotonic_ms),
        }
    }

    #[test]
    fn after_a_promotion_what_comes_back_is_told_again() {
        let mut told = Told {
            level: Some(Level::Hold),
            both_failing: true,
            provider_refusing: true,
            no_traffic: true,
            ..Told::default()
        };
        told.promoted();
        let wanted = Told {
            no_traffic: true,
            ..Told::default()
        };
        assert_eq!(told, wanted);
    }

    #[test]
    fn a_clock_that_jumps_neither_skips_nor_repeats() {
        let start = moment(1_000_000_000, 5_000);
        let ms = |now: Moment| now.since(start).as_millis();
        assert_eq!(ms(moment(1_000_001_000, 6_000)), 1_000);
        assert_eq!(ms(moment(1_003_600_000, 6_000)), 1_000, "an hour ahead");
        assert_eq!(ms(moment(996_400_000, 6_000)), 0, "an hour back");
        assert_eq!(
            ms(moment(1_003_600_000, 3_605_000)),
            2_000,
            "the machine slept"
        );
        assert_eq!(ms(moment(1_000_001_000, 0)), 0, "another process");
    }

    #[test]
    fn only_a_probe_of_the_last_minute_tells_how_the_candidate_is() {
        let at = |second: i64| moment(1_000_000_000 + 1_000 * second, 0).wall;
        let mut outage = Outage::new(at(0), Percent::ZERO);
        outage.wait(1_000, at(1));
        assert_eq!((outage.calm_ms, outage.failing_ms), (0, 0), "no probe yet");
        outage.probed(Some(true), at(1));
        // Within a minute, a minute, a clock that was set back an hour, one that was set forward.
        for (second, calm_ms) in [(2, 1_000), (61, 2_000), (-3_600, 3_000), (3_600, 3_000)] {
            outage.wait(1_000, at(second));
            assert_eq!(outage.calm_ms, calm_ms, "{second} s");
        }
        outage.probed(Some(false), at(3_600));
        outage.wait(1_000, at(3_601));
        assert_eq!((outage.calm_ms, outage.failing_ms), (3_000, 1_000), "one");
        outage.probed(Some(false), at(3_602));
        outage.wait(1_000, at(3_603));
        assert_eq!((outage.calm_ms, outage.failing_ms), (0, 2_000), "in a row");
        outage.probed(None, at(3_604));
        outage.wait(1_000, at(3_605));
        assert_eq!(outage.failing_ms, 2_000, "nothing could be asked");
        outage.probed(Some(true), at(3_606));
        assert_eq!(outage.failing_ms, 2_000, "in all");
    }

    #[test]
    fn failures_with_probes_between_that_cannot_be_made_are_failures_in_a_row() {
        let at = |second: i64| moment(1_000_000_000 + 1_000 * second, 0).wall;
        let answered = Some(true);
        let failed = Some(false);
        for (next, calm_ms) in [
            (&[failed, answered][..], 2_000),
            (&[None, answered], 2_000),
            (&[failed, failed, answered], 1_000),
            (&[failed, None, failed, None, answered], 1_000),
            (&[failed, None, answered], 1_000),
        ] {
            let mut outage = Outage::new(at(0), Percent::ZERO);
            outage.probed(answered, at(0));
            outage.wait(1_000, at(1));
            for probe in next {
                outage.probed(*probe, at(1));
            }
            outage.wait(1_000, at(2));
            assert_eq!(outage.calm_ms, calm_ms, "{next:?}");
        }
    }
}
