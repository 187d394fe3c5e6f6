//! `modelramp drive` against a running server.

use std::time::Duration;

use modelramp::cli::drive::traffic::{ANSWERED, DriveRate, DrivenServer};
use serde_json::json;
use tokio::process::Command;

use crate::support::app::TestApp;

/// `modelramp drive` with these flags and the server's settings.
fn drive(server: &TestApp, flags: &[&str]) -> Command {
    server.setup.command(&[&["drive"], flags].concat())
}

#[tokio::test]
async fn users_are_seen_on_their_variants_with_what_became_of_their_requests() {
    let setup = TestApp::builder().with_busy_users();
    let setup = setup.with_setting("OPENROUTER_ROLLOUT_PERCENTAGE", "50");
    // Each of its users' messages is to reach the model that fails.
    let setup = setup.with_setting("BREAKER", "false");
    let server = setup.start().await;
    // Only the candidate's route has this model, and its fallbacks answer in its place.
    server
        .set_model("z-ai/glm-4.5-air:free", json!({"error_rate": 1}))
        .await;
    let tokens = server.setup.tokens(10..=49).await;
    let url = server.url.parse().unwrap();
    let traffic = DrivenServer::new(&url, &tokens, "chat").unwrap();
    let pace = DriveRate {
        rate: 100.0,
        duration: Duration::from_secs(2),
        max_open: 500,
    };
    let mut last = None;
    let tally = traffic
        .run(pace, std::future::pending(), |progress| {
            last = Some(progress);
        })
        .await;
    assert_eq!((tally.requests(), tally.left_out), (200, 0), "{tally:?}");
    let (control, candidate) = (tally.of("control"), tally.of("candidate"));
    assert_eq!(control + candidate, 200);
    assert!((50..150).contains(&candidate), "{candidate}");
    assert_eq!(
        server.requests_to("z-ai/glm-4.5-air:free").await,
        candidate as u64
    );
    for variant in ["control", "candidate"] {
        let key = (variant.to_owned(), ANSWERED.to_owned());
        assert!(tally.outcomes[&key].iter().all(|ms| *ms >= 20.0));
    }
    let last = last.unwrap();
    assert_eq!((last.due, last.answered, last.failed), (200, 200, 0));
}

#[tokio::test]
async fn the_command_prints_a_table_and_leaves_no_conversation() {
    let server = TestApp::start().await;
    let flags = [
        "--url",
        &server.url,
        "--users",
        "5",
        "--rate",
        "20",
        "--duration",
        "1s",
    ];
    let output = drive(&server, &flags).output().await.unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(output.status.success(), "{text}");
    let row: Vec<&str> = text.lines().nth(1).unwrap().split_whitespace().collect();
    assert_eq!(row[..4], ["control", "answered", "20", "100.0"], "{text}");
    // User 1 is the admin of this server and was one of the five.
    let left = server.call("chat.getConversations", json!({})).await;
    assert_eq!(left.unwrap(), json!([]));
    let me = server.call("auth.me", json!({})).await.unwrap();
    assert_eq!(me["role"], "admin");
}

#[tokio::test]
async fn what_goes_too_far_is_refused() {
    let server = TestApp::start().await;
    for (flags, says) in [
        (&["--url", "http://10.255.255.1:3000"][..], "--yes-remote"),
        (&["--rate", "1001"], "at most 1000 requests"),
        (
            &["--rate", "0"],
            "'0' for '--rate <RATE>': expected more than 0",
        ),
        (&["--rate", "NaN"], "at most 1000 requests"),
        (&["--duration", "61m"], "at most 1h"),
        (&["--users", "100001"], "100001 is not in 1..=100000"),
        (
            &["--yes-remote", "--url", "http://10.255.255.1:3000"],
            "users of another machine need tokens",
        ),
    ] {
        let output = drive(&server, flags).output().await.unwrap();
        let text = String::from_utf8(output.stderr).unwrap();
        assert!(!output.status.success() && text.contains(says), "{text}");
    }
}
