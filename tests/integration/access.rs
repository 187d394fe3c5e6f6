//! Who may call what, on every wire: whoever schema/access.md leaves out is refused by each wire before
//! anything is read or run.

use futures::{SinkExt, StreamExt};
use modelramp::_core::{caller::Role, procedure::ProcedureKind};
use serde_json::{Value, json};
use tokio_tungstenite::tungstenite::{Message, client::IntoClientRequest};

use crate::support::app::TestApp;

/// The number of the error that whoever has this role gets.
fn number(role: Option<Role>) -> &'static str {
    match role {
        None => "(10001)",
        Some(_) => "(10002)",
    }
}

#[tokio::test]
async fn whoever_is_left_out_is_refused_on_every_wire() {
    let app = TestApp::start().await;
    let mut callers = vec![(None, None)];
    for (id, role) in [(2, Role::User), (3, Role::Viewer)] {
        callers.push((Some(role), Some(app.setup.token(id, role).await)));
    }
    let mut refused = 0;
    for (role, token) in &callers {
        let token = token.as_deref();
        let denied: Vec<_> = app
            .registry
            .iter()
            .filter(|it| *role < it.access.role())
            .collect();
        let mut trpc = socket(&app, "/api/trpc", token).await;
        let mut rpc = socket(&app, "/rpc", token).await;
        for (id, procedure) in denied.iter().enumerate() {
            let (path, kind_of) = (procedure.path, procedure.kind);
            let mut answers = vec![("tRPC", http(&app, token, path, kind_of).await)];
            let call = json!({"id": id, "method": kind_of.name(), "params": {"path": path}});
            answers.push(("tRPC by WebSocket", ask(&mut trpc, &call).await));
            let call = json!({"jsonrpc": "2.0", "id": id, "method": path});
            answers.push(("JSON-RPC by WebSocket", ask(&mut rpc, &call).await));
            if kind_of != ProcedureKind::Subscription {
                answers.push(("JSON-RPC", post(&app, token, "/rpc", &call).await));
            }
            for (wire, answer) in answers {
                assert!(
                    answer.contains(number(*role)),
                    "{path} as {role:?} over {wire}: {answer}"
                );
                refused += 1;
            }
        }
    }
    // All wires of all procedures that not everybody may call.
    assert!(refused > 300, "{refused}");
    app.stop().await;
}

type Socket =
    tokio_tungstenite::WebSocketStream<tokio_tungstenite::MaybeTlsStream<tokio::net::TcpStream>>;

async fn socket(app: &TestApp, path: &str, token: Option<&str>) -> Socket {
    let url = format!("{}{path}", app.url.replacen("http", "ws", 1));
    let mut request = url.into_client_request().unwrap();
    if let Some(token) = token {
        let value = format!("Bearer {token}").parse().unwrap();
        request.headers_mut().insert("authorization", value);
    }
    tokio_tungstenite::connect_async(request).await.unwrap().0
}

async fn ask(socket: &mut Socket, call: &Value) -> String {
    socket.send(Message::text(call.to_string())).await.unwrap();
    loop {
        let message = socket.next().await.expect("an answer").unwrap();
        match message.into_text() {
            Ok(text) if text.contains("\"id\"") => return text.to_string(),
            _ => {}
        }
    }
}

async fn http(app: &TestApp, token: Option<&str>, path: &str, kind: ProcedureKind) -> String {
    match kind {
        ProcedureKind::Mutation => {
            post(
                app,
                token,
                &format!("/api/trpc/{path}"),
                &json!({"json": {}}),
            )
            .await
        }
        ProcedureKind::Query | ProcedureKind::Subscription => {
            let mut request = app.http.get(format!("{}/api/trpc/{path}", app.url));
            if let Some(token) = token {
                request = request.bearer_auth(token);
            }
            request.send().await.unwrap().text().await.unwrap()
        }
    }
}

async fn post(app: &TestApp, token: Option<&str>, path: &str, body: &Value) -> String {
    let mut request = app.http.post(format!("{}{path}", app.url)).json(body);
    if let Some(token) = token {
        request = request.bearer_auth(token);
    }
    request.send().await.unwrap().text().await.unwrap()
}
