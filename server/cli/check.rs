//! `modelramp check`: what has to be right before users depend on a server, looked at one by one.
//!
//! It runs beside a server or before the first one, and changes nothing. docs/preflight.md lists each check.

mod database;
mod models;
mod outside;
mod settings;

use std::path::PathBuf;

use clap::Args;

use super::findings::Findings;
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
    /// Sends a test to each alert channel. People get it.
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
    findings.print(arguments.json, arguments.strict)
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
