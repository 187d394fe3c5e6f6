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
    // Nobody is named by two, so it is the cookie's own user, and neither of the two.
    let cookie = format!("app_session_id={token}");
    let two = [USER, ("x-forwarded-user", "boss"), ("cookie", &cookie)];
    assert_eq!(near.asked(&two).await["id"], 9);
    let bearer = format!("Bearer {token}");
    assert_eq!(
        near.asked(&[USER, ("authorization", &bearer)]).await["id"],
        9
    );
    // What scripts send that have none is as good as none; a real one that does not hold is not replaced.
    let none = ("authorization", "Bearer undefined");
    assert_eq!(near.asked(&[USER, none]).await["id"], me["id"]);
    let wrong = ("authorization", "Bearer a.b.c");
    assert_eq!(near.asked(&[USER, wrong]).await, Value::Null);

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
    // Somebody else's session, of whose cookie and token a page may know.
    let other = rig.token(8, Role::Admin).await;
    let bearer = format!("Bearer {other}");
    let others = [("authorization", &*bearer)];
    let session = rig
        .send("GET", "/api/trpc/auth.session", &others, None)
        .await
        .2;
    let others_csrf = session["result"]["data"]["json"]["csrf"]
        .as_str()
        .unwrap()
        .to_owned();
    let others_cookie = format!("app_session_id={other}");
    let others_cookie = ("cookie", &*others_cookie);
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
            (
                vec![own, others_cookie, ("x-csrf-token", &others_csrf)],
                403,
            ),
            (vec![own, ("authorization", &bearer)], 200),
            (vec![own, ("x-csrf-token", &csrf)], 200),
            (vec![own, others_cookie, ("x-csrf-token", &csrf)], 200),
        ] {
            let headers = [&admin[..], &more].concat();
            let (status, _, answer) = rig.send("POST", path, &headers, Some(body.clone())).await;
            assert_eq!(status.as_u16(), expected, "{path} {more:?} {answer}");
        }
    }
}

type Socket =
    tokio_tungstenite::WebSocketStream<tokio_tungstenite::MaybeTlsStream<tokio::net::TcpStream>>;

/// Opens a socket as the proxy hands it on, with a subscription whose first frames have come.
async fn subscribed(rig: &Rig, path: &str, subscribe: Value) -> Socket {
    let url = format!("{}{path}", rig.server.url.replace("http:", "ws:"));
    let mut request = url.into_client_request().unwrap();
    let headers = request.headers_mut();
    headers.insert(USER.0, USER.1.parse().unwrap());
    headers.insert("x-forwarded-groups", "staff".parse().unwrap());
    let (mut socket, _) = tokio_tungstenite::connect_async(request).await.unwrap();
    socket
        .send(Message::text(subscribe.to_string()))
        .await
        .unwrap();
    let first = socket.next().await.unwrap().unwrap().into_text().unwrap();
    assert!(!first.contains("error"), "{first}");
    socket
}

/// What a socket says until it closes, and the code of its close.
async fn until_closed(mut socket: Socket) -> (Vec<String>, Option<u16>) {
    let mut said = Vec::new();
    while let Some(Ok(message)) = socket.next().await {
        match message {
            Message::Text(text) => said.push(text.to_string()),
            Message::Close(frame) => return (said, frame.map(|frame| frame.code.into())),
            _ => {}
        }
    }
    (said, None)
}

/// The world: a proxy that takes a role away can tell it only with the next request, and a dashboard that is
/// left open makes none.
#[tokio::test(flavor = "multi_thread")]
async fn what_is_open_comes_back_so_that_the_proxy_says_anew_who_calls() {
    let settings = [
        settings("127.0.0.1"),
        vec![("TRUSTED_USER_TTL", "1s"), ("TRPC_PING_INTERVAL", "200ms")],
    ];
    let rig = rig(&settings.concat()).await;
    let path = "rollout.onChange";
    let events = rig
        .server
        .http
        .get(format!("{}/api/trpc/{path}", rig.server.url))
        .header(USER.0, USER.1)
        .header("x-forwarded-groups", "staff")
        .send()
        .await
        .unwrap();
    let subscribe = json!({"id": 1, "method": "subscription", "params": {"path": path}});
    let trpc = subscribed(&rig, "/api/trpc", subscribe).await;
    let subscribe = json!({"jsonrpc": "2.0", "id": 1, "method": path, "params": {}});
    let rpc = subscribed(&rig, "/rpc", subscribe).await;

    let all = futures::future::join3(events.text(), until_closed(trpc), until_closed(rpc));
    let (events, (trpc, trpc_code), (rpc, rpc_code)) =
        tokio::time::timeout(4 * END, all).await.expect("an end");
    let events = events.unwrap();
    // Neither an error nor a word that would keep the client from coming back.
    assert!(events.contains("event: connected"), "{events}");
    assert!(
        !events.contains("return") && !events.contains("error"),
        "{events}"
    );
    assert_eq!((trpc_code, rpc_code), (Some(1012), Some(1012)));
    let trpc = trpc.concat();
    assert!(trpc.contains("reconnect"), "{trpc}");
    assert!(
        !trpc.contains("stopped") && !trpc.contains("error"),
        "{trpc}"
    );
    assert!(!rpc.concat().contains("UNAUTHORIZED"), "{rpc:?}");
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
            .forget_user(id, &modelramp::_core::actor::Actor::CommandLine, now())
            .await
            .unwrap()
            .is_some()
    );
    crate::support::wait::until("the user is gone", async || {
        rig.asked(&[USER]).await == Value::Null
    })
    .await;
}
