//! Lets browsers call from the listed origins: exact, with credentials, never `*`.

use axum::{
    extract::Request,
    http::{HeaderName, HeaderValue, Method, StatusCode, header},
    middleware::Next,
    response::Response,
};
use tower_http::cors::{AllowOrigin, CorsLayer};

/// Answers preflights, which bring no session, and marks responses for the listed origins.
///
/// An origin that cannot be a header value can never be sent by a browser, and is left out.
pub fn layer(allowed_origins: &[String]) -> CorsLayer {
    let origins = allowed_origins
        .iter()
        .filter_map(|origin| HeaderValue::from_str(origin).ok())
        // tower-http would panic on it, at start.
        .filter(|origin| origin != "*");
    CorsLayer::new()
        .allow_origin(AllowOrigin::list(origins))
        .allow_credentials(true)
        .allow_methods([Method::GET, Method::POST])
        .allow_headers([
            header::CONTENT_TYPE,
            header::AUTHORIZATION,
            HeaderName::from_static("trpc-accept"),
            HeaderName::from_static("trpc-batch-mode"),
            HeaderName::from_static("last-event-id"),
            HeaderName::from_static("x-csrf-token"),
            HeaderName::from_static("x-request-id"),
        ])
        .expose_headers([HeaderName::from_static("x-request-id"), header::RETRY_AFTER])
        .vary([header::ORIGIN])
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
