//! G1 to G6b and G8: errors alone.

use super::{
    super::{
        campaign::{RunWatch, Tests},
        planner,
        traffic::{Arrivals, Population, Scenario, Side, SimulatedOutage},
    },
    Measure, Planned, WATCH,
};

const SHARES: [f64; 3] = [1.0, 10.0, 50.0];
/// Of control's requests so many fail, where nothing else is said.
const BASELINE: f64 = 0.02;
/// False rollbacks that a rollout's tests may make together.
const FAMILY: f64 = 0.012;
/// Long enough for every candidate that is worse to be found.
const LONG: RunWatch = RunWatch {
    hours: 2_000.0,
    ..WATCH
};
const LONG_KERNEL: RunWatch = RunWatch {
    tests: Tests::Kernel,
    ..LONG
};

/// G1 to G6b.
pub(super) fn cells() -> Vec<Planned> {
    [
        equal_arms(),
        kernel_delays(),
        delays(),
        kernel_against_growthbook(),
        errors_served(),
        false_promotions(),
        uneven_users(),
        bursts(),
    ]
    .concat()
}

/// G1: nothing is wrong, so nothing is taken back.
fn equal_arms() -> Vec<Planned> {
    let outage = SimulatedOutage {
        of: Side::Both,
        rate: 0.2,
        minutes: 60.0,
        is_daily: false,
    };
    let mut cells = Vec::new();
    for share in SHARES {
        for baseline in [0.005, BASELINE, 0.05] {
            for (name, arrivals, outage) in [
                ("steady", Arrivals::Steady, None),
                ("daily cycle", Arrivals::Daily, None),
                ("common outage", Arrivals::Steady, Some(outage)),
            ] {
                cells.push(Planned {
                    goal: "G1",
                    name: format!("A/A {share} %, {} % errors, {name}", baseline * 100.0),
                    scenario: Scenario {
                        arrivals,
                        outage,
                        ..Scenario::new(share, baseline)
                    },
                    watch: WATCH,
                    measure: Measure::FalseRollback,
                    at_most: FAMILY,
                    runs: 250,
                });
            }
        }
    }
    cells
}

/// G2: the bare test finds a worse candidate nearly as soon as any test can.
fn kernel_delays() -> Vec<Planned> {
    [
        (1.0, 2.0, 1.35),
        (1.0, 5.0, 1.55),
        (1.0, 10.0, 1.65),
        (10.0, 2.0, 1.35),
        (10.0, 5.0, 1.55),
        (10.0, 10.0, 1.65),
    ]
    .map(|(share, ratio, at_most)| {
        let scenario = strangers(share, ratio);
        Planned {
            goal: "G2",
            name: format!("kernel, {share} %, {ratio}× worse, delay / Wald"),
            scenario,
            watch: LONG_KERNEL,
            measure: in_wald_bounds(&scenario, Tests::Kernel),
            at_most,
            runs: 400,
        }
    })
    .into()
}

/// G2: so does what ships.
fn delays() -> Vec<Planned> {
    [
        (1.0, 5.0, 200),
        (1.0, 10.0, 200),
        (10.0, 2.0, 100),
        (10.0, 5.0, 200),
        (10.0, 10.0, 200),
    ]
    .map(|(share, ratio, runs)| {
        let scenario = worse(share, ratio);
        Planned {
            goal: "G2",
            name: format!("defaults, {share} %, {ratio}× worse, delay / Wald"),
            scenario,
            watch: LONG,
            measure: in_wald_bounds(&scenario, Tests::Defaults),
            at_most: 2.2,
            runs,
        }
    })
    .into()
}

/// G3: the bare test finds it as soon as GrowthBook's.
fn kernel_against_growthbook() -> Vec<Planned> {
    let mut cells = Vec::new();
    for share in [1.0, 10.0] {
        for ratio in [2.0, 3.0, 5.0, 10.0] {
            cells.push(Planned {
                goal: "G3",
                name: format!("kernel, {share} %, {ratio}× worse, delay / GrowthBook"),
                scenario: strangers(share, ratio),
                watch: RunWatch {
                    growthbook: true,
                    ..LONG_KERNEL
                },
                measure: Measure::DelayAgainstGrowthBook,
                // The one cell in which a fifth of the α costs more than the better test gains.
                at_most: if (share, ratio) == (10.0, 2.0) {
                    1.15
                } else {
                    1.0
                },
                runs: 400,
            });
        }
    }
    cells
}

/// G4: few users meet a candidate that always fails.
fn errors_served() -> Vec<Planned> {
    [(1.0, 4.0), (10.0, 6.0)]
        .map(|(share, at_most)| Planned {
            goal: "G4",
            name: format!("candidate always fails, {share} %, errors served"),
            scenario: worse(share, 50.0),
            watch: WATCH,
            measure: Measure::ErrorsServed,
            at_most,
            runs: 1_000,
        })
        .into()
}

/// G5: a worse candidate is not proven good, however often that is looked at.
fn false_promotions() -> Vec<Planned> {
    [
        (1.0, BASELINE),
        (10.0, 0.005),
        (10.0, BASELINE),
        (10.0, 0.05),
    ]
    .map(|(share, baseline)| Planned {
        goal: "G5",
        name: format!(
            "2× worse, {share} %, {} % errors, promoted",
            baseline * 100.0
        ),
        scenario: Scenario {
            ratio: 2.0,
            ..Scenario::new(share, baseline)
        },
        watch: RunWatch {
            promotion_every: Some(20),
            ..WATCH
        },
        measure: Measure::FalsePromotion,
        at_most: 0.01,
        runs: 300,
    })
    .into()
}

/// G6: users who differ take nothing back.
fn uneven_users() -> Vec<Planned> {
    SHARES
        .map(|share| Planned {
            goal: "G6",
            name: format!("A/A {share} %, uneven users"),
            scenario: Scenario {
                users: Population::Uneven(1_000),
                ..Scenario::new(share, BASELINE)
            },
            watch: WATCH,
            measure: Measure::FalseRollback,
            at_most: FAMILY,
            runs: 500,
        })
        .into()
}

/// G6b: nor do a few users at a time, each with many requests.
fn bursts() -> Vec<Planned> {
    let mut cells = Vec::new();
    for share in SHARES {
        for users in [60, 300] {
            cells.push(Planned {
                goal: "G6b",
                name: format!("A/A {share} %, bursts of {users} users"),
                scenario: Scenario {
                    users: Population::Even(users),
                    arrivals: Arrivals::Sessions(30),
                    ..Scenario::new(share, BASELINE)
                },
                watch: WATCH,
                measure: Measure::FalseRollback,
                at_most: FAMILY,
                runs: 400,
            });
        }
    }
    cells
}

/// G8: a candidate that turns bad after two good days is found nearly as soon as one that begins bad.
pub(super) fn turned_bad() -> Vec<Planned> {
    [5.0, 10.0]
        .map(|ratio| Planned {
            goal: "G8",
            name: format!("10 %, {ratio}× worse after 48 h, delay / plain"),
            scenario: Scenario {
                bad_from_hour: 48.0,
                ..worse(10.0, ratio)
            },
            watch: WATCH,
            measure: Measure::DelayAgainstPlain,
            at_most: 2.5,
            runs: 200,
        })
        .into()
}

/// The candidate fails so many times as often.
fn worse(share: f64, ratio: f64) -> Scenario {
    Scenario {
        ratio,
        ..Scenario::new(share, BASELINE)
    }
}

/// The same where each request is another user's: the ground on which formulas are compared.
fn strangers(share: f64, ratio: f64) -> Scenario {
    Scenario {
        users: Population::Fresh,
        ..worse(share, ratio)
    }
}

fn in_wald_bounds(scenario: &Scenario, tests: Tests) -> Measure {
    Measure::Delay {
        bound_hours: planner::wald_hours(
            scenario.requests_per_day,
            scenario.baseline,
            scenario.share / 100.0,
            scenario.ratio,
            tests.margin(),
        ),
    }
}
