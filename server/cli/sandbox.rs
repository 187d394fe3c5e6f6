//! `modelramp sandbox`: the simulated provider on a port of its own, until it is stopped.

use std::{io::Write, path::PathBuf};

use clap::Args;

use crate::providers::sandbox::{Sandbox, SandboxPlan};

/// Runs the sandbox alone.
#[derive(Debug, Args)]
pub struct SandboxArgs {
    /// A TOML file that says how fast and how faulty each model is; without it all answer at once.
    #[arg(long, value_name = "FILE")]
    models: Option<PathBuf>,
    /// The loopback port to listen on; 0 takes a free one.
    #[arg(long, default_value_t = 8090)]
    port: u16,
}

/// Serves until the process is told to stop.
pub async fn run(arguments: SandboxArgs) -> anyhow::Result<()> {
    let plan = match &arguments.models {
        Some(path) => SandboxPlan::load(path)?,
        None => SandboxPlan::default(),
    };
    let sandbox = Sandbox::listen(arguments.port, &plan).await?;
    let (origin, base_url) = (sandbox.origin(), sandbox.base_url());
    let mut out = std::io::stdout().lock();
    writeln!(out, "the sandbox answers at {base_url}")?;
    writeln!(out, "  use it     OPENROUTER_BASE_URL={base_url}")?;
    writeln!(out, "  counts     curl {origin}/control/stats")?;
    writeln!(out, "  faults     curl {origin}/control/faults")?;
    writeln!(
        out,
        "  change     curl -X PUT {origin}/control/models/NAME \\\n               -H 'content-type: application/json' -d '{{\"error_rate\": 1, \"fault\": \"503\"}}'"
    )?;
    drop(out);
    crate::app::stop_signal()?.await;
    Ok(())
}
