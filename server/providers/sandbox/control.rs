//! Changes the sandbox's models while it runs: `/control/models/<name>`, `/control/stats` and
//! `/control/faults`.
//!
//! It listens on loopback and asks for no password, so a page in a browser on the same machine must
//! not reach it: a change has to come as JSON, which another site's page may not send unasked, and
//! the `Host` must be a loopback name, so that a site that lets its own name point here gets nothing.

use std::{collections::BTreeMap, sync::Arc};

use axum::{
    Json, Router,
    extract::{Path, Request, State, rejection::JsonRejection},
    middleware::{self, Next},
    response::{IntoResponse, Response},
    routing::get,
};
use http::{HeaderMap, StatusCode, header::HOST};
use serde::Serialize;
use serde_json::json;

use super::{Behaviour, FaultMode, ModelCounts, SandboxModels, Wanted};

pub(super) fn routes(models: Arc<SandboxModels>) -> Router {
    Router::new()
        .route("/control/models/{*name}", get(read).put(write))
        .route("/control/stats", get(stats))
        .route("/control/faults", get(faults))
        .layer(middleware::from_fn(only_loopback_names))
        .with_state(models)
}

async fn only_loopback_names(request: Request, next: Next) -> Response {
    if is_loopback(request.headers()) {
        return next.run(request).await;
    }
    let message = "expected a `Host` of 127.0.0.1, [::1] or localhost";
    refuse(StatusCode::FORBIDDEN, message)
}

fn is_loopback(headers: &HeaderMap) -> bool {
    let mut hosts = headers.get_all(HOST).iter();
    let (Some(host), None) = (hosts.next(), hosts.next()) else {
        return false;
    };
    let Ok(host) = host.to_str() else {
        return false;
    };
    let name = match host.rsplit_once(':') {
        Some((name, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) => name,
        _ => host,
    };
    name.eq_ignore_ascii_case("localhost") || matches!(name, "127.0.0.1" | "[::1]")
}

fn refuse(status: StatusCode, message: impl Into<String>) -> Response {
    let message: String = message.into();
    let body = json!({"error": {"code": status.as_u16(), "message": message}});
    (status, Json(body)).into_response()
}

async fn read(
    State(models): State<Arc<SandboxModels>>,
    Path(name): Path<String>,
) -> Json<Behaviour> {
    Json(models.get(&name))
}

async fn write(
    State(models): State<Arc<SandboxModels>>,
    Path(name): Path<String>,
    wanted: Result<Json<Wanted>, JsonRejection>,
) -> Response {
    match wanted {
        Ok(Json(wanted)) => Json(models.set(&name, &wanted)).into_response(),
        Err(error) => refuse(error.status(), error.body_text()),
    }
}

#[derive(Serialize)]
struct Stats {
    models: BTreeMap<String, ModelCounts>,
}

async fn stats(State(models): State<Arc<SandboxModels>>) -> Json<Stats> {
    Json(Stats {
        models: models.counts(),
    })
}

/// What each fault does, by its name; any status from 400 to 599 is one too.
async fn faults() -> Json<BTreeMap<String, &'static str>> {
    let named = FaultMode::NAMED.iter().copied();
    Json(named.map(|it| (it.into(), it.what())).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_loopback_names_are_hosts() {
        let is = |hosts: &[&'static str]| {
            let mut headers = HeaderMap::new();
            for host in hosts {
                headers.append(HOST, http::HeaderValue::from_static(host));
            }
            is_loopback(&headers)
        };
        for host in [
            "127.0.0.1:8090",
            "localhost",
            "LocalHost:1",
            "[::1]:80",
            "[::1]",
        ] {
            assert!(is(&[host]), "{host}");
        }
        for host in [
            "",
            "evil.example",
            "evil.example:8090",
            "127.0.0.1.evil.example",
            "localhost.evil.example:80",
            "evil.example:127.0.0.1",
            "::1",
        ] {
            assert!(!is(&[host]), "{host}");
        }
        assert!(!is(&[]));
        assert!(!is(&["localhost", "evil.example"]));
    }
}
