//! The contract for people and for tools: `/api/docs` and `/api/openapi.json`, with a session.
//!
//! Both say the same to every user; what is for admins is marked so. They are written once, for a server does
//! not change its procedures while it runs.

use std::sync::Arc;

use axum::{
    Json, Router,
    extract::State,
    http::{HeaderMap, StatusCode, header},
    response::{IntoResponse, Response},
    routing::get,
};
use serde_json::json;

use super::{gate::CallerGate, headers, page::HtmlPage};
use crate::{
    _core::{
        context::Context,
        errors::{ErrorCode, RpcError},
    },
    schema::{
        Documents,
        page::{SCRIPT, STYLE},
    },
};

/// What the two routes answer.
struct Answers {
    documents: Arc<Documents>,
    gate: Arc<CallerGate>,
}

/// `/api/docs` and `/api/openapi.json`.
pub fn routes(documents: Arc<Documents>, gate: Arc<CallerGate>) -> Router {
    Router::new()
        .route("/api/docs", get(docs))
        .route("/api/openapi.json", get(openapi_json))
        .with_state(Arc::new(Answers { documents, gate }))
}

async fn docs(State(answers): State<Arc<Answers>>, headers: HeaderMap) -> Response {
    let context = answers.gate.context(&headers).await;
    if let Err(error) = context.user() {
        let (title, body) = match error.code {
            ErrorCode::Unauthorized => ("Sign in · modelramp", SIGN_IN),
            _ => ("Not now · modelramp", NOT_NOW),
        };
        let page = HtmlPage {
            title,
            style: STYLE,
            body,
            script: "",
        };
        return refused(&error, &context, page.into_response());
    }
    HtmlPage {
        title: "Procedures · modelramp",
        style: STYLE,
        body: answers.documents.page(),
        script: SCRIPT,
    }
    .into_response()
}

const SIGN_IN: &str = "\
<main><h1>Sign in first</h1>
<p>This page shows what the server can do, and calls it as you.</p>
<p>Sign in with the application, or let an operator make a link for you with
<code>modelramp token --login-link</code>; then <a href=\"/api/docs\">come back</a>.</p></main>";

const NOT_NOW: &str = "\
<main><h1>Not now</h1>
<p>The database does not answer, so the server does not know who you are. You are still signed in;
<a href=\"/api/docs\">try again</a> in a moment.</p></main>";

async fn openapi_json(State(answers): State<Arc<Answers>>, headers: HeaderMap) -> Response {
    let no_store = (header::CACHE_CONTROL, "no-store");
    let context = answers.gate.context(&headers).await;
    if let Err(error) = context.user() {
        let body = json!({ "error": error.shape(None, &context.request_id) });
        return refused(&error, &context, ([no_store], Json(body)).into_response());
    }
    let json = (header::CONTENT_TYPE, "application/json");
    ([json, no_store], answers.documents.openapi()).into_response()
}

/// The status of an error, and when it makes sense to try again.
fn refused(error: &RpcError, context: &Context, mut response: Response) -> Response {
    let status = StatusCode::from_u16(error.code.http_status());
    *response.status_mut() = status.unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let seconds = error.retry_after_seconds(context.received_at);
    headers::retry_after(&mut response, seconds);
    response
}

#[cfg(test)]
mod tests {
    use axum::body::Body;

    use super::*;
    use crate::_core::caller::Caller;

    #[test]
    fn who_is_not_known_just_now_is_not_told_to_sign_in() {
        let answer = |caller| {
            let context = Context::new(caller, chrono::DateTime::UNIX_EPOCH);
            let error = context.user().map(drop).expect_err("nobody");
            let response = refused(&error, &context, Response::new(Body::empty()));
            let is_later = response.headers().contains_key(header::RETRY_AFTER);
            (response.status().as_u16(), is_later)
        };
        assert_eq!(answer(Caller::Anonymous), (401, false));
        assert_eq!(answer(Caller::Unknown { last_known: None }), (503, true));
    }
}
