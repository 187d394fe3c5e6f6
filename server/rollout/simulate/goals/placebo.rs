//! G20: placebo rollouts of the plan `standard` on control's own traffic of a week, in every kind of it that equal arms are
//! tried on. Each is of a week of its own, divided by a salt of its own.

use std::{collections::HashSet, num::NonZero};

use super::{
    super::{
        campaign::{self, RunWatch},
        placebo::{self, ControlLog},
        random::Random,
        traffic::{Scenario, Traffic},
    },
    Measure, Measurement, Planned, WATCH, quality, world,
};

/// What the tests of a rollout may take back together.
const FAMILY: f64 = 0.012;
const RUNS: u32 = 50;
/// Of 100,000 requests a day.
const FEW_RUNS: u32 = 5;

pub(super) fn cells() -> Vec<Planned> {
    let equal_arms = [world::equal_arms(), quality::equal_arms()].concat();
    let mut seen = HashSet::new();
    let mut cells = Vec::new();
    for cell in equal_arms {
        // Shares and ramps are the plan's own.
        let traffic = cell.name.split_once(" %, ").map(|(_, traffic)| traffic);
        let Some(traffic) = traffic.filter(|it| *it != "hold-out") else {
            continue;
        };
        if cell.scenario.ramp.is_some() || !seen.insert(traffic.to_owned()) {
            continue;
        }
        cells.push(Planned {
            goal: "G20",
            name: format!("placebo, {traffic}"),
            scenario: Scenario {
                share: 0.0,
                ..cell.scenario
            },
            watch: WATCH,
            measure: Measure::Placebo,
            at_most: FAMILY,
            runs: if cell.scenario.requests_per_day > 5e4 {
                FEW_RUNS
            } else {
                RUNS
            },
        });
    }
    cells
}

/// One of them.
pub(super) fn run(scenario: Scenario, watch: RunWatch, mut random: Random) -> Measurement {
    let salts = random.next();
    let mut traffic = Traffic::new(scenario, random);
    let strata = traffic.strata();
    let mut observations = Vec::new();
    while traffic.elapsed_hours() < watch.hours {
        observations.push(traffic.next());
    }
    let log = ControlLog::simulated(observations, strata);
    let seen = placebo::run(
        campaign::standard(),
        &log,
        1,
        salts,
        NonZero::<usize>::MIN,
        &|_| (),
    );
    Measurement {
        measured: [f64::from(seen.taken_back), 1.0],
        // A placebo does not tell it.
        is_watched: false,
        is_held: seen.held > 0,
        withdrawn_after: None,
    }
}

/// How many were held, and not taken back.
pub(super) fn note(samples: &[Measurement]) -> String {
    let held = samples.iter().filter(|it| it.is_held).count();
    format!("  {held} of {} held", samples.len())
}
