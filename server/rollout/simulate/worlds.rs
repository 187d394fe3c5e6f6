//! Whole rollouts in odd worlds: scripts, bad days, waves, storms, readers who leave, users behind one id.
//!
//! [`certify`](super::certify) holds the tests to their goals, a share or a ramp at a time. Here a plan runs as it ships, from
//! its start to its end, with ticks, holds, outages, probes and a person at the gates, so that the alerts are seen
//! as well. docs/statistics.md, "Whole rollouts", says what each world is, and what was expected of it before it was run.

mod answers;
mod attack;
mod away;
mod case;
mod course;
mod known;
mod people;
mod shapes;
mod unseen;

use std::{collections::BTreeMap, fmt};

use self::{
    case::{Case, Expected},
    course::RolloutResult,
};
use super::{cores::Progress, proportion, random::Random};
use crate::rollout::plan::{KnownNames, Library};

const MINUTE: f64 = 60_000.0;
const HOUR: f64 = 60.0 * MINUTE;
const DAY: f64 = 24.0 * HOUR;
/// Left out beyond each of the two limits that a world misses its expectation by, and that are printed.
const ALPHA: f64 = 0.001;
const ALPHA_TOLD: f64 = 0.025;

/// What to run.
#[derive(Clone, Debug)]
pub struct Options {
    /// Another seed gives other traffic; the same one the same figures.
    pub seed: u64,
    /// Rollouts of each world.
    pub runs: u32,
    /// Only worlds whose name begins so.
    pub only: Option<String>,
    /// Those that were written down before the tests were last changed.
    pub unseen: bool,
}

/// One world.
#[derive(Clone, Debug)]
pub struct Row {
    /// Its name, with the team.
    pub name: String,
    expected: Expected,
    seen: Vec<RolloutResult>,
}

/// What all came to; its text ends with the verdict.
#[derive(Clone, Debug)]
pub struct Report {
    /// The seed it can be had again with.
    pub seed: u64,
    /// In the order in which they are written down.
    pub rows: Vec<Row>,
}

/// Runs them on all cores; `progress` is called after each rollout, from any thread.
pub fn run(options: &Options, progress: &(dyn Fn(Progress) + Sync)) -> anyhow::Result<Report> {
    let library = Library::load(None, &KnownNames::default())?;
    let cases: Vec<&Case> = known::ALL
        .iter()
        .chain(unseen::ALL)
        .chain(shapes::ALL)
        .chain(attack::ALL)
        .filter(|case| case.is_unseen == options.unseen)
        .filter(|case| {
            let only = options.only.as_deref();
            only.is_none_or(|only| case.name.starts_with(only))
        })
        .collect();
    let runs = options.runs as usize;
    let jobs: Vec<(usize, usize)> = (0..cases.len())
        .flat_map(|case| (0..runs).map(move |run| (case, run)))
        .collect();
    let one = |(case, run): &(usize, usize)| {
        let case = *cases[*case];
        // Of a name alone, so that another world changes none.
        let name = case
            .name
            .bytes()
            .fold(0xcbf2_9ce4_8422_2325, |hash: u64, byte| {
                (hash ^ u64::from(byte)).wrapping_mul(0x100_0000_01b3)
            });
        let random = Random::new(options.seed, name, *run as u64);
        let plan = library.get(case.plan()).cloned();
        plan.map(|plan| course::run(case, plan, random))
    };
    let seen = super::cores::on_all_cores(&jobs, one, progress);
    let rows = cases.iter().zip(seen.chunks(runs.max(1)));
    Ok(Report {
        seed: options.seed,
        rows: rows
            .map(|(case, seen)| Row {
                name: case.name.to_owned(),
                expected: case.expected,
                seen: seen.iter().flatten().cloned().collect(),
            })
            .collect(),
    })
}

impl Row {
    fn taken_back(&self) -> u32 {
        self.seen
            .iter()
            .filter(|it| it.taken_back.is_some())
            .count() as u32
    }

    /// Taken back before this hour.
    fn taken_back_by(&self, hour: f64) -> u32 {
        let hours = self.seen.iter().filter_map(|it| it.taken_back);
        hours.filter(|it| *it < hour).count() as u32
    }

    /// Not missed by more than chance explains.
    pub fn passed(&self) -> bool {
        let limits = |count| proportion::limits(count, self.seen.len() as u32, ALPHA);
        match self.expected {
            Expected::AtMost(most) => limits(self.taken_back()).0 <= most,
            Expected::AtLeast(least) => limits(self.taken_back()).1 >= least,
            Expected::AtLeastBy(least, hour) => limits(self.taken_back_by(hour)).1 >= least,
            Expected::Told => true,
        }
    }

    /// The mean over its rollouts.
    fn mean(&self, of: impl Fn(&RolloutResult) -> f64) -> f64 {
        self.seen.iter().map(of).sum::<f64>() / self.seen.len().max(1) as f64
    }

    /// How often each came in a rollout.
    fn often(&self, of: impl Fn(&RolloutResult) -> &BTreeMap<String, u32>) -> String {
        let mut sums: BTreeMap<&str, u32> = BTreeMap::new();
        for (what, count) in self.seen.iter().flat_map(of) {
            *sums.entry(what).or_default() += count;
        }
        let runs = self.seen.len().max(1) as f64;
        let each = sums.iter();
        let each = each.map(|(what, count)| format!("{what} {:.2}", f64::from(*count) / runs));
        each.collect::<Vec<_>>().join(", ")
    }
}

impl fmt::Display for Row {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (runs, taken_back) = (self.seen.len() as u32, self.taken_back());
        let (low, high) = proportion::limits(taken_back, runs, ALPHA_TOLD);
        let expected = match self.expected {
            Expected::AtMost(most) => format!("≤ {most}"),
            Expected::AtLeast(least) | Expected::AtLeastBy(least, _) => format!("≥ {least}"),
            Expected::Told => "told".to_owned(),
        };
        let mut hours: Vec<f64> = self.seen.iter().filter_map(|it| it.taken_back).collect();
        hours.sort_by(f64::total_cmp);
        let hours = match hours.get(hours.len() / 2) {
            Some(median) => format!("{median:.1}"),
            None => String::new(),
        };
        let is_complete = |it: &RolloutResult| f64::from(u8::from(it.is_complete));
        writeln!(
            f,
            "{:<36}{taken_back:>4} of {runs:<4} {low:.3} – {high:.3}  {expected:<8}{:<7}{hours:>7}{:>9.2}{:>9.1}{:>7.1}{:>7.2}",
            self.name,
            match self.expected {
                Expected::Told => "",
                _ if self.passed() => "ok",
                _ => "MISSED",
            },
            self.mean(is_complete),
            self.mean(|it| f64::from(it.errors)),
            self.mean(|it| it.hours_held),
            self.mean(|it| f64::from(it.asked)),
        )?;
        if let Expected::AtLeastBy(least, hour) = self.expected {
            let in_time = self.taken_back_by(hour);
            writeln!(
                f,
                "    expected is ≥ {least} before hour {hour}: {in_time} of {runs}"
            )?;
        }
        let told = [
            ("taken back", self.often(|it| &it.reasons)),
            ("held", self.often(|it| &it.holds)),
            ("told", self.often(|it| &it.alerts)),
        ];
        for (what, often) in told.iter().filter(|(_, often)| !often.is_empty()) {
            writeln!(f, "    {what} a rollout: {often}")?;
        }
        Ok(())
    }
}

impl Report {
    /// Whether every world is as was expected.
    pub fn passed(&self) -> bool {
        self.rows.iter().all(Row::passed)
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "{:<36}{:>12} {:<13}  {:<8}{:<7}{:>7}{:>9}{:>9}{:>7}{:>7}",
            "world",
            "taken back",
            "95 % limits",
            "expected",
            "",
            "hours",
            "complete",
            "errors",
            "held h",
            "asked"
        )?;
        for row in &self.rows {
            write!(f, "{row}")?;
        }
        let judged = || {
            let rows = self.rows.iter();
            rows.filter(|row| !matches!(row.expected, Expected::Told))
        };
        let passed = judged().filter(|row| row.passed()).count();
        write!(
            f,
            "{passed} of {} worlds as was expected (seed {})",
            judged().count(),
            self.seed
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_seed_gives_the_same_rollouts_and_a_failing_candidate_is_taken_back() {
        let options = Options {
            seed: 7,
            runs: 1,
            only: Some("busy M, 15 %, 3x".to_owned()),
            unseen: false,
        };
        let text = || run(&options, &|_| ()).expect("the plans ship").to_string();
        let first = text();
        assert_eq!(first, text());
        assert!(first.contains(" 1 of 1 "), "{first}");
    }

    #[test]
    fn who_is_found_too_late_does_not_meet_what_is_expected() {
        let row = |hour| Row {
            name: "late".to_owned(),
            expected: Expected::AtLeastBy(0.9, 96.0),
            seen: vec![
                RolloutResult {
                    taken_back: Some(hour),
                    ..RolloutResult::default()
                };
                40
            ],
        };
        assert!(row(95.0).passed());
        let late = row(96.0);
        assert!(!late.passed());
        let text = late.to_string();
        assert!(text.contains("MISSED"), "{text}");
        assert!(text.contains("before hour 96: 0 of 40"), "{text}");
    }

    #[test]
    fn of_what_is_told_nothing_is_expected() {
        let row = |expected| Row {
            name: "a world".to_owned(),
            expected,
            seen: vec![RolloutResult::default()],
        };
        let rows = vec![row(Expected::Told), row(Expected::AtMost(0.05))];
        let text = Report { seed: 1, rows }.to_string();
        assert_eq!(text.matches(" ok").count(), 1, "{text}");
        assert!(
            text.ends_with("1 of 1 worlds as was expected (seed 1)"),
            "{text}"
        );
    }

    #[test]
    fn every_world_has_a_name_of_its_own() {
        let cases = [known::ALL, unseen::ALL, shapes::ALL, attack::ALL];
        let cases = cases.into_iter().flatten();
        let mut names: Vec<_> = cases.map(|case| case.name).collect();
        let count = names.len();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), count);
    }
}
