//! `modelramp message`: texts filled from a rollout, and a user's request that is found.

use std::process::Output;

use modelramp::_core::caller::Role;
use serde_json::{Value, json};

use crate::support::{
    app::TestApp,
    calls::rpc,
    scripted_upstream::{Reply, Upstream},
    wait::until,
};

async fn message(app: &TestApp, arguments: &[&str]) -> Output {
    let words = [&["message", "--url", &app.url], arguments].concat();
    let mut command = app.setup.command(&words);
    command.env("MODELRAMP_TOKEN", app.setup.admin().await);
    command.output().await.unwrap()
}

async fn text(app: &TestApp, arguments: &[&str]) -> String {
    let ran = message(app, arguments).await;
    let said = String::from_utf8_lossy(&ran.stderr).into_owned();
    assert!(ran.status.success(), "{said}");
    let text = String::from_utf8(ran.stdout).unwrap();
    assert!(!text.contains(['{', '}']), "{text}");
    text
}

#[tokio::test]
async fn each_message_is_filled_from_its_rollout() {
    let app = TestApp::start().await;
    let plan = "name = \"summer\"\ntasks = [\"chat\"]\non_call = \"Rikke, 12 34 56 78\"\n[[stages]]\nshare = 10\n\
                soak = \"48h\"\n[[stages]]\nshare = 100\nsoak = \"7d\"\n[[windows]]\nzone = \"UTC\"\n";
    let id = app.begin_rollout(plan).await;
    let team = text(&app, &["team", &id[..13]]).await;
    for part in [
        "Subject: `summer`: `glm-4.5-air-free` in the place of `gemma-3-27b-free`",
        "- stage 1: 10 % of the users, for 2days at least",
        "Stages open only on mon, tue, wed, thu, fri, sat, sun 00:00 to 24:00 (UTC).",
        "On call: Rikke, 12 34 56 78",
        &format!("modelramp rollout rollback {id}"),
    ] {
        assert!(team.contains(part), "{part}: {team}");
    }
    assert_eq!(text(&app, &["team", "last"]).await, team);
    assert_eq!(text(&app, &["team", "LAST"]).await, team);
    let support = text(&app, &["support", &id]).await;
    assert!(support.contains("the user's id"), "{support}");
    let change = json!({"id": id, "version": 1, "reason": "wrong tone {odd}"});
    let change = app.call("rollout.rollback", change).await;
    change.unwrap();
    let incident = message(&app, &["incident", &id]).await;
    let incident = String::from_utf8(incident.stdout).unwrap();
    for part in [
        "is rolled-back: nobody",
        "Why: wrong tone {odd}",
        "rolled-back by user:1, 0 %",
    ] {
        assert!(incident.contains(part), "{part}: {incident}");
    }
    let complete = message(&app, &["complete", &id]).await;
    assert!(String::from_utf8_lossy(&complete.stdout).contains("make the candidate the control"));

    let setup = app.setup.clone();
    setup.clone().with_file("own.md", "{plan} {share} %\n");
    assert_eq!(
        text(&app, &["team", &id, "--template", "own.md"]).await,
        "`summer` 0 %\n"
    );
    setup.with_file("own.md", "{shares}");
    let refused = message(&app, &["team", &id, "--template", "own.md"]).await;
    assert_eq!(refused.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&refused.stderr).contains("known are `{candidate}`"));
    app.stop().await;
}

#[tokio::test]
async fn a_message_names_each_model_that_comes_once_and_none_that_stays() {
    let app = TestApp::start().await;
    app.begin_rollout("standard").await;
    let team = text(&app, &["team", "last"]).await;
    let subject = team.lines().next().unwrap();
    let (new, old) = subject.split_once(" in the place of ").unwrap();
    assert_eq!(old, "`gemma-3-27b-free`", "{subject}");
    assert!(!new.contains("gemma-3-27b-free"), "{subject}");
    assert_eq!(new.matches("`glm-4.5-air-free`").count(), 1, "{subject}");
    assert!(new.contains(", ") && new.contains(" and "), "{subject}");
    app.stop().await;
}

#[tokio::test]
async fn a_users_request_is_found_by_user_task_and_time() {
    let upstream = Upstream::with(|_, request| match request.body["model"].as_str() {
        Some("first") => Reply::status(500),
        _ => Reply::ok("Goddag."),
    })
    .await;
    let catalog = format!(
        "[providers.up]\nbase_url = \"{}\"\n[models.first]\nprovider = \"up\"\nid = \"first\"\ncontext = 8192\n\
         [models.second]\nprovider = \"up\"\nid = \"second\"\ncontext = 8192\n\
         [tasks.chat]\ncandidate = [\"first\", \"second\"]\ncontrol = [\"first\", \"second\"]\n",
        upstream.base_url
    );
    let app = TestApp::builder().with_catalog(&catalog).start().await;
    let token = app.setup.token(7, Role::User).await;
    let call = async |method: &str, input: Value| {
        rpc(&app.http, &app.url, &token, method, input)
            .await
            .unwrap()
            .unwrap()
    };
    let conversation = call("chat.createConversation", json!({})).await;
    let sent = json!({"conversationId": conversation["id"], "content": "Hej!"});
    call("chat.sendMessage", sent).await;
    let mut rows = json!([]);
    until("the request is stored", async || {
        rows = app
            .call("requests.list", json!({"userId": 7}))
            .await
            .unwrap()["rows"]
            .take();
        rows.as_array().is_some_and(|rows| !rows.is_empty())
    })
    .await;
    let (id, at) = (
        rows[0]["requestId"].as_str().unwrap(),
        rows[0]["at"].as_str().unwrap(),
    );
    let answer = text(
        &app,
        &[
            "support",
            "--user",
            "7",
            "--task",
            "chat",
            "--at",
            &at[..16],
        ],
    )
    .await;
    for part in [
        &*format!("request {id} of user 7, chat"),
        "`second` (success)",
        "by another model than the first one",
        "No other request of this user was near.",
    ] {
        assert!(answer.contains(part), "{part}: {answer}");
    }
    let far = [
        "support",
        "--user",
        "7",
        "--task",
        "chat",
        "--at",
        "2020-01-01 00:00",
    ];
    let refused = message(&app, &far).await;
    assert_eq!(refused.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&refused.stderr).contains("no request of user 7 for `chat`"));
    let incomplete = message(&app, &["support", "--user", "7"]).await;
    assert_eq!(incomplete.status.code(), Some(2));
    app.stop().await;
}
