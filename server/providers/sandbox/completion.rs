//! `chat/completions` of the sandbox, with the faults that were drawn.

use std::{io, sync::Arc, time::Duration};

use async_stream::stream;
use axum::{
    Json, Router,
    body::{Body, Bytes},
    extract::{Extension, State, rejection::JsonRejection},
    response::{IntoResponse, Response},
    routing::{get, post},
};
use http::{StatusCode, header::CONTENT_TYPE};
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

use super::{
    Fate, FaultMode, Models,
    serve::{Dropped, KeptAlive},
};
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
    kept_alive: Option<Extension<KeptAlive>>,
    body: Result<Json<Asked>, JsonRejection>,
) -> Response {
    let asked = match body {
        Ok(Json(asked)) => asked,
        Err(error) => return failure(StatusCode::BAD_REQUEST, &error.body_text()),
    };
    let fate = server.models.ask(&asked.model);
    sleep(fate.delay).await;
    match fate.fault {
        Some(FaultMode::Status(status)) => {
            return failure(known(status), "this model failed");
        }
        Some(FaultMode::Bare(status)) => return known(status).into_response(),
        Some(FaultMode::TooLong) => {
            let message = "This model's maximum context length is 1 token. Please reduce the length of the messages.";
            return failure(StatusCode::BAD_REQUEST, message);
        }
        Some(FaultMode::KeyLimit) => {
            let message = "Key limit exceeded (total limit)";
            let error = json!({"code": 403, "message": message});
            return (StatusCode::FORBIDDEN, Json(json!({ "error": error }))).into_response();
        }
        Some(FaultMode::Hang) => {
            tokio::select! {
                () = sleep(HANG) => {}
                () = server.stop.cancelled() => {}
            }
            return failure(StatusCode::GATEWAY_TIMEOUT, "this model did not answer");
        }
        Some(FaultMode::Drop) => return Extension(Dropped).into_response(),
        Some(FaultMode::Stale) if kept_alive.is_some() => {
            return Extension(Dropped).into_response();
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

/// Every number that a [`FaultMode`] holds is a status.
fn known(status: u16) -> StatusCode {
    StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR)
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
        let choice = |mut message: Value, reason: &str| {
            message["role"] = json!("assistant");
            json!([{"index": 0, "message": message, "finish_reason": reason}])
        };
        let text = |text: &str| json!({ "content": text });
        let choices = match fate.fault {
            Some(FaultMode::NoChoices) => json!([]),
            Some(FaultMode::MidStream) => choice(text(half(&self.text)), "error"),
            fault => match fault.and_then(instead_of_text) {
                Some((message, reason)) => choice(message, reason),
                None => choice(text(&self.text), "stop"),
            },
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
                fault => {
                    if let Some((message, reason)) = fault.and_then(instead_of_text) {
                        let choice = |delta: Value, reason: Value| json!([{"index": 0, "delta": delta, "finish_reason": reason}]);
                        yield Ok(chunk(choice(message, Value::Null), Value::Null));
                        yield Ok(chunk(choice(json!({}), json!(reason)), Value::Null));
                        yield Ok(event("[DONE]"));
                        return;
                    }
                }
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

/// What such a fault puts in the place of a text, and the finish reason with it.
fn instead_of_text(fault: FaultMode) -> Option<(Value, &'static str)> {
    let content = |content: Value| json!({ "content": content });
    Some(match fault {
        FaultMode::Empty => (content(json!("")), "stop"),
        FaultMode::EmptyNull => (content(Value::Null), "stop"),
        FaultMode::EmptyBlank => (content(json!(" \n\u{200b}\u{feff}")), "stop"),
        FaultMode::EmptyParts => (content(json!([])), "stop"),
        FaultMode::EmptyReasoning => (
            json!({"content": null, "reasoning": "Let me think about that."}),
            "stop",
        ),
        FaultMode::EmptyFiltered => (content(json!("")), "content_filter"),
        FaultMode::EmptyLength => (content(json!("")), "length"),
        FaultMode::ToolCall => {
            let call = json!({"index": 0, "id": "call-1", "type": "function", "function": {"name": "search", "arguments": "{}"}});
            (json!({"content": null, "tool_calls": [call]}), "tool_calls")
        }
        FaultMode::Refusal => (
            json!({"content": null, "refusal": "The sandbox will not answer that."}),
            "stop",
        ),
        _ => return None,
    })
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
