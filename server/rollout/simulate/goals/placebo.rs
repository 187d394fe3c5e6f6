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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_kind_of_traffic_is_divided_once_and_none_has_a_candidate() {
        let cells = cells();
        let names: HashSet<_> = cells.iter().map(|it| &*it.name).collect();
        assert_eq!(names.len(), cells.len());
        for cell in &cells {
            let Scenario { share, ramp, .. } = cell.scenario;
            assert!(share == 0.0 && ramp.is_none(), "{}", cell.name);
            assert!(!cell.is_told(), "{}", cell.name);
        }
        for kind in ["stale", "5 minutes a day of both", "flaws uneven, often"] {
            assert!(names.contains(&*format!("placebo, {kind}")), "{kind}");
        }
        assert!(!names.contains("placebo, hold-out"));
    }

    #[test]
    fn a_run_is_a_rollout_of_equal_arms_and_the_same_one_each_time() {
        let small = cells()
            .into_iter()
            .find(|it| it.name == "placebo, 50 a day by 20 users")
            .expect("such a cell");
        let once = small.run(1, 0);
        assert_eq!(once.measured, [0.0, 1.0], "not taken back");
        assert_eq!(format!("{once:?}"), format!("{:?}", small.run(1, 0)));

        let held = Measurement {
            measured: [1.0, 1.0],
            is_held: true,
            ..once
        };
        let measured = small.measure(&[once, held]);
        assert_eq!(measured.measured, 0.5);
        assert_eq!(measured.note, "  1 of 2 held");
        assert_eq!(measured.alarms, None);
    }
}
