//! From a model that turns bad to nobody getting it, through the whole server.

use std::time::Duration;

use modelramp::cli::drive::traffic::{DriveRate, DrivenServer};
use serde_json::json;
use sqlx::SqlitePool;
use tokio_util::sync::CancellationToken;

use crate::support::{app::TestApp, wait::until};

const CATALOGUE: &str = r#"
[providers.test]
base_url = "http://127.0.0.1:9/v1"
api_key_env = "ROLLBACK_TEST_API_KEY"
[models.trusty]
provider = "test"
id = "trusty"
context = 32000
[models.shiny]
provider = "test"
id = "shiny"
context = 32000
[tasks.chat]
control = ["trusty"]
candidate = ["shiny", "trusty"]
"#;
/// Requests a second, all users together.
const RATE: f64 = 60.0;
/// Those of a second: on a busy machine users send less, and no queue hides what the server does.
const MAX_OPEN: usize = 60;
/// After the deciding event.
const MUST_BE_GONE: Duration = Duration::from_secs(2);
/// Until there is a deciding event: requests that prove what all of them show.
const MAY_DECIDE: Duration = Duration::from_secs(1);

/// A plan of one stage that does not end by itself.
fn plan(soak: &str, gate: &str) -> String {
    format!(
        "name = \"slow\"\ntasks = [\"chat\"]\ndeadline = \"30days\"\n\
         [evidence]\noutage_period = \"0s\"\n\
         [[stages]]\nshare = 50\nsoak = \"{soak}\"\ngate = \"{gate}\"\nmin_requests = 10\nmin_users = 2\nmin_time = \"1s\"\n\
         [[stages]]\nshare = 100\nsoak = \"1h\"\n"
    )
}

async fn server() -> TestApp {
    let setup = TestApp::builder().with_catalog(CATALOGUE).with_busy_users();
    let setup = setup.with_sandbox("[default]\nlatency_ms = 5\n");
    setup.start().await
}

/// Runs a rollout into a state, lets its candidate fail, and measures how long users still get it.
async fn candidate_fails_while(state: &str, plan: &str, pause: bool) {
    let server = server().await;
    let tokens = server.setup.tokens(10..=69).await;
    let url = server.url.parse().unwrap();
    let traffic = DrivenServer::new(&url, &tokens, "chat").unwrap();
    let pace = DriveRate {
        rate: RATE,
        duration: Duration::from_secs(60),
        max_open: MAX_OPEN,
    };
    let over = CancellationToken::new();
    let story = async {
        let id = server.begin_rollout(plan).await;
        if pause {
            let running = server.reach(&id, "running", Duration::from_secs(10)).await;
            let params = json!({"id": id, "version": running["version"], "reason": "a test"});
            server.call("rollout.pause", params).await.unwrap();
        }
        server.reach(&id, state, Duration::from_secs(20)).await;
        server.until_asked("shiny", 50).await;
        let spoiled_ms = chrono::Utc::now().timestamp_millis();
        server
            .set_model("shiny", json!({"error_rate": 1, "latency_ms": 5}))
            .await;
        server
            .reach(&id, "rolled-back", Duration::from_secs(20))
            .await;
        // The time is what is tested: long enough for a request that should not be.
        tokio::time::sleep(MUST_BE_GONE).await;
        over.cancel();
        (id, spoiled_ms)
    };
    let driven = traffic.run(pace, over.cancelled(), |_| {});
    let ((id, spoiled_ms), tally) = tokio::join!(story, driven);
    assert_eq!(tally.outcomes.len(), 2, "users noticed: {tally:?}");

    let database = server.setup.database();
    let pool = SqlitePool::connect(database).await.unwrap();
    let last_ms: f64 =
        sqlx::query_scalar("SELECT MAX(at_ms - latency_ms) FROM events WHERE model = 'shiny'")
            .fetch_one(&pool)
            .await
            .unwrap();
    let rollbacks: i64 = sqlx::query_scalar(
        "SELECT COUNT(*) FROM rollout_audit WHERE rollout_id = $1 AND action = 'rolled-back'",
    )
    .bind(id)
    .fetch_one(&pool)
    .await
    .unwrap();
    pool.close().await;
    assert_eq!(rollbacks, 1);
    let took_ms = last_ms - spoiled_ms as f64;
    let limit = MAY_DECIDE + MUST_BE_GONE;
    assert!(took_ms <= limit.as_secs_f64() * 1_000.0, "{took_ms} ms");
}

#[tokio::test]
async fn a_candidate_that_fails_is_gone_in_two_seconds() {
    candidate_fails_while("running", &plan("1h", "automatic"), false).await;
}

#[tokio::test]
async fn the_same_while_paused() {
    candidate_fails_while("paused", &plan("1h", "automatic"), true).await;
}

#[tokio::test]
async fn the_same_while_waiting_at_a_gate() {
    candidate_fails_while("waiting-at-gate", &plan("1s", "manual"), false).await;
}

/// One streamed answer to each of 60 users in turn, through the gateway, until it is over.
async fn stream_to_users(server: &TestApp, over: &CancellationToken) {
    let (http, admin) = (&server.http, server.setup.admin().await);
    let ask = |number: u32| {
        let body = json!({
            "model": "task/chat", "stream": true, "user": format!("u-{}", number % 60),
            "messages": [{"role": "user", "content": "hej"}],
        });
        let request = http.post(format!("{}/v1/chat/completions", server.url));
        let request = request.bearer_auth(admin);
        let sent = request.body(body.to_string()).send();
        async move { sent.await.unwrap().text().await.unwrap() }
    };
    for number in 0.. {
        let answers = futures::future::join_all((0..4).map(|more| ask(number * 4 + more)));
        tokio::select! {
            answers = answers => {
                // A cut has no clean end, and is told.
                for answer in answers {
                    let is_whole = answer.ends_with("data: [DONE]\n\n");
                    assert_ne!(is_whole, answer.contains("\"error\":{"), "{answer}");
                }
            }
            () = over.cancelled() => return,
        }
    }
}

#[tokio::test]
async fn a_candidate_that_cuts_its_streams_in_the_middle_is_taken_back() {
    let server = server().await;
    let over = CancellationToken::new();
    let story = async {
        let id = server.begin_rollout(&plan("1h", "automatic")).await;
        server.reach(&id, "running", Duration::from_secs(10)).await;
        server.until_asked("shiny", 50).await;
        let cut = json!({"error_rate": 1, "fault": "cut", "latency_ms": 5});
        server.set_model("shiny", cut).await;
        let over_there = server
            .reach(&id, "rolled-back", Duration::from_secs(30))
            .await;
        over.cancel();
        over_there
    };
    let (rollout, ()) = tokio::join!(story, stream_to_users(&server, &over));
    assert_eq!(rollout["state"]["name"], "rolled-back");
}

#[tokio::test]
async fn a_candidate_with_an_outage_comes_back_by_itself_four_times_and_then_no_more() {
    let server = server().await;
    let tokens = server.setup.tokens(10..=69).await;
    let url = server.url.parse().unwrap();
    let traffic = DrivenServer::new(&url, &tokens, "chat").unwrap();
    let pace = DriveRate {
        rate: RATE,
        duration: Duration::from_secs(240),
        max_open: MAX_OPEN,
    };
    let patience = Duration::from_secs(30);
    let over = CancellationToken::new();
    // What fails before an outage is known counts, and on a busy machine four times that much is above the
    // usual limit within an hour, which holds.
    let plan = plan("1h", "automatic").replace(
        "outage_period = \"0s\"",
        "outage_calm = \"4s\"\noutage_period = \"1h\"\nmax_error_rate = 0.5",
    );
    let story = async {
        let id = server.begin_rollout(&plan).await;
        server.until_asked("shiny", 50).await;
        let [bad, good] = [1, 0].map(|rate| json!({"error_rate": rate, "latency_ms": 5}));
        let get = async || server.call("rollout.get", json!({"id": id})).await.unwrap();
        for _ in 0..4 {
            server.set_model("shiny", bad.clone()).await;
            // It may be watched before.
            until("it is held", async || {
                get().await["state"]["because"] == "outage"
            })
            .await;
            let held = get().await;
            assert_eq!(
                (&held["share"], &held["outage"]["share"]),
                (&json!(0.0), &json!(50.0))
            );
            // Nobody but the probes asks it any more.
            let asked = server.requests_to("shiny").await;
            server.until_asked("shiny", asked + 3).await;
            assert!(server.requests_to("shiny").await < asked + 20);
            assert_eq!(get().await["state"]["because"], "outage");
            server.set_model("shiny", good.clone()).await;
            let back = server.reach(&id, "running", patience).await;
            assert_eq!((&back["share"], &back["stage"]), (&json!(50.0), &json!(1)));
            let asked = server.requests_to("shiny").await;
            server.until_asked("shiny", asked + 50).await;
        }
        server.set_model("shiny", bad).await;
        let ended = server.reach(&id, "rolled-back", patience).await;
        assert_eq!(
            (&ended["outages"], &ended["outage"]),
            (&json!(4), &json!(null))
        );
        over.cancel();
    };
    let driven = traffic.run(pace, over.cancelled(), |_| {});
    let ((), tally) = tokio::join!(story, driven);
    assert_eq!(tally.outcomes.len(), 2, "users noticed: {tally:?}");
}
