//! `modelramp demo`: a rollout that goes well and two that are taken back, to be watched.
//!
//! Everything is real but the models: a server with its database in a temporary folder, the sandbox,
//! traffic of many users over HTTP, and rollouts that are started and watched through the procedures
//! that everybody uses. None of the user's settings are read and nothing is left behind.

mod story;

use std::{collections::BTreeMap, io::Write, path::Path, time::Duration};

use anyhow::{Context as _, ensure};
use chrono::Utc;
use clap::Args;
use parking_lot::Mutex;
use secrecy::SecretString;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use self::story::Story;
use super::{
    client::Client,
    drive::traffic::{DriveProgress, DriveRate, DrivenServer},
};
use crate::{
    _core::{caller::Role, tasks::Tasks},
    app::{self, App},
    config::{ClientConfig, Config, Sources},
};

/// Models, and which of them serve whom.
const CATALOGUE: &str = include_str!("demo/catalog.toml");
/// How they behave.
const SANDBOX: &str = include_str!("demo/sandbox.toml");
/// The admin who steers.
const ADMIN: i64 = 1_000;
/// The users who chat.
const USERS: std::ops::RangeInclusive<i64> = 1..=200;
/// Their requests, at most: the story ends before the time is over, or has failed.
const PACE: DriveRate = DriveRate {
    rate: 40.0,
    duration: Duration::from_secs(170),
    // Those of a second: on a machine that is busy otherwise people send less, and what they send is answered in time.
    max_open: 40,
};

/// Shows a rollout that completes and two that are taken back; takes less than three minutes.
#[derive(Debug, Args)]
pub struct DemoArgs {}

/// Runs the demo; an error where it did not go as it should.
pub async fn run(_: DemoArgs) -> anyhow::Result<()> {
    let folder = tempfile::tempdir().context("cannot make a temporary folder")?;
    let config = config(folder.path())?;
    let (admin, users) = tokens(&config).await?;
    let app = App::build(config).await?;
    let sandbox = app.areas.sandbox_url().unwrap_or_default().to_owned();
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let url = format!("http://{}", listener.local_addr()?);
    print(&format!(
        "A server at {url}, models simulated at {sandbox}."
    ))?;

    let tasks = Tasks::default();
    let stopping = tasks.stopping();
    tasks.spawn(app.serve(listener, stopping));
    let outcome = watch(&url, &sandbox, admin, users).await;
    tasks.shutdown(Duration::from_secs(20)).await;
    outcome
}

/// Traffic and the story beside each other.
async fn watch(
    url: &str,
    sandbox: &str,
    admin: SecretString,
    users: Vec<SecretString>,
) -> anyhow::Result<()> {
    let client = Client::new(&ClientConfig {
        url: url.to_owned(),
        token: Some(admin),
    })?;
    let traffic = DrivenServer::new(&url.parse()?, &users, "chat")?;
    let progress = Mutex::new(DriveProgress::default());
    let story = Story::new(client, sandbox, &progress)?;
    let over = CancellationToken::new();
    let told = async {
        let interrupted = app::stop_signal()?;
        let told = tokio::select! {
            told = tokio::time::timeout(PACE.duration, story.run()) => {
                told.context("the demo took too long")?
            }
            () = interrupted => Err(anyhow::anyhow!("interrupted")),
        };
        over.cancel();
        told
    };
    let driven = traffic.run(PACE, over.cancelled(), |now| *progress.lock() = now);
    let (told, tally) = tokio::join!(told, driven);
    told?;
    let failed = progress.lock().failed;
    print(&format!(
        "\nUsers sent {} messages meanwhile; {failed} were left without an answer.",
        tally.requests()
    ))?;
    if tally.left_out > 0 {
        print(&format!(
            "{} more were not sent, as this machine is slow or busy.",
            tally.left_out
        ))?;
    }
    ensure!(
        failed == 0,
        "{failed} messages of users were not answered; most of them got: {}",
        tally.commonest_failure().unwrap_or("no word of why")
    );
    print("All three rollouts went as they should.")
}

/// Settings of the demo alone.
fn config(folder: &Path) -> anyhow::Result<Config> {
    let write = |name: &str, text: &str| -> anyhow::Result<String> {
        let path = folder.join(name);
        std::fs::write(&path, text).with_context(|| format!("cannot write {}", path.display()))?;
        Ok(path.display().to_string())
    };
    let environment: BTreeMap<String, String> = [
        ("APP_ENV", "test".to_owned()),
        ("PORT", "0".to_owned()),
        (
            "DATABASE_URL",
            format!("sqlite://{}", folder.join("demo.db").display()),
        ),
        ("MODEL_CATALOGUE", write("catalog.toml", CATALOGUE)?),
        ("SANDBOX_CONFIG", write("sandbox.toml", SANDBOX)?),
        ("CHAT_RATE_LIMIT", "1000".to_owned()),
        ("SHUTDOWN_TIMEOUT", "5s".to_owned()),
    ]
    .map(|(name, value)| (name.to_owned(), value))
    .into();
    Ok(Config::load(&Sources {
        environment,
        working_dir: folder.to_owned(),
        config_file: None,
    })?)
}

/// Of the admin, and of the users.
#[expect(clippy::disallowed_methods, reason = "a command starts now")]
async fn tokens(config: &Config) -> anyhow::Result<(SecretString, Vec<SecretString>)> {
    let (now, ttl) = (Utc::now(), Duration::from_secs(3_600));
    let admin = app::issue_token(config, ADMIN, Role::Admin, Some(ttl), now).await?;
    Ok((
        admin.into(),
        app::issue_tokens(config, USERS, ttl, now).await?,
    ))
}

/// One line for whoever watches.
fn print(line: &str) -> anyhow::Result<()> {
    writeln!(std::io::stdout(), "{line}")?;
    Ok(())
}
