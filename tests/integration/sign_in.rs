//! Sessions over real sockets: how they begin, on which wires they end, and a database that is away.

mod away;
mod browsers;
mod ends;
mod proxy;
mod service;

use std::time::Duration;

use futures::{SinkExt, StreamExt};
use http::{HeaderMap, StatusCode};
use modelramp::{_core::caller::Role, app, config::Config, storage::Storage};
use secrecy::ExposeSecret;
use serde_json::{Value, json};
use tokio_tungstenite::tungstenite::{Message, client::IntoClientRequest};

use crate::support::app::TestApp;

/// Within which everything has to end that a session opened; the tests' own share is on top.
const END: Duration = Duration::from_secs(5);

struct Rig {
    server: TestApp,
    config: Config,
}

async fn rig(settings: &[(&str, &str)]) -> Rig {
    let setup = TestApp::builder().with_settings(settings.iter().copied());
    let server = setup.start().await;
    Rig {
        config: server.setup.config(),
        server,
    }
}

fn now() -> chrono::DateTime<chrono::Utc> {
    chrono::Utc::now()
}

impl Rig {
    async fn token(&self, user: i64, role: Role) -> String {
        self.server.setup.token(user, role).await
    }

    async fn secret(&self, user: i64) -> String {
        let mut config = self.config.clone();
        config.auth.site.public_url = Some("https://app.example".into());
        let link = app::issue(
            &config,
            user,
            Some(Role::User),
            app::SessionGrant::LoginLink,
            now(),
        );
        let link = link.await.unwrap();
        let (page, secret) = link.secret.expose_secret().split_once("#t=").unwrap();
        assert_eq!(page, "https://app.example/login");
        secret.to_owned()
    }

    /// Status, headers and body of a request with these headers.
    async fn send(
        &self,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: Option<Value>,
    ) -> (StatusCode, HeaderMap, Value) {
        let url = format!("{}{path}", self.server.url);
        let mut request = self.server.http.request(method.parse().unwrap(), url);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        if let Some(body) = body {
            request = request.json(&body);
        }
        let response = request.send().await.unwrap();
        let (status, headers) = (response.status(), response.headers().clone());
        let text = response.text().await.unwrap();
        let body = serde_json::from_str(&text).unwrap_or(Value::String(text));
        (status, headers, body)
    }

    async fn me(&self, token: &str) -> (StatusCode, Value) {
        let bearer = format!("Bearer {token}");
        let bearer = [("authorization", bearer.as_str())];
        let (status, _, body) = self.send("GET", "/api/trpc/auth.me", &bearer, None).await;
        (status, body)
    }

    async fn storage(&self) -> Storage {
        self.server.setup.storage().await
    }

    /// A connection beside the server's.
    async fn sql(&self, statement: &'static str) {
        let pool = sqlx::SqlitePool::connect(&self.config.database.url)
            .await
            .unwrap();
        sqlx::query(statement).execute(&pool).await.unwrap();
        pool.close().await;
    }
}

fn id(body: &Value) -> &Value {
    &body["result"]["data"]["json"]["id"]
}

#[tokio::test(flavor = "multi_thread")]
async fn a_link_gives_one_browser_a_session_and_is_spent() {
    let rig = rig(&[]).await;
    let secret = rig.secret(7).await;
    let login = |token: &str| json!({ "token": token });
    let path = "/api/auth/login";

    // Looking at the page, asking in another way and guessing spend nothing.
    let (status, headers, page) = rig.send("GET", "/login", &[], None).await;
    assert_eq!(status, StatusCode::OK);
    assert_eq!(headers["cache-control"], "no-store");
    let policy = headers["content-security-policy"].to_str().unwrap();
    assert!(policy.contains("default-src 'none'") && !policy.contains("unsafe"));
    assert!(!page.as_str().unwrap().contains("http://"));
    let (status, headers, _) = rig.send("GET", path, &[], None).await;
    assert_eq!(
        (status, &headers["allow"]),
        (StatusCode::METHOD_NOT_ALLOWED, &"POST".parse().unwrap())
    );
    for (headers, body, expected) in [
        (
            &[("origin", "https://evil.example")][..],
            login(&secret),
            403,
        ),
        (&[], json!({ "tokn": secret }), 400),
        (&[], login("guess"), 401),
        (
            &[
                ("sec-fetch-site", "cross-site"),
                ("origin", "https://evil.example"),
            ],
            login(&secret),
            403,
        ),
    ] {
        let (status, headers, body) = rig.send("POST", path, headers, Some(body)).await;
        assert_eq!(status.as_u16(), expected, "{body}");
        assert!(!headers.contains_key("set-cookie") && !body.to_string().contains(&secret));
    }

    // Of many who try at once one gets in.
    let tries = (0..4).map(|_| rig.send("POST", path, &[], Some(login(&secret))));
    let mut answers = futures::future::join_all(tries).await;
    answers.sort_by_key(|(status, ..)| *status);
    let statuses: Vec<u16> = answers.iter().map(|(status, ..)| status.as_u16()).collect();
    assert_eq!(statuses, [200, 401, 401, 401]);
    let cookie = answers[0].1["set-cookie"].to_str().unwrap();
    assert!(
        cookie.contains("; Path=/; HttpOnly; SameSite=Lax"),
        "{cookie}"
    );
    let token = cookie.split(['=', ';']).nth(1).unwrap();
    assert_eq!(id(&rig.me(token).await.1), 7);

    // No password ever passes.
    let passwords = json!({ "json": { "email": "bo@example.dk", "password": "x" } });
    let (status, headers, _) = rig
        .send("POST", "/api/trpc/auth.login", &[], Some(passwords))
        .await;
    assert_eq!(status, StatusCode::UNAUTHORIZED);
    assert!(!headers.contains_key("set-cookie"));
}

/// The world: anybody sends made-up secrets, of the right form or not, as fast as the server answers.
#[tokio::test(flavor = "multi_thread")]
async fn made_up_links_keep_nobody_out_and_cost_the_database_nothing() {
    let rig = rig(&[]).await;
    let secret = rig.secret(7).await;
    let (number, code) = secret.split_once('.').unwrap();
    let flipped = if code.starts_with('A') { "B" } else { "A" };
    let junk = [
        "guess".to_owned(),
        format!("{number}.{flipped}{}", &code[1..]),
        format!("{code}.{number}"),
        "x".repeat(3000),
    ];
    let send = |token: &str| {
        let body = Some(json!({ "token": token }));
        rig.send("POST", "/api/auth/login", &[], body)
    };
    // Whoever asks for the table would get 503.
    rig.sql("ALTER TABLE login_links RENAME TO links_away")
        .await;
    assert_eq!(send(&secret).await.0.as_u16(), 503);
    let tries = junk.iter().cycle().take(200).map(|token| send(token));
    let answers = futures::future::join_all(tries).await;
    for (status, ..) in answers {
        assert_eq!(status, StatusCode::UNAUTHORIZED);
    }
    rig.sql("ALTER TABLE links_away RENAME TO login_links")
        .await;
    let tries = junk.iter().cycle().take(200).map(|token| send(token));
    let (_, (status, ..)) = futures::join!(futures::future::join_all(tries), send(&secret));
    assert_eq!(status, StatusCode::OK);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_is_refreshed_and_an_ended_one_is_not() {
    let rig = rig(&[]).await;
    let path = "/api/auth/refresh";
    let refresh = async |cookie: &str| {
        let cookie = [("cookie", cookie)];
        let headers = if cookie[0].1.is_empty() {
            &[][..]
        } else {
            &cookie[..]
        };
        rig.send("POST", path, headers, None).await
    };
    let (status, _, body) = refresh("").await;
    assert_eq!(
        (status.as_u16(), &body["error"]),
        (401, &json!("No session cookie"))
    );
    let (status, _, body) = refresh("app_session_id=garbage").await;
    assert_eq!(
        (status.as_u16(), &body["error"]),
        (401, &json!("Invalid session"))
    );
    assert_eq!(body["refreshed"], false);

    let month = Duration::from_secs(30 * 86_400);
    let long = app::issue_token(&rig.config, 7, Role::User, Some(month), now())
        .await
        .unwrap();
    let (status, headers, body) = refresh(&format!("app_session_id={long}")).await;
    assert_eq!(
        (status.as_u16(), &body["message"]),
        (200, &json!("Session still valid"))
    );
    assert!(body["remainingMs"].as_u64().unwrap() > 29 * 86_400_000);
    assert!(!headers.contains_key("set-cookie"));

    let day = Duration::from_secs(86_400);
    let short = app::issue_token(&rig.config, 7, Role::User, Some(day), now())
        .await
        .unwrap();
    let (status, headers, body) = refresh(&format!(
        "app_session_id=old.bad.token; app_session_id={short}"
    ))
    .await;
    assert_eq!((status.as_u16(), &body["refreshed"]), (200, &json!(true)));
    let cookie = headers["set-cookie"].to_str().unwrap();
    let renewed = cookie.split(['=', ';']).nth(1).unwrap().to_owned();
    assert_eq!(id(&rig.me(&renewed).await.1), 7);

    // Logging out with one ends both; the other session goes on.
    let bearer = format!("Bearer {short}");
    let (status, ..) = rig
        .send(
            "POST",
            "/api/trpc/auth.logout",
            &[("authorization", &bearer)],
            Some(json!({})),
        )
        .await;
    assert_eq!(status, StatusCode::OK);
    for token in [&short, &renewed] {
        assert_eq!(rig.me(token).await.1["result"]["data"]["json"], Value::Null);
        let (status, ..) = refresh(&format!("app_session_id={token}")).await;
        assert_eq!(status, StatusCode::UNAUTHORIZED);
    }
    assert_eq!(id(&rig.me(&long).await.1), 7);

    // Logging out everywhere ends that one as well, but not what begins afterwards.
    let bearer = format!("Bearer {long}");
    let everywhere = "/api/trpc/auth.logoutEverywhere";
    let before = rig.secret(7).await;
    // An end is told from what was issued before it by their milliseconds.
    tokio::time::sleep(Duration::from_millis(2)).await;
    let (status, headers, _) = rig
        .send(
            "POST",
            everywhere,
            &[("authorization", &bearer)],
            Some(json!({})),
        )
        .await;
    assert_eq!(status, StatusCode::OK);
    assert!(
        headers["set-cookie"]
            .to_str()
            .unwrap()
            .starts_with("app_session_id=; Max-Age=0")
    );
    assert_eq!(rig.me(&long).await.1["result"]["data"]["json"], Value::Null);
    let (status, ..) = refresh(&format!("app_session_id={long}")).await;
    assert_eq!(status, StatusCode::UNAUTHORIZED);
    let fresh = rig.token(7, Role::User).await;
    assert_eq!(id(&rig.me(&fresh).await.1), 7);
    let after = rig.secret(7).await;
    for (secret, expected) in [(before, 401), (after, 200)] {
        let body = Some(json!({ "token": secret }));
        let (status, ..) = rig.send("POST", "/api/auth/login", &[], body).await;
        assert_eq!(status.as_u16(), expected);
    }
}
