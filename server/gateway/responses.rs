//! `POST /v1/responses`: OpenAI's newer API, translated to chat completions and back. Nothing is stored.

mod events;
mod items;
mod request;
mod tools;

use axum::{
    body::Body,
    extract::{Request, State},
    response::Response,
};
use serde_json::{Map, Value};

use self::{events::Events, request::Translated};
use super::{
    Admitted, Gateway, Shared,
    answer::{self, RouteRequest},
    endpoint::Endpoint,
    headers,
    refusal::{Dialect, Refusal},
    target,
};
use crate::providers::ChatRequest;

static ENDPOINT: Endpoint = Endpoint::new("/v1/responses");

pub(super) async fn answer(State(gateway): Shared, request: Request) -> Response {
    gateway
        .serve(&ENDPOINT, Dialect::Responses, request, run)
        .await
}

async fn run(gateway: &Gateway, admitted: &mut Admitted, body: Body) -> Result<Response, Refusal> {
    let (body, held) = gateway.read(body).await?;
    let mut asked: Map<String, Value> = super::values(&body)?;
    request::check(&asked)?;
    let route = target::route(&gateway.models, &admitted.call, &body)?;
    let asking = gateway.cache.asking(&admitted.call, ENDPOINT.path(), &body);
    drop(body);
    let model = route.models.first().map(|model| model.name.clone());
    let Translated {
        body,
        dropped,
        tools,
    } = request::to_chat(&asked, model.as_deref().unwrap_or_default())?;
    let streams = asked.get("stream") == Some(&Value::Bool(true));
    // It may be long, and no answer repeats it. The rest is kept as long as the answer lasts.
    asked.remove("input");
    let kept = serde_json::to_vec(&asked).unwrap_or_default();
    let room = gateway.bounds.hold_message(&kept)??;
    drop(kept);
    let asked = RouteRequest {
        request: ChatRequest {
            thoughts_of: model,
            ..ChatRequest::passing_on(super::raw(&body)?)
        },
        route,
        streams,
        asking,
        writer: Events::new(asked, tools, room),
    };
    drop(body);
    let response = answer::of(gateway, admitted, asked).await;
    drop(held);
    let mut response = response?;
    headers::dropped(&mut response, &dropped);
    Ok(response)
}
