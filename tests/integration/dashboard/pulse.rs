//! What the pulse tells, and how soon.

use chrono::DateTime;
use modelramp::_core::{caller::Role, context::Context, procedure::Input};
use serde_json::{Value, json};

use super::lists::{START_MS, seeded};
use crate::support::{app::TestApp, calls};

#[tokio::test]
async fn the_pulse_tells_everything_at_once_and_each_change_soon() {
    use futures::StreamExt;
    let builder = TestApp::builder();
    let app = seeded(&builder).await;
    let viewer = calls::user(9, Role::Viewer);
    let context = Context::new(viewer, DateTime::from_timestamp_millis(START_MS).unwrap());
    let target = app.registry.resolve("dashboard.onPulse");
    let stream = target
        .here()
        .unwrap()
        .subscribe(context, Input::Json(json!({})))
        .await;
    let mut stream = stream.unwrap();
    let mut next = async || {
        let item = stream.next().await.unwrap().unwrap();
        item.data.to_value().unwrap()
    };
    let first = next().await;
    assert_eq!(
        (&first["controller"], &first["environment"]),
        (&json!("here"), &json!("test"))
    );
    assert_eq!(
        (&first["live"], &first["sessionEndsAt"]),
        (&json!([]), &Value::Null)
    );
    assert_eq!(first["alerts"], json!({"waiting": 0, "critical": 0}));
    let models = first["models"].as_array().unwrap();
    let glm = models
        .iter()
        .find(|it| it["model"] == "glm-4.5-air-free")
        .unwrap();
    assert_eq!(glm["lastFault"]["outcome"], "timeout");
    assert!(glm["lastSuccessAt"].is_string());

    let admin = Context::new(calls::user(1, Role::Admin), DateTime::UNIX_EPOCH);
    let start = json!({"plan": "standard", "reason": "a test"});
    let started = calls::call(&app.registry, admin, "rollout.start", Input::Json(start)).await;
    let id = started.unwrap()["id"].clone();
    let told = loop {
        let pulse = next().await;
        if pulse["live"] != json!([]) {
            break pulse;
        }
    };
    assert_eq!(told["live"][0]["id"], id);
    assert!(told["auditVersion"].as_i64() > first["auditVersion"].as_i64());
    let allowed = told["live"][0]["allowed"].as_array().unwrap();
    let of = |action: &str| allowed.iter().find(|it| it["action"] == action).unwrap();
    assert_eq!(of("rollback")["allowed"], true);
    assert_eq!(of("approve")["why"], "it is running, not waiting at a gate");
}
