//! Asks candidates that have an outage whether they answer again, and models that are gone whether they are back.
//!
//! These are small requests of the server's own, under the task `direct`, which no rollout covers: they are in the
//! log and in the metrics, and outside any evidence.

use std::{future::Future, pin::pin, sync::Arc, time::Duration};

use tokio::time::{Instant, sleep};

use crate::{
    model_router::{Call, ModelRouter, RouteError, Trail, Urgency, quota::schedule::Priority},
    providers::{ChatMessage, ChatRequest},
    rollout::controller::{Controller, DueProbe},
};

/// Between two looks at what is due.
const LOOK: Duration = Duration::from_millis(500);
/// A probe that takes longer has failed.
const PATIENCE: Duration = Duration::from_secs(20);
/// It goes when the quota has a place at once, and not at all otherwise.
const QUOTA_PATIENCE: Duration = Duration::from_secs(1);
const QUESTION: &str = "Answer with the word OK.";
/// Enough for a model that thinks first.
const MAX_TOKENS: u32 = 512;

/// Asks until the server stops.
pub(super) async fn run(
    controller: Arc<Controller>,
    models: Arc<ModelRouter>,
    stopping: impl Future<Output = ()>,
) {
    let mut stopping = pin!(stopping);
    loop {
        let asking = async {
            sleep(LOOK).await;
            for due in controller.due_probes() {
                let is_answered = probe(&models, &due).await;
                tracing::info!(
                    rollout = due.rollout,
                    ?is_answered,
                    "a probe of the candidate"
                );
                controller.probed(&due.rollout, is_answered);
            }
        };
        tokio::select! {
            () = &mut stopping => return,
            () = asking => {}
        }
    }
}

/// Whether all of them answered; `None` where one could not be asked and none failed.
async fn probe(models: &ModelRouter, due: &DueProbe) -> Option<bool> {
    let mut all = (!due.models.is_empty()).then_some(true);
    for model in &due.models {
        match ask(models, model).await {
            Some(false) => return Some(false),
            None => all = None,
            Some(true) => {}
        }
    }
    all
}

/// Whether a model answers a small request; `None` where it could not be asked.
pub(super) async fn ask(models: &ModelRouter, model: &str) -> Option<bool> {
    let route = models.select_model(model, None).ok()?;
    let request = ChatRequest {
        max_tokens: Some(MAX_TOKENS),
        ..ChatRequest::new(vec![ChatMessage::text("user", QUESTION)])
    };
    let now = Instant::now();
    let call = Call {
        request_id: uuid::Uuid::new_v4().to_string().into(),
        request,
        deadline: now + PATIENCE,
        stream_deadline: None,
        urgency: Urgency {
            priority: Priority::Batch,
            start_by: Some(now + QUOTA_PATIENCE),
            calls: None,
        },
        trail: Trail::default(),
    };
    match models.complete(&route, call).await {
        Ok(_) => Some(true),
        Err(RouteError::AllFailed { attempts, kind, .. }) if attempts > 0 => {
            // What our account is refused says nothing of the model.
            (!kind.is_accounts()).then_some(false)
        }
        Err(RouteError::Interrupted { .. }) => Some(false),
        Err(_) => None,
    }
}
