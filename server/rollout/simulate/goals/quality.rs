//! G14 to G16: the quality of answers, and the proof of the next stage in every metric, in the world of docs/statistics.md. Scenarios that are held out have
//! goals of their own (`G14h`), so that they are run and printed apart.

use super::{
    super::traffic::{Arrivals, Flaws, Population, RAMP, Scenario, WeekBefore},
    Measure, WEEK_HOURS,
    world::GoalCell,
};

/// Users who differ in latency, volume, failures and flaws.
const fn differ(share: f64, flaws: Flaws) -> Scenario {
    Scenario {
        users: Population::Uneven(1_000),
        spread: 0.3,
        flaws,
        ..Scenario::new(share, 0.02)
    }
}

const UNEVEN: Flaws = Flaws::Uneven(0.01);

pub(super) fn cells() -> Vec<GoalCell> {
    let mut cells: Vec<_> = equal_arms()
        .into_iter()
        .chain(worse())
        .chain(promotion())
        .collect();
    cells.sort_by_key(|cell| cell.goal.ends_with('h'));
    cells
}

pub(super) fn equal_arms() -> Vec<GoalCell> {
    let uneven = differ(1.0, UNEVEN);
    let stale = Scenario {
        history: WeekBefore::Stale,
        ..uneven
    };
    let unseen_before = Scenario {
        knows_flaws: false,
        ..uneven
    };
    let sessions = Scenario {
        users: Population::Uneven(300),
        arrivals: Arrivals::Sessions(30),
        ..uneven
    };
    let small = Scenario {
        users: Population::Uneven(20),
        requests_per_day: 50.0,
        ..uneven
    };
    let ramp = Scenario {
        ramp: Some(RAMP),
        ..uneven
    };
    let often = differ(1.0, Flaws::Uneven(0.05));
    let all: &[f64] = &[1.0, 10.0, 50.0];
    let rows: [(&str, &str, &[f64], Scenario); 12] = [
        ("G14", "flaws alike", all, differ(1.0, Flaws::Even(0.01))),
        ("G14", "flaws uneven", all, uneven),
        ("G14h", "flaws uneven, often", &[10.0, 50.0], often),
        ("G14", "flaws uneven, stale", &[1.0, 10.0], stale),
        ("G14h", "flaws uneven, stale", &[50.0], stale),
        (
            "G14",
            "flaws uneven, not looked at",
            &[1.0, 10.0],
            unseen_before,
        ),
        (
            "G14h",
            "flaws uneven, not looked at",
            &[50.0],
            unseen_before,
        ),
        ("G14", "flaws uneven, sessions", &[10.0], sessions),
        ("G14h", "flaws uneven, sessions", &[50.0], sessions),
        ("G14h", "flaws uneven, 50 a day by 20 users", &[10.0], small),
        ("G14h", "flaws uneven, ramp", &[1.0], ramp),
        ("G14", "no flaws", &[10.0], differ(1.0, Flaws::Even(0.0))),
    ];
    let cell = |goal, name: &str, share: f64, scenario| GoalCell {
        goal,
        name: format!("A/A {share} %, {name}"),
        scenario: Scenario { share, ..scenario },
        measure: Measure::FalseRollback,
        at_most: 0.012,
        runs: 150,
        hours: WEEK_HOURS,
        promotion_from: 0.0,
    };
    rows.into_iter()
        .flat_map(|(goal, name, shares, scenario)| {
            let shares = shares.iter();
            shares.map(move |share| cell(goal, name, *share, scenario))
        })
        .collect()
}

fn worse() -> Vec<GoalCell> {
    let third = |share, flaws| Scenario {
        more_flaws: 1.0 / 3.0,
        ..differ(share, flaws)
    };
    let times = |flaws_ratio| Scenario {
        flaws_ratio,
        ..differ(10.0, UNEVEN)
    };
    let unseen_before = Scenario {
        knows_flaws: false,
        ..third(10.0, UNEVEN)
    };
    let late = Scenario {
        bad_from_hour: 24.0,
        ..third(10.0, UNEVEN)
    };
    let served = Measure::RequestsServed;
    [
        (
            "G15",
            "1 %, a third flawed",
            third(1.0, UNEVEN),
            served,
            40.0,
        ),
        (
            "G15",
            "10 %, a third flawed",
            third(10.0, UNEVEN),
            served,
            40.0,
        ),
        (
            "G15",
            "50 %, a third flawed",
            third(50.0, UNEVEN),
            served,
            60.0,
        ),
        (
            "G15",
            "10 %, a third flawed after 24 h",
            late,
            served,
            200.0,
        ),
        (
            "G15h",
            "10 %, a third flawed, not looked at",
            unseen_before,
            served,
            80.0,
        ),
        (
            "G15h",
            "10 %, a third flawed, 5 % anyway",
            third(10.0, Flaws::Uneven(0.05)),
            served,
            80.0,
        ),
        (
            "G15",
            "10 %, 2× flaws, hours",
            times(2.0),
            Measure::Hours,
            168.0,
        ),
        (
            "G15",
            "10 %, 5× flaws, hours",
            times(5.0),
            Measure::Hours,
            168.0,
        ),
    ]
    .into_iter()
    .map(|(goal, name, scenario, measure, at_most)| GoalCell {
        goal,
        name: name.to_owned(),
        scenario,
        measure,
        at_most,
        runs: 100,
        hours: WEEK_HOURS,
        promotion_from: 0.0,
    })
    .collect()
}

/// From hour 48 on, as the plan `standard` asks for the first stage.
fn promotion() -> Vec<GoalCell> {
    let good = |share, baseline| Scenario {
        flaws: UNEVEN,
        ..Scenario::new(share, baseline)
    };
    let from = |bad_from_hour, scenario| Scenario {
        bad_from_hour,
        ..scenario
    };
    let bad = Scenario {
        ratio: 2.0,
        ..good(10.0, 0.02)
    };
    let slow = Scenario {
        slower: 1.5,
        ..good(10.0, 0.02)
    };
    let flawed = Scenario {
        flaws_ratio: 2.5,
        ..good(10.0, 0.02)
    };
    let (equal, found) = (Measure::NotPromoted, Measure::FalsePromotion);
    [
        (
            "G16",
            "10 %, equal, not proven by hour 96",
            good(10.0, 0.02),
            equal,
            1.0,
        ),
        (
            "G16",
            "50 %, equal, not proven by hour 96",
            good(50.0, 0.02),
            equal,
            1.0,
        ),
        ("G16", "10 %, 2× errors, promoted", bad, found, 0.01),
        (
            "G16",
            "10 %, 2× errors from hour 36, promoted",
            from(36.0, bad),
            found,
            0.01,
        ),
        (
            "G16",
            "10 %, 2× errors from hour 44, promoted",
            from(44.0, bad),
            found,
            0.01,
        ),
        (
            "G16",
            "10 %, 1.5× slower from hour 44, promoted",
            from(44.0, slow),
            found,
            0.01,
        ),
        ("G16h", "10 %, 2.5× flaws, promoted", flawed, found, 0.01),
        (
            "G16h",
            "10 %, .5 % errors, not proven by hour 96",
            good(10.0, 0.005),
            equal,
            1.0,
        ),
    ]
    .into_iter()
    .map(|(goal, name, scenario, measure, at_most)| GoalCell {
        goal,
        name: name.to_owned(),
        scenario,
        measure,
        at_most,
        runs: 100,
        hours: match measure {
            Measure::NotPromoted => 96.0,
            _ => WEEK_HOURS,
        },
        promotion_from: 48.0,
    })
    .collect()
}
