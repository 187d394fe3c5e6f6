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

const START_MS: i64 = 1_762_637_400_000;

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

async fn call(app: &App, path: &str, input: Value) -> Result<Value, RpcError> {
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

async fn seeded(builder: &crate::support::app::TestAppBuilder) -> App {
    let app = builder.build().await;
    // Thirty requests; each third falls back, which is a second attempt just after.
    for n in 0..30 {
        let (at, id) = (START_MS + n * 1_000, format!("r{n:02}"));
        if n % 3 == 0 {
            let timeout = Outcome::Fault(FaultKind::Timeout);
            app.metrics.record(event(at, &id, n % 5 + 1, 0, timeout));
            app.metrics
                .record(event(at + 200, &id, n % 5 + 1, 1, Outcome::Success));
        } else {
            app.metrics
                .record(event(at, &id, n % 5 + 1, 0, Outcome::Success));
        }
    }
    assert!(app.controller.tick().await);
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
async fn the_audit_is_one_list_of_rollouts_flags_and_keys() {
    let app = TestApp::start().await;
    let id = app.begin_rollout("standard").await;
    app.call(
        "featureFlags.kill",
        json!({"on": true, "reason": "a drill"}),
    )
    .await
    .unwrap();
    app.call("keys.create", json!({"name": "crm"}))
        .await
        .unwrap();
    let viewer = app.setup.token(5, Role::Viewer).await;
    let list = async |input: Value| app.call("audit.list", input).await.unwrap();
    let all = list(json!({})).await;
    let rows = all["rows"].as_array().unwrap();
    let mut subjects: Vec<_> = rows
        .iter()
        .map(|it| it["subject"].as_str().unwrap())
        .filter(|it| *it != "settings")
        .collect();
    subjects.sort_unstable();
    assert_eq!(
        subjects,
        ["flags", "keys", "rollout", "users", "users"],
        "{all}"
    );
    assert_eq!(all["nextCursor"], Value::Null);
    for (path, input) in [
        (
            "keys.limit",
            json!({"name": "crm", "limits": {"tokensPerDay": 5_000}}),
        ),
        ("keys.rotate", json!({"name": "crm"})),
        ("keys.revoke", json!({"name": "crm"})),
    ] {
        app.call(path, input).await.unwrap();
    }
    let of_key = list(json!({"subject": "keys", "id": "crm"})).await;
    let of_key = of_key["rows"].as_array().unwrap();
    let told: Vec<_> = of_key
        .iter()
        .map(|it| it["action"].as_str().unwrap())
        .collect();
    assert_eq!(told, ["revoked", "rotated", "limited", "created"]);
    assert!(
        of_key.iter().all(|it| it["actor"] == "user:1"),
        "{of_key:?}"
    );
    assert_eq!(of_key[2]["after"]["limits"]["tokensPerDay"], 5_000);
    let killed = list(json!({"subject": "flags"})).await;
    assert_eq!(killed["rows"][0]["after"]["killed"], true);
    assert_eq!(
        (&killed["rows"][0]["reason"], &killed["rows"][0]["actor"]),
        (&json!("a drill"), &json!("user:1"))
    );
    assert_eq!(
        list(json!({"id": id})).await["rows"][0]["action"],
        "started"
    );
    assert_eq!(list(json!({"actor": "user:77"})).await["rows"], json!([]));

    let (mut paged, mut cursor) = (Vec::new(), Value::Null);
    loop {
        let mut input = json!({"limit": 1});
        if !cursor.is_null() {
            input["cursor"] = cursor;
        }
        let page = list(input).await;
        paged.extend(page["rows"].as_array().unwrap().iter().cloned());
        cursor = page["nextCursor"].clone();
        if cursor.is_null() {
            break;
        }
    }
    let all = list(json!({})).await;
    assert_eq!(&paged, all["rows"].as_array().unwrap());

    // Viewers see all but texts, keys and settings.
    let asked = async |input| {
        calls::rpc(&app.http, &app.url, &viewer, "audit.list", input)
            .await
            .unwrap()
    };
    let seen = asked(json!({})).await.unwrap();
    let subjects = seen["rows"].as_array().unwrap().iter();
    let subjects: Vec<_> = subjects.map(|it| it["subject"].as_str().unwrap()).collect();
    assert!(
        subjects.contains(&"users") && subjects.contains(&"rollout"),
        "{seen}"
    );
    assert!(!seen.to_string().contains("crm"), "{seen}");
    for subject in ["keys", "settings"] {
        let refused = asked(json!({"subject": subject})).await.unwrap_err();
        assert_eq!(refused["data"]["code"], "FORBIDDEN", "{refused}");
    }
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
