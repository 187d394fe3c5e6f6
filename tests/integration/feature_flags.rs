//! `featureFlags.*` as admins and others call it.

use std::sync::Arc;

use chrono::{DateTime, Utc};
use modelramp::{
    _core::{
        auth::{Role, User},
        config::{Config, Sources},
        context::{Caller, Context},
        errors::{ErrorCode, RpcError},
        feature_flags::{FeatureFlags, Reason},
        procedure::Input,
        registry::{Registry, Side},
    },
    routers::feature_flags_router,
};
use serde_json::{Value, json};

/// The namespace alone.
struct Server {
    registry: Registry,
    flags: Arc<FeatureFlags>,
    _folder: tempfile::TempDir,
}

impl Server {
    fn new(settings: &[(&str, &str)]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let settings = settings.iter().map(|(k, v)| ((*k).into(), (*v).into()));
        let config = Config::load(&Sources {
            environment: settings.collect(),
            working_dir: folder.path().to_owned(),
            config_file: None,
        });
        let flags = Arc::new(FeatureFlags::new(config.unwrap().flags));
        let mut registry = Registry::default();
        feature_flags_router::register(&mut registry, flags.clone());
        Self {
            registry,
            flags,
            _folder: folder,
        }
    }

    async fn call(&self, caller: Caller, path: &str, input: Value) -> Result<Value, RpcError> {
        let procedure = self.registry.find(path)?;
        let context = Context::new(caller, at());
        let reply = self.registry.call(procedure, context, Input::Json(input));
        Ok(reply.await?.to_value().unwrap())
    }

    async fn admin(&self, path: &str, input: Value) -> Result<Value, RpcError> {
        self.call(user(1, Role::Admin), path, input).await
    }
}

fn at() -> DateTime<Utc> {
    DateTime::from_timestamp_nanos(1_700_000_000_123_456_789)
}

fn user(id: i64, role: Role) -> Caller {
    Caller::User(Arc::new(User {
        id,
        open_id: format!("local:{id}"),
        name: None,
        email: None,
        login_method: None,
        role,
        created_at: at(),
        updated_at: at(),
        last_signed_in: at(),
    }))
}

#[tokio::test]
async fn an_admin_sees_what_is_configured() {
    let server = Server::new(&[("OPENROUTER_ROLLOUT_PERCENTAGE", "12.5")]);
    let state = server.admin("featureFlags.get", json!(null)).await.unwrap();
    assert_eq!(
        state,
        json!({
            "share": 12.5, "killed": false, "forcedForAll": false, "algorithm": "murmur3-100k",
            "version": 0, "reason": null, "by": null, "at": null,
        })
    );
}

#[tokio::test]
async fn a_new_share_counts_at_once_and_names_its_author() {
    let server = Server::new(&[]);
    let input = json!({"percent": 100, "reason": "  all is well "});
    let state = server.admin("featureFlags.setShare", input).await.unwrap();
    assert_eq!(
        state,
        json!({
            "share": 100.0, "killed": false, "forcedForAll": false, "algorithm": "murmur3-100k",
            "version": 1, "reason": "all is well", "by": 1, "at": "2023-11-14T22:13:20.123Z",
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
    let server = Server::new(&[("FORCE_OPENROUTER", "true"), ("FORCED_ON_USERS", "7")]);
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
    let server = Server::new(&[]);
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
    assert_eq!(server.flags.live().version, 0);
}

#[tokio::test]
async fn a_bad_share_or_reason_is_refused_and_changes_nothing() {
    let server = Server::new(&[]);
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
    assert_eq!(server.flags.live().version, 0);
}

#[test]
fn the_contract_tells_the_range_of_a_share_and_the_length_of_a_reason() {
    let server = Server::new(&[]);
    let schemas = server.registry.schemas(Side::Input);
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
