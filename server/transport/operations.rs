//! What operators and load balancers ask: is the process alive, may it get requests.

use std::{sync::Arc, time::Duration};

use axum::{
    Json, Router,
    extract::State,
    http::{HeaderMap, StatusCode, Uri, header},
    response::{IntoResponse, Redirect, Response},
    routing::get,
};
use futures::future::BoxFuture;
use serde_json::json;

use crate::{_core::tasks::Tasks, legacy::OldServer};

/// Asks the application why it cannot serve; an empty list means that it can.
pub type Readiness = Arc<dyn Fn() -> BoxFuture<'static, Vec<String>> + Send + Sync>;

/// A check that takes longer than this is itself a reason; load balancers ask again soon.
const READINESS_TIMEOUT: Duration = Duration::from_secs(2);

/// `/healthz` and `/readyz`.
pub fn routes(readiness: Readiness, old: Option<Arc<OldServer>>, tasks: Tasks) -> Router {
    Router::new()
        .route("/healthz", get(healthz))
        .route("/readyz", get(readyz))
        .with_state((readiness, old, tasks))
}

/// The process answers; nothing else is looked at, so that a database that is away does not get
/// the process killed.
async fn healthz() -> Response {
    uncached(StatusCode::OK, json!({ "status": "ok" }))
}

/// Whether requests should be sent here, and if not, why. The old server is shown, and changes
/// nothing: what is ours is served without it.
async fn readyz(
    State((readiness, old, tasks)): State<(Readiness, Option<Arc<OldServer>>, Tasks)>,
) -> Response {
    let mut reasons = match tokio::time::timeout(READINESS_TIMEOUT, readiness()).await {
        Ok(reasons) => reasons,
        Err(_) => vec![format!(
            "the checks did not end within {}",
            humantime::format_duration(READINESS_TIMEOUT)
        )],
    };
    if tasks.is_stopping() {
        reasons.insert(0, "the server is stopping".into());
    }
    let (status, mut body) = if reasons.is_empty() {
        (StatusCode::OK, json!({ "status": "ready" }))
    } else {
        let body = json!({ "status": "unavailable", "reasons": reasons });
        (StatusCode::SERVICE_UNAVAILABLE, body)
    };
    if let Some(old) = old {
        body["oldServer"] = old.standing().name().into();
    }
    uncached(status, body)
}

/// Any path that no wire serves. A browser that was given the server's address alone is led to the dashboard.
pub async fn unknown_path(uri: Uri, headers: HeaderMap) -> Response {
    let accepts = headers.get(header::ACCEPT).and_then(|it| it.to_str().ok());
    if uri.path() == "/" && accepts.is_some_and(|it| it.contains("text/html")) {
        return Redirect::temporary("/dashboard/").into_response();
    }
    let message = format!("nothing is served at `{}`", uri.path());
    let body = json!({ "error": { "code": "NOT_FOUND", "message": message } });
    uncached(StatusCode::NOT_FOUND, body)
}

fn uncached(status: StatusCode, body: serde_json::Value) -> Response {
    (status, [(header::CACHE_CONTROL, "no-store")], Json(body)).into_response()
}

#[cfg(test)]
mod tests {
    use axum::{body::Body, extract::Request};
    use futures::{FutureExt, future};
    use tower::ServiceExt;

    use super::*;

    async fn status(routes: Router, path: &str) -> StatusCode {
        let request = Request::get(path).body(Body::empty()).unwrap();
        routes.oneshot(request).await.unwrap().status()
    }

    #[tokio::test]
    async fn a_server_that_stops_is_alive_but_not_ready() {
        let tasks = Tasks::default();
        let readiness: Readiness = Arc::new(|| future::ready(Vec::new()).boxed());
        let routes = routes(readiness, None, tasks.clone());
        assert_eq!(status(routes.clone(), "/readyz").await, StatusCode::OK);
        tasks.stop();
        let ready = status(routes.clone(), "/readyz").await;
        assert_eq!(ready, StatusCode::SERVICE_UNAVAILABLE);
        assert_eq!(status(routes, "/healthz").await, StatusCode::OK);
    }

    #[tokio::test(start_paused = true)]
    async fn a_check_that_hangs_is_a_reason_of_its_own() {
        let readiness: Readiness = Arc::new(|| future::pending().boxed());
        let ready = status(routes(readiness, None, Tasks::default()), "/readyz").await;
        assert_eq!(ready, StatusCode::SERVICE_UNAVAILABLE);
    }
}
