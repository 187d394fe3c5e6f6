//! Holds the evidence to its goals: false alarms of every kind, and delays.
//!
//! Each cell is a campaign of runs, each run a stream of simulated requests through the code that
//! judges real ones, which is asked after every request. A cell misses its goal only if that is
//! beyond its own error: if the lower 99.9 % limit of what was measured is above the goal.

use std::fmt;

pub use super::goals::MeasuredGoal;

use super::{
    cores::{Progress, on_all_cores},
    goals,
};

/// What to run.
#[derive(Clone, Debug)]
pub struct Options {
    /// Another seed gives other traffic; the same one the same figures.
    pub seed: u64,
    /// 10,000 runs a cell, which takes an hour or so, in place of what ends within minutes.
    pub full: bool,
    /// Only goals whose name begins so: `G1`, `G6b`.
    pub only: Option<String>,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            seed: 1,
            full: false,
            only: None,
        }
    }
}

/// What was measured; its text ends with the verdict.
#[derive(Clone, Debug, PartialEq)]
pub struct Report {
    /// The seed it can be had again with.
    pub seed: u64,
    /// In the order of the goals.
    pub cells: Vec<MeasuredGoal>,
}

impl Report {
    /// Whether every cell passed.
    pub fn passed(&self) -> bool {
        self.cells.iter().all(MeasuredGoal::passed)
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (held_out, tuned): (Vec<_>, Vec<_>) =
            self.cells.iter().partition(|cell| cell.is_held_out);
        table(f, &tuned)?;
        if !held_out.is_empty() {
            writeln!(f, "\nheld out: named before anything was tuned")?;
            table(f, &held_out)?;
        }
        let missed = self.cells.iter().filter(|cell| !cell.passed()).count();
        let cells = self.cells.len();
        match missed {
            0 => write!(
                f,
                "certified: {cells} of {cells} cells within their goals (seed {})",
                self.seed
            ),
            _ => write!(
                f,
                "NOT certified: {missed} of {cells} cells missed their goals (seed {})",
                self.seed
            ),
        }
    }
}

fn table(f: &mut fmt::Formatter<'_>, cells: &[&MeasuredGoal]) -> fmt::Result {
    writeln!(
        f,
        "{:<5}{:<52}{:>6}  {:>8}  {:>18}  {:>6}  {:<7} {:>6} {:>6}",
        "goal", "cell", "runs", "measured", "99.9 % limits", "goal", "", "watch", "hold"
    )?;
    for cell in cells {
        let (low, high) = cell.limits;
        let alarms = match cell.alarms {
            Some([watch, hold]) => format!("{watch:>6.4} {hold:>6.4}"),
            None => String::new(),
        };
        let line = format!(
            "{:<5}{:<52}{:>6}  {:>8.4}  {low:>8.4} – {high:>7.4}  {:>6}  {:<7} {alarms}{}",
            cell.goal,
            cell.name,
            cell.runs,
            cell.measured,
            cell.goal_at_most,
            if cell.passed() { "ok" } else { "MISSED" },
            cell.note,
        );
        writeln!(f, "{}", line.trim_end())?;
    }
    Ok(())
}

/// Runs all campaigns on all cores; `progress` is called after each run, from any thread.
pub fn certify(options: &Options, progress: &(dyn Fn(Progress) + Sync)) -> Report {
    let cells: Vec<_> = goals::plan(options.full)
        .into_iter()
        .filter(|cell| {
            let only = options.only.as_deref();
            only.is_none_or(|only| cell.goal.starts_with(only))
        })
        .collect();
    let jobs: Vec<(usize, u32)> = cells
        .iter()
        .enumerate()
        .flat_map(|(cell, planned)| (0..planned.runs).map(move |run| (cell, run)))
        .collect();
    let results = on_all_cores(
        &jobs,
        |(cell, run)| cells[*cell].run(options.seed, *run),
        progress,
    );
    let cells = cells
        .iter()
        .enumerate()
        .map(|(number, planned)| {
            let of_cell = jobs.iter().zip(&results);
            let of_cell = of_cell.filter(|((cell, _), _)| *cell == number);
            planned.measure(&of_cell.map(|(_, sample)| *sample).collect::<Vec<_>>())
        })
        .collect();
    Report {
        seed: options.seed,
        cells,
    }
}
