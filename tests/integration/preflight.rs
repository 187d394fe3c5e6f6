//! `modelramp check`: each fault that it is there for is found, and a place without one passes.

use std::fs;

use serde_json::json;

use crate::support::{
    app::{TestApp, TestAppBuilder},
    checked::Checked,
    scripted_upstream::{Reply, Upstream},
};

/// A secret as `openssl rand -hex 32` draws one.
const DRAWN: &str = "5d1f0c9a7e3b48266a90d4c17be85f3210fe9c8b7a6d5e4f3c2b1a0918273645";

async fn check(setup: &TestAppBuilder, arguments: &[&str]) -> Checked {
    let words = [&["check", "--json"], arguments].concat();
    Checked::of(&setup.command(&words).output().await.unwrap())
}

/// A provider with one model `a` for the one task.
fn catalog(upstream: &Upstream) -> String {
    format!(
        "[providers.up]\nbase_url = \"{}\"\n[models.a]\nprovider = \"up\"\nid = \"maker/a\"\ncontext = 8192\n\
         [tasks.chat]\ncandidate = [\"a\"]\ncontrol = [\"a\"]\n",
        upstream.base_url
    )
}

#[tokio::test]
async fn before_the_first_start_it_changes_nothing_and_says_what_is_not_there_yet() {
    let setup = TestApp::builder();
    let checked = check(&setup, &[]).await;
    assert_eq!(checked.code, 0);
    checked.assert("database", &["warn"], "not there yet");
    checked.assert("providers", &["warn"], "simulated");
    checked.assert("models", &["skip"], "simulated");
    checked.assert("server", &["skip"], "PORT");
    let left: Vec<_> = fs::read_dir(setup.folder()).unwrap().collect();
    assert!(left.is_empty(), "{left:?}");
    assert_eq!(check(&setup, &["--strict"]).await.code, 1);
}

#[tokio::test]
async fn faulty_settings_are_all_told_and_end_it() {
    let setup = TestApp::builder()
        .with_setting("MAX_CALLS", "many")
        .with_setting("LOG_FORMAT", "xml");
    let checked = check(&setup, &[]).await;
    assert_eq!((checked.code, checked.findings.len()), (1, 1));
    checked.assert("settings", &["fail"], "MAX_CALLS");
    checked.assert("settings", &["fail"], "LOG_FORMAT");
}

#[tokio::test]
async fn a_place_for_users_passes_beside_its_server() {
    let upstream = Upstream::start(vec![Reply::ok("ready")]).await;
    upstream.list(&json!([{"id": "maker/a"}]));
    let receiver = Upstream::start(vec![Reply::json(&json!({}))]).await;
    let app = TestApp::builder()
        .with_catalog(&catalog(&upstream))
        .with_setting("JWT_SECRET", DRAWN)
        .with_setting("ALERT_WEBHOOK_URL", format!("{}/hook", receiver.base_url))
        .with_setting("ALERT_WEBHOOK_SECRET", DRAWN)
        .with_setting("CATALOGUE_WATCH", "false")
        .start()
        .await;
    app.setup.admin().await;
    let asked = upstream.requests().len();
    let checked = check(&app.setup, &["--url", &app.url]).await;
    assert_eq!(checked.code, 0, "{:?}", checked.findings);
    checked.assert("secret", &["pass"], "random");
    checked.assert("database", &["pass", "pass"], "every page");
    checked.assert("files", &["pass"], "owner");
    checked.assert("leader", &["pass"], "one server leads");
    checked.assert("roles", &["warn"], "one person alone");
    checked.assert("providers", &["pass"], "lists all");
    checked.assert("models", &["skip"], "1 call,");
    checked.assert("server", &["pass"], "is ready");
    checked.assert("alerts", &["skip"], "webhook");
    assert_eq!(upstream.requests().len(), asked, "a model was asked");
    assert!(receiver.requests().is_empty(), "people were told");

    let checked = check(
        &app.setup,
        &["--url", &app.url, "--call-models", "--test-alerts"],
    )
    .await;
    checked.assert("models", &["pass"], "a answered");
    checked.assert("alerts", &["pass"], "took the test");
    assert_eq!(upstream.requests().len(), asked + 1);
    assert_eq!(receiver.requests().len(), 1);
    app.stop().await;
}

#[tokio::test]
async fn the_public_address_is_asked_as_a_browser_would() {
    let app = TestApp::builder().start().await;
    let through = |url: &str| {
        let setup = app.setup.clone();
        setup.with_setting("PUBLIC_URL", url)
    };
    let checked = check(&through(&app.url), &[]).await;
    checked.assert("public-url", &["pass"], "leads to the server");
    checked.assert("cookie", &["pass"], "httponly");
    let nobody = check(&through("https://127.0.0.1:9"), &[]).await;
    nobody.assert("public-url", &["fail"], "does not lead");
    app.stop().await;
}

#[tokio::test]
async fn what_would_hurt_users_fails() {
    let upstream = Upstream::start(vec![Reply::status(503)]).await;
    upstream.list(&json!([{"id": "maker/b"}]));
    let setup = TestApp::builder()
        .with_catalog(&catalog(&upstream))
        .with_setting("JWT_SECRET", "change-me-change-me-change-me-change-me")
        .with_setting("METRICS_TOKEN", "abc");
    let app = setup.start().await;
    let setup = app.setup.clone();
    app.stop().await;
    let database = setup
        .database()
        .strip_prefix("sqlite://")
        .unwrap()
        .to_owned();
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt as _;
        fs::set_permissions(&database, fs::Permissions::from_mode(0o644)).unwrap();
    }
    let stale = setup.folder().join("copy");
    fs::write(&stale, "no backup").unwrap();
    let checked = check(
        &setup,
        &["--call-models", "--backup", stale.to_str().unwrap()],
    )
    .await;
    assert_eq!(checked.code, 1);
    checked.assert("secret", &["fail"], "forged");
    checked.assert("metrics", &["fail"], "fewer than 16");
    checked.assert("roles", &["fail"], "nobody is an admin");
    checked.assert("files", &["fail"], "644");
    checked.assert("providers", &["fail"], "a");
    checked.assert("models", &["fail"], "did not answer");
    checked.assert("backup", &["fail"], "copy");
    let shown = format!("{:?}", checked.findings);
    assert!(
        !shown.contains("change-me") && !shown.contains("abc\\\""),
        "{shown}"
    );
}
