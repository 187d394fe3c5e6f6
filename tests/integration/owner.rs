//! What the original's owner and admins do: users, messages to the owner, and a sign-in form that lets nobody in.

use modelramp::_core::{
    auth::oidc::{Person, PersonStore},
    caller::Role,
};
use serde_json::{Value, json};

use crate::support::{
    app::{TestApp, TestAppBuilder},
    calls,
    wait::until,
};

/// User 1 is the owner; `app.call` is theirs.
fn owned() -> TestAppBuilder {
    TestApp::builder().with_setting("OWNER_OPEN_ID", "local:1")
}

async fn as_user(app: &TestApp, token: &str, path: &str, input: Value) -> Result<Value, Value> {
    calls::rpc(&app.http, &app.url, token, path, input)
        .await
        .unwrap()
}

fn refusal(answer: Result<Value, Value>) -> (String, String) {
    let error = answer.expect_err("it is refused");
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    (text(&error["data"]["code"]), text(&error["message"]))
}

fn told(code: &str, text: &str) -> (String, String) {
    (code.to_owned(), text.to_owned())
}

#[tokio::test]
async fn admins_keep_users_and_the_owner_alone_makes_admins() {
    let app = owned().start().await;
    let admin = app.setup.token(2, Role::Admin).await;
    let bo = json!({"email": "Bo@Example.com", "name": "Bo Ø"});
    let made = as_user(&app, &admin, "admin.users.create", bo.clone()).await;
    assert_eq!(
        made.unwrap(),
        json!({"success": true, "message": "User created successfully."})
    );
    let again = json!({"email": "bo@example.COM", "name": "x"});
    assert_eq!(
        refusal(as_user(&app, &admin, "admin.users.create", again).await),
        told("CONFLICT", "User with this email already exists")
    );
    let boss = json!({"email": "c@example.com", "name": "c", "role": "admin"});
    assert_eq!(
        refusal(as_user(&app, &admin, "admin.users.create", boss.clone()).await),
        told("FORBIDDEN", "Only owner can create admin users")
    );
    app.call("admin.users.create", boss).await.unwrap();
    // A name that shows nothing is none.
    let blank = json!({"email": "d@example.com", "name": " \u{200b}\t"});
    let refused = refusal(as_user(&app, &admin, "admin.users.create", blank).await);
    assert_eq!(refused.0, "BAD_REQUEST");
    assert!(refused.1.contains("name"), "{refused:?}");
    let blank = json!({"userId": 1, "name": "  "});
    let refused = refusal(as_user(&app, &admin, "admin.users.update", blank).await);
    assert_eq!(refused.0, "BAD_REQUEST");

    let list = app
        .call(
            "admin.users.list",
            json!({"search": "example", "orderBy": "name", "orderDirection": "asc"}),
        )
        .await
        .unwrap();
    assert_eq!(
        (&list["total"], &list["limit"], &list["offset"]),
        (&json!(2), &json!(50), &json!(0))
    );
    let users = list["users"].as_array().unwrap();
    let names: Vec<_> = users.iter().map(|it| (&it["name"], &it["role"])).collect();
    assert_eq!(
        names,
        [
            (&json!("Bo Ø"), &json!("user")),
            (&json!("c"), &json!("admin"))
        ]
    );
    assert_eq!(users[0]["openId"], "pending:bo@example.com");
    assert_eq!(users[0]["email"], "Bo@Example.com");
    let id = users[0]["id"].clone();
    let literal = json!({"search": "%"});
    let none = app.call("admin.users.list", literal).await.unwrap();
    assert_eq!(none["total"], 0);
    let admins = app.call(
        "admin.users.list",
        json!({"role": "admin", "limit": 1, "offset": 1}),
    );
    let admins = admins.await.unwrap();
    assert_eq!(
        (&admins["total"], admins["users"].as_array().unwrap().len()),
        (&json!(3), 1)
    );

    for (input, says) in [
        (
            json!({"userId": id, "role": "admin"}),
            told("FORBIDDEN", "Only owner can promote users to admin"),
        ),
        (
            json!({"userId": 1, "name": "x"}),
            told("FORBIDDEN", "Cannot modify owner account"),
        ),
        (
            json!({"userId": 2, "role": "user"}),
            told("FORBIDDEN", "Cannot remove your own admin role"),
        ),
        (
            json!({"userId": id, "email": "C@example.com"}),
            told("CONFLICT", "Email already in use by another user"),
        ),
        (
            json!({"userId": 4_000}),
            told("NOT_FOUND", "User not found"),
        ),
    ] {
        let answer = as_user(&app, &admin, "admin.users.update", input.clone()).await;
        assert_eq!(refusal(answer), says, "{input}");
    }
    let change =
        json!({"userId": id, "name": "Bodil", "email": "bodil@example.com", "role": "admin"});
    let changed = app.call("admin.users.update", change).await.unwrap();
    assert_eq!(changed["message"], "User updated successfully");
    let got = app
        .call("admin.users.get", json!({"userId": id}))
        .await
        .unwrap();
    assert_eq!(
        (&got["name"], &got["openId"], &got["role"]),
        (
            &json!("Bodil"),
            &json!("pending:bodil@example.com"),
            &json!("admin")
        )
    );
    let audit = app
        .call("audit.list", json!({"subject": "users"}))
        .await
        .unwrap();
    let by: Vec<_> = audit["rows"]
        .as_array()
        .unwrap()
        .iter()
        .map(|it| &it["actor"])
        .collect();
    assert!(by.contains(&&json!("user:1")), "{audit}");

    for (input, says) in [
        (json!({"userId": 1}), "Cannot delete owner account"),
        (json!({"userId": 2}), "Cannot delete your own account"),
    ] {
        let answer = as_user(&app, &admin, "admin.users.delete", input).await;
        assert_eq!(refusal(answer), told("FORBIDDEN", says));
    }
    let deleted = as_user(&app, &admin, "admin.users.delete", json!({"userId": id})).await;
    assert_eq!(deleted.unwrap()["message"], "User deleted successfully");
    let gone = app.call("admin.users.get", json!({"userId": id})).await;
    assert_eq!(refusal(gone), told("NOT_FOUND", "User not found"));
    // The address is free again, and nothing of it is left.
    app.call(
        "admin.users.create",
        json!({"email": "bodil@example.com", "name": "new"}),
    )
    .await
    .unwrap();
    // Whom a sign-in service calls the owner of the address is that user, and nobody else is.
    let pending = app
        .call("admin.users.list", json!({"search": "bodil"}))
        .await
        .unwrap()["users"][0]["id"]
        .as_i64();
    let storage = app.setup.storage().await;
    let admit = async |subject: &str, has_proven_email: bool| {
        let person = Person {
            open_id: format!("oidc:{subject}"),
            name: "Bodil".to_owned(),
            email: Some("Bodil@example.com".to_owned()),
            has_proven_email,
            role: None,
        };
        let now = chrono::DateTime::UNIX_EPOCH;
        storage.admit(&person, now).await.unwrap().map(|it| it.id)
    };
    assert_ne!(admit("stranger", false).await, pending);
    assert_eq!(admit("bodil", true).await, pending);
    assert_eq!(admit("bodil", true).await, pending);
    assert_ne!(admit("another", true).await, pending);
    storage.close().await;
    let user = app.setup.token(90, Role::User).await;
    let refused = refusal(as_user(&app, &user, "admin.users.list", json!({})).await);
    assert_eq!(refused.1, "You do not have required permission (10002)");
}

#[tokio::test]
async fn a_message_to_the_owner_goes_the_way_of_alerts() {
    let message = json!({"title": " Mail is down ", "content": "since 10:00"});
    let app = owned()
        .with_setting("SLACK_WEBHOOK_URL", "http://127.0.0.1:9/hook")
        .start()
        .await;
    let sent = app.call("system.notifyOwner", message.clone()).await;
    assert_eq!(sent.unwrap(), json!({"success": true}));
    let alerts = app.call("alerts.list", json!({})).await.unwrap();
    let alert = &alerts["rows"][0];
    assert_eq!(
        (
            &alert["kind"],
            &alert["severity"],
            &alert["title"],
            &alert["text"]
        ),
        (
            &json!("message"),
            &json!("info"),
            &json!("Mail is down"),
            &json!("since 10:00")
        )
    );
    // Slack is not there; it is tried until it is.
    until("it was tried", async || {
        let alerts = app.call("alerts.list", json!({})).await.unwrap();
        alerts["rows"][0]["deliveries"][0]["state"] == "waiting"
    })
    .await;
    for more in [
        &[][..],
        &[
            ("ALERT_INFO_CHANNELS", "email"),
            ("SLACK_WEBHOOK_URL", "http://127.0.0.1:9/hook"),
        ],
    ] {
        let app = owned().with_settings(more.iter().copied()).start().await;
        let refused = app.call("system.notifyOwner", message.clone()).await;
        assert_eq!(
            refusal(refused),
            told(
                "INTERNAL_SERVER_ERROR",
                "Notification service URL is not configured."
            )
        );
    }
}

#[tokio::test]
async fn no_password_is_good_and_the_sixth_try_says_when_to_come_back() {
    let app = TestApp::start().await;
    let login = async |email: &str| {
        let url = format!("{}/api/trpc/auth.login", app.url);
        let body = json!({"json": {"email": email, "password": "right"}});
        let answer = app.http.post(url).json(&body).send().await.unwrap();
        assert!(answer.headers().get("set-cookie").is_none());
        let wait = answer.headers().get("retry-after").cloned();
        let body: Value = answer.json().await.unwrap();
        (wait, body["error"]["json"].clone())
    };
    for _ in 0..5 {
        let (_, error) = login("Anna@example.com").await;
        assert_eq!(error["data"]["code"], "UNAUTHORIZED", "{error}");
    }
    let (wait, error) = login("anna@EXAMPLE.com").await;
    assert_eq!(error["data"]["code"], "RATE_LIMIT_EXCEEDED", "{error}");
    assert_eq!(error["data"]["httpStatus"], 429);
    let message = error["message"].as_str().unwrap();
    assert!(
        message.starts_with("Too many login attempts. Please try again in "),
        "{message}"
    );
    let at = error["data"]["retryAfter"].as_str().unwrap();
    assert!(
        at.ends_with('Z') && chrono::DateTime::parse_from_rfc3339(at).is_ok(),
        "{at}"
    );
    let wait: u64 = wait.unwrap().to_str().unwrap().parse().unwrap();
    assert!((1..=900).contains(&wait), "{wait}");
}
