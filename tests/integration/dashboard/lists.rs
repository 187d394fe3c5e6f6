//! What the lists find, and that pages neither skip nor repeat.

use chrono::{DateTime, Utc};
use modelramp::{
    _core::{
        assignment::{Subject, Variant},
        caller::Role,
        context::Context,
        errors::{ErrorCode, RpcError},
        procedure::Input,
        units::Microdollars,
    },
    app::App,
    providers::{
        fault::{Cause, FaultKind},
        finish::Finish,
    },
    recording::{Attempted, Event, Outcome},
};
use serde_json::{Value, json};

use crate::support::{app::TestApp, calls};

pub(super) const START_MS: i64 = 1_762_637_400_000;

fn event(at_ms: i64, request: &str, user: i64, position: usize, outcome: Outcome) -> Event {
    let subject = Subject::User(user);
    let attempted = Attempted {
        request_id: request.into(),
        subject: Some(&subject),
        rollout: None,
        counted: position == 0,
        model: if position == 0 {
            "glm-4.5-air-free"
        } else {
            "gemma-3-27b-free"
        }
        .into(),
        task: "chat".into(),
        variant: if user % 2 == 0 {
            Variant::Control
        } else {
            Variant::Candidate
        },
        position,
    };
    Event {
        at_ms,
        latency_ms: 100.0,
        prompt_tokens: 10,
        completion_tokens: 5,
        cost: Microdollars(7),
        status: matches!(outcome, Outcome::Fault(_)).then_some(504),
        cause: matches!(outcome, Outcome::Fault(_)).then_some(Cause::TimeoutUpstream),
        finish: (outcome == Outcome::Success).then_some(Finish::Length),
        outcome,
        ..Event::of_attempt(attempted)
    }
}

pub(super) async fn call(app: &App, path: &str, input: Value) -> Result<Value, RpcError> {
    let viewer = calls::user(9, Role::Viewer);
    let now: DateTime<Utc> = DateTime::from_timestamp_millis(START_MS).unwrap();
    calls::call(
        &app.registry,
        Context::new(viewer, now),
        path,
        Input::Json(input),
    )
    .await
}

pub(super) async fn seeded(builder: &crate::support::app::TestAppBuilder) -> App {
    let app = builder.build().await;
    // Thirty requests; each third falls back, which is a second attempt just after.
    for n in 0..30 {
        let (at, id) = (START_MS + n * 1_000, format!("r{n:02}"));
        if n % 3 == 0 {
            let timeout = Outcome::Fault(FaultKind::Timeout);
            app.areas
                .metrics
                .record(event(at, &id, n % 5 + 1, 0, timeout));
            app.areas
                .metrics
                .record(event(at + 200, &id, n % 5 + 1, 1, Outcome::Success));
        } else {
            app.areas
                .metrics
                .record(event(at, &id, n % 5 + 1, 0, Outcome::Success));
        }
    }
    assert!(app.areas.controller.tick().await);
    app
}

/// The ids of all pages, and how many pages there were.
async fn all_pages(app: &App, filter: Value, limit: u32) -> (Vec<String>, usize) {
    let (mut ids, mut pages, mut cursor) = (Vec::new(), 0, Value::Null);
    loop {
        let mut input = filter.clone();
        input["limit"] = limit.into();
        if !cursor.is_null() {
            input["cursor"] = cursor;
        }
        let page = call(app, "requests.list", input).await.unwrap();
        let rows = page["rows"].as_array().unwrap();
        ids.extend(
            rows.iter()
                .map(|row| row["requestId"].as_str().unwrap().to_owned()),
        );
        pages += 1;
        cursor = page["nextCursor"].clone();
        if cursor.is_null() {
            return (ids, pages);
        }
    }
}

#[tokio::test]
async fn pages_of_requests_hold_each_once_and_the_newest_first() {
    let builder = TestApp::builder();
    let app = seeded(&builder).await;
    let newest_first: Vec<String> = (0..30).rev().map(|n| format!("r{n:02}")).collect();
    for limit in [1, 7, 29, 30, 200] {
        let (ids, _) = all_pages(&app, json!({}), limit).await;
        assert_eq!(ids, newest_first, "pages of {limit}");
    }
    let page = call(&app, "requests.list", json!({"limit": 30}))
        .await
        .unwrap();
    assert_eq!(page["count"], json!({"value": 30, "exact": true}));
    assert_eq!(page["nextCursor"], Value::Null);
    let row = &page["rows"][2];
    assert_eq!(row["requestId"], "r27");
    assert_eq!(
        (&row["outcome"], &row["latencyMs"]),
        (&json!("success"), &json!(300.0))
    );
    assert_eq!(
        (&row["promptTokens"], &row["costMicrodollars"]),
        (&json!(20), &json!(14))
    );
    let outcomes = row["attempts"].as_array().unwrap().iter();
    let outcomes: Vec<_> = outcomes.map(|it| it["outcome"].as_str().unwrap()).collect();
    assert_eq!(outcomes, ["timeout", "success"]);
}

#[tokio::test]
async fn each_filter_finds_the_requests_of_which_an_attempt_fits() {
    let builder = TestApp::builder();
    let app = seeded(&builder).await;
    let until = DateTime::from_timestamp_millis(START_MS + 5_000).unwrap();
    let model = json!({"model": "gemma-3-27b-free"});
    for (filter, expected) in [
        (json!({"outcome": "timeout"}), 10),
        (json!({"outcome": "failed"}), 10),
        (json!({"outcome": "cancelled"}), 0),
        (model, 10),
        (json!({"userId": 1}), 6),
        (json!({"userId": 1, "outcome": "timeout"}), 2),
        (json!({"variant": "candidate"}), 18),
        (json!({"task": "other"}), 0),
        (json!({"counted": false}), 10),
        (json!({"slowerThanMs": 100}), 0),
        (json!({"slowerThanMs": 99.5}), 30),
        (json!({"to": until}), 5),
        (json!({"from": until}), 25),
        (json!({"rolloutId": "none"}), 0),
    ] {
        let (ids, _) = all_pages(&app, filter.clone(), 4).await;
        assert_eq!(ids.len(), expected, "{filter}: {ids:?}");
        let first = call(&app, "requests.list", filter.clone()).await.unwrap();
        assert_eq!(first["count"]["value"], expected, "{filter}");
    }
    for (filter, named) in [
        (json!({"outcome": "tiemout"}), "timeout"),
        (json!({"provider": "nobody"}), "no provider"),
        (json!({"cursor": "here"}), "nextCursor"),
    ] {
        let refused = call(&app, "requests.list", filter).await.unwrap_err();
        assert_eq!(refused.code, ErrorCode::BadRequest);
        assert!(refused.message.contains(named), "{}", refused.message);
        assert!(!refused.message.contains("?;"), "{}", refused.message);
    }
}

#[tokio::test]
async fn one_request_tells_each_attempt_and_what_came_of_it() {
    let builder = TestApp::builder();
    let app = seeded(&builder).await;
    let got = call(&app, "requests.get", json!({"requestId": "r03"}))
        .await
        .unwrap();
    let told: Vec<_> = got["details"]
        .as_array()
        .unwrap()
        .iter()
        .map(|it| {
            (
                it["position"].as_u64().unwrap(),
                it["then"].as_str().unwrap(),
                it["counted"].as_bool().unwrap(),
            )
        })
        .collect();
    assert_eq!(told, [(0, "next-model", true), (1, "answered", false)]);
    let ends = got["details"].as_array().unwrap().iter();
    let ends: Vec<_> = ends
        .map(|it| [&it["status"], &it["cause"], &it["finishReason"]])
        .collect();
    let (failed, answered) = (
        [json!(504), json!("timeout-upstream"), Value::Null],
        [Value::Null, Value::Null, json!("length")],
    );
    assert_eq!(ends, [failed.each_ref(), answered.each_ref()]);
    assert_eq!(got["noTexts"], "off");
    assert_eq!(got["ratedGood"], Value::Null);
    let unknown = call(&app, "requests.get", json!({"requestId": "r99"})).await;
    assert_eq!(unknown.unwrap_err().code, ErrorCode::NotFound);
}

#[tokio::test]
async fn alerts_are_listed_with_their_deliveries_and_channels_with_how_they_do() {
    let app = TestApp::start().await;
    app.call(
        "featureFlags.kill",
        json!({"on": true, "reason": "a drill"}),
    )
    .await
    .unwrap();
    let list = app.call("alerts.list", json!({})).await.unwrap();
    assert_eq!(list["rows"][0]["kind"], "killed", "{list}");
    assert_eq!(list["rows"][0]["deliveries"], json!([]));
    let none = app
        .call("alerts.list", json!({"severity": "info"}))
        .await
        .unwrap();
    assert_eq!(none["rows"], json!([]));
    let channels = app.call("alerts.channels", json!({})).await.unwrap();
    assert_eq!(channels.as_array().unwrap().len(), 4);
    assert_eq!(
        (&channels[0]["setUp"], &channels[0]["waiting"]),
        (&json!(false), &json!(0))
    );
    let tested = app
        .call("alerts.test", json!({"channel": "slack"}))
        .await
        .unwrap();
    assert_eq!(
        tested,
        json!([{"channel": "slack", "error": "it is not set up"}])
    );
}
