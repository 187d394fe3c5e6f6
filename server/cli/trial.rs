//! `modelramp trial`: puts prompts to both models of a task, before any user gets the new one.
//!
//! A running server asks them, so that a trial goes by the same accounts, quotas and privacy as everything else, behind
//! whoever waits for an answer. What was seen is kept in a file beside the prompts, line by line: the same command
//! goes on with a trial that was stopped or killed, and asks nothing twice.

mod asking;

use std::{
    collections::BTreeMap,
    io::{IsTerminal as _, Write as _},
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::{Context as _, bail};
use chrono::{DateTime, Utc};
use clap::Args;
use indicatif::{ProgressBar, ProgressStyle};

use self::asking::{Asking, Stop};
use super::{client::Client, rollout::plan_text, table::Table};
use crate::{
    _core::{actor::Actor, assignment::Variant, units::counted},
    app,
    config::{ClientConfig, Sources},
    rollout::{
        arms::PerArm,
        trials::{Trial, TrialMetric, TrialResult, TrialVerdict},
    },
    routers::{
        methods::{TRIALS_ARMS, TRIALS_RECORD},
        trials_router::{RecordTrial, TrialArms, WhichArms},
    },
    trial::{
        pace::{Limits, Pace},
        picture,
        prompts::{self, Prompt},
        report::{self, Circumstances},
        results::{Results, Subject},
        verdict::{Asks, Margins, Pair, judge, metrics, verdict},
    },
};

/// Up to so many answers, each pair is worth a look.
const EACH: usize = 400;
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
    let subject = Subject {
        task: arms.task.clone(),
        control: arms.control.model.clone(),
        candidate: arms.candidate.model.clone(),
        checks: arms.checks.clone(),
    };
    let path = arguments.results.clone();
    let path = path.unwrap_or_else(|| beside(&arguments.prompts, "results.jsonl"));
    let results = Results::open(&path, &subject, &prompts)?;
    announce(&subject, &arms, &prompts, &results)?;
    let limits = Limits {
        minute: arguments.per_minute,
        day: arguments.per_day,
    };
    let sent = results.all().map(|seen| seen.at_ms);
    let pace = Pace::new(limits, sent.collect::<Vec<_>>(), now_ms());
    let court = Court::new(&arms, &prompts, &arguments);
    let asking = Asking::new(&client, &subject, results, pace);
    let bar = Bar::new(&prompts);
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
    let of_them = Told {
        arguments: &arguments,
        arms: &arms,
        subject: &subject,
        prompts: &prompts,
    };
    of_them.tell(&client, result, oldest_ms, stop).await
}

/// `p.results.jsonl` for `p.jsonl`.
fn beside(prompts: &Path, ending: &str) -> PathBuf {
    prompts.with_extension(ending)
}

fn announce(
    subject: &Subject,
    arms: &TrialArms,
    prompts: &[Prompt],
    results: &Results,
) -> anyhow::Result<()> {
    let mut err = std::io::stderr().lock();
    let Subject {
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

/// Judges what was seen so far.
struct Court {
    /// What is asked of answers where a prompt does not say.
    usual: Asks,
    metrics: Vec<TrialMetric>,
    margins: Margins,
}

impl Court {
    fn new(arms: &TrialArms, prompts: &[Prompt], arguments: &Arguments) -> Self {
        let usual = Asks {
            schema: arms.schema,
            language: arms.language,
            expect: false,
        };
        Self {
            usual,
            metrics: metrics(prompts.iter().map(|prompt| asks(usual, prompt))),
            margins: Margins {
                share: arguments.margin,
                ratio: arguments.ratio,
            },
        }
    }

    fn judge(&self, prompts: &[Prompt], results: &Results) -> TrialResult {
        let pairs = self.pairs(prompts, results);
        judge(&pairs, &self.metrics, self.margins)
    }

    /// What is proven by now. Of many pairs not each is worth a look, so there may be none.
    fn look(&self, prompts: &[Prompt], results: &Results) -> Option<TrialVerdict> {
        let answers = results.all().count();
        if answers % (2 * (1 + answers / EACH)) > 1 {
            return None;
        }
        let pairs = self.pairs(prompts, results);
        Some(verdict(&pairs, &self.metrics, self.margins))
    }

    /// Pairs count in the order of the prompts, whichever answer came first, up to the first that is not whole: what
    /// comes late is bad more often, and a look that passed over it would find too little.
    fn pairs(&self, prompts: &[Prompt], results: &Results) -> Vec<Pair> {
        let pair = |prompt: &Prompt| {
            let answer = |arm| Some(results.get(&prompt.id, arm)?.answer.clone());
            Some(Pair {
                asks: asks(self.usual, prompt),
                answers: PerArm {
                    control: answer(Variant::Control)?,
                    candidate: answer(Variant::Candidate)?,
                },
            })
        };
        prompts.iter().map_while(pair).collect()
    }
}

fn asks(usual: Asks, prompt: &Prompt) -> Asks {
    Asks {
        schema: usual.schema || prompt.schema.is_some(),
        language: prompt.language.unwrap_or(usual.language),
        expect: !prompt.expect.is_empty(),
    }
}

/// What is told at the end, and of what.
struct Told<'a> {
    arguments: &'a Arguments,
    arms: &'a TrialArms,
    subject: &'a Subject,
    prompts: &'a [Prompt],
}

impl Told<'_> {
    async fn tell(
        &self,
        client: &Client,
        result: TrialResult,
        oldest_ms: Option<i64>,
        stop: Stop,
    ) -> anyhow::Result<()> {
        let Subject {
            task,
            control,
            candidate,
            ..
        } = self.subject.clone();
        let trial = Trial {
            id: String::new(),
            at: now(),
            actor: Actor::Other("this command".into()),
            task,
            control,
            candidate,
            result,
        };
        let is_over = matches!(stop, Stop::Done | Stop::Decided);
        write!(std::io::stdout(), "{}", table(&trial))?;
        writeln!(std::io::stdout(), "{}", report::conclusion(&trial))?;
        let written = self.write(&trial)?;
        let simulated = simulated(self.arms);
        if let (true, Some(model)) = (is_over, simulated.first()) {
            writeln!(
                std::io::stderr(),
                "it was not recorded for plans that demand a trial, as `{model}` is simulated"
            )?;
        } else if is_over && trial.result.pairs > 0 {
            let found = RecordTrial {
                task: trial.task.clone(),
                control: trial.control.clone(),
                candidate: trial.candidate.clone(),
                result: trial.result.clone(),
                began: oldest_ms.and_then(DateTime::from_timestamp_millis),
            };
            client.call(&TRIALS_RECORD, &found).await?;
        }
        let mut err = std::io::stderr().lock();
        writeln!(err, "the report is in {}", written.display())?;
        drop(err);
        let go_on = "the same command goes on where this one stopped";
        match stop {
            Stop::Done | Stop::Decided => {}
            Stop::Told => bail!("stopped; {go_on}"),
            Stop::UsedUp { why, after } => {
                let after = humantime::format_duration(Duration::from_secs(after.as_secs()));
                bail!("{why}; {go_on}, in {after}")
            }
            Stop::Failed(error) => {
                return Err(error.context(format!("the trial broke off; {go_on}")));
            }
        }
        if trial.result.verdict == TrialVerdict::Worse {
            bail!("`{}` is worse than `{}`", trial.candidate, trial.control);
        }
        Ok(())
    }

    /// Writes the report and its picture; where the report is.
    fn write(&self, trial: &Trial) -> anyhow::Result<PathBuf> {
        let page = self.arguments.report.clone();
        let page = page.unwrap_or_else(|| beside(&self.arguments.prompts, "report.md"));
        let drawn = page.with_extension("svg");
        let name = |path: &Path| {
            let name = path.file_name().unwrap_or_default();
            name.to_string_lossy().into_owned()
        };
        let mut kinds: BTreeMap<&str, usize> = BTreeMap::new();
        for prompt in self.prompts {
            *kinds.entry(&prompt.kind).or_default() += 1;
        }
        let kinds: Vec<_> = kinds
            .into_iter()
            .map(|(kind, count)| (kind.to_owned(), count))
            .collect();
        let circumstances = Circumstances {
            prompts: &name(&self.arguments.prompts),
            of: self.prompts.len(),
            picture: &name(&drawn),
            simulated: &simulated(self.arms),
            kinds: &kinds,
        };
        let text = report::markdown(trial, &circumstances);
        for (file, content) in [(&page, text), (&drawn, picture::svg(trial))] {
            std::fs::write(file, content)
                .with_context(|| format!("cannot write `{}`", file.display()))?;
        }
        Ok(page)
    }
}

fn table(trial: &Trial) -> Table {
    let mut table = Table::new(&[
        "METRIC",
        "PAIRS",
        "CONTROL",
        "CANDIDATE",
        "EFFECT",
        "VERDICT",
    ]);
    for it in &trial.result.metrics {
        table.row([
            it.metric.name().to_owned(),
            it.pairs.to_string(),
            report::mean(it.metric, it.control),
            report::mean(it.metric, it.candidate),
            report::figure(it),
            report::words(it),
        ]);
    }
    table
}

/// The progress bar, on a terminal only.
struct Bar(ProgressBar);

impl Bar {
    fn new(prompts: &[Prompt]) -> Self {
        if !std::io::stderr().is_terminal() {
            return Self(ProgressBar::hidden());
        }
        let style = ProgressStyle::with_template("{bar:30} {pos} of {len}, {eta} left  {msg}");
        let bar = ProgressBar::new(prompts.len() as u64);
        Self(bar.with_style(style.unwrap_or_else(|_| ProgressStyle::default_bar())))
    }

    fn show(&self, results: &Results, verdict: Option<TrialVerdict>) {
        let answers = results.all().count();
        self.0.set_position(answers as u64 / 2);
        if let Some(verdict) = verdict {
            let failed = |arm| {
                let failed = results
                    .all()
                    .filter(|it| it.arm == arm && it.answer.fault.is_some());
                failed.count()
            };
            let [control, candidate] = [Variant::Control, Variant::Candidate].map(failed);
            self.0
                .set_message(format!("failed {control} and {candidate}, {verdict}"));
        }
    }

    fn finish(&self) {
        self.0.finish_and_clear();
    }
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
    use crate::trial::{answer::TrialAnswer, results::Seen};

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

    #[test]
    fn pairs_count_up_to_the_first_that_is_still_under_way() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("prompts.jsonl");
        let lines = (0..6).map(|n| format!("{{\"id\": \"{n}\", \"prompt\": \"{n}?\"}}\n"));
        std::fs::write(&file, lines.collect::<String>()).unwrap();
        let prompts = prompts::read(&file).unwrap();
        let subject = Subject {
            task: "chat".into(),
            control: "old".into(),
            candidate: "new".into(),
            checks: String::new(),
        };
        let mut results =
            Results::open(&folder.path().join("results.jsonl"), &subject, &prompts).unwrap();
        let court = Court {
            usual: Asks::default(),
            metrics: vec![TrialMetric::Errors],
            margins: Margins::default(),
        };
        let mut add = |place: usize, arm| {
            let prompt = &prompts[place];
            let seen = Seen {
                prompt: prompt.id.clone(),
                digest: prompt.digest.clone(),
                arm,
                at_ms: 0,
                answer: TrialAnswer {
                    fault: None,
                    quality: None,
                    latency_ms: 1.0,
                    tokens: None,
                    cost: None,
                    chars: 1,
                    holds: None,
                },
            };
            results.add(seen).unwrap();
            court.pairs(&prompts, &results).len()
        };
        // The third prompt's candidate hangs; those after it are no proof without it.
        for place in [0, 1, 3, 4, 5] {
            add(place, Variant::Control);
            add(place, Variant::Candidate);
        }
        assert_eq!(add(2, Variant::Control), 2);
        assert_eq!(add(2, Variant::Candidate), 6);
    }
}
