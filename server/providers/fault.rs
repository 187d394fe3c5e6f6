//! What kind of failure an attempt met, whose it was, and whether another model can help.
//!
//! A status alone says too little: an error can hide in a 200, a 429 can be the platform's or one
//! provider's, a 400 can mean "too long for this model". So the body is part of the judgement: what it
//! says is gathered from every place where servers put it ([`said`]). A name for programs
//! (`context_length_exceeded`) wins over the number, and where neither says more than that the request
//! was refused, a table of words does ([`wording`]).

mod cause;
mod kind;
mod limit_scope;
mod numbers;
mod said;
mod wording;

use std::time::Duration;

use http::HeaderMap;
use serde_json::Value;

use self::said::ErrorContents;
pub use self::{
    cause::Cause,
    kind::{Elsewhere, FaultKind},
    limit_scope::LimitScope,
};
use super::{openrouter, retry_after};
use crate::_core::json_text;

impl FaultKind {
    /// What a bare status means.
    fn of_status(status: u16) -> Self {
        match status {
            401 => Self::Authentication,
            402 => Self::Payment,
            403 => Self::Refused,
            404 => Self::NotFound,
            413 => Self::ContextLength,
            408 | 504 | 522 | 524 => Self::Timeout,
            429 => Self::ProviderRateLimited,
            400..=499 => Self::BadRequest,
            500..=599 => Self::Upstream,
            // A redirect is not followed, and anything else is not an answer to a completion.
            _ => Self::InvalidReply,
        }
    }

    /// What a name for programs in an error body means; `None` for names that say no more than the
    /// status does.
    fn of_name(name: &str) -> Option<Self> {
        Some(match name {
            "context_length_exceeded"
            | "context_window_exceeded"
            | "contextwindowexceedederror"
            | "model_context_window_exceeded"
            | "token_limit_exceeded"
            | "tokens_limit_reached"
            | "max_tokens_exceeded"
            | "prompt_too_long"
            | "input_too_long"
            | "request_too_large"
            | "payload_too_large"
            | "exceed_context_size_error" => Self::ContextLength,
            "authentication"
            | "authentication_error"
            | "unauthenticated"
            | "invalid_api_key"
            | "api_key_invalid"
            | "invalid_authentication" => Self::Authentication,
            "payment_required"
            | "insufficient_quota"
            | "insufficient_credits"
            | "insufficient_balance"
            | "billing_error"
            | "billing_not_active" => Self::Payment,
            "account_deactivated"
            | "account_disabled"
            | "organization_disabled"
            | "key_limit_exceeded" => Self::AccountLimit,
            "permission_denied"
            | "permission_error"
            | "content_policy_violation"
            | "content_filter" => Self::Refused,
            "not_found" | "not_found_error" | "model_not_found" => Self::NotFound,
            "rate_limit_exceeded" | "rate_limit_error" | "too_many_requests" => {
                Self::ProviderRateLimited
            }
            "timeout" | "timeout_error" => Self::Timeout,
            "provider_overloaded"
            | "provider_unavailable"
            | "overloaded_error"
            | "engine_overloaded"
            | "server"
            | "server_error"
            | "internal_server_error" => Self::Upstream,
            _ => return None,
        })
    }

    /// What a refusal with this status and these words means.
    fn judge(status: Option<u16>, said: &ErrorContents) -> Self {
        // A gateway may wrap another server's failure in a status of its own that says less.
        let told = match (status, said.status) {
            (None | Some(400 | 500), Some(inner)) => Some(inner),
            (status, _) => status,
        };
        let by_status = told.map_or(Self::Upstream, Self::of_status);
        let named = said.names.iter().find_map(|name| {
            let kind = Self::of_name(&name.text)?;
            // A provider behind ours speaks of another account.
            (!(name.is_relayed && kind.is_accounts())).then_some(kind)
        });
        let kind = match (named, by_status) {
            // Too vague to say more than a status that is not.
            (Some(Self::Refused | Self::NotFound), status) if status.is_accounts() => status,
            (Some(named), _) => named,
            (None, status) => status,
        };
        wording::refine(kind, told, said).unwrap_or(kind)
    }
}

/// A failed attempt. Its text never holds what the provider wrote; [`Fault::detail`] does.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[error("the provider's answer is a fault of kind `{kind}`")]
pub struct Fault {
    /// What kind.
    pub kind: FaultKind,
    /// What went wrong, finer than the kind.
    pub cause: Cause,
    /// The HTTP status, or the number in an error that came inside a 200.
    pub status: Option<u16>,
    /// How long the provider asks to wait.
    pub retry_after: Option<Duration>,
    /// What a limit of our account is about.
    pub scope: LimitScope,
    /// As long as it came, so that a secret in it is whole when it is replaced.
    detail: String,
    /// Numbers in a refusal that may count a prompt's tokens.
    sizes: Vec<u64>,
}

impl Fault {
    /// Longest detail that is kept, in characters.
    const MAX_DETAIL: usize = 300;

    /// A fault without a status.
    pub fn new(kind: FaultKind, detail: impl Into<String>) -> Self {
        Self {
            kind,
            cause: Cause::of_kind(kind),
            status: None,
            retry_after: None,
            scope: LimitScope::Account,
            detail: detail.into(),
            sizes: Vec::new(),
        }
    }

    /// The same fault, with what is known of its cause.
    pub(super) fn because(self, cause: Cause) -> Self {
        Self { cause, ..self }
    }

    /// What was received or went wrong, for the log only; at most 300 characters.
    pub fn detail(&self) -> &str {
        let end = self.detail.char_indices().nth(Self::MAX_DETAIL);
        let kept = end.and_then(|(end, _)| self.detail.get(..end));
        kept.unwrap_or(&self.detail)
    }

    /// Judges a response whose status is no success, by status, headers and body.
    pub fn of_response(status: u16, headers: &HeaderMap, body: &[u8]) -> Self {
        let text = json_text::lenient(body).ok();
        let parsed: Option<Value> = text.and_then(|text| serde_json::from_str(&text).ok());
        let said = match &parsed {
            Some(body) => ErrorContents::by(body),
            None => ErrorContents::by_text(&String::from_utf8_lossy(body)),
        };
        Self::judged(Some(status), headers, parsed.as_ref(), &said)
    }

    /// Judges an error under a success: the body, the `error` of a body or of a choice, or a stream's
    /// event. A number in it takes the place of the status.
    pub fn of_error(error: &Value) -> Self {
        let said = ErrorContents::by(error);
        Self {
            status: said.status,
            ..Self::judged(None, &HeaderMap::new(), Some(error), &said)
        }
    }

    /// What an error says that does not call itself one; `None` where its words fit no kind.
    pub(super) fn of_words(words: &Value) -> Option<Self> {
        Some(Self::of_error(words)).filter(|fault| fault.kind != FaultKind::Upstream)
    }

    fn judged(
        status: Option<u16>,
        headers: &HeaderMap,
        body: Option<&Value>,
        said: &ErrorContents,
    ) -> Self {
        let retry_after = retry_after::of_headers(headers)
            .or_else(|| retry_after::of_body(body?))
            .or_else(|| openrouter::until_reset(body, headers));
        let mut kind = FaultKind::judge(status, said);
        let is_429 = status.or(said.status) == Some(429);
        if is_429 && kind == FaultKind::Payment && retry_after.is_some() {
            // Who says when to come back speaks of a rate, whatever it is called.
            kind = FaultKind::ProviderRateLimited;
        }
        if kind == FaultKind::ProviderRateLimited && openrouter::is_platform_limit(body, headers) {
            kind = FaultKind::RateLimited;
        }
        let cause = Cause::of_error(kind, status.or(said.status), body, said);
        kind = match cause {
            // Recognised by the words of the rate, where the platform sends no headers of its own.
            Cause::AccountLimit if kind == FaultKind::ProviderRateLimited => FaultKind::RateLimited,
            // The model wrote it.
            Cause::BadGeneration => FaultKind::InvalidReply,
            _ => kind,
        };
        let is_open = matches!(kind, FaultKind::BadRequest | FaultKind::Refused);
        Self {
            cause,
            status,
            retry_after,
            scope: match cause {
                Cause::AccountLimit => LimitScope::by(body, said),
                _ => LimitScope::Account,
            },
            sizes: if is_open {
                wording::sizes(&said.texts)
            } else {
                Vec::new()
            },
            ..Self::new(kind, said.message.as_str())
        }
    }

    /// Removes a secret that the provider may have repeated in its error.
    pub(super) fn without(mut self, secret: &str) -> Self {
        if !secret.is_empty() && self.detail.contains(secret) {
            self.detail = self.detail.replace(secret, "[key]");
        }
        self
    }

    /// In whatever language, a refusal that names the model's context and something larger says that
    /// the prompt is too long.
    pub(super) fn at_context(mut self, tokens: u32) -> Self {
        let tokens = u64::from(tokens);
        if self.sizes.contains(&tokens) && self.sizes.iter().any(|size| *size > tokens) {
            self.kind = FaultKind::ContextLength;
            self.cause = Cause::ContextLength;
        }
        self
    }
}

#[cfg(test)]
mod tests;
