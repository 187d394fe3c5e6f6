//! OpenFeature's official providers ask which model a subject gets.

use modelramp::_core::caller::Role;
use serde_json::{Value, json};
use tokio::process::Command;

use crate::support::{app::TestApp, packages};

/// A subject of each side at the live share, found by asking.
async fn sides(app: &TestApp, key: &str) -> (String, String) {
    let (mut within, mut without) = (None, None);
    for number in 0.. {
        let subject = format!("subject-{number}");
        let (_, seen) = evaluate(
            app,
            key,
            "/chat",
            json!({"context": {"targetingKey": subject}}),
        )
        .await;
        match seen["variant"].as_str() {
            Some("candidate") => within.get_or_insert(subject),
            _ => without.get_or_insert(subject),
        };
        if let (Some(within), Some(without)) = (&within, &without) {
            return (within.clone(), without.clone());
        }
    }
    unreachable!("half of all are on each side")
}

async fn evaluate(app: &TestApp, key: &str, path: &str, body: Value) -> (u16, Value) {
    let url = format!("{}/ofrep/v1/evaluate/flags{path}", app.url);
    let request = app.http.post(url).header("x-api-key", key).json(&body);
    let response = request.send().await.unwrap();
    let status = response.status().as_u16();
    (status, response.json().await.unwrap_or_default())
}

#[tokio::test]
async fn official_providers_see_the_side_and_the_model_of_a_subject() {
    let app = TestApp::builder()
        .with_setting("OPENROUTER_ROLLOUT_PERCENTAGE", "50")
        .start()
        .await;
    let made = app
        .call("keys.create", json!({"name": "shop"}))
        .await
        .unwrap();
    let key = made["key"].as_str().unwrap();
    let (within, without) = sides(&app, key).await;
    let ran = Command::new("node")
        .args(["run.mjs", &app.url, key, &within, &without])
        .arg(app.setup.admin().await)
        .current_dir(packages::installed("openfeature"))
        .output()
        .await
        .unwrap();
    let errors = String::from_utf8_lossy(&ran.stderr);
    let seen: Value = serde_json::from_slice(&ran.stdout).unwrap_or_else(|_| panic!("{errors}"));
    let said = |of: &str| (seen[of]["value"].clone(), seen[of]["variant"].clone());
    let candidate = (json!("glm-4.5-air-free"), json!("candidate"));
    let control = (json!("gemma-3-27b-free"), json!("control"));
    assert_eq!(said("within"), candidate, "{seen}");
    assert_eq!(said("without"), control, "{seen}");
    assert_eq!(
        (said("web"), said("webAfter"), said("webStill")),
        (candidate, control.clone(), control)
    );
    assert_eq!(seen["within"]["reason"], "SPLIT");
    assert_eq!(seen["within"]["metadata"]["percent"], 50.0);
    let default = json!("as in the code");
    assert_eq!(
        (&seen["missing"]["value"], &seen["missing"]["errorCode"]),
        (&default, &json!("FLAG_NOT_FOUND"))
    );
    assert_eq!(
        (&seen["nobody"]["value"], &seen["nobody"]["errorCode"]),
        (&default, &json!("TARGETING_KEY_MISSING"))
    );
    assert_eq!(seen["wrongType"]["errorCode"], "TYPE_MISMATCH");
    // The same subject in another plan gets the same answer, which the provider has.
    assert_eq!(seen["statuses"], json!([200, 200, 304]));
    // It heard that the kill switch was turned on, and off again, and asked by itself.
    let changed = seen["changed"].as_array().unwrap().iter();
    let changed: Vec<_> = changed.map(|it| (&it["variant"], &it["reason"])).collect();
    let expected = [
        (&json!("control"), &json!("DISABLED")),
        (&json!("candidate"), &json!("SPLIT")),
    ];
    assert_eq!(changed, expected, "{seen}");
    app.stop().await;
}

/// Its build takes up to a minute; scripts/test runs it among the tests that wait.
#[tokio::test]
async fn the_official_provider_for_rust_sees_the_side_and_the_model_of_a_subject() {
    let program = tokio::task::spawn_blocking(|| {
        packages::built("openfeature/rust", "modelramp-openfeature")
    });
    let program = program.await.unwrap();
    let app = TestApp::builder()
        .with_setting("OPENROUTER_ROLLOUT_PERCENTAGE", "50")
        .start()
        .await;
    let made = app.call("keys.create", json!({"name": "shop"})).await;
    let made = made.unwrap();
    let key = made["key"].as_str().unwrap();
    let (within, without) = sides(&app, key).await;
    let ask = async |token: &str, subject: Option<&str>| -> Value {
        let mut command = Command::new(&program);
        let ran = command.args([&app.url, token]).args(subject).output().await;
        let ran = ran.unwrap();
        let errors = String::from_utf8_lossy(&ran.stderr);
        serde_json::from_slice(&ran.stdout).unwrap_or_else(|_| panic!("{errors}"))
    };
    // It names one reason, whatever it was told, and knows no code of ours but that of a missing flag (0.1.2).
    let no_such_kind = |kind: &str| json!(["PARSE_ERROR", format!("Invalid value {kind}")]);
    let seen = |value: &str, variant: &str| {
        json!({
            "text": [value, variant, "STATIC"],
            "boolean": no_such_kind("bool"),
            "integer": no_such_kind("i64"),
            "float": no_such_kind("f64"),
            "fields": no_such_kind("open_feature::evaluation::value::StructValue"),
            "missing": ["FLAG_NOT_FOUND", "Flag: no-such-task not found"],
        })
    };
    let candidate = seen("glm-4.5-air-free", "candidate");
    let control = seen("gemma-3-27b-free", "control");
    assert_eq!(ask(key, Some(&within)).await, candidate);
    assert_eq!(ask(key, Some(&without)).await, control);
    let refused = |with: Value| {
        let kinds = ["text", "boolean", "integer", "float", "fields", "missing"];
        Value::Object(
            kinds
                .map(|kind| (kind.to_owned(), with.clone()))
                .into_iter()
                .collect(),
        )
    };
    let nobody = refused(json!(["INVALID_CONTEXT", "Invalid context"]));
    assert_eq!(ask(key, None).await, nobody);
    let words = "authentication/authorization error";
    let kept_out = refused(json!([words, words]));
    let other = app.setup.token(7, Role::User).await;
    assert_eq!(ask("nobody", Some(&within)).await, kept_out);
    assert_eq!(ask(&other, Some(&within)).await, kept_out);
    let kill = json!({"on": true, "reason": "a test"});
    app.call("featureFlags.kill", kill).await.unwrap();
    assert_eq!(ask(key, Some(&within)).await, control);
    app.stop().await;
}

#[tokio::test]
async fn who_may_ask_about_whom_and_what_is_said_of_what_cannot_be() {
    let app = TestApp::start().await;
    let about = |subject: &str| json!({"context": {"targetingKey": subject}});
    let user = app.setup.token(7, Role::User).await;
    let admin = app.setup.admin().await;
    assert_eq!(evaluate(&app, &user, "/chat", about("7")).await.0, 200);
    assert_eq!(evaluate(&app, &user, "", about("8")).await.0, 403);
    assert_eq!(evaluate(&app, admin, "/chat", about("8")).await.0, 200);
    assert_eq!(evaluate(&app, "nobody", "/chat", about("8")).await.0, 401);
    for (path, body, status, code) in [
        ("/chat", json!({}), 400, "INVALID_CONTEXT"),
        (
            "/chat",
            json!({"context": {}}),
            400,
            "TARGETING_KEY_MISSING",
        ),
        ("", json!([]), 400, "PARSE_ERROR"),
        ("/rehearsal", about("8"), 404, "FLAG_NOT_FOUND"),
    ] {
        let (came, said) = evaluate(&app, admin, path, body).await;
        assert_eq!((came, &said["errorCode"]), (status, &json!(code)), "{said}");
    }
    // What is no fault of the evaluation is told in words alone, as OFREP has it.
    let large = json!({"context": {"targetingKey": "8", "note": "x".repeat(5_000_000)}});
    for (token, path, body, status) in [
        (admin, "/chat", large.clone(), 413),
        (admin, "", large, 413),
        ("nobody", "", about("8"), 401),
        (&*user, "/chat", about("8"), 403),
    ] {
        let (came, said) = evaluate(&app, token, path, body).await;
        let fields = said.as_object().unwrap().keys();
        let fields: Vec<_> = fields.map(String::as_str).collect();
        assert_eq!((came, fields), (status, vec!["errorDetails"]), "{said}");
    }
    let bare = async |method: reqwest::Method, path: &str| {
        let request = app.http.request(method, format!("{}{path}", app.url));
        let response = request.send().await.unwrap();
        let status = response.status().as_u16();
        let said: Value = response.json().await.unwrap();
        (status, said["errorDetails"].is_string())
    };
    let flags = "/ofrep/v1/evaluate/flags";
    assert_eq!(bare(reqwest::Method::GET, flags).await, (405, true));
    let old = "/ofrep/v1/configuration";
    assert_eq!(bare(reqwest::Method::GET, old).await, (404, true));
    let made = json!({"name": "few", "models": ["task/chat"]});
    let key = app.call("keys.create", made).await.unwrap()["key"].take();
    let (_, all) = evaluate(&app, key.as_str().unwrap(), "", about("8")).await;
    let keys: Vec<_> = all["flags"]
        .as_array()
        .unwrap()
        .iter()
        .map(|it| &it["key"])
        .collect();
    assert_eq!(keys, ["chat"]);
    let kill = json!({"on": true, "reason": "a test"});
    app.call("featureFlags.kill", kill).await.unwrap();
    let (_, killed) = evaluate(&app, admin, "/chat", about("8")).await;
    assert_eq!(
        (&killed["reason"], &killed["variant"]),
        (&json!("DISABLED"), &json!("control"))
    );
    app.stop().await;
}

#[tokio::test]
async fn the_address_of_notices_holds_for_a_while_opens_nothing_else_and_ends_with_the_server() {
    let app = TestApp::start().await;
    let admin = app.setup.admin().await;
    let about = json!({"context": {"targetingKey": "8"}});
    let (_, all) = evaluate(&app, admin, "", about).await;
    let address = all["eventStreams"][0]["endpoint"]["requestUri"].as_str();
    let address = address.unwrap().to_owned();
    let open = async |address: &str| {
        let request = app.http.get(format!("{}{address}", app.url));
        request.send().await.unwrap()
    };
    let late = address.replace("until=1", "until=2");
    for wrong in ["/ofrep/v1/events", &address[..address.len() - 1], &*late] {
        let refused = open(wrong).await;
        assert_eq!(refused.status().as_u16(), 401, "{wrong}");
        let said: Value = refused.json().await.unwrap();
        assert!(said["errorDetails"].is_string(), "{said}");
    }
    let mut stream = open(&address).await;
    let kind = stream.headers()["content-type"].to_str().unwrap();
    assert!(kind.starts_with("text/event-stream"), "{kind}");
    // What changed before it was open is told at once.
    let told = stream.chunk().await.unwrap().unwrap();
    let expected = "id: 1\nevent: message\ndata: {\"type\":\"refetchEvaluation\"}\n\n";
    assert_eq!(told, expected);
    app.call("featureFlags.kill", json!({"on": true, "reason": "a test"}))
        .await
        .unwrap();
    let told = stream.chunk().await.unwrap().unwrap();
    assert!(told.starts_with(b"id: 2\n"), "{told:?}");
    app.stop().await;
    // Nothing else may come than what was on its way, and then the end.
    while let Ok(Some(_)) = stream.chunk().await {}
}
