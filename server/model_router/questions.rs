//! Questions whose answers a model is to judge: a part of the requests that a rollout counts.
//!
//! Whoever waits for an answer never waits for this. A question that nobody takes in time is dropped.

use std::sync::Arc;

use tokio::sync::mpsc;

use super::{Call, ModelRouter, Route};
use crate::{
    _core::{
        assignment::{Algorithm, Subject, Variant, bucket, is_in},
        units::Percent,
    },
    providers::ChatRequest,
};

/// A question that both sides are to answer once more, aside.
#[derive(Clone, Debug)]
pub struct Question {
    /// The call whose question it is.
    pub request_id: Arc<str>,
    /// The rollout that counts it.
    pub rollout: Arc<str>,
    /// Its task.
    pub task: Arc<str>,
    /// Who asks, by a hash.
    pub subject: Option<u64>,
    /// Control's primary, as the rollout began.
    pub control: String,
    /// The candidate's.
    pub candidate: String,
    /// As its caller asked.
    pub request: ChatRequest,
}

impl ModelRouter {
    /// Hands questions out from now on, to whoever began first.
    pub fn hand_out(&self, to: mpsc::Sender<Question>) {
        // A second one would take nothing.
        let _ = self.questions.set(to);
    }

    /// Hands a call's question out, where its rollout wants that of so many.
    pub(super) fn offer(&self, route: &Route, call: &Call) {
        let (Some(questions), Some(rollout)) = (self.questions.get(), &route.rollout) else {
            return;
        };
        let share = rollout.judged_share;
        if share == Percent::ZERO || !is_taken(&call.request_id, share) {
            return;
        }
        let Some(id) = route.counted_by() else {
            return;
        };
        let primary = |arm| rollout.models_of(&route.task, arm)?.first().cloned();
        let pair = (primary(Variant::Control), primary(Variant::Candidate));
        if let (Some(control), Some(candidate)) = pair
            && let Ok(place) = questions.try_reserve()
        {
            place.send(Question {
                request_id: call.request_id.clone(),
                rollout: id,
                task: route.task.clone(),
                subject: route.subject.as_ref().map(Subject::key),
                control,
                candidate,
                request: call.request.clone(),
            });
        }
    }
}

/// Whether a call is among so many of all. Its id says so, which has nothing to do with who asks.
fn is_taken(request_id: &str, share: Percent) -> bool {
    let call = Subject::Opaque(request_id.to_owned());
    is_in(bucket(Algorithm::Murmur3, "judged", &call), share)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn as_many_calls_are_taken_as_the_share_says() {
        for share in [0.0, 2.0, 30.0, 100.0] {
            let wanted = Percent::new(share).expect("a share");
            let calls = (0..20_000).filter(|n| is_taken(&format!("request-{n}"), wanted));
            let taken = calls.count() as f64 / 200.0;
            assert!((taken - share).abs() <= 1.0, "{taken} % for {share} %");
        }
    }
}
