//! A request to models, and what comes of it.

use std::sync::Arc;

use futures::stream::BoxStream;
use tokio::time::Instant;

use super::{
    Trail,
    quota::schedule::{Priority, SlotRefusal},
};
use crate::{
    _core::suggest::hint,
    providers::{ChatRequest, Completion, Delta, fault::FaultKind},
};

/// One request, to be put to the models of a [`Route`](super::Route).
#[derive(Clone, Debug)]
pub struct Call {
    /// Goes into the events.
    pub request_id: Arc<str>,
    /// All that the caller asks for. Which model it names is of no matter: the route's are asked.
    pub request: ChatRequest,
    /// When the whole call must be over; a streamed one, when its answer must have begun.
    pub deadline: Instant,
    /// When the last step of a stream must have come; `deadline` where it is `None`.
    pub stream_deadline: Option<Instant>,
    /// How urgent it is where an account's quota makes it wait.
    pub urgency: Urgency,
    /// Notes what became of the attempts.
    pub trail: Trail,
}

/// How urgent a call is where the quota of an account makes it wait.
#[derive(Clone, Copy, Debug, Default)]
pub struct Urgency {
    /// Who goes first.
    pub priority: Priority,
    /// When its attempt must have begun; in 30 s where it is `None`, and before the call's deadline.
    pub start_by: Option<Instant>,
    /// Requests that its conversation takes, where it has tools and the caller says.
    pub calls: Option<u32>,
}

/// What came of a call.
#[derive(Clone, Debug)]
pub struct Answer {
    /// The model's answer.
    pub completion: Completion,
    /// The catalog's name of the model that gave it.
    pub model: Arc<str>,
    /// Its place on the route: 0 for the primary, then the fallbacks.
    pub position: u8,
}

/// Why there is no answer.
#[derive(Clone, Debug, thiserror::Error)]
pub enum RouteError {
    /// The catalog has no such task.
    #[error("unknown task `{task}`; known are {known}{}", hint(task, known.split(", ")))]
    UnknownTask {
        /// What was asked for.
        task: String,
        /// The catalog's tasks.
        known: String,
    },
    /// The catalog has no such model.
    #[error("unknown model `{model}`; known are {known}{}", hint(model, known.split(", ")))]
    UnknownModel {
        /// What was asked for.
        model: String,
        /// The catalog's models.
        known: String,
    },
    /// The model that the caller insists on may not get the texts.
    #[error("{whose} keeps texts from model `{model}`: {reason}")]
    Private {
        /// Which part of the catalog demands it.
        whose: String,
        /// The model.
        model: Arc<str>,
        /// What its provider does not give.
        reason: String,
    },
    /// Every model that could help was tried.
    #[error("no model answered; the last of {attempts}, `{model}`, failed with {kind:?}")]
    AllFailed {
        /// How many were tried.
        attempts: usize,
        /// The last one.
        model: Arc<str>,
        /// Its fault.
        kind: FaultKind,
    },
    /// The provider has as many calls in flight as it may, and as many wait.
    #[error("`{provider}` has no place for another call")]
    Busy {
        /// Its name in the catalog.
        provider: String,
    },
    /// The quotas of our accounts leave no slot in time.
    #[error("the quota at `{provider}` leaves no slot in time: {} is used up", refused.reason.name())]
    OverQuota {
        /// Its name in the catalog.
        provider: String,
        /// What, and when to come back.
        refused: SlotRefusal,
    },
    /// A streamed answer broke off after it had begun, so no other model can take over.
    #[error("the answer of `{model}` broke off with {kind:?}")]
    Interrupted {
        /// The model that had begun.
        model: Arc<str>,
        /// Its fault.
        kind: FaultKind,
    },
}

/// A streamed answer that has begun.
pub struct AnswerStream {
    /// The catalog's name of the model that gives it.
    pub model: Arc<str>,
    /// Its place on the route: 0 for the primary, then the fallbacks.
    pub position: u8,
    /// Its steps. Dropping them cancels the call, which is recorded.
    pub deltas: BoxStream<'static, Result<Delta, RouteError>>,
}
