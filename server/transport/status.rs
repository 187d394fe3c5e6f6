//! `/status`: how the server is, in one word, for anybody; only where `STATUS_PAGE` is on.
//!
//! It says no figure and no reason, loads nothing and runs nothing. A server that is down cannot say so;
//! who sees no page knows.

use axum::{
    Router,
    extract::State,
    http::{HeaderValue, header},
    response::{Html, IntoResponse, Response},
    routing::get,
};
use std::time::Duration;

use super::{operations::Readiness, page};

/// Where it is.
pub const PATH: &str = "/status";
/// Checks that take longer are no good sign.
const PATIENCE: Duration = Duration::from_secs(2);

/// The page.
pub fn routes(readiness: Readiness) -> Router {
    Router::new().route(PATH, get(show)).with_state(readiness)
}

async fn show(State(readiness): State<Readiness>) -> Response {
    let reasons = tokio::time::timeout(PATIENCE, readiness()).await;
    let word = match reasons {
        Ok(reasons) if reasons.is_empty() => "Working",
        _ => "Degraded",
    };
    let html = format!(
        "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
         <meta http-equiv=\"refresh\" content=\"60\">\n<title>{word}</title>\n</head>\n\
         <body>\n<h1>{word}</h1>\n</body>\n</html>\n"
    );
    let mut response = Html(html).into_response();
    let no_store = HeaderValue::from_static("no-store");
    response
        .headers_mut()
        .insert(header::CACHE_CONTROL, no_store);
    page::guard(&mut response, page::NOTHING);
    response
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use axum::body::Body;
    use futures::{FutureExt, future};
    use http::Request;
    use http_body_util::BodyExt;
    use tower::ServiceExt;

    use super::*;

    async fn said(reasons: Vec<String>) -> String {
        let readiness: Readiness = Arc::new(move || future::ready(reasons.clone()).boxed());
        let request = Request::get(PATH).body(Body::empty()).unwrap();
        let response = routes(readiness).oneshot(request).await.unwrap();
        let body = response.into_body().collect().await.unwrap().to_bytes();
        String::from_utf8(body.to_vec()).unwrap()
    }

    #[tokio::test]
    async fn it_says_one_word_and_no_reason() {
        assert!(said(Vec::new()).await.contains("<h1>Working</h1>"));
        let degraded = said(vec!["the disk of the database is full".into()]).await;
        assert!(degraded.contains("<h1>Degraded</h1>"), "{degraded}");
        assert!(!degraded.contains("disk") && !degraded.contains("<script"));
    }
}
