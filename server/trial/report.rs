//! Says what a trial found: words for each metric, and a page of Markdown.

use std::fmt::Write as _;

use chrono::SecondsFormat;

use super::verdict::ALPHA;
use crate::{
    _core::units::counted,
    rollout::trials::{Trial, TrialFigures, TrialMetric, TrialVerdict},
};

/// `+3.0 points (−1.2 to +9.8)`, `1.12× (0.95× to 1.33×)`; a dash without pairs.
pub fn figure(figures: &TrialFigures) -> String {
    let Some(effect) = figures.effect else {
        return "–".to_owned();
    };
    let (low, high) = (figures.low, figures.high);
    if figures.metric.is_ratio() {
        return format!("{effect:.2}× ({low:.2}× to {high:.2}×)");
    }
    let [effect, low, high] = [effect, low, high].map(signed);
    format!("{effect} points ({low} to {high})")
}

/// A share as percentage points with its sign.
fn signed(share: f64) -> String {
    let points = (share * 1e3).round() / 10.0;
    match points {
        0.0 => "0.0".to_owned(),
        below if below < 0.0 => format!("−{:.1}", -below),
        above => format!("+{above:.1}"),
    }
}

/// What is proven of a metric, in words.
pub fn words(figures: &TrialFigures) -> String {
    match figures.verdict {
        TrialVerdict::Worse => "worse".to_owned(),
        TrialVerdict::NoWorse => format!("no worse by more than {}", margin(figures)),
        TrialVerdict::NotProven if figures.pairs == 0 => "nothing to compare".to_owned(),
        TrialVerdict::NotProven => match figures.more {
            Some(more) => format!(
                "not proven, would take about {}",
                counted(more, "more prompt")
            ),
            None => "not proven, and prompts like these would not".to_owned(),
        },
    }
}

/// What is tolerated.
fn margin(figures: &TrialFigures) -> String {
    if figures.metric.is_ratio() {
        format!("{:.0} %", (figures.margin - 1.0) * 100.0)
    } else {
        format!("{} points", (figures.margin * 1e3).round() / 10.0)
    }
}

/// A mean in the metric's unit.
pub fn mean(metric: TrialMetric, mean: Option<f64>) -> String {
    let Some(mean) = mean else {
        return "–".to_owned();
    };
    match metric {
        TrialMetric::Latency => format!("{mean:.0} ms"),
        TrialMetric::Cost => format!("${:.6}", mean / 1e6),
        _ => format!("{:.1} %", mean * 100.0),
    }
}

/// The verdict of a trial as a sentence.
pub fn conclusion(trial: &Trial) -> String {
    let Trial {
        task,
        control,
        candidate,
        result,
        ..
    } = trial;
    let of = |verdict| {
        let metrics = result
            .metrics
            .iter()
            .filter(move |it| it.pairs > 0 && it.verdict == verdict);
        metrics
            .map(|it| it.metric.name())
            .collect::<Vec<_>>()
            .join(", ")
    };
    let prompts = counted(result.pairs, "prompt");
    let said = match result.verdict {
        TrialVerdict::Worse => format!("is worse than `{control}`: {}", of(TrialVerdict::Worse)),
        TrialVerdict::NoWorse => {
            format!("is no worse than `{control}` by more than the margins")
        }
        TrialVerdict::NotProven if result.pairs == 0 => {
            format!("was not compared with `{control}`")
        }
        TrialVerdict::NotProven => format!(
            "is not shown to be worse than `{control}`, and not shown to be no worse: {}",
            of(TrialVerdict::NotProven)
        ),
    };
    format!("For `{task}`, `{candidate}` {said} ({prompts}).")
}

/// What the page shows beside the verdicts.
pub struct Circumstances<'a> {
    /// The file of prompts.
    pub prompts: &'a str,
    /// How many it has.
    pub of: usize,
    /// The picture beside the page.
    pub picture: &'a str,
    /// Models that the sandbox simulated.
    pub simulated: &'a [String],
    /// Prompts by kind, in the file's own words.
    pub kinds: &'a [(String, usize)],
}

/// A page of Markdown.
pub fn markdown(trial: &Trial, circumstances: &Circumstances<'_>) -> String {
    let mut out = String::new();
    // Writing to memory cannot fail.
    let _ = write_page(&mut out, trial, circumstances);
    out
}

fn write_page(
    out: &mut String,
    trial: &Trial,
    circumstances: &Circumstances<'_>,
) -> std::fmt::Result {
    let Circumstances {
        prompts,
        of,
        picture,
        simulated,
        kinds,
    } = circumstances;
    let at = trial.at.to_rfc3339_opts(SecondsFormat::Secs, true);
    writeln!(
        out,
        "# Trial: `{}` against `{}`\n",
        trial.candidate, trial.control
    )?;
    writeln!(out, "{}\n", conclusion(trial))?;
    writeln!(
        out,
        "{at}, task `{}`, {} of {of} prompts of `{prompts}`, each put to both models.\n",
        trial.task, trial.result.pairs
    )?;
    for model in *simulated {
        writeln!(
            out,
            "`{model}` was **simulated** by the sandbox: its provider has no key.\n"
        )?;
    }
    writeln!(
        out,
        "![The effect on each metric between its limits]({picture})\n"
    )?;
    writeln!(
        out,
        "| Metric | Pairs | Control | Candidate | Effect | Verdict |\n|---|---|---|---|---|---|"
    )?;
    for it in &trial.result.metrics {
        let [control, candidate] = [it.control, it.candidate].map(|value| mean(it.metric, value));
        writeln!(
            out,
            "| {} | {} | {control} | {candidate} | {} | {} |",
            it.metric.name(),
            it.pairs,
            figure(it),
            words(it)
        )?;
    }
    writeln!(
        out,
        "\nLimits hold at every moment with a probability of {:.0} %. \"Worse\" is said of any metric with a \
         probability of at most {:.0} % where the candidate is not; docs/statistics.md has the formulas.",
        (1.0 - ALPHA) * 100.0,
        ALPHA * 100.0
    )?;
    if kinds.len() > 1 {
        writeln!(out, "\n| Kind of prompt | Prompts |\n|---|---|")?;
        for (kind, count) in *kinds {
            writeln!(
                out,
                "| {} | {count} |",
                kind.replace(['|', '\n', '\r', '<'], " ")
            )?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use chrono::DateTime;

    use super::*;
    use crate::{_core::actor::Actor, rollout::trials::TrialResult, trial::picture};

    fn figures(metric: TrialMetric, verdict: TrialVerdict) -> TrialFigures {
        TrialFigures {
            metric,
            verdict,
            pairs: 40,
            control: Some(0.05),
            candidate: Some(0.2),
            effect: Some(0.15),
            low: -0.012,
            high: 0.31,
            margin: 0.05,
            log_e_worse: 3.0,
            log_e_no_worse: -2.0,
            more: Some(120),
        }
    }

    fn trial() -> Trial {
        Trial {
            id: "t".into(),
            at: DateTime::UNIX_EPOCH,
            actor: Actor::User(1),
            task: "chat".into(),
            control: "old".into(),
            candidate: "new".into(),
            result: TrialResult {
                verdict: TrialVerdict::Worse,
                pairs: 40,
                metrics: vec![
                    figures(TrialMetric::Errors, TrialVerdict::Worse),
                    figures(TrialMetric::Refused, TrialVerdict::NotProven),
                    TrialFigures {
                        effect: Some(1.1),
                        low: 0.9,
                        high: 1.4,
                        margin: 1.25,
                        ..figures(TrialMetric::Latency, TrialVerdict::NoWorse)
                    },
                    TrialFigures {
                        pairs: 0,
                        effect: None,
                        control: None,
                        candidate: None,
                        ..figures(TrialMetric::Cost, TrialVerdict::NotProven)
                    },
                ],
            },
        }
    }

    #[test]
    fn the_page_and_the_picture_say_what_is_proven() {
        let trial = trial();
        let page = markdown(
            &trial,
            &Circumstances {
                prompts: "p.jsonl",
                of: 200,
                picture: "p.svg",
                simulated: &["old".to_owned()],
                kinds: &[("chat".to_owned(), 30), ("mail".to_owned(), 10)],
            },
        );
        let picture = picture::svg(&trial);
        for row in [
            "| errors | 40 | 5.0 % | 20.0 % | +15.0 points (−1.2 to +31.0) | worse |",
            "| refused | 40 | 5.0 % | 20.0 % | +15.0 points (−1.2 to +31.0) | not proven, would take about 120 more prompts |",
            "| latency | 40 | 0 ms | 0 ms | 1.10× (0.90× to 1.40×) | no worse by more than 25 % |",
            "| cost | 0 | – | – | – | nothing to compare |",
        ] {
            assert!(page.contains(row), "{row}\n{page}");
            let words = row.rsplit("| ").next().unwrap().trim_end_matches(" |");
            assert!(picture.contains(words), "{words}\n{picture}");
        }
        assert!(page.contains("40 of 200 prompts") && page.contains("**simulated**"));
        assert!(
            page.contains("is worse than `old`: errors (40 prompts)"),
            "{page}"
        );
        assert_eq!(picture.matches("<circle").count(), 3, "none without pairs");
    }
}
