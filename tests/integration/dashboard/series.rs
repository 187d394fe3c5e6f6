//! What is shown over time, and what is summed up over it.

use chrono::{DateTime, Utc};
use modelramp::_core::{caller::Role, context::Context, procedure::Input};
use serde_json::{Value, json};

use super::lists::{START_MS, call, seeded};
use crate::support::{app::TestApp, calls};

#[tokio::test]
async fn attempts_over_time_fall_into_their_steps_by_what_they_differ_in() {
    let builder = TestApp::builder();
    let app = seeded(&builder).await;
    let time = |ms| DateTime::<Utc>::from_timestamp_millis(START_MS + ms).unwrap();
    let series = async |by: &str, filter: Value| {
        let input = json!({
            "from": time(0), "to": time(30_000), "points": 3, "by": by, "filter": filter,
        });
        call(&app, "aiMetrics.getSeries", input).await.unwrap()
    };
    let by_model = series("model", json!({})).await;
    assert_eq!(
        (
            &by_model["stepMs"],
            by_model["at"].as_array().unwrap().len()
        ),
        (&json!(10_000), 3)
    );
    let lines = by_model["series"].as_array().unwrap();
    let keys: Vec<_> = lines.iter().map(|it| it["key"].as_str().unwrap()).collect();
    assert_eq!(keys, ["gemma-3-27b-free", "glm-4.5-air-free"]);
    assert_eq!(
        (&lines[1]["requests"], &lines[1]["failures"]),
        (&json!([10, 10, 10]), &json!([4, 3, 3]))
    );
    assert_eq!(lines[0]["p50"], json!([100.0, 100.0, 100.0]));
    assert_eq!(lines[0]["firstTokenP50"], json!([null, null, null]));
    assert_eq!(
        by_model["faults"],
        json!([{"outcome": "timeout", "count": [4, 3, 3]}])
    );
    let by_provider = series("provider", json!({"variant": "control"})).await;
    assert_eq!(
        by_provider["series"].as_array().unwrap().len(),
        1,
        "{by_provider}"
    );

    for (input, named) in [
        (
            json!({"from": time(5), "to": time(5), "by": "task"}),
            "no time of",
        ),
        (
            json!({"from": time(0), "to": time(400 * 86_400_001), "by": "task"}),
            "400 days",
        ),
        (
            json!({"from": time(0), "to": time(3 * 86_400_000), "by": "task", "filter": {"rolloutId": "r"}}),
            "two days",
        ),
    ] {
        let refused = call(&app, "aiMetrics.getSeries", input).await.unwrap_err();
        assert!(refused.message.contains(named), "{}", refused.message);
    }
}

#[tokio::test]
async fn a_chart_of_days_has_the_last_hours_too_whether_or_not_they_are_counted_yet() {
    let builder = TestApp::builder();
    let app = seeded(&builder).await;
    let day = 86_400_000;
    let time = |ms| DateTime::<Utc>::from_timestamp_millis(START_MS + ms).unwrap();
    let requests = async || {
        let input = json!({"from": time(-5 * day), "to": time(day), "by": "variant"});
        let viewer = Context::new(calls::user(9, Role::Viewer), time(day));
        let input = Input::Json(input);
        let series = calls::call(&app.registry, viewer, "aiMetrics.getSeries", input);
        let series = series.await.unwrap();
        assert_eq!(series["stepMs"].as_u64().unwrap() % 3_600_000, 0);
        let lines = series["series"].as_array().unwrap().iter();
        let counts = lines.flat_map(|it| it["requests"].as_array().unwrap());
        counts.map(|it| it.as_u64().unwrap()).sum::<u64>()
    };
    assert_eq!(requests().await, 40);
    let storage = builder.storage().await;
    assert_eq!(storage.count_by_hour().await.unwrap(), 40);
    assert_eq!(requests().await, 40);
}

#[tokio::test]
async fn what_was_used_is_summed_up_by_who_used_it() {
    let builder = TestApp::builder();
    let app = seeded(&builder).await;
    let time = |ms| DateTime::<Utc>::from_timestamp_millis(START_MS + ms).unwrap();
    let spent = async |by: &str, to: i64| {
        let input = json!({"from": time(0), "to": time(to), "by": by});
        call(&app, "aiMetrics.getSpending", input)
            .await
            .map(|it| it["spent"].clone())
    };
    let by_user = spent("user", 60_000).await.unwrap();
    let rows = by_user.as_array().unwrap();
    let mut users: Vec<_> = rows.iter().map(|it| it["name"].as_str().unwrap()).collect();
    users.sort_unstable();
    assert_eq!(users, ["1", "2", "3", "4", "5"]);
    let sum = |rows: &Value, name: &str| -> i64 {
        rows.as_array()
            .unwrap()
            .iter()
            .map(|it| it[name].as_i64().unwrap())
            .sum()
    };
    let names = ["attempts", "tokens", "writtenTokens", "costMicrodollars"];
    let all = names.map(|name| sum(&by_user, name));
    assert_eq!(all[0], 40, "ten fell back");
    for by in ["model", "variant", "task"] {
        let rows = spent(by, 60_000).await.unwrap();
        assert_eq!(names.map(|name| sum(&rows, name)), all, "{by}");
    }
    let [first, second] = [&rows[0], &rows[1]].map(|it| it["costMicrodollars"].as_i64());
    assert!(first >= second, "the dearest first");
    // Viewers see no keys.
    let refused = spent("key", 60_000).await.unwrap_err();
    assert!(refused.message.contains("(10002)"), "{}", refused.message);
    let admin = Context::new(calls::user(1, Role::Admin), time(0));
    let input = Input::Json(json!({"from": time(0), "to": time(60_000), "by": "key"}));
    let by_key = calls::call(&app.registry, admin, "aiMetrics.getSpending", input).await;
    assert_eq!(by_key.unwrap()["spent"], json!([]));
    for to in [0, 32 * 86_400_000] {
        let refused = spent("user", to).await.unwrap_err();
        assert!(
            refused.message.contains("by 31 days at most"),
            "{}",
            refused.message
        );
    }
}
