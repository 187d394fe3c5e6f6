//! `chat/completions` of the sandbox, with the faults that were drawn.

use std::{sync::Arc, time::Duration};

use axum::{
    Json, Router,
    extract::{Extension, State, rejection::JsonRejection},
    response::{IntoResponse, Response},
    routing::{get, post},
};
use http::StatusCode;
use serde_json::{Value, json};
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

use super::{
    FaultMode, SandboxModels,
    answer::{SandboxAnswer, SandboxRequest},
    refusal::{SandboxRefusal, failure},
    script::Script,
    serve::{Dropped, KeptAlive},
};

/// A request that hangs is let go after this: whoever is still there then has no time limit.
const HANG: Duration = Duration::from_secs(600);

#[derive(Clone)]
struct Server {
    models: Arc<SandboxModels>,
    stop: CancellationToken,
}

pub(super) fn routes(models: Arc<SandboxModels>, stop: CancellationToken) -> Router {
    Router::new()
        .route("/v1/chat/completions", post(complete))
        .route("/v1/models", get(list))
        .with_state(Server { models, stop })
}

async fn list() -> Json<Value> {
    Json(
        json!({"object": "list", "data": [{"id": "sandbox", "object": "model", "owned_by": "modelramp"}]}),
    )
}

async fn complete(
    State(server): State<Server>,
    kept_alive: Option<Extension<KeptAlive>>,
    body: Result<Json<SandboxRequest>, JsonRejection>,
) -> Response {
    let asked = match body {
        Ok(Json(asked)) => asked,
        Err(error) => return failure(StatusCode::BAD_REQUEST, &error.body_text()),
    };
    let fate = server.models.ask(&asked.model);
    sleep(fate.delay).await;
    match fate.fault {
        Some(FaultMode::Hang) => {
            silence(&server.stop).await;
            return failure(StatusCode::GATEWAY_TIMEOUT, "this model did not answer");
        }
        Some(FaultMode::Drop) => return Extension(Dropped).into_response(),
        Some(FaultMode::Stale) if kept_alive.is_some() => {
            return Extension(Dropped).into_response();
        }
        Some(fault) => {
            if let Some(refusal) = SandboxRefusal::of(fault) {
                return refusal.into_response();
            }
        }
        None => {}
    }
    let answer = SandboxAnswer::to(&asked, fate.fault);
    let script = if asked.stream {
        Script::streamed(&answer, fate.fault)
    } else {
        Script::whole(&answer, fate.fault)
    };
    let stop = server.stop.clone();
    let silence = async move { silence(&stop).await };
    script.play(fate.between_words, silence)
}

/// Until a client that waits without a time limit is let go.
async fn silence(stop: &CancellationToken) {
    tokio::select! {
        () = sleep(HANG) => {}
        () = stop.cancelled() => {}
    }
}
