//! Headers in which an answer says who gave it, what became of the attempts, and what is left of a rate.

use std::time::Duration;

use axum::response::Response;
use http::{HeaderMap, HeaderName, HeaderValue};

use crate::{
    keys::RateLeft,
    model_router::{AttemptEnd, Route, Tried},
};

const MODEL: HeaderName = HeaderName::from_static("x-modelramp-model");
const VARIANT: HeaderName = HeaderName::from_static("x-modelramp-variant");
pub(super) const ATTEMPTS: HeaderName = HeaderName::from_static("x-modelramp-attempts");
pub(super) const QUEUED: HeaderName = HeaderName::from_static("x-modelramp-queued-ms");
const DROPPED: HeaderName = HeaderName::from_static("x-modelramp-dropped");

/// The model that answered, as the response says.
pub(super) fn model(response: &Response) -> Option<&str> {
    response.headers().get(MODEL)?.to_str().ok()
}

/// Names what was left out of a request, where something was.
pub(super) fn dropped(response: &mut Response, names: &[String]) {
    if let Ok(names) = HeaderValue::from_str(&names.join(", "))
        && !names.is_empty()
    {
        response.headers_mut().insert(DROPPED, names);
    }
}

/// Says in headers what became of the attempts.
pub(super) fn add_attempts(headers: &mut HeaderMap, attempts: &[Tried], route: &Route) {
    let mut set = |name, value: &str| {
        if let Ok(value) = HeaderValue::from_str(value) {
            headers.insert(name, value);
        }
    };
    let each = attempts.iter().map(|tried| {
        let (model, word) = (&tried.model, tried.word());
        format!("{}@{}:{word}", model.name, model.provider)
    });
    set(ATTEMPTS, &each.collect::<Vec<_>>().join(", "));
    let queued: Duration = attempts.iter().map(|tried| tried.queued).sum();
    if queued.as_millis() > 0 {
        set(QUEUED, &queued.as_millis().to_string());
    }
    let mut attempts = attempts.iter();
    let answered = attempts.find(|tried| matches!(tried.end, AttemptEnd::Answered));
    if let Some(answered) = answered {
        set(MODEL, &answered.model.name);
    }
    if *route.task != *crate::model_router::route::DIRECT {
        set(VARIANT, route.variant.name());
    }
}

/// Says in headers what is left of a rate.
pub(super) fn add_rate(headers: &mut HeaderMap, left: &RateLeft) {
    let name = |name| HeaderName::from_static(name);
    headers.insert(name("x-ratelimit-limit-requests"), left.limit.into());
    headers.insert(
        name("x-ratelimit-remaining-requests"),
        left.remaining.into(),
    );
    let seconds = left.full_in.as_millis().div_ceil(1_000);
    if let Ok(reset) = HeaderValue::from_str(&format!("{seconds}s")) {
        headers.insert(name("x-ratelimit-reset-requests"), reset);
    }
}
