//! `modelramp alert test`: one alert to each channel that is set up, past the outbox.

use std::{io::Write, sync::Arc};

use anyhow::bail;
use async_trait::async_trait;
use chrono::{DateTime, Utc};
use clap::{
    Args, Subcommand,
    builder::{PossibleValuesParser, TypedValueParser},
};

use super::table::clean;
use crate::{
    _core::http_client,
    alerting::{Alert, Dispatcher, Outbox, PendingAlert},
    config::{ChannelName, Config},
};

/// Arguments of `modelramp alert`.
#[derive(Debug, Args)]
pub(super) struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Sends a test alert to each channel of the settings, and fails if one of them does not take it.
    Test {
        /// This channel only.
        #[arg(long, value_parser = channels())]
        channel: Option<ChannelName>,
    },
}

fn channels() -> impl TypedValueParser<Value = ChannelName> {
    let names = PossibleValuesParser::new(ChannelName::ALL.map(ChannelName::name));
    names.try_map(|text| {
        let mut all = ChannelName::ALL.into_iter();
        all.find(|name| name.name() == text).ok_or("no channel")
    })
}

/// Runs one command.
#[expect(clippy::disallowed_methods, reason = "a command starts now")]
pub(super) async fn run(arguments: Arguments, config: &Config) -> anyhow::Result<()> {
    let Command::Test { channel } = arguments.command;
    http_client::install_tls();
    let dispatcher = Dispatcher::new(Arc::new(NoOutbox), &config.alerts)?;
    let channels = match channel {
        Some(channel) => vec![channel],
        None => dispatcher.channels(),
    };
    if channels.is_empty() {
        bail!(
            "no alert channel is set up, so nothing was sent; set `SLACK_WEBHOOK_URL`, or the settings of \
             another channel (docs/alerts.md)"
        );
    }
    let results = dispatcher.send_test(&channels, Utc::now()).await;
    let mut out = std::io::stdout().lock();
    let mut failed = 0;
    for result in &results {
        let name = result.channel.name();
        match &result.error {
            None => writeln!(out, "{name:<10} took the test")?,
            Some(error) => {
                failed += 1;
                writeln!(out, "{name:<10} failed: {}", clean(error))?;
            }
        }
    }
    if failed > 0 {
        bail!(
            "{failed} of {} channels did not take the test; the reason stands beside each of them",
            results.len()
        );
    }
    Ok(())
}

/// No outbox: a test is for those who are there to see it.
pub(super) struct NoOutbox;

#[async_trait]
impl Outbox for NoOutbox {
    async fn enqueue(&self, _: &Alert) -> anyhow::Result<()> {
        Ok(())
    }

    async fn due(
        &self,
        _: &[String],
        _: DateTime<Utc>,
        _: usize,
    ) -> anyhow::Result<Vec<PendingAlert>> {
        Ok(Vec::new())
    }

    async fn delivered(&self, _: &str, _: &str, _: DateTime<Utc>) -> anyhow::Result<()> {
        Ok(())
    }

    async fn failed(&self, _: &str, _: &str, _: &str, _: DateTime<Utc>) -> anyhow::Result<()> {
        Ok(())
    }
}
