//! `chat/completions` of the sandbox, with the faults that were drawn.

use std::{io, sync::Arc, time::Duration};

use async_stream::stream;
use axum::{
    Json, Router,
    body::{Body, Bytes},
    extract::{State, rejection::JsonRejection},
    response::{IntoResponse, Response},
    routing::{get, post},
};
use http::{StatusCode, header::CONTENT_TYPE};
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

use super::{Fate, FaultMode, Models};
use crate::providers::Message;

/// A request that hangs is let go after this: whoever is still there then has no time limit.
const HANG: Duration = Duration::from_secs(600);

#[derive(Clone)]
struct Server {
    models: Arc<Models>,
    stop: CancellationToken,
}

pub(super) fn routes(models: Arc<Models>, stop: CancellationToken) -> Router {
    Router::new()
        .route("/v1/chat/completions", post(complete))
        .route("/v1/models", get(list))
        .with_state(Server { models, stop })
}

#[derive(Deserialize)]
struct Asked {
    model: String,
    messages: Vec<Message>,
    #[serde(default)]
    stream: bool,
}

async fn list() -> Json<Value> {
    Json(
        json!({"object": "list", "data": [{"id": "sandbox", "object": "model", "owned_by": "modelramp"}]}),
    )
}

async fn complete(
    State(server): State<Server>,
    body: Result<Json<Asked>, JsonRejection>,
) -> Response {
    let asked = match body {
        Ok(Json(asked)) => asked,
        Err(error) => return failure(StatusCode::BAD_REQUEST, &error.body_text()),
    };
    let fate = server.models.ask(&asked.model);
    sleep(fate.delay).await;
    match fate.fault {
        Some(FaultMode::Busy) => {
            return failure(StatusCode::TOO_MANY_REQUESTS, "this model is busy");
        }
        Some(FaultMode::Internal) => {
            return failure(StatusCode::INTERNAL_SERVER_ERROR, "this model failed");
        }
        Some(FaultMode::BadGateway) => {
            return failure(StatusCode::BAD_GATEWAY, "this model's host failed");
        }
        Some(FaultMode::Unavailable) => {
            return failure(StatusCode::SERVICE_UNAVAILABLE, "this model is overloaded");
        }
        Some(FaultMode::Hang) => {
            tokio::select! {
                () = sleep(HANG) => {}
                () = server.stop.cancelled() => {}
            }
            return failure(StatusCode::GATEWAY_TIMEOUT, "this model did not answer");
        }
        _ => {}
    }
    let answer = Answer::to(&asked);
    let body = if asked.stream {
        Body::from_stream(answer.stream(fate))
    } else {
        Body::from_stream(answer.whole(fate))
    };
    let media_type = if asked.stream {
        "text/event-stream"
    } else {
        "application/json"
    };
    ([(CONTENT_TYPE, media_type)], body).into_response()
}

/// The sandbox is named as the provider behind it, so that a 429 is a model's and not the account's.
fn error(code: StatusCode, message: &str) -> Value {
    let metadata = json!({"provider_name": "sandbox"});
    json!({"code": code.as_u16(), "message": message, "metadata": metadata})
}

fn failure(status: StatusCode, message: &str) -> Response {
    (status, Json(json!({"error": error(status, message)}))).into_response()
}

fn broken() -> io::Error {
    io::ErrorKind::ConnectionAborted.into()
}

/// What would be answered, if nothing failed.
struct Answer {
    model: String,
    text: String,
    usage: Value,
}

impl Answer {
    fn to(asked: &Asked) -> Self {
        let model = format!("sandbox/{}", asked.model);
        let text = text(&model, &asked.messages);
        let usage = usage(&asked.messages, &text);
        Self { model, text, usage }
    }

    /// The body of an answer that is not streamed.
    fn whole(self, fate: Fate) -> impl futures::Stream<Item = io::Result<Bytes>> {
        let choice = |text: &str, reason: &str| {
            let message = json!({"role": "assistant", "content": text});
            json!([{"index": 0, "message": message, "finish_reason": reason}])
        };
        let choices = match fate.fault {
            Some(FaultMode::NoChoices) => json!([]),
            Some(FaultMode::MidStream) => choice(half(&self.text), "error"),
            _ => choice(&self.text, "stop"),
        };
        let body = if fate.fault == Some(FaultMode::ErrorIn200) {
            json!({"error": error(StatusCode::BAD_GATEWAY, "this model failed")})
        } else {
            json!({
                "id": "sandbox",
                "object": "chat.completion",
                "created": 0,
                "model": self.model,
                "choices": choices,
                "usage": self.usage,
            })
        };
        let body = body.to_string();
        stream! {
            match fate.fault {
                Some(FaultMode::MalformedJson) => yield Ok(bytes(half(&body))),
                Some(FaultMode::Cut) => {
                    yield Ok(bytes(half(&body)));
                    yield Err(broken());
                }
                Some(FaultMode::SlowStream) => {
                    for word in body.split_inclusive(' ') {
                        sleep(fate.between_words).await;
                        yield Ok(bytes(word));
                    }
                }
                _ => yield Ok(Bytes::from(body)),
            }
        }
    }

    /// The body of a streamed answer: server-sent events.
    fn stream(self, fate: Fate) -> impl futures::Stream<Item = io::Result<Bytes>> {
        let chunk = move |choices: Value, more: Value| {
            let mut chunk = json!({"id": "sandbox", "object": "chat.completion.chunk", "created": 0, "model": self.model, "choices": choices});
            if let (Some(chunk), Value::Object(more)) = (chunk.as_object_mut(), more) {
                chunk.extend(more);
            }
            event(&chunk.to_string())
        };
        let step = |text: &str, reason: Value| json!([{"index": 0, "delta": {"content": text}, "finish_reason": reason}]);
        stream! {
            match fate.fault {
                Some(FaultMode::ErrorIn200) => {
                    let error = error(StatusCode::BAD_GATEWAY, "this model failed");
                    yield Ok(event(&json!({"error": error}).to_string()));
                    return;
                }
                Some(FaultMode::MalformedJson) => {
                    yield Ok(event(r#"{"id": "sandbox", "choices": [{"#));
                    return;
                }
                Some(FaultMode::NoChoices) => {
                    yield Ok(chunk(json!([]), json!({"usage": self.usage})));
                    yield Ok(event("[DONE]"));
                    return;
                }
                _ => {}
            }
            let breaks_off = matches!(fate.fault, Some(FaultMode::Cut | FaultMode::MidStream));
            let text = if breaks_off { half(&self.text) } else { &self.text };
            for word in text.split_inclusive(' ') {
                yield Ok(chunk(step(word, Value::Null), Value::Null));
                sleep(fate.between_words).await;
            }
            match fate.fault {
                Some(FaultMode::Cut) => yield Err(broken()),
                Some(FaultMode::MidStream) => {
                    let error = error(StatusCode::BAD_GATEWAY, "this model failed");
                    yield Ok(chunk(step("", json!("error")), json!({"error": error})));
                }
                _ => {
                    yield Ok(chunk(step("", json!("stop")), Value::Null));
                    yield Ok(chunk(json!([]), json!({"usage": self.usage})));
                    yield Ok(event("[DONE]"));
                }
            }
        }
    }
}

fn event(data: &str) -> Bytes {
    Bytes::from(format!("data: {data}\n\n"))
}

fn bytes(text: &str) -> Bytes {
    Bytes::copy_from_slice(text.as_bytes())
}

/// The first half of a text.
fn half(text: &str) -> &str {
    text.get(..text.floor_char_boundary(text.len() / 2))
        .unwrap_or_default()
}

/// The same question always gets the same answer.
fn text(model: &str, messages: &[Message]) -> String {
    let asked = messages
        .iter()
        .rev()
        .find(|message| message.role == "user")
        .map(|message| match &message.content {
            Value::String(text) => text.clone(),
            parts => parts.to_string(),
        })
        .unwrap_or_default();
    let short: String = asked.chars().take(200).collect();
    let more = if short.len() < asked.len() { "…" } else { "" };
    format!("[{model}] This is the sandbox, no language model. You asked: {short}{more}")
}

/// A word counts as a token.
fn usage(messages: &[Message], answer: &str) -> Value {
    let words = |text: &str| text.split_whitespace().count();
    let prompt: usize = messages
        .iter()
        .map(|message| message.content.as_str().map_or(1, words))
        .sum();
    let completion = words(answer);
    json!({"prompt_tokens": prompt, "completion_tokens": completion, "total_tokens": prompt + completion})
}
