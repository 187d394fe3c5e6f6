//! Go or no-go, by what the server says of the rollout and of its alerts.

use chrono::{DateTime, Utc};
use serde::Deserialize;

use super::super::{client::Client, findings::Findings, table::clean};
use crate::{
    _core::{errors::in_full, procedure::NoInput, units::counted},
    alerting::Severity,
    rollout::{evidence::Level, status::RunState},
    routers::{
        alerts_router::ListAlerts,
        methods::{ALERTS_CHANNELS, ALERTS_LIST},
        rollout_router::answers::RolloutDetails,
    },
};

/// The share of requests that may fail, and how long they may take on average, in milliseconds: those of the team's
/// plan.
const MOST_ERRORS: f64 = 0.01;
const MOST_AVERAGE_MS: f64 = 3_000.0;
/// Alerts that are looked at.
const ALERTS: u32 = 200;

/// An alert as far as a report shows it.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct AlertTold {
    pub(super) at: DateTime<Utc>,
    pub(super) severity: Severity,
    pub(super) title: String,
    rollout_id: Option<String>,
}

#[derive(Deserialize)]
struct Alerts {
    rows: Vec<AlertTold>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Channel {
    set_up: bool,
    waiting: u64,
}

/// What became of it, and what its requests say.
pub(super) fn of_rollout(details: &RolloutDetails, findings: &mut Findings) {
    let (state, finding) = (&details.state, &details.finding);
    let place = format!(
        "{} at {} %: {}",
        state.state.name(),
        state.share,
        state.reason
    );
    match state.state {
        RunState::Running | RunState::Completed | RunState::WaitingAtGate { .. } => {
            findings.pass("rollout", place);
        }
        RunState::Paused | RunState::Holding { .. } | RunState::RolledBack => {
            let todo = format!(
                "`modelramp rollout why {}` says why; mend it and begin anew",
                state.id
            );
            findings.fail("rollout", place, todo);
        }
    }
    let e = format!("E is {:.2}", finding.e);
    match finding.level {
        Level::Clear => findings.pass(
            "evidence",
            format!("nothing speaks against the candidate: {e}"),
        ),
        _ => findings.fail(
            "evidence",
            format!("evidence speaks against the candidate: {e}"),
            "compare the failures of both variants on the dashboard",
        ),
    }
    let candidate = &finding.candidate;
    let (requests, users) = (candidate.requests, finding.users);
    let stage = details.wanted.stages.get(state.stage.saturating_sub(1));
    let (least, least_users) = stage.map_or((1, 1), |it| (it.min_requests.max(1), it.min_users));
    let traffic = format!(
        "{} of {}",
        counted(requests, "request"),
        counted(users, "user")
    );
    if requests < least || users < least_users {
        findings.fail(
            "traffic",
            format!("{traffic}; {least} of {least_users} are meant"),
            "let testers use it, or `modelramp drive`, and watch again",
        );
        // What so few say is worth nothing.
        return;
    }
    findings.pass("traffic", traffic);
    let (rate, errors) = (candidate.error_rate(), candidate.errors);
    let failed = format!("{errors} of {requests} failed ({:.2} %)", rate * 100.0);
    if rate < MOST_ERRORS {
        findings.pass("errors", failed);
    } else {
        findings.fail(
            "errors",
            failed,
            "1 % are too many; the dashboard shows each request",
        );
    }
    let average = format!("{:.0} ms on average", candidate.average_ms);
    if candidate.average_ms < MOST_AVERAGE_MS {
        findings.pass("latency", average);
    } else {
        findings.fail(
            "latency",
            average,
            "3,000 ms are too long; choose a faster model",
        );
    }
}

/// What people were told meanwhile, and whether they can be.
pub(super) async fn of_alerts(
    client: &Client,
    details: &RolloutDetails,
    findings: &mut Findings,
) -> Vec<AlertTold> {
    let all = ListAlerts {
        limit: Some(ALERTS),
        ..ListAlerts::default()
    };
    let told = match client.call(&ALERTS_LIST.reading::<Alerts>(), &all).await {
        Ok(told) => told.rows,
        Err(error) => {
            findings.fail("told", in_full(&error), "see the server's log");
            return Vec::new();
        }
    };
    let (id, since) = (details.state.id.as_str(), details.state.started_at);
    // Those about no rollout concern this one as well: the kill switch, the catalog.
    let concerns =
        |it: &AlertTold| it.at >= since && it.rollout_id.as_deref().is_none_or(|of| of == id);
    let told: Vec<_> = told.into_iter().filter(concerns).collect();
    let titles = |severity| {
        let titles = told
            .iter()
            .filter(|it| it.severity == severity)
            .map(|it| clean(&it.title));
        titles.collect::<Vec<_>>()
    };
    let (critical, warnings) = (titles(Severity::Critical), titles(Severity::Warning));
    if !critical.is_empty() {
        findings.fail(
            "told",
            format!("critical: {}", critical.join(", ")),
            "see docs/alerts.md",
        );
    } else if !warnings.is_empty() {
        findings.warn(
            "told",
            format!("warnings: {}", warnings.join(", ")),
            "see docs/alerts.md",
        );
    } else {
        findings.pass("told", "no warning and nothing critical");
    }
    match client
        .call(&ALERTS_CHANNELS.reading::<Vec<Channel>>(), &NoInput {})
        .await
    {
        Ok(channels) => {
            let set_up = channels.iter().filter(|it| it.set_up).count();
            let waiting: u64 = channels.iter().map(|it| it.waiting).sum();
            let found = format!("{} set up", counted(set_up as u64, "channel"));
            if set_up == 0 {
                let todo = "set `SLACK_WEBHOOK_URL`, or another channel (docs/alerts.md)";
                findings.fail(
                    "channels",
                    "nobody is told when a rollout is taken back",
                    todo,
                );
            } else if waiting > 0 {
                let found = format!("{found}; {waiting} alerts wait for one of them");
                findings.fail("channels", found, "`modelramp alert test` says why");
            } else {
                findings.pass("channels", found);
            }
        }
        Err(error) => findings.fail("channels", in_full(&error), "see the server's log"),
    }
    told
}
