//! `POST /v1/chat/completions`.

use axum::{
    body::Body,
    extract::{Request, State},
    response::Response,
};

use super::{
    Admitted, Gateway, Shared,
    answer::{self, AnswerWriter, RouteRequest},
    chunks::{Chunks, with_text_arguments},
    endpoint::Endpoint,
    refusal::{Dialect, Refusal},
    target,
};
use crate::providers::{ChatRequest, Delta, RawObject};

static ENDPOINT: Endpoint = Endpoint::new("/v1/chat/completions");

pub(super) async fn answer(State(gateway): Shared, request: Request) -> Response {
    gateway.serve(&ENDPOINT, Dialect::Chat, request, run).await
}

async fn run(gateway: &Gateway, admitted: &mut Admitted, body: Body) -> Result<Response, Refusal> {
    let (body, held) = gateway.read(body).await?;
    check(&body)?;
    let route = target::route(&gateway.models, &admitted.call, &body)?;
    let asked = RouteRequest {
        streams: is_true(&body, "stream"),
        writer: Chunks::new(wants_usage(&body)),
        asking: gateway.cache.asking(&admitted.call, ENDPOINT.path(), &body),
        request: ChatRequest::passing_on(body),
        route,
    };
    let response = answer::of(gateway, admitted, asked).await;
    drop(held);
    response
}

/// What has to be there for a model to be asked.
fn check(body: &RawObject) -> Result<(), Refusal> {
    let messages = body.get("messages").map(|it| it.get());
    match messages {
        Some(messages) if messages.starts_with('[') && messages != "[]" => Ok(()),
        _ => Err(Refusal::bad_request(
            Some("messages"),
            "`messages` is missing or empty: expected a list of messages",
        )),
    }
}

fn is_true(body: &RawObject, name: &str) -> bool {
    body.get(name).is_some_and(|value| value.get() == "true")
}

fn wants_usage(body: &RawObject) -> bool {
    let options = body.get("stream_options");
    let options = options.and_then(|it| RawObject::parse(it.get().as_bytes()).ok());
    options.is_some_and(|options| is_true(&options, "include_usage"))
}

/// A whole answer goes out byte by byte as it came, and so does a chunk, but for what clients stumble over.
impl AnswerWriter for Chunks {
    fn whole(self, raw: String, _: &str) -> Result<String, Refusal> {
        Ok(with_text_arguments(&raw).unwrap_or(raw))
    }

    fn push(&mut self, step: Delta) -> String {
        let event = Self::push(self, step);
        event.map(|json| data(&json)).unwrap_or_default()
    }

    fn finish(&mut self) -> String {
        let usage = Self::finish(self).map(|json| data(&json));
        usage.unwrap_or_default() + &data("[DONE]")
    }

    fn fail(&mut self, refusal: &Refusal, request_id: &str) -> String {
        data(&refusal.to_json(Dialect::Chat, request_id))
    }
}

fn data(json: &str) -> String {
    ["data: ", json, "\n\n"].concat()
}
