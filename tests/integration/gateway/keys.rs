//! Keys of programs: what they open, for whom, and until when.

use std::{
    sync::atomic::{AtomicBool, Ordering},
    time::{Duration, Instant},
};

use chrono::{TimeDelta, Utc};
use modelramp::{
    _core::actor::Actor,
    keys::{ApiKey, ApiKeyStore, ApiKeys, KeyLimits, Secret},
};
use secrecy::ExposeSecret;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

use super::*;

/// Who changes keys.
pub(super) const BY: &Actor = &Actor::User(7);

pub(super) fn key(name: &str, secret: &Secret, models: Option<&[&str]>) -> ApiKey {
    ApiKey {
        id: secret.id.clone(),
        name: name.to_owned(),
        models: models.map(|models| models.iter().map(|it| (*it).to_owned()).collect()),
        limits: KeyLimits::default(),
        created_at: Utc::now(),
        expires_at: None,
        revoked_at: None,
    }
}

impl Gateway {
    async fn status(&self, secret: &Secret, model: &str) -> u16 {
        let url = format!("{}/v1/chat/completions", self.app.url);
        let request = self.app.http.post(url).body(asking(model).to_string());
        let key = secret.whole.expose_secret();
        self.send(request.header("x-api-key", key))
            .await
            .status
            .as_u16()
    }

    /// What was changed counts within a second.
    async fn soon(&self, secret: &Secret, status: u16) {
        eventually(Duration::from_secs(10), async || {
            let seen = self.status(secret, "a").await;
            if seen == status { Ok(()) } else { Err(seen) }
        })
        .await;
    }
}

#[tokio::test]
async fn a_key_opens_what_it_names_until_it_ends() {
    let gateway = Gateway::answering(Reply::ok("hej")).await;
    let keys = gateway.app.setup.storage().await;
    let (open, narrow, late) = (Secret::new(), Secret::new(), Secret::new());
    assert!(
        keys.add_key(&key("open", &open, None), &open.hash, BY)
            .await
            .unwrap()
    );
    assert!(
        !keys
            .add_key(&key("open", &narrow, None), &narrow.hash, BY)
            .await
            .unwrap()
    );
    let allowed = key("narrow", &narrow, Some(&["a"]));
    assert!(keys.add_key(&allowed, &narrow.hash, BY).await.unwrap());
    let mut over = key("late", &late, None);
    over.expires_at = Some(Utc::now() - TimeDelta::seconds(1));
    assert!(keys.add_key(&over, &late.hash, BY).await.unwrap());

    assert_eq!(gateway.status(&open, "task/chat").await, 200);
    assert_eq!(gateway.status(&narrow, "a").await, 200);
    assert_eq!(gateway.status(&narrow, "b").await, 404);
    assert_eq!(gateway.status(&late, "a").await, 401);
    assert_eq!(gateway.status(&Secret::new(), "a").await, 401);
    let request = gateway
        .app
        .http
        .get(format!("{}/v1/models", gateway.app.url));
    let listed = gateway
        .send(request.bearer_auth(narrow.whole.expose_secret()))
        .await
        .json();
    assert_eq!(listed["data"].as_array().unwrap().len(), 1);
    // A key is one of the gateway: procedures know users.
    let me = gateway
        .app
        .http
        .get(format!("{}/api/trpc/auth.me", gateway.app.url));
    let me = gateway
        .send(me.bearer_auth(open.whole.expose_secret()))
        .await;
    assert!(!me.text.contains("openId"), "{}", me.text);

    // Another secret: the old one holds a little longer.
    let (now, newer, newest) = (Utc::now(), Secret::new(), Secret::new());
    assert!(
        keys.replace_key("open", &newer, TimeDelta::hours(1), BY, now)
            .await
            .unwrap()
    );
    assert_eq!(gateway.status(&newer, "a").await, 200);
    assert_eq!(gateway.status(&open, "a").await, 200);
    assert!(
        keys.replace_key("open", &newest, TimeDelta::zero(), BY, now)
            .await
            .unwrap()
    );
    gateway.soon(&open, 401).await;
    gateway.soon(&newer, 401).await;
    assert_eq!(gateway.status(&newest, "a").await, 200);

    let secret = Secret::new();
    let ended = keys.replace_key("late", &secret, TimeDelta::zero(), BY, now);
    assert!(!ended.await.unwrap(), "what has run out gets no secret");
    assert!(keys.revoke_key("open", BY, Utc::now()).await.unwrap());
    assert!(!keys.revoke_key("open", BY, Utc::now()).await.unwrap());
    gateway.soon(&newest, 401).await;
    let all = keys.keys().await.unwrap();
    let holds: Vec<_> = all
        .iter()
        .map(|key| (key.name.as_str(), key.holds_at(Utc::now())))
        .collect();
    assert!(holds.contains(&("open", false)) && holds.contains(&("narrow", true)));
    keys.close().await;
}

#[tokio::test]
async fn a_program_names_its_users() {
    let gateway = Gateway::answering(Reply::ok("hej")).await;
    let keys = gateway.app.setup.storage().await;
    let secret = Secret::new();
    assert!(
        keys.add_key(&key("app", &secret, None), &secret.hash, BY)
            .await
            .unwrap()
    );
    keys.close().await;
    let url = format!("{}/v1/chat/completions", gateway.app.url);
    let mut body = asking("task/chat");
    body["user"] = "5".into();
    let request = gateway.app.http.post(url).body(body.to_string());
    gateway
        .send(request.bearer_auth(secret.whole.expose_secret()))
        .await;
    assert_eq!(gateway.attempt().await.1, Some(5));
}

#[tokio::test]
async fn a_key_that_could_never_be_used_is_refused_by_the_command() {
    let setup = TestApp::builder();
    for (arguments, says) in [
        (["create", "--ttl", "0s"], "from 1 second to 100 years"),
        (
            ["create", "--ttl", "101years"],
            "from 1 second to 100 years",
        ),
        (["create", "--model", ""], "expected a model of the catalog"),
        (
            ["create", "--model", "task/chatt"],
            "expected a model of the catalog",
        ),
        (["rotate", "--overlap", "32days"], "31 days at most"),
    ] {
        let mut command = setup.command(&["key"]);
        command.args(arguments).args(["--name", "crm"]);
        let ended = command.output().await.unwrap();
        assert!(!ended.status.success(), "{arguments:?}");
        let words = String::from_utf8(ended.stderr).unwrap();
        assert!(words.contains(says), "{arguments:?}: {words}");
    }
}

#[tokio::test]
async fn a_key_that_was_right_lately_opens_while_the_database_is_away() {
    let setup = TestApp::builder();
    let store = setup.storage().await;
    let (known, unknown) = (Secret::new(), Secret::new());
    for (name, secret) in [("known", &known), ("unknown", &unknown)] {
        assert!(
            store
                .add_key(&key(name, secret, None), &secret.hash, BY)
                .await
                .unwrap()
        );
    }
    let keys = ApiKeys::new(std::sync::Arc::new(store.clone()));
    let find = async |secret: &Secret| keys.find(secret.whole.expose_secret(), Utc::now()).await;
    assert!(find(&known).await.unwrap().is_some());
    store.close().await;
    // Until the database is asked again.
    tokio::time::sleep(Duration::from_millis(600)).await;
    for _ in 0..2 {
        assert_eq!(find(&known).await.unwrap().unwrap().name, "known");
    }
    find(&unknown).await.unwrap_err();
}

#[tokio::test]
async fn an_address_that_sends_too_many_wrong_keys_has_to_wait_and_right_ones_open_all_the_same() {
    let setup = TestApp::builder().with_setting("WRONG_KEYS_PER_MINUTE", "3");
    let gateway = Gateway::start_with(setup, |_, _| Reply::ok("hej")).await;
    let ask = |key: &str| {
        let url = format!("{}/v1/chat/completions", gateway.app.url);
        let request = gateway.app.http.post(url).body(asking("a").to_string());
        gateway.send(request.header("x-api-key", key.to_owned()))
    };
    for _ in 0..3 {
        assert_eq!(ask(Secret::new().whole.expose_secret()).await.status, 401);
    }
    let begun = Instant::now();
    let answer = ask(Secret::new().whole.expose_secret()).await;
    assert_eq!(
        (
            answer.status.as_u16(),
            answer.json()["error"]["code"].clone()
        ),
        (429, json!("too_many_wrong_keys"))
    );
    // However fast the machine is: a flood gets its answers one by one.
    assert!(begun.elapsed() >= Duration::from_millis(100));
    let wait: u64 = answer.header("retry-after").parse().unwrap();
    assert!((1..=20).contains(&wait), "{wait}");
    assert_eq!(ask("no key at all").await.status, 429);
    assert_eq!(ask(&gateway.token).await.status, 200);
}

#[tokio::test]
async fn callers_with_wrong_keys_who_have_to_wait_take_no_places_from_others() {
    const PLACES: usize = 8;
    let setup = TestApp::builder()
        .with_setting("WRONG_KEYS_PER_MINUTE", "1")
        .with_setting("MAX_CONNECTIONS", PLACES.to_string());
    let gateway = Gateway::start_with(setup, |_, _| Reply::ok("hej")).await;
    let secret = Secret::new();
    let keys = gateway.app.setup.storage().await;
    let crm = key("crm", &secret, None);
    assert!(keys.add_key(&crm, &secret.hash, BY).await.unwrap());
    let refused = [(); PLACES].map(|()| AtomicBool::new(false));
    // The connection of each is in use without a pause.
    let flood = futures::future::join_all(refused.iter().map(async |refused| {
        let http = modelramp::_core::http_client::builder().build().unwrap();
        loop {
            let url = format!("{}/v1/models", gateway.app.url);
            let answer = http.get(url).header("x-api-key", "wrong").send().await;
            refused.fetch_or(answer.is_ok(), Ordering::Relaxed);
        }
    }));
    let good = async {
        until("each of them is refused", async || {
            refused.iter().all(|it| it.load(Ordering::Relaxed))
        })
        .await;
        gateway.soon(&secret, 200).await;
    };
    tokio::select! {
        _ = flood => {}
        () = good => {}
    }
}

#[tokio::test]
async fn callers_with_wrong_keys_whose_bodies_come_slowly_take_no_places_either() {
    const PLACES: usize = 4;
    let setup = TestApp::builder()
        .with_setting("WRONG_KEYS_PER_MINUTE", "1")
        .with_setting("MAX_CONNECTIONS", PLACES.to_string());
    let gateway = Gateway::start_with(setup, |_, _| Reply::ok("hej")).await;
    let secret = Secret::new();
    let keys = gateway.app.setup.storage().await;
    let crm = key("crm", &secret, None);
    assert!(keys.add_key(&crm, &secret.hash, BY).await.unwrap());
    let address = gateway.app.url.strip_prefix("http://").unwrap();
    let flood = futures::future::join_all((0..PLACES).map(async |_| {
        loop {
            let mut stream = TcpStream::connect(address).await.unwrap();
            let head = "POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\nx-api-key: wrong\r\n\
                content-length: 100\r\n\r\n{";
            let _ = stream.write_all(head.as_bytes()).await;
            let _ = stream.read_to_end(&mut Vec::new()).await;
        }
    }));
    let good = async {
        tokio::time::sleep(Duration::from_millis(500)).await;
        // Sooner than a slow body is given up.
        let soon = gateway.soon(&secret, 200);
        tokio::time::timeout(Duration::from_secs(5), soon).await
    };
    tokio::select! {
        _ = flood => {}
        answered = good => answered.unwrap(),
    }
}

#[tokio::test]
async fn a_limit_that_is_not_known_is_refused() {
    let gateway = Gateway::answering(Reply::ok("hej")).await;
    for method in ["keys.create", "keys.limit"] {
        let limits = json!({"requestsPerMinute": 5, "dollarsPerMonth": 5});
        let params = json!({"name": "crm", "limits": limits});
        let error = gateway.app.call(method, params).await.unwrap_err();
        assert!(error.to_string().contains("dollarsPerMonth"), "{error}");
    }
}

#[tokio::test]
async fn nobody_names_further_models_for_a_server_to_ask() {
    let gateway = Gateway::answering(Reply::ok("hej")).await;
    for (path, words) in [
        (
            "/v1/chat/completions",
            json!({"messages": [{"role": "user", "content": "Hi"}]}),
        ),
        ("/v1/responses", json!({"input": "Hi"})),
        (
            "/v1/messages",
            json!({"max_tokens": 9, "messages": [{"role": "user", "content": "Hi"}]}),
        ),
    ] {
        let mut asked = words;
        asked["model"] = "task/chat".into();
        asked["models"] = json!(["somebody/else"]);
        asked["fallbacks"] = json!([{"model": "somebody/else"}]);
        let answer = gateway.post(path, asked.to_string()).await;
        assert_eq!(answer.status, StatusCode::OK, "{}", answer.text);
    }
    for request in gateway.upstream.requests() {
        let sent = request.body.to_string();
        assert!(!sent.contains("somebody"), "{sent}");
    }
}

#[tokio::test]
async fn a_budget_in_dollars_names_the_models_for_which_it_counts_nothing() {
    let gateway = Gateway::answering(Reply::ok("hej")).await;
    let call = async |method: &str, params: Value| gateway.app.call(method, params).await.unwrap();
    let made = async |name: &str, models: Value, limits: Value| {
        let mut params = json!({"name": name, "limits": limits});
        if !models.is_null() {
            params["models"] = models;
        }
        call("keys.create", params).await["unpriced"].clone()
    };
    let dollars = json!({"dollarsPerDay": 5});
    assert_eq!(
        made("all", Value::Null, dollars.clone()).await,
        json!(["a", "b"])
    );
    assert_eq!(
        made("one", json!(["a"]), dollars.clone()).await,
        json!(["a"])
    );
    assert_eq!(
        made("task", json!(["task/chat"]), dollars).await,
        json!(["a", "b"])
    );
    assert_eq!(
        made("none", Value::Null, json!({"tokensPerDay": 5})).await,
        json!([])
    );
    let listed = call("keys.list", json!({})).await;
    let listed: Vec<_> = listed
        .as_array()
        .unwrap()
        .iter()
        .map(|it| &it["unpriced"])
        .collect();
    assert_eq!(
        listed,
        [
            &json!(["a", "b"]),
            &json!(["a"]),
            &json!(["a", "b"]),
            &json!([])
        ]
    );
}

#[tokio::test]
async fn the_command_says_for_which_models_a_budget_in_dollars_counts_nothing() {
    let catalog = "[providers.up]\nbase_url = \"http://up/v1\"\n\
         [models.dear]\nprovider = \"up\"\nid = \"d\"\ncontext = 1\nprices = { prompt = 1, completion = 1 }\n\
         [models.free]\nprovider = \"up\"\nid = \"f\"\ncontext = 1\ntier = \"free\"\n\
         [models.unknown]\nprovider = \"up\"\nid = \"u\"\ncontext = 1\n\
         [tasks.chat]\ncandidate = [\"dear\"]\ncontrol = [\"dear\"]\n";
    let setup = TestApp::builder().with_catalog(catalog);
    setup.storage().await.close().await;
    let run = async |arguments: &[&str]| {
        let mut command = setup.command(&["key"]);
        let ended = command
            .args(arguments)
            .args(["--name", "crm"])
            .output()
            .await
            .unwrap();
        assert!(
            ended.status.success(),
            "{}",
            String::from_utf8_lossy(&ended.stderr)
        );
        String::from_utf8(ended.stdout).unwrap()
    };
    let made = run(&["create", "--usd-per-day", "5"]).await;
    assert!(
        made.starts_with("a budget in dollars counts nothing for unknown,"),
        "{made}"
    );
    assert!(
        made.lines().next_back().unwrap().starts_with("mr_"),
        "{made}"
    );
    let limited = run(&["limit", "--usd-per-day", "6"]).await;
    assert!(limited.contains("nothing for unknown,"), "{limited}");
    let limited = run(&["limit", "--tokens-per-day", "6"]).await;
    assert!(!limited.contains("unknown"), "{limited}");
}
