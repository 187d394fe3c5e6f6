//! G18: streams, which are as slow as their first words are, in the world of docs/statistics.md. Scenarios that are held out
//! have a goal of their own (`G18h`), so that they are run and printed apart.

use super::{
    super::traffic::{Arrivals, Population, Scenario, StreamingTraffic, WeekBefore},
    Measure, WEEK_HOURS,
    world::GoalCell,
};

/// False rollbacks that a rollout's tests may make together.
const FAMILY: f64 = 0.012;
/// Hours within which a candidate that is slower has to be found at 10 %.
const A_DAY: f64 = 24.0;

/// Users who differ in latency, volume and failures, and in how long their answers are.
const fn differ(share: f64, streams: StreamingTraffic) -> Scenario {
    Scenario {
        users: Population::Uneven(1_000),
        spread: 0.5,
        streams: Some(streams),
        ..Scenario::new(share, 0.02)
    }
}

const SOME: StreamingTraffic = StreamingTraffic {
    some: true,
    ..StreamingTraffic::ALL
};

const fn longer(longer: f64) -> StreamingTraffic {
    StreamingTraffic {
        longer,
        ..StreamingTraffic::ALL
    }
}

const fn later(later: f64) -> StreamingTraffic {
    StreamingTraffic {
        later,
        ..StreamingTraffic::ALL
    }
}

const fn pace(pace: f64) -> StreamingTraffic {
    StreamingTraffic {
        pace,
        ..StreamingTraffic::ALL
    }
}

pub(super) fn cells() -> Vec<GoalCell> {
    let mut cells: Vec<_> = no_worse().into_iter().chain(slower()).collect();
    cells.sort_by_key(|cell| cell.goal.ends_with('h'));
    cells
}

/// Nobody waits longer for the first words, so nothing may be taken back.
fn no_worse() -> Vec<GoalCell> {
    let stale = |share| Scenario {
        history: WeekBefore::Stale,
        ..differ(share, StreamingTraffic::ALL)
    };
    let sessions = Scenario {
        users: Population::Uneven(300),
        arrivals: Arrivals::Sessions(30),
        ..differ(10.0, SOME)
    };
    [
        (
            "G18",
            "A/A 1 %, streams",
            differ(1.0, StreamingTraffic::ALL),
        ),
        (
            "G18",
            "A/A 10 %, streams",
            differ(10.0, StreamingTraffic::ALL),
        ),
        (
            "G18h",
            "A/A 50 %, streams",
            differ(50.0, StreamingTraffic::ALL),
        ),
        ("G18", "A/A 10 %, streams, stale", stale(10.0)),
        ("G18h", "A/A 1 %, streams, stale", stale(1.0)),
        ("G18", "A/A 10 %, some streamed", differ(10.0, SOME)),
        ("G18h", "A/A 50 %, some streamed", differ(50.0, SOME)),
        ("G18h", "A/A 10 %, some streamed, sessions of 30", sessions),
        ("G18", "10 %, writes 2× as much", differ(10.0, longer(2.0))),
        ("G18", "50 %, writes 2× as much", differ(50.0, longer(2.0))),
        ("G18h", "10 %, writes 3× as much", differ(10.0, longer(3.0))),
    ]
    .into_iter()
    .map(|(goal, name, scenario)| GoalCell {
        goal,
        name: name.to_owned(),
        scenario,
        measure: Measure::FalseRollback,
        at_most: FAMILY,
        runs: 100,
        hours: WEEK_HOURS,
        promotion_from: 0.0,
    })
    .collect()
}

/// Who reads it waits longer.
fn slower() -> Vec<GoalCell> {
    let some_later = StreamingTraffic {
        some: true,
        ..later(2.0)
    };
    [
        (
            "G18",
            "1 %, starts 2× later",
            differ(1.0, later(2.0)),
            WEEK_HOURS,
        ),
        (
            "G18",
            "10 %, starts 2× later",
            differ(10.0, later(2.0)),
            A_DAY,
        ),
        (
            "G18",
            "50 %, starts 2× later",
            differ(50.0, later(2.0)),
            A_DAY,
        ),
        (
            "G18",
            "10 %, starts 1.5× later",
            differ(10.0, later(1.5)),
            A_DAY,
        ),
        (
            "G18",
            "10 %, writes 4× slower",
            differ(10.0, pace(4.0)),
            A_DAY,
        ),
        (
            "G18h",
            "10 %, writes 2× slower",
            differ(10.0, pace(2.0)),
            WEEK_HOURS,
        ),
        (
            "G18h",
            "10 %, starts 2× later, some streamed",
            differ(10.0, some_later),
            A_DAY,
        ),
    ]
    .into_iter()
    .map(|(goal, name, scenario, at_most)| GoalCell {
        goal,
        name: format!("{name}, hours"),
        scenario,
        measure: Measure::Hours,
        at_most,
        runs: 60,
        hours: WEEK_HOURS,
        promotion_from: 0.0,
    })
    .collect()
}
