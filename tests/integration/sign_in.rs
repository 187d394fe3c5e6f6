//! Sessions over real sockets: how they begin, on which wires they end, and a database that is away.

use std::time::Duration;

use futures::{SinkExt, StreamExt};
use http::{HeaderMap, StatusCode};
use modelramp::{
    _core::{auth::Role, config::Config},
    app,
    storage::Storage,
};
use secrecy::ExposeSecret;
use serde_json::{Value, json};
use tokio_tungstenite::tungstenite::{Message, client::IntoClientRequest};

use crate::support::local_server::LocalServer;

/// Within which everything has to end that a session opened; the tests' own share is on top.
const END: Duration = Duration::from_secs(5);

struct Rig {
    server: LocalServer,
    config: Config,
    http: reqwest::Client,
}

async fn rig(settings: &[(&str, &str)]) -> Rig {
    let server = LocalServer::start(settings).await;
    Rig {
        config: Config::load(&server.sources).unwrap(),
        server,
        http: reqwest::Client::builder()
            .redirect(reqwest::redirect::Policy::none())
            .build()
            .unwrap(),
    }
}

fn now() -> chrono::DateTime<chrono::Utc> {
    chrono::Utc::now()
}

impl Rig {
    async fn token(&self, user: i64, role: Role) -> String {
        let token = app::issue_token(&self.config, user, role, None, now());
        token.await.unwrap()
    }

    async fn secret(&self, user: i64) -> String {
        let mut config = self.config.clone();
        config.auth.site.public_url = Some("https://app.example".into());
        let link = app::issue(
            &config,
            user,
            Some(Role::User),
            app::Grant::LoginLink,
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
        let mut request = self.http.request(method.parse().unwrap(), url);
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
        Storage::open(&self.config.database.url).await.unwrap()
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

type Socket =
    tokio_tungstenite::WebSocketStream<tokio_tungstenite::MaybeTlsStream<tokio::net::TcpStream>>;

async fn socket(rig: &Rig, path: &str, token: &str) -> Socket {
    let url = format!("{}{path}", rig.server.url.replace("http:", "ws:"));
    let mut request = url.into_client_request().unwrap();
    let bearer = format!("Bearer {token}").parse().unwrap();
    request.headers_mut().insert("authorization", bearer);
    tokio_tungstenite::connect_async(request).await.unwrap().0
}

/// What a socket says until it closes, and the code of its close.
async fn last_words(mut socket: Socket) -> (Vec<Value>, Option<u16>) {
    let mut said = Vec::new();
    while let Some(Ok(message)) = socket.next().await {
        match message {
            Message::Text(text) => said.push(serde_json::from_str(&text).unwrap()),
            Message::Close(frame) => return (said, frame.map(|frame| frame.code.into())),
            _ => {}
        }
    }
    (said, None)
}

/// Opens a subscription on every wire and returns what each says at its end.
async fn ends(rig: &Rig, token: &str, path: &str, end: impl Future<Output = ()>) -> [Value; 3] {
    let mut trpc = socket(rig, "/api/trpc", token).await;
    let subscribe = json!({"id": 1, "method": "subscription", "params": {"path": path}});
    trpc.send(Message::text(subscribe.to_string()))
        .await
        .unwrap();
    let mut rpc = socket(rig, "/rpc", token).await;
    let subscribe = json!({"jsonrpc": "2.0", "id": 1, "method": path, "params": {}});
    rpc.send(Message::text(subscribe.to_string()))
        .await
        .unwrap();
    let url = format!("{}/api/trpc/{path}", rig.server.url);
    let events = rig.http.get(url).bearer_auth(token).send().await.unwrap();
    // The first frame of each says that it is open.
    trpc.next().await.unwrap().unwrap();
    rpc.next().await.unwrap().unwrap();

    end.await;
    let sse = async {
        let text = events.text().await.unwrap();
        let error = text.split("event: serialized-error\ndata: ").nth(1);
        serde_json::from_str::<Value>(error.expect("an error").trim()).unwrap()
    };
    let all = futures::future::join3(sse, last_words(trpc), last_words(rpc));
    let (sse, (trpc, code), (rpc, _)) = tokio::time::timeout(END + END, all).await.expect("an end");
    assert_eq!(code, Some(1008));
    let trpc = trpc.iter().find(|said| said.get("error").is_some());
    let rpc = rpc
        .iter()
        .find(|said| said["params"].get("error").is_some());
    [
        sse["json"]["data"]["code"].clone(),
        trpc.expect("an error")["error"]["json"]["data"]["code"].clone(),
        rpc.expect("an error")["params"]["error"]["data"]["code"].clone(),
    ]
}

#[tokio::test(flavor = "multi_thread")]
async fn subscriptions_and_sockets_end_with_their_session_on_every_wire() {
    let rig = rig(&[]).await;
    let path = "aiMetrics.onSummary";
    let token = rig.token(5, Role::User).await;
    let logout = async {
        let bearer = format!("Bearer {token}");
        let bearer = [("authorization", bearer.as_str())];
        rig.send("POST", "/api/trpc/auth.logout", &bearer, Some(json!({})))
            .await;
    };
    assert_eq!(ends(&rig, &token, path, logout).await, ["UNAUTHORIZED"; 3]);

    let token = rig.token(5, Role::User).await;
    // Another process, as the command line is.
    let revoke = async { app::end_sessions(&rig.config, 5, now()).await.unwrap() };
    assert_eq!(ends(&rig, &token, path, revoke).await, ["UNAUTHORIZED"; 3]);

    let token = rig.token(5, Role::User).await;
    let delete = async {
        assert!(rig.storage().await.delete_user(5, now()).await.unwrap());
    };
    assert_eq!(ends(&rig, &token, path, delete).await, ["UNAUTHORIZED"; 3]);
    assert!(app::end_sessions(&rig.config, 5, now()).await.is_err());

    // One that runs out does so for streams that are open, too.
    let key = modelramp::_core::auth::SessionKey::new(
        &std::fs::read_to_string(format!(
            "{}.jwt-secret",
            rig.config.database.url.trim_start_matches("sqlite://")
        ))
        .unwrap()
        .trim()
        .into(),
    );
    let claims = modelramp::_core::auth::Claims {
        open_id: "runs-out".into(),
        app_id: "a".into(),
        name: "E".into(),
        exp: u64::try_from(now().timestamp() - 57).unwrap(),
        ..Default::default()
    };
    let token = key.sign(&claims).unwrap();
    let wait = std::future::ready(());
    assert_eq!(ends(&rig, &token, path, wait).await, ["UNAUTHORIZED"; 3]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_demoted_admin_loses_what_admins_see_and_keeps_the_socket() {
    let rig = rig(&[]).await;
    let token = rig.token(6, Role::Admin).await;
    let mut socket = socket(&rig, "/api/trpc", &token).await;
    for (id, path) in [(1, "rollout.onChange"), (2, "aiMetrics.onSummary")] {
        let subscribe = json!({"id": id, "method": "subscription", "params": {"path": path}});
        socket
            .send(Message::text(subscribe.to_string()))
            .await
            .unwrap();
    }
    rig.token(6, Role::User).await;
    let (mut refused, mut later) = (None, 0);
    let wait = async {
        while later < 3 {
            let message = socket.next().await.unwrap().unwrap();
            let Message::Text(text) = message else {
                continue;
            };
            let said: Value = serde_json::from_str(&text).unwrap();
            match &refused {
                None if said.get("error").is_some() => refused = Some(said),
                Some(_) if said["id"] == 2 && said["result"]["type"] == "data" => later += 1,
                _ => {}
            }
        }
    };
    tokio::time::timeout(END + END, wait)
        .await
        .expect("an end of the one, and the other goes on");
    let refused = refused.unwrap();
    assert_eq!(
        (&refused["id"], &refused["error"]["json"]["data"]["code"]),
        (&json!(1), &json!("FORBIDDEN"))
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_call_under_way_is_answered_before_its_socket_closes() {
    // Everybody gets the candidate route, whose first model takes longer than a session takes to end.
    let rig = rig(&[("OPENROUTER_ROLLOUT_PERCENTAGE", "100")]).await;
    let model = "z-ai/glm-4.5-air:free";
    let slow = json!({"latency_ms": 6000});
    rig.server.set_model(model, slow).await;
    let token = rig.token(8, Role::User).await;
    let mut trpc = socket(&rig, "/api/trpc", &token).await;
    let call = |id: u32, path: &str, input: Value| {
        Message::text(json!({"id": id, "method": "mutation", "params": {"path": path, "input": {"json": input}}}).to_string())
    };
    trpc.send(call(1, "chat.createConversation", json!({})))
        .await
        .unwrap();
    let made = trpc.next().await.unwrap().unwrap().into_text().unwrap();
    let made: Value = serde_json::from_str(&made).unwrap();
    let conversation = &made["result"]["data"]["json"]["id"];
    let send = json!({"conversationId": conversation, "content": "hej"});
    trpc.send(call(2, "chat.sendMessage", send)).await.unwrap();
    // It has begun once the model was asked.
    let begun = async {
        while rig.server.requests_to(model).await == 0 {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    let begun = tokio::time::timeout(4 * END, begun).await;
    begun.expect("the model is asked");
    app::end_sessions(&rig.config, 8, now()).await.unwrap();
    let (said, code) = tokio::time::timeout(4 * END, last_words(trpc))
        .await
        .expect("an end");
    assert_eq!(code, Some(1008));
    assert_eq!(
        said[0]["result"]["data"]["json"]["role"], "user",
        "{said:?}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_database_that_is_away_signs_nobody_out_and_the_kill_switch_works() {
    let rig = rig(&[]).await;
    let (admin, user) = (
        rig.token(1, Role::Admin).await,
        rig.token(3, Role::User).await,
    );
    let ended = rig.token(3, Role::User).await;
    for token in [&admin, &user, &ended] {
        assert_eq!(rig.me(token).await.0, StatusCode::OK);
    }
    let bearer = |token: &str| format!("Bearer {token}");
    let logout = bearer(&ended);
    rig.send(
        "POST",
        "/api/trpc/auth.logout",
        &[("authorization", &logout)],
        Some(json!({})),
    )
    .await;
    let link = json!({ "token": rig.secret(3).await });
    rig.sql("ALTER TABLE users RENAME TO users_away").await;
    tokio::time::sleep(Duration::from_millis(300)).await;

    let as_user = bearer(&user);
    let as_user = [("authorization", as_user.as_str())];
    for path in [
        "auth.me",
        "chat.getConversations",
        "aiMetrics.getModelBreakdown",
        "featureFlags.get",
    ] {
        let (status, headers, body) = rig
            .send("GET", &format!("/api/trpc/{path}"), &as_user, None)
            .await;
        // The flags are told to admins known minutes ago; this user never was one.
        let expected = if path == "featureFlags.get" { 403 } else { 503 };
        assert_eq!(status.as_u16(), expected, "{path} {body}");
        assert_eq!(
            headers.get("retry-after").is_some(),
            expected == 503,
            "{path}"
        );
    }
    let batch = "/api/trpc/auth.me,system.aiConfig?batch=1&input=%7B%7D";
    let (status, headers, body) = rig.send("GET", batch, &as_user, None).await;
    assert_eq!(status.as_u16(), 207);
    assert_eq!(
        body[0]["error"]["json"]["data"]["code"],
        "SERVICE_UNAVAILABLE"
    );
    assert!(body[1]["result"].is_object() && headers.contains_key("retry-after"));
    let rpc = json!({"jsonrpc": "2.0", "id": 1, "method": "auth.me"});
    let (_, headers, body) = rig.send("POST", "/rpc", &as_user, Some(rpc)).await;
    assert_eq!(body["error"]["data"]["httpStatus"], 503);
    assert!(headers.contains_key("retry-after"));
    let cookie = format!("app_session_id={user}");
    let (status, ..) = rig
        .send("POST", "/api/auth/refresh", &[("cookie", &cookie)], None)
        .await;
    assert_eq!(status.as_u16(), 503);

    // Whoever was signed out stays out.
    assert_eq!(
        rig.me(&ended).await.1["result"]["data"]["json"],
        Value::Null
    );
    // An admin known minutes ago sees the share and kills.
    let as_admin = bearer(&admin);
    let as_admin = [("authorization", as_admin.as_str())];
    let kill = json!({ "json": { "on": true, "reason": "the database is away" } });
    let (status, _, body) = rig
        .send("POST", "/api/trpc/featureFlags.kill", &as_admin, Some(kill))
        .await;
    assert_eq!(status.as_u16(), 200, "{body}");
    let (status, _, body) = rig
        .send("GET", "/api/trpc/featureFlags.get", &as_admin, None)
        .await;
    assert_eq!(
        (status.as_u16(), &body["result"]["data"]["json"]["killed"]),
        (200, &json!(true))
    );
    // One who logs out now is out here at once, and is told that it could not be stored if it was not.
    let (_, headers, _) = rig
        .send("POST", "/api/trpc/auth.logout", &as_user, Some(json!({})))
        .await;
    assert!(headers.contains_key("set-cookie"));
    // A link is not spent in vain.
    let login = rig.send("POST", "/api/auth/login", &[], Some(link.clone()));
    assert_eq!(login.await.0.as_u16(), 503);
    rig.sql("ALTER TABLE users_away RENAME TO users").await;
    let login = rig.send("POST", "/api/auth/login", &[], Some(link));
    assert_eq!(login.await.0.as_u16(), 200);
    tokio::time::sleep(Duration::from_millis(300)).await;
    assert_eq!(id(&rig.me(&admin).await.1), 1);
    assert_eq!(rig.me(&user).await.1["result"]["data"]["json"], Value::Null);
}

#[tokio::test(flavor = "multi_thread")]
async fn browsers_behind_proxies_and_with_tracing_may_call() {
    let origin = "https://app.example";
    let rig = rig(&[
        ("CORS_ALLOWED_ORIGINS", origin),
        (
            "TRUSTED_PROXY_HEADERS",
            "x-forwarded-proto,x-forwarded-host",
        ),
    ])
    .await;
    for asked in [
        "x-trpc-source",
        "sentry-trace,baggage",
        "traceparent",
        "x-requested-with,x-anything",
    ] {
        let preflight = [
            ("origin", origin),
            ("access-control-request-method", "POST"),
            ("access-control-request-headers", asked),
        ];
        let (status, headers, _) = rig
            .send("OPTIONS", "/api/trpc/auth.logout", &preflight, None)
            .await;
        assert_eq!(status, StatusCode::NO_CONTENT);
        assert_eq!(headers["access-control-allow-headers"], asked);
        assert_eq!(headers["access-control-allow-origin"], origin);
        assert_eq!(headers["access-control-max-age"], "7200");
    }
    let foreign = [
        ("origin", "https://evil.example"),
        ("access-control-request-method", "POST"),
    ];
    let (_, headers, _) = rig
        .send("OPTIONS", "/api/trpc/auth.logout", &foreign, None)
        .await;
    assert!(!headers.contains_key("access-control-allow-origin"));

    let token = rig.token(9, Role::User).await;
    let cookie = format!("navn=S; app_session_id={token}");
    let own = "https://own.example";
    for (more, expected) in [
        (("sec-fetch-site", "same-origin"), 200),
        (("x-forwarded-host", "own.example"), 200),
        (("x-forwarded-host", "other.example"), 403),
        (("sec-fetch-site", "same-site"), 403),
    ] {
        let headers = [("cookie", cookie.as_str()), ("origin", own), more];
        let body = Some(json!({ "json": {} }));
        let (status, _, body) = rig
            .send("POST", "/api/trpc/chat.createConversation", &headers, body)
            .await;
        assert_eq!(status.as_u16(), expected, "{more:?} {body}");
    }

    // Logging out from another site, over the link that answers in parts.
    let headers = [
        ("cookie", cookie.as_str()),
        ("origin", origin),
        ("sec-fetch-site", "cross-site"),
        ("x-forwarded-proto", "https"),
        ("trpc-accept", "application/jsonl"),
    ];
    let body = Some(json!({ "0": { "json": null } }));
    let (status, headers, _) = rig
        .send("POST", "/api/trpc/auth.logout?batch=1", &headers, body)
        .await;
    assert_eq!(status, StatusCode::OK);
    let cleared = headers["set-cookie"].to_str().unwrap();
    assert!(
        cleared.starts_with("app_session_id=;") && cleared.contains("; Secure; SameSite=None"),
        "{cleared}"
    );
    assert_eq!(
        rig.me(&token).await.1["result"]["data"]["json"],
        Value::Null
    );
}
