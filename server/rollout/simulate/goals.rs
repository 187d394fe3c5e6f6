//! The campaigns that [`certify`](super::certify) runs, and how each is measured.

use super::{
    campaign::{self, Seen, Tests, Watch},
    certify::Cell,
    planner, proportion,
    random::Random,
    traffic::{Arrivals, Outage, Scenario, Side, Users},
};

mod not_counted;
mod quality;
mod small;
mod streams;
mod world;

/// Left out beyond each of the two limits.
const ALPHA: f64 = 0.001;
/// Standard errors to the limits of a mean at that α.
const STANDARD_ERRORS: f64 = 3.09;
const WEEK_HOURS: f64 = 168.0;

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
    /// In units of the same tests without restarts on a candidate bad from the start.
    DelayAgainstPlain,
}

/// A campaign.
pub(super) struct Planned {
    pub goal: &'static str,
    name: String,
    scenario: Scenario,
    watch: Watch,
    measure: Measure,
    at_most: f64,
    pub runs: u32,
}

impl Planned {
    /// One run.
    pub(super) fn run(&self, seed: u64, run: u32) -> Sample {
        // The seed of a cell is its name, so that adding a cell changes no other.
        let cell = self
            .name
            .bytes()
            .chain(self.goal.bytes())
            .fold(0xcbf2_9ce4_8422_2325, |hash: u64, byte| {
                (hash ^ u64::from(byte)).wrapping_mul(0x100_0000_01b3)
            });
        let random = |stream: u64| Random::new(seed ^ stream, cell, u64::from(run));
        let seen = campaign::run(self.scenario, self.watch, random(0));
        let hours = |seen: &Seen| seen.rollback_hours.unwrap_or(self.watch.hours);
        let measured = match self.measure {
            Measure::FalseRollback => [f64::from(u8::from(seen.rollback_hours.is_some())), 1.0],
            Measure::FalsePromotion => [f64::from(u8::from(seen.promoted)), 1.0],
            Measure::NotPromoted => [f64::from(u8::from(!seen.promoted)), 1.0],
            Measure::FalseNotCounted => [f64::from(u8::from(seen.by_not_counted)), 1.0],
            Measure::Missed => [f64::from(u8::from(!seen.by_not_counted)), 1.0],
            Measure::ErrorsServed => [f64::from(seen.candidate_errors), 1.0],
            Measure::RequestsServed => [f64::from(seen.candidate_requests), 1.0],
            Measure::Hours => [hours(&seen), 1.0],
            Measure::Delay { bound_hours } => [hours(&seen), bound_hours],
            Measure::DelayAgainstGrowthBook => [
                hours(&seen),
                seen.growthbook_hours.unwrap_or(self.watch.hours),
            ],
            Measure::DelayAgainstPlain => {
                let plain = Watch {
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
        Sample {
            measured,
            is_watched: seen.most >= levels.watch,
            is_held: seen.most >= levels.hold,
        }
    }

    pub(super) fn measure(&self, samples: &[Sample]) -> Cell {
        let runs = samples.len() as f64;
        let of_runs =
            |is: fn(&Sample) -> bool| samples.iter().filter(|it| is(it)).count() as f64 / runs;
        let measured = samples.iter().map(|sample| sample.measured);
        let mean = |part: usize| measured.clone().map(|it| it[part]).sum::<f64>() / runs;
        let [x, y] = [mean(0), mean(1)];
        let squares = |measured: f64| -> f64 {
            let all = samples.iter().map(|sample| sample.measured);
            all.map(|[x, y]| (x - measured * y).powi(2)).sum()
        };
        let measured = x / y;
        let (limits, note) = match self.measure {
            Measure::FalseRollback
            | Measure::FalsePromotion
            | Measure::NotPromoted
            | Measure::FalseNotCounted
            | Measure::Missed => {
                let hits = (x * runs).round() as u32;
                let limits = proportion::limits(hits, samples.len() as u32, ALPHA);
                (limits, String::new())
            }
            _ => {
                // The error of a ratio of two means, by the delta method.
                let error = (squares(measured) / (runs - 1.0).max(1.0) / runs).sqrt() / y;
                let margin = STANDARD_ERRORS * error;
                let note = match self.measure {
                    Measure::ErrorsServed | Measure::RequestsServed | Measure::Hours => {
                        String::new()
                    }
                    _ => format!("  {x:.2} h / {y:.2} h"),
                };
                ((measured - margin, measured + margin), note)
            }
        };
        Cell {
            goal: self.goal,
            name: self.name.clone(),
            runs: samples.len() as u32,
            measured,
            limits,
            goal_at_most: self.at_most,
            alarms: matches!(self.measure, Measure::FalseRollback)
                .then(|| [of_runs(|it| it.is_watched), of_runs(|it| it.is_held)]),
            is_held_out: self.goal.ends_with('h') || self.name.ends_with("kept aside"),
            note,
        }
    }
}

/// What one run gave.
#[derive(Clone, Copy, Debug)]
pub(super) struct Sample {
    /// What was measured, and what it is divided by.
    measured: [f64; 2],
    /// E reached watch, and hold.
    is_watched: bool,
    is_held: bool,
}

/// Every cell of every goal (docs/statistics.md has the reasons).
pub(super) fn plan(full: bool) -> Vec<Planned> {
    let runs = |few: u32| if full { 10_000 } else { few };
    let watch = Watch {
        tests: Tests::Defaults,
        hours: WEEK_HOURS,
        growthbook: false,
        promotion_every: None,
        promotion_from: 0.0,
    };
    let kernel = Watch {
        tests: Tests::Kernel,
        ..watch
    };
    let fresh = |share, baseline, ratio| Scenario {
        users: Users::Fresh,
        ratio,
        ..Scenario::new(share, baseline)
    };
    let delay = |scenario: &Scenario, tests: Tests| Measure::Delay {
        bound_hours: planner::wald_hours(
            scenario.requests_per_day,
            scenario.baseline,
            scenario.share / 100.0,
            scenario.ratio,
            tests.margin(),
        ),
    };
    let mut cells = Vec::new();
    let mut add = |goal, name: String, scenario, watch, measure, at_most, runs| {
        cells.push(Planned {
            goal,
            name,
            scenario,
            watch,
            measure,
            at_most,
            runs,
        });
    };
    let shares = [1.0, 10.0, 50.0];

    let common = Outage {
        of: Side::Both,
        rate: 0.2,
        minutes: 60.0,
        is_daily: false,
    };
    for share in shares {
        for baseline in [0.005, 0.02, 0.05] {
            for (name, arrivals, outage) in [
                ("steady", Arrivals::Steady, None),
                ("daily cycle", Arrivals::Daily, None),
                ("common outage", Arrivals::Steady, Some(common)),
            ] {
                let scenario = Scenario {
                    arrivals,
                    outage,
                    ..Scenario::new(share, baseline)
                };
                let name = format!("A/A {share} %, {} % errors, {name}", baseline * 100.0);
                add(
                    "G1",
                    name,
                    scenario,
                    watch,
                    Measure::FalseRollback,
                    0.012,
                    runs(250),
                );
            }
        }
    }
    for (share, ratio, at_most) in [
        (1.0, 2.0, 1.35),
        (1.0, 5.0, 1.55),
        (1.0, 10.0, 1.65),
        (10.0, 2.0, 1.35),
        (10.0, 5.0, 1.55),
        (10.0, 10.0, 1.65),
    ] {
        let scenario = fresh(share, 0.02, ratio);
        let measure = delay(&scenario, Tests::Kernel);
        let long = Watch {
            hours: 2_000.0,
            ..kernel
        };
        let name = format!("kernel, {share} %, {ratio}× worse, delay / Wald");
        add("G2", name, scenario, long, measure, at_most, runs(400));
    }
    for (share, ratio, few) in [
        (1.0, 5.0, 200),
        (1.0, 10.0, 200),
        (10.0, 2.0, 100),
        (10.0, 5.0, 200),
        (10.0, 10.0, 200),
    ] {
        let scenario = Scenario {
            ratio,
            ..Scenario::new(share, 0.02)
        };
        let measure = delay(&scenario, Tests::Defaults);
        let long = Watch {
            hours: 2_000.0,
            ..watch
        };
        let name = format!("defaults, {share} %, {ratio}× worse, delay / Wald");
        add("G2", name, scenario, long, measure, 2.2, runs(few));
    }
    for share in [1.0, 10.0] {
        for ratio in [2.0, 3.0, 5.0, 10.0] {
            let long = Watch {
                hours: 2_000.0,
                growthbook: true,
                ..kernel
            };
            // The one cell in which a fifth of the α costs more than the better test gains.
            let at_most = if (share, ratio) == (10.0, 2.0) {
                1.15
            } else {
                1.0
            };
            let name = format!("kernel, {share} %, {ratio}× worse, delay / GrowthBook");
            let scenario = fresh(share, 0.02, ratio);
            add(
                "G3",
                name,
                scenario,
                long,
                Measure::DelayAgainstGrowthBook,
                at_most,
                runs(400),
            );
        }
    }
    for (share, at_most) in [(1.0, 4.0), (10.0, 6.0)] {
        let scenario = Scenario {
            ratio: 50.0,
            ..Scenario::new(share, 0.02)
        };
        let name = format!("candidate always fails, {share} %, errors served");
        add(
            "G4",
            name,
            scenario,
            watch,
            Measure::ErrorsServed,
            at_most,
            runs(1_000),
        );
    }
    for (share, baseline) in [(1.0, 0.02), (10.0, 0.005), (10.0, 0.02), (10.0, 0.05)] {
        let scenario = Scenario {
            ratio: 2.0,
            ..Scenario::new(share, baseline)
        };
        let looking = Watch {
            promotion_every: Some(20),
            ..watch
        };
        let name = format!(
            "2× worse, {share} %, {} % errors, promoted",
            baseline * 100.0
        );
        add(
            "G5",
            name,
            scenario,
            looking,
            Measure::FalsePromotion,
            0.01,
            runs(300),
        );
    }
    for share in shares {
        let scenario = Scenario {
            users: Users::Uneven(1_000),
            ..Scenario::new(share, 0.02)
        };
        let name = format!("A/A {share} %, uneven users");
        add(
            "G6",
            name,
            scenario,
            watch,
            Measure::FalseRollback,
            0.012,
            runs(500),
        );
    }
    for share in shares {
        for users in [60, 300] {
            let scenario = Scenario {
                users: Users::Even(users),
                arrivals: Arrivals::Sessions(30),
                ..Scenario::new(share, 0.02)
            };
            let name = format!("A/A {share} %, bursts of {users} users");
            add(
                "G6b",
                name,
                scenario,
                watch,
                Measure::FalseRollback,
                0.012,
                runs(400),
            );
        }
    }
    let of_small = small::cells().into_iter().map(|it| (Tests::Small, it));
    let of_defaults = world::cells().into_iter().chain(quality::cells());
    let of_defaults = of_defaults.chain(streams::cells());
    let of_defaults = of_defaults.map(|it| (Tests::Defaults, it));
    for (tests, it) in of_defaults.chain(of_small) {
        let watch = Watch {
            tests,
            promotion_every: it.measure_promotion().then_some(20),
            promotion_from: it.promotion_from,
            hours: it.hours,
            ..watch
        };
        add(
            it.goal,
            it.name,
            it.scenario,
            watch,
            it.measure,
            it.at_most,
            runs(it.runs),
        );
    }
    for it in not_counted::cells() {
        let hours = it.hours.unwrap_or(WEEK_HOURS);
        let watch = Watch { hours, ..watch };
        for (goal, measure, at_most) in it.goals() {
            add(
                goal,
                it.name.clone(),
                it.scenario,
                watch,
                measure,
                at_most,
                runs(it.runs),
            );
        }
    }
    for ratio in [5.0, 10.0] {
        let scenario = Scenario {
            ratio,
            bad_from_hour: 48.0,
            ..Scenario::new(10.0, 0.02)
        };
        let name = format!("10 %, {ratio}× worse after 48 h, delay / plain");
        add(
            "G8",
            name,
            scenario,
            watch,
            Measure::DelayAgainstPlain,
            2.5,
            runs(200),
        );
    }
    cells
}
