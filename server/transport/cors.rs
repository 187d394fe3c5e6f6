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
use parking_lot::Mutex;
use tokio::time::Instant;
use tower_http::cors::{AllowHeaders, AllowOrigin, CorsLayer};

/// Between two lines about origins that are not allowed: anybody can send one.
const TELL_EVERY: Duration = Duration::from_secs(60);
static LAST_TOLD: Mutex<Option<Instant>> = Mutex::new(None);
/// How long a browser may remember what a preflight said; Chromium remembers no longer.
const MAX_AGE: Duration = Duration::from_secs(7200);
/// What scripts may read of an answer beside its body.
const EXPOSED: HeaderValue = HeaderValue::from_static(
    "etag,x-request-id,request-id,retry-after,retry-after-ms,x-should-retry,x-ratelimit-limit-requests,\
     x-ratelimit-remaining-requests,x-ratelimit-reset-requests,x-modelramp-model,x-modelramp-variant,\
     x-modelramp-attempts,x-modelramp-cache,x-modelramp-dropped,x-modelramp-estimated,x-modelramp-max-tokens,\
     x-modelramp-queued-ms",
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

/// Completes what [`layer`] answers. Preflights get 204, as in the original: there is no content. Of one that allows nothing the
/// browser says little, so the log says why. Other answers say what scripts may read, beside what the old server says of its own
/// headers; the layer would put ours in their place.
pub async fn completed(request: Request, next: Next) -> Response {
    if request.method() != Method::OPTIONS {
        let mut response = next.run(request).await;
        let headers = response.headers_mut();
        headers.append(header::ACCESS_CONTROL_EXPOSE_HEADERS, EXPOSED);
        return response;
    }
    let origin = request.headers().get(header::ORIGIN).cloned();
    let mut response = next.run(request).await;
    let allowed = response
        .headers()
        .contains_key(header::ACCESS_CONTROL_ALLOW_ORIGIN);
    if let Some(origin) = origin.filter(|_| !allowed)
        && is_due(&mut LAST_TOLD.lock())
    {
        tracing::warn!(
            ?origin,
            "pages of an origin that CORS_ALLOWED_ORIGINS does not name may not call"
        );
    }
    if response.status() == StatusCode::OK {
        *response.status_mut() = StatusCode::NO_CONTENT;
    }
    response
}

/// Whether it is time for another line; notes it.
fn is_due(last: &mut Option<Instant>) -> bool {
    let is_due = last.is_none_or(|last| last.elapsed() >= TELL_EVERY);
    if is_due {
        *last = Some(Instant::now());
    }
    is_due
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn origins_that_are_not_allowed_are_told_once_a_minute() {
        let mut last = None;
        assert!(is_due(&mut last) && !is_due(&mut last));
        tokio::time::sleep(TELL_EVERY).await;
        assert!(is_due(&mut last) && !is_due(&mut last));
    }
}
