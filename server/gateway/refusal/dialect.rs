//! A refusal as the caller's API has it: OpenAI's, Anthropic's or OpenFeature's.

use std::borrow::Cow;

use axum::{body::Body, response::Response};
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use serde_json::json;

use super::{KeyLimit, Refusal};
use crate::gateway::headers;

const SHOULD_RETRY: HeaderName = HeaderName::from_static("x-should-retry");
const RETRY_AFTER_MS: HeaderName = HeaderName::from_static("retry-after-ms");

/// Whose words an error is written in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::gateway) enum Dialect {
    /// OpenAI's chat completions, models and embeddings.
    Chat,
    /// OpenAI's responses.
    Responses,
    /// Anthropic's messages.
    Messages,
    /// OpenFeature's flags.
    Flags,
}

impl Dialect {
    /// By the path of a request.
    pub(in crate::gateway) fn of(path: &str) -> Self {
        match path {
            _ if path.starts_with("/v1/messages") => Self::Messages,
            _ if path.starts_with("/v1/responses") => Self::Responses,
            _ if path.starts_with("/ofrep/") => Self::Flags,
            _ => Self::Chat,
        }
    }

    /// Names the call in an answer's headers, by the id that the log has.
    pub(in crate::gateway) fn name_call(self, headers: &mut HeaderMap, request_id: &str) {
        let Ok(id) = HeaderValue::from_str(request_id) else {
            return;
        };
        if self == Self::Messages {
            headers.insert(HeaderName::from_static("request-id"), id.clone());
        }
        headers.insert(HeaderName::from_static("x-request-id"), id);
    }
}

impl Refusal {
    /// The status for it in the caller's API.
    fn status_in(&self, dialect: Dialect) -> StatusCode {
        match (dialect, self.code) {
            // Codex repeats a 402, and stops at this.
            (Dialect::Responses, Some("budget_exceeded")) => StatusCode::TOO_MANY_REQUESTS,
            (Dialect::Messages, Some("overloaded")) => {
                StatusCode::from_u16(529).unwrap_or(self.status)
            }
            _ => self.status,
        }
    }

    /// The body of an error, or the data of an event.
    pub(in crate::gateway) fn to_json(&self, dialect: Dialect, request_id: &str) -> String {
        let Self { param, message, .. } = self;
        let status = self.status_in(dialect).as_u16();
        if dialect == Dialect::Flags {
            // A fault of the request itself has a code as well, which only `gateway::flags` knows.
            return json!({ "errorDetails": message }).to_string();
        }
        if dialect == Dialect::Messages {
            let kind = match status {
                400 => "invalid_request_error",
                401 => "authentication_error",
                402 => "billing_error",
                403 => "permission_error",
                404 => "not_found_error",
                413 => "request_too_large",
                429 => "rate_limit_error",
                504 => "timeout_error",
                529 => "overloaded_error",
                _ => "api_error",
            };
            // Claude Code knows only these words, and reads both numbers.
            let words = |tokens: u32| {
                let more = tokens.saturating_add(1);
                format!("prompt is too long: {more} tokens > {tokens} maximum").into()
            };
            let message: Cow<'_, str> = self.context.map_or_else(|| Cow::from(&**message), words);
            let error = json!({"type": kind, "message": message});
            return json!({"type": "error", "error": error, "request_id": request_id}).to_string();
        }
        let code = match (dialect, self.code) {
            (Dialect::Responses, Some("overloaded")) => Some("server_is_overloaded"),
            (Dialect::Responses, Some("budget_exceeded")) => Some("insufficient_quota"),
            (_, code) => code,
        };
        let kind = match status {
            429 if self.opens_at().is_some() => "usage_limit_reached",
            402 => "insufficient_quota",
            429 => "rate_limit_error",
            401 => "authentication_error",
            400..=499 => "invalid_request_error",
            _ => "server_error",
        };
        let mut error = json!({"message": message, "type": kind, "param": param, "code": code});
        if let (Some(opens_at), Dialect::Responses) = (self.opens_at(), dialect) {
            error["resets_at"] = opens_at.timestamp().into();
        }
        json!({ "error": error }).to_string()
    }

    pub(in crate::gateway) fn into_response(self, dialect: Dialect, request_id: &str) -> Response {
        let mut response = Response::new(Body::from(self.to_json(dialect, request_id)));
        *response.status_mut() = self.status_in(dialect);
        let headers = response.headers_mut();
        let json = HeaderValue::from_static("application/json");
        headers.insert(header::CONTENT_TYPE, json);
        if !self.may_retry {
            headers.insert(SHOULD_RETRY, HeaderValue::from_static("false"));
        }
        if let Some(wait) = self.retry_after {
            let seconds = wait.as_millis().div_ceil(1000).max(1) as u64;
            headers.insert(header::RETRY_AFTER, HeaderValue::from(seconds));
            let ms = wait.as_millis().max(1) as u64;
            headers.insert(RETRY_AFTER_MS, HeaderValue::from(ms));
        }
        dialect.name_call(headers, request_id);
        if let Some(KeyLimit::Rate(left)) = self.limit.as_deref() {
            headers::add_rate(headers, left);
        }
        if let Some(route) = &self.route {
            headers::add_attempts(headers, &self.attempts, route);
        }
        response
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn an_error_is_written_in_the_callers_dialect() {
        let busy = || Refusal::new(StatusCode::SERVICE_UNAVAILABLE, Some("overloaded"), "x");
        let in_dialect = |dialect| {
            let json: serde_json::Value =
                serde_json::from_str(&busy().to_json(dialect, "r")).unwrap();
            (json, busy().into_response(dialect, "r").status().as_u16())
        };
        let error = |code| json!({"error": {"message": "x", "type": "server_error", "param": null, "code": code}});
        assert_eq!(in_dialect(Dialect::Chat), (error("overloaded"), 503));
        assert_eq!(
            in_dialect(Dialect::Responses),
            (error("server_is_overloaded"), 503)
        );
        let anthropic = json!({"type": "error", "error": {"type": "overloaded_error", "message": "x"}, "request_id": "r"});
        assert_eq!(in_dialect(Dialect::Messages), (anthropic, 529));
        let openfeature = json!({"errorDetails": "x"});
        assert_eq!(in_dialect(Dialect::Flags), (openfeature, 503));
    }

    #[test]
    fn a_long_wait_is_told_and_not_waited_for() {
        let wait = |seconds| {
            let refusal = Refusal {
                may_retry: seconds <= 60,
                retry_after: Some(Duration::from_secs_f64(seconds as f64 + 0.2)),
                ..Refusal::new(StatusCode::TOO_MANY_REQUESTS, None, "x")
            };
            let response = refusal.into_response(Dialect::Chat, "r");
            let header = |name: &str| {
                let value = response.headers().get(name)?;
                Some(value.to_str().unwrap().to_owned())
            };
            (
                header("retry-after").unwrap(),
                header("retry-after-ms").unwrap(),
                header("x-should-retry"),
            )
        };
        assert_eq!(wait(2), ("3".into(), "2200".into(), None));
        assert_eq!(
            wait(100),
            ("101".into(), "100200".into(), Some("false".into()))
        );
    }
}
