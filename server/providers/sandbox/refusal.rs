//! Faults that are a status and its words, as providers write them.

use axum::{
    Json,
    response::{IntoResponse, Response},
};
use http::{StatusCode, header::LOCATION};
use serde_json::{Value, json};

use super::FaultMode;

/// An answer whose status is no success.
pub(super) struct SandboxRefusal {
    status: StatusCode,
    error: Option<Value>,
}

impl SandboxRefusal {
    /// What a fault says, where it is one of these.
    pub(super) fn of(fault: FaultMode) -> Option<Self> {
        let (status, error) = match fault {
            FaultMode::Status(status) => {
                let status = known(status);
                return Some(Self {
                    status,
                    error: Some(error(status, "this model failed")),
                });
            }
            FaultMode::Bare(status) => {
                let status = known(status);
                return Some(Self {
                    status,
                    error: None,
                });
            }
            FaultMode::TooLong => (
                400,
                json!({"message": "This model's maximum context length is 1 token. Please reduce the length of the messages."}),
            ),
            FaultMode::Filtered => (
                400,
                json!({"code": "content_filter", "message": "The response was filtered due to the prompt triggering the content management policy."}),
            ),
            FaultMode::ReasoningState => (
                400,
                json!({"message": "The `reasoning_content` in the thinking mode must be passed back to the API."}),
            ),
            FaultMode::BadGeneration => (
                400,
                json!({"code": "json_validate_failed", "message": "Failed to generate JSON."}),
            ),
            FaultMode::NoFunds => (
                429,
                json!({"code": "insufficient_quota", "message": "You exceeded your current quota, please check your plan and billing details."}),
            ),
            FaultMode::AccountLimit => (
                429,
                json!({"message": "Rate limit exceeded: free-models-per-min, requests per min"}),
            ),
            FaultMode::KeyLimit => (403, json!({"message": "Key limit exceeded (total limit)"})),
            FaultMode::Region => (
                403,
                json!({"message": "The model is not available in your country."}),
            ),
            FaultMode::NoProvider => (
                404,
                json!({"message": "No endpoints found matching your data policy."}),
            ),
            FaultMode::Redirect => (307, Value::Null),
            _ => return None,
        };
        Some(Self {
            status: known(status),
            error: Some(error).filter(|it| !it.is_null()),
        })
    }
}

impl IntoResponse for SandboxRefusal {
    fn into_response(self) -> Response {
        let Self { status, error } = self;
        match error {
            Some(error) => (status, Json(json!({ "error": error }))).into_response(),
            None if status.is_redirection() => (status, [(LOCATION, "/elsewhere")]).into_response(),
            None => status.into_response(),
        }
    }
}

/// Every number that a [`FaultMode`] holds is a status.
fn known(status: u16) -> StatusCode {
    StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR)
}

/// The sandbox is named as the provider behind it, so that a 429 is a model's and not the account's.
pub(super) fn error(code: StatusCode, message: &str) -> Value {
    let metadata = json!({"provider_name": "sandbox"});
    json!({"code": code.as_u16(), "message": message, "metadata": metadata})
}

pub(super) fn failure(status: StatusCode, message: &str) -> Response {
    (status, Json(json!({"error": error(status, message)}))).into_response()
}
