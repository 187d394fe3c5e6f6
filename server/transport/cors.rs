//! Lets browsers call from the listed origins: exact, with credentials, never `*`.
//!
//! Which headers a front end sends is its own: tracing, frameworks and proxies add theirs. So a
//! preflight allows those that it names, but the origin is what decides.

use std::time::Duration;

use axum::{
    extract::Request,
    http::{HeaderValue, Method, StatusCode, header},
    middleware::Next,
    response::Response,
};
use tower_http::cors::{AllowHeaders, AllowOrigin, CorsLayer};

/// How long a browser may remember what a preflight said; Chromium remembers no longer.
const MAX_AGE: Duration = Duration::from_secs(7200);
/// What scripts may read of an answer beside its body.
const EXPOSED: HeaderValue = HeaderValue::from_static(
    "etag,x-request-id,retry-after,retry-after-ms,x-should-retry,x-modelramp-model,x-modelramp-variant,\
     x-modelramp-attempts,x-modelramp-dropped",
);

/// Answers preflights, which bring no session, with these methods, and marks responses for the listed origins.
///
/// An origin that cannot be a header value can never be sent by a browser, and is left out.
pub fn layer(allowed_origins: &[String], methods: &[Method]) -> CorsLayer {
    let origins = allowed_origins
        .iter()
        .filter_map(|origin| HeaderValue::from_str(origin).ok())
        // tower-http would panic on it, at start.
        .filter(|origin| origin != "*");
    CorsLayer::new()
        .allow_origin(AllowOrigin::list(origins))
        .allow_credentials(true)
        .allow_methods(methods.to_vec())
        .allow_headers(AllowHeaders::mirror_request())
        .max_age(MAX_AGE)
        .vary([header::ORIGIN])
}

/// Says what scripts may read, beside what the old server says of its own headers; the layer would put ours in
/// their place.
pub async fn exposed(request: Request, next: Next) -> Response {
    let is_preflight = request.method() == Method::OPTIONS;
    let mut response = next.run(request).await;
    if !is_preflight {
        let headers = response.headers_mut();
        headers.append(header::ACCESS_CONTROL_EXPOSE_HEADERS, EXPOSED);
    }
    response
}

/// Answers preflights with 204, as the original did: there is no content.
pub async fn empty_preflight(request: Request, next: Next) -> Response {
    let is_preflight = request.method() == Method::OPTIONS;
    let mut response = next.run(request).await;
    if is_preflight && response.status() == StatusCode::OK {
        *response.status_mut() = StatusCode::NO_CONTENT;
    }
    response
}
