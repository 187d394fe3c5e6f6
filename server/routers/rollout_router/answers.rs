//! What the procedures answer, made from what the controller knows.

use std::time::Duration;

use chrono::{DateTime, SubsecRound, Utc};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::past::{self, StagePassed};

use crate::{
    _core::{
        actor::Actor,
        assignment::Algorithm,
        toml_reader::{TomlFault, TomlFaults},
        units::{Percent, counted},
    },
    rollout::{
        allowed::Allowed,
        audit::{capital, minute},
        evidence::{Effect, EvidencePlan, Level, Verdict},
        finding::{Alarm, Arm, Finding, Proof},
        moves::UserMoves,
        next::{Next, Waits},
        plan::Plan,
        rollout::CommandKind,
        simulate::planner::{self, ExpectedTraffic, PlannedStage, Sight, StageSight},
        status::{Models, Outage, Probe, RunState, Status},
        store::AuditRow,
        view::View,
    },
};

/// Where a rollout is.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct RolloutState {
    /// Names it in every other call.
    pub(crate) id: String,
    /// The plan's name.
    pub(crate) plan: String,
    /// The tasks it covers; none covers all.
    pub(crate) tasks: Vec<String>,
    /// What it is doing.
    pub(crate) state: RunState,
    /// Whether something can still follow; false once it is completed or rolled back.
    pub(crate) live: bool,
    /// The stage it is in, counted from 1.
    pub(crate) stage: usize,
    /// How many there are.
    pub(crate) stages: usize,
    /// Users below this share get the candidate.
    pub(crate) share: Percent,
    /// Milliseconds of the stage's soak that have passed; pauses and holds do not count.
    pub(crate) soaked_ms: u64,
    /// The most alarming evidence since it was last clear.
    pub(crate) level: Level,
    /// Counts the changes; a change names the version it is based on.
    pub(crate) version: i64,
    /// How users become buckets.
    pub(crate) algorithm: Algorithm,
    /// When it began.
    pub(crate) started_at: DateTime<Utc>,
    /// When its stage began.
    pub(crate) stage_began_at: DateTime<Utc>,
    /// When it was completed or rolled back. It goes on deciding about its tasks.
    pub(crate) ended_at: Option<DateTime<Utc>>,
    /// When it was let go, so that it decides no more.
    pub(crate) released_at: Option<DateTime<Utc>>,
    /// Who made the last change: `user:7`, `controller`.
    pub(crate) changed_by: Actor,
    /// The reason that they gave.
    pub(crate) reason: String,
    /// The models of both arms as they were at the start; none in rollouts of an earlier release.
    pub(crate) models: Vec<Models>,
    /// The outage of the candidate that is waited for; null where there is none.
    #[serde(default)]
    pub(crate) outage: Option<Outage>,
    /// How many outages it had.
    #[serde(default)]
    pub(crate) outages: u32,
}

/// A rollout that has begun.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Started {
    /// Where it is.
    #[serde(flatten)]
    pub(crate) state: RolloutState,
    /// Whom that moves from which model to which, a sentence each.
    pub(crate) moves: Vec<String>,
    /// The percentage of users who lose the model that they had.
    pub(crate) taken_back: f64,
}

impl Started {
    pub(super) fn new(status: &Status, moves: UserMoves) -> Self {
        Self {
            state: RolloutState::new(status),
            moves: moves.words,
            taken_back: moves.taken_back,
        }
    }
}

impl RolloutState {
    pub(super) fn new(status: &Status) -> Self {
        Self {
            id: status.id.clone(),
            plan: status.plan.clone(),
            tasks: status.tasks.clone(),
            state: status.state,
            live: !status.state.is_final(),
            stage: (status.stage + 1).min(status.stages),
            stages: status.stages,
            share: status.share,
            soaked_ms: status.soaked_ms,
            level: match status.state {
                RunState::RolledBack if status.changed_by == Actor::Controller => Level::Rollback,
                _ => status.told.level.unwrap_or(Level::Clear),
            },
            version: status.version,
            algorithm: status.algorithm,
            // JavaScript's dates have milliseconds.
            started_at: status.started_at.trunc_subsecs(3),
            stage_began_at: status.stage_began_at.trunc_subsecs(3),
            ended_at: status.ended_at.map(|at| at.trunc_subsecs(3)),
            released_at: status.released_at.map(|at| at.trunc_subsecs(3)),
            changed_by: status.changed_by.clone(),
            reason: status.reason.clone(),
            models: status.models.clone(),
            outage: status.outage.clone(),
            outages: status.outages,
        }
    }

    /// `holding at 10 % in stage 1 of 3`.
    pub(super) fn place(&self) -> String {
        let Self {
            state,
            share,
            stage,
            stages,
            ..
        } = self;
        let state = state.name();
        format!("{state} at {share} % in stage {stage} of {stages}")
    }
}

/// All about one rollout.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct RolloutDetails {
    /// Where it is.
    #[serde(flatten)]
    pub(crate) state: RolloutState,
    /// What is wanted.
    pub(crate) wanted: Plan,
    /// Milliseconds of the stage's soak that are left.
    pub(crate) left_ms: u64,
    /// What would follow now, in words.
    pub(crate) next: String,
    /// The same for programs; null where a server of an earlier release answers.
    #[serde(default)]
    pub(crate) next_step: Option<Next>,
    /// What its traffic proves, a sentence each.
    pub(crate) words: Vec<String>,
    /// What the judge finds now.
    pub(crate) finding: Finding,
    /// The evidence in figures.
    pub(crate) verdict: Verdict,
    /// Every change by a person, whether it would be taken now, and why not.
    #[serde(default)]
    pub(crate) allowed: Vec<Allowed>,
    /// The stages that are over, in order; null where the history was not read: in a pulse, and where
    /// the database does not answer.
    #[serde(default)]
    pub(crate) passed: Option<Vec<StagePassed>>,
    /// Since which decision it is judged as it is; null where that changed since the last one, and where
    /// the history was not read.
    #[serde(default)]
    pub(crate) level_since: Option<DateTime<Utc>>,
}

impl RolloutDetails {
    /// `killed`: whether the kill switch is on.
    pub(crate) fn new(view: View, killed: bool) -> Self {
        Self {
            state: RolloutState::new(&view.status),
            left_ms: view.left_seconds.saturating_mul(1000),
            words: words(&view, killed),
            next: view.next,
            next_step: Some(view.next_step),
            wanted: view.plan,
            finding: view.finding,
            verdict: view.verdict,
            allowed: view.allowed,
            passed: None,
            level_since: None,
        }
    }

    /// The same with what lies behind it.
    pub(super) fn with_past(mut self, history: &[AuditRow]) -> Self {
        self.passed = Some(past::passed(history));
        self.level_since = past::level_since(history, self.finding.level);
        self
    }
}

/// What comes before all else, because no share is in force then.
const KILLED: &str =
    "The kill switch is on: everybody gets the control models, whatever the share.";

/// What is known, as a person would say it.
fn words(view: &View, killed: bool) -> Vec<String> {
    let (finding, status) = (&view.finding, &view.status);
    let level = match (status.state, finding.level) {
        _ if status.released_at.is_some() => "It was let go: it decides about no task any more.",
        (RunState::RolledBack, _) => "It was taken back: everybody is on control.",
        _ if status.outage.is_some() => "The candidate has an outage: nobody gets it.",
        (_, Level::Clear) => "Nothing speaks against the candidate.",
        (_, Level::Watch) => "Something may be wrong with the candidate; the ramp is frozen.",
        (_, Level::Hold) => "The candidate is probably worse than control; it is not promoted.",
        (_, Level::Rollback) => "The candidate is worse than control.",
    };
    let mut words = Vec::new();
    if killed {
        words.push(KILLED.to_owned());
    }
    words.push(level.to_owned());
    if let Some(outage) = &status.outage {
        words.push(wait(outage, &view.plan.evidence));
    }
    words.extend(finding.alarms.iter().map(alarm));
    words.push(evidence(finding.e, &view.plan.evidence));
    let users = counted(finding.users, "user");
    words.push(arm("candidate", &finding.candidate) + &format!(" It had {users}."));
    words.push(arm("control", &finding.control));
    words.extend(effects(&view.verdict));
    let judge = view.verdict.judge.filter(|it| it.stopped.is_none());
    words.extend(judge.map(|it| format!("{}.", capital(&it.in_words()))));
    if !status.state.is_final() {
        words.push(outlook(status.state, finding));
    }
    if let (Some(Waits::OutsideWindow), Some(opens)) = (view.next_step.why, view.next_step.at) {
        let opens = minute(opens);
        words.push(format!(
            "The stage is over, and waits for its window until {opens}."
        ));
    }
    words
}

/// What is waited for in an outage.
fn wait(outage: &Outage, plan: &EvidencePlan) -> String {
    let probe = match &outage.probe {
        Some(Probe {
            is_answered: true, ..
        }) => "It answered the last probe.",
        Some(_) => "It did not answer the last probe.",
        None => {
            "No probe has told anything yet: where our account's quota has no place, a person decides."
        }
    };
    let seconds = |ms: u64| humantime::format_duration(Duration::from_secs(ms / 1_000));
    let (calm, so_far) = (seconds(plan.outage_calm_ms), seconds(outage.calm_ms));
    format!(
        "It comes back at {} % once it has answered probes for {calm}; so far for {so_far}. {probe}",
        outage.share
    )
}

fn alarm(alarm: &Alarm) -> String {
    match alarm {
        Alarm::Outage => "The candidate has stopped answering.".to_owned(),
        Alarm::LimitBroken => "The candidate fails more often than the plan allows.".to_owned(),
        Alarm::NotCounted { why } => format!("{}.", capital(why)),
        Alarm::BothSidesFailing => "Both sides fail more often than the plan allows.".to_owned(),
        Alarm::SampleRatio => "The arms' users are not in the ratio of the share.".to_owned(),
        Alarm::Account => "The provider refuses our account, which blames no arm.".to_owned(),
        Alarm::JudgeStopped { why } => format!("{}.", capital(why)),
        Alarm::ExcludedDiffer { figures, .. } => {
            format!("The candidate loses requests that control answers: {figures}.")
        }
    }
}

/// What E is, and what it would have to be.
fn evidence(e: f64, levels: &EvidencePlan) -> String {
    let scale = format!(
        "1 says nothing; watch from {}, hold from {}, rollback from {}",
        levels.watch, levels.hold, levels.rollback
    );
    if e <= 1.0005 {
        format!("There is no evidence yet that the candidate is worse: E is {e:.1} ({scale}).")
    } else {
        format!("The evidence that the candidate is worse: E is {e:.1} ({scale}).")
    }
}

/// What is recommended now; a gate says what was recommended when it asked.
fn outlook(state: RunState, finding: &Finding) -> String {
    let now = match finding.proof {
        Proof::Proven => "The next stage is proven safe",
        Proof::Recommended => "The next stage is recommended",
        Proof::None => "The next stage is not recommended",
    };
    let is_recommended = finding.proof >= Proof::Recommended;
    let earlier = match state {
        RunState::WaitingAtGate { recommended: true } if !is_recommended => {
            " any more; it was when the gate asked"
        }
        RunState::WaitingAtGate { recommended: false } if is_recommended => {
            " by now; it was not when the gate asked"
        }
        _ => "",
    };
    format!("{now}{earlier}: {}", finding.why)
}

/// How many times as often things happen on the candidate; nothing where a release knew no such limits.
fn effects(verdict: &Verdict) -> Option<String> {
    let all: Vec<_> = verdict.effects.iter().map(Effect::to_string).collect();
    let all = Some(all.join("; ")).filter(|all| !all.is_empty())?;
    let is_of_time = verdict.effects.iter().any(|it| it.metric.is_of_time());
    let by = match is_of_time {
        true => format!(" Slowness is judged by {}.", verdict.timed),
        false => String::new(),
    };
    Some(format!("As often as on control: {all}.{by}"))
}

fn arm(name: &str, arm: &Arm) -> String {
    if *arm == Arm::default() {
        return format!("Since the stage began: no counted request of {name}.");
    }
    format!("Since the stage began, {name}: {arm}.")
}

/// One fault of a plan.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub(crate) struct PlanFault {
    /// Counted from 1.
    pub(crate) line: usize,
    /// What is wrong and what was expected.
    pub(crate) message: String,
}

impl PlanFault {
    /// In the order of the lines.
    pub(super) fn all(faults: TomlFaults) -> Vec<Self> {
        let fault = |TomlFault { line, message }| Self { line, message };
        faults.faults.into_iter().map(fault).collect()
    }
}

/// Whether a plan can be used.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Checked {
    /// Whether it can.
    pub(crate) valid: bool,
    /// Why it cannot, in the order of its lines.
    pub(crate) faults: Vec<PlanFault>,
    /// What does not hinder a start but deserves a look.
    pub(crate) warnings: Vec<String>,
    /// What each stage needs before the next one opens, a sentence each.
    pub(crate) notes: Vec<String>,
    /// The plan with all its defaults, where it can be used.
    pub(crate) plan: Option<Plan>,
}

impl Checked {
    /// `traffic` is requests a day and the share of them that fail on control, 0 to 1.
    pub(crate) fn new(plan: Result<Plan, TomlFaults>, traffic: Option<(f64, f64)>) -> Self {
        match plan {
            Ok(plan) => Self {
                valid: true,
                faults: Vec::new(),
                notes: planner::needs(&plan, traffic.map_or(0.02, |(_, baseline)| baseline))
                    .into_iter()
                    .chain(openings(&plan))
                    .collect(),
                warnings: plan
                    .evidence
                    .short_outage_period()
                    .into_iter()
                    .chain(traffic.into_iter().flat_map(|it| blind(&plan, it)))
                    .collect(),
                plan: Some(plan),
            },
            Err(faults) => Self {
                valid: false,
                faults: PlanFault::all(faults),
                warnings: Vec::new(),
                notes: Vec::new(),
                plan: None,
            },
        }
    }
}

/// When stages may open, where a plan says.
fn openings(plan: &Plan) -> Option<String> {
    let windows: Vec<_> = plan.windows.iter().map(ToString::to_string).collect();
    let from = plan.not_before.map(minute);
    match (from, windows.join("; ")) {
        (None, windows) if windows.is_empty() => None,
        (None, windows) => Some(format!("Stages open only on {windows}")),
        (Some(from), windows) if windows.is_empty() => Some(format!("Nothing opens before {from}")),
        (Some(from), windows) => Some(format!(
            "Stages open only on {windows}, and nothing before {from}"
        )),
    }
}

/// A sentence for each stage that is too short to see anything, or to be proven.
fn blind(plan: &Plan, (requests_per_day, baseline): (f64, f64)) -> Vec<String> {
    let traffic = ExpectedTraffic {
        requests_per_day,
        baseline,
        users: None,
    };
    let sight = Sight::of(plan, traffic);
    let warn = |it: &StageSight| {
        let PlannedStage {
            name, share, hours, ..
        } = &it.stage;
        let [.., worst] = planner::RATIOS;
        format!(
            "Stage {name} ({share} % for {hours} h) is too short to see even a candidate {worst} \
             times as bad as control at {requests_per_day} requests a day"
        )
    };
    let of_stages = sight.blind().map(warn).chain(sight.unproven());
    sight.above_limit().into_iter().chain(of_stages).collect()
}

/// The new state, with a line in the log.
pub(super) fn changed(kind: CommandKind, status: &Status) -> RolloutState {
    let Status {
        id,
        changed_by,
        share,
        version,
        reason,
        ..
    } = status;
    let action = kind.name();
    if status.state == RunState::RolledBack {
        tracing::warn!(actor = %changed_by, rollout = id, %share, version, reason, "rollout: {action}");
    } else {
        tracing::info!(actor = %changed_by, rollout = id, %share, version, reason, "rollout: {action}");
    }
    RolloutState::new(status)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rollout::plan::KnownNames;

    #[test]
    fn a_plan_whose_outages_are_hardly_ever_final_is_warned_of_without_any_traffic() {
        let warnings = |period: &str| {
            let text = format!(
                "name = \"p\"\n[evidence]\noutage_period = \"{period}\"\n[[stages]]\nshare = 10\nsoak = \"1h\"\n"
            );
            let plan = Plan::parse(&text, "p", &KnownNames::default());
            let checked = Checked::new(plan, None);
            assert!(checked.valid, "{:?}", checked.faults);
            checked.warnings
        };
        assert!(warnings("24h").is_empty() && warnings("0s").is_empty());
        let warned = warnings("2h");
        assert!(warned[0].contains("comes back each time"), "{warned:?}");
        assert_eq!(warned.len(), 1);
    }

    #[test]
    fn the_words_of_the_evidence_say_whether_there_is_any() {
        let levels = EvidencePlan::default();
        for (e, begins) in [
            (1.0, "There is no evidence yet"),
            (1.0004, "There is no evidence yet"),
            (1.3, "The evidence that the candidate is worse: E is 1.3 ("),
        ] {
            let text = evidence(e, &levels);
            assert!(text.starts_with(begins), "{text}");
            assert!(text.contains("1 says nothing; watch from "), "{text}");
        }
    }
}
