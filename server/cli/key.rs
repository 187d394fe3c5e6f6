//! `modelramp key`: keys of programs that call the gateway.

use std::{io::Write, time::Duration};

use anyhow::Context as _;
use chrono::{DateTime, SecondsFormat, TimeDelta, Utc};
use clap::{Args, Subcommand};
use secrecy::ExposeSecret;

use super::table::TextTable;
use crate::{
    _core::{actor::Actor, priority::Priority},
    config::Config,
    keys::{
        ApiKey, ApiKeyStore, DOLLARS, KeyLimits, MAX_OVERLAP_SECONDS, MAX_TOKENS, MAX_TTL_SECONDS,
        Secret, is_name,
    },
    model_router::catalog::Catalog,
    storage::Storage,
};

#[derive(Debug, Args)]
pub(super) struct Arguments {
    #[command(subcommand)]
    command: Command,
}

/// They work on the database, so no server needs to run; one that does knows it within a second.
#[derive(Debug, Subcommand)]
enum Command {
    /// Makes a key and prints it, alone on the last line. It is shown this once.
    Create {
        /// Its name, for people and the log.
        #[arg(long, value_parser = name)]
        name: String,
        /// What it may ask for: a model of the catalog or `task/NAME`; again for more. Without it, everything.
        #[arg(long = "model", value_name = "NAME")]
        models: Vec<String>,
        /// How long it holds, such as `90d`; without it, until it is revoked.
        #[arg(long, value_parser = ttl)]
        ttl: Option<Duration>,
        #[command(flatten)]
        limits: LimitFlags,
    },
    /// Gives a key the limits that are named, and takes all others from it.
    Limit {
        /// Its name.
        #[arg(long)]
        name: String,
        #[command(flatten)]
        limits: LimitFlags,
    },
    /// Lists the keys; their secrets are known to nobody.
    List,
    /// Ends a key.
    Revoke {
        /// Its name.
        #[arg(long)]
        name: String,
    },
    /// Gives a key another secret and prints it, alone on the last line.
    Rotate {
        /// Its name.
        #[arg(long)]
        name: String,
        /// How long the old secret still holds, such as `24h`; `0s` ends it at once.
        #[arg(long, value_parser = overlap, default_value = "24h")]
        overlap: Duration,
    },
}

#[derive(Debug, Args)]
struct LimitFlags {
    /// Requests that it may send a minute.
    #[arg(long, value_name = "REQUESTS", value_parser = clap::value_parser!(u32).range(1..))]
    per_minute: Option<u32>,
    /// Tokens that it may use a day (UTC), read and written.
    #[arg(long, value_name = "TOKENS", value_parser = clap::value_parser!(u64).range(1..=MAX_TOKENS))]
    tokens_per_day: Option<u64>,
    /// US dollars that it may spend a day (UTC).
    #[arg(long, value_name = "USD", value_parser = dollars)]
    usd_per_day: Option<f64>,
    /// The highest priority of its calls: `interactive`, `background` or `batch`.
    #[arg(long, value_parser = priority)]
    priority: Option<Priority>,
}

impl LimitFlags {
    fn limits(&self) -> KeyLimits {
        KeyLimits {
            requests_per_minute: self.per_minute,
            tokens_per_day: self.tokens_per_day,
            dollars_per_day: self.usd_per_day,
            priority: self.priority,
        }
    }
}

/// How long a key or a session token may hold.
pub(super) fn ttl(text: &str) -> Result<Duration, String> {
    let ttl = humantime::parse_duration(text).ok();
    let ttl = ttl.filter(|it| (1..=MAX_TTL_SECONDS).contains(&it.as_secs()));
    ttl.ok_or_else(|| "expected a time such as `90d`, from 1 second to 100 years".to_owned())
}

fn overlap(text: &str) -> Result<Duration, String> {
    let overlap = humantime::parse_duration(text).ok();
    let overlap = overlap.filter(|it| *it <= Duration::from_secs(MAX_OVERLAP_SECONDS));
    overlap.ok_or_else(|| "expected a time such as `24h`, of 31 days at most".to_owned())
}

fn priority(text: &str) -> Result<Priority, String> {
    let expected = "expected `interactive`, `background` or `batch`";
    Priority::named(text).ok_or_else(|| expected.to_owned())
}

fn dollars(text: &str) -> Result<f64, String> {
    let dollars = text.parse().ok().filter(|it| DOLLARS.contains(it));
    dollars.ok_or_else(|| {
        format!(
            "expected US dollars, from {} to {}",
            DOLLARS.start(),
            DOLLARS.end()
        )
    })
}

fn name(text: &str) -> Result<String, String> {
    match is_name(text) {
        true => Ok(text.to_owned()),
        false => Err("expected 1 to 64 letters, digits, `-`, `_` or `.`".to_owned()),
    }
}

#[expect(clippy::disallowed_methods, reason = "a command starts now")]
pub(super) async fn run(arguments: Arguments, config: &Config) -> anyhow::Result<()> {
    let url = &config.database.url;
    let load = || Catalog::load(&config.models, &config.providers, config.environment, &[]);
    if let Command::Create { models, .. } = &arguments.command
        && !models.is_empty()
    {
        offered(models, &load()?)?;
    }
    let storage = Storage::open_existing(url).await?;
    let done = async {
        // Before the key, which is alone on the last line.
        if let Some(models) = budgeted(&arguments.command, &storage).await?
            // A catalog that cannot be read must not keep anybody from lowering a budget.
            && let Ok(catalog) = load()
        {
            let unpriced = catalog.unpriced(models.as_deref());
            if !unpriced.is_empty() {
                let unpriced = unpriced.join(", ");
                writeln!(
                    std::io::stdout(),
                    "a budget in dollars counts nothing for {unpriced}, unless their provider tells what it charges: the \
                     catalog has no prices for them"
                )?;
            }
        }
        answer(arguments.command, &storage, Utc::now()).await
    };
    let done = done.await;
    storage.close().await;
    let text = done?;
    write!(std::io::stdout(), "{text}")?;
    Ok(())
}

/// Refuses names that the catalog has not.
fn offered(models: &[String], catalog: &Catalog) -> anyhow::Result<()> {
    let unknown = models.iter().find(|model| !catalog.offers(model));
    anyhow::ensure!(
        unknown.is_none(),
        "`--model` is `{}`; expected a model of the catalog, or `task/` and one of its tasks",
        unknown.map(String::as_str).unwrap_or_default()
    );
    Ok(())
}

/// What a key may ask for that is given a budget in dollars, if one is.
async fn budgeted(
    command: &Command,
    keys: &Storage,
) -> anyhow::Result<Option<Option<Vec<String>>>> {
    Ok(match command {
        Command::Create { models, limits, .. } if limits.usd_per_day.is_some() => {
            Some((!models.is_empty()).then(|| models.clone()))
        }
        Command::Limit { name, limits } if limits.usd_per_day.is_some() => {
            let keys = keys.keys().await?;
            keys.into_iter()
                .find(|key| key.name == *name)
                .map(|key| key.models)
        }
        _ => None,
    })
}

async fn answer(command: Command, keys: &Storage, now: DateTime<Utc>) -> anyhow::Result<String> {
    let actor = &Actor::CommandLine;
    match command {
        Command::Create {
            name,
            models,
            ttl,
            limits,
        } => {
            let secret = Secret::new();
            let key = ApiKey {
                id: secret.id.clone(),
                name: name.clone(),
                models: (!models.is_empty()).then_some(models),
                limits: limits.limits(),
                created_at: now,
                expires_at: ttl.map(|ttl| after(now, ttl)).transpose()?,
                revoked_at: None,
            };
            let is_added = keys.add_key(&key, &secret.hash, actor).await?;
            anyhow::ensure!(
                is_added,
                "there is a key `{name}` already; `key rotate` gives it another secret"
            );
            let shown = secret.whole.expose_secret();
            Ok(format!(
                "the key `{name}`; it is shown this once:\n{shown}\n"
            ))
        }
        Command::Limit { name, limits } => {
            let limits = limits.limits();
            let is_limited = keys.limit_key(&name, &limits, actor, now).await?;
            anyhow::ensure!(
                is_limited,
                "there is no key `{name}` that holds; `key list` shows all"
            );
            Ok(format!("the key `{name}` may have {}\n", words(&limits)))
        }
        Command::List => {
            let columns = [
                "name",
                "id",
                "made",
                "until",
                "may ask for",
                "may have",
                "spent today",
            ];
            let mut table = TextTable::new(&columns);
            let spent = keys.spent_by_all(now.date_naive()).await?;
            for key in keys.keys().await? {
                let until = match (key.revoked_at, key.expires_at) {
                    (Some(time), _) => format!("revoked {}", at(time)),
                    (None, Some(time)) => at(time),
                    (None, None) => "it is revoked".to_owned(),
                };
                let spent = spent.get(&key.name).copied().unwrap_or_default();
                let limits = words(&key.limits);
                let models = key
                    .models
                    .map_or_else(|| "everything".to_owned(), |it| it.join(", "));
                let made = at(key.created_at);
                let spent = format!("{} tokens, ${:.4}", spent.tokens, spent.cost.dollars());
                table.row([key.name, key.id, made, until, models, limits, spent]);
            }
            Ok(table.to_string())
        }
        Command::Revoke { name } => {
            let is_revoked = keys.revoke_key(&name, actor, now).await?;
            anyhow::ensure!(
                is_revoked,
                "there is no key `{name}` that holds; `key list` shows all"
            );
            Ok(format!("the key `{name}` has ended\n"))
        }
        Command::Rotate { name, overlap } => {
            let secret = Secret::new();
            let end = after(now, overlap)?;
            let is_replaced = keys
                .replace_key(&name, &secret, end - now, actor, now)
                .await?;
            anyhow::ensure!(
                is_replaced,
                "there is no key `{name}` that holds; `key list` shows all"
            );
            let (shown, end) = (secret.whole.expose_secret(), at(end));
            Ok(format!(
                "the key `{name}`; the old secret holds until {end}; the new one:\n{shown}\n"
            ))
        }
    }
}

fn words(limits: &KeyLimits) -> String {
    let rate = limits
        .requests_per_minute
        .map(|it| format!("{it} a minute"));
    let tokens = limits.tokens_per_day.map(|it| format!("{it} tokens a day"));
    let dollars = limits.dollars_per_day.map(|it| format!("${it} a day"));
    let priority = limits.priority.map(|it| format!("{} at most", it.name()));
    let all = [rate, tokens, dollars, priority];
    let all: Vec<_> = all.into_iter().flatten().collect();
    match all.is_empty() {
        true => "all it asks for".to_owned(),
        false => all.join(", "),
    }
}

fn after(now: DateTime<Utc>, span: Duration) -> anyhow::Result<DateTime<Utc>> {
    let end = TimeDelta::from_std(span)
        .ok()
        .and_then(|span| now.checked_add_signed(span));
    end.context("the time is too long")
}

fn at(time: DateTime<Utc>) -> String {
    time.to_rfc3339_opts(SecondsFormat::Secs, true)
}
