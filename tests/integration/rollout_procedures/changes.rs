//! Changes and who hears of them.

use std::time::Duration;

use futures::StreamExt;
use modelramp::_core::{
    errors::{ErrorCode, RpcError},
    procedure::StreamItem,
};
use serde_json::{Value, json};

use super::app::{ADMIN, App, PLAN, USER};

/// Nothing here takes longer, however busy the machine.
const SOON: Duration = Duration::from_secs(20);

fn change(rollout: &Value, reason: &str) -> Value {
    json!({"id": rollout["id"], "version": rollout["version"], "reason": reason})
}

#[tokio::test]
async fn each_change_makes_a_version_and_a_line() {
    let app = App::start().await;
    let mut now = app.begin(PLAN).await;
    for (name, state, share) in [
        ("pause", "paused", None),
        ("resume", "running", None),
        ("setShare", "running", Some(12.5)),
        ("advance", "running", Some(50.0)),
        ("rollback", "rolled-back", Some(0.0)),
    ] {
        let mut input = change(&now, name);
        if name == "setShare" {
            input["percent"] = json!(12.5);
        }
        let next = app.admin(name, input).await.unwrap();
        assert_eq!(next["state"]["name"], state, "{name}");
        assert_eq!(next["version"], now["version"].as_i64().unwrap() + 1);
        if let Some(share) = share {
            assert_eq!(next["share"], share, "{name}");
        }
        now = next;
    }
    assert_eq!(now["live"], false);
    assert!(now["endedAt"].is_string());
    let id = json!({"id": now["id"]});
    let history = app.admin("history", id.clone()).await.unwrap();
    let reasons: Vec<_> = (history.as_array().unwrap().iter())
        .map(|line| line["reason"].as_str().unwrap())
        .collect();
    let made = ["pause", "resume", "setShare", "advance", "rollback"];
    assert_eq!(reasons, [&["try the new one"][..], &made].concat());
    let actor = format!("user:{ADMIN}");
    assert!(
        history
            .as_array()
            .unwrap()
            .iter()
            .all(|it| it["actor"] == actor)
    );
    assert_eq!(app.admin("list", json!({})).await.unwrap(), json!([]));
    let all = app.admin("list", json!({"all": true})).await.unwrap();
    assert_eq!(all[0]["id"], now["id"]);
    let why = app.admin("why", id).await.unwrap();
    assert_eq!(why.as_array().unwrap().len(), 6);
}

#[tokio::test]
async fn a_stale_change_meets_the_current_state() {
    let app = App::start().await;
    let first = app.begin(PLAN).await;
    let paused = app.admin("pause", change(&first, "lunch")).await.unwrap();
    for name in ["pause", "resume", "advance", "rollback", "approve"] {
        let error = app.admin(name, change(&first, "x")).await.unwrap_err();
        assert_eq!(error.code, ErrorCode::Conflict, "{name}");
        let expected = "but the rollout is at version 2: paused at";
        assert!(error.message.contains(expected), "{}", error.message);
        assert!(error.message.contains("lunch"), "{}", error.message);
        assert_eq!(
            error.details.unwrap()["current"]["version"],
            paused["version"]
        );
    }
}

#[tokio::test]
async fn what_the_state_does_not_allow_says_why() {
    let app = App::start().await;
    let first = app.begin(PLAN).await;
    for name in ["resume", "approve"] {
        let error = app.admin(name, change(&first, "x")).await.unwrap_err();
        assert_eq!(error.code, ErrorCode::PreconditionFailed, "{name}");
        let id = first["id"].as_str().unwrap();
        let named = format!("Rollout `{id}` of plan `own`: ");
        assert!(error.message.starts_with(&named), "{}", error.message);
        assert_eq!(error.details.unwrap()["current"]["version"], 1);
    }
    let ended = app.admin("rollback", change(&first, "no")).await.unwrap();
    let error = app
        .admin("resume", change(&ended, "yes"))
        .await
        .unwrap_err();
    assert_eq!(error.code, ErrorCode::PreconditionFailed);
}

/// The next event, as a client sees it.
async fn next(
    events: &mut (impl StreamExt<Item = Result<StreamItem, RpcError>> + Unpin),
) -> (String, Value) {
    let event = tokio::time::timeout(SOON, events.next()).await.unwrap();
    let event = event.unwrap().unwrap_or_else(|error| panic!("{error}"));
    (event.id.unwrap(), event.data.to_value().unwrap())
}

#[tokio::test]
async fn a_subscriber_gets_the_state_at_once_and_then_each_change() {
    let app = App::start().await;
    let mut nobody = app.subscribe(Some(ADMIN), json!({})).await.unwrap();
    let (_, data) = next(&mut nobody).await;
    assert_eq!(data, json!({"live": [], "change": null}));

    let first = app.begin(PLAN).await;
    let (_, data) = next(&mut nobody).await;
    assert_eq!(data["live"][0]["id"], first["id"]);
    assert_eq!(data["change"]["rollout"]["id"], first["id"]);
    assert_eq!(data["change"]["reason"], "try the new one");

    let mut late = app.subscribe(Some(ADMIN), json!({})).await.unwrap();
    let (_, data) = next(&mut late).await;
    assert_eq!(data["live"][0]["id"], first["id"]);
    assert_eq!(data["change"], Value::Null);
    let paused = app.admin("pause", change(&first, "wait")).await.unwrap();
    app.admin("rollback", change(&paused, "no")).await.unwrap();
    for reason in ["wait", "no"] {
        let (id, data) = next(&mut late).await;
        assert_eq!(data["change"]["reason"], reason);
        assert!(!id.is_empty());
    }
}

#[tokio::test]
async fn a_reconnect_is_told_what_it_missed_once() {
    let app = App::start().await;
    let first = app.begin(PLAN).await;
    let mut events = app.subscribe(Some(ADMIN), json!({})).await.unwrap();
    let (at_start, _) = next(&mut events).await;
    drop(events);
    let paused = app.admin("pause", change(&first, "one")).await.unwrap();
    let resumed = app.admin("resume", change(&paused, "two")).await.unwrap();

    let input = json!({"lastEventId": at_start});
    let mut events = app.subscribe(Some(ADMIN), input).await.unwrap();
    let mut last = String::new();
    for reason in ["one", "two"] {
        let (id, data) = next(&mut events).await;
        assert_eq!(data["change"]["reason"], reason);
        assert_eq!(data["change"]["rollout"]["version"], resumed["version"]);
        last = id;
    }
    drop(events);
    // An id of a release in which places were times.
    let old = format!("1700000000000.{}.1", first["id"].as_str().unwrap());
    let input = json!({"lastEventId": old});
    let mut events = app.subscribe(Some(ADMIN), input).await.unwrap();
    for reason in ["one", "two"] {
        assert_eq!(next(&mut events).await.1["change"]["reason"], reason);
    }
    drop(events);
    let ended = app
        .admin("rollback", change(&resumed, "three"))
        .await
        .unwrap();
    let input = json!({"lastEventId": last});
    let mut events = app.subscribe(Some(ADMIN), input).await.unwrap();
    let (_, data) = next(&mut events).await;
    assert_eq!(data["change"]["reason"], "three");
    assert_eq!(data["change"]["version"], ended["version"]);

    let input = json!({"lastEventId": "not one of ours"});
    let mut events = app.subscribe(Some(ADMIN), input).await.unwrap();
    let (_, data) = next(&mut events).await;
    assert_eq!(data, json!({"live": [], "change": null}));
}

#[tokio::test]
async fn only_admins_may_listen() {
    let app = App::start().await;
    for (user, code) in [
        (None, ErrorCode::Unauthorized),
        (Some(USER), ErrorCode::Forbidden),
    ] {
        let refused = app.subscribe(user, json!({})).await.err().unwrap();
        assert_eq!(refused.code, code);
    }
}
