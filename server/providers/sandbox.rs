//! A simulated provider for development and tests, called over real HTTP like any other.
//!
//! It does not pretend to think: every answer says that it comes from the sandbox and repeats what
//! was asked, and the model is named `sandbox/…`, so that nobody takes it for the real thing.

use std::{convert::Infallible, io, net::Ipv4Addr, time::Duration};

use async_stream::stream;
use axum::{
    Json, Router,
    response::{IntoResponse, Response, Sse, sse::Event},
    routing::{get, post},
};
use http::StatusCode;
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::{net::TcpListener, task::JoinHandle, time::sleep};

use super::Message;

/// The running sandbox; it ends when this is dropped.
///
/// It is not one of the tasks that a shutdown waits for: calls that run to their end while the
/// server stops still need it, so it must go last.
#[derive(Debug)]
pub struct Sandbox {
    base_url: String,
    server: JoinHandle<()>,
}

impl Sandbox {
    /// Starts it on a free loopback port.
    #[expect(
        clippy::disallowed_methods,
        reason = "it outlives the tasks that call it, and nothing is lost when it is cut off"
    )]
    pub async fn start() -> io::Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
        let base_url = format!("http://{}/v1", listener.local_addr()?);
        let app = Router::new()
            .route("/v1/chat/completions", post(complete))
            .route("/v1/models", get(models));
        let server = tokio::spawn(async move {
            if let Err(error) = axum::serve(listener, app).await {
                tracing::error!(%error, "the sandbox provider stopped");
            }
        });
        Ok(Self { base_url, server })
    }

    /// What to use as a provider's base URL.
    pub fn base_url(&self) -> &str {
        &self.base_url
    }
}

impl Drop for Sandbox {
    fn drop(&mut self) {
        self.server.abort();
    }
}

/// How a model of the sandbox behaves.
#[derive(Clone, Copy, Debug)]
struct Behaviour {
    /// Before the first byte.
    latency: Duration,
    /// Before each further word of a stream.
    between_words: Duration,
}

impl Behaviour {
    /// All models behave alike so far.
    fn of(_model: &str) -> Self {
        Self {
            latency: Duration::from_millis(20),
            between_words: Duration::from_millis(2),
        }
    }
}

#[derive(Deserialize)]
struct Asked {
    model: String,
    messages: Vec<Message>,
    #[serde(default)]
    stream: bool,
}

async fn complete(body: Result<Json<Asked>, axum::extract::rejection::JsonRejection>) -> Response {
    let asked = match body {
        Ok(Json(asked)) => asked,
        Err(error) => {
            let error = json!({"error": {"code": 400, "message": error.body_text()}});
            return (StatusCode::BAD_REQUEST, Json(error)).into_response();
        }
    };
    let behaviour = Behaviour::of(&asked.model);
    sleep(behaviour.latency).await;
    let model = format!("sandbox/{}", asked.model);
    let answer = answer(&model, &asked.messages);
    let usage = usage(&asked.messages, &answer);
    if asked.stream {
        return Sse::new(steps(model, answer, usage, behaviour)).into_response();
    }
    let message = json!({"role": "assistant", "content": answer});
    Json(json!({
        "id": "sandbox",
        "object": "chat.completion",
        "created": 0,
        "model": model,
        "choices": [{"index": 0, "message": message, "finish_reason": "stop"}],
        "usage": usage,
    }))
    .into_response()
}

async fn models() -> Json<Value> {
    Json(
        json!({"object": "list", "data": [{"id": "sandbox", "object": "model", "owned_by": "modelramp"}]}),
    )
}

fn steps(
    model: String,
    answer: String,
    usage: Value,
    behaviour: Behaviour,
) -> impl futures::Stream<Item = Result<Event, Infallible>> {
    let event = move |choices: Value, usage: Option<&Value>| {
        let mut chunk = json!({"id": "sandbox", "object": "chat.completion.chunk", "created": 0, "model": model, "choices": choices});
        if let Some(usage) = usage {
            chunk["usage"] = usage.clone();
        }
        Ok(Event::default().data(chunk.to_string()))
    };
    stream! {
        for word in answer.split_inclusive(' ') {
            yield event(json!([{"index": 0, "delta": {"content": word}, "finish_reason": null}]), None);
            sleep(behaviour.between_words).await;
        }
        yield event(json!([{"index": 0, "delta": {}, "finish_reason": "stop"}]), None);
        yield event(json!([]), Some(&usage));
        yield Ok(Event::default().data("[DONE]"));
    }
}

/// The same question always gets the same answer.
fn answer(model: &str, messages: &[Message]) -> String {
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
