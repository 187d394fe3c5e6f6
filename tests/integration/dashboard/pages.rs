//! The pages, and what protects a change that a page makes.

use std::sync::Arc;

use axum::body::Body;
use chrono::Utc;
use http::Request;
use http_body_util::BodyExt;
use modelramp::{
    _core::{
        auth::{Authenticator, SessionKey},
        caller::Role,
        context::Context,
        environment::Environment,
        errors::RpcError,
        registry::Registry,
        site::{Site, SiteConfig},
    },
    dashboard::Export,
    procedures,
    storage::Storage,
    transport::gate::CallerGate,
};
use reqwest::StatusCode;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use tower::ServiceExt;

use crate::support::{app::TestApp, wait};

#[tokio::test]
async fn the_pages_are_served_to_anybody_and_hold_no_data() {
    let app = TestApp::start().await;
    let get = async |path: &str, accept: &str| {
        let request = app.http.get(format!("{}{path}", app.url));
        request.header("accept", accept).send().await.unwrap()
    };
    let moved = get("/dashboard", "text/html").await;
    assert_eq!(moved.headers()["x-content-type-options"], "nosniff");
    assert_eq!(moved.headers()["x-frame-options"], "DENY");
    assert_eq!(moved.status(), StatusCode::PERMANENT_REDIRECT);
    assert_eq!(moved.headers()["location"], "/dashboard/");
    for path in ["/dashboard/", "/dashboard/rollouts/0190?at=3"] {
        let page = get(path, "text/html").await;
        assert_eq!(page.status(), StatusCode::OK, "{path}");
        let policy = page.headers()["content-security-policy"].to_str().unwrap();
        assert!(policy.contains("frame-ancestors 'none'") && !policy.contains("unsafe"));
        assert!(page.text().await.unwrap().contains("<title>"), "{path}");
    }
    let missing = get("/dashboard/assets/none.js", "text/html").await;
    assert_eq!(missing.status(), StatusCode::NOT_FOUND);
}

/// Moves the live share by a cookie; the status of the answer.
async fn change(app: &TestApp, wire: &str, token: &str, headers: &[(&str, &str)]) -> (u16, Value) {
    let input = json!({"percent": 5, "reason": "a test"});
    let (path, body) = match wire {
        "tRPC" => ("/api/trpc/featureFlags.setShare", json!({"json": input})),
        _ => (
            "/rpc",
            json!({"jsonrpc": "2.0", "id": 1, "method": "featureFlags.setShare", "params": input}),
        ),
    };
    let cookie = format!("app_session_id={token}");
    let mut request = app.http.post(format!("{}{path}", app.url));
    request = request.header("cookie", cookie);
    if !headers.iter().any(|(name, _)| *name == "origin") {
        request = request.header("sec-fetch-site", "same-origin");
    }
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    let answer = request.json(&body).send().await.unwrap();
    (answer.status().as_u16(), answer.json().await.unwrap())
}

#[tokio::test]
async fn a_change_by_cookie_needs_the_sessions_token_where_that_is_demanded() {
    let app = TestApp::builder()
        .with_setting("CSRF_TOKEN", "required")
        .start()
        .await;
    let token = app.setup.admin().await.to_owned();
    let other = app.setup.token(8, Role::Admin).await;
    let csrf_of = async |token: &str| {
        let session =
            crate::support::calls::rpc(&app.http, &app.url, token, "auth.session", json!({})).await;
        session.unwrap().unwrap()["csrf"]
            .as_str()
            .unwrap()
            .to_owned()
    };
    let (own, foreign) = (csrf_of(&token).await, csrf_of(&other).await);
    for wire in ["tRPC", "JSON-RPC"] {
        let (status, body) = change(&app, wire, &token, &[]).await;
        assert_eq!(status, 403, "{wire}: {body}");
        assert!(body.to_string().contains("X-CSRF-Token"), "{wire}: {body}");
        let (status, _) = change(&app, wire, &token, &[("x-csrf-token", &foreign)]).await;
        assert_eq!(status, 403, "{wire}: the token of another session");
        // Beside a bearer that does not hold it is the cookie that would count, or nothing.
        for none in [
            "Bearer undefined",
            "Bearer",
            "Bearer a.b.c",
            "Basic bWU6cHc=",
        ] {
            let (status, body) = change(&app, wire, &token, &[("authorization", none)]).await;
            assert_eq!(status, 403, "{wire} {none}: {body}");
        }
        let (status, body) = change(&app, wire, &token, &[("x-csrf-token", &own)]).await;
        assert_eq!(status, 200, "{wire}: {body}");
        let bearer = format!("Bearer {token}");
        let (status, body) = change(&app, wire, &token, &[("authorization", &bearer)]).await;
        assert_eq!(status, 200, "{wire}: {body}");
    }
    // A refresh goes by the cookie alone.
    for (more, expected) in [(None, 403), (Some(&*own), 200)] {
        let url = format!("{}/api/auth/refresh", app.url);
        let mut refresh = app.http.post(url).bearer_auth(&token);
        refresh = refresh.header("cookie", format!("app_session_id={token}"));
        if let Some(csrf) = more {
            refresh = refresh.header("x-csrf-token", csrf);
        }
        let status = refresh.send().await.unwrap().status().as_u16();
        assert_eq!(status, expected, "{more:?}");
    }
    // Programs know their token, which no page can make a browser send.
    let bearer = app
        .call(
            "featureFlags.setShare",
            json!({"percent": 6, "reason": "a test"}),
        )
        .await;
    assert!(bearer.is_ok(), "{bearer:?}");
}

/// Which of two sessions in one request counts is one rule for whoever calls, for the token that is demanded, and for
/// the token that is given.
#[tokio::test]
async fn of_two_session_cookies_the_first_that_holds_counts_and_its_token_alone() {
    let app = TestApp::builder()
        .with_setting("CSRF_TOKEN", "required")
        .start()
        .await;
    let one = app.setup.admin().await.to_owned();
    let two = app.setup.token(8, Role::Admin).await;
    let ended = app.setup.token(9, Role::Admin).await;
    let rpc = async |token: &str, procedure: &str| {
        let answer = crate::support::calls::rpc(&app.http, &app.url, token, procedure, json!({}));
        answer.await.unwrap().unwrap()
    };
    let csrf_of = async |token: &str| rpc(token, "auth.session").await["csrf"].take();
    let of_ended = csrf_of(&ended).await;
    let (of_one, of_two) = (csrf_of(&one).await, csrf_of(&two).await);
    rpc(&ended, "auth.logout").await;
    let gone = "a.b.c";
    for (first, second, counts, not) in [
        (&*one, &*two, &of_one, &of_two),
        (&*two, &*one, &of_two, &of_one),
        (gone, &*one, &of_one, &of_two),
        (&*ended, &*one, &of_one, &of_ended),
        (&*one, &*ended, &of_one, &of_ended),
    ] {
        let cookies = format!("{first}; app_session_id={second}");
        let (right, wrong) = (counts.as_str().unwrap(), not.as_str().unwrap());
        for wire in ["tRPC", "JSON-RPC"] {
            let (status, _) = change(&app, wire, &cookies, &[("x-csrf-token", wrong)]).await;
            assert_eq!(status, 403, "{wire}: the token of the other one");
            let (status, body) = change(&app, wire, &cookies, &[("x-csrf-token", right)]).await;
            assert_eq!(status, 200, "{wire}: {body}");
        }
        let asked = app.http.get(format!("{}/api/trpc/auth.session", app.url));
        let asked = asked.header("cookie", format!("app_session_id={cookies}"));
        let answer = asked.send().await.unwrap();
        let given = answer.headers()["set-cookie"].to_str().unwrap();
        assert!(
            given.starts_with(&format!("__csrf_token={right};")),
            "{given}"
        );
        let said: Value = answer.json().await.unwrap();
        assert_eq!(&said["result"]["data"]["json"]["csrf"], counts);
    }
    app.stop().await;
}

#[tokio::test]
async fn a_front_end_that_copies_the_cookie_into_the_header_works_unchanged() {
    let app = TestApp::builder()
        .with_setting("CSRF_TOKEN", "required")
        .with_setting(
            "CSRF_EXEMPT",
            "/api/auth/refresh,/api/trpc/chat.createConversation",
        )
        .start()
        .await;
    // As of a session that began before the setting, or that the old server signed.
    let session = format!("app_session_id={}", app.setup.admin().await);
    let ask = async |cookie: &str| {
        let url = format!("{}/api/trpc/auth.me", app.url);
        let answer = app
            .http
            .get(url)
            .header("cookie", cookie)
            .send()
            .await
            .unwrap();
        let cookie = answer.headers().get("set-cookie");
        cookie.map(|it| it.to_str().unwrap().to_owned())
    };
    let given = ask(&session).await.expect("the cookie");
    assert!(
        !given.contains("HttpOnly") && given.contains("Path=/"),
        "{given}"
    );
    let pair = given.split(';').next().unwrap();
    let csrf = pair.strip_prefix("__csrf_token=").unwrap();
    assert_eq!(ask(&format!("{session}; {pair}")).await, None);
    assert_eq!(ask("app_session_id=x").await, None);
    assert!(ask(&format!("{session}; __csrf_token=old")).await.is_some());

    let change = async |path: &str, header: Option<&str>| {
        let request = app.http.post(format!("{}{path}", app.url));
        let mut request = request.header("cookie", format!("{session}; {pair}"));
        if let Some(header) = header {
            request = request.header("x-csrf-token", header);
        }
        let body = json!({"json": {}, "0": {"json": {}}, "1": {"json": {}}});
        request.json(&body).send().await.unwrap().status().as_u16()
    };
    let both = "/api/trpc/chat.createConversation,auth.logoutEverywhere?batch=1";
    for (path, header, status) in [
        ("/api/trpc/featureFlags.kill", None, 403),
        ("/api/auth/refresh", None, 200),
        ("/api/trpc/chat.createConversation", None, 200),
        // Each call of a batch has to be named, however the path is written.
        (both, None, 403),
        (
            "/api/trpc/chat.createConversation/,auth.logoutEverywhere?batch=1",
            None,
            403,
        ),
        (
            "/api/trpc/chat.createConversation%2Cauth.logoutEverywhere?batch=1",
            None,
            403,
        ),
        ("/rpc", None, 403),
        (both, Some(csrf), 200),
    ] {
        assert_eq!(change(path, header).await, status, "{path} {header:?}");
    }
}

#[tokio::test]
async fn without_that_setting_a_cookie_from_our_own_pages_is_enough() {
    let app = TestApp::start().await;
    let token = app.setup.admin().await.to_owned();
    let (status, body) = change(&app, "tRPC", &token, &[]).await;
    assert_eq!(status, 200, "{body}");
}

#[tokio::test]
async fn a_browser_that_does_not_say_where_a_page_is_from_is_taken_by_its_origin() {
    let app = TestApp::builder()
        .with_setting("CORS_ALLOWED_ORIGINS", "https://web.example")
        .start()
        .await;
    let token = app.setup.admin().await.to_owned();
    let own = app.url.replace("127.0.0.1", "localhost");
    for wire in ["tRPC", "JSON-RPC"] {
        for (origin, expected) in [
            (&*app.url, 200),
            ("https://web.example", 200),
            ("https://evil.example", 403),
            // Another host, though it leads here; a page of no origin; and what only looks like ours.
            (&*own, 403),
            ("null", 403),
            (&*format!("{}.evil.example", app.url), 403),
        ] {
            let (status, body) = change(&app, wire, &token, &[("origin", origin)]).await;
            assert_eq!(status, expected, "{wire} {origin}: {body}");
        }
    }
}

#[tokio::test]
async fn a_list_is_had_as_a_file_by_whoever_may_see_it() {
    let app = TestApp::start().await;
    let reason = "=1+1, \"a drill\"";
    app.call("featureFlags.kill", json!({"on": true, "reason": reason}))
        .await
        .unwrap();
    let viewer = app.setup.token(5, Role::Viewer).await;
    let get = async |file: &str, token: &str| {
        let url = format!("{}/dashboard/export/{file}", app.url);
        let answer = app.http.get(url).bearer_auth(token).send().await.unwrap();
        // Also what is refused runs nothing and is framed by nobody.
        for (name, value) in [
            ("x-content-type-options", "nosniff"),
            ("x-frame-options", "DENY"),
            ("referrer-policy", "no-referrer"),
            ("cross-origin-resource-policy", "same-origin"),
        ] {
            assert_eq!(answer.headers()[name], value, "{file} {name}");
        }
        let media = answer.headers()["content-type"]
            .to_str()
            .unwrap()
            .to_owned();
        (
            answer.status().as_u16(),
            media,
            answer.text().await.unwrap(),
        )
    };
    let (status, media, text) = get("audit.csv?input={\"subject\":\"flags\"}", &viewer).await;
    assert_eq!(
        (status, &*media),
        (200, "text/csv; charset=utf-8"),
        "{text}"
    );
    let lines: Vec<_> = text.split("\r\n").collect();
    assert!(lines[0].starts_with("at,actor,subject,"), "{text}");
    assert!(lines[1].contains(",user:1,flags,,changed,"), "{text}");
    assert!(lines[1].contains("\"'=1+1, \"\"a drill\"\"\""), "{text}");
    assert_eq!(lines[2..], [""]);
    let (status, _, text) = get("requests.csv", &viewer).await;
    assert_eq!((status, text.lines().count()), (200, 1), "{text}");

    let user = app.setup.token(6, Role::User).await;
    assert_eq!(get("audit.csv", &user).await.0, 403);
    assert_eq!(get("audit.csv?input=[]", &viewer).await.0, 400);
    assert_eq!(
        get("audit.csv?input={\"limit\":\"x\"}", &viewer).await.0,
        200
    );
    assert_eq!(get("keys.csv", &viewer).await.0, 404);
}

#[tokio::test]
async fn the_status_page_is_there_only_if_it_was_asked_for() {
    let off = TestApp::start().await;
    let status = async |app: &TestApp| {
        let answer = app
            .http
            .get(format!("{}/status", app.url))
            .send()
            .await
            .unwrap();
        (answer.status().as_u16(), answer.text().await.unwrap())
    };
    assert_eq!(status(&off).await.0, 404);
    let on = TestApp::builder()
        .with_setting("STATUS_PAGE", "true")
        .start()
        .await;
    crate::support::wait::until("it works", async || {
        let (code, text) = status(&on).await;
        code == 200 && text.contains("<h1>Working</h1>")
    })
    .await;
}

/// What serves files of these lists.
fn files(app: &TestApp, registry: Arc<Registry>, storage: Arc<Storage>) -> axum::Router {
    let key = SessionKey::new(&app.setup.config().auth.jwt_secret.unwrap());
    let authenticator = Arc::new(Authenticator::new(key, None, storage));
    let site = Site::new(Environment::Test, &SiteConfig::default());
    modelramp::dashboard::routes(Export {
        registry,
        gate: Arc::new(CallerGate::new(authenticator, Vec::new(), site)),
    })
}

#[derive(Deserialize, JsonSchema)]
struct Asked {
    #[serde(default)]
    cursor: Option<String>,
    limit: usize,
}

#[derive(Serialize, JsonSchema)]
struct Line {
    at: &'static str,
    id: usize,
}

#[derive(Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
struct Lines {
    rows: Vec<Line>,
    next_cursor: Option<String>,
}

/// A list that has more lines than a file.
async fn long(_: (), _: Context, Asked { cursor, limit }: Asked) -> Result<Lines, RpcError> {
    const ALL: usize = 100_150;
    let from = cursor.map_or(0, |cursor| cursor.parse().unwrap());
    let to = (from + limit).min(ALL);
    let line = |id| Line {
        at: "2026-11-29T09:25:01.000Z",
        id,
    };
    Ok(Lines {
        rows: (from..to).map(line).collect(),
        next_cursor: (to < ALL).then(|| to.to_string()),
    })
}

#[tokio::test]
async fn a_file_has_a_hundred_thousand_lines_at_most_and_says_where_the_list_goes_on() {
    let app = TestApp::builder()
        .with_setting("JWT_SECRET", "0123456789abcdef0123456789abcdef")
        .start()
        .await;
    let mut registry = Registry::default();
    procedures!(registry.router("audit", ());
        /// More lines than a file has.
        query Public list = long;
    );
    let storage = Arc::new(app.setup.storage().await);
    let files = files(&app, Arc::new(registry), storage);
    let get = async |input: &str| {
        let url = format!("/dashboard/export/audit.csv?input={input}");
        let request = Request::get(url).body(Body::empty()).unwrap();
        files.clone().oneshot(request).await.unwrap().into_body()
    };
    let (mut body, mut text, mut largest) = (get("%7B%7D").await, String::new(), 0);
    while let Some(frame) = body.frame().await {
        let part = frame.unwrap().into_data().unwrap();
        largest = largest.max(part.len());
        text += std::str::from_utf8(&part).unwrap();
    }
    let lines: Vec<_> = text.split_terminator("\r\n").collect();
    assert_eq!(lines.len(), 1 + 100_000 + 1);
    assert!(lines[100_000].ends_with(",99999"), "{}", lines[100_000]);
    assert!(
        lines[100_001].contains("\"\"cursor\"\": \"\"100000\"\""),
        "{}",
        lines[100_001]
    );
    assert!(largest < 64 * 1024, "a page at a time, not {largest} bytes");
    let rest = get("%7B%22cursor%22%3A%22100000%22%7D").await;
    let rest = rest.collect().await.unwrap().to_bytes();
    assert_eq!(String::from_utf8_lossy(&rest).lines().count(), 1 + 150);
}

#[tokio::test]
#[expect(
    clippy::disallowed_methods,
    reason = "a test is an edge: it has a clock"
)]
async fn a_file_breaks_off_where_the_session_ends_before_it_does() {
    let app = TestApp::builder()
        .with_setting("JWT_SECRET", "0123456789abcdef0123456789abcdef")
        .start()
        .await;
    let storage = Arc::new(app.setup.storage().await);
    // More than two pages of lines.
    for id in 1_000..1_500 {
        storage
            .ensure_local_user(id, Role::Viewer, Utc::now())
            .await
            .unwrap();
    }
    let token = app.setup.token(5, Role::Viewer).await;
    let files = files(&app, app.registry.clone(), storage.clone());
    let get = async || {
        let request =
            Request::get("/dashboard/export/audit.csv?input=%7B%22subject%22%3A%22users%22%7D")
                .header("authorization", format!("Bearer {token}"));
        let request = request.body(Body::empty()).unwrap();
        files.clone().oneshot(request).await.unwrap().into_body()
    };
    let whole = get().await.collect().await.unwrap().to_bytes();
    let lines = String::from_utf8_lossy(&whole).lines().count();
    assert_eq!(
        lines,
        1 + 501,
        "the head, and everybody who is a viewer now"
    );

    let mut body = get().await;
    for _ in ["the head", "the first page"] {
        body.frame().await.unwrap().unwrap();
    }
    storage.end_sessions(5, Utc::now()).await.unwrap();
    // What is known of a session is known for a fifth of a second.
    wait::until("it is known", async || {
        let answer = get().await.collect().await;
        answer.is_ok_and(|body| body.to_bytes().starts_with(b"{"))
    })
    .await;
    let ended = body.frame().await;
    assert!(
        ended.is_some_and(|it| it.is_err()),
        "the file ended as if it were whole"
    );
}
