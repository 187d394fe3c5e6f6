//! The catalog is read again while the server runs: what is taken, what is refused, and what becomes of
//! requests and rollouts.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    time::Duration,
};

use modelramp::_core::caller::Role;
use serde_json::{Value, json};
use sqlx::SqlitePool;
use tokio::process::Command;

use crate::support::{
    app::{TestApp, TestAppBuilder},
    process::TestProcess,
    scripted_upstream::{Reply, Upstream},
    wait::{PATIENCE, eventually, until},
};

/// A catalog whose models are simulated, and answer chat in this order.
fn catalog(candidate: &[&str], control: &[&str]) -> String {
    let mut text = "[providers.test]\nbase_url = \"http://127.0.0.1:9/v1\"\n\
                    api_key_env = \"RELOAD_TEST_API_KEY\"\n"
        .to_owned();
    let mut models: Vec<_> = candidate.iter().chain(control).collect();
    models.sort_unstable();
    models.dedup();
    for name in models {
        text +=
            &format!("[models.{name}]\nprovider = \"test\"\nid = \"{name}\"\ncontext = 32000\n");
    }
    text + &format!("[tasks.chat]\ncandidate = {candidate:?}\ncontrol = {control:?}\n")
}

fn setup() -> TestAppBuilder {
    let setup = TestApp::builder().with_catalog(&catalog(&["b", "a"], &["a"]));
    setup.with_setting("CATALOGUE_POLL", "50ms")
}

impl TestApp {
    fn change_catalog(&self, text: &str) {
        // As editors and deployments do it: nobody reads half of it.
        let folder = self.setup.folder();
        std::fs::write(folder.join("new.toml"), text).unwrap();
        std::fs::rename(folder.join("new.toml"), folder.join("catalog.toml")).unwrap();
    }

    async fn models(&self) -> Vec<String> {
        let list = self.call("models.list", json!({})).await.unwrap();
        let models = list["models"].as_array().unwrap();
        let name = |it: &Value| it["name"].as_str().unwrap().to_owned();
        models.iter().map(name).collect()
    }

    /// Text and details of the last alert about the catalog, once there is one with this title.
    async fn told(&self, title: &str) -> (String, Value) {
        let pool = SqlitePool::connect(self.setup.database()).await.unwrap();
        let (text, details): (String, String) = eventually(PATIENCE, async || {
            let told =
                "SELECT body, details FROM alerts WHERE kind = 'catalog' AND title LIKE $1 || '%'";
            let told = sqlx::query_as(told).bind(title).fetch_optional(&pool).await;
            told.unwrap().ok_or("no such alert")
        })
        .await;
        pool.close().await;
        (text, serde_json::from_str(&details).unwrap())
    }
}

#[tokio::test]
async fn a_file_that_changes_is_read_and_a_faulty_one_is_refused_with_its_lines() {
    let app = setup().start().await;
    assert_eq!(app.models().await, ["a", "b"]);
    app.change_catalog(&catalog(&["c", "a"], &["a"]));
    until("c is there", async || app.models().await == ["a", "c"]).await;
    let answer = app.http.post(format!("{}/v1/chat/completions", app.url));
    let answer = answer
        .bearer_auth(app.setup.admin().await)
        .body(json!({"model": "c", "messages": [{"role": "user", "content": "hej"}]}).to_string());
    let answer = answer.send().await.unwrap();
    assert_eq!(
        (
            answer.status().as_u16(),
            &answer.headers()["x-modelramp-model"]
        ),
        (200, &"c".parse().unwrap())
    );

    let faulty = catalog(&["d", "a"], &["a"]).replace("id = \"d\"", "id = 7");
    app.change_catalog(&faulty.replace("candidate = [", "candidate = [\"nobody\", "));
    let (text, _) = app.told("A catalog was refused").await;
    let line = faulty.lines().position(|line| line == "id = 7").unwrap() + 1;
    assert!(
        text.contains(&format!("catalog.toml:{line}: `models.d.id`")),
        "{text}"
    );
    assert!(text.contains("nobody"), "all faults are told: {text}");
    assert_eq!(app.models().await, ["a", "c"], "the one before stays");

    app.change_catalog(&catalog(&["d", "a"], &["a"]));
    let (_, details) = app.told("The catalog is in use").await;
    assert_eq!(details["resolves"].as_array().unwrap().len(), 1);
    assert_eq!(app.models().await, ["a", "d"]);
}

/// Models `a` and `b` at an upstream that has neither `b` nor, once it is told so, `a`.
async fn watched(upstream: &Upstream) -> TestApp {
    let mut text = format!("[providers.up]\nbase_url = \"{}\"\n", upstream.base_url);
    for model in ["a", "b"] {
        text += &format!("[models.{model}]\nprovider = \"up\"\nid = \"{model}\"\ncontext = 8192\n");
    }
    text += "[tasks.chat]\ncandidate = [\"b\", \"a\"]\ncontrol = [\"a\", \"b\"]\n";
    let setup = TestApp::builder().with_catalog(&text);
    let setup = setup.with_setting("CATALOGUE_WATCH_INTERVAL", "100ms");
    setup.with_busy_users().start().await
}

#[tokio::test]
async fn what_a_provider_lists_is_told_where_it_differs_and_when_that_is_over() {
    let upstream = Upstream::start(vec![Reply::ok("hej")]).await;
    upstream.list(&json!([{
        "id": "a", "context_length": 4096, "expiration_date": "2020-01-01",
        "pricing": {"prompt": "0.000001", "completion": "0.000002"},
    }]));
    let app = watched(&upstream).await;
    let (text, _) = app.told("The catalog differs from up").await;
    for words in [
        "`a` (a) ends on 2020-01-01",
        "costs 1 and 2 US dollars per million tokens",
        "takes 4096 tokens",
        "`b` (b) is not listed",
    ] {
        assert!(text.contains(words), "{words}: {text}");
    }
    let list = app.call("models.list", json!({})).await.unwrap();
    let mut watch = list["models"][0]["watch"].clone();
    assert!(watch["checkedAt"].take().is_string());
    let expected = json!({
        "checkedAt": null, "listing": "listed", "retiresOn": "2020-01-01",
        "prices": {"prompt": 1.0, "completion": 2.0}, "contextWindow": 4096,
    });
    assert_eq!(watch, expected);
    assert_eq!(list["models"][1]["watch"]["listing"], "missing");
    // It answers all the same.
    let explained = app
        .call("models.explain", json!({"task": "chat", "userId": 7}))
        .await
        .unwrap();
    assert_eq!(explained["fallbacks"], json!(["b"]));
    upstream.list(&json!([{"id": "a"}, {"id": "b"}]));
    app.told("The catalog agrees with up").await;
}

#[tokio::test]
async fn a_provider_without_a_list_is_not_told() {
    let upstream = Upstream::start(vec![Reply::ok("hej")]).await;
    let app = watched(&upstream).await;
    until("it was asked", async || {
        let list = app.call("models.list", json!({})).await.unwrap();
        list["models"][0]["watch"]["listing"] == "not-told"
    })
    .await;
}

#[tokio::test]
async fn a_control_that_vanishes_at_its_provider_holds_the_rollout_and_the_next_of_its_route_answers()
 {
    let is_there = Arc::new(AtomicBool::new(true));
    let has_a = is_there.clone();
    let upstream = Upstream::with(move |_, request| match request.body["model"] == "a" && !has_a.load(Relaxed) {
        true => Reply::Http(404, vec![], json!({"error": {"message": "The model `a` does not exist", "code": "model_not_found"}}).to_string()),
        false => Reply::ok("hej"),
    })
    .await;
    upstream.list(&json!([{"id": "a"}, {"id": "b"}]));
    let app = watched(&upstream).await;
    let plan = "name = \"slow\"\ntasks = [\"chat\"]\ndeadline = \"30days\"\n\
                [[stages]]\nshare = 1\nsoak = \"1h\"\n";
    let id = app.begin_rollout(plan).await;
    app.reach(&id, "running", PATIENCE).await;
    is_there.store(false, Relaxed);
    upstream.list(&json!([{"id": "b"}]));
    app.told("The catalog differs from up").await;
    let token = app.setup.token(7, Role::User).await;
    let ask = async || {
        let ask = app
            .http
            .post(format!("{}/v1/chat/completions", app.url))
            .bearer_auth(&token);
        let body = json!({"model": "task/chat", "messages": [{"role": "user", "content": "hej"}]});
        let answer = ask.body(body.to_string()).send().await.unwrap();
        let attempts = answer.headers()["x-modelramp-attempts"]
            .to_str()
            .unwrap()
            .to_owned();
        (answer.status().as_u16(), attempts)
    };
    assert_eq!(ask().await, (200, "a@up:model-gone, b@up:ok".to_owned()));
    let paused = app.reach(&id, "paused", PATIENCE).await;
    let reason = paused["reason"].as_str().unwrap();
    assert!(
        reason.contains("control's model `a` of `chat` is gone: its provider"),
        "{reason}"
    );
    assert_eq!(ask().await, (200, "b@up:ok".to_owned()));
    is_there.store(true, Relaxed);
    upstream.list(&json!([{"id": "a"}, {"id": "b"}]));
    app.told("A model is back: slow").await;
    assert_eq!(ask().await, (200, "a@up:ok".to_owned()));
    app.reach(&id, "paused", PATIENCE).await;
}

async fn hang_up(server: &TestProcess) {
    let mut kill = Command::new("kill");
    let sent = kill.args(["-HUP", &server.id().to_string()]).status().await;
    assert!(sent.unwrap().success());
}

/// The signal comes as soon as the server says that it listens.
#[tokio::test]
async fn sighup_ends_no_server_with_the_built_in_catalog() {
    let setup = TestApp::builder().with_setting("LOG_LEVEL", "info");
    let server = setup.spawn().await;
    hang_up(&server).await;
    let log = setup.folder().join("server.log");
    until("it was read", async || {
        let log = std::fs::read_to_string(&log).unwrap();
        log.contains("the catalog was read again") && log.contains("the built-in catalog")
    })
    .await;
    assert!(server.call("models.list", json!({})).await.unwrap().is_ok());
}

#[tokio::test]
async fn sighup_reads_the_catalog_at_once() {
    let setup = setup().with_setting("CATALOGUE_POLL", "1h");
    let server = setup.spawn().await;
    let setup = setup.with_file("catalog.toml", &catalog(&["c"], &["a"]));
    hang_up(&server).await;
    until("c is there", async || {
        let list = server
            .call("models.list", json!({}))
            .await
            .unwrap()
            .unwrap();
        list["models"][1]["name"] == "c"
    })
    .await;
    drop(setup);
}

#[tokio::test]
async fn a_rollout_whose_candidate_vanishes_is_paused_and_serves_control() {
    let app = setup().with_busy_users().start().await;
    let plan = "name = \"slow\"\ntasks = [\"chat\"]\ndeadline = \"30days\"\n\
                [[stages]]\nshare = 100\nsoak = \"1h\"\n";
    let id = app.begin_rollout(plan).await;
    let params = json!({"task": "chat", "userId": 7});
    until("the candidate is served", async || {
        app.call("models.explain", params.clone()).await.unwrap()["model"] == "b"
    })
    .await;

    // Another order of the same models changes nothing for a rollout under way.
    app.change_catalog(&catalog(&["a", "b", "c"], &["a"]));
    until("c is there", async || app.models().await == ["a", "b", "c"]).await;
    let explained = app.call("models.explain", params.clone()).await.unwrap();
    assert_eq!(explained["model"], "b");

    app.change_catalog(&catalog(&["c"], &["a"]));
    let paused = app.reach(&id, "paused", PATIENCE).await;
    let reason = paused["reason"].as_str().unwrap();
    assert!(
        reason.contains("the candidate's model `b` of `chat` is gone"),
        "{reason}"
    );
    assert_eq!(paused["changedBy"], "catalog");
    app.told("A model is gone: slow").await;
    let explained = app.call("models.explain", params.clone()).await.unwrap();
    assert_eq!(explained["model"], "a", "{explained:#}");
    let why = explained["why"].as_str().unwrap();
    assert!(why.contains("`b` is gone"), "{why}");

    // What is served in its place is no evidence.
    let token = app.setup.token(7, Role::User).await;
    let ask = app
        .http
        .post(format!("{}/v1/chat/completions", app.url))
        .bearer_auth(&token);
    let ask = ask.body(
        json!({"model": "task/chat", "messages": [{"role": "user", "content": "hej"}]}).to_string(),
    );
    assert_eq!(ask.send().await.unwrap().status(), 200);
    let pool = SqlitePool::connect(app.setup.database()).await.unwrap();
    let counted: bool = eventually(PATIENCE, async || {
        let event = sqlx::query_scalar("SELECT counted FROM events WHERE model = 'a'");
        event.fetch_optional(&pool).await.unwrap().ok_or("no event")
    })
    .await;
    pool.close().await;
    assert!(!counted);

    app.change_catalog(&catalog(&["b", "a"], &["a"]));
    app.told("A model is back: slow").await;
    let still = app.reach(&id, "paused", Duration::from_secs(1)).await;
    assert_eq!(still["state"]["name"], "paused");
}
