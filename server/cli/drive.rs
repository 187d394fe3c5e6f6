//! `modelramp drive`: bounded traffic of many users through a running server.
//!
//! Users are local ones of the same settings, as `modelramp token` makes them, or those of a file of
//! tokens. Nothing but loopback is driven unless it is said that it may be; rate and duration have
//! limits that no flag lifts. The conversations that it begins are deleted at the end.

mod report;
pub mod traffic;

use std::{
    io::{IsTerminal, Write},
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::{Context as _, bail, ensure};
use chrono::Utc;
use clap::{Args, ValueEnum};
use indicatif::{ProgressBar, ProgressStyle};
use secrecy::SecretString;
use url::{Host, Url};

use self::traffic::{DriveProgress, DriveRate, DriveTally, DrivenServer, NO_CONNECTION};
use super::{arguments::percent, client::address};
use crate::{
    _core::{
        text_file,
        units::{Percent, counted},
    },
    app,
    config::{Config, Sources, TOKEN_VARIABLE},
};

/// The most requests a second.
const MAX_RATE: f64 = 1_000.0;
/// The longest run.
const MAX_DURATION: Duration = Duration::from_secs(60 * 60);
/// The most users.
const MAX_USERS: i64 = 100_000;
/// Requests that are open at once.
const MAX_OPEN: usize = 500;

/// Sends bounded traffic of many users through a running server, and prints what it saw.
#[derive(Debug, Args)]
pub struct DriveArgs {
    /// The server; the local one of the settings where it is not given.
    #[arg(long)]
    url: Option<String>,
    /// How many users take turns.
    #[arg(long, default_value_t = 100, value_parser = clap::value_parser!(i64).range(1..=MAX_USERS))]
    users: i64,
    /// The id of the first of them.
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(i64).range(1..))]
    first_user: i64,
    /// Requests a second, all users together; at most 1,000.
    #[arg(long, default_value = "5", value_parser = rate)]
    rate: f64,
    /// How long, such as `30s`; at most an hour.
    #[arg(long, default_value = "30s", value_parser = duration)]
    duration: Duration,
    /// What the users do.
    #[arg(long, value_enum, default_value_t = Task::Chat)]
    task: Task,
    /// A file of tokens, one a line, instead of local users.
    #[arg(long, value_name = "FILE")]
    tokens: Option<PathBuf>,
    /// The command fails where more of the requests fail, in percent.
    #[arg(long, value_name = "PERCENT", default_value = "50", value_parser = percent)]
    max_failed: Percent,
    /// Allows a server that is not on this machine.
    #[arg(long)]
    yes_remote: bool,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Task {
    /// `chat.sendMessage`.
    Chat,
}

impl Task {
    fn name(self) -> &'static str {
        match self {
            Self::Chat => "chat",
        }
    }
}

fn rate(text: &str) -> Result<f64, String> {
    let rate = text.parse::<f64>().ok();
    rate.filter(|rate| *rate > 0.0 && *rate <= MAX_RATE)
        .ok_or_else(|| format!("expected more than 0 and at most {MAX_RATE} requests a second"))
}

fn duration(text: &str) -> Result<Duration, String> {
    let duration = humantime::parse_duration(text).ok();
    duration
        .filter(|duration| !duration.is_zero() && *duration <= MAX_DURATION)
        .ok_or_else(|| "expected more than 0 and at most 1h, such as `30s`".to_owned())
}

/// Drives, shows how it goes on standard error, and prints the result.
pub async fn run(arguments: DriveArgs, sources: &Sources) -> anyhow::Result<()> {
    let (url, tokens) = target(&arguments, sources).await?;
    let pace = DriveRate {
        rate: arguments.rate,
        duration: arguments.duration,
        max_open: MAX_OPEN,
    };
    let traffic = DrivenServer::new(&url, &tokens, arguments.task.name())?;
    let bar = Bar::new(&pace);
    let stop = app::stop_signal()?;
    let tally = traffic.run(pace, stop, |progress| bar.show(progress)).await;
    bar.finish();
    let mut out = std::io::stdout().lock();
    write!(out, "{}", report::table(&tally))?;
    drop(out);
    judge(&tally, &url, arguments.max_failed)
}

/// An error where so many requests failed that the figures say little about the models.
fn judge(tally: &DriveTally, url: &Url, max_failed: Percent) -> anyhow::Result<()> {
    let all = tally.requests();
    ensure!(
        all > 0,
        "no request was sent; is the server at {url} running?"
    );
    let failed = all - tally.answered();
    if failed as f64 * 100.0 <= max_failed.get() * all as f64 {
        return Ok(());
    }
    let reason = tally.commonest_failure().unwrap_or_default();
    let advice = match reason {
        NO_CONNECTION => "; is the server running there? `--url` names another",
        "UNAUTHORIZED" => {
            "; the server does not accept the tokens: it has another database or another \
             `JWT_SECRET` than the settings in this folder"
        }
        "RATE_LIMIT_EXCEEDED" => {
            "; take more `--users`, a lower `--rate` or a higher CHAT_RATE_LIMIT"
        }
        _ => "; the server's log says why",
    };
    let all = counted(all, "request");
    bail!("{failed} of {all} to {url} failed, most of them with `{reason}`{advice}")
}

/// Whom to call, in whose names.
async fn target(
    arguments: &DriveArgs,
    sources: &Sources,
) -> anyhow::Result<(Url, Vec<SecretString>)> {
    // Not by `clap`, whose faults repeat what they were given.
    let url = arguments.url.as_deref().map(address).transpose()?;
    let is_local = url.as_ref().is_none_or(is_loopback);
    if !is_local && !arguments.yes_remote {
        bail!("`--url` is not on this machine; add `--yes-remote` if its owner agrees");
    }
    if let (Some(url), Some(path)) = (&url, &arguments.tokens) {
        return Ok((url.clone(), read_tokens(path)?));
    }
    if !is_local {
        let token = sources.environment.get(TOKEN_VARIABLE);
        let (Some(url), Some(token)) = (&url, token) else {
            bail!("users of another machine need tokens: `--tokens FILE`, or {TOKEN_VARIABLE}");
        };
        return Ok((url.clone(), vec![token.clone().into()]));
    }
    let config = Config::load(sources)?;
    let url = match url {
        Some(url) => url,
        None => format!("http://127.0.0.1:{}", config.server.port).parse()?,
    };
    let tokens = match &arguments.tokens {
        Some(path) => read_tokens(path)?,
        None => local_tokens(&config, arguments).await?,
    };
    let each = arguments.rate * 60.0 / arguments.users as f64;
    if each > config.chat.rate_limit as f64 {
        let mut err = std::io::stderr().lock();
        writeln!(
            err,
            "note: each of {} sends {each:.0} messages a minute, and CHAT_RATE_LIMIT accepts {}",
            counted(arguments.users, "user"),
            config.chat.rate_limit
        )?;
    }
    Ok((url, tokens))
}

#[expect(clippy::disallowed_methods, reason = "a command starts now")]
async fn local_tokens(config: &Config, arguments: &DriveArgs) -> anyhow::Result<Vec<SecretString>> {
    /// Beyond the longest run, for what is cleared up at its end.
    const MARGIN: Duration = Duration::from_secs(60 * 60);
    let last = arguments.first_user.saturating_add(arguments.users - 1);
    let ids = arguments.first_user..=last;
    app::require_database(config).await?;
    app::issue_tokens(config, ids, arguments.duration + MARGIN, Utc::now())
        .await
        .context("cannot make tokens for local users; `--first-user` starts elsewhere")
}

fn read_tokens(path: &Path) -> anyhow::Result<Vec<SecretString>> {
    let text = text_file::read(path)
        .with_context(|| format!("cannot read the tokens in `{}`", path.display()))?;
    let lines = text.lines().map(str::trim).filter(|line| !line.is_empty());
    let tokens: Vec<SecretString> = lines.map(SecretString::from).collect();
    ensure!(!tokens.is_empty(), "`{}` holds no token", path.display());
    Ok(tokens)
}

fn is_loopback(url: &Url) -> bool {
    match url.host() {
        Some(Host::Ipv4(address)) => address.is_loopback(),
        Some(Host::Ipv6(address)) => address.is_loopback(),
        Some(Host::Domain(name)) => name.eq_ignore_ascii_case("localhost"),
        None => false,
    }
}

/// The progress bar, on a terminal only.
struct Bar(ProgressBar);

impl Bar {
    fn new(pace: &DriveRate) -> Self {
        if !std::io::stderr().is_terminal() {
            return Self(ProgressBar::hidden());
        }
        let style = ProgressStyle::with_template("{bar:30} {percent:>3} %  {msg}");
        let bar = ProgressBar::new(pace.requests());
        Self(bar.with_style(style.unwrap_or_else(|_| ProgressStyle::default_bar())))
    }

    fn show(&self, progress: DriveProgress) {
        self.0.set_position(progress.due);
        self.0.set_message(format!(
            "{} answered, {} failed, candidate {:.1} %",
            progress.answered,
            progress.failed,
            progress.candidate_share * 100.0
        ));
    }

    fn finish(&self) {
        self.0.finish_and_clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_this_machine_is_local() {
        for url in [
            "http://127.0.0.1:3000",
            "http://localhost",
            "http://[::1]:1/x",
            "http://127.9.9.9",
        ] {
            assert!(is_loopback(&url.parse().unwrap()), "{url}");
        }
        for url in [
            "http://10.0.0.1",
            "https://example.com",
            "http://localhost.example.com",
            "http://127.0.0.1.example.com",
            "http://0.0.0.0",
            "http://[::]",
        ] {
            assert!(!is_loopback(&url.parse().unwrap()), "{url}");
        }
    }
}
