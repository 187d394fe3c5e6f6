//! The contract for people and for tools: `/api/docs` and `/api/openapi.json`, with a session.
//!
//! Both say the same to every user; what is for admins is marked so. They are written once, at the
//! start, for a server does not change its procedures while it runs.

use std::sync::Arc;

use axum::{
    Json, Router,
    body::Bytes,
    extract::State,
    http::{HeaderMap, StatusCode, header},
    response::{IntoResponse, Response},
    routing::get,
};
use serde_json::json;

use super::{gate::Gate, page::Page};
use crate::schema::page::{SCRIPT, STYLE};

/// What the two routes answer.
struct Answers {
    openapi: Bytes,
    page: String,
    gate: Arc<Gate>,
}

/// `/api/docs` and `/api/openapi.json`.
pub fn routes(openapi: String, page: String, gate: Arc<Gate>) -> Router {
    Router::new()
        .route("/api/docs", get(docs))
        .route("/api/openapi.json", get(openapi_json))
        .with_state(Arc::new(Answers {
            openapi: openapi.into(),
            page,
            gate,
        }))
}

async fn docs(State(answers): State<Arc<Answers>>, headers: HeaderMap) -> Response {
    if answers.gate.context(&headers).await.user().is_err() {
        let page = Page {
            title: "Sign in · modelramp",
            style: STYLE,
            body: SIGN_IN,
            script: "",
        };
        return (StatusCode::UNAUTHORIZED, page.into_response()).into_response();
    }
    Page {
        title: "Procedures · modelramp",
        style: STYLE,
        body: &answers.page,
        script: SCRIPT,
    }
    .into_response()
}

const SIGN_IN: &str = "\
<main><h1>Sign in first</h1>
<p>This page shows what the server can do, and calls it as you.</p>
<p>Sign in with the application, or let an operator make a link for you with
<code>modelramp token --login-link</code>; then <a href=\"/api/docs\">come back</a>.</p></main>";

async fn openapi_json(State(answers): State<Arc<Answers>>, headers: HeaderMap) -> Response {
    let no_store = (header::CACHE_CONTROL, "no-store");
    let context = answers.gate.context(&headers).await;
    if let Err(error) = context.user() {
        let body = json!({ "error": error.shape(None, &context.request_id) });
        return (StatusCode::UNAUTHORIZED, [no_store], Json(body)).into_response();
    }
    let json = (header::CONTENT_TYPE, "application/json");
    ([json, no_store], answers.openapi.clone()).into_response()
}
