//! The deployment log of a rollout, as Markdown: from the audit and the evidence.

use std::fmt::{self, Write as _};

use chrono::{DateTime, SecondsFormat, Utc};

use super::{
    audit::{after, capital, explain},
    evidence::{JudgeEvidence, Verdict},
    finding::Arm,
    placebos::KeptPlacebo,
    plan::{Gate, Plan},
    store::AuditRow,
    view::View,
};

/// Writes the log.
pub fn markdown(view: &View, rows: &[AuditRow], placebo: Option<&KeptPlacebo>) -> String {
    let mut text = String::new();
    // Writing to memory cannot fail.
    let _ = write(&mut text, view, rows, placebo);
    text
}

fn write(
    out: &mut String,
    view: &View,
    rows: &[AuditRow],
    placebo: Option<&KeptPlacebo>,
) -> fmt::Result {
    head(out, view)?;
    stages(out, &view.plan)?;
    history(out, rows)?;
    figures(out, view)?;
    effects(out, &view.verdict)?;
    if let Some(judge) = &view.verdict.judge {
        judgements(out, judge)?;
    }
    if let Some(kept) = placebo {
        own_traffic(out, kept)?;
    }
    decisions(out, rows)
}

fn head(out: &mut String, view: &View) -> fmt::Result {
    let (status, plan) = (&view.status, &view.plan);
    writeln!(out, "# Deployment log: {}\n", status.plan)?;
    writeln!(out, "| | |\n|---|---|")?;
    writeln!(out, "| Rollout | `{}` |", status.id)?;
    if !plan.description.is_empty() {
        writeln!(out, "| Plan | {} |", cell(&plan.description))?;
    }
    let tasks = if status.tasks.is_empty() {
        "all".to_owned()
    } else {
        status.tasks.join(", ")
    };
    writeln!(out, "| Tasks | {} |", cell(&tasks))?;
    writeln!(out, "| Models | {} |", cell(&status.models_in_words()))?;
    writeln!(out, "| Started | {} |", time(&status.started_at))?;
    if let Some(ended) = &status.ended_at {
        writeln!(out, "| Ended | {} |", time(ended))?;
    }
    let (state, stage, stages) = (status.state.name(), status.stage + 1, status.stages);
    writeln!(
        out,
        "| State | {state}, stage {stage} of {stages}, {} % |",
        status.share
    )
}

fn stages(out: &mut String, plan: &Plan) -> fmt::Result {
    writeln!(
        out,
        "\n## Stages\n\n| Stage | Share | Soak | Gate |\n|---|---|---|---|"
    )?;
    for (n, stage) in plan.stages.iter().enumerate() {
        let soak = humantime::format_duration(stage.soak);
        let gate = match stage.gate {
            Gate::Automatic => "automatic",
            Gate::Manual => "manual",
        };
        writeln!(
            out,
            "| {} | {} % | {soak} | {gate} |",
            n + 1,
            plan.share_of(n)
        )?;
    }
    Ok(())
}

fn history(out: &mut String, rows: &[AuditRow]) -> fmt::Result {
    writeln!(
        out,
        "\n## History\n\n| When | What | Who | From | To | Why |\n|---|---|---|---|---|---|"
    )?;
    for row in rows {
        let before = row.before.map(|it| it.to_string());
        writeln!(
            out,
            "| {} | {} | {} | {} | {} | {} |",
            time(&row.at),
            capital(row.action.name()),
            cell(&row.actor.to_string()),
            before.unwrap_or_else(|| "–".to_owned()),
            after(row),
            cell(&row.reason)
        )?;
    }
    Ok(())
}

fn figures(out: &mut String, view: &View) -> fmt::Result {
    let (status, finding) = (&view.status, &view.finding);
    writeln!(out, "\n## Figures of the last stage\n")?;
    let until = match &finding.last_request_at {
        Some(at) => format!("the last request that counts was at {}", time(at)),
        None => "no request that counts came yet".to_owned(),
    };
    writeln!(out, "Since {}; {until}.\n", time(&status.stage_began_at))?;
    writeln!(
        out,
        "| | Requests | Errors | Error rate | Average | Slow before they ended | Not counted |\n|---|---|---|---|---|---|---|"
    )?;
    for (name, arm) in [
        ("Control", &finding.control),
        ("Candidate", &finding.candidate),
    ] {
        let Arm {
            requests,
            errors,
            average_ms,
            hung,
            not_counted,
            average_cost: _,
            average_chars: _,
        } = arm;
        let rate = arm.error_rate() * 100.0;
        writeln!(
            out,
            "| {name} | {requests} | {errors} | {rate:.2} % | {average_ms:.0} ms | {hung} | {not_counted} |"
        )?;
    }
    writeln!(out, "\n{}.", cell(&capital(&finding.why)))
}

fn effects(out: &mut String, verdict: &Verdict) -> fmt::Result {
    if verdict.effects.is_empty() {
        return Ok(());
    }
    writeln!(
        out,
        "\n## How many times as often as on control\n\n\
         Since the rollout began, with limits that hold at every moment with a probability of 95 %.\n"
    )?;
    for effect in &verdict.effects {
        writeln!(out, "- {effect}")?;
    }
    if verdict.effects.iter().any(|it| it.metric.is_of_time()) {
        writeln!(out, "\nSlowness is judged by {}.", verdict.timed)?;
    }
    Ok(())
}

/// What the judge model says.
fn judgements(out: &mut String, judge: &JudgeEvidence) -> fmt::Result {
    writeln!(
        out,
        "\n## What a model found that judges answers\n\n{}.",
        cell(&capital(&judge.in_words()))
    )
}

/// What became of rollouts of this plan without a difference.
fn own_traffic(out: &mut String, kept: &KeptPlacebo) -> fmt::Result {
    writeln!(
        out,
        "\n## On this server's own traffic\n\n{}.",
        cell(&capital(&kept.in_words()))
    )?;
    for (what, count) in &kept.placebo.by {
        writeln!(out, "\n- taken back by {}: {count}", cell(what))?;
    }
    Ok(())
}

fn decisions(out: &mut String, rows: &[AuditRow]) -> fmt::Result {
    writeln!(out, "\n## Decisions and their evidence\n")?;
    for row in rows {
        let explained = explain(row);
        let mut lines = explained.text.lines();
        let first = lines.next().unwrap_or_default();
        writeln!(out, "- {} {}", time(&row.at), cell(first))?;
        for line in lines {
            writeln!(out, "  - {}", cell(line))?;
        }
    }
    Ok(())
}

fn time(at: &DateTime<Utc>) -> String {
    at.to_rfc3339_opts(SecondsFormat::Secs, true)
}

/// Text that a person may have typed, so that it breaks neither its cell nor the page.
fn cell(text: &str) -> String {
    let mut safe = String::with_capacity(text.len());
    for letter in text.chars() {
        match letter {
            '|' | '\\' | '<' | '>' | '`' | '*' | '_' | '[' | ']' | '&' | '~' | '$' | '!' | '#'
            | '@' => {
                safe.extend(['\\', letter]);
            }
            // Lines end a cell, and other control characters steer terminals.
            letter if letter.is_control() || matches!(letter, '\u{2028}' | '\u{2029}') => {
                safe.push(' ');
            }
            _ => safe.push(letter),
        }
    }
    safe
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_person_typed_is_text() {
        let typed = "a | b\n# <img src=x> [x](y) **z** `c` ~~d~~ &lt; \u{1b}[2J";
        let safe = cell(typed);
        assert!(!safe.contains(['\n', '\u{1b}']));
        let letters: Vec<char> = safe.chars().collect();
        for (n, letter) in letters.iter().enumerate() {
            let is_markup = "|<>`*_[]&~#".contains(*letter);
            assert!(!is_markup || letters[n - 1] == '\\', "{safe}");
        }
    }
}
