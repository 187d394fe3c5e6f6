//! Holds the evidence to its goals: false alarms of every kind, and delays.
//!
//! Each cell is a campaign of runs, each run a stream of simulated requests through the code that
//! judges real ones, which is asked after every request. A cell misses its goal only if that is
//! beyond its own error: if the lower 99.9 % limit of what was measured is above the goal.

use std::{collections::HashSet, fmt};

use anyhow::bail;

pub use super::goals::{MeasuredGoal, Unit};

use super::{
    cores::{Progress, on_all_cores},
    goals::{self, Planned},
};

/// What to run.
#[derive(Clone, Debug)]
pub struct CertifyOptions {
    /// Another seed gives other traffic; the same one the same figures.
    pub seed: u64,
    /// 10,000 runs a cell, which takes a day or more, in place of what ends within minutes.
    pub full: bool,
    /// Only these goals, such as `G1` or `G6b`, with what is held out of them; all where there are none.
    pub only: Vec<String>,
    /// Only cells whose name has this in it, such as `uneven users`.
    pub cell: Option<String>,
}

impl Default for CertifyOptions {
    fn default() -> Self {
        Self {
            seed: 1,
            full: false,
            only: Vec::new(),
            cell: None,
        }
    }
}

/// What was measured; its text ends with the verdict.
#[derive(Clone, Debug, PartialEq)]
pub struct Certificate {
    /// The seed it can be had again with.
    pub seed: u64,
    /// In the order in which they ran: that of the goals, then what is held out.
    pub cells: Vec<MeasuredGoal>,
}

/// The rows of a report's text, one after the other, each with what stands above it.
#[derive(Debug, Default)]
pub struct Rows {
    was_held_out: Option<bool>,
}

impl Rows {
    /// The next one: the heading if it is the first of its table, and the cell; ends with a line break.
    pub fn next(&mut self, cell: &MeasuredGoal) -> String {
        let begins_table = self.was_held_out != Some(cell.is_held_out);
        let heading = match self.was_held_out {
            _ if !begins_table => String::new(),
            None if !cell.is_held_out => heading(),
            None => format!("{HELD_OUT}\n{}", heading()),
            Some(_) => format!("\n{HELD_OUT}\n{}", heading()),
        };
        self.was_held_out = Some(cell.is_held_out);
        format!("{heading}{}\n", row(cell))
    }
}

impl Certificate {
    /// Whether no cell missed its goal.
    pub fn passed(&self) -> bool {
        !self.cells.iter().any(MeasuredGoal::is_missed)
    }

    /// The last line of its text. Cells that are told and not judged are counted apart.
    pub fn verdict(&self) -> String {
        let count = |is: fn(&MeasuredGoal) -> bool| self.cells.iter().filter(|it| is(it)).count();
        let (told, missed) = (count(|it| it.is_told), count(MeasuredGoal::is_missed));
        let (seed, judged) = (self.seed, self.cells.len() - told);
        let told = match told {
            0 => String::new(),
            told => format!("; told: {told} without a goal"),
        };
        match missed {
            _ if judged == 0 => {
                format!("nothing to certify: no cell of these has a goal (seed {seed})")
            }
            0 => format!(
                "certified: {judged} of {judged} cells within their goals{told} (seed {seed})"
            ),
            missed => format!(
                "NOT certified: {missed} of {judged} cells missed their goals{told} (seed {seed})"
            ),
        }
    }
}

impl fmt::Display for Certificate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut rows = Rows::default();
        for cell in &self.cells {
            f.write_str(&rows.next(cell))?;
        }
        write!(f, "{}", self.verdict())
    }
}

const HELD_OUT: &str = "held out: named before anything was tuned";

fn heading() -> String {
    format!(
        "{:<5}{:<52}{:>6}  {:>8}  {:>18}  {:>6}  {:<7} {:>6} {:>6}\n",
        "goal", "cell", "runs", "measured", "99.9 % limits", "goal", "", "watch", "hold"
    )
}

fn row(cell: &MeasuredGoal) -> String {
    let (low, high) = cell.limits;
    let alarms = match cell.alarms {
        Some([watch, hold]) => format!("{watch:>6.4} {hold:>6.4}"),
        None => String::new(),
    };
    let (goal, verdict) = match cell.goal_at_most.to_string() {
        _ if cell.is_told => (String::new(), "told"),
        goal if cell.is_missed() => (goal, "MISSED"),
        goal => (goal, "ok"),
    };
    let line = format!(
        "{:<5}{:<52}{:>6}  {:>8.4}  {low:>8.4} – {high:>7.4}  {goal:>6}  {verdict:<7} {alarms}{}",
        cell.goal, cell.name, cell.runs, cell.measured, cell.note,
    );
    line.trim_end().to_owned()
}

/// Runs all campaigns, each on all cores, one after the other. `progress` is called after each run, from any thread,
/// and `ended` after each campaign, so that a run that is killed has shown something.
///
/// # Errors
///
/// Where a goal is asked for that there is none of, or nothing is left to run.
pub fn certify(
    options: &CertifyOptions,
    progress: &(dyn Fn(Progress) + Sync),
    ended: &mut dyn FnMut(&MeasuredGoal),
) -> anyhow::Result<Certificate> {
    let mut planned = chosen(goals::plan(options.full), options)?;
    planned.sort_by_key(Planned::is_held_out);
    let total = planned.iter().map(|it| it.runs as usize).sum();
    let (mut before, mut cells) = (0, Vec::new());
    for planned in planned {
        let runs: Vec<u32> = (0..planned.runs).collect();
        let samples = on_all_cores(
            &runs,
            |run| planned.run(options.seed, *run),
            &|Progress { done, .. }| {
                progress(Progress {
                    done: before + done,
                    total,
                });
            },
        );
        before += runs.len();
        let measured = planned.measure(&samples);
        ended(&measured);
        cells.push(measured);
    }
    Ok(Certificate {
        seed: options.seed,
        cells,
    })
}

/// Those of them that were asked for.
fn chosen(planned: Vec<Planned>, options: &CertifyOptions) -> anyhow::Result<Vec<Planned>> {
    let CertifyOptions { only, cell, .. } = options;
    if let Some(unknown) = only
        .iter()
        .find(|only| !planned.iter().any(|it| it.is_of(only)))
    {
        let mut goals: Vec<_> = planned.iter().map(|it| it.goal).collect();
        let mut seen = HashSet::new();
        goals.retain(|goal| seen.insert(*goal));
        bail!(
            "there is no goal `{unknown}`; there are {}",
            goals.join(", ")
        );
    }
    let chosen: Vec<_> = planned
        .into_iter()
        .filter(|it| only.is_empty() || only.iter().any(|only| it.is_of(only)))
        .filter(|it| cell.as_deref().is_none_or(|text| it.name.contains(text)))
        .collect();
    if chosen.is_empty() {
        let text = cell.as_deref().unwrap_or_default();
        bail!("no cell of these goals has `{text}` in its name, such as `uneven users`");
    }
    Ok(chosen)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cell(goal: &'static str, is_held_out: bool) -> MeasuredGoal {
        MeasuredGoal {
            goal,
            name: "A/A 1 %".to_owned(),
            runs: 250,
            measured: 0.0,
            limits: (0.0, 0.027),
            goal_at_most: 0.012,
            alarms: None,
            is_held_out,
            is_told: false,
            unit: Unit::Part,
            note: String::new(),
        }
    }

    fn goals(only: &[&str], cell: Option<&str>) -> anyhow::Result<Vec<&'static str>> {
        let options = CertifyOptions {
            only: only.iter().map(|it| (*it).to_owned()).collect(),
            cell: cell.map(str::to_owned),
            ..CertifyOptions::default()
        };
        let chosen = chosen(goals::plan(false), &options)?;
        let mut goals: Vec<_> = chosen.iter().map(|it| it.goal).collect();
        goals.dedup();
        Ok(goals)
    }

    #[test]
    fn rows_that_are_shown_as_they_end_are_the_text_of_the_report() {
        for cells in [
            vec![cell("G1", false), cell("G2", false), cell("G11h", true)],
            vec![cell("G11h", true)],
            vec![cell("G1", false)],
        ] {
            let mut rows = Rows::default();
            let shown: String = cells.iter().map(|it| rows.next(it)).collect();
            let report = Certificate { seed: 1, cells };
            assert_eq!(report.to_string(), shown + &report.verdict());
            let headings = report.to_string().matches("99.9 % limits").count();
            let tables = report.to_string().matches(HELD_OUT).count();
            assert!(headings >= 1 && tables <= 1, "{report}");
        }
    }

    #[test]
    fn what_cannot_miss_its_goal_is_told_and_not_counted_as_passed() {
        let hours = |measured: f64, at_most: f64, is_told| MeasuredGoal {
            measured,
            limits: (measured - 1.0, measured),
            goal_at_most: at_most,
            is_told,
            unit: Unit::Hours,
            ..cell("G12", false)
        };
        let verdict = |cells| Certificate { seed: 1, cells }.verdict();
        let (met, missed, told) = (
            hours(20.0, 24.0, false),
            hours(30.0, 24.0, false),
            hours(168.0, 168.0, true),
        );
        assert_eq!(
            verdict(vec![met.clone(), told.clone()]),
            "certified: 1 of 1 cells within their goals; told: 1 without a goal (seed 1)"
        );
        assert_eq!(
            verdict(vec![met.clone(), missed.clone(), told.clone()]),
            "NOT certified: 1 of 2 cells missed their goals; told: 1 without a goal (seed 1)"
        );
        assert_eq!(
            verdict(vec![told.clone()]),
            "nothing to certify: no cell of these has a goal (seed 1)"
        );
        let words = |cell| {
            row(cell)
                .split_whitespace()
                .map(str::to_owned)
                .collect::<Vec<_>>()
        };
        assert_eq!(words(&met)[9..], ["24", "ok"], "{}", row(&met));
        assert_eq!(words(&missed)[9..], ["24", "MISSED"], "{}", row(&missed));
        assert_eq!(words(&told)[9..], ["told"], "{}", row(&told));
    }

    #[test]
    fn a_goal_is_asked_for_by_its_whole_name_and_a_cell_by_a_part_of_it() {
        assert_eq!(goals(&["G1"], None).unwrap(), ["G1"]);
        assert_eq!(goals(&["G6"], None).unwrap(), ["G6"]);
        assert_eq!(goals(&["G1", "G6b"], None).unwrap(), ["G1", "G6b"]);
        assert_eq!(
            goals(&["G11"], None).unwrap(),
            ["G11", "G11h"],
            "with what is held out of it"
        );
        assert_eq!(goals(&["G11h"], None).unwrap(), ["G11h"]);
        assert_eq!(
            goals(&[], Some("bursts of 300 users")).unwrap(),
            ["G6b", "G9", "G9n"]
        );
        let unknown = goals(&["G"], None).unwrap_err().to_string();
        assert!(
            unknown.starts_with("there is no goal `G`; there are G1, G2, "),
            "{unknown}"
        );
        let none = goals(&["G1"], Some("no such")).unwrap_err().to_string();
        assert!(none.contains("`no such`"), "{none}");
    }
}
