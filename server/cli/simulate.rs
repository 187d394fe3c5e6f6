//! `modelramp simulate …`: what would happen, before anybody's traffic is at stake. Needs no settings.

use std::{
    io::{IsTerminal, Write},
    path::{Path, PathBuf},
    sync::atomic::{AtomicUsize, Ordering},
    time::{Duration, Instant},
};

use anyhow::{Context as _, bail};
use chrono::{SecondsFormat, Utc};
use clap::{Args, Subcommand};

use super::arguments::{percentage, plan_text, traffic};
use crate::{
    _core::suggest,
    rollout::{
        plan::{KnownNames, Library, Plan},
        simulate::{
            certify::{self, CertifyOptions, Rows},
            cores::Progress,
            pictures,
            planner::{ExpectedTraffic, Sight},
            plot, worlds,
        },
    },
};

/// Where `--write` puts the figures.
const FIGURES: &str = "certificate.md";
/// How what it writes begins. A file that begins otherwise was written by somebody else.
const TITLE: &str = "# Certificate\n";
/// Between two looks of the progress line on a terminal.
const STEPS: usize = 1_000;
/// Between two lines of progress elsewhere.
const NEWS: Duration = Duration::from_secs(10);
/// Back to the beginning of a terminal's line, which is then empty.
const CLEAR_LINE: &str = "\r\u{1b}[K";

/// Arguments of `modelramp simulate`.
#[derive(Debug, Args)]
pub(super) struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Computes how long each stage of a plan needs to see a candidate that is worse; fails where a
    /// stage is too short to see even one ten times worse.
    Plan {
        /// Requests that the plan's tasks get, such as `10000/day`, `500/hour` or `20/minute`.
        #[arg(long, value_parser = traffic)]
        traffic: f64,
        /// How many of control's requests fail, such as `2%`.
        #[arg(long, value_parser = percentage)]
        baseline: f64,
        /// A shipped plan's name, a TOML file, or `-` for standard input.
        #[arg(long, default_value = "standard")]
        plan: String,
        /// How many users make them, to see which stages get too few.
        #[arg(long)]
        users: Option<u32>,
        /// Requests that the account at the provider may make, such as `1000/day`; what is beyond is not answered.
        #[arg(long, value_parser = traffic)]
        quota: Option<f64>,
    },
    /// Holds the evidence to its goals by campaigns of simulated traffic; fails where one is missed
    /// by more than chance explains. Takes minutes; a debug build takes an hour.
    Certify {
        /// Another seed gives other traffic; the same one the same figures.
        #[arg(long, default_value_t = CertifyOptions::default().seed)]
        seed: u64,
        /// 10,000 runs a cell, which takes a day or more.
        #[arg(long)]
        full: bool,
        /// Only these goals, such as `G1,G9`, each by its whole name; what is held out of one (`G11h`) belongs to it.
        #[arg(long, value_name = "GOAL", value_delimiter = ',')]
        only: Vec<String>,
        /// Only cells whose name has this text in it, such as `uneven users`.
        #[arg(long, value_name = "TEXT")]
        cell: Option<String>,
        /// Writes the figures into a file, too, and draws them in one beside it (`.svg`). Only a file that this has written
        /// is written again.
        #[arg(long, value_name = "FILE", num_args = 0..=1, default_missing_value = FIGURES)]
        write: Option<PathBuf>,
    },
    /// Runs whole rollouts in odd worlds, with ticks, holds, outages and a person at the gates; fails where one is taken
    /// back more or less often than was expected, by more than chance explains. Takes minutes; a debug build takes an hour.
    Worlds {
        /// Another seed gives other traffic; the same one the same figures.
        #[arg(long, default_value_t = CertifyOptions::default().seed)]
        seed: u64,
        /// Rollouts of each world.
        #[arg(long, default_value_t = 40, value_parser = clap::value_parser!(u32).range(1..=10_000))]
        runs: u32,
        /// Only worlds whose name begins so, such as `storms`.
        #[arg(long, value_name = "WORLD")]
        only: Option<String>,
        /// Those that were written down before the tests were last changed.
        #[arg(long)]
        unseen: bool,
    },
    /// Draws what the evidence does when: taken back without a cause, errors served, delays. Takes minutes; a debug
    /// build takes an hour.
    Pictures {
        /// The folder that the pictures are written into.
        #[arg(default_value = "docs/pictures")]
        folder: PathBuf,
        /// Another seed gives other traffic; the same one the same pictures.
        #[arg(long, default_value_t = CertifyOptions::default().seed)]
        seed: u64,
        /// Runs for each place of a picture.
        #[arg(long, default_value_t = 200, value_parser = clap::value_parser!(u32).range(4..=10_000))]
        runs: u32,
    },
}

/// Runs one command.
pub(super) async fn run(arguments: Arguments) -> anyhow::Result<()> {
    match arguments.command {
        Command::Plan {
            traffic,
            baseline,
            plan,
            users,
            quota,
        } => {
            if let Some(quota) = quota.filter(|quota| *quota < traffic) {
                writeln!(
                    std::io::stdout(),
                    "the account allows {quota} requests a day of {traffic}: the others have no answer, and count for neither side"
                )?;
            }
            let traffic = ExpectedTraffic {
                requests_per_day: quota.map_or(traffic, |quota| quota.min(traffic)),
                baseline,
                users: users.map(f64::from),
            };
            see(&plan, traffic)
        }
        Command::Pictures { folder, seed, runs } => {
            let work = tokio::task::spawn_blocking(move || {
                with_progress(|tell| pictures::draw(seed, runs, tell))
            });
            for picture in work.await.context("the simulation failed")? {
                let file = folder.join(picture.name).with_extension("svg");
                std::fs::write(&file, picture.svg)
                    .with_context(|| format!("cannot write `{}`", file.display()))?;
                writeln!(std::io::stdout(), "{}", file.display())?;
            }
            Ok(())
        }
        Command::Worlds {
            seed,
            runs,
            only,
            unseen,
        } => {
            let options = worlds::Options {
                seed,
                runs,
                only,
                unseen,
            };
            let work = tokio::task::spawn_blocking(move || {
                with_progress(|tell| worlds::run(&options, tell))
            });
            let report = work.await.context("the simulation failed")??;
            writeln!(std::io::stdout(), "{report}")?;
            if !report.passed() {
                bail!("a world is not as was expected: see the rows without `ok` above");
            }
            Ok(())
        }
        Command::Certify {
            seed,
            full,
            only,
            cell,
            write,
        } => {
            let options = CertifyOptions {
                seed,
                full,
                only,
                cell,
            };
            if let Some(file) = &write {
                check_own(file)?;
            }
            let work = tokio::task::spawn_blocking(move || {
                let mut rows = Rows::default();
                with_progress(|tell| {
                    certify::certify(&options, tell, &mut |it| show(&rows.next(it)))
                })
            });
            let report = work.await.context("the simulation failed")??;
            if let Some(file) = write {
                keep(&file, &report, full)?;
            }
            writeln!(std::io::stdout(), "{}", report.verdict())?;
            if !report.passed() {
                bail!(
                    "the evidence misses a goal by more than chance explains: see the cells without `ok` above"
                );
            }
            Ok(())
        }
    }
}

fn see(plan: &str, traffic: ExpectedTraffic) -> anyhow::Result<()> {
    let text = plan_text(plan)?;
    let plan = if Plan::is_text(&text) {
        Plan::parse(&text, plan, &KnownNames::default())?
    } else {
        let shipped = Library::load(None, &KnownNames::default())?;
        let found = shipped.get(text.trim()).cloned();
        found.with_context(|| {
            let known: Vec<_> = shipped.plans().map(|plan| plan.name.as_str()).collect();
            let hint = suggest::hint(text.trim(), known.iter().copied());
            format!(
                "unknown plan `{text}`; known are {}{hint}",
                known.join(", ")
            )
        })?
    };
    let sight = Sight::of(&plan, traffic);
    let mut out = std::io::stdout().lock();
    writeln!(out, "{sight}")?;
    match sight.blind().count() {
        0 => Ok(writeln!(
            out,
            "every stage is long enough to see something"
        )?),
        blind => bail!(
            "{blind} of {} stages are too short to see anything",
            sight.stages.len()
        ),
    }
}

/// Simulates, and says on standard error how far it is: on a terminal in one line that changes,
/// elsewhere in a new line every [`NEWS`].
fn with_progress<T>(simulate: impl FnOnce(&(dyn Fn(Progress) + Sync)) -> T) -> T {
    let started = Instant::now();
    let shown = AtomicUsize::new(0);
    let is_terminal = std::io::stderr().is_terminal();
    let simulated = simulate(&|Progress { done, total }| {
        let elapsed = started.elapsed();
        let step = if is_terminal {
            done * STEPS / total.max(1)
        } else {
            (elapsed.as_secs() / NEWS.as_secs()) as usize
        };
        // Called from every thread; one of them shows each step.
        if shown.fetch_max(step, Ordering::Relaxed) < step {
            let left = elapsed.mul_f64((total - done) as f64 / done.max(1) as f64);
            let left = humantime::format_duration(Duration::from_secs(left.as_secs()));
            let percent = done * 100 / total.max(1);
            let line = format!("{percent:>3} %, {done} of {total} runs, {left} left");
            let mut err = std::io::stderr();
            // A closed standard error is no reason to stop.
            let _ = if is_terminal {
                write!(err, "{CLEAR_LINE}{} {line}", bar(done, total))
            } else {
                writeln!(err, "{}", line.trim_start())
            };
        }
    });
    if is_terminal {
        let _ = write!(std::io::stderr(), "{CLEAR_LINE}");
    }
    simulated
}

/// Shows what has been found so far at once. A closed standard output is no reason to stop: the figures may be kept in a
/// file as well.
fn show(text: &str) {
    if std::io::stderr().is_terminal() {
        let _ = write!(std::io::stderr(), "{CLEAR_LINE}");
    }
    let mut out = std::io::stdout().lock();
    let _ = write!(out, "{text}").and_then(|()| out.flush());
}

/// `[#####.....]`
fn bar(done: usize, total: usize) -> String {
    const WIDTH: usize = 30;
    let filled = (done * WIDTH / total.max(1)).min(WIDTH);
    format!("[{}{}]", "#".repeat(filled), ".".repeat(WIDTH - filled))
}

/// Whether a file may be written: there is none, or an earlier certificate.
fn check_own(file: &Path) -> anyhow::Result<()> {
    match std::fs::read_to_string(file) {
        Ok(text) if !text.starts_with(TITLE) => bail!(
            "`{}` was not written by `--write`, which would replace it: it does not begin with `{}`; name another file",
            file.display(),
            TITLE.trim_end(),
        ),
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(error).with_context(|| format!("cannot read `{}`", file.display()))
        }
        _ => Ok(()),
    }
}

#[expect(clippy::disallowed_methods, reason = "a command ends now")]
fn keep(file: &Path, report: &certify::Certificate, full: bool) -> anyhow::Result<()> {
    check_own(file)?;
    let at = Utc::now().to_rfc3339_opts(SecondsFormat::Secs, true);
    let picture = file.with_extension("svg");
    let option = if full { " --full" } else { "" };
    let text = format!(
        "{TITLE}\n`modelramp simulate certify --seed {}{option}`, {at}\n\n![Each cell that can miss its goal, between \
         its 99.9 % limits; the bar is the goal]({picture})\n\n```text\n{report}\n```\n",
        report.seed,
        picture = picture.file_name().unwrap_or_default().display(),
    );
    for (file, content) in [(file, text), (&*picture, plot::svg(report))] {
        std::fs::write(file, content)
            .with_context(|| format!("cannot write `{}`", file.display()))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_that_somebody_wrote_is_not_replaced_by_a_certificate() {
        let folder = tempfile::tempdir().expect("a folder");
        let file = folder.path().join("certification.md");
        let report = certify::Certificate {
            seed: 1,
            cells: Vec::new(),
        };
        for _ in 0..2 {
            keep(&file, &report, false).expect("none, or its own");
        }
        std::fs::write(&file, "# Certification\n\nBy hand.\n").expect("a page");
        let refused = keep(&file, &report, false)
            .expect_err("another's")
            .to_string();
        assert!(
            refused.contains("was not written by `--write`"),
            "{refused}"
        );
        let text = std::fs::read_to_string(&file).expect("a page");
        assert_eq!(text, "# Certification\n\nBy hand.\n");
    }

    #[test]
    fn a_bar_fills_up() {
        assert_eq!(bar(0, 10), format!("[{}]", ".".repeat(30)));
        assert_eq!(bar(10, 10), format!("[{}]", "#".repeat(30)));
        assert_eq!(bar(0, 0), bar(0, 1));
    }
}
