//! `POST /v1/responses`: OpenAI's newer API, translated to chat completions and back. Nothing is stored.

mod events;
mod items;
mod request;

use axum::{
    body::Body,
    extract::{Request, State},
    response::Response,
};
use http::{HeaderName, HeaderValue};
use serde_json::{Map, Value};

use self::{events::Events, request::Translated};
use super::{
    Admitted, Gateway, Refused, Shared,
    answer::{self, Asked},
    refusal::{Dialect, Refusal},
    target,
};
use crate::providers::ChatRequest;

const PATH: &str = "/v1/responses";
const DROPPED: HeaderName = HeaderName::from_static("x-modelramp-dropped");

pub(super) async fn answer(State(gateway): Shared, request: Request) -> Response {
    let (parts, body) = request.into_parts();
    let mut admitted = match gateway.admit(PATH, &parts).await {
        Ok(admitted) => admitted,
        Err(refused) => {
            gateway.bounds.discard(body).await;
            return refused.into_response(Dialect::Responses);
        }
    };
    match run(&gateway, &mut admitted, body).await {
        Ok(response) => response,
        Err(refusal) => {
            admitted.line.finish(refusal.code());
            Refused::new(refusal, &admitted.context).into_response(Dialect::Responses)
        }
    }
}

async fn run(gateway: &Gateway, admitted: &mut Admitted, body: Body) -> Result<Response, Refusal> {
    let (body, held) = gateway.read(body).await?;
    let asked: Map<String, Value> = super::values(&body)?;
    request::check(&asked)?;
    let route = target::route(&gateway.models, &admitted.call, &body)?;
    drop(body);
    let model = route.models.first().map_or("", |model| &*model.name);
    let Translated {
        body,
        dropped,
        tools,
    } = request::to_chat(&asked, model)?;
    let streams = asked.get("stream") == Some(&Value::Bool(true));
    let asked = Asked {
        request: ChatRequest::passing_on(super::raw(&body)?),
        route,
        streams,
        writer: Events::new(asked, tools),
    };
    drop(body);
    let response = answer::of(gateway, admitted, asked).await;
    drop(held);
    let mut response = response?;
    if let Ok(dropped) = HeaderValue::from_str(&dropped.join(", "))
        && !dropped.is_empty()
    {
        response.headers_mut().insert(DROPPED, dropped);
    }
    Ok(response)
}
