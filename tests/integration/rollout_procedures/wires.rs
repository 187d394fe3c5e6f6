//! The same over tRPC, JSON-RPC and the command line.

use std::process::Output;

use modelramp::_core::caller::Role;
use serde_json::{Value, json};

use super::app::{App, PLAN, USER};
use crate::support::app::TestApp;

#[tokio::test]
async fn both_wires_carry_the_state_of_a_stale_change() {
    let app = App::start().await;
    let TestApp {
        url: base,
        http,
        setup,
        ..
    } = &app.server;
    let admin = format!("Bearer {}", setup.admin().await);
    let user = setup.token(USER, Role::User).await;
    let first = app.begin(PLAN).await;
    let input = json!({"id": first["id"], "version": 7, "reason": "x"});

    let answer = http
        .post(format!("{base}/api/trpc/rollout.pause"))
        .header("authorization", &admin)
        .json(&json!({"json": input}))
        .send()
        .await
        .unwrap();
    assert_eq!(answer.status(), 409);
    let answer: Value = answer.json().await.unwrap();
    let data = &answer["error"]["json"]["data"];
    assert_eq!(
        (&data["code"], &data["details"]["current"]["version"]),
        (&json!("CONFLICT"), &json!(1))
    );

    let call = json!({"jsonrpc": "2.0", "id": 1, "method": "rollout.pause", "params": input});
    let rpc = http
        .post(format!("{base}/rpc"))
        .header("authorization", &admin)
        .json(&call);
    let answer: Value = rpc.send().await.unwrap().json().await.unwrap();
    let data = &answer["error"]["data"];
    assert_eq!(
        (&data["code"], &data["details"]["current"]["version"]),
        (&json!("CONFLICT"), &json!(1))
    );

    for (session, status) in [
        (None, 401),
        (Some(user.as_str()), 403),
        (Some(setup.admin().await), 200),
    ] {
        let mut request = http.get(format!("{base}/api/trpc/rollout.list"));
        if let Some(session) = session {
            request = request.bearer_auth(session);
        }
        assert_eq!(
            request.send().await.unwrap().status(),
            status,
            "{session:?}"
        );
    }
    let answer = http
        .get(format!("{base}/api/trpc/rollout.list"))
        .header("authorization", &admin);
    let answer: Value = answer.send().await.unwrap().json().await.unwrap();
    let dates = &answer["result"]["data"]["meta"]["values"];
    assert_eq!(dates["0.startedAt"], json!(["Date"]), "{answer}");
}

async fn modelramp(app: &App, arguments: &[&str], token: &str) -> (Option<i32>, String, String) {
    let mut command = app.server.setup.command(arguments);
    let ran = command.env("MODELRAMP_TOKEN", token).output().await;
    let Output {
        status,
        stdout,
        stderr,
    } = ran.unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    (status.code(), text(stdout), text(stderr))
}

#[tokio::test]
async fn a_rollout_is_steered_from_the_command_line_from_start_to_report() {
    let app = App::start().await;
    let (url, setup) = (app.server.url.as_str(), &app.server.setup);
    let admin = setup.admin().await;
    let user = setup.token(USER, Role::User).await;
    let plan = setup.folder().join("own.toml");
    std::fs::write(&plan, PLAN).unwrap();
    let plan = plan.display().to_string();
    let run = async |arguments: &[&str]| {
        let mut all = vec!["rollout", "--url", url];
        all.extend(arguments);
        let (code, out, err) = modelramp(&app, &all, admin).await;
        assert_eq!(code, Some(0), "{arguments:?}: {err}");
        out
    };

    assert_eq!(run(&["list"]).await, "No rollout is under way.\n");
    assert!(run(&["validate", &plan]).await.contains("can be used"));
    let started = run(&["start", &plan, "--reason", "try it", "--json"]).await;
    let started: Value = serde_json::from_str(&started).unwrap();
    let id = started["id"].as_str().unwrap();
    assert!(run(&["list"]).await.contains(id));
    for arguments in [
        &["pause", id, "-r", "lunch"][..],
        &["resume", id, "-r", "back"],
        &["set-share", id, "12.5", "-r", "a little more"],
        &["advance", id, "-r", "looks good"],
    ] {
        assert!(run(arguments).await.contains("state     "), "{arguments:?}");
    }
    let stale = [
        "rollout",
        "--url",
        url,
        "pause",
        id,
        "-r",
        "x",
        "--version",
        "1",
    ];
    let (code, _, err) = modelramp(&app, &stale, admin).await;
    assert_eq!(code, Some(1));
    assert!(
        err.contains("the rollout is at version 5: running at 50 %"),
        "{err}"
    );
    assert!(
        run(&["rollback", id, "-r", "no"])
            .await
            .contains("rolled-back")
    );
    assert!(run(&["history", id]).await.contains("a little more"));
    assert!(run(&["why", id]).await.contains("looks good"));
    assert!(run(&["get", id]).await.contains("control"));

    // These read the database, beside the server that has it open.
    let (code, out, err) = modelramp(&app, &["rollout", "replay", id], admin).await;
    assert_eq!(code, Some(0), "{out}{err}");
    assert!(out.ends_with("identical, bit for bit\n"), "{out}");
    let (code, out, err) = modelramp(&app, &["rollout", "report", id], admin).await;
    assert_eq!(code, Some(0), "{err}");
    assert!(out.starts_with("# Deployment log: own\n"), "{out}");
    let (code, _, err) = modelramp(&app, &["rollout", "replay", "nobody"], admin).await;
    assert_eq!(code, Some(1));
    assert!(err.contains("unknown rollout `nobody`"), "{err}");
    let (_, _, err) = modelramp(&app, &["rollout", "--url", url, "list"], &user).await;
    assert!(err.contains("needs an admin"), "{err}");
}

#[tokio::test]
async fn a_plan_is_judged_before_it_starts() {
    let app = App::start().await;
    let plan =
        |traffic: &'static str| ["simulate", "plan", "--traffic", traffic, "--baseline", "2%"];
    let (code, out, err) = modelramp(&app, &plan("10000/day"), "").await;
    assert_eq!(code, Some(0), "{out}{err}");
    assert!(
        out.ends_with("every stage is long enough to see something\n"),
        "{out}"
    );
    let (code, out, err) = modelramp(&app, &plan("20/day"), "").await;
    assert_eq!(code, Some(1), "{out}");
    assert!(err.contains("too short to see anything"), "{err}");
    let (code, _, err) = modelramp(&app, &["alert", "test"], "").await;
    assert_eq!(code, Some(1));
    assert!(err.contains("no alert channel is set up"), "{err}");
}
