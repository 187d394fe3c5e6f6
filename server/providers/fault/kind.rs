//! The kinds of faults, and what follows from each.

use std::fmt;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

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

/// What follows from a kind.
struct Consequences {
    /// As it is serialised.
    name: &'static str,
    owner: Owner,
    elsewhere: Elsewhere,
    /// Whether it may be over a moment later.
    may_pass: bool,
    /// Whether an outage looks like it.
    is_like_an_outage: bool,
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

    /// The one table of kinds.
    const fn consequences(self) -> Consequences {
        use Elsewhere::{Anywhere, LargerContext, OneOther, OtherProvider};
        use Owner::{Account, Client, Model};
        const YES: bool = true;
        const NO: bool = false;
        let (name, owner, elsewhere, may_pass, is_like_an_outage) = match self {
            Self::BadRequest => ("bad-request", Client, OneOther, NO, NO),
            Self::ContextLength => ("context-length", Client, LargerContext, NO, NO),
            Self::Authentication => ("authentication", Account, OtherProvider, NO, NO),
            Self::Payment => ("payment", Account, OtherProvider, NO, NO),
            Self::AccountLimit => ("account-limit", Account, OtherProvider, NO, NO),
            Self::Refused => ("refused", Client, OneOther, NO, NO),
            Self::Rejected => ("rejected", Model, Anywhere, NO, NO),
            Self::NotFound => ("not-found", Model, Anywhere, NO, NO),
            Self::RateLimited => ("rate-limited", Account, OtherProvider, YES, YES),
            Self::ProviderRateLimited => ("provider-rate-limited", Model, Anywhere, YES, YES),
            Self::Timeout => ("timeout", Model, Anywhere, YES, YES),
            Self::Connection => ("connection", Model, Anywhere, NO, YES),
            Self::Upstream => ("upstream", Model, Anywhere, YES, YES),
            Self::InvalidReply => ("invalid-reply", Model, Anywhere, NO, YES),
            Self::EmptyReply => ("empty-reply", Model, Anywhere, NO, NO),
        };
        Consequences {
            name,
            owner,
            elsewhere,
            may_pass,
            is_like_an_outage,
        }
    }

    /// In kebab case, as it is serialised.
    pub const fn name(self) -> &'static str {
        self.consequences().name
    }

    /// Which other models may answer the same request.
    pub const fn may_succeed_elsewhere(self) -> Elsewhere {
        self.consequences().elsewhere
    }

    /// Whether it counts against the model.
    pub const fn is_models_fault(self) -> bool {
        matches!(self.consequences().owner, Owner::Model)
    }

    /// Whether our account with the provider was at fault, so that all its models are affected.
    pub const fn is_accounts(self) -> bool {
        matches!(self.consequences().owner, Owner::Account)
    }

    /// Whether it may be over a moment later, with nothing changed.
    pub const fn may_pass(self) -> bool {
        self.consequences().may_pass
    }

    /// Whether an outage looks like it, which may be one of other models as well. The rest is this
    /// model's own: no such model, no text, a refusal that another model did not share.
    pub const fn is_like_an_outage(self) -> bool {
        self.consequences().is_like_an_outage
    }
}

impl fmt::Display for FaultKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}
