//! No candidate hides behind an outcome that is not counted as an error, through the whole server.
//!
//! The world: 40 users, 40 requests a second of all together. Control answers. The candidate begins to
//! end every request in one way, from the start or after it had answered.

use std::time::Duration;

use modelramp::cli::drive::traffic::{DriveRate, DrivenServer};
use serde_json::{Value, json};
use sqlx::SqlitePool;
use tokio_util::sync::CancellationToken;

use crate::support::{app::TestApp, wait::until};

/// The candidate's route has no other model, so nothing hides what it does.
const CATALOGUE: &str = r#"
[providers.test]
base_url = "http://127.0.0.1:9/v1"
api_key_env = "EVASION_TEST_API_KEY"
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
candidate = ["shiny"]
"#;
/// Ways of the sandbox to answer nothing that helps.
const EVASIONS: [&str; 7] = ["empty", "400", "403", "404", "422", "refusal", "too-long"];
/// First attempts that are enough.
const ENOUGH: u64 = 20;
/// From those until nobody gets it.
const MUST_BE_GONE: Duration = Duration::from_secs(3);
/// And until that is in the history.
const MUST_BE_TOLD: Duration = Duration::from_secs(20);

async fn server() -> TestApp {
    let setup = TestApp::builder().with_catalog(CATALOGUE).with_busy_users();
    let setup = setup.with_sandbox("[default]\nlatency_ms = 5\n");
    setup.start().await
}

/// Lets the candidate of a stage end every request so, and gives the rollout that was taken back, or
/// what it is when the traffic is over.
async fn story(share: f64, fault: &str, answers_before: u64, expected: &str) -> Value {
    let server = server().await;
    let tokens = server.setup.tokens(10..=49).await;
    let url = server.url.parse().unwrap();
    let traffic = DrivenServer::new(&url, &tokens, "chat").unwrap();
    let pace = DriveRate {
        rate: 40.0,
        duration: Duration::from_secs(180),
        max_open: 40,
    };
    let bad = json!({"error_rate": 1, "fault": fault, "latency_ms": 5});
    if answers_before == 0 {
        server.set_model("shiny", bad.clone()).await;
    }
    let over = CancellationToken::new();
    let story = async {
        let plan = format!(
            "name = \"evasion\"\ntasks = [\"chat\"]\n[evidence]\noutage_period = \"0s\"\n\
             [[stages]]\nshare = {share}\nsoak = \"1h\"\n\
             [[stages]]\nshare = 100\nsoak = \"1h\"\n"
        );
        let id = server.begin_rollout(&plan).await;
        server.until_asked("shiny", answers_before).await;
        if answers_before > 0 {
            server.set_model("shiny", bad).await;
        }
        let before = server.requests_to("shiny").await;
        // What counts as an error takes it back sooner.
        until("the candidate is asked often enough", async || {
            let which = json!({"id": id});
            let rollout = server.call("rollout.get", which).await.unwrap();
            let has_come = rollout["state"]["name"] == expected;
            has_come || server.requests_to("shiny").await >= before + ENOUGH
        })
        .await;
        let enough_ms = chrono::Utc::now().timestamp_millis();
        let reached = server.reach(&id, expected, MUST_BE_TOLD).await;
        // The time is what is tested: long enough for a request that should not be.
        tokio::time::sleep(MUST_BE_GONE).await;
        over.cancel();
        (reached, enough_ms)
    };
    let driven = traffic.run(pace, over.cancelled(), |_| {});
    let ((rollout, enough_ms), _) = tokio::join!(story, driven);
    if expected == "rolled-back" {
        assert_eq!(rollout["share"], 0.0);
        let database = server.setup.database();
        let pool = SqlitePool::connect(database).await.unwrap();
        let last_ms: f64 =
            sqlx::query_scalar("SELECT MAX(at_ms - latency_ms) FROM events WHERE model = 'shiny'")
                .fetch_one(&pool)
                .await
                .unwrap();
        pool.close().await;
        let took_ms = last_ms - enough_ms as f64;
        let limit = MUST_BE_GONE.as_secs_f64() * 1_000.0;
        assert!(took_ms <= limit, "{fault} at {share} %: {took_ms} ms");
    }
    rollout
}

#[tokio::test]
async fn a_candidate_that_never_answers_is_taken_back_whatever_it_says() {
    for fault in EVASIONS {
        // Of 40 users one at least is in it, but once in seven thousand times.
        let rollout = story(20.0, fault, 0, "rolled-back").await;
        assert_eq!(rollout["changedBy"], "controller", "{fault}");
    }
}

#[tokio::test]
async fn so_is_one_that_answered_before_at_every_share() {
    for (share, fault) in [
        (20.0, "too-long"),
        (20.0, "refusal"),
        (50.0, "403"),
        (50.0, "too-long"),
        (95.0, "refusal"),
        (99.0, "404"),
    ] {
        story(share, fault, 40, "rolled-back").await;
    }
}

#[tokio::test]
async fn what_our_account_is_refused_holds_instead() {
    for fault in ["401", "402", "key-limit"] {
        let rollout = story(50.0, fault, 20, "holding").await;
        assert_eq!(rollout["state"]["because"], "account", "{fault}");
        assert_eq!(rollout["share"], 50.0, "{fault}");
    }
}
