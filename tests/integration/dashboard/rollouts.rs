//! What lies behind a rollout, and what is set.

use chrono::DateTime;
use modelramp::_core::{caller::Role, context::Context, errors::ErrorCode, procedure::Input};
use serde_json::{Value, json};

use crate::support::{app::TestApp, calls};

#[tokio::test]
async fn a_rollout_tells_how_its_evidence_went_and_what_lies_behind_it() {
    let app = TestApp::start().await;
    let id = app.begin_rollout("standard").await;
    let series = app.call("rollout.series", json!({"id": id})).await.unwrap();
    assert_eq!(series["marks"][0]["action"], "started", "{series}");
    let points = series["at"].as_array().unwrap().len();
    assert!(points >= 1);
    for column in ["e", "proof", "ratio", "share", "control", "candidate"] {
        assert_eq!(series[column].as_array().unwrap().len(), points, "{column}");
    }
    let got = app.call("rollout.get", json!({"id": id})).await.unwrap();
    assert_eq!(
        (&got["passed"], &got["levelSince"]),
        (&json!([]), &Value::Null)
    );
    let advance = json!({"id": id, "version": got["version"], "reason": "a test"});
    app.call("rollout.advance", advance).await.unwrap();
    let got = app.call("rollout.get", json!({"id": id})).await.unwrap();
    assert_eq!(
        (&got["passed"][0]["stage"], &got["passed"][0]["how"]),
        (&json!(1), &json!("advanced"))
    );
    assert!(got["levelSince"].is_string(), "{got}");

    let plans = app.call("rollout.plans", json!({})).await.unwrap();
    assert!(
        plans
            .as_array()
            .unwrap()
            .iter()
            .any(|it| it["name"] == "standard")
    );
    let forecast = json!({"plan": "standard", "requestsPerDay": 10_000});
    let forecast = app.call("rollout.forecast", forecast).await.unwrap();
    assert_eq!(forecast[0]["share"], 10.0, "{forecast}");
    assert_eq!(forecast[2]["proofHours"], Value::Null, "{forecast}");
    let report = app.call("rollout.report", json!({"id": id})).await.unwrap();
    assert!(
        report["markdown"].as_str().unwrap().starts_with("# "),
        "{report}"
    );
    let replay = app.call("rollout.replay", json!({"id": id})).await.unwrap();
    assert_eq!(replay["isIdentical"], true, "{replay}");

    // One that was begun has the place until it ends.
    let context = || Context::new(calls::user(9, Role::Viewer), DateTime::UNIX_EPOCH);
    let target = app.registry.resolve("rollout.replay");
    let procedure = target.here().unwrap();
    let replay = || procedure.call(context(), Input::Json(json!({"id": id})));
    let mut refused = None;
    // A database that answers at once leaves no moment to ask in between.
    for _ in 0..100 {
        let mut first = std::pin::pin!(replay());
        if futures::poll!(first.as_mut()).is_pending() {
            refused = replay().await.err();
            assert!(first.await.is_ok());
            break;
        }
    }
    let refused = refused.expect("one at a time");
    assert_eq!(refused.code, ErrorCode::ServiceUnavailable);
    assert!(replay().await.is_ok(), "the place is free again");
}

#[tokio::test]
async fn settings_hold_no_secret_and_users_are_found_by_number_and_name() {
    let secret = "https://hooks.example/services/a-secret-of-slack";
    let app = TestApp::builder()
        .with_setting("SLACK_WEBHOOK_URL", secret)
        .start()
        .await;
    let settings = app.call("settings.list", json!({})).await.unwrap();
    assert!(
        !settings.to_string().contains("a-secret"),
        "a secret is told"
    );
    let of = |name: &str| {
        let mut all = settings.as_array().unwrap().iter();
        all.find(|it| it["name"] == name).unwrap()
    };
    let slack = of("SLACK_WEBHOOK_URL");
    assert_eq!(
        (&slack["secret"], &slack["set"], &slack["value"]),
        (&json!(true), &json!(true), &Value::Null)
    );
    assert_eq!(
        (&of("APP_ENV")["value"], &of("APP_ENV")["source"]),
        (&json!("test"), &json!("the environment"))
    );
    assert_eq!(of("CSRF_TOKEN")["source"], "default");

    app.setup.token(41, Role::Viewer).await;
    for text in ["41", "local user 41", "Local user 4"] {
        let found = app
            .call("users.lookup", json!({"text": text}))
            .await
            .unwrap();
        assert_eq!(
            (&found[0]["id"], &found[0]["role"]),
            (&json!(41), &json!("viewer")),
            "{text}"
        );
    }
    let none = app
        .call("users.lookup", json!({"text": "%"}))
        .await
        .unwrap();
    assert_eq!(none, json!([]), "a sign of the pattern is meant as itself");
}
