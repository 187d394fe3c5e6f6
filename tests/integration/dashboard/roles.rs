//! Every procedure by every role: viewers see all but texts, keys and settings, and change nothing.

use chrono::Utc;
use modelramp::{
    _core::{
        caller::{Access, Caller, Role},
        context::Context,
        errors::ErrorCode,
        procedure::ProcedureKind,
    },
    app,
};
use serde_json::json;

use crate::support::{app::TestApp, calls};

/// What a viewer may call and a user may not.
const FOR_VIEWERS: &[&str] = &[
    "aiMetrics.getSeries",
    "aiMetrics.getSpending",
    "alerts.channels",
    "alerts.list",
    "audit.list",
    "dashboard.onPulse",
    "dashboard.pulse",
    "featureFlags.get",
    "featureFlags.history",
    "featureFlags.onChange",
    "migration.list",
    "migration.report",
    "models.status",
    "quota.list",
    "requests.get",
    "requests.list",
    "rollout.arms",
    "rollout.forecast",
    "rollout.get",
    "rollout.history",
    "rollout.list",
    "rollout.onChange",
    "rollout.placebos",
    "rollout.plans",
    "rollout.replay",
    "rollout.report",
    "rollout.series",
    "rollout.validate",
    "rollout.why",
    "system.fleet",
    "trials.arms",
    "trials.list",
    "users.lookup",
];

#[tokio::test]
#[expect(
    clippy::disallowed_methods,
    reason = "a test is an edge: it has a clock"
)]
async fn every_procedure_lets_in_the_roles_that_its_access_names_and_no_other() {
    let registry = app::contract();
    let callers = [
        (None, Caller::Anonymous),
        (Some(Role::User), calls::user(1, Role::User)),
        (Some(Role::Viewer), calls::user(2, Role::Viewer)),
        (Some(Role::Admin), calls::user(3, Role::Admin)),
    ];
    for procedure in registry.iter() {
        let path = procedure.path;
        for (role, caller) in &callers {
            let answer = procedure.check(&Context::new(caller.clone(), Utc::now()));
            if *role >= procedure.access.role() {
                assert!(answer.is_ok(), "{path} refuses {role:?}");
                continue;
            }
            let error = answer.expect_err(path);
            let (code, number) = match role {
                None => (ErrorCode::Unauthorized, "(10001)"),
                Some(_) => (ErrorCode::Forbidden, "(10002)"),
            };
            assert_eq!(error.code, code, "{path} {role:?}");
            assert!(error.message.contains(number), "{path} {role:?}: {error}");
        }
    }
    let viewers = registry.iter().filter(|it| it.access == Access::Viewer);
    let mut viewers: Vec<_> = viewers.collect();
    for procedure in &viewers {
        assert_ne!(
            procedure.kind,
            ProcedureKind::Mutation,
            "{} changes something",
            procedure.path
        );
    }
    viewers.sort_by_key(|it| it.path);
    let viewers: Vec<_> = viewers.iter().map(|it| it.path).collect();
    assert_eq!(viewers, FOR_VIEWERS);
}

#[tokio::test]
#[expect(
    clippy::disallowed_methods,
    reason = "a test is an edge: it has a clock"
)]
async fn a_role_that_is_given_counts_for_sessions_that_were_there_before() {
    let app = TestApp::start().await;
    let token = app.setup.token(7, Role::User).await;
    let list = async || {
        let answer = calls::rpc(&app.http, &app.url, &token, "rollout.list", json!({})).await;
        answer.expect("an answer")
    };
    let refused = list().await.expect_err("a user sees no rollout");
    assert_eq!(refused["data"]["code"], "FORBIDDEN", "{refused}");
    assert!(
        refused["message"].as_str().unwrap().contains("(10002)"),
        "{refused}"
    );

    let config = app.setup.config();
    let given = app::set_role(&config, 7, Role::Viewer, Utc::now()).await;
    assert_eq!(given.unwrap().1, Role::User);
    crate::support::wait::until("the role counts", async || list().await.is_ok()).await;
    let change = json!({"percent": 5, "reason": "more"});
    let change = calls::rpc(&app.http, &app.url, &token, "featureFlags.setShare", change).await;
    assert_eq!(
        change.unwrap().expect_err("viewers change nothing")["data"]["code"],
        "FORBIDDEN"
    );

    let session = calls::rpc(&app.http, &app.url, &token, "auth.session", json!({})).await;
    let session = session.unwrap().unwrap();
    assert_eq!(
        (&session["role"], &session["user"]["id"]),
        (&json!("viewer"), &json!(7))
    );
    let csrf = session["csrf"].as_str().unwrap();
    assert!(csrf.len() >= 43 && !token.contains(csrf), "{session}");

    let nobody = app::set_role(&config, 4_000, Role::Viewer, Utc::now()).await;
    assert_eq!(nobody.unwrap_err().to_string(), "there is no user `4000`");
}
