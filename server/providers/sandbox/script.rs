//! How an answer gets to the client: what is written when, and how that ends.

use std::{future::Future, io, time::Duration};

use async_stream::stream;
use axum::{
    body::{Body, Bytes},
    response::{IntoResponse, Response},
};
use http::{StatusCode, header::CONTENT_TYPE};
use serde_json::{Value, json};
use tokio::{task::yield_now, time::sleep};

use super::{
    FaultMode,
    answer::{SandboxAnswer, half},
    refusal::error,
};

/// The least time between two comments.
const COMMENTS: Duration = Duration::from_millis(10);
const PAGE: &str = "<!doctype html><title>The sandbox</title><p>No model is here.";

/// What a client is sent, and when.
pub(super) struct Script {
    media_type: &'static str,
    steps: Vec<Step>,
    end: End,
}

enum Step {
    /// One write to the network.
    Say(String),
    /// For as long as a word takes.
    Pause,
}

enum End {
    Clean,
    /// The connection breaks.
    Cut,
    /// Nothing more comes.
    Silence,
    /// This comes again and again.
    Repeat(&'static str),
}

impl Script {
    fn new(media_type: &'static str) -> Self {
        Self {
            media_type,
            steps: Vec::new(),
            end: End::Clean,
        }
    }

    fn say(&mut self, text: impl Into<String>) {
        self.steps.push(Step::Say(text.into()));
    }

    fn event(&mut self, data: &Value) {
        self.say(event(&data.to_string()));
    }

    fn ending(mut self, end: End) -> Self {
        self.end = end;
        self
    }

    /// An answer that is not streamed.
    pub(super) fn whole(answer: &SandboxAnswer, fault: Option<FaultMode>) -> Self {
        let mut script = Self::new("application/json");
        let mut body = match fault {
            Some(FaultMode::ErrorIn200) => json!({ "error": failed() }),
            fault => answer.body(fault != Some(FaultMode::NoChoices)),
        };
        if fault == Some(FaultMode::MidStream)
            && let Some(choice) = body.pointer_mut("/choices/0")
            && let Some(text) = choice["message"]["content"].as_str().map(half)
        {
            choice["message"]["content"] = json!(text);
            choice["finish_reason"] = json!("error");
        }
        let body = body.to_string();
        match fault {
            Some(FaultMode::Page) => {
                script.media_type = "text/html";
                script.say(PAGE);
            }
            Some(FaultMode::EndFirst | FaultMode::EmptyStream) => {}
            Some(FaultMode::CutFirst) => script.end = End::Cut,
            Some(FaultMode::StallFirst) => script.end = End::Silence,
            Some(FaultMode::Comments) => script.end = End::Repeat(" "),
            Some(FaultMode::MalformedJson | FaultMode::MalformedChunk | FaultMode::EndEarly) => {
                script.say(half(&body));
            }
            Some(FaultMode::Cut | FaultMode::CutChunk) => {
                script.say(half(&body));
                script.end = End::Cut;
            }
            Some(FaultMode::Stall) => {
                script.say(half(&body));
                script.end = End::Silence;
            }
            Some(FaultMode::SlowStream) => {
                for word in body.split_inclusive(' ') {
                    script.steps.push(Step::Pause);
                    script.say(word);
                }
            }
            _ => script.say(body),
        }
        script
    }

    /// A stream of server-sent events.
    pub(super) fn streamed(answer: &SandboxAnswer, fault: Option<FaultMode>) -> Self {
        let mut script = Self::new("text/event-stream");
        match fault {
            Some(FaultMode::Page) => return Self::whole(answer, fault),
            Some(FaultMode::Comments) => {
                return script.ending(End::Repeat(": the sandbox waits\n\n"));
            }
            Some(FaultMode::ErrorIn200) => {
                script.event(&json!({ "error": failed() }));
                return script;
            }
            Some(FaultMode::MalformedJson) => {
                script.say(event(r#"{"id": "sandbox", "choices": [{"#));
                return script;
            }
            Some(FaultMode::NoChoices | FaultMode::EmptyStream) => {
                let usage = answer
                    .usage()
                    .filter(|_| fault == Some(FaultMode::NoChoices));
                if let Some(usage) = usage {
                    script.event(&usage);
                }
                script.say(event("[DONE]"));
                return script;
            }
            _ => {}
        }
        script.event(&answer.chunk(&json!({"role": "assistant", "content": ""}), None));
        match fault {
            Some(FaultMode::EndFirst) => return script,
            Some(FaultMode::CutFirst) => return script.ending(End::Cut),
            Some(FaultMode::StallFirst) => return script.ending(End::Silence),
            _ => {}
        }
        let deltas = answer.deltas();
        let middle = deltas.len().div_ceil(2);
        let (before, after) = deltas.split_at(middle);
        script.words(answer, before);
        match fault {
            Some(FaultMode::EndEarly) => return script,
            Some(FaultMode::Cut) => return script.ending(End::Cut),
            Some(FaultMode::Stall) => return script.ending(End::Silence),
            Some(FaultMode::CutChunk) => {
                let next = event(&answer.chunk(&json!({"content": "cut"}), None).to_string());
                script.say(half(&next));
                return script.ending(End::Cut);
            }
            Some(FaultMode::MidStream) => {
                let mut chunk = answer.chunk(&json!({"content": ""}), Some("error"));
                chunk["error"] = failed();
                script.event(&chunk);
                return script;
            }
            Some(FaultMode::MalformedChunk) => script.say(event(r#"{"id": "sandbox", "cho"#)),
            _ => {}
        }
        script.words(answer, after);
        script.event(&answer.last());
        if let Some(usage) = answer.usage() {
            script.event(&usage);
        }
        if fault != Some(FaultMode::NoDone) {
            script.say(event("[DONE]"));
        }
        script
    }

    fn words(&mut self, answer: &SandboxAnswer, deltas: &[Value]) {
        for delta in deltas {
            self.event(&answer.chunk(delta, None));
            self.steps.push(Step::Pause);
        }
    }

    /// The response, with this long a pause for a word. `silence` ends when nobody should wait any longer.
    pub(super) fn play(
        self,
        pause: Duration,
        silence: impl Future<Output = ()> + Send + 'static,
    ) -> Response {
        let body = stream! {
            for step in self.steps {
                match step {
                    Step::Say(text) => {
                        yield Ok(Bytes::from(text));
                        // The server gets a turn, so that this is a write of its own.
                        yield_now().await;
                    }
                    Step::Pause if pause.is_zero() => {}
                    Step::Pause => sleep(pause).await,
                }
            }
            match self.end {
                End::Clean => {}
                End::Cut => yield Err(io::Error::from(io::ErrorKind::ConnectionAborted)),
                End::Silence => silence.await,
                End::Repeat(text) => {
                    let mut silence = std::pin::pin!(silence);
                    loop {
                        tokio::select! {
                            () = &mut silence => break,
                            () = sleep(pause.max(COMMENTS)) => yield Ok(Bytes::from(text)),
                        }
                    }
                }
            }
        };
        ([(CONTENT_TYPE, self.media_type)], Body::from_stream(body)).into_response()
    }
}

fn event(data: &str) -> String {
    format!("data: {data}\n\n")
}

fn failed() -> Value {
    error(StatusCode::BAD_GATEWAY, "this model failed")
}
