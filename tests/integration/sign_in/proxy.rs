//! A proxy that signs people in itself, and says who they are in a header.

use super::*;

const USER: (&str, &str) = ("x-forwarded-user", "bo@example.com");

fn settings(addresses: &'static str) -> Vec<(&'static str, &'static str)> {
    vec![
        ("TRUSTED_USER_HEADER", "X-Forwarded-User"),
        ("TRUSTED_USER_PROXIES", addresses),
        ("TRUSTED_ROLES_HEADER", "X-Forwarded-Groups"),
        ("ADMIN_ROLES", "ramp-admins"),
        ("VIEWER_ROLES", "staff"),
    ]
}

impl Rig {
    async fn asked(&self, headers: &[(&str, &str)]) -> Value {
        let (_, _, body) = self.send("GET", "/api/trpc/auth.me", headers, None).await;
        body["result"]["data"]["json"].clone()
    }
}

#[tokio::test]
async fn the_header_counts_from_the_named_proxy_and_from_nobody_else() {
    let near = rig(&settings("127.0.0.0/8")).await;
    let me = near
        .asked(&[USER, ("x-forwarded-groups", "staff, ramp-admins")])
        .await;
    assert_eq!(
        (&me["name"], &me["role"]),
        (&json!("bo@example.com"), &json!("admin"))
    );
    let viewer = near.asked(&[USER, ("x-forwarded-groups", "staff")]).await;
    assert_eq!(
        (&viewer["id"], &viewer["role"]),
        (&me["id"], &json!("viewer"))
    );
    let user = near.asked(&[USER]).await;
    assert_eq!((&user["id"], &user["role"]), (&me["id"], &json!("user")));
    // Two names are none, and a bearer token counts before.
    assert_eq!(
        near.asked(&[USER, ("x-forwarded-user", "boss")]).await,
        Value::Null
    );
    let token = near.token(9, Role::User).await;
    let bearer = format!("Bearer {token}");
    assert_eq!(
        near.asked(&[USER, ("authorization", &bearer)]).await["id"],
        9
    );

    for (name, rig) in [
        (
            "another address",
            rig(&settings("10.0.0.0/8,192.0.2.1")).await,
        ),
        ("not set", rig(&[]).await),
    ] {
        let anonymous = rig
            .asked(&[USER, ("x-forwarded-groups", "ramp-admins")])
            .await;
        assert_eq!(anonymous, Value::Null, "{name}");
        // What a client sends does not get in the way of its own session.
        let cookie = format!("app_session_id={}", rig.token(9, Role::User).await);
        assert_eq!(
            rig.asked(&[USER, ("cookie", &cookie)]).await["id"],
            9,
            "{name}"
        );
    }
}

#[tokio::test]
async fn whoever_a_proxy_names_changes_nothing_from_another_sites_page() {
    let rig = rig(&[settings("127.0.0.1"), vec![("CSRF_TOKEN", "required")]].concat()).await;
    let admin = [USER, ("x-forwarded-groups", "ramp-admins")];
    let session = rig
        .send("GET", "/api/trpc/auth.session", &admin, None)
        .await
        .2;
    let csrf = session["result"]["data"]["json"]["csrf"]
        .as_str()
        .unwrap()
        .to_owned();
    let own = ("sec-fetch-site", "same-origin");
    let change = json!({"percent": 5, "reason": "a test"});
    let trpc = json!({ "json": change });
    let rpc =
        json!({"jsonrpc": "2.0", "id": 1, "method": "featureFlags.setShare", "params": change});
    for (path, body) in [("/api/trpc/featureFlags.setShare", trpc), ("/rpc", rpc)] {
        for (more, expected) in [
            (vec![("origin", "https://evil.example")], 403),
            (vec![("sec-fetch-site", "cross-site")], 403),
            (vec![own], 403),
            (vec![own, ("x-csrf-token", "x")], 403),
            (vec![own, ("x-csrf-token", &csrf)], 200),
        ] {
            let headers = [&admin[..], &more].concat();
            let (status, _, answer) = rig.send("POST", path, &headers, Some(body.clone())).await;
            assert_eq!(status.as_u16(), expected, "{path} {more:?} {answer}");
        }
    }
}

#[tokio::test]
async fn a_named_user_can_be_deleted_and_signs_out_at_the_proxy() {
    let rig = rig(&settings("127.0.0.1")).await;
    let me = rig.asked(&[USER]).await;
    let own = [USER, ("sec-fetch-site", "same-origin")];
    for procedure in ["auth.logout", "auth.logoutEverywhere"] {
        let path = format!("/api/trpc/{procedure}");
        let (status, _, body) = rig.send("POST", &path, &own, Some(json!({}))).await;
        assert_eq!(status, StatusCode::OK, "{body}");
        assert_eq!(
            rig.asked(&[USER]).await["id"],
            me["id"],
            "the proxy says so still"
        );
    }
    let id = me["id"].as_i64().unwrap();
    assert!(
        rig.server
            .setup
            .storage()
            .await
            .forget_user(id, now())
            .await
            .unwrap()
            .is_some()
    );
    crate::support::wait::until("the user is gone", async || {
        rig.asked(&[USER]).await == Value::Null
    })
    .await;
}
