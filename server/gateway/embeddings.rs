//! `POST /v1/embeddings`.
//!
//! Vectors of two models cannot be compared, so one model answers, for everybody: the one that is named,
//! or the primary of a task's control route. There is no fallback, and no rollout decides.

use axum::{
    body::Body,
    extract::{Request, State},
    response::Response,
};
use base64::{Engine, engine::general_purpose::STANDARD};
use serde_json::value::RawValue;
use tokio::time::Instant;

use super::{
    Admitted, Gateway, Shared, answer,
    bill::Bill,
    endpoint::Endpoint,
    headers,
    refusal::{Dialect, Refusal},
    target,
};
use crate::{
    model_router::Call,
    providers::{
        ChatRequest, RawObject,
        fields::{each, fields, first, text},
    },
};

static ENDPOINT: Endpoint = Endpoint::new("/v1/embeddings");

pub(super) async fn answer(State(gateway): Shared, request: Request) -> Response {
    gateway.serve(&ENDPOINT, Dialect::Chat, request, run).await
}

async fn run(gateway: &Gateway, admitted: &mut Admitted, body: Body) -> Result<Response, Refusal> {
    let (body, held) = gateway.read(body).await?;
    // Who answers that with nothing would count as a model that fails.
    let is_empty = |input: &RawValue| input.get().starts_with('[') && first(input).is_none();
    if body.get("input").is_none_or(is_empty) {
        let message = "`input` is missing or empty: expected a text, tokens, or a list of these";
        return Err(Refusal::bad_request(Some("input"), message));
    }
    let route = target::only_model(&gateway.models, &admitted.call, &body)?;
    let context = &admitted.context;
    let _place = gateway.limits.call(context).await?;
    let wanted = Encoding::wanted(&body);
    let bill = Bill::of_vectors(gateway, admitted, &route, &body).await?;
    let trail = bill.trail().clone();
    let call = Call {
        request_id: context.request_id.clone(),
        request: ChatRequest {
            trace: admitted.call.trace,
            ..ChatRequest::passing_on(body)
        },
        deadline: Instant::now() + admitted.call.patience,
        stream_deadline: None,
        urgency: admitted.call.urgency(),
        trail: trail.clone(),
    };
    let raw = gateway.models.embed(&route, call).await;
    let raw = raw.map_err(|error| Refusal::of_route(&error, &trail.attempts()).on(&route))?;
    drop(held);
    let json = mended(&raw, wanted).unwrap_or(raw);
    let mut response = answer::json(json);
    headers::add_attempts(response.headers_mut(), &trail.attempts(), &route);
    bill.add_headers(response.headers_mut());
    Ok(response)
}

/// How a vector is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Encoding {
    /// A list of numbers.
    Float,
    /// 32-bit floats, the lowest byte first.
    Base64,
}

impl Encoding {
    fn wanted(body: &RawObject) -> Self {
        match text(body.get("encoding_format")).as_deref() {
            Some("base64") => Self::Base64,
            _ => Self::Float,
        }
    }

    fn of(vector: &RawValue) -> Option<Self> {
        match vector.get().as_bytes().first() {
            Some(b'[') => Some(Self::Float),
            Some(b'"') => Some(Self::Base64),
            _ => None,
        }
    }

    fn write(self, vector: &RawValue) -> Option<String> {
        let json = vector.get();
        match self {
            Self::Base64 => {
                let numbers: Vec<f32> = serde_json::from_str(json).ok()?;
                let bytes: Vec<u8> = numbers.iter().flat_map(|it| it.to_le_bytes()).collect();
                serde_json::to_string(&STANDARD.encode(bytes)).ok()
            }
            Self::Float => {
                let text: String = serde_json::from_str(json).ok()?;
                let bytes = STANDARD.decode(text).ok()?;
                let (numbers, rest) = bytes.as_chunks::<4>();
                let numbers: Vec<f32> = numbers.iter().map(|it| f32::from_le_bytes(*it)).collect();
                rest.is_empty()
                    .then(|| serde_json::to_string(&numbers).ok())?
            }
        }
    }
}

/// The answer with its vectors as they were asked for and in the order of the inputs; `None` where it
/// already is so.
///
/// Some servers ignore `encoding_format`; a client that asked for base64 then decodes the list of numbers
/// as if it were that, and has a vector of a quarter of the length without a word.
fn mended(raw: &str, wanted: Encoding) -> Option<String> {
    let json: &RawValue = serde_json::from_str(raw).ok()?;
    let [data] = fields(json, ["data"]);
    let (mut all, mut is_mended) = (Vec::new(), false);
    each(data?, |item| {
        let [index, vector] = fields(item, ["index", "embedding"]);
        let index: Option<u64> = index.and_then(|index| index.get().parse().ok());
        let other = vector.filter(|it| Encoding::of(it).is_some_and(|is| is != wanted));
        let rewritten = other.and_then(|vector| {
            let vector = RawValue::from_string(wanted.write(vector)?).ok()?;
            let mut item = RawObject::parse(item.get().as_bytes()).ok()?;
            item.set("embedding", &vector).ok()?;
            Some(item.to_json())
        });
        is_mended |= rewritten.is_some();
        all.push((index, rewritten.unwrap_or_else(|| item.get().to_owned())));
    });
    let is_ordered = all.is_sorted_by_key(|(index, _)| *index);
    if is_ordered && !is_mended {
        return None;
    }
    all.sort_by_key(|(index, _)| *index);
    let data: Vec<_> = all.into_iter().map(|(_, item)| item).collect();
    let mut whole = RawObject::parse(raw.as_bytes()).ok()?;
    let data = RawValue::from_string(format!("[{}]", data.join(","))).ok()?;
    whole.set("data", &data).ok()?;
    Some(whole.to_json())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn vectors_are_written_as_they_were_asked_for() {
        let float = r#"{"data":[{"index":0,"embedding":[0.5,-1.0]}],"x":1.0}"#;
        let base64 = r#"{"data":[{"index":0,"embedding":"AAAAPwAAgL8="}],"x":1.0}"#;
        assert_eq!(mended(float, Encoding::Float), None);
        assert_eq!(mended(base64, Encoding::Base64), None);
        assert_eq!(mended(float, Encoding::Base64).as_deref(), Some(base64));
        assert_eq!(mended(base64, Encoding::Float).as_deref(), Some(float));
        let mixed = r#"{"data":[{"index":1,"embedding":[2]},{"index":0,"embedding":[1]}]}"#;
        let ordered = r#"{"data":[{"index":0,"embedding":[1]},{"index":1,"embedding":[2]}]}"#;
        assert_eq!(mended(mixed, Encoding::Float).as_deref(), Some(ordered));
    }
}
