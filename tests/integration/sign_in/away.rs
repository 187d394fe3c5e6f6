//! A database that is away signs nobody out.

use super::*;
use crate::support::wait::until;

#[tokio::test(flavor = "multi_thread")]
async fn a_database_that_is_away_signs_nobody_out_and_the_kill_switch_works() {
    let rig = rig(&[]).await;
    let (admin, user) = (
        rig.token(1, Role::Admin).await,
        rig.token(3, Role::User).await,
    );
    let ended = rig.token(3, Role::User).await;
    for token in [&admin, &user, &ended] {
        assert_eq!(rig.me(token).await.0, StatusCode::OK);
    }
    let bearer = |token: &str| format!("Bearer {token}");
    let logout = bearer(&ended);
    rig.send(
        "POST",
        "/api/trpc/auth.logout",
        &[("authorization", &logout)],
        Some(json!({})),
    )
    .await;
    let link = json!({ "token": rig.secret(3).await });
    rig.sql("ALTER TABLE users RENAME TO users_away").await;
    until(
        "the database is asked about the session again",
        async || rig.me(&user).await.0 == StatusCode::SERVICE_UNAVAILABLE,
    )
    .await;

    let as_user = bearer(&user);
    let as_user = [("authorization", as_user.as_str())];
    for path in [
        "auth.me",
        "chat.getConversations",
        "aiMetrics.getModelBreakdown",
        "featureFlags.get",
    ] {
        let (status, headers, body) = rig
            .send("GET", &format!("/api/trpc/{path}"), &as_user, None)
            .await;
        // The flags are told to admins known minutes ago; this user never was one.
        let expected = if path == "featureFlags.get" { 403 } else { 503 };
        assert_eq!(status.as_u16(), expected, "{path} {body}");
        assert_eq!(
            headers.get("retry-after").is_some(),
            expected == 503,
            "{path}"
        );
    }
    let batch = "/api/trpc/auth.me,system.aiConfig?batch=1&input=%7B%7D";
    let (status, headers, body) = rig.send("GET", batch, &as_user, None).await;
    assert_eq!(status.as_u16(), 207);
    assert_eq!(
        body[0]["error"]["json"]["data"]["code"],
        "SERVICE_UNAVAILABLE"
    );
    assert!(body[1]["result"].is_object() && headers.contains_key("retry-after"));
    let rpc = json!({"jsonrpc": "2.0", "id": 1, "method": "auth.me"});
    let (_, headers, body) = rig.send("POST", "/rpc", &as_user, Some(rpc)).await;
    assert_eq!(body["error"]["data"]["httpStatus"], 503);
    assert!(headers.contains_key("retry-after"));
    let cookie = format!("app_session_id={user}");
    let (status, ..) = rig
        .send("POST", "/api/auth/refresh", &[("cookie", &cookie)], None)
        .await;
    assert_eq!(status.as_u16(), 503);

    // Whoever was signed out stays out.
    assert_eq!(
        rig.me(&ended).await.1["result"]["data"]["json"],
        Value::Null
    );
    // An admin known minutes ago sees the share and kills.
    let as_admin = bearer(&admin);
    let as_admin = [("authorization", as_admin.as_str())];
    let kill = json!({ "json": { "on": true, "reason": "the database is away" } });
    let (status, _, body) = rig
        .send("POST", "/api/trpc/featureFlags.kill", &as_admin, Some(kill))
        .await;
    assert_eq!(status.as_u16(), 200, "{body}");
    let (status, _, body) = rig
        .send("GET", "/api/trpc/featureFlags.get", &as_admin, None)
        .await;
    assert_eq!(
        (status.as_u16(), &body["result"]["data"]["json"]["killed"]),
        (200, &json!(true))
    );
    // One who logs out now is out here at once, and is told that it could not be stored if it was not.
    let (_, headers, _) = rig
        .send("POST", "/api/trpc/auth.logout", &as_user, Some(json!({})))
        .await;
    assert!(headers.contains_key("set-cookie"));
    // A link is not spent in vain.
    let login = rig.send("POST", "/api/auth/login", &[], Some(link.clone()));
    assert_eq!(login.await.0.as_u16(), 503);
    rig.sql("ALTER TABLE users_away RENAME TO users").await;
    let login = rig.send("POST", "/api/auth/login", &[], Some(link));
    assert_eq!(login.await.0.as_u16(), 200);
    until("an admin is known again", async || {
        id(&rig.me(&admin).await.1) == 1
    })
    .await;
    until("whoever logged out is out", async || {
        let (status, body) = rig.me(&user).await;
        status == StatusCode::OK && body["result"]["data"]["json"] == Value::Null
    })
    .await;
}
