//! What went wrong, finer than the kind of a fault: the word that callers of the gateway see.
//!
//! A kind says whose fault it was, and is stored. Two faults of one kind can still differ in what a
//! caller is told and in who is asked next: a model that is overloaded and one that fails, a request
//! that was filtered and one that is malformed.

use std::fmt;

use serde_json::Value;

use super::{FaultKind, said::ErrorContents};

macro_rules! causes {
    ($($(#[$doc:meta])* $variant:ident $name:literal;)*) => {
        /// What went wrong in an attempt.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum Cause { $($(#[$doc])* $variant,)* }

        impl Cause {
            /// Every cause.
            pub const ALL: &[Self] = &[$(Self::$variant,)*];

            /// The one of this name.
            pub fn named(name: &str) -> Option<Self> {
                Self::ALL.iter().copied().find(|cause| cause.name() == name)
            }

            /// In kebab case, as headers and errors have it.
            pub const fn name(self) -> &'static str {
                match self { $(Self::$variant => $name,)* }
            }
        }
    };
}

causes! {
    /// No connection.
    Unreachable "unreachable";
    /// The connection broke before the answer was whole.
    Cut "cut";
    /// The stream ended before the model said that it is done.
    CutStream "cut-stream";
    /// No first token, or no whole answer, in time.
    TimeoutFirst "timeout-first";
    /// Silence in the middle of a stream.
    Stall "stall";
    /// The provider says that it waited too long.
    TimeoutUpstream "timeout-upstream";
    /// No JSON, or not of the form that was expected.
    Malformed "malformed";
    /// An answer that says nothing.
    Empty "empty";
    /// Filtered, or refused by moderation.
    Refused "refused";
    /// Too long for the model.
    ContextLength "context-length";
    /// Too large for the server, whatever the model takes.
    TooLarge "too-large";
    /// The model or its server does not take this request.
    BadRequest "bad-request";
    /// What the model thought earlier is missing from the request, or another model's.
    ReasoningState "reasoning-state";
    /// The model wrote what its server could not read.
    BadGeneration "bad-generation";
    /// Our key is refused, or at its limit.
    AccountKey "account-key";
    /// Our account has no money left.
    AccountFunds "account-funds";
    /// Our account asks too often.
    AccountLimit "account-limit";
    /// A provider behind the one that we call is asked too often.
    ProviderLimit "provider-limit";
    /// The server has too much to do.
    Overloaded "overloaded";
    /// The server failed.
    UpstreamError "upstream-error";
    /// Settings of our account exclude every provider of the model.
    PolicyUnroutable "policy-unroutable";
    /// Not offered where this server is.
    PolicyRegion "policy-region";
    /// The model does not exist there.
    ModelGone "model-gone";
    /// There is no such server, or another one than was expected.
    WrongUrl "wrong-url";
}

impl fmt::Display for Cause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl Cause {
    /// What a kind means where nothing more is known.
    pub const fn of_kind(kind: FaultKind) -> Self {
        match kind {
            FaultKind::BadRequest | FaultKind::Refused | FaultKind::Rejected => Self::BadRequest,
            FaultKind::ContextLength => Self::ContextLength,
            FaultKind::Authentication | FaultKind::AccountLimit => Self::AccountKey,
            FaultKind::Payment => Self::AccountFunds,
            FaultKind::NotFound => Self::ModelGone,
            FaultKind::RateLimited => Self::AccountLimit,
            FaultKind::ProviderRateLimited => Self::ProviderLimit,
            FaultKind::Timeout => Self::TimeoutFirst,
            FaultKind::Connection => Self::Unreachable,
            FaultKind::Upstream => Self::UpstreamError,
            FaultKind::InvalidReply => Self::Malformed,
            FaultKind::EmptyReply => Self::Empty,
        }
    }

    /// What an error of this kind means, with its status and its words.
    pub(super) fn of_error(
        kind: FaultKind,
        status: Option<u16>,
        body: Option<&Value>,
        said: &ErrorContents,
    ) -> Self {
        let named = |names: &[&str]| {
            let mut own = said.names.iter();
            own.any(|word| names.contains(&word.text.as_str()))
        };
        let says = |parts: &[&str]| {
            let mut texts = said.texts.iter();
            texts.any(|word| parts.iter().any(|part| word.text.contains(part)))
        };
        match kind {
            FaultKind::ContextLength => {
                let is_size = named(&["request_too_large", "payload_too_large"]);
                let is_bare = status == Some(413) && !says(CONTEXT);
                if is_size || is_bare {
                    return Self::TooLarge;
                }
            }
            FaultKind::ProviderRateLimited if named(OVERLOADED) || says(QUEUES) => {
                return Self::Overloaded;
            }
            FaultKind::ProviderRateLimited if is_accounts_rate(said) => return Self::AccountLimit,
            // Cloudflare's word for a server that it cannot reach.
            FaultKind::Timeout if status == Some(522) => return Self::UpstreamError,
            FaultKind::Timeout => return Self::TimeoutUpstream,
            FaultKind::BadRequest
            | FaultKind::Refused
            | FaultKind::NotFound
            | FaultKind::Upstream
            | FaultKind::InvalidReply => {
                if says(UNROUTABLE) {
                    return Self::PolicyUnroutable;
                }
                return match (kind, status) {
                    (FaultKind::InvalidReply, Some(300..=399)) | (_, Some(405)) => Self::WrongUrl,
                    (FaultKind::NotFound, _) if is_no_model(body, said) => Self::WrongUrl,
                    (FaultKind::NotFound, _) => Self::ModelGone,
                    _ if named(OVERLOADED) || says(OVERLOAD) => Self::Overloaded,
                    (_, Some(503 | 529 | 498)) => Self::Overloaded,
                    (FaultKind::Upstream | FaultKind::InvalidReply, _) => Self::of_kind(kind),
                    (_, Some(410)) => Self::ModelGone,
                    (_, Some(451)) => Self::PolicyRegion,
                    _ if says(REGION) => Self::PolicyRegion,
                    _ if named(FILTERED) || says(FILTER) || names_reasons(body) => Self::Refused,
                    _ if says(STATE) => Self::ReasoningState,
                    _ if named(UNREADABLE) || says(&["failed generation"]) => Self::BadGeneration,
                    (_, Some(409 | 412 | 424 | 425)) => Self::UpstreamError,
                    _ => Self::BadRequest,
                };
            }
            _ => {}
        }
        Self::of_kind(kind)
    }
}

/// What a 413 about a context speaks of.
const CONTEXT: &[&str] = &["token", "context", "prompt", "messages"];
const OVERLOADED: &[&str] = &[
    "overloaded",
    "overloaded_error",
    "provider_overloaded",
    "server_is_overloaded",
    "engine_overloaded",
    "slow_down",
    "capacity_exceeded",
    "unavailable_error",
];
const OVERLOAD: &[&str] = &[
    "overloaded",
    "over capacity",
    "at capacity",
    "capacity exceeded",
    "no available server",
    "loading model",
    "model is loading",
    "is currently loading",
];
const QUEUES: &[&str] = &[
    "queue is full",
    "queue full",
    "capacity exceeded",
    "overloaded",
    "too many concurrent",
];
const UNROUTABLE: &[&str] = &[
    "data policy",
    "no allowed providers",
    "guardrail",
    "no provider meets",
    "provider that meets",
];
const REGION: &[&str] = &[
    "country",
    "territory",
    "your region",
    "this region",
    "your location",
    "location is not supported",
];
const FILTERED: &[&str] = &[
    "content_filter",
    "content_policy_violation",
    "responsibleaipolicyviolation",
    "moderation_blocked",
    "data_inspection_failed",
];
const FILTER: &[&str] = &[
    "was flagged",
    "been flagged",
    "content management policy",
    "content policy",
    "usage policies",
    "moderation",
    "safety system",
];
const STATE: &[&str] = &[
    "must be passed back",
    "thought signature",
    "invalid signature in thinking",
];
const UNREADABLE: &[&str] = &["json_validate_failed", "tool_use_failed"];

/// Whether a rate is our account's: it is counted by account, or nobody behind the provider is named.
fn is_accounts_rate(said: &ErrorContents) -> bool {
    const NAMES: &[&str] = &[
        "rate_limit_exceeded",
        "resource_exhausted",
        "tokens",
        "requests",
    ];
    const WORDS: &[&str] = &[
        "per min",
        "per day",
        "per hour",
        "(tpm)",
        "(rpm)",
        "(rpd)",
        "(tpd)",
        "organization",
        "your account",
        "your current quota",
        "requests rate limit exceeded",
        "token rate limit",
        "call rate limit",
    ];
    let own = said.texts.iter().filter(|word| !word.is_relayed);
    let mut names = said.names.iter().filter(|word| !word.is_relayed);
    names.any(|word| NAMES.contains(&word.text.as_str()))
        || own
            .into_iter()
            .any(|word| WORDS.iter().any(|part| word.text.contains(part)))
}

/// Whether a 404 comes from something that is no such server: a page, nothing, or a bare "not found".
fn is_no_model(body: Option<&Value>, said: &ErrorContents) -> bool {
    body.is_none()
        || said
            .texts
            .iter()
            .all(|word| matches!(word.text.trim(), "" | "not found"))
}

/// Whether moderation says what it found, as OpenRouter's does.
fn names_reasons(body: Option<&Value>) -> bool {
    let error = body.map(|body| body.get("error").unwrap_or(body));
    let metadata = error.and_then(|error| error.get("metadata"));
    metadata.is_some_and(|it| it.get("reasons").is_some() || it.get("flagged_input").is_some())
}
