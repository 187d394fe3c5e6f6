//! What a client reads when no model answered: a code, a text that says what to do, and, for
//! programs, the kind of fault and whether trying again can help.

use serde_json::json;

use super::RouteError;
use crate::{
    _core::errors::{ErrorCode, RpcError},
    providers::fault::FaultKind,
};

/// What a client reads about a kind of fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FaultWords {
    /// Failures that may pass are 500s, as they were on the TypeScript server.
    pub code: ErrorCode,
    /// What happened, and what the user can do about it. Nothing of what a provider wrote.
    pub text: &'static str,
    /// Whether the same request may succeed later.
    pub retryable: bool,
}

impl FaultWords {
    /// About the fault that ended a call.
    pub const fn about(kind: FaultKind) -> Self {
        let (code, text, retryable) = match kind {
            FaultKind::BadRequest => (
                ErrorCode::UnprocessableContent,
                "The language model does not accept this message. Please change it and send it anew.",
                false,
            ),
            FaultKind::Refused => (
                ErrorCode::UnprocessableContent,
                "The language model refused this message. Please change it and send it anew.",
                false,
            ),
            FaultKind::ContextLength => (
                ErrorCode::PayloadTooLarge,
                "The conversation is too long for the language model. Please shorten the message, or begin a new conversation.",
                false,
            ),
            FaultKind::Authentication | FaultKind::Payment | FaultKind::AccountLimit => (
                ErrorCode::ServiceUnavailable,
                "The language model's provider does not accept this server's account. Sending again does not help: please tell whoever runs this server.",
                false,
            ),
            FaultKind::NotFound => (
                ErrorCode::ServiceUnavailable,
                "The language model is not there any more. Sending again does not help: please tell whoever runs this server.",
                false,
            ),
            FaultKind::RateLimited | FaultKind::ProviderRateLimited => (
                ErrorCode::InternalServerError,
                "The language model is busy. Please try again in a moment",
                true,
            ),
            FaultKind::Timeout => (
                ErrorCode::InternalServerError,
                "The language model did not answer in time. Please try again",
                true,
            ),
            FaultKind::Rejected
            | FaultKind::Connection
            | FaultKind::Upstream
            | FaultKind::InvalidReply
            | FaultKind::EmptyReply => (
                ErrorCode::InternalServerError,
                "No language model could answer. Please try again in a moment",
                true,
            ),
        };
        Self {
            code,
            text,
            retryable,
        }
    }
}

impl RouteError {
    /// The fault that ended the call, where it was one of a model.
    pub const fn kind(&self) -> Option<FaultKind> {
        match self {
            Self::AllFailed { kind, .. } | Self::Interrupted { kind, .. } => Some(*kind),
            Self::UnknownTask { .. }
            | Self::UnknownModel { .. }
            | Self::Private { .. }
            | Self::Busy { .. }
            | Self::OverQuota { .. } => None,
        }
    }
}

impl From<RouteError> for RpcError {
    /// The client learns what it can do about it and nothing of what a provider wrote.
    fn from(error: RouteError) -> Self {
        let Some(kind) = error.kind() else {
            return match &error {
                RouteError::Busy { .. } => {
                    let text = "Too many requests wait for the language model. Please try again in a moment";
                    Self::new(ErrorCode::ServiceUnavailable, text)
                        .with_details(json!({"kind": "busy", "retryable": true}))
                        .with_cause(error)
                }
                RouteError::OverQuota { refused, .. } => {
                    let text =
                        "The language model takes no more messages for now. Please try again later";
                    let after = refused.after.as_secs_f64().ceil();
                    let details =
                        json!({"kind": "over-quota", "retryable": true, "retryAfter": after});
                    Self::new(ErrorCode::ServiceUnavailable, text)
                        .with_details(details)
                        .with_cause(error)
                }
                _ => Self::bad_request(error.to_string()),
            };
        };
        let FaultWords {
            code,
            text,
            retryable,
        } = FaultWords::about(kind);
        Self::new(code, text)
            .with_details(json!({"kind": kind, "retryable": retryable}))
            .with_cause(error)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn trying_again_is_advised_exactly_where_it_can_help() {
        for kind in FaultKind::ALL {
            let told = FaultWords::about(kind);
            assert_eq!(told.text.contains("try again"), told.retryable, "{kind}");
            let is_500 = told.code == ErrorCode::InternalServerError;
            assert_eq!(is_500, told.retryable, "{kind}");
            let error = RouteError::AllFailed {
                attempts: 1,
                model: "m".into(),
                kind,
            };
            let details = RpcError::from(error).details.unwrap();
            assert_eq!(*details, json!({"kind": kind, "retryable": told.retryable}));
        }
    }
}
