//! One run of one cell: traffic through the evidence until it decides, or the time is over.

use std::sync::LazyLock;

use super::{
    super::evidence::{Evidence, EvidencePlan, Level, Observation, Signal},
    growthbook::GrowthBook,
    random::Random,
    traffic::{BEGIN_MS, HOUR_MS, Population, Scenario, Traffic},
};
use crate::{
    _core::{assignment::Variant, units::Percent},
    rollout::plan::{KnownNames, Library, Plan},
};

static STANDARD: LazyLock<Plan> = LazyLock::new(|| shipped("standard"));
static SMALL: LazyLock<Plan> = LazyLock::new(|| shipped("small"));

/// The plan `standard`, as it ships.
pub(super) fn standard() -> &'static Plan {
    &STANDARD
}

fn shipped(name: &str) -> Plan {
    let library = Library::load(None, &KnownNames::default());
    let plan = library.ok().and_then(|it| it.get(name).cloned());
    // Every shipped plan is read by a test.
    plan.unwrap_or_else(|| unreachable!("the plan `{name}` ships"))
}

/// Which tests run.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Tests {
    /// One metric, ρ₀ = 1, one stratum, no restarts.
    Kernel,
    /// What ships: the plan `standard`.
    Defaults,
    /// What ships, without restarts.
    WithoutRestarts,
    /// The plan `small`, as it ships.
    Small,
}

impl Tests {
    pub(super) fn plan(self) -> EvidencePlan {
        let defaults = STANDARD.evidence.clone();
        match self {
            Self::Defaults => defaults,
            Self::Small => SMALL.evidence.clone(),
            Self::WithoutRestarts => EvidencePlan {
                planned_hours: 1,
                outage_period_ms: 0,
                ..defaults
            },
            Self::Kernel => EvidencePlan {
                margin: 1.0,
                weights: [1.0, 0.0, 0.0, 0.0, 0.0],
                max_error_rate: 0.9,
                planned_hours: 1,
                outage_period_ms: 0,
                ..defaults
            },
        }
    }

    /// A candidate this many times worse must not pass a stage of this share.
    fn rho_bad(self, share: Percent) -> f64 {
        let of_small = SMALL.stages.iter().enumerate();
        let mut of_small = of_small.filter(|(n, _)| SMALL.share_of(*n) == share);
        match of_small.next() {
            Some((_, stage)) if self == Self::Small => stage.rho_bad,
            _ if share.get() < 25.0 => 2.0,
            _ => 1.5,
        }
    }

    /// The margin that the errors are judged by.
    pub(super) fn margin(self) -> f64 {
        match self {
            Self::Kernel => 1.0,
            Self::Defaults | Self::WithoutRestarts | Self::Small => EvidencePlan::default().margin,
        }
    }
}

/// What a run saw.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct RunResult {
    /// Hours from when the candidate turned bad to its rollback.
    pub rollback_hours: Option<f64>,
    /// The same for GrowthBook's test.
    pub growthbook_hours: Option<f64>,
    /// The candidate's errors until then.
    pub candidate_errors: u32,
    /// The candidate's requests in that time.
    pub candidate_requests: u32,
    /// Outcomes that are no errors held the rollout, or took it back.
    pub by_not_counted: bool,
    /// Promotion was proven before.
    pub promoted: bool,
    /// Seconds from the beginning of an outage to when the candidate was first withdrawn, if that was after one had begun.
    pub withdrawn_after: Option<f64>,
    /// The most that the evidence over all metrics was. It is looked at after every [`EVERY`]th request.
    pub most: f64,
}

/// Requests between two looks at the level.
const EVERY: u32 = 10;

/// How a run is watched.
#[derive(Clone, Copy, Debug)]
pub(super) struct RunWatch {
    pub tests: Tests,
    /// For so many hours after the candidate turned bad.
    pub hours: f64,
    /// GrowthBook's test runs along, and the run lasts until both are done.
    pub growthbook: bool,
    /// Looks whether promotion is proven, after every so many requests.
    pub promotion_every: Option<u32>,
    /// But only from this hour of the rollout on.
    pub promotion_from: f64,
    /// Ends with the first outage.
    pub until_outage: bool,
}

/// Runs one.
pub(super) fn run(scenario: Scenario, watch: RunWatch, random: Random) -> RunResult {
    let mut traffic = Traffic::new(scenario, random);
    let strata = if scenario.users == Population::Fresh {
        Default::default()
    } else {
        traffic.strata()
    };
    let mut share = scenario.share_at(0.0);
    let mut evidence = Evidence::new(&watch.tests.plan(), strata, BEGIN_MS);
    evidence.begin_stage(
        BEGIN_MS,
        share,
        match watch.tests {
            Tests::Small => watch.tests.rho_bad(share),
            _ => 2.0,
        },
    );
    let mut growthbook = watch.growthbook.then(GrowthBook::default);
    let mut seen = RunResult::default();
    let mut held_until = f64::NEG_INFINITY;
    let end = scenario.bad_from_hour + watch.hours;
    for number in 1_u32.. {
        let observation = traffic.next();
        let hours = traffic.elapsed_hours() - scenario.bad_from_hour;
        if traffic.elapsed_hours() > end {
            break;
        }
        if watch.until_outage
            && (seen.withdrawn_after.is_some()
                || traffic.seconds_of_outage() > scenario.outage.map(|it| it.minutes * 60.0))
        {
            break;
        }
        // While an outage is waited for, everybody is on control.
        let is_held = traffic.elapsed_hours() < held_until;
        let is_candidate = observation.variant == Variant::Candidate && !is_held;
        let is_error = observation.end.is_error();
        if seen.rollback_hours.is_none() {
            seen.candidate_requests += u32::from(is_candidate && hours >= 0.0);
            seen.candidate_errors += u32::from(is_candidate && is_error && hours >= 0.0);
            let in_force = scenario.share_at(traffic.elapsed_hours());
            if in_force != share {
                share = in_force;
                let rho_bad = watch.tests.rho_bad(share);
                evidence.begin_stage(observation.at_ms, share, rho_bad);
            }
            let at_share = if is_held { Percent::ZERO } else { share };
            if !(is_held && observation.variant == Variant::Candidate)
                && fold(&mut evidence, observation, at_share) == Level::Rollback
            {
                seen.withdrawn_after = seen.withdrawn_after.or(traffic.seconds_of_outage());
                match scenario.hours_of_an_outage() {
                    Some(wait) if evidence.is_outage() => {
                        evidence.begin_outage(observation.at_ms);
                        held_until = traffic.elapsed_hours() + wait;
                    }
                    _ => seen.rollback_hours = Some(hours),
                }
            }
        }
        if number.is_multiple_of(EVERY) && seen.rollback_hours.is_none() {
            seen.most = seen.most.max(evidence.e());
        }
        if let Some(test) = &mut growthbook
            && seen.growthbook_hours.is_none()
            && test.observe(observation.variant, is_error)
        {
            seen.growthbook_hours = Some(hours);
        }
        if seen.rollback_hours.is_some()
            && (growthbook.is_none() || seen.growthbook_hours.is_some())
        {
            break;
        }
        if let Some(every) = watch.promotion_every
            && number % every == 0
            && traffic.elapsed_hours() >= watch.promotion_from
        {
            let now_ms = BEGIN_MS + (traffic.elapsed_hours() * HOUR_MS) as i64;
            if evidence.verdict(now_ms).promotion.proven {
                seen.promoted = true;
                break;
            }
        }
    }
    let verdict = evidence.verdict(BEGIN_MS);
    seen.by_not_counted = matches!(verdict.cause, Some(Signal::NoAnswers | Signal::Uncounted))
        || verdict.uncounted.is_some_and(|it| it.differs.is_some());
    seen
}

/// Folds a request, and before that what was seen of it while it was open.
fn fold(evidence: &mut Evidence, mut request: Observation, share: Percent) -> Level {
    let late_ms = evidence.late_after_ms();
    if let Some(late_ms) = late_ms.filter(|late_ms| request.waited_ms() > *late_ms) {
        evidence.fold(&request.while_open(late_ms), share);
        request.was_open = true;
    }
    evidence.fold(&request, share)
}
