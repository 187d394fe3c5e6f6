//! Pictures of what the evidence does in simulated traffic, for docs/statistics.md: each is drawn from runs of the code
//! that judges real traffic, with the plan `standard`.

mod chart;

use self::chart::{Chart, Line, Point, map};
use super::{
    campaign::{self, RunResult, RunWatch, Tests},
    cores::{Progress, on_all_cores},
    proportion,
    random::Random,
    traffic::{Population, Scenario},
};

const WEEK_HOURS: f64 = 168.0;
const SHARES: [f64; 3] = [1.0, 10.0, 50.0];
/// Left out beyond each limit: 95 % are between them.
const ALPHA: f64 = 0.025;
const STANDARD_ERRORS: f64 = 1.96;

/// A picture, and its figures.
#[derive(Clone, Debug, PartialEq)]
pub struct Picture {
    /// Its file's name, without the ending.
    pub name: &'static str,
    /// As SVG.
    pub svg: String,
}

/// A place of a picture: runs of one scenario.
struct Cell {
    scenario: Scenario,
    hours: f64,
    runs: u32,
}

/// Draws all of them; `runs` for each place of those that need most.
pub fn draw(seed: u64, runs: u32, progress: &(dyn Fn(Progress) + Sync)) -> Vec<Picture> {
    let sets = [spread(runs), served(runs), drift(runs), power(runs)];
    let jobs: Vec<(usize, usize, u32)> = sets
        .iter()
        .enumerate()
        .flat_map(|(set, cells)| {
            let cells = cells.iter().enumerate();
            cells.flat_map(move |(cell, it)| (0..it.runs).map(move |run| (set, cell, run)))
        })
        .collect();
    let run = |&(set, cell, run): &(usize, usize, u32)| {
        let Cell {
            scenario, hours, ..
        } = sets[set][cell];
        let watch = RunWatch {
            tests: Tests::Defaults,
            hours,
            growthbook: false,
            promotion_every: None,
            promotion_from: 0.0,
            until_outage: false,
        };
        let stream = (set as u64) << 32 | cell as u64;
        campaign::run(scenario, watch, Random::new(seed, stream, run.into()))
    };
    let seen = on_all_cores(&jobs, run, progress);
    let of = |set: usize| -> Vec<Vec<RunResult>> {
        let cells = 0..sets[set].len();
        let of_cell = |cell: usize| {
            let jobs = jobs.iter().zip(&seen);
            let jobs = jobs.filter(|((s, c, _), _)| (*s, *c) == (set, cell));
            jobs.map(|(_, seen)| *seen).collect()
        };
        cells.map(of_cell).collect()
    };
    let picture = |name, svg| Picture { name, svg };
    vec![
        picture("spread", draw_spread(&of(0))),
        picture("ville", draw_ville(&of(0))),
        picture("served", draw_served(&of(1))),
        picture("drift", draw_drift(&of(2))),
        picture("power", draw_power(&of(3))),
    ]
}

/// Users who differ in volume, failures and, by this spread, in latency.
const fn differ(share: f64, spread: f64) -> Scenario {
    Scenario {
        users: Population::Uneven(1_000),
        spread,
        ..Scenario::new(share, 0.02)
    }
}

const SPREADS: [f64; 4] = [0.0, 0.2, 0.4, 0.6];

/// Equal arms.
fn spread(runs: u32) -> Vec<Cell> {
    let cells = SHARES.into_iter().flat_map(|share| {
        SPREADS.map(|spread| Cell {
            scenario: differ(share, spread),
            hours: WEEK_HOURS,
            runs,
        })
    });
    cells.collect()
}

fn named(share: f64) -> String {
    format!("{share} % of users")
}

fn draw_spread(seen: &[Vec<RunResult>]) -> String {
    let lines = SHARES.iter().zip(seen.chunks(SPREADS.len()));
    let lines = lines.map(|(share, cells)| Line {
        name: named(*share),
        points: SPREADS
            .iter()
            .zip(cells)
            .map(|(spread, runs)| part(*spread, runs, |it| it.rollback_hours.is_some()))
            .collect(),
    });
    Chart {
        title: "Equal arms that are taken back within a week, against how users differ in latency (σ of the logarithm)",
        x: (0.0, 0.6),
        y: (0.0, 0.06),
        level: Some(0.012),
        is_logarithmic: false,
    }
    .draw(&lines.collect::<Vec<_>>())
}

/// How often something is so in a place's runs, between its limits.
fn part(x: f64, runs: &[RunResult], is: impl Fn(&RunResult) -> bool) -> Point {
    let hits = runs.iter().filter(|it| is(it)).count() as u32;
    let (low, high) = proportion::limits(hits, runs.len() as u32, ALPHA);
    Point {
        x,
        y: f64::from(hits) / runs.len() as f64,
        limits: (low, high),
    }
}

/// The mean of something in a place's runs, between its limits.
fn mean(x: f64, runs: &[RunResult], of: impl Fn(&RunResult) -> f64) -> Point {
    let count = runs.len() as f64;
    let mean = runs.iter().map(&of).sum::<f64>() / count;
    let squares: f64 = runs.iter().map(|it| (of(it) - mean).powi(2)).sum();
    let error = STANDARD_ERRORS * (squares / (count - 1.0).max(1.0) / count).sqrt();
    Point {
        x,
        y: mean,
        limits: (mean - error, mean + error),
    }
}

/// The highest E of each run with equal arms, of all spreads together.
fn draw_ville(seen: &[Vec<RunResult>]) -> String {
    let levels: Vec<f64> = (0..=16).map(|n| 10_f64.powf(f64::from(n) / 8.0)).collect();
    let lines = SHARES.iter().zip(seen.chunks(SPREADS.len()));
    let mut lines: Vec<_> = lines
        .map(|(share, cells)| {
            let runs = cells.concat();
            Line {
                name: named(*share),
                points: levels
                    .iter()
                    .map(|level| part(*level, &runs, |it| it.most >= *level))
                    .collect(),
            }
        })
        .collect();
    lines.push(Line {
        name: "1/x, which no fair test exceeds".to_owned(),
        points: levels
            .iter()
            .map(|level| Point {
                x: *level,
                y: 1.0 / level,
                limits: (1.0 / level, 1.0 / level),
            })
            .collect(),
    });
    Chart {
        title: "Equal arms: in which part of weeks E is ever at least x",
        x: (1.0, 100.0),
        y: (0.001, 1.0),
        level: None,
        is_logarithmic: true,
    }
    .draw(&lines)
}

const SERVED: [f64; 7] = [1.0, 5.0, 10.0, 20.0, 50.0, 80.0, 95.0];

fn served(runs: u32) -> Vec<Cell> {
    let cell = |share| Cell {
        scenario: Scenario {
            ratio: f64::INFINITY,
            ..differ(share, 0.3)
        },
        hours: WEEK_HOURS,
        runs,
    };
    SERVED.map(cell).into()
}

fn draw_served(seen: &[Vec<RunResult>]) -> String {
    let points = SERVED.iter().zip(seen);
    let line = Line {
        name: "a candidate that always fails".to_owned(),
        points: points
            .map(|(share, runs)| mean(*share, runs, |it| f64::from(it.candidate_errors)))
            .collect(),
    };
    Chart {
        title: "Errors served until it is taken back, against the percentage of users",
        x: (0.0, 100.0),
        y: (0.0, 50.0),
        level: Some(40.0),
        is_logarithmic: false,
    }
    .draw(&[line])
}

const TURNS: [f64; 6] = [0.0, 6.0, 12.0, 24.0, 48.0, 96.0];
const DRIFTS: [f64; 2] = [5.0, 10.0];

fn drift(runs: u32) -> Vec<Cell> {
    let cells = DRIFTS.into_iter().flat_map(|ratio| {
        TURNS.map(|bad_from_hour| Cell {
            scenario: Scenario {
                ratio,
                bad_from_hour,
                ..differ(10.0, 0.3)
            },
            hours: WEEK_HOURS,
            runs,
        })
    });
    cells.collect()
}

fn hours(seen: &RunResult) -> f64 {
    seen.rollback_hours.unwrap_or(WEEK_HOURS)
}

fn draw_drift(seen: &[Vec<RunResult>]) -> String {
    let lines = DRIFTS.iter().zip(seen.chunks(TURNS.len()));
    let lines = lines.map(|(ratio, cells)| Line {
        name: format!("{ratio} times as many errors"),
        points: TURNS
            .iter()
            .zip(cells)
            .map(|(turn, runs)| mean(*turn, runs, hours))
            .collect(),
    });
    Chart {
        title: "Hours until it is taken back at 10 %, against the hour from which on it is worse",
        x: (0.0, 96.0),
        y: (0.0, 100.0),
        level: None,
        is_logarithmic: false,
    }
    .draw(&lines.collect::<Vec<_>>())
}

const RATIOS: [f64; 5] = [1.5, 2.0, 3.0, 5.0, 10.0];
const COLUMNS: [f64; 5] = [1.0, 5.0, 10.0, 20.0, 50.0];

fn power(runs: u32) -> Vec<Cell> {
    let cells = RATIOS.into_iter().flat_map(|ratio| {
        COLUMNS.map(|share| Cell {
            scenario: Scenario {
                ratio,
                ..differ(share, 0.3)
            },
            hours: WEEK_HOURS,
            // Each place has a colour and two numbers.
            runs: runs.div_ceil(4),
        })
    });
    cells.collect()
}

fn draw_power(seen: &[Vec<RunResult>]) -> String {
    let places = seen.iter().map(|runs| {
        let found = part(0.0, runs, |it| it.rollback_hours.is_some()).y;
        (mean(0.0, runs, hours).y, found)
    });
    map(
        "Mean hours until it is taken back, and in how many of 100 weeks it is, with 10,000 requests a day of which 2 % fail",
        &RATIOS.map(|ratio| format!("{ratio}× errors")),
        &COLUMNS.map(|share| format!("{share} %")),
        &places.collect::<Vec<_>>(),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_picture_is_drawn_from_its_runs() {
        let with = |hours: f64, most: f64| {
            let found = RunResult {
                rollback_hours: Some(hours),
                candidate_errors: 4,
                most,
                ..RunResult::default()
            };
            vec![found, RunResult::default()]
        };
        let cells = |count| vec![with(30.0, 150.0); count];
        let spread = draw_spread(&cells(12));
        assert!(spread.contains("50 % of users") && spread.matches("<circle").count() == 12);
        let ville = draw_ville(&cells(12));
        assert!(ville.contains("1/x"), "{ville}");
        assert!(draw_served(&cells(7)).contains("always fails"));
        assert_eq!(draw_drift(&cells(12)).matches("<circle").count(), 12);
        let power = draw_power(&cells(25));
        assert!(
            power.contains(">99 h<") && power.contains(">50 of 100<"),
            "{power}"
        );
        assert_eq!(
            spread,
            draw_spread(&cells(12)),
            "the same runs, the same picture"
        );
    }
}
