//! The campaigns that [`certify`](super::certify) runs, and how each is measured.

use super::{
    campaign::{self, RunResult, RunWatch, Tests},
    proportion,
    random::Random,
    traffic::Scenario,
};

mod errors;
mod hold;
mod margin;
mod not_counted;
mod placebo;
mod quality;
mod small;
mod streams;
mod unseen;
mod world;

use self::not_counted::NotCountedCell;

/// Left out beyond each of the two limits.
const ALPHA: f64 = 0.001;
/// Standard errors to the limits of a mean at that α.
const STANDARD_ERRORS: f64 = 3.09;
const WEEK_HOURS: f64 = 168.0;
/// Runs of each cell of a full certificate.
const FULL_RUNS: u32 = 10_000;
/// A week of what ships, without looking whether promotion is proven.
const WATCH: RunWatch = RunWatch {
    tests: Tests::Defaults,
    hours: WEEK_HOURS,
    growthbook: false,
    promotion_every: None,
    promotion_from: 0.0,
    until_outage: false,
};

/// What of a run is measured, and by what it is divided.
#[derive(Clone, Copy, Debug)]
enum Measure {
    FalseRollback,
    FalsePromotion,
    /// A candidate that is as good is not proven to be.
    NotPromoted,
    /// A hold or a rollback because of outcomes that are no errors.
    FalseNotCounted,
    ErrorsServed,
    RequestsServed,
    /// Not found, neither by a rollback nor a hold because of them.
    Missed,
    /// In units of the Wald bound, hours.
    Delay {
        bound_hours: f64,
    },
    /// In units of GrowthBook's.
    DelayAgainstGrowthBook,
    /// Hours.
    Hours,
    /// Not withdrawn within ten seconds of the beginning of an outage.
    LateHold,
    /// Taken back, though it is a part of control's own traffic.
    Placebo,
    /// In units of the same tests without restarts on a candidate bad from the start.
    DelayAgainstPlain,
}

/// What a measured number is of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unit {
    /// A part of all runs, 0 to 1.
    Part,
    /// Times as long as something else takes.
    Multiple,
    /// Requests of the candidate.
    Requests,
    /// Hours.
    Hours,
}

impl Measure {
    fn unit(self) -> Unit {
        match self {
            Self::FalseRollback
            | Self::FalsePromotion
            | Self::NotPromoted
            | Self::FalseNotCounted
            | Self::Missed
            | Self::LateHold
            | Self::Placebo => Unit::Part,
            Self::ErrorsServed | Self::RequestsServed => Unit::Requests,
            Self::Hours => Unit::Hours,
            Self::Delay { .. } | Self::DelayAgainstGrowthBook | Self::DelayAgainstPlain => {
                Unit::Multiple
            }
        }
    }
}

/// A campaign.
#[derive(Clone)]
pub(super) struct Planned {
    pub goal: &'static str,
    pub name: String,
    scenario: Scenario,
    watch: RunWatch,
    measure: Measure,
    at_most: f64,
    pub runs: u32,
}

impl Planned {
    /// Its scenario was named before anything was tuned.
    pub(super) fn is_held_out(&self) -> bool {
        self.goal.ends_with('h') || self.name.ends_with("kept aside")
    }

    /// Its goal is the most that can be measured, so it cannot be missed: what comes out is told, and not judged.
    fn is_told(&self) -> bool {
        let most = match self.measure.unit() {
            Unit::Part => 1.0,
            Unit::Hours => self.watch.hours,
            Unit::Multiple | Unit::Requests => f64::INFINITY,
        };
        self.at_most >= most
    }

    /// Whether it is of this goal, or held out of it: `G11h` is of `G11`.
    pub(super) fn is_of(&self, goal: &str) -> bool {
        self.goal == goal || self.goal.strip_suffix('h') == Some(goal)
    }

    /// One run.
    pub(super) fn run(&self, seed: u64, run: u32) -> Measurement {
        // The seed of a cell is its name, so that adding a cell changes no other.
        let cell = self
            .name
            .bytes()
            .chain(self.goal.bytes())
            .fold(0xcbf2_9ce4_8422_2325, |hash: u64, byte| {
                (hash ^ u64::from(byte)).wrapping_mul(0x100_0000_01b3)
            });
        let random = |stream: u64| Random::new(seed ^ stream, cell, u64::from(run));
        if matches!(self.measure, Measure::Placebo) {
            return placebo::run(self.scenario, self.watch, random(0));
        }
        let seen = campaign::run(self.scenario, self.watch, random(0));
        let hours = |seen: &RunResult| seen.rollback_hours.unwrap_or(self.watch.hours);
        let measured = match self.measure {
            Measure::FalseRollback => [f64::from(u8::from(seen.rollback_hours.is_some())), 1.0],
            Measure::FalsePromotion => [f64::from(u8::from(seen.promoted)), 1.0],
            Measure::NotPromoted => [f64::from(u8::from(!seen.promoted)), 1.0],
            Measure::FalseNotCounted => [f64::from(u8::from(seen.by_not_counted)), 1.0],
            Measure::Missed => [f64::from(u8::from(!seen.by_not_counted)), 1.0],
            Measure::LateHold => {
                let is_late = seen
                    .withdrawn_after
                    .is_none_or(|seconds| seconds > hold::GOAL_SECONDS);
                [f64::from(u8::from(is_late)), 1.0]
            }
            // Returned above: it has no candidate.
            Measure::Placebo => [0.0, 1.0],
            Measure::ErrorsServed => [f64::from(seen.candidate_errors), 1.0],
            Measure::RequestsServed => [f64::from(seen.candidate_requests), 1.0],
            Measure::Hours => [hours(&seen), 1.0],
            Measure::Delay { bound_hours } => [hours(&seen), bound_hours],
            Measure::DelayAgainstGrowthBook => [
                hours(&seen),
                seen.growthbook_hours.unwrap_or(self.watch.hours),
            ],
            Measure::DelayAgainstPlain => {
                let plain = RunWatch {
                    tests: Tests::WithoutRestarts,
                    ..self.watch
                };
                let scenario = Scenario {
                    bad_from_hour: 0.0,
                    ..self.scenario
                };
                let plain = campaign::run(scenario, plain, random(u64::MAX));
                [hours(&seen), hours(&plain)]
            }
        };
        let levels = self.watch.tests.plan();
        Measurement {
            measured,
            is_watched: seen.most >= levels.watch,
            is_held: seen.most >= levels.hold,
            withdrawn_after: seen.withdrawn_after,
        }
    }

    pub(super) fn measure(&self, samples: &[Measurement]) -> MeasuredGoal {
        let runs = samples.len() as f64;
        let of_runs =
            |is: fn(&Measurement) -> bool| samples.iter().filter(|it| is(it)).count() as f64 / runs;
        let measured = samples.iter().map(|sample| sample.measured);
        let mean = |part: usize| measured.clone().map(|it| it[part]).sum::<f64>() / runs;
        let [x, y] = [mean(0), mean(1)];
        let squares = |measured: f64| -> f64 {
            let all = samples.iter().map(|sample| sample.measured);
            all.map(|[x, y]| (x - measured * y).powi(2)).sum()
        };
        let measured = x / y;
        let unit = self.measure.unit();
        let limits = if unit == Unit::Part {
            let hits = (x * runs).round() as u32;
            proportion::limits(hits, samples.len() as u32, ALPHA)
        } else {
            // The error of a ratio of two means, by the delta method.
            let error = (squares(measured) / (runs - 1.0).max(1.0) / runs).sqrt() / y;
            let margin = STANDARD_ERRORS * error;
            (measured - margin, measured + margin)
        };
        let note = match self.measure {
            Measure::LateHold => hold::note(samples),
            Measure::Placebo => placebo::note(samples),
            _ if unit == Unit::Multiple => format!("  {x:.2} h / {y:.2} h"),
            _ => String::new(),
        };
        MeasuredGoal {
            goal: self.goal,
            name: self.name.clone(),
            runs: samples.len() as u32,
            measured,
            limits,
            goal_at_most: self.at_most,
            alarms: matches!(self.measure, Measure::FalseRollback)
                .then(|| [of_runs(|it| it.is_watched), of_runs(|it| it.is_held)]),
            is_held_out: self.is_held_out(),
            is_told: self.is_told(),
            unit,
            note,
        }
    }
}

/// What one run gave.
#[derive(Clone, Copy, Debug)]
pub(super) struct Measurement {
    /// What was measured, and what it is divided by.
    measured: [f64; 2],
    /// E reached watch, and hold.
    is_watched: bool,
    is_held: bool,
    /// Seconds from the beginning of an outage.
    withdrawn_after: Option<f64>,
}

/// One measured goal.
#[derive(Clone, Debug, PartialEq)]
pub struct MeasuredGoal {
    /// Such as `G1`.
    pub goal: &'static str,
    /// What was simulated.
    pub name: String,
    /// How often.
    pub runs: u32,
    /// What was measured: a proportion, a ratio of delays, or errors served.
    pub measured: f64,
    /// Its lower and upper 99.9 % limits.
    pub limits: (f64, f64),
    /// What it may be.
    pub goal_at_most: f64,
    /// Of runs with equal arms, the part in which the evidence reached watch, and hold.
    pub alarms: Option<[f64; 2]>,
    /// Its scenario was named before anything was tuned, and is run once, at the end.
    pub is_held_out: bool,
    /// Its goal is the most that can be measured: it is told, and not judged.
    pub is_told: bool,
    /// What `measured`, `limits` and `goal_at_most` are of.
    pub unit: Unit,
    /// In words: hours, bounds.
    pub note: String,
}

impl MeasuredGoal {
    /// Missed beyond its own error.
    pub fn is_missed(&self) -> bool {
        self.limits.0 > self.goal_at_most
    }
}

/// Every cell of every goal (docs/statistics.md has the reasons).
pub(super) fn plan(full: bool) -> Vec<Planned> {
    let by_defaults = [
        world::cells(),
        quality::cells(),
        streams::cells(),
        unseen::cells(),
    ];
    let by_defaults = by_defaults.concat();
    let by_defaults = by_defaults
        .into_iter()
        .map(|it| it.planned(Tests::Defaults));
    let by_small = small::cells()
        .into_iter()
        .map(|it| it.planned(Tests::Small));
    let not_counted = not_counted::cells();
    let not_counted = not_counted.iter().flat_map(NotCountedCell::planned);
    let mut cells = errors::cells();
    cells.extend(by_defaults.chain(by_small).chain(not_counted));
    cells.extend(hold::cells());
    cells.extend(placebo::cells());
    cells.extend(margin::cells());
    cells.extend(errors::turned_bad());
    if full {
        cells.iter_mut().for_each(|cell| cell.runs = FULL_RUNS);
    }
    cells
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_goal_that_nothing_can_miss_is_told() {
        let cells = plan(false);
        let told = |goal: &str| {
            let of_goal = cells.iter().filter(|it| it.goal == goal);
            of_goal.clone().filter(|it| it.is_told()).count()
        };
        // Slower candidates, but for the one that the specification has a goal for.
        assert_eq!(told("G12"), 26);
        assert_eq!(told("G16"), 2, "equal arms that are not proven");
        assert_eq!(told("G19"), 8);
        for goal in ["G1", "G2", "G9", "G11", "G14", "G20", "G21", "G22h"] {
            assert_eq!(told(goal), 0, "{goal}");
        }
    }
}
