//! What a caller reads about each cause: a status, a code, and whether trying again can help.
//!
//! Programs go by the status: many repeat every 5xx, whatever else the answer says. So what trying again
//! does not help is a 400 or a 413, also where it is our account's fault and not the caller's; and never
//! a 401, 402 or 403, by which a caller would believe that its own key is bad.

use crate::providers::fault::Cause;

/// What the answer says about a cause.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct CauseWords {
    pub(super) status: u16,
    pub(super) code: Option<&'static str>,
    /// Whether the same request may succeed later.
    pub(super) may_retry: bool,
    /// What happened, behind the names of the model and its provider.
    pub(super) text: &'static str,
}

impl CauseWords {
    pub(super) const fn about(cause: Cause) -> Self {
        let (status, code, text) = match cause {
            Cause::Unreachable => (502, "upstream_unreachable", "cannot be reached"),
            Cause::Cut | Cause::CutStream => (502, "upstream_cut", "broke off its answer"),
            Cause::TimeoutFirst => (504, "upstream_timeout", "did not answer in time"),
            Cause::TimeoutUpstream => (504, "upstream_timeout", "reports that it waited too long"),
            Cause::Stall => (
                504,
                "upstream_stalled",
                "fell silent in the middle of its answer",
            ),
            Cause::Malformed => (502, "upstream_malformed", "sent what cannot be read"),
            Cause::Empty => (502, "empty_answer", "answered without saying anything"),
            Cause::BadGeneration => (502, "bad_generation", "wrote what its server cannot read"),
            Cause::UpstreamError => (502, "upstream_error", "failed"),
            Cause::Overloaded => (503, "overloaded", "has too much to do"),
            Cause::AccountLimit => (
                429,
                "rate_limit_exceeded",
                "takes no more requests from this gateway's account for now",
            ),
            Cause::ProviderLimit => (429, "rate_limit_exceeded", "takes no more requests for now"),
            Cause::Refused => (400, "content_filter", "filtered this request"),
            Cause::ContextLength => (
                400,
                "context_length_exceeded",
                "takes no prompt of this length: reduce the length of the messages",
            ),
            Cause::TooLarge => (413, "request_too_large", "takes no request of this size"),
            Cause::ReasoningState => (
                400,
                "reasoning_state",
                "misses what it thought in earlier turns: send its reasoning fields back as they came",
            ),
            Cause::AccountKey => (
                400,
                "upstream_auth",
                "refuses this gateway's key, not yours: tell the gateway's operator",
            ),
            Cause::AccountFunds => (
                400,
                "upstream_funds",
                "says that this gateway's account has no money left: tell the gateway's operator",
            ),
            Cause::PolicyUnroutable => (
                400,
                "no_provider_allowed",
                "has no host that this gateway's settings allow: tell the gateway's operator",
            ),
            Cause::PolicyRegion => (400, "region_unavailable", "is not offered in this region"),
            Cause::ModelGone => (
                400,
                "model_unavailable",
                "is not there any more: tell the gateway's operator",
            ),
            Cause::WrongUrl => (
                400,
                "upstream_config",
                "is not where this gateway looks for it: tell the gateway's operator",
            ),
            Cause::BadRequest => {
                return Self {
                    status: 400,
                    code: None,
                    may_retry: false,
                    text: "does not take this request",
                };
            }
        };
        Self {
            status,
            code: Some(code),
            may_retry: status == 429 || status >= 500,
            text,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_cannot_help_is_told_by_a_status_that_nobody_repeats() {
        for cause in Cause::ALL {
            let told = CauseWords::about(*cause);
            assert!(![401, 402, 403].contains(&told.status), "{cause}");
            assert_eq!(told.may_retry, !matches!(told.status, 400 | 413), "{cause}");
        }
    }
}
