//! G17: the plan `small` as it ships, in the world that it is for: twenty users who differ, a thousand requests a
//! day, every stage as long as its soak.

use super::{
    super::traffic::{Flaws, Population, Scenario},
    Measure,
    world::GoalCell,
};

/// The plan's stages: from which hour on how many percent.
const STAGES: &[(f64, f64)] = &[(0.0, 20.0), (24.0, 50.0), (96.0, 95.0)];
const HOURS: f64 = 264.0;
/// When the second stage may be proven, and when a person is asked.
const SECOND: (f64, f64) = (96.0, 168.0);

const TWENTY: Scenario = Scenario {
    users: Population::Uneven(20),
    requests_per_day: 1_000.0,
    spread: 0.3,
    flaws: Flaws::Uneven(0.01),
    ramp: Some(STAGES),
    ..Scenario::new(20.0, 0.02)
};

/// The second stage alone, until a person is asked.
const HALF: Scenario = Scenario {
    ramp: None,
    share: 50.0,
    ..TWENTY
};

pub(super) fn cells() -> Vec<GoalCell> {
    let worse = |ratio| Scenario { ratio, ..TWENTY };
    let flawed = Scenario {
        more_flaws: 1.0 / 3.0,
        ..TWENTY
    };
    let slow = Scenario {
        slower: 2.0,
        ..TWENTY
    };
    let thrice = Scenario { ratio: 3.0, ..HALF };
    let hours = Measure::Hours;
    [
        ("equal, taken back", TWENTY, Measure::FalseRollback, 0.012),
        (
            "always fails, errors served",
            worse(f64::INFINITY),
            Measure::ErrorsServed,
            40.0,
        ),
        ("10× errors, hours", worse(10.0), hours, HOURS),
        ("5× errors, hours", worse(5.0), hours, HOURS),
        ("2× errors, hours", worse(2.0), hours, HOURS),
        ("2× slower, hours", slow, hours, HOURS),
        ("a third flawed, hours", flawed, hours, HOURS),
        (
            "50 %, equal, not proven by hour 144",
            HALF,
            Measure::NotPromoted,
            1.0,
        ),
        (
            "50 %, 3× errors, promoted",
            thrice,
            Measure::FalsePromotion,
            0.01,
        ),
    ]
    .into_iter()
    .map(|(name, scenario, measure, at_most)| GoalCell {
        goal: "G17",
        name: format!("small, {name}"),
        scenario,
        measure,
        at_most,
        runs: 100,
        hours: match measure {
            Measure::NotPromoted | Measure::FalsePromotion => SECOND.1 - 24.0,
            _ => HOURS,
        },
        promotion_from: SECOND.0 - 24.0,
    })
    .collect()
}
