//! What was looked at, one by one, and what a person does about it: the table of `check`, `smoke` and `staging`.

use std::io::Write;

use anyhow::bail;
use serde::Serialize;

use super::table::clean;
use crate::_core::units::counted;

/// What a check came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum CheckOutcome {
    /// As it should be.
    Pass,
    /// Not looked at, as nobody asked for it.
    Skip,
    /// A person has to say whether it is meant.
    Warn,
    /// Users would be hurt.
    Fail,
}

impl CheckOutcome {
    pub(super) fn word(self) -> &'static str {
        match self {
            Self::Pass => "pass",
            Self::Skip => "skip",
            Self::Warn => "WARN",
            Self::Fail => "FAIL",
        }
    }
}

/// One thing that was looked at.
#[derive(Debug, Serialize)]
pub(super) struct CheckFinding {
    /// Its name in docs/preflight.md.
    pub(super) check: &'static str,
    pub(super) outcome: CheckOutcome,
    /// What was seen.
    pub(super) found: String,
    /// What a person does about it; none where it passes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) todo: Option<String>,
}

/// All that was looked at.
#[derive(Debug, Default)]
pub(super) struct Findings(pub(super) Vec<CheckFinding>);

impl Findings {
    pub(super) fn pass(&mut self, check: &'static str, found: impl Into<String>) {
        self.add(check, CheckOutcome::Pass, &found.into(), None);
    }

    pub(super) fn skip(
        &mut self,
        check: &'static str,
        found: impl Into<String>,
        todo: impl Into<String>,
    ) {
        self.add(check, CheckOutcome::Skip, &found.into(), Some(todo.into()));
    }

    pub(super) fn warn(
        &mut self,
        check: &'static str,
        found: impl Into<String>,
        todo: impl Into<String>,
    ) {
        self.add(check, CheckOutcome::Warn, &found.into(), Some(todo.into()));
    }

    pub(super) fn fail(
        &mut self,
        check: &'static str,
        found: impl Into<String>,
        todo: impl Into<String>,
    ) {
        self.add(check, CheckOutcome::Fail, &found.into(), Some(todo.into()));
    }

    fn add(
        &mut self,
        check: &'static str,
        outcome: CheckOutcome,
        found: &str,
        todo: Option<String>,
    ) {
        self.0.push(CheckFinding {
            check,
            outcome,
            found: clean(found),
            todo: todo.map(|todo| clean(&todo)),
        });
    }

    pub(super) fn count(&self, outcome: CheckOutcome) -> usize {
        self.0.iter().filter(|it| it.outcome == outcome).count()
    }

    /// Prints them, and fails where one of them does, or, `strict`, is to be looked at.
    pub(super) fn print(&self, json: bool, strict: bool) -> anyhow::Result<()> {
        let mut out = std::io::stdout().lock();
        let (failed, warned) = (
            self.count(CheckOutcome::Fail),
            self.count(CheckOutcome::Warn),
        );
        if json {
            serde_json::to_writer_pretty(&mut out, &self.0)?;
            writeln!(out)?;
        } else {
            for finding in &self.0 {
                let (word, check) = (finding.outcome.word(), finding.check);
                writeln!(out, "{word}  {check:<12}  {}", finding.found)?;
                if let Some(todo) = &finding.todo {
                    writeln!(out, "      {:<12}  → {todo}", "")?;
                }
            }
            let (passed, skipped) = (
                self.count(CheckOutcome::Pass),
                self.count(CheckOutcome::Skip),
            );
            writeln!(
                out,
                "{passed} passed, {failed} failed, {warned} to look at, {skipped} not asked for"
            )?;
        }
        if failed > 0 {
            let failed = counted(failed, "check");
            bail!("{failed} failed; what to do stands below each line that says so");
        }
        if strict && warned > 0 {
            let warned = counted(warned, "check");
            bail!("{warned} to be looked at, and `--strict` was given");
        }
        Ok(())
    }
}
