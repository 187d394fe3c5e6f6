//! Chooses a model for a request, tries it and its fallbacks, and records every attempt.

pub mod attempt;
pub mod catalog;

use std::sync::Arc;

use tokio::time::Instant;

use crate::{
    _core::assignment::{Subject, Variant},
    providers::{Completion, Message, fault::FaultKind},
};

/// One request for an answer.
#[derive(Clone, Debug)]
pub struct Call {
    /// A task of the catalogue.
    pub task: String,
    /// Whose variant counts; `None` for callers without an id.
    pub subject: Option<Subject>,
    /// Goes into the events.
    pub request_id: Arc<str>,
    /// The conversation.
    pub messages: Vec<Message>,
    /// A model of the catalogue that the caller insists on, instead of the route's.
    pub model: Option<String>,
    /// Tokens the answer may have.
    pub max_tokens: Option<u32>,
    /// When the whole call must be over.
    pub deadline: Instant,
}

/// What came of a call.
#[derive(Clone, Debug)]
pub struct Answer {
    /// The model's answer.
    pub completion: Completion,
    /// The catalogue's name of the model that gave it.
    pub model: Arc<str>,
    /// The route it was on.
    pub variant: Variant,
    /// 0 for the primary, then the fallbacks.
    pub position: u8,
}

/// Why there is no answer.
#[derive(Clone, Debug, thiserror::Error)]
pub enum RouteError {
    /// The catalogue has no such task.
    #[error("unknown task `{task}`; known are {known}")]
    UnknownTask {
        /// What was asked for.
        task: String,
        /// The catalogue's tasks.
        known: String,
    },
    /// The catalogue has no such model.
    #[error("unknown model `{model}`; known are {known}")]
    UnknownModel {
        /// What was asked for.
        model: String,
        /// The catalogue's models.
        known: String,
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
}
