//! What a session opened ends with it, on every wire.

use super::*;
use crate::support::wait::{PATIENCE, eventually};

type Socket =
    tokio_tungstenite::WebSocketStream<tokio_tungstenite::MaybeTlsStream<tokio::net::TcpStream>>;

async fn socket(rig: &Rig, path: &str, token: &str) -> Socket {
    let url = format!("{}{path}", rig.server.url.replace("http:", "ws:"));
    let mut request = url.into_client_request().unwrap();
    let bearer = format!("Bearer {token}").parse().unwrap();
    request.headers_mut().insert("authorization", bearer);
    tokio_tungstenite::connect_async(request).await.unwrap().0
}

/// What a socket says until it closes, and the code of its close.
async fn last_words(mut socket: Socket) -> (Vec<Value>, Option<u16>) {
    let mut said = Vec::new();
    while let Some(Ok(message)) = socket.next().await {
        match message {
            Message::Text(text) => said.push(serde_json::from_str(&text).unwrap()),
            Message::Close(frame) => return (said, frame.map(|frame| frame.code.into())),
            _ => {}
        }
    }
    (said, None)
}

/// Opens a subscription on every wire and returns what each says at its end.
async fn ends(rig: &Rig, token: &str, path: &str, end: impl Future<Output = ()>) -> [Value; 3] {
    let mut trpc = socket(rig, "/api/trpc", token).await;
    let subscribe = json!({"id": 1, "method": "subscription", "params": {"path": path}});
    trpc.send(Message::text(subscribe.to_string()))
        .await
        .unwrap();
    let mut rpc = socket(rig, "/rpc", token).await;
    let subscribe = json!({"jsonrpc": "2.0", "id": 1, "method": path, "params": {}});
    rpc.send(Message::text(subscribe.to_string()))
        .await
        .unwrap();
    let url = format!("{}/api/trpc/{path}", rig.server.url);
    let events = rig
        .server
        .http
        .get(url)
        .bearer_auth(token)
        .send()
        .await
        .unwrap();
    // The first frame of each says that it is open.
    trpc.next().await.unwrap().unwrap();
    rpc.next().await.unwrap().unwrap();

    end.await;
    let sse = async {
        let text = events.text().await.unwrap();
        let error = text.split("event: serialized-error\ndata: ").nth(1);
        serde_json::from_str::<Value>(error.expect("an error").trim()).unwrap()
    };
    let all = futures::future::join3(sse, last_words(trpc), last_words(rpc));
    let (sse, (trpc, code), (rpc, _)) = tokio::time::timeout(END + END, all).await.expect("an end");
    assert_eq!(code, Some(1008));
    let trpc = trpc.iter().find(|said| said.get("error").is_some());
    let rpc = rpc
        .iter()
        .find(|said| said["params"].get("error").is_some());
    [
        sse["json"]["data"]["code"].clone(),
        trpc.expect("an error")["error"]["json"]["data"]["code"].clone(),
        rpc.expect("an error")["params"]["error"]["data"]["code"].clone(),
    ]
}

#[tokio::test(flavor = "multi_thread")]
async fn subscriptions_and_sockets_end_with_their_session_on_every_wire() {
    let rig = rig(&[]).await;
    let path = "aiMetrics.onSummary";
    let token = rig.token(5, Role::User).await;
    let logout = async {
        let bearer = format!("Bearer {token}");
        let bearer = [("authorization", bearer.as_str())];
        // On a busy disk the database may take longer than a call waits for it.
        eventually(PATIENCE, async || {
            let body = Some(json!({}));
            let answer = rig.send("POST", "/api/trpc/auth.logout", &bearer, body);
            match answer.await {
                (StatusCode::OK, ..) => Ok(()),
                (StatusCode::SERVICE_UNAVAILABLE, _, said) => Err(said),
                other => panic!("{other:?}"),
            }
        })
        .await;
    };
    assert_eq!(ends(&rig, &token, path, logout).await, ["UNAUTHORIZED"; 3]);

    let token = rig.token(5, Role::User).await;
    // Another process, as the command line is.
    let revoke = async { app::end_sessions(&rig.config, 5, now()).await.unwrap() };
    assert_eq!(ends(&rig, &token, path, revoke).await, ["UNAUTHORIZED"; 3]);

    let token = rig.token(5, Role::User).await;
    let delete = async {
        assert!(
            rig.storage()
                .await
                .forget_user(5, &modelramp::_core::actor::Actor::CommandLine, now())
                .await
                .unwrap()
                .is_some()
        );
    };
    assert_eq!(ends(&rig, &token, path, delete).await, ["UNAUTHORIZED"; 3]);
    assert!(app::end_sessions(&rig.config, 5, now()).await.is_err());

    // One that runs out does so for streams that are open, too.
    let key = modelramp::_core::auth::SessionKey::new(
        &std::fs::read_to_string(format!(
            "{}.jwt-secret",
            rig.config.database.url.trim_start_matches("sqlite://")
        ))
        .unwrap()
        .trim()
        .into(),
    );
    let claims = modelramp::_core::auth::Claims {
        open_id: "runs-out".into(),
        app_id: "a".into(),
        name: "E".into(),
        exp: u64::try_from(now().timestamp() - 57).unwrap(),
        ..Default::default()
    };
    let token = key.sign(&claims).unwrap();
    let wait = std::future::ready(());
    assert_eq!(ends(&rig, &token, path, wait).await, ["UNAUTHORIZED"; 3]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_demoted_admin_loses_what_admins_see_and_keeps_the_socket() {
    let rig = rig(&[]).await;
    let token = rig.token(6, Role::Admin).await;
    let mut socket = socket(&rig, "/api/trpc", &token).await;
    for (id, path) in [(1, "rollout.onChange"), (2, "aiMetrics.onSummary")] {
        let subscribe = json!({"id": id, "method": "subscription", "params": {"path": path}});
        socket
            .send(Message::text(subscribe.to_string()))
            .await
            .unwrap();
    }
    rig.token(6, Role::User).await;
    let (mut refused, mut later) = (None, 0);
    let wait = async {
        while later < 3 {
            let message = socket.next().await.unwrap().unwrap();
            let Message::Text(text) = message else {
                continue;
            };
            let said: Value = serde_json::from_str(&text).unwrap();
            match &refused {
                None if said.get("error").is_some() => refused = Some(said),
                Some(_) if said["id"] == 2 && said["result"]["type"] == "data" => later += 1,
                _ => {}
            }
        }
    };
    tokio::time::timeout(END + END, wait)
        .await
        .expect("an end of the one, and the other goes on");
    let refused = refused.unwrap();
    assert_eq!(
        (&refused["id"], &refused["error"]["json"]["data"]["code"]),
        (&json!(1), &json!("FORBIDDEN"))
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_call_under_way_is_answered_before_its_socket_closes() {
    // Everybody gets the candidate route, whose first model takes longer than a session takes to end.
    let rig = rig(&[("OPENROUTER_ROLLOUT_PERCENTAGE", "100")]).await;
    let model = "z-ai/glm-4.5-air:free";
    let slow = json!({"latency_ms": 6000});
    rig.server.set_model(model, slow).await;
    let token = rig.token(8, Role::User).await;
    let mut trpc = socket(&rig, "/api/trpc", &token).await;
    let call = |id: u32, path: &str, input: Value| {
        Message::text(json!({"id": id, "method": "mutation", "params": {"path": path, "input": {"json": input}}}).to_string())
    };
    trpc.send(call(1, "chat.createConversation", json!({})))
        .await
        .unwrap();
    let made = trpc.next().await.unwrap().unwrap().into_text().unwrap();
    let made: Value = serde_json::from_str(&made).unwrap();
    let conversation = &made["result"]["data"]["json"]["id"];
    let send = json!({"conversationId": conversation, "content": "hej"});
    trpc.send(call(2, "chat.sendMessage", send)).await.unwrap();
    // It has begun once the model was asked.
    rig.server.until_asked(model, 1).await;
    app::end_sessions(&rig.config, 8, now()).await.unwrap();
    let (said, code) = tokio::time::timeout(4 * END, last_words(trpc))
        .await
        .expect("an end");
    assert_eq!(code, Some(1008));
    assert_eq!(
        said[0]["result"]["data"]["json"]["role"], "user",
        "{said:?}"
    );
}
