//! Pauses rollouts whose models are gone, from the catalog or from their provider.
//!
//! Without its candidate a rollout moves nobody, and without its control there is nothing to compare with.
//! Requests are served all the same, by the next model of the route (`model_router::route`), and are no
//! evidence. A person goes on with the rollout when the model is back, or takes it back.

use std::{collections::HashMap, future::Future, pin::pin, sync::Arc, time::Duration};

use serde_json::json;
use tokio::time::sleep;

use super::catalog;
use crate::{
    _core::{actor::Actor, clock},
    alerting::{Alert, Outbox, RESOLVES, Severity},
    model_router::{Gone, ModelRouter},
    rollout::{
        controller::Controller,
        rollout::{Command, CommandKind},
        status::{RunState, Status},
    },
};

/// Between two looks.
const LOOK: Duration = Duration::from_millis(500);
/// Who pauses, in histories.
const ACTOR: &str = "catalog";

/// A rollout and a primary of it that is gone.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Loss {
    rollout: String,
    model: String,
}

/// Looks until the server stops.
pub(super) async fn run(
    controller: Arc<Controller>,
    models: Arc<ModelRouter>,
    outbox: Arc<dyn Outbox>,
    stopping: impl Future<Output = ()>,
) {
    let mut stopping = pin!(stopping);
    // With the alert that reported it. One for each primary of a rollout under way, at most.
    let mut told: HashMap<Loss, Option<String>> = HashMap::new();
    loop {
        let look = async {
            sleep(LOOK).await;
            if !controller.leads() {
                return;
            }
            let live = controller.live();
            returned(&mut told, &live, &models, &*outbox).await;
            for status in &live {
                for (loss, words) in losses(status, &models) {
                    if !told.contains_key(&loss) && pause(&controller, status, &words).await {
                        let alert = alert(status, &words, &*outbox).await;
                        told.insert(loss, alert);
                        // The next one is based on another version.
                        break;
                    }
                }
            }
        };
        tokio::select! {
            () = &mut stopping => return,
            () = look => {}
        }
    }
}

/// What a rollout has lost, in words.
fn losses(status: &Status, models: &ModelRouter) -> Vec<(Loss, String)> {
    let arms = status.models.iter().flat_map(|it| {
        let arms = [("control", &it.control), ("the candidate", &it.candidate)];
        arms.map(|(arm, models)| (arm, it.tasks.join("`, `"), models.first()))
    });
    let mut losses: Vec<(Loss, String)> = Vec::new();
    for (arm, tasks, primary) in arms {
        let Some((model, gone)) = primary.and_then(|it| Some((it, models.gone(it)?))) else {
            continue;
        };
        let loss = Loss {
            rollout: status.id.clone(),
            model: model.clone(),
        };
        let why = match gone {
            Gone::FromCatalog => "the catalog does not have it any more",
            Gone::FromProvider => "its provider does not have it any more",
        };
        if losses.iter().all(|(known, _)| *known != loss) {
            let words = format!("{arm}'s model `{model}` of `{tasks}` is gone: {why}");
            losses.push((loss, words));
        }
    }
    losses
}

/// Whether it is paused now; where that fails, the next look tries again.
async fn pause(controller: &Controller, status: &Status, words: &str) -> bool {
    if status.state == RunState::Paused {
        return true;
    }
    let command = Command {
        id: status.id.clone(),
        based_on: status.version,
        actor: Actor::parse(ACTOR),
        reason: words.to_owned(),
        kind: CommandKind::Pause,
    };
    let paused = controller.apply(command).await;
    if let Err(error) = &paused {
        let rollout = &status.id;
        tracing::debug!(rollout, %error, "a rollout whose model is gone cannot be paused yet");
    }
    paused.is_ok()
}

#[expect(
    clippy::disallowed_methods,
    reason = "a model that vanishes is an edge"
)]
async fn alert(status: &Status, words: &str, outbox: &dyn Outbox) -> Option<String> {
    tracing::warn!(rollout = status.id, "the rollout is paused: {words}");
    let text = format!(
        "It is paused: {words}. Requests get the next model of their route, where the candidate's is gone that \
         of control, and are no evidence. Resume it when the model is back, or take it back."
    );
    let title = format!("A model is gone: {}", status.plan);
    let details = json!({"plan": status.plan, "share": status.share});
    let alert = Alert::of_catalog(Severity::Critical, title, text, details, clock::now());
    let alert = Alert {
        rollout_id: Some(status.id.clone()),
        ..alert
    };
    catalog::send(outbox, &alert).await.then_some(alert.id)
}

/// Forgets losses that are over, and says so where the rollout still waits.
#[expect(
    clippy::disallowed_methods,
    reason = "a model that comes back is an edge"
)]
async fn returned(
    told: &mut HashMap<Loss, Option<String>>,
    live: &[Status],
    models: &ModelRouter,
    outbox: &dyn Outbox,
) {
    let is_over = |loss: &Loss| {
        models.gone(&loss.model).is_none() || live.iter().all(|it| it.id != loss.rollout)
    };
    for (loss, alert) in told.extract_if(|loss, _| is_over(loss)) {
        let status = live.iter().find(|it| it.id == loss.rollout);
        let Some(status) = status.filter(|it| it.state == RunState::Paused) else {
            continue;
        };
        let model = &loss.model;
        let title = format!("A model is back: {}", status.plan);
        let text =
            format!("`{model}` is there again. The rollout stays paused until it is resumed.");
        let resolves: Vec<_> = alert.into_iter().collect();
        let details = json!({"plan": status.plan, "model": model, RESOLVES: resolves});
        let alert = Alert::of_catalog(Severity::Info, title, text, details, clock::now());
        let alert = Alert {
            rollout_id: Some(loss.rollout),
            ..alert
        };
        catalog::send(outbox, &alert).await;
    }
}
