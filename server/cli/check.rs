//! `modelramp check`: what has to be right before users depend on a server, looked at one by one.
//!
//! It runs beside a server or before the first one, and changes nothing. docs/preflight.md lists each check.

mod database;
mod models;
mod outside;
mod settings;

use std::{io::Write, path::PathBuf};

use anyhow::bail;
use clap::Args;
use serde::Serialize;

use super::table::clean;
use crate::{
    _core::http_client,
    config::{ClientConfig, Config, Sources},
};

/// Arguments of `modelramp check`.
#[derive(Debug, Args)]
pub(super) struct Arguments {
    /// The address of the server on this machine; without it, where the settings say that it listens.
    #[arg(long)]
    url: Option<String>,
    /// Asks each model that a task uses for one word; may cost money, or some of a free quota.
    #[arg(long)]
    call_models: bool,
    /// Sends a test to each alert channel; people are told.
    #[arg(long)]
    test_alerts: bool,
    /// The newest file of `modelramp backup`, to look at its age.
    #[arg(long, value_name = "FILE")]
    backup: Option<PathBuf>,
    /// Also fails where something is only to be looked at.
    #[arg(long)]
    strict: bool,
    /// Prints JSON.
    #[arg(long)]
    json: bool,
}

/// What a check came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
enum Outcome {
    /// As it should be.
    Pass,
    /// Not looked at, as nobody asked for it.
    Skip,
    /// A person has to say whether it is meant.
    Warn,
    /// Users would be hurt.
    Fail,
}

impl Outcome {
    fn word(self) -> &'static str {
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
struct Finding {
    /// Its name in docs/preflight.md.
    check: &'static str,
    outcome: Outcome,
    /// What was seen.
    found: String,
    /// What a person does about it; none where it passes.
    #[serde(skip_serializing_if = "Option::is_none")]
    todo: Option<String>,
}

/// All that was looked at.
#[derive(Debug, Default)]
struct Findings(Vec<Finding>);

impl Findings {
    fn pass(&mut self, check: &'static str, found: impl Into<String>) {
        self.add(check, Outcome::Pass, &found.into(), None);
    }

    fn skip(&mut self, check: &'static str, found: impl Into<String>, todo: impl Into<String>) {
        self.add(check, Outcome::Skip, &found.into(), Some(todo.into()));
    }

    fn warn(&mut self, check: &'static str, found: impl Into<String>, todo: impl Into<String>) {
        self.add(check, Outcome::Warn, &found.into(), Some(todo.into()));
    }

    fn fail(&mut self, check: &'static str, found: impl Into<String>, todo: impl Into<String>) {
        self.add(check, Outcome::Fail, &found.into(), Some(todo.into()));
    }

    fn add(&mut self, check: &'static str, outcome: Outcome, found: &str, todo: Option<String>) {
        self.0.push(Finding {
            check,
            outcome,
            found: clean(found),
            todo: todo.map(|todo| clean(&todo)),
        });
    }

    fn count(&self, outcome: Outcome) -> usize {
        self.0.iter().filter(|it| it.outcome == outcome).count()
    }
}

/// Looks at everything; fails where something would hurt users.
pub(super) async fn run(arguments: Arguments, sources: &Sources) -> anyhow::Result<()> {
    http_client::install_tls();
    let mut findings = Findings::default();
    match Config::load(sources) {
        Ok(config) => {
            let server = ClientConfig::load(sources, arguments.url.clone());
            let server = server.map(|it| it.url).map_err(|why| why.to_string());
            look(&arguments, &config, &server, &mut findings).await;
        }
        Err(faults) => findings.fail(
            "settings",
            faults.to_string(),
            "correct these settings; nothing else was looked at",
        ),
    }
    let mut out = std::io::stdout().lock();
    let (failed, warned) = (findings.count(Outcome::Fail), findings.count(Outcome::Warn));
    if arguments.json {
        serde_json::to_writer_pretty(&mut out, &findings.0)?;
        writeln!(out)?;
    } else {
        for finding in &findings.0 {
            let (word, check) = (finding.outcome.word(), finding.check);
            writeln!(out, "{word}  {check:<12}  {}", finding.found)?;
            if let Some(todo) = &finding.todo {
                writeln!(out, "      {:<12}  → {todo}", "")?;
            }
        }
        let (passed, skipped) = (findings.count(Outcome::Pass), findings.count(Outcome::Skip));
        writeln!(
            out,
            "{passed} passed, {failed} failed, {warned} to look at, {skipped} not asked for"
        )?;
    }
    if failed > 0 {
        bail!("{failed} checks failed; what to do stands below each of them");
    }
    if arguments.strict && warned > 0 {
        bail!("{warned} checks have to be looked at, and `--strict` was given");
    }
    Ok(())
}

async fn look(
    arguments: &Arguments,
    config: &Config,
    server: &Result<String, String>,
    findings: &mut Findings,
) {
    settings::look(config, findings);
    database::look(config, arguments.backup.as_deref(), findings).await;
    models::look(config, arguments.call_models, findings).await;
    outside::look(config, server, arguments.test_alerts, findings).await;
}
