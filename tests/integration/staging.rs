//! `modelramp staging`: go and no-go, and a run that was killed and goes on.

use std::{path::Path, process::Stdio, time::Duration};

use modelramp::_core::caller::Role;
use serde_json::{Value, json};
use tokio::process::Command;

use crate::support::{
    app::{TestApp, TestAppBuilder},
    calls::rpc,
    scripted_upstream::{Reply, Upstream},
    wait::until,
};

/// Everybody at once; the time is the command's.
const PLAN: &str = "name = \"trial-run\"\n[no_traffic]\nalert_after = \"12h\"\n[[stages]]\nshare = 100\n\
                    soak = \"24h\"\nmin_requests = 5\nmin_users = 3\n";

/// Models of both arms, one of which answers users; who is told is set up.
fn setup(upstream: &Upstream, receiver: &Upstream) -> TestAppBuilder {
    let catalog = format!(
        "[providers.up]\nbase_url = \"{}\"\n[models.new]\nprovider = \"up\"\nid = \"new\"\ncontext = 8192\n\
         [models.old]\nprovider = \"up\"\nid = \"old\"\ncontext = 8192\n\
         [tasks.chat]\ncandidate = [\"new\"]\ncontrol = [\"old\"]\n\
         [tasks.email-analysis]\ncandidate = [\"new\"]\ncontrol = [\"old\"]\n\
         [tasks.email-draft]\ncandidate = [\"new\"]\ncontrol = [\"old\"]\n",
        upstream.base_url
    );
    TestApp::builder()
        .with_catalog(&catalog)
        .with_file("plan.toml", PLAN)
        .with_setting("ALERT_WEBHOOK_URL", format!("{}/hook", receiver.base_url))
        .with_setting(
            "ALERT_WEBHOOK_SECRET",
            "a secret of a test, 32 letters long",
        )
}

async fn staging(app: &TestApp, duration: &str) -> Command {
    let words = [
        "staging",
        "--plan",
        "plan.toml",
        "--for",
        duration,
        "-o",
        "report.md",
        "--url",
        &app.url,
    ];
    let mut command = app.setup.command(&words);
    command.env("MODELRAMP_TOKEN", app.setup.admin().await);
    command.stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

/// Users who send a message each.
async fn chat(app: &TestApp, users: std::ops::RangeInclusive<i64>) {
    for user in users {
        let token = app.setup.token(user, Role::User).await;
        let call = async |method: &str, input: Value| {
            rpc(&app.http, &app.url, &token, method, input)
                .await
                .unwrap()
                .unwrap()
        };
        let conversation = call("chat.createConversation", json!({})).await;
        let message = json!({"conversationId": conversation["id"], "content": "Hej!"});
        call("chat.sendMessage", message).await;
    }
}

fn report(setup: &TestAppBuilder) -> String {
    std::fs::read_to_string(setup.folder().join("report.md")).unwrap()
}

fn is_there(setup: &TestAppBuilder, name: &str) -> bool {
    Path::new(setup.folder()).join(name).exists()
}

#[tokio::test]
async fn a_day_that_goes_well_is_a_go_and_the_report_says_what_was_seen() {
    let upstream = Upstream::with(|_, request| match &request.body["response_format"] {
        Value::Null => Reply::ok("Goddag."),
        _ => Reply::ok(r#"{"category": "finance", "confidence": 0.75}"#),
    })
    .await;
    let receiver = Upstream::start(vec![Reply::json(&json!({}))]).await;
    let app = setup(&upstream, &receiver).start().await;
    // Testers come as soon as they are in it; the command is to find the rollout that is under way.
    let id = app.begin_rollout(PLAN).await;
    until("the rollout serves", async || {
        let flags = app.call("featureFlags.get", json!({})).await.unwrap();
        flags["tasks"][0]["share"] == 100.0
    })
    .await;
    chat(&app, 10..=17).await;
    let ran = staging(&app, "1s").await.output().await.unwrap();
    let said = String::from_utf8_lossy(&ran.stderr).into_owned();
    let report = report(&app.setup);
    assert_eq!(ran.status.code(), Some(0), "{said}\n{report}");
    assert!(said.contains("is under way; it is watched"), "{said}");
    for part in [
        "# Staging of `trial-run`: go",
        &format!("Rollout `{id}`"),
        "control old; candidate new",
        "| traffic | pass | ",
        "| errors | pass | 0 of ",
        "| told | pass |",
        "| channels | pass | 1 channel set up |",
        "| email | pass |",
        "| rollback | pass |",
        "| greeting | skip |",
        "modelramp message team",
        "| user:1 | started | a test |",
    ] {
        assert!(report.contains(part), "{part}: {report}");
    }
    assert!(!is_there(&app.setup, "report.md.watching"));
    // A report is not written over.
    let again = staging(&app, "1s").await.output().await.unwrap();
    assert_eq!(again.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&again.stderr).contains("is there already"));
    app.stop().await;
}

#[tokio::test]
async fn a_run_that_was_killed_goes_on_and_tells_a_rollback_that_came_meanwhile() {
    let upstream = Upstream::start(vec![Reply::ok("Goddag.")]).await;
    let receiver = Upstream::start(vec![Reply::json(&json!({}))]).await;
    let app = setup(&upstream, &receiver).start().await;
    let mut watching = staging(&app, "1h").await.spawn().unwrap();
    until("it has begun", async || {
        is_there(&app.setup, "report.md.watching")
    })
    .await;
    watching.kill().await.unwrap();

    let list = app.call("rollout.list", json!({})).await.unwrap();
    let id = list[0]["id"].as_str().unwrap().to_owned();
    let running = app.reach(&id, "running", Duration::from_secs(30)).await;
    let change = json!({"id": id, "version": running["version"], "reason": "testers complain"});
    app.call("rollout.rollback", change).await.unwrap();
    let ran = staging(&app, "1h").await.output().await.unwrap();
    let said = String::from_utf8_lossy(&ran.stderr).into_owned();
    assert_eq!(ran.status.code(), Some(1), "{said}");
    assert!(
        said.contains(&format!("going on with rollout {id}")),
        "{said}"
    );
    assert!(said.contains("no-go"), "{said}");
    let report = report(&app.setup);
    for part in [
        "# Staging of `trial-run`: no-go",
        "| rollout | FAIL | rolled-back at 0 %: testers complain |",
        "| traffic | FAIL | ",
        "| told | FAIL | critical: Rolled back",
        "| email | FAIL |",
    ] {
        assert!(report.contains(part), "{part}: {report}");
    }
    let all = app
        .call("rollout.list", json!({"all": true}))
        .await
        .unwrap();
    let of_plan = all
        .as_array()
        .unwrap()
        .iter()
        .filter(|it| it["plan"] == "trial-run");
    assert_eq!(of_plan.count(), 1);
    app.stop().await;
}
