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
use http::{HeaderName, HeaderValue, header};
use serde_json::{Value, json};

use self::{events::Events, request::Translated};
use super::{
    Admitted, Gateway, Refused, Shared,
    answer::{self, Asked},
    refusal::{Dialect, Refusal},
    target,
};
use crate::providers::ChatRequest;

const PATH: &str = "/v1/messages";
const COUNT_PATH: &str = "/v1/messages/count_tokens";
const DROPPED: HeaderName = HeaderName::from_static("x-modelramp-dropped");
const ESTIMATED: HeaderName = HeaderName::from_static("x-modelramp-estimated");

pub(super) async fn answer(State(gateway): Shared, request: Request) -> Response {
    let (parts, body) = request.into_parts();
    let mut admitted = match gateway.admit(PATH, &parts).await {
        Ok(admitted) => admitted,
        Err(refused) => {
            gateway.bounds.discard(body).await;
            return refused.into_response(Dialect::Messages);
        }
    };
    match run(&gateway, &mut admitted, body).await {
        Ok(response) => response,
        Err(refusal) => {
            admitted.line.finish(refusal.code());
            Refused::new(refusal, &admitted.context).into_response(Dialect::Messages)
        }
    }
}

async fn run(gateway: &Gateway, admitted: &mut Admitted, body: Body) -> Result<Response, Refusal> {
    let (body, held) = gateway.read(body).await?;
    let route = target::route(&gateway.models, &admitted.call, &body)?;
    let asked = super::values(&body)?;
    drop(body);
    let model = route.models.first();
    let Translated { body, dropped } = request::to_chat(&asked, model.map(|model| &**model))?;
    let streams = asked.get("stream") == Some(&Value::Bool(true));
    let writer = Events::new(&asked);
    drop(asked);
    let asked = Asked {
        route,
        request: ChatRequest::passing_on(super::raw(&body)?),
        streams,
        writer,
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

pub(super) async fn count_tokens(State(gateway): Shared, request: Request) -> Response {
    let (parts, body) = request.into_parts();
    let mut admitted = match gateway.admit(COUNT_PATH, &parts).await {
        Ok(admitted) => admitted,
        Err(refused) => {
            gateway.bounds.discard(body).await;
            return refused.into_response(Dialect::Messages);
        }
    };
    let counted = async {
        let (body, _held) = gateway.read(body).await?;
        target::route(&gateway.models, &admitted.call, &body)?;
        Ok::<_, Refusal>(request::tokens(&super::values(&body)?))
    };
    match counted.await {
        Ok(tokens) => {
            admitted.line.finish(None);
            let json = json!({"input_tokens": tokens}).to_string();
            let mut response = Response::new(Body::from(json));
            let headers = response.headers_mut();
            let json = HeaderValue::from_static("application/json");
            headers.insert(header::CONTENT_TYPE, json);
            headers.insert(ESTIMATED, HeaderValue::from_static("true"));
            answer::name(headers, Dialect::Messages, &admitted.context.request_id);
            response
        }
        Err(refusal) => {
            admitted.line.finish(refusal.code());
            Refused::new(refusal, &admitted.context).into_response(Dialect::Messages)
        }
    }
}
