//! `featureFlags.*` as admins and others call it.

use std::{sync::Arc, time::Duration};

use chrono::{DateTime, Utc};
use futures::{SinkExt, StreamExt, stream::BoxStream};
use modelramp::{
    _core::{
        caller::{Caller, Role},
        context::Context,
        contract_side::ContractSide,
        errors::{ErrorCode, RpcError},
        feature_flags::{FeatureFlags, Reason},
        procedure::{Input, StreamItem},
        tasks::Tasks,
    },
    app::App,
};
use serde_json::{Value, json};
use tokio_tungstenite::tungstenite::{Message, client::IntoClientRequest};

use crate::support::{
    app::{TestApp, TestAppBuilder},
    calls::{self, user},
};

const CATALOG: &str = r#"
[providers.p]
base_url = "http://127.0.0.1:9/v1"
[models.m]
provider = "p"
id = "m"
context = 1000
[tasks.chat]
candidate = ["m"]
control = ["m"]
[tasks.email-draft]
candidate = ["m"]
control = ["m"]
"#;

/// The application without a port, and what keeps its flags.
struct Server {
    setup: TestAppBuilder,
    app: App,
    flags: Arc<FeatureFlags>,
    tasks: Tasks,
}

impl Server {
    async fn new(settings: &[(&str, &str)]) -> Self {
        let setup = TestApp::builder().with_catalog(CATALOG);
        Self::over(setup.with_settings(settings.iter().copied())).await
    }

    async fn over(setup: TestAppBuilder) -> Self {
        let app = setup.build().await;
        let tasks = Tasks::default();
        tasks.spawn(app.areas.live.clone().run(tasks.stopping()));
        Self {
            setup,
            flags: app.areas.flags.clone(),
            app,
            tasks,
        }
    }

    /// Another process over the same database.
    async fn again(self, settings: &[(&str, &str)]) -> Self {
        assert!(self.tasks.shutdown(Duration::from_secs(20)).await);
        self.app.areas.storage.close().await;
        Self::over(self.setup.with_settings(settings.iter().copied())).await
    }

    async fn subscribe(&self, input: Value) -> BoxStream<'static, Result<StreamItem, RpcError>> {
        let target = self.app.registry.resolve("featureFlags.onChange");
        let procedure = target.here().unwrap();
        let context = Context::new(user(1, Role::Admin), at());
        procedure
            .subscribe(context, Input::Json(input))
            .await
            .unwrap()
    }

    async fn call(&self, caller: Caller, path: &str, input: Value) -> Result<Value, RpcError> {
        let context = Context::new(caller, at());
        calls::call(&self.app.registry, context, path, Input::Json(input)).await
    }

    async fn admin(&self, path: &str, input: Value) -> Result<Value, RpcError> {
        self.call(user(1, Role::Admin), path, input).await
    }
}

fn at() -> DateTime<Utc> {
    DateTime::from_timestamp_nanos(1_700_000_000_123_456_789)
}

#[tokio::test]
async fn an_admin_sees_what_is_configured() {
    let server = Server::new(&[("OPENROUTER_ROLLOUT_PERCENTAGE", "12.5")]).await;
    let state = server.admin("featureFlags.get", json!(null)).await.unwrap();
    assert_eq!(
        state,
        json!({
            "share": 12.5, "killed": false, "forcedForAll": false, "algorithm": "murmur3-100k",
            "version": 0, "reason": null, "by": null, "actor": null, "at": null, "stored": true,
            "tasks": [
                {"task": "chat", "share": 12.5, "decidedBy": "live-share", "rollout": null},
                {"task": "email-draft", "share": 12.5, "decidedBy": "live-share", "rollout": null},
            ],
            "note": null,
        })
    );
}

#[tokio::test]
async fn a_new_share_counts_at_once_and_names_its_author() {
    let server = Server::new(&[]).await;
    let input = json!({"percent": 100, "reason": "  all is well "});
    let state = server.admin("featureFlags.setShare", input).await.unwrap();
    assert_eq!(
        state,
        json!({
            "share": 100.0, "killed": false, "forcedForAll": false, "algorithm": "murmur3-100k",
            "version": 1, "reason": "all is well", "by": 1, "actor": "user:1",
            "at": "2023-11-14T22:13:20.123Z", "stored": true,
            "tasks": [
                {"task": "chat", "share": 100.0, "decidedBy": "live-share", "rollout": null},
                {"task": "email-draft", "share": 100.0, "decidedBy": "live-share", "rollout": null},
            ],
            "note": null,
        })
    );
    assert_eq!(
        server.admin("featureFlags.get", json!(null)).await.unwrap(),
        state
    );
    assert!(server.flags.is_enabled("enableOpenRouterModels", None));
}

#[tokio::test]
async fn the_kill_switch_wins_over_everything() {
    let server = Server::new(&[("FORCE_OPENROUTER", "true"), ("FORCED_ON_USERS", "7")]).await;
    let input = json!({"on": true, "reason": "outage"});
    let state = server.admin("featureFlags.kill", input).await.unwrap();
    assert_eq!(
        (&state["killed"], &state["version"]),
        (&json!(true), &json!(1))
    );
    assert_eq!(server.flags.decide(None).reason, Reason::KillSwitch);
    let input = json!({"on": false, "reason": "over"});
    let state = server.admin("featureFlags.kill", input).await.unwrap();
    assert_eq!(state["killed"], false);
    assert_eq!(server.flags.decide(None).reason, Reason::ForcedForAll);
}

#[tokio::test]
async fn only_admins_may_look_or_change() {
    let server = Server::new(&[]).await;
    for (path, input) in [
        ("featureFlags.get", json!(null)),
        (
            "featureFlags.setShare",
            json!({"percent": 5, "reason": "x"}),
        ),
        ("featureFlags.kill", json!({"on": true, "reason": "x"})),
    ] {
        let nobody = server.call(Caller::Anonymous, path, input.clone()).await;
        assert_eq!(nobody.unwrap_err().code, ErrorCode::Unauthorized, "{path}");
        let other = server.call(user(2, Role::User), path, input).await;
        assert_eq!(other.unwrap_err().code, ErrorCode::Forbidden, "{path}");
    }
    assert_eq!(server.flags.live().steered.version, 0);
}

#[tokio::test]
async fn a_bad_share_or_reason_is_refused_and_changes_nothing() {
    let server = Server::new(&[]).await;
    for (path, input, named) in [
        ("setShare", json!({"percent": 100.1, "reason": "x"}), "100"),
        ("setShare", json!({"percent": -1, "reason": "x"}), "0"),
        (
            "setShare",
            json!({"percent": "10", "reason": "x"}),
            "expected",
        ),
        (
            "setShare",
            json!({"percent": null, "reason": "x"}),
            "expected",
        ),
        ("setShare", json!({"reason": "x"}), "percent"),
        ("setShare", json!({"percent": 5}), "reason"),
        ("setShare", json!({"percent": 5, "reason": " \n"}), "reason"),
        ("kill", json!({"on": true, "reason": ""}), "reason"),
        ("kill", json!({"reason": "x"}), "on"),
    ] {
        let error = server
            .admin(&format!("featureFlags.{path}"), input.clone())
            .await;
        let error = error.unwrap_err();
        assert_eq!(error.code, ErrorCode::BadRequest, "{input}");
        assert!(error.message.contains(named), "{input}: {}", error.message);
    }
    assert_eq!(server.flags.live().steered.version, 0);
}

#[tokio::test]
async fn the_contract_tells_the_range_of_a_share_and_the_length_of_a_reason() {
    let server = Server::new(&[]).await;
    let schemas = server.app.registry.schemas(ContractSide::Input);
    let text = json!([schemas.procedures, schemas.definitions]).to_string();
    for part in [
        r#""minimum":0"#,
        r#""maximum":100"#,
        r#""minLength":1"#,
        r#""maxLength":1000"#,
    ] {
        assert!(text.contains(part), "{part} is missing in {text}");
    }
}

/// `A1`: what was killed stays killed, and the history says by whom and why.
#[tokio::test]
async fn a_kill_survives_a_restart_and_is_in_the_history() {
    let server = Server::new(&[]).await;
    let input = json!({"percent": 20, "reason": "a fifth", "version": 0});
    server.admin("featureFlags.setShare", input).await.unwrap();
    let input = json!({"on": true, "reason": "outage", "version": 1});
    let killed = server.admin("featureFlags.kill", input).await.unwrap();
    assert_eq!(
        (&killed["stored"], &killed["tasks"][0]["share"]),
        (&json!(true), &json!(0.0))
    );
    let server = server.again(&[]).await;
    let state = server.admin("featureFlags.get", json!(null)).await.unwrap();
    assert_eq!(state, killed);
    assert_eq!(state["tasks"][1]["decidedBy"], "kill-switch");
    let server = server
        .again(&[("OPENROUTER_ROLLOUT_PERCENTAGE", "5")])
        .await;
    let history = server
        .admin("featureFlags.history", json!({}))
        .await
        .unwrap();
    let lines: Vec<_> = history
        .as_array()
        .unwrap()
        .iter()
        .map(|line| {
            json!([
                line["version"],
                line["actor"],
                line["before"],
                line["after"],
                line["stored"]
            ])
        })
        .collect();
    let place = |share: f64, killed: bool| json!({"share": share, "killed": killed});
    assert_eq!(
        lines,
        [
            json!([1, "user:1", place(0.0, false), place(20.0, false), true]),
            json!([2, "user:1", place(20.0, false), place(20.0, true), true]),
            json!([3, "settings", place(20.0, true), place(5.0, true), true]),
        ]
    );
    let older = server.admin("featureFlags.history", json!({"before": 3, "limit": 1}));
    let older = older.await.unwrap();
    assert_eq!(
        (older.as_array().unwrap().len(), &older[0]["version"]),
        (1, &json!(2))
    );
}

/// `A6`
#[tokio::test]
async fn a_change_that_is_based_on_an_older_version_is_refused_with_the_state() {
    let server = Server::new(&[]).await;
    let first = json!({"percent": 20, "reason": "a fifth", "version": 0});
    server
        .admin("featureFlags.setShare", first.clone())
        .await
        .unwrap();
    for (path, input) in [
        ("featureFlags.setShare", first),
        (
            "featureFlags.setShare",
            json!({"percent": 0, "reason": "x", "version": 0}),
        ),
        (
            "featureFlags.kill",
            json!({"on": true, "reason": "x", "version": 7}),
        ),
    ] {
        let error = server.admin(path, input).await.unwrap_err();
        assert_eq!(error.code, ErrorCode::Conflict);
        assert!(
            error.message.contains("at version 1: share 20 %"),
            "{}",
            error.message
        );
        let current = &error.details.unwrap()["current"];
        assert_eq!(
            (&current["version"], &current["change"]["reason"]),
            (&json!(1), &json!("a fifth"))
        );
    }
}

#[tokio::test]
async fn changes_are_pushed_and_a_lost_connection_goes_on_where_it_was() {
    let server = Server::new(&[]).await;
    let mut events = server.subscribe(json!({})).await;
    let mut next = async || {
        let event = tokio::time::timeout(Duration::from_secs(20), events.next());
        let event = event.await.unwrap().unwrap().unwrap();
        let data = event.data.to_value().unwrap();
        (
            event.id.unwrap(),
            data["state"]["version"].clone(),
            data["change"]["reason"].clone(),
        )
    };
    assert_eq!(next().await, ("0".to_owned(), json!(0), json!(null)));
    for (version, share) in [(1, 10), (2, 20), (3, 30)] {
        let input = json!({"percent": share, "reason": format!("to {share}")});
        server.admin("featureFlags.setShare", input).await.unwrap();
        let expected = (
            version.to_string(),
            json!(version),
            json!(format!("to {share}")),
        );
        assert_eq!(next().await, expected);
    }
    let mut resumed = server.subscribe(json!({"lastEventId": "1"})).await;
    for reason in ["to 20", "to 30"] {
        let event = resumed.next().await.unwrap().unwrap();
        assert_eq!(event.data.to_value().unwrap()["change"]["reason"], reason);
    }
    let input = json!({"on": true, "reason": "stop"});
    server.admin("featureFlags.kill", input).await.unwrap();
    let event = resumed.next().await.unwrap().unwrap();
    assert_eq!(event.id.as_deref(), Some("4"));
    assert_eq!(
        event.data.to_value().unwrap()["change"]["after"]["killed"],
        true
    );
    // An id of a change that was never stored, which a crash forgot.
    for seen in ["4", "99"] {
        let mut resumed = server.subscribe(json!({"lastEventId": seen})).await;
        let event = tokio::time::timeout(Duration::from_secs(20), resumed.next());
        let event = event.await.unwrap().unwrap().unwrap();
        assert_eq!(event.id.as_deref(), Some("4"));
        let data = event.data.to_value().unwrap();
        assert_eq!(
            (&data["state"]["killed"], &data["change"]),
            (&json!(true), &json!(null))
        );
    }
}

/// The world: a client goes from one process to another, which is up to half a second behind.
#[tokio::test]
async fn whoever_goes_on_at_a_process_that_is_behind_hears_each_change_once() {
    let server = Server::new(&[]).await;
    let behind = Server {
        setup: server.setup.clone(),
        app: server.setup.build().await,
        flags: server.flags.clone(),
        tasks: Tasks::default(),
    };
    for share in [10, 20, 30] {
        let input = json!({"percent": share, "reason": format!("to {share}")});
        server.admin("featureFlags.setShare", input).await.unwrap();
    }
    let mut has_seen_all = behind.subscribe(json!({"lastEventId": "3"})).await;
    let mut lacks_one = behind.subscribe(json!({"lastEventId": "2"})).await;
    let input = json!({"on": true, "reason": "stop"});
    server.admin("featureFlags.kill", input).await.unwrap();
    behind.app.areas.live.settle_now().await;
    for (events, expected) in [
        (
            &mut has_seen_all,
            [("3", json!(null)), ("4", json!("stop"))],
        ),
        (
            &mut lacks_one,
            [("3", json!("to 30")), ("4", json!("stop"))],
        ),
    ] {
        for (id, reason) in expected {
            let event = tokio::time::timeout(Duration::from_secs(20), events.next());
            let event = event.await.unwrap().unwrap().unwrap();
            assert_eq!(event.id.as_deref(), Some(id));
            assert_eq!(event.data.to_value().unwrap()["change"]["reason"], reason);
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_kill_reaches_whoever_watches_over_real_sockets() {
    let server = TestApp::start().await;
    let path = "featureFlags.onChange";
    let socket = async |wire: &str| {
        let url = format!("{}{wire}", server.url.replace("http:", "ws:"));
        let mut request = url.into_client_request().unwrap();
        let bearer = format!("Bearer {}", server.setup.admin().await);
        let bearer = bearer.parse().unwrap();
        request.headers_mut().insert("authorization", bearer);
        tokio_tungstenite::connect_async(request).await.unwrap().0
    };
    let mut trpc = socket("/api/trpc").await;
    let subscribe = json!({"id": 1, "method": "subscription", "params": {"path": path}});
    let subscribe = Message::text(subscribe.to_string());
    trpc.send(subscribe).await.unwrap();
    let mut rpc = socket("/rpc").await;
    let subscribe = json!({"jsonrpc": "2.0", "id": 1, "method": path, "params": {}});
    let subscribe = Message::text(subscribe.to_string());
    rpc.send(subscribe).await.unwrap();
    let events = server.http.get(format!("{}/api/trpc/{path}", server.url));
    let events = events.bearer_auth(server.setup.admin().await).send();
    let mut events = events.await.unwrap();
    // The first frame of each says that it is open.
    trpc.next().await.unwrap().unwrap();
    rpc.next().await.unwrap().unwrap();

    let kill = json!({"on": true, "reason": "a test"});
    server.call("featureFlags.kill", kill).await.unwrap();
    let told = "\"killed\":true";
    let sockets = [trpc, rpc].map(async |mut socket| {
        while let Some(message) = socket.next().await {
            if message
                .unwrap()
                .to_text()
                .is_ok_and(|text| text.contains(told))
            {
                return true;
            }
        }
        false
    });
    let sse = async {
        let mut text = String::new();
        while let Some(piece) = events.chunk().await.unwrap() {
            text += &String::from_utf8_lossy(&piece);
            if text.contains(told) {
                return true;
            }
        }
        false
    };
    let all = futures::future::join(futures::future::join_all(sockets), sse);
    let all = tokio::time::timeout(Duration::from_secs(20), all).await;
    assert_eq!(all.expect("all are told"), (vec![true, true], true));
}
