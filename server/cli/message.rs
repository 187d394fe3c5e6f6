//! `modelramp message …`: what to write to the team, to support and to users, filled from a rollout or a request.
//!
//! The texts are templates with names in braces. A file of one's own may take the place of each; a name that means
//! nothing is refused, so that nobody is sent a brace.

mod filled;
mod found;

use std::{
    collections::BTreeMap,
    fs::File,
    io::Write as _,
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::Context as _;
use chrono::{DateTime, NaiveDateTime, Utc};
use clap::{Args, Subcommand};

use super::{client::Client, which};
use crate::{
    _core::{http_client, text_file},
    config::{ClientConfig, Sources},
};

const TEAM: &str = include_str!("message/team.md");
const SUPPORT: &str = include_str!("message/support.md");
const ANSWER: &str = include_str!("message/answer.md");
const INCIDENT: &str = include_str!("message/incident.md");
const COMPLETE: &str = include_str!("message/complete.md");
/// The longest template of one's own, in bytes.
const MAX_TEMPLATE: u64 = 64 * 1024;

/// Arguments of `modelramp message`.
#[derive(Debug, Args)]
pub(super) struct Arguments {
    /// The server's address; HOST and PORT of the settings where it is not given.
    #[arg(long, global = true, value_name = "URL")]
    url: Option<String>,
    /// A file of one's own in the place of the template.
    #[arg(long, global = true, value_name = "FILE")]
    template: Option<PathBuf>,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// To the team: what changes, for whom, when, and who is on call.
    Team {
        /// The rollout's id, the beginning of it, or `last`.
        rollout: String,
    },
    /// To support: what users may notice, and how to report it; or the answer to a user, whose request it finds.
    Support {
        /// The rollout's id, the beginning of it, or `last`.
        #[arg(required_unless_present = "user", conflicts_with = "user")]
        rollout: Option<String>,
        /// The user who reported something.
        #[arg(long, requires_all = ["task", "at"], value_parser = clap::value_parser!(i64).range(1..))]
        user: Option<i64>,
        /// What the user asked for, such as `chat`.
        #[arg(long, requires = "user")]
        task: Option<String>,
        /// When, such as `2026-11-30 09:12`, in UTC where it has no offset.
        #[arg(long, requires = "user", value_name = "TIME", value_parser = time)]
        at: Option<DateTime<Utc>>,
        /// How far from it the request may be.
        #[arg(long, requires = "user", value_name = "TIME", default_value = "15m", value_parser = humantime::parse_duration)]
        within: Duration,
    },
    /// To all whom an incident concerns: what happened, and what was done.
    Incident {
        /// The rollout's id, the beginning of it, or `last`.
        rollout: String,
    },
    /// To all when it is over.
    Complete {
        /// The rollout's id, the beginning of it, or `last`.
        rollout: String,
    },
}

/// A time as people write it.
fn time(text: &str) -> Result<DateTime<Utc>, String> {
    let text = text.trim();
    if let Ok(at) = DateTime::parse_from_rfc3339(&text.replacen(' ', "T", 1)) {
        return Ok(at.with_timezone(&Utc));
    }
    let forms = [
        "%Y-%m-%d %H:%M",
        "%Y-%m-%dT%H:%M",
        "%Y-%m-%d %H:%M:%S",
        "%Y-%m-%dT%H:%M:%S",
    ];
    let mut read = forms
        .iter()
        .filter_map(|form| NaiveDateTime::parse_from_str(text, form).ok());
    let local = read.next();
    local.map(|it| it.and_utc()).ok_or_else(|| {
        "expected a time such as `2026-11-30 09:12` or `2026-11-30T10:12:00+01:00`".to_owned()
    })
}

/// Prints one message.
pub(super) async fn run(arguments: Arguments, sources: &Sources) -> anyhow::Result<()> {
    http_client::install_tls();
    let config = ClientConfig::load(sources, arguments.url)?;
    let client = Client::new(&config)?;
    let (template, values) = match arguments.command {
        Command::Team { rollout } => (TEAM, of_rollout(&client, rollout, &config.url).await?),
        Command::Incident { rollout } => {
            (INCIDENT, of_rollout(&client, rollout, &config.url).await?)
        }
        Command::Complete { rollout } => {
            (COMPLETE, of_rollout(&client, rollout, &config.url).await?)
        }
        Command::Support {
            user: Some(user),
            task: Some(task),
            at: Some(at),
            within,
            ..
        } => (
            ANSWER,
            found::of_request(&client, user, task, at, within).await?,
        ),
        Command::Support { rollout, .. } => {
            let rollout = rollout.context("name a rollout, or `--user`, `--task` and `--at`")?;
            (SUPPORT, of_rollout(&client, rollout, &config.url).await?)
        }
    };
    let own = arguments.template.as_deref().map(own).transpose()?;
    let text = fill(own.as_deref().unwrap_or(template), &values)?;
    Ok(writeln!(std::io::stdout(), "{}", text.trim_end())?)
}

async fn of_rollout(client: &Client, id: String, url: &str) -> anyhow::Result<Values> {
    let id = which::of(client, id).await?;
    Ok(filled::of_rollout(client, id, url).await?)
}

fn own(file: &Path) -> anyhow::Result<String> {
    let shown = file.display();
    File::open(file)
        .and_then(|file| text_file::read_at_most(MAX_TEMPLATE, file))
        .with_context(|| format!("cannot read `{shown}`"))
}

/// What the names of a template stand for.
type Values = BTreeMap<&'static str, String>;

/// The template with each `{name}` replaced, once: what is put in is not looked at again.
fn fill(template: &str, values: &Values) -> anyhow::Result<String> {
    let mut text = String::with_capacity(template.len());
    let mut rest = template;
    while let Some((before, after)) = rest.split_once('{') {
        text.push_str(before);
        let (name, after) = after
            .split_once('}')
            .with_context(|| "a `{` of the template is not closed".to_owned())?;
        let value = values.get(name).with_context(|| {
            let known: Vec<_> = values.keys().map(|name| format!("`{{{name}}}`")).collect();
            format!(
                "the template names `{{{name}}}`; known are {}",
                known.join(", ")
            )
        })?;
        text.push_str(value);
        rest = after;
    }
    text.push_str(rest);
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_put_in_is_not_looked_at_again() {
        let values = Values::from([("a", "{b}".to_owned()), ("b", "x".to_owned())]);
        assert_eq!(fill("{a}, {b}.", &values).expect("filled"), "{b}, x.");
        let error = fill("{c}", &values).expect_err("unknown").to_string();
        assert!(
            error.contains("`{c}`") && error.contains("`{a}`, `{b}`"),
            "{error}"
        );
        assert!(fill("{a", &values).is_err());
    }

    #[test]
    fn a_time_without_an_offset_is_utc() {
        for (text, at) in [
            ("2026-11-30 09:12", "2026-11-30T09:12:00Z"),
            ("2026-11-30T09:12:30", "2026-11-30T09:12:30Z"),
            ("2026-11-30 10:12:00+01:00", "2026-11-30T09:12:00Z"),
        ] {
            assert_eq!(
                time(text).expect("a time").to_rfc3339(),
                at.replace('Z', "+00:00")
            );
        }
        assert!(time("yesterday").is_err());
    }
}
