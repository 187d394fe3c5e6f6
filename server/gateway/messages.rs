//! `POST /v1/messages` and `/v1/messages/count_tokens`: Anthropic's API, translated to chat completions
//! and back.

mod events;
mod reply;
mod request;

use axum::{
    body::Body,
    extract::{Request, State},
    response::Response,
};
use http::{HeaderName, HeaderValue};
use serde_json::{Value, json};

use self::{events::Events, request::Translated};
use super::{
    Admitted, Gateway, Shared,
    answer::{self, RouteRequest},
    endpoint::Endpoint,
    headers,
    refusal::{Dialect, Refusal},
    target,
};
use crate::providers::{ChatRequest, estimate, openrouter};

static ENDPOINT: Endpoint = Endpoint::new("/v1/messages");
static COUNT: Endpoint = Endpoint::new("/v1/messages/count_tokens");
const ESTIMATED: HeaderName = HeaderName::from_static("x-modelramp-estimated");

pub(super) async fn answer(State(gateway): Shared, request: Request) -> Response {
    gateway
        .serve(&ENDPOINT, Dialect::Messages, request, run)
        .await
}

async fn run(gateway: &Gateway, admitted: &mut Admitted, body: Body) -> Result<Response, Refusal> {
    let (body, held) = gateway.read(body).await?;
    let route = target::route(&gateway.models, &admitted.call, &body)?;
    let asked = super::values(&body)?;
    let asking = gateway.cache.asking(&admitted.call, ENDPOINT.path(), &body);
    drop(body);
    let model = route.models.first().map(|model| model.name.clone());
    let Translated {
        body,
        elsewhere,
        mut dropped,
    } = request::to_chat(&asked, model.as_deref().unwrap_or_default())?;
    let has_top_k = body.contains_key("top_k");
    let models = route.models.clone();
    let streams = asked.get("stream") == Some(&Value::Bool(true));
    let writer = Events::new(&asked);
    drop(asked);
    let asked = RouteRequest {
        route,
        request: ChatRequest {
            elsewhere: Some(elsewhere),
            thoughts_of: model,
            ..ChatRequest::passing_on(super::raw(&body)?)
        },
        streams,
        asking,
        writer,
    };
    drop(body);
    let response = answer::of(gateway, admitted, asked).await;
    drop(held);
    let mut response = response?;
    let answered = headers::model(&response);
    let answered = models.iter().find(|it| Some(&*it.name) == answered);
    if has_top_k && answered.is_some_and(|model| model.provider != openrouter::NAME) {
        dropped.push("top_k".into());
    }
    headers::dropped(&mut response, &dropped);
    Ok(response)
}

pub(super) async fn count_tokens(State(gateway): Shared, request: Request) -> Response {
    gateway
        .serve(&COUNT, Dialect::Messages, request, count)
        .await
}

async fn count(
    gateway: &Gateway,
    admitted: &mut Admitted,
    body: Body,
) -> Result<Response, Refusal> {
    let (body, _held) = gateway.read(body).await?;
    let route = target::route(&gateway.models, &admitted.call, &body)?;
    let prompt = route.prompts("").map(estimate::tokens_of).max();
    let asked = super::values(&body)?;
    request::turns(&asked)?;
    let read = request::tokens(&asked) as u64;
    let tokens = read.saturating_add(prompt.unwrap_or(0));
    let mut response = answer::json(json!({"input_tokens": tokens}).to_string());
    let headers = response.headers_mut();
    headers.insert(ESTIMATED, HeaderValue::from_static("true"));
    Ok(response)
}
