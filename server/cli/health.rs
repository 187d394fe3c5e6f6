//! `modelramp health`: whether a server answers, as an exit code.

use std::io::Write;

use anyhow::bail;
use clap::Args;

use super::client::Client;
use crate::{
    _core::http_client,
    config::{ClientConfig, Sources},
};

/// Arguments of `modelramp health`.
#[derive(Debug, Args)]
pub(super) struct Arguments {
    /// The server's address; without it, where the settings say that it listens.
    #[arg(long)]
    url: Option<String>,
    /// Also fails where the server says that it cannot serve just now.
    #[arg(long)]
    ready: bool,
}

/// Asks `/healthz`, or `/readyz`, and prints what came.
pub(super) async fn run(arguments: Arguments, sources: &Sources) -> anyhow::Result<()> {
    http_client::install_tls();
    let client = Client::new(&ClientConfig::load(sources, arguments.url)?)?;
    let path = if arguments.ready {
        "/readyz"
    } else {
        "/healthz"
    };
    let (status, answer) = client.get(path).await?;
    if !status.is_success() {
        bail!("the server answers {status}: {}", answer.trim());
    }
    writeln!(std::io::stdout(), "{}", answer.trim())?;
    Ok(())
}
