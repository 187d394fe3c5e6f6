//! Makes responses of answers: the body, the status, and the headers that go with them.

use axum::{body::Body, response::Response};
use http::{HeaderValue, Method, StatusCode, header};

use super::envelope::{self, CallAnswer, CallFailure};
use crate::{
    _core::{context::new_request_id, errors::RpcError},
    config::Transformer,
    transport::headers,
};

const JSON: HeaderValue = HeaderValue::from_static("application/json");
/// Room for the headers of an answer, with those that wires and CORS add, so that it need not grow.
const HEADERS: usize = 8;
const VARY: HeaderValue = HeaderValue::from_static("trpc-accept, accept");

/// Why there is no answer per call: one envelope for the whole request, without a path.
pub(super) struct RefusedRequest {
    pub(super) error: RpcError,
    /// What the client may ask by instead.
    pub(super) allowed: &'static [Method],
}

impl From<RpcError> for RefusedRequest {
    fn from(error: RpcError) -> Self {
        Self {
            error,
            allowed: &[],
        }
    }
}

impl RefusedRequest {
    pub(super) fn into_response(self, transformer: Transformer) -> Response {
        let answer = Err(CallFailure::report(self.error, None, new_request_id()));
        single(&answer, transformer, self.allowed)
    }
}

/// A response of one envelope; `allowed` is said with a 405 only.
pub(super) fn single(
    answer: &CallAnswer,
    transformer: Transformer,
    allowed: &[Method],
) -> Response {
    let mut body = Vec::with_capacity(envelope::size(answer));
    envelope::write_envelope(answer, transformer, &mut body);
    let mut response = json(envelope::status(answer), body, allowed);
    headers::retry_after(&mut response, envelope::retry_after_seconds(answer));
    if let Err(failure) = answer {
        headers::request_id(&mut response, failure.request_id());
    }
    response
}

/// A response of JSON; `allowed` is said with a 405 only.
pub(super) fn json(status: u16, body: impl Into<Body>, allowed: &[Method]) -> Response {
    let status = StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let mut response = Response::new(body.into());
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.reserve(HEADERS);
    headers.insert(header::CONTENT_TYPE, JSON);
    headers.insert(header::VARY, VARY);
    if status == StatusCode::METHOD_NOT_ALLOWED {
        headers::allow(&mut response, allowed);
    }
    headers::uncached(&mut response);
    response
}

/// Adds what the calls of a request put into their context.
pub(super) fn set_cookies(response: &mut Response, cookies: Vec<HeaderValue>) {
    for cookie in cookies {
        response.headers_mut().append(header::SET_COOKIE, cookie);
    }
}
