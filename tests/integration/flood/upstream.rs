//! A provider whose replies are as bad as they may be, and users who ask it all at once.

use axum::{Router, body::Body, response::IntoResponse};
use bytes::Bytes;
use futures::{future::join_all, stream};
use serde_json::{Value, json};
use tokio::net::TcpListener;

use super::server::Server;

/// What it answers.
#[derive(Clone, Copy, Debug)]
pub(super) enum Replies {
    /// The longest text that is read.
    Long,
    /// Calls of tools, of the smallest values.
    TinyValues,
    /// A reply that goes on for ever.
    Endless,
    /// The same, in events.
    EndlessEvents,
    /// An error that goes on for ever.
    EndlessError,
}

/// Users, who send this many messages each: as many as one may in a minute.
const USERS: usize = 12;
const MESSAGES: usize = 10;

fn endless(piece: &'static str) -> Body {
    let pieces = stream::repeat(Ok::<_, std::convert::Infallible>(Bytes::from(piece)));
    Body::from_stream(pieces)
}

impl Replies {
    fn answer(self) -> impl IntoResponse {
        let (status, kind, body) = match self {
            Self::Long => {
                let text = "x".repeat(1_040_000);
                let reply = json!({"choices": [{"message": {"content": text}}]});
                (200, "application/json", reply.to_string().into())
            }
            Self::TinyValues => {
                let calls = vec![0; 500_000];
                let message = json!({"content": "hi", "tool_calls": calls});
                let reply = json!({"choices": [{"message": message}]});
                (200, "application/json", reply.to_string().into())
            }
            Self::Endless => (200, "application/json", endless("[[[[[[[[[[[[[[[[")),
            Self::EndlessEvents => {
                let event =
                    "data: {\"choices\":[{\"delta\":{\"content\":\"xxxxxxxxxxxxxxxx\"}}]}\n\n";
                (200, "text/event-stream", endless(event))
            }
            Self::EndlessError => (500, "application/json", endless("[[[[[[[[[[[[[[[[")),
        };
        let status = http::StatusCode::from_u16(status).unwrap();
        (status, [("content-type", kind)], body)
    }

    /// A server whose provider answers so.
    pub(super) async fn serve(self) -> Server {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let base = format!("http://{}/v1", listener.local_addr().unwrap());
        let app = Router::new().fallback(move || async move { self.answer() });
        tokio::spawn(async move { axum::serve(listener, app).await });
        Server::start_with(&[
            ("OPENROUTER_API_KEY", "sk-x"),
            ("OPENROUTER_BASE_URL", &base),
        ])
        .await
    }
}

async fn mutate(server: &Server, token: &str, path: &str, input: Value) -> Value {
    let url = server.url(&format!("/api/trpc/{path}"));
    let request = server.http.post(url).bearer_auth(token);
    let answer = request
        .json(&json!({ "json": input }))
        .send()
        .await
        .unwrap();
    answer.json().await.unwrap()
}

/// Everybody asks at once. What they are told does not matter here.
pub(super) async fn ask(server: &Server) {
    let users = join_all((0..USERS).map(|n| server.token(n + 10))).await;
    let messages = users.iter().map(async |token| {
        let created = mutate(server, token, "chat.createConversation", json!({})).await;
        let id = &created["result"]["data"]["json"]["id"];
        assert!(id.is_number(), "{created}");
        let input = json!({"conversationId": id, "content": "hello"});
        let send = async || mutate(server, token, "chat.sendMessage", input.clone()).await;
        join_all((0..MESSAGES).map(|_| send())).await;
    });
    join_all(messages).await;
}
