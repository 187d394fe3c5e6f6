//! That the audit is one list of all that admins change, and who sees which of it.

use modelramp::_core::caller::Role;
use serde_json::{Value, json};

use crate::support::{app::TestApp, calls};

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
