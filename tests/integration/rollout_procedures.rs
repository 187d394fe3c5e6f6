//! `rollout.*` with the real controller and a real database: over the registry, both wires, and the
//! command line.

mod app;
mod changes;
mod wires;

use modelramp::{
    _core::{actor::Actor, errors::ErrorCode},
    live_flags::FlagSteering,
};
use serde_json::{Value, json};

use self::app::{App, PLAN};

/// Every procedure with an input that is as it should be but for the id.
const ALL: [&str; 12] = [
    "validate", "list", "get", "start", "pause", "resume", "advance", "setShare", "rollback",
    "approve", "history", "why",
];

fn input(name: &str, id: &str) -> Value {
    match name {
        "validate" => json!({"plan": "standard"}),
        "list" => json!({}),
        "start" => json!({"plan": "standard", "reason": "go"}),
        "setShare" => json!({"id": id, "version": 1, "reason": "x", "percent": 5}),
        "get" | "history" | "why" => json!({"id": id}),
        _ => json!({"id": id, "version": 1, "reason": "x"}),
    }
}

#[tokio::test]
async fn only_admins_may_look_or_change() {
    let app = App::start().await;
    for name in ALL {
        let anonymous = app.call(None, name, input(name, "r")).await.unwrap_err();
        assert_eq!(anonymous.code, ErrorCode::Unauthorized, "{name}");
        let user = app.call(Some(app::USER), name, input(name, "r")).await;
        assert_eq!(user.unwrap_err().code, ErrorCode::Forbidden, "{name}");
        let admin = app.admin(name, input(name, "r")).await;
        let refused = admin.err().map(|error| error.code);
        assert!(
            !matches!(
                refused,
                Some(ErrorCode::Unauthorized | ErrorCode::Forbidden)
            ),
            "{name}"
        );
    }
}

#[tokio::test]
async fn a_rollout_starts_on_control_and_is_seen_everywhere() {
    let app = App::start().await;
    assert_eq!(app.admin("list", json!({})).await.unwrap(), json!([]));
    let started = app.begin(PLAN).await;
    assert_eq!(started["plan"], "own");
    assert_eq!(started["state"], json!({"name": "running"}));
    assert_eq!(
        (&started["stage"], &started["stages"], &started["live"]),
        (&json!(1), &json!(2), &json!(true))
    );
    assert_eq!(started["changedBy"], format!("user:{}", app::ADMIN));
    assert_eq!(started["reason"], "try the new one");
    assert!(
        started.get("salt").is_none(),
        "who is in stays the server's"
    );

    let id = started["id"].as_str().unwrap();
    let listed = app.admin("list", Value::Null).await.unwrap();
    assert_eq!(listed[0]["id"], id);
    let got = app.admin("get", json!({"id": id})).await.unwrap();
    assert_eq!(got["wanted"]["name"], "own");
    assert_eq!(got["finding"]["level"], "clear");
    assert!(got["next"].is_string() && got["leftMs"].is_u64());
    let words = got["words"].to_string();
    assert!(
        words.contains("Nothing speaks against the candidate."),
        "{words}"
    );
    let kill = FlagSteering {
        based_on: None,
        reason: "wrong answers",
        actor: &Actor::User(1),
        at: app::now(),
    };
    app.server.live.kill(true, kill).await.unwrap();
    let killed = app.admin("get", json!({"id": id})).await.unwrap();
    let first = killed["words"][0].as_str().unwrap();
    assert!(first.starts_with("The kill switch is on"), "{first}");
    let history = app.admin("history", json!({"id": id})).await.unwrap();
    assert_eq!(history[0]["before"], Value::Null);
    assert_eq!(
        history[0]["after"],
        json!({"state": {"name": "running"}, "stage": 1, "share": started["share"]})
    );
    let why = app.admin("why", json!({"id": id})).await.unwrap();
    assert_eq!(why[0]["reason"], "try the new one");
    assert!(why[0]["text"].is_string());
}

#[tokio::test]
async fn an_unknown_rollout_is_not_found_by_any_procedure() {
    let app = App::start().await;
    for name in ALL {
        if ["validate", "list", "start"].contains(&name) {
            continue;
        }
        let error = app.admin(name, input(name, "nobody")).await.unwrap_err();
        assert_eq!(error.code, ErrorCode::NotFound, "{name}");
        assert_eq!(
            error.message,
            "Rollout `nobody` not found; expected an id that `rollout.list` shows, or the beginning of one"
        );
    }
    let input = json!({"plan": "nothing", "reason": "x"});
    let error = app.admin("start", input).await.unwrap_err();
    assert_eq!(error.code, ErrorCode::NotFound);
    assert!(error.message.contains("standard"), "{}", error.message);
}

#[tokio::test]
async fn a_plan_is_checked_with_the_line_of_every_fault() {
    let app = App::start().await;
    let good = app.admin("validate", json!({"plan": PLAN})).await.unwrap();
    assert_eq!(
        (&good["valid"], &good["faults"]),
        (&json!(true), &json!([]))
    );
    assert_eq!(good["plan"]["stages"][0]["share"], 10.0);
    let shipped = app.admin("validate", json!({"plan": "cautious"})).await;
    assert_eq!(shipped.unwrap()["plan"]["name"], "cautious");

    let small = json!({"plan": PLAN, "requestsPerDay": 20});
    let warned = app.admin("validate", small).await.unwrap();
    assert_eq!(warned["valid"], true);
    let warning = warned["warnings"][0].as_str().unwrap();
    assert!(
        warning.contains("Stage 1 (10 % for 1 h) is too short"),
        "{warning}"
    );

    let bad = PLAN
        .replace("share = 10", "share = 110")
        .replace("share = 50", "share = -1");
    let checked = app.admin("validate", json!({"plan": bad})).await.unwrap();
    assert_eq!(
        (&checked["valid"], &checked["plan"]),
        (&json!(false), &Value::Null)
    );
    let faults = checked["faults"].as_array().unwrap();
    let lines: Vec<_> = faults.iter().map(|fault| &fault["line"]).collect();
    assert_eq!(lines, [4, 9, 9], "{faults:?}");
    let input = json!({"plan": bad, "reason": "x"});
    let error = app.admin("start", input).await.unwrap_err();
    assert_eq!(error.code, ErrorCode::BadRequest);
    assert!(error.message.contains("line 4: "), "{}", error.message);
    assert_eq!(error.details.unwrap()["faults"], checked["faults"]);
}

#[tokio::test]
async fn overlapping_tasks_are_refused_with_the_rollout_that_has_them() {
    let app = App::start().await;
    let first = app.begin(PLAN).await;
    let input = json!({"plan": "standard", "reason": "also"});
    let error = app.admin("start", input).await.unwrap_err();
    assert_eq!(error.code, ErrorCode::Conflict);
    assert!(error.message.contains(first["id"].as_str().unwrap()));
    assert_eq!(error.details.unwrap()["rolloutId"], first["id"]);
}

#[tokio::test]
async fn a_reason_is_asked_for() {
    let app = App::start().await;
    let id = app.begin(PLAN).await["id"].clone();
    for name in [
        "start", "pause", "resume", "advance", "setShare", "rollback", "approve",
    ] {
        for reason in ["", " \n\t", &"x".repeat(1001)] {
            let mut input = input(name, id.as_str().unwrap());
            input["reason"] = json!(reason);
            let error = app.admin(name, input.clone()).await.unwrap_err();
            assert_eq!(error.code, ErrorCode::BadRequest, "{name} {reason:?}");
            input.as_object_mut().unwrap().remove("reason");
            let error = app.admin(name, input).await.unwrap_err();
            assert_eq!(error.code, ErrorCode::BadRequest, "{name}");
        }
    }
    let history = app.admin("history", json!({"id": id})).await.unwrap();
    assert_eq!(history.as_array().unwrap().len(), 1);
}
