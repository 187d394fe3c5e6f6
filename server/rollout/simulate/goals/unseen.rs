//! G22: equal arms in traffic that was named before the tenth edition was built and before this code was written
//! (docs/statistics.md, "What a tenth edition must stand"). It runs once for an edition, when that is decided.

use super::{
    super::traffic::{Arrivals, Population, RAMP, Scenario, Side, WeekBefore},
    Measure, WEEK_HOURS,
    world::{FAMILY, GoalCell, differ, outage},
};

pub(super) fn cells() -> Vec<GoalCell> {
    let stale = Scenario {
        history: WeekBefore::Stale,
        ..differ(1.0, 0.5)
    };
    let few = Scenario {
        users: Population::Uneven(300),
        ..stale
    };
    let rows: [(&str, &[f64], Scenario); 6] = [
        ("stale, 300 users", &[1.0, 10.0], few),
        (
            "stale, 5 % errors",
            &[1.0, 10.0],
            Scenario {
                baseline: 0.05,
                ..stale
            },
        ),
        (
            "two tasks, stale",
            &[1.0, 10.0],
            Scenario {
                two_tasks: true,
                history: WeekBefore::Stale,
                ..differ(1.0, 0.3)
            },
        ),
        (
            "stale, sessions of 10, impatient",
            &[10.0, 50.0],
            Scenario {
                arrivals: Arrivals::Sessions(10),
                impatient: true,
                ..few
            },
        ),
        (
            "new users, impatient, 5 minutes a day of both",
            &[1.0, 10.0],
            Scenario {
                history: WeekBefore::NewUsers,
                impatient: true,
                outage: outage(Side::Both, 5.0, true),
                ..differ(1.0, 0.5)
            },
        ),
        (
            "stale, ramp",
            &[1.0],
            Scenario {
                ramp: Some(RAMP),
                ..stale
            },
        ),
    ];
    let cell = |name: &str, share: f64, scenario| GoalCell {
        goal: "G22h",
        name: format!("A/A {share} %, {name}"),
        scenario: Scenario { share, ..scenario },
        measure: Measure::FalseRollback,
        at_most: FAMILY,
        runs: 150,
        hours: WEEK_HOURS,
        promotion_from: 0.0,
    };
    rows.into_iter()
        .flat_map(|(name, shares, scenario)| {
            let shares = shares.iter();
            shares.map(move |share| cell(name, *share, scenario))
        })
        .collect()
}
