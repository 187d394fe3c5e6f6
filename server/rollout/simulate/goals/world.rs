//! G11 to G13: the world of docs/statistics.md. Its scenarios that are held out have goals of their own
//! (`G11h`), so that they are run and printed apart.

use super::{
    super::{
        campaign::{RunWatch, Tests},
        traffic::{Arrivals, Population, RAMP, Scenario, Side, SimulatedOutage, WeekBefore},
    },
    Measure, Planned, WATCH, WEEK_HOURS,
};

/// False rollbacks that a rollout's tests may make together.
pub(super) const FAMILY: f64 = 0.012;

/// A cell that is a scenario, a measure and a goal.
#[derive(Clone)]
pub(super) struct GoalCell {
    pub(super) goal: &'static str,
    pub(super) name: String,
    pub(super) scenario: Scenario,
    pub(super) measure: Measure,
    pub(super) at_most: f64,
    pub(super) runs: u32,
    /// How long it is looked at after it turned bad.
    pub(super) hours: f64,
    /// From which hour on promotion may be proven, where that is looked at.
    pub(super) promotion_from: f64,
}

impl GoalCell {
    pub(super) fn planned(self, tests: Tests) -> Planned {
        let looks_at_promotion =
            matches!(self.measure, Measure::FalsePromotion | Measure::NotPromoted);
        Planned {
            goal: self.goal,
            name: self.name,
            scenario: self.scenario,
            watch: RunWatch {
                tests,
                hours: self.hours,
                promotion_every: looks_at_promotion.then_some(20),
                promotion_from: self.promotion_from,
                ..WATCH
            },
            measure: self.measure,
            at_most: self.at_most,
            runs: self.runs,
        }
    }
}

/// Users who differ in latency, volume and failures.
pub(super) const fn differ(share: f64, spread: f64) -> Scenario {
    Scenario {
        users: Population::Uneven(1_000),
        spread,
        ..Scenario::new(share, 0.02)
    }
}

pub(super) const fn outage(of: Side, minutes: f64, is_daily: bool) -> Option<SimulatedOutage> {
    Some(SimulatedOutage {
        of,
        rate: 1.0,
        minutes,
        is_daily,
    })
}

pub(super) fn cells() -> Vec<GoalCell> {
    let mut cells: Vec<_> = equal_arms().into_iter().chain(worse()).collect();
    // What is held out is printed apart, at the end.
    cells.sort_by_key(|cell| cell.goal.ends_with('h'));
    cells
}

/// Nothing is wrong, so nothing may be taken back.
pub(super) fn equal_arms() -> Vec<GoalCell> {
    let mut cells = Vec::new();
    let mut add = |is_held_out: bool, name: &str, shares: &[f64], scenario: Scenario| {
        for share in shares {
            let (scenario, name) = match scenario.ramp {
                Some(_) => (scenario, format!("A/A {name}")),
                None => (
                    Scenario {
                        share: *share,
                        ..scenario
                    },
                    format!("A/A {share} %, {name}"),
                ),
            };
            let runs = if scenario.requests_per_day > 5e4 {
                30
            } else {
                150
            };
            cells.push(GoalCell {
                goal: if is_held_out { "G11h" } else { "G11" },
                name,
                scenario,
                measure: Measure::FalseRollback,
                at_most: FAMILY,
                runs,
                hours: WEEK_HOURS,
                promotion_from: 0.0,
            });
        }
    };
    let all = &[1.0, 10.0, 50.0];
    let few = |count| Scenario {
        users: Population::Uneven(count),
        ..differ(1.0, 0.5)
    };
    let known = |history| Scenario {
        history,
        ..differ(1.0, 0.5)
    };
    let sessions = |length, impatient, outage| Scenario {
        arrivals: Arrivals::Sessions(length),
        impatient,
        outage,
        ..few(300)
    };
    let small = |count, requests_per_day| Scenario {
        requests_per_day,
        ..few(count)
    };
    let tasks = Scenario {
        two_tasks: true,
        ..differ(1.0, 0.3)
    };
    let ramp = |history| Scenario {
        ramp: Some(RAMP),
        ..known(history)
    };
    add(false, "alike", all, differ(1.0, 0.0));
    add(false, "differ .3", all, differ(1.0, 0.3));
    add(true, "differ .4", all, differ(1.0, 0.4));
    add(false, "differ .5", all, differ(1.0, 0.5));
    add(false, "differ .5, 300 users", &[1.0, 10.0], few(300));
    add(true, "differ .5, 50 users", &[1.0, 10.0], few(50));
    add(false, "two tasks", &[1.0, 10.0], tasks);
    add(true, "two tasks", &[50.0], tasks);
    for (name, history) in [
        ("stale", WeekBefore::Stale),
        ("new users", WeekBefore::NewUsers),
        ("no history", WeekBefore::None),
    ] {
        add(false, name, &[1.0, 10.0], known(history));
        add(true, name, &[50.0], known(history));
    }
    add(
        false,
        "sessions of 30",
        &[10.0, 50.0],
        sessions(30, false, None),
    );
    add(
        true,
        "sessions of 10, impatient",
        &[10.0, 50.0],
        sessions(10, true, None),
    );
    add(false, "ramp", &[1.0], ramp(WeekBefore::Fresh));
    add(true, "ramp, new users", &[1.0], ramp(WeekBefore::NewUsers));
    add(
        false,
        "50 a day by 20 users",
        &[10.0, 50.0],
        small(20, 50.0),
    );
    add(
        true,
        "500 a day by 30 users",
        &[10.0, 50.0],
        small(30, 500.0),
    );
    add(
        true,
        "100,000 a day by 10,000 users",
        &[1.0],
        small(10_000, 1e5),
    );
    add(false, "hold-out", &[95.0], differ(1.0, 0.5));
    add(true, "hold-out", &[99.0], differ(1.0, 0.5));
    let both = |minutes, is_daily| sessions(10, true, outage(Side::Both, minutes, is_daily));
    add(
        false,
        "5 minutes a day of both",
        &[10.0, 50.0],
        both(5.0, true),
    );
    add(
        false,
        "60 minutes once of both",
        &[10.0, 50.0],
        both(60.0, false),
    );
    add(
        true,
        "2 minutes a day of both",
        &[10.0, 50.0],
        both(2.0, true),
    );
    cells
}

/// Something is wrong.
fn worse() -> Vec<GoalCell> {
    let mut cells = Vec::new();
    let mut add = |goal, name: String, scenario, measure, at_most, runs| {
        cells.push(GoalCell {
            goal,
            name,
            scenario,
            measure,
            at_most,
            runs,
            hours: WEEK_HOURS,
            promotion_from: 0.0,
        });
    };
    for share in [1.0, 10.0, 50.0] {
        for slower in [1.3, 2.0, 3.0] {
            for (name, scenario) in [
                ("alike", differ(share, 0.0)),
                ("differ .5", differ(share, 0.5)),
                (
                    "no history",
                    Scenario {
                        history: WeekBefore::None,
                        ..differ(share, 0.5)
                    },
                ),
            ] {
                let scenario = Scenario { slower, ..scenario };
                // The specification has a goal for this one alone; the others are told.
                let has_goal = (share, slower, name) == (10.0, 1.3, "differ .5");
                let at_most = if has_goal { 24.0 } else { 168.0 };
                let name = format!("{share} %, {slower}× slower, {name}, hours");
                add("G12", name, scenario, Measure::Hours, at_most, 60);
            }
        }
    }
    let tasks = Scenario {
        slower: 1.5,
        two_tasks: true,
        ..differ(10.0, 0.3)
    };
    let name = "10 %, 1.5× slower, two tasks, hours".to_owned();
    add("G12h", name, tasks, Measure::Hours, 168.0, 60);
    let new = Scenario {
        slower: 2.0,
        history: WeekBefore::NewUsers,
        ..differ(10.0, 0.5)
    };
    let name = "10 %, 2× slower, new users, hours".to_owned();
    add("G12h", name, new, Measure::Hours, 168.0, 60);
    for (ratio, at_most) in [(2.0, 60.0), (5.0, 4.0)] {
        let scenario = Scenario {
            ratio,
            ..differ(10.0, 0.5)
        };
        let name = format!("10 %, {ratio}× errors, hours");
        add("G12", name, scenario, Measure::Hours, at_most, 100);
    }
    for (share, most) in [
        (1.0, 4.0),
        (10.0, 6.0),
        (50.0, 12.0),
        (95.0, 40.0),
        (99.0, 40.0),
    ] {
        let scenario = Scenario {
            ratio: f64::INFINITY,
            ..differ(share, 0.5)
        };
        let name = format!("{share} %, always fails, errors served");
        add("G12", name, scenario, Measure::ErrorsServed, most, 100);
    }
    for share in [1.0, 10.0, 50.0] {
        let scenario = Scenario {
            outage: outage(Side::Candidate, 2.0, true),
            impatient: true,
            ..differ(share, 0.5)
        };
        let name = format!("{share} %, 2 minutes a day of the candidate");
        add("G13", name, scenario, Measure::FalseRollback, 0.05, 200);
        let once = Scenario {
            outage: outage(Side::Candidate, 60.0, false),
            ..scenario
        };
        let name = format!("{share} %, 60 minutes once of the candidate");
        // Until the ninth edition nothing was promised of it: ten minutes of failed probes were final.
        add("G13h", name, once, Measure::FalseRollback, 0.05, 200);
        for (requests_per_day, users, runs) in [
            (1_000.0, 100, 100),
            (10_000.0, 1_000, 100),
            (100_000.0, 10_000, 20),
        ] {
            for (of, whose, at_most) in [
                (Side::Candidate, "the candidate", 0.05),
                (Side::Both, "both", FAMILY),
            ] {
                let scenario = Scenario {
                    users: Population::Uneven(users),
                    requests_per_day,
                    outage: outage(of, 5.0, true),
                    ..scenario
                };
                let name =
                    format!("{share} %, 5 minutes a day of {whose}, {requests_per_day} a day");
                add("G13", name, scenario, Measure::FalseRollback, at_most, runs);
            }
        }
    }
    for share in [10.0, 50.0] {
        let scenario = Scenario {
            outage: outage(Side::Control, 2.0, true),
            impatient: true,
            ratio: 2.0,
            ..differ(share, 0.5)
        };
        let name = format!("{share} %, 2 minutes a day of control, 2× errors");
        add("G13", name, scenario, Measure::FalsePromotion, 0.01, 200);
    }
    cells
}
