//! `modelramp trial`: puts prompts to both models of a task, before any user gets the new one.
//!
//! A running server asks them, so that a trial goes by the same accounts, quotas and privacy as everything else, behind
//! whoever waits for an answer. What was seen is kept in a file beside the prompts, line by line: the same command
//! goes on with a trial that was stopped or killed, and asks nothing twice.

mod asking;
mod bar;
mod court;
mod news;

use std::{
    io::Write as _,
    path::{Path, PathBuf},
};

use chrono::{DateTime, Utc};
use clap::Args;

use self::{asking::TrialAsker, bar::TrialBar, court::Court, news::TrialNews};
use super::{arguments::plan_text, client::Client};
use crate::{
    _core::units::counted,
    app,
    config::{ClientConfig, Sources},
    rollout::trials::TrialVerdict,
    routers::{
        methods::TRIALS_ARMS,
        trials_router::{TrialArms, WhichArms},
    },
    trial::{
        pace::{PaceLimits, TrialPace},
        prompts::{self, Prompt},
        results::{Results, TrialSubject},
    },
};

/// Pairs that are asked at once, at most.
const MAX_PARALLEL: u8 = 16;

/// Arguments of `modelramp trial`.
#[derive(Debug, Args)]
pub(super) struct Arguments {
    /// The prompts, a JSON object a line; docs/trial.md says what it holds.
    prompts: PathBuf,
    /// The task whose control and candidate are compared; `chat`, or the plan's only one, where it is not given.
    #[arg(long)]
    task: Option<String>,
    /// A plan whose models are compared instead of the catalog's: its name, a TOML file, or `-` for standard input.
    #[arg(long)]
    plan: Option<String>,
    /// The server's address; HOST and PORT of the settings where it is not given.
    #[arg(long, value_name = "URL")]
    url: Option<String>,
    /// Requests a minute, at most.
    #[arg(long, value_name = "REQUESTS", value_parser = clap::value_parser!(u32).range(1..))]
    per_minute: Option<u32>,
    /// Requests a day (UTC), at most; the same command goes on the next day.
    #[arg(long, value_name = "REQUESTS", value_parser = clap::value_parser!(u32).range(1..))]
    per_day: Option<u32>,
    /// Prompts that are asked at once.
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u8).range(1..=i64::from(MAX_PARALLEL)))]
    parallel: u8,
    /// By how many percentage points more of the candidate's answers may be bad.
    #[arg(long, value_name = "POINTS", default_value = "5", value_parser = points)]
    margin: f64,
    /// How many times as long, and as dear, the candidate's answers may be.
    #[arg(long, value_name = "TIMES", default_value = "1.25", value_parser = times)]
    ratio: f64,
    /// Stops as soon as the candidate is shown to be worse, or no worse on every metric.
    #[arg(long)]
    until_decided: bool,
    /// Where what was seen is kept; `NAME.results.jsonl` beside the prompts where it is not given.
    #[arg(long, value_name = "FILE")]
    results: Option<PathBuf>,
    /// Where the report goes, with its picture (`.svg`) beside it; `NAME.report.md` beside the prompts where it is not given.
    #[arg(long, value_name = "FILE", value_parser = page)]
    report: Option<PathBuf>,
}

/// `5` as 0.05.
fn points(text: &str) -> Result<f64, String> {
    let points = text.trim().trim_end_matches('%').trim().parse::<f64>().ok();
    points
        .filter(|it| *it > 0.0 && *it <= 50.0)
        .map(|it| it / 100.0)
        .ok_or_else(|| "expected more than 0 and at most 50 percentage points".to_owned())
}

/// Nothing else is overwritten, be it the prompts or the picture beside the page.
fn page(text: &str) -> Result<PathBuf, String> {
    let page = PathBuf::from(text);
    let is_markdown = page.extension().is_some_and(|it| it == "md");
    is_markdown
        .then_some(page)
        .ok_or_else(|| "expected a page of Markdown, `NAME.md`".to_owned())
}

fn times(text: &str) -> Result<f64, String> {
    let times = text.trim().parse::<f64>().ok();
    times
        .filter(|it| *it > 1.0 && *it < 4.0)
        .ok_or_else(|| "expected more than 1 and less than 4 times".to_owned())
}

/// Runs a trial, or goes on with one.
pub(super) async fn run(arguments: Arguments, sources: &Sources) -> anyhow::Result<()> {
    let prompts = prompts::read(&arguments.prompts)?;
    let client = Client::new(&ClientConfig::load(sources, arguments.url.clone())?)?;
    let which = WhichArms {
        task: arguments.task.clone(),
        plan: arguments.plan.as_deref().map(plan_text).transpose()?,
    };
    let arms = client.call(&TRIALS_ARMS, &which).await?;
    let subject = TrialSubject {
        task: arms.task.clone(),
        control: arms.control.model.clone(),
        candidate: arms.candidate.model.clone(),
        checks: arms.checks.clone(),
    };
    let path = arguments.results.clone();
    let path = path.unwrap_or_else(|| beside(&arguments.prompts, "results.jsonl"));
    let results = Results::open(&path, &subject, &prompts)?;
    announce(&subject, &arms, &prompts, &results)?;
    let limits = PaceLimits {
        minute: arguments.per_minute,
        day: arguments.per_day,
    };
    let sent = results.all().map(|seen| seen.at_ms);
    let pace = TrialPace::new(limits, sent.collect::<Vec<_>>(), now_ms());
    let court = Court::new(&arms, &prompts, &arguments);
    let asking = TrialAsker::new(&client, &subject, results, pace);
    let bar = TrialBar::new(&prompts);
    let stopped = asking
        .all(
            &prompts,
            arguments.parallel.into(),
            app::stop_signal()?,
            |results| {
                let verdict = court.look(&prompts, results);
                bar.show(results, verdict);
                let is_decided = verdict.is_some_and(|it| it != TrialVerdict::NotProven);
                !(arguments.until_decided && is_decided)
            },
        )
        .await;
    bar.finish();
    let (results, stop) = stopped;
    let result = court.judge(&prompts, &results);
    let oldest_ms = results.all().map(|seen| seen.at_ms).min();
    let of_them = TrialNews {
        arguments: &arguments,
        arms: &arms,
        subject: &subject,
        prompts: &prompts,
    };
    of_them.finish(&client, result, oldest_ms, stop).await
}

/// `p.results.jsonl` for `p.jsonl`.
fn beside(prompts: &Path, ending: &str) -> PathBuf {
    prompts.with_extension(ending)
}

fn announce(
    subject: &TrialSubject,
    arms: &TrialArms,
    prompts: &[Prompt],
    results: &Results,
) -> anyhow::Result<()> {
    let mut err = std::io::stderr().lock();
    let TrialSubject {
        task,
        control,
        candidate,
        ..
    } = subject;
    let all = counted(prompts.len(), "prompt");
    writeln!(
        err,
        "task `{task}`: `{candidate}` against `{control}`, {all}"
    )?;
    for model in simulated(arms) {
        writeln!(
            err,
            "note: `{model}` is simulated by the sandbox, as its provider has no key"
        )?;
    }
    match results.all().count() {
        0 => {}
        seen => writeln!(err, "{} kept from before", counted(seen, "answer"))?,
    }
    Ok(())
}

fn simulated(arms: &TrialArms) -> Vec<String> {
    let both = [&arms.control, &arms.candidate].into_iter();
    both.filter(|it| it.simulated)
        .map(|it| it.model.clone())
        .collect()
}

#[expect(
    clippy::disallowed_methods,
    reason = "a command is an edge: it has a clock"
)]
fn now() -> DateTime<Utc> {
    Utc::now()
}

fn now_ms() -> i64 {
    now().timestamp_millis()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn margins_are_points_and_times() {
        assert_eq!((points("5"), points("2.5 %")), (Ok(0.05), Ok(0.025)));
        assert_eq!(times("1.25"), Ok(1.25));
        for text in ["0", "-1", "51", "x", "NaN"] {
            assert!(points(text).is_err(), "{text}");
        }
        for text in ["1", "4", "0.5", "x", "NaN"] {
            assert!(times(text).is_err(), "{text}");
        }
        assert_eq!(page("a/b.md"), Ok("a/b.md".into()));
        for text in ["a.svg", "prompts.jsonl", "md", ".md"] {
            assert!(page(text).is_err(), "{text}");
        }
    }

    #[test]
    fn files_lie_beside_the_prompts() {
        let path = beside(Path::new("folder/own.jsonl"), "results.jsonl");
        assert_eq!(path, Path::new("folder/own.results.jsonl"));
    }
}
