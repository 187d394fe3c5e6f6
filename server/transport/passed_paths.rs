//! Plain paths that this server does not serve and the old one does: those below `LEGACY_PATHS`.
//!
//! Our own paths win, because this is asked only where no route fits. What comes back is handed on as it
//! comes; redirects are the client's to follow.

use std::sync::Arc;

use axum::{
    Json,
    body::Body,
    extract::Request,
    response::{IntoResponse, Response},
};
use bytes::Bytes;
use http::{StatusCode, header};
use serde_json::json;

use super::{
    bounds,
    csrf_cookie::CsrfCookie,
    gate::CallerGate,
    operations,
    trpc::passing::{EVENT_STREAM, asker, loop_error},
};
use crate::{
    _core::errors::RpcError,
    legacy::{self, OldServer, Onward, send::AnswerRoom},
};

/// The answer to a request for a path that no wire serves.
pub(super) async fn answer(
    old: Option<Arc<OldServer>>,
    gate: Arc<CallerGate>,
    request: Request,
) -> Response {
    let csrf = CsrfCookie::of(&gate, request.headers()).await;
    let mut response = pass(old, gate, request).await;
    csrf.settle(&mut response);
    response
}

async fn pass(old: Option<Arc<OldServer>>, gate: Arc<CallerGate>, request: Request) -> Response {
    let (parts, body) = request.into_parts();
    let query = parts.uri.query();
    let onward = old.and_then(|old| {
        let query = old.query(query);
        let url = old.plain_url(parts.uri.path(), query.as_deref())?;
        Some((old, url))
    });
    let Some((old, url)) = onward else {
        return operations::unknown_path(parts.uri, parts.headers).await;
    };
    if let Err(busy) = bounds::admit_request(&gate, &parts.extensions, &parts.headers).await {
        return failed(&busy);
    }
    if old.has_passed(&parts.headers) {
        let mut response = failed(&loop_error());
        *response.status_mut() = StatusCode::LOOP_DETECTED;
        return response;
    }
    let path = parts.uri.path().to_owned();
    let headers = old.headers(&parts.headers, &asker(&gate, &parts));
    let answered = match url {
        Ok(url) => {
            let onward = Onward {
                method: parts.method,
                url,
                headers,
                body: legacy::LegacyBody::Stream(body),
            };
            let sent = old.send(onward).await;
            sent.and_then(|reply| match reply.is(EVENT_STREAM) {
                true => reply.open_ended(),
                false => Ok(reply),
            })
        }
        Err(fault) => Err(fault),
    };
    old.note(&answered);
    match answered {
        Ok(reply) => {
            let mut response = Response::new(Body::empty());
            *response.status_mut() = reply.status();
            *response.headers_mut() = reply.headers();
            let may_be_silent = reply.is(EVENT_STREAM);
            *response.body_mut() =
                Body::from_stream(reply.stream(Bytes::new(), AnswerRoom::default(), may_be_silent));
            response
        }
        Err(fault) => {
            tracing::warn!(path, kind = fault.kind(), "a path could not be passed on");
            failed(&RpcError::from(fault))
        }
    }
}

fn failed(error: &RpcError) -> Response {
    let status = StatusCode::from_u16(error.code.http_status());
    let body = json!({ "error": { "code": error.code.name(), "message": error.message } });
    let uncached = [(header::CACHE_CONTROL, "no-store")];
    let status = status.unwrap_or(StatusCode::BAD_GATEWAY);
    (status, uncached, Json(body)).into_response()
}
