//! The server that runs, the way to it that users take, and the people who are told.

use std::{sync::Arc, time::Duration};

use http::{StatusCode, header::SET_COOKIE};
use reqwest::{Response, Url};

use super::{super::alert::NoOutbox, Findings};
use crate::{
    _core::{auth::SESSION_COOKIE, errors::in_full, http_client},
    alerting::Dispatcher,
    config::Config,
};

/// The longest that an answer may take.
const PATIENCE: Duration = Duration::from_secs(10);

pub(super) async fn look(
    config: &Config,
    server: &Result<String, String>,
    test_alerts: bool,
    findings: &mut Findings,
) {
    let client = match http_client::builder().timeout(PATIENCE).build() {
        Ok(client) => client,
        Err(error) => {
            return findings.fail(
                "server",
                error.to_string(),
                "see the settings of proxies and certificates",
            );
        }
    };
    match server {
        Ok(server) => running(&client, server, findings).await,
        // A free port, which only the server knows.
        Err(why) => findings.skip("server", why, "name the server by `--url`"),
    }
    public(&client, config, findings).await;
    alerts(config, test_alerts, findings).await;
}

/// Characters of an answer that are read.
const READ: usize = 2_000;

/// The server on this machine.
async fn running(client: &reqwest::Client, server: &str, findings: &mut Findings) {
    let shown = shown(server);
    let mut answer = match client.get(format!("{server}/readyz")).send().await {
        Ok(answer) => answer,
        Err(why) if why.is_connect() => {
            return findings.skip(
                "server",
                format!("no server answers at {shown}"),
                "start it and run this again, or name it by `--url`",
            );
        }
        Err(why) => {
            let why = in_full(&why.without_url());
            return findings.fail(
                "server",
                format!("{shown} takes connections and does not answer: {why}"),
                "its log says why (docs/monitoring.md)",
            );
        }
    };
    let status = answer.status();
    if status == StatusCode::OK {
        return findings.pass("server", format!("{shown} is ready"));
    }
    let said = beginning(&mut answer).await;
    findings.fail(
        "server",
        format!("{shown} answers {status}: {said}"),
        "its log says why (docs/monitoring.md)",
    );
}

/// The beginning of a body, whatever its length.
async fn beginning(answer: &mut Response) -> String {
    let mut read = Vec::new();
    while let Ok(Some(chunk)) = answer.chunk().await {
        read.extend_from_slice(&chunk);
        if read.len() >= READ {
            read.truncate(READ);
            break;
        }
    }
    String::from_utf8_lossy(&read).into_owned()
}

/// An address without what may be a password.
fn shown(url: &str) -> String {
    let Ok(mut url) = Url::parse(url) else {
        return "the address".to_owned();
    };
    // Fails for addresses that have no place for either.
    let _ = url.set_username("").and_then(|()| url.set_password(None));
    url.set_query(None);
    url.to_string().trim_end_matches('/').to_owned()
}

/// The way that browsers take: through the proxy, with TLS.
async fn public(client: &reqwest::Client, config: &Config, findings: &mut Findings) {
    let check = "public-url";
    let Some(url) = config.auth.site.public_url.as_deref() else {
        let found = "`PUBLIC_URL` is not set, so links and cookies are for this machine";
        return match config.environment.is_local() {
            true => findings.skip(check, found, "set it before browsers come through a proxy"),
            false => findings.warn(check, found, "set it to the address that browsers see"),
        };
    };
    if !url.starts_with("https://") && !config.environment.is_local() {
        findings.fail(
            check,
            format!("{url} has no TLS: sessions can be read on the way"),
            "let a proxy speak TLS, and set `PUBLIC_URL` to its `https://` address",
        );
    }
    let said = match client.get(format!("{url}/healthz")).send().await {
        Ok(mut answer) if answer.status() == StatusCode::OK => beginning(&mut answer).await,
        Ok(answer) => format!("HTTP {}", answer.status()),
        Err(why) => in_full(&why.without_url()),
    };
    if !said.contains(r#""status":"ok""#) {
        return findings.fail(
            check,
            format!("{url}/healthz does not lead to this server: {said}"),
            "start the server, and see the proxy's log and certificate",
        );
    }
    findings.pass(check, format!("{url} leads to the server"));
    // A logout of nobody: the cookie that it takes back has the flags of one that is set.
    let logout = client
        .post(format!("{url}/api/trpc/auth.logout"))
        .json(&serde_json::json!({}));
    let cookie = match logout.send().await {
        Ok(answer) => answer
            .headers()
            .get_all(SET_COOKIE)
            .iter()
            .filter_map(|it| it.to_str().ok())
            .find_map(|it| it.strip_prefix(SESSION_COOKIE)?.strip_prefix('='))
            .map(str::to_lowercase),
        Err(_) => None,
    };
    let wanted: &[&str] = match url.starts_with("https://") {
        true => &["httponly", "secure"],
        false => &["httponly"],
    };
    match cookie {
        None => findings.warn(
            "cookie",
            "the public address passes no cookie on",
            "see whether the proxy drops `Set-Cookie`, or keeps calls of `/api/trpc`",
        ),
        Some(cookie) if wanted.iter().all(|flag| has_flag(&cookie, flag)) => {
            findings.pass(
                "cookie",
                format!("session cookies are {}", wanted.join(" and ")),
            );
        }
        Some(_) => findings.fail(
            "cookie",
            format!("session cookies are not {}", wanted.join(" and ")),
            "see `PUBLIC_URL` of the running server, and what the proxy changes in `Set-Cookie`",
        ),
    }
}

/// Whether a cookie has an attribute; its value comes before them.
fn has_flag(cookie: &str, flag: &str) -> bool {
    cookie.split(';').skip(1).any(|it| it.trim() == flag)
}

/// Whether somebody is told.
#[expect(clippy::disallowed_methods, reason = "a command looks now")]
async fn alerts(config: &Config, test_alerts: bool, findings: &mut Findings) {
    let dispatcher = match Dispatcher::new(Arc::new(NoOutbox), &config.alerts) {
        Ok(dispatcher) => dispatcher,
        Err(error) => {
            return findings.fail(
                "alerts",
                format!("{error:#}"),
                "correct the settings of this channel",
            );
        }
    };
    let channels = dispatcher.channels();
    let names: Vec<_> = channels.iter().map(|channel| channel.name()).collect();
    let names = names.join(", ");
    if channels.is_empty() {
        let found = "no channel is set up: nobody is told when a rollout is taken back";
        let todo = "set `SLACK_WEBHOOK_URL`, or another channel (docs/alerts.md)";
        return match config.environment.is_local() {
            true => findings.warn("alerts", found, todo),
            false => findings.fail("alerts", found, todo),
        };
    }
    if !test_alerts {
        return findings.skip(
            "alerts",
            format!("these channels are set up and were not tried: {names}"),
            "`--test-alerts` sends a test to each; people are told",
        );
    }
    for result in dispatcher.send_test(&channels, chrono::Utc::now()).await {
        let name = result.channel.name();
        match result.error {
            None => findings.pass("alerts", format!("{name} took the test")),
            Some(error) => {
                findings.fail("alerts", format!("{name}: {error}"), "see docs/alerts.md")
            }
        }
    }
}
