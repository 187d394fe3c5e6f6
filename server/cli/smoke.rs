//! `modelramp smoke`: whether a running server does what users, and those who answer for it, need of it.
//!
//! It asks by the server's own procedures, in the name of whoever's token there is, and changes nothing that users
//! see. What moves something moves it back before the next step, also when the command is interrupted, and a
//! rehearsal that a killed run left behind is ended by the next one. docs/preflight.md lists each step.

mod asking;
mod moving;

use std::pin::pin;

use anyhow::bail;
use clap::Args;
use futures::FutureExt as _;
use http::StatusCode;

use self::asking::SmokeRun;
use super::{
    client::Client,
    findings::{CheckOutcome, Findings},
};
use crate::{
    _core::{errors::in_full, http_client},
    app,
    config::{ClientConfig, Sources},
    routers::{alerts_router::TestChannels, methods::ALERTS_TEST},
};

/// Arguments of `modelramp smoke`.
#[derive(Debug, Args)]
pub(super) struct Arguments {
    /// The server's address; HOST and PORT of the settings where it is not given.
    #[arg(long, value_name = "URL")]
    url: Option<String>,
    /// Also moves the kill switch and the live share, and moves them back. For servers without users.
    #[arg(long)]
    staging: bool,
    /// Leaves out the test of the alert channels. The rollout that is taken back is an alert (info) all the same, for
    /// the channels that take those.
    #[arg(long)]
    no_alerts: bool,
    /// Also fails where something is only to be looked at.
    #[arg(long)]
    strict: bool,
    /// Prints JSON.
    #[arg(long)]
    json: bool,
}

/// Goes through all steps; fails where one does.
pub(super) async fn run(arguments: Arguments, sources: &Sources) -> anyhow::Result<()> {
    http_client::install_tls();
    let client = Client::new(&ClientConfig::load(sources, arguments.url.clone())?)?;
    let mut findings = Findings::default();
    let mut interrupted = pin!(app::stop_signal()?);
    let mut asked = SmokeRun::begin();
    let mut was_interrupted = {
        let asking = ask(&client, &mut asked, &mut findings);
        // What only asks can be left at any moment.
        tokio::select! {
            () = &mut interrupted => true,
            () = asking => false,
        }
    };
    // Only a greeting that is interrupted leaves one.
    let is_tidy = asked.tidy(&client).await;
    if !was_interrupted && findings.count(CheckOutcome::Fail) < findings.0.len() {
        // What moves something goes on to its end, which takes seconds; a signal is heard after it.
        moving::rehearse(&client, &mut findings).await;
        if arguments.staging {
            moving::flags(&client, &mut findings).await;
        } else {
            findings.skip(
                "flags",
                "the kill switch and the live share were not moved",
                "`--staging` moves both and moves them back; only where there are no users",
            );
        }
        was_interrupted = interrupted.as_mut().now_or_never().is_some();
        if arguments.no_alerts || was_interrupted {
            findings.skip("alerts", "no channel was tested", "leave `--no-alerts` out");
        } else {
            alerts(&client, &mut findings).await;
        }
    }
    let told = findings.print(arguments.json, arguments.strict);
    if was_interrupted && !is_tidy {
        bail!(
            "interrupted; nothing stays moved, but a conversation `modelramp smoke` is left, which a run after ten \
             minutes deletes"
        );
    }
    if was_interrupted {
        bail!("interrupted; nothing stays moved");
    }
    told
}

/// What `staging` needs of it: all that moves no flag and tells nobody.
pub(super) async fn look(client: &Client, findings: &mut Findings) {
    ask(client, &mut SmokeRun::begin(), findings).await;
    moving::rehearse(client, findings).await;
}

/// The steps that only ask; nothing after the first where no server answers.
async fn ask(client: &Client, asked: &mut SmokeRun, findings: &mut Findings) {
    match client.get("/readyz").await {
        Ok((StatusCode::OK, _)) => findings.pass("server", "it is ready"),
        Ok((status, said)) => {
            let found = format!("it is not ready (HTTP {status}): {said}");
            return findings.fail("server", found, "see the server's log");
        }
        Err(error) => {
            let todo = error.advice("start the server, or say with `--url` where it is");
            return findings.fail("server", in_full(&error), todo);
        }
    }
    asking::greeting(client, asked, findings).await;
    asking::email(client, asked, findings).await;
    asking::metrics(client, asked, findings).await;
}

/// Whether each channel takes a test.
async fn alerts(client: &Client, findings: &mut Findings) {
    let results = match client.call(&ALERTS_TEST, &TestChannels::default()).await {
        Ok(results) => results,
        Err(error) => {
            let todo = error.advice("see the server's log");
            return findings.fail("alerts", in_full(&error), todo);
        }
    };
    if results.is_empty() {
        findings.warn(
            "alerts",
            "no channel is set up: nobody is told when a rollout is taken back",
            "set `SLACK_WEBHOOK_URL`, or another channel (docs/alerts.md)",
        );
    }
    for result in results {
        let name = result.channel.name();
        match result.error {
            None => findings.pass("alerts", format!("{name} took the test")),
            Some(error) => {
                findings.fail("alerts", format!("{name}: {error}"), "see docs/alerts.md");
            }
        }
    }
}
