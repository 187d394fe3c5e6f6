//! What kind of failure an attempt met, whose it was, and whether another model can help.
//!
//! A status alone says too little: an error can hide in a 200, a 429 can be the platform's or one
//! provider's, a 400 can mean "too long for this model". So the body is part of the judgement, and
//! where the body names its kind (`error.metadata.error_type`, or OpenAI's `error.code`) the name
//! wins over the number.

use std::{fmt, time::Duration};

use chrono::DateTime;
use http::{HeaderMap, header};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::openrouter;

/// The kind of a failed attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum FaultKind {
    /// The request is refused as wrong (a 4xx that says no more). Whose fault it was shows when another
    /// model is asked.
    BadRequest,
    /// Too long for this model's context; a larger one may take it.
    ContextLength,
    /// The provider refuses our key (401).
    Authentication,
    /// Out of credits (402).
    Payment,
    /// Our account may not go on: its key is at its limit or switched off, its organisation is blocked
    /// (a 403 that says so).
    AccountLimit,
    /// Refused by policy or moderation (403).
    Refused,
    /// A refusal of the kinds above that another model did not share, so that it was this model's fault.
    Rejected,
    /// The model does not exist there (404).
    NotFound,
    /// Too many requests to the platform as a whole, for this account.
    RateLimited,
    /// Too many requests to this model's provider.
    ProviderRateLimited,
    /// No answer in time.
    Timeout,
    /// The connection could not be made or broke.
    Connection,
    /// The provider failed (5xx, or an error in a 200).
    Upstream,
    /// An answer that cannot be read, or without a choice.
    InvalidReply,
    /// An answer without text, refusal or tool call.
    EmptyReply,
}

/// Where a request that failed may succeed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Elsewhere {
    /// At any other model.
    Anywhere,
    /// At a model of another provider, as our account with this one was at fault.
    OtherProvider,
    /// At a model with a larger context.
    LargerContext,
    /// Perhaps nowhere: one other model is asked, which shows whose fault it was.
    OneOther,
}

/// Whose fault it was; every kind has exactly one owner.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Owner {
    Client,
    Account,
    Model,
}

impl FaultKind {
    /// Every kind.
    pub const ALL: [Self; 15] = [
        Self::BadRequest,
        Self::ContextLength,
        Self::Authentication,
        Self::Payment,
        Self::AccountLimit,
        Self::Refused,
        Self::Rejected,
        Self::NotFound,
        Self::RateLimited,
        Self::ProviderRateLimited,
        Self::Timeout,
        Self::Connection,
        Self::Upstream,
        Self::InvalidReply,
        Self::EmptyReply,
    ];

    /// In kebab case, as it is serialised.
    pub const fn name(self) -> &'static str {
        match self {
            Self::BadRequest => "bad-request",
            Self::ContextLength => "context-length",
            Self::Authentication => "authentication",
            Self::Payment => "payment",
            Self::AccountLimit => "account-limit",
            Self::Refused => "refused",
            Self::Rejected => "rejected",
            Self::NotFound => "not-found",
            Self::RateLimited => "rate-limited",
            Self::ProviderRateLimited => "provider-rate-limited",
            Self::Timeout => "timeout",
            Self::Connection => "connection",
            Self::Upstream => "upstream",
            Self::InvalidReply => "invalid-reply",
            Self::EmptyReply => "empty-reply",
        }
    }

    /// Which other models may answer the same request.
    pub const fn may_succeed_elsewhere(self) -> Elsewhere {
        match self {
            Self::BadRequest | Self::Refused => Elsewhere::OneOther,
            Self::ContextLength => Elsewhere::LargerContext,
            _ if self.is_accounts() => Elsewhere::OtherProvider,
            _ => Elsewhere::Anywhere,
        }
    }

    /// Whether it counts against the model.
    pub const fn is_models_fault(self) -> bool {
        matches!(self.owner(), Owner::Model)
    }

    /// Whether the request was at fault; counts against nobody.
    pub const fn is_clients_fault(self) -> bool {
        matches!(self.owner(), Owner::Client)
    }

    /// Whether our account with the provider was at fault, so that all its models are affected.
    pub const fn is_accounts(self) -> bool {
        matches!(self.owner(), Owner::Account)
    }

    const fn owner(self) -> Owner {
        match self {
            Self::BadRequest | Self::ContextLength | Self::Refused => Owner::Client,
            Self::Authentication | Self::Payment | Self::AccountLimit | Self::RateLimited => {
                Owner::Account
            }
            Self::Rejected
            | Self::NotFound
            | Self::ProviderRateLimited
            | Self::Timeout
            | Self::Connection
            | Self::Upstream
            | Self::InvalidReply
            | Self::EmptyReply => Owner::Model,
        }
    }

    /// What a bare status means.
    fn of_status(status: u16) -> Self {
        match status {
            401 => Self::Authentication,
            402 => Self::Payment,
            403 => Self::Refused,
            404 => Self::NotFound,
            408 | 504 | 522 | 524 => Self::Timeout,
            429 => Self::ProviderRateLimited,
            400..=499 => Self::BadRequest,
            500..=599 => Self::Upstream,
            // A redirect is not followed, and anything else is not an answer to a completion.
            _ => Self::InvalidReply,
        }
    }

    /// What a machine-readable name in an error body means; `None` for names that say no more
    /// than the status does.
    fn of_name(name: &str) -> Option<Self> {
        Some(match name {
            "context_length_exceeded"
            | "token_limit_exceeded"
            | "max_tokens_exceeded"
            | "exceed_context_size_error" => Self::ContextLength,
            "string_too_long"
            | "invalid_request"
            | "invalid_prompt"
            | "precondition_failed"
            | "payload_too_large"
            | "unprocessable" => Self::BadRequest,
            "authentication" | "invalid_api_key" => Self::Authentication,
            "payment_required" | "insufficient_quota" => Self::Payment,
            "permission_denied" | "content_policy_violation" | "content_filter" => Self::Refused,
            "not_found" | "model_not_found" => Self::NotFound,
            "rate_limit_exceeded" => Self::ProviderRateLimited,
            "timeout" => Self::Timeout,
            "provider_overloaded" | "provider_unavailable" | "server" | "server_error" => {
                Self::Upstream
            }
            _ => return None,
        })
    }
}

impl fmt::Display for FaultKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// A failed attempt. Its text never holds what the provider wrote; [`Fault::detail`] does.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[error("the provider's answer is a fault of kind `{kind}`")]
pub struct Fault {
    /// What kind.
    pub kind: FaultKind,
    /// The HTTP status, or the number in an error that came inside a 200.
    pub status: Option<u16>,
    /// How long the provider asks to wait.
    pub retry_after: Option<Duration>,
    detail: String,
}

impl Fault {
    /// Longest detail that is kept, in characters.
    const MAX_DETAIL: usize = 300;

    /// A fault without a status.
    pub fn new(kind: FaultKind, detail: impl Into<String>) -> Self {
        Self {
            kind,
            status: None,
            retry_after: None,
            detail: bounded(detail.into()),
        }
    }

    /// What was received or went wrong, for the log only; at most 300 characters.
    pub fn detail(&self) -> &str {
        &self.detail
    }

    /// Judges a response whose status is not 200, by status, headers and body.
    pub fn of_response(status: u16, headers: &HeaderMap, body: &[u8]) -> Self {
        let parsed: Option<Value> = serde_json::from_slice(body).ok();
        let error = parsed.as_ref().and_then(|body| body.get("error"));
        let mut fault = match error {
            Some(error) => Self::of_error(error, Some(status)),
            None => Self {
                status: Some(status),
                ..Self::new(
                    FaultKind::of_status(status),
                    String::from_utf8_lossy(body.get(..1024).unwrap_or(body)),
                )
            },
        };
        if fault.kind == FaultKind::ProviderRateLimited
            && openrouter::is_platform_limit(error, headers)
        {
            fault.kind = FaultKind::RateLimited;
        }
        fault.retry_after = retry_after(headers)
            .or_else(|| openrouter::until_reset(error, headers))
            .or(fault.retry_after);
        fault
    }

    /// Judges an error object: the `error` of a body, of a choice, or of a stream's event.
    ///
    /// `status` is the response's where that says something; inside a 200 it is `None`, and the
    /// number in the object takes its place.
    pub fn of_error(error: &Value, status: Option<u16>) -> Self {
        let code = error.get("code");
        let status = status.or_else(|| code.and_then(as_status));
        let text = |value: Option<&Value>| value.and_then(Value::as_str).unwrap_or("").to_owned();
        let message = match error {
            Value::String(message) => message.clone(),
            error => text(error.get("message")),
        };
        let names = [
            error.pointer("/metadata/error_type"),
            error.get("error_type"),
            code,
            error.get("type"),
        ];
        let named = names
            .into_iter()
            .flatten()
            .filter_map(Value::as_str)
            .find_map(FaultKind::of_name);
        let by_status = status.map_or(FaultKind::Upstream, FaultKind::of_status);
        let mut kind = named
            .or_else(|| refine(by_status, &message))
            .unwrap_or(by_status);
        if kind == FaultKind::ProviderRateLimited
            && openrouter::is_platform_limit(Some(error), &HeaderMap::new())
        {
            kind = FaultKind::RateLimited;
        }
        Self {
            status,
            ..Self::new(kind, message)
        }
    }

    /// Removes a secret that the provider may have repeated in its error.
    pub(super) fn without(mut self, secret: &str) -> Self {
        if !secret.is_empty() && self.detail.contains(secret) {
            self.detail = self.detail.replace(secret, "[key]");
        }
        self
    }
}

/// Two kinds that some servers tell only in words.
fn refine(kind: FaultKind, message: &str) -> Option<FaultKind> {
    if kind != FaultKind::BadRequest {
        return None;
    }
    let message = message.to_ascii_lowercase();
    let says = |words: &[&str]| words.iter().any(|word| message.contains(word));
    if says(&[
        "context length",
        "context size",
        "context window",
        "maximum context",
    ]) {
        Some(FaultKind::ContextLength)
    } else if says(&["not a valid model", "model not found", "no such model"]) {
        Some(FaultKind::NotFound)
    } else {
        None
    }
}

/// `429` or `"429"`.
fn as_status(code: &Value) -> Option<u16> {
    let number = match code {
        Value::Number(number) => number.as_u64(),
        Value::String(text) => text.parse().ok(),
        _ => None,
    };
    number
        .and_then(|number| u16::try_from(number).ok())
        .filter(|status| (300..=599).contains(status))
}

/// `Retry-After` in seconds or as a date, which is compared with the response's own `Date`.
fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    let value = headers.get(header::RETRY_AFTER)?.to_str().ok()?.trim();
    if let Ok(seconds) = value.parse::<f64>() {
        return Duration::try_from_secs_f64(seconds).ok();
    }
    let until = DateTime::parse_from_rfc2822(value).ok()?;
    (until.to_utc() - date(headers)?).to_std().ok()
}

/// The server's clock, so that ours need not agree with it.
pub(super) fn date(headers: &HeaderMap) -> Option<DateTime<chrono::Utc>> {
    let value = headers.get(header::DATE)?.to_str().ok()?;
    Some(DateTime::parse_from_rfc2822(value).ok()?.to_utc())
}

fn bounded(mut text: String) -> String {
    if let Some((end, _)) = text.char_indices().nth(Fault::MAX_DETAIL) {
        text.truncate(end);
    }
    text
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn kind(status: u16, body: &Value) -> FaultKind {
        Fault::of_response(status, &HeaderMap::new(), body.to_string().as_bytes()).kind
    }

    fn headers(pairs: &[(&'static str, &'static str)]) -> HeaderMap {
        pairs
            .iter()
            .map(|(name, value)| (name.parse().unwrap(), value.parse().unwrap()))
            .collect()
    }

    #[test]
    fn every_kind_has_one_owner_and_its_serialised_name() {
        for kind in FaultKind::ALL {
            let owners = [
                kind.is_models_fault(),
                kind.is_clients_fault(),
                kind.is_accounts(),
            ];
            assert_eq!(owners.iter().filter(|owns| **owns).count(), 1, "{kind}");
            assert_eq!(serde_json::to_value(kind).unwrap(), json!(kind.name()));
        }
    }

    #[test]
    fn a_status_alone_is_judged() {
        for (status, expected) in [
            (302, FaultKind::InvalidReply),
            (400, FaultKind::BadRequest),
            (401, FaultKind::Authentication),
            (402, FaultKind::Payment),
            (403, FaultKind::Refused),
            (404, FaultKind::NotFound),
            (408, FaultKind::Timeout),
            (413, FaultKind::BadRequest),
            (422, FaultKind::BadRequest),
            (429, FaultKind::ProviderRateLimited),
            (500, FaultKind::Upstream),
            (503, FaultKind::Upstream),
            (504, FaultKind::Timeout),
            (529, FaultKind::Upstream),
        ] {
            let fault = Fault::of_response(status, &HeaderMap::new(), b"<html>oops</html>");
            assert_eq!((fault.kind, fault.status), (expected, Some(status)));
        }
    }

    #[test]
    fn a_name_in_the_body_wins_over_the_status() {
        let typed = |name: &str| json!({"error": {"code": 400, "message": "x", "metadata": {"error_type": name}}});
        assert_eq!(
            kind(400, &typed("context_length_exceeded")),
            FaultKind::ContextLength
        );
        assert_eq!(
            kind(400, &typed("provider_unavailable")),
            FaultKind::Upstream
        );
        assert_eq!(kind(400, &typed("something_new")), FaultKind::BadRequest);
        let quota = json!({"error": {"code": "insufficient_quota", "message": "x"}});
        assert_eq!(kind(429, &quota), FaultKind::Payment);
        let llama = json!({"error": {"code": 400, "type": "exceed_context_size_error"}});
        assert_eq!(kind(400, &llama), FaultKind::ContextLength);
    }

    #[test]
    fn words_tell_a_context_that_is_too_small_and_a_model_that_is_not_there() {
        let message = |text: &str| json!({"error": {"code": 400, "message": text}});
        assert_eq!(
            kind(
                400,
                &message("This endpoint's maximum context length is 8192 tokens")
            ),
            FaultKind::ContextLength
        );
        assert_eq!(
            kind(400, &message("nope/x is not a valid model ID")),
            FaultKind::NotFound
        );
    }

    #[test]
    fn an_error_inside_a_200_is_judged_by_its_own_code() {
        let of = |error: Value| Fault::of_error(&error, None).kind;
        assert_eq!(
            of(json!({"code": 429, "message": "slow"})),
            FaultKind::ProviderRateLimited
        );
        assert_eq!(of(json!({"code": "502"})), FaultKind::Upstream);
        assert_eq!(of(json!({"code": "server_error"})), FaultKind::Upstream);
        assert_eq!(of(json!({"code": 403})), FaultKind::Refused);
        assert_eq!(of(json!({"message": "?"})), FaultKind::Upstream);
        assert_eq!(of(json!("plain text")), FaultKind::Upstream);
        assert_eq!(of(json!({"code": 99999999})), FaultKind::Upstream);
    }

    #[test]
    fn the_platforms_limit_differs_from_a_providers() {
        let platform = headers(&[("x-ratelimit-limit", "50"), ("x-ratelimit-remaining", "0")]);
        let plain = json!({"error": {"code": 429, "message": "Rate limit exceeded"}}).to_string();
        let of_provider =
            json!({"error": {"code": 429, "metadata": {"provider_code": "busy"}}}).to_string();
        let judge = |headers: &HeaderMap, body: &str| {
            Fault::of_response(429, headers, body.as_bytes()).kind
        };
        assert_eq!(judge(&platform, &plain), FaultKind::RateLimited);
        assert_eq!(
            judge(&platform, &of_provider),
            FaultKind::ProviderRateLimited
        );
        assert_eq!(
            judge(&HeaderMap::new(), &plain),
            FaultKind::ProviderRateLimited
        );
        let inside = json!({"code": 429, "metadata": {"headers": {"X-RateLimit-Limit": "50"}, "provider_name": null}});
        assert_eq!(Fault::of_error(&inside, None).kind, FaultKind::RateLimited);
    }

    #[test]
    fn retry_after_is_seconds_or_a_date() {
        let wait =
            |pairs: &[(&'static str, &'static str)]| Fault::of_response(429, &headers(pairs), b"");
        assert_eq!(
            wait(&[("retry-after", "2")]).retry_after,
            Some(Duration::from_secs(2))
        );
        let date = ("date", "Sun, 06 Nov 1994 08:49:37 GMT");
        let later = ("retry-after", "Sun, 06 Nov 1994 08:49:40 GMT");
        assert_eq!(
            wait(&[date, later]).retry_after,
            Some(Duration::from_secs(3))
        );
        assert_eq!(
            wait(&[date, ("x-ratelimit-reset", "784111782000")]).retry_after,
            Some(Duration::from_secs(5))
        );
        for nonsense in ["-1", "soon", "NaN", "1e300", "inf"] {
            let fault = Fault::of_response(429, &headers(&[("retry-after", nonsense)]), b"");
            assert_eq!(fault.retry_after, None, "{nonsense}");
        }
    }

    #[test]
    fn the_text_of_a_fault_never_holds_the_body() {
        let fault = Fault::of_response(500, &HeaderMap::new(), b"secret upstream words");
        assert!(!fault.to_string().contains("secret"));
        assert_eq!(fault.detail(), "secret upstream words");
        assert_eq!(fault.without("upstream").detail(), "secret [key] words");
        let long = Fault::new(FaultKind::Upstream, "å".repeat(10_000));
        assert_eq!(long.detail().chars().count(), 300);
    }
}
