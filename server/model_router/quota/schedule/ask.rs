//! What a call asks of an account, and the answer that it gets.

use std::time::Duration;

use tokio::time::Instant;

pub use crate::_core::priority::Priority;

/// What an account may do; at least one is known.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct AccountLimits {
    /// Requests in any 60 seconds.
    pub minute: Option<u32>,
    /// Requests from midnight to midnight, UTC.
    pub day: Option<u32>,
    /// Tokens, read and written, in any 60 seconds.
    pub tokens: Option<u32>,
}

/// Both clocks.
#[derive(Clone, Copy, Debug)]
pub(in crate::model_router::quota) struct Clocks {
    /// For spans; never goes back.
    pub(in crate::model_router::quota) at: Instant,
    /// For days, in milliseconds since 1970; may go back.
    pub(in crate::model_router::quota) utc_ms: i64,
}

/// A call that wants a slot.
#[derive(Clone, Copy, Debug)]
pub(in crate::model_router) struct SlotRequest {
    /// Whether control's share is closed to it: what a rollout asks besides its users' own requests.
    pub(in crate::model_router) is_spare: bool,
    /// How it belongs to a conversation with tools.
    pub(in crate::model_router) turn: ConversationTurn,
    /// Tokens that it may take, about; 0 where nobody counts them.
    pub(in crate::model_router) tokens: u32,
    pub(in crate::model_router) priority: Priority,
    /// Whose it is; calls without a user share one.
    pub(in crate::model_router) user: Option<u64>,
    /// When it must have started.
    pub(in crate::model_router) deadline: Instant,
    /// Whether it waits for an account that rests. Else another model is asked at once.
    pub(in crate::model_router) waits_out_rest: bool,
}

/// Requests that a conversation may say it takes, at most.
pub const MAX_TURNS: u32 = 16;

/// How a call belongs to a conversation with tools, which is several requests.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(in crate::model_router) enum ConversationTurn {
    /// Not at all.
    #[default]
    Alone,
    /// It begins one of so many requests, itself among them: it starts when there is room for all.
    Begins(u32),
    /// It goes on with one: it goes before others, into the room that was kept.
    GoesOn,
}

/// What a call was given a slot for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::model_router::quota) struct Claim {
    /// Tokens that it was thought to take.
    pub(in crate::model_router::quota) tokens: u32,
    user: Option<u64>,
    /// Whether room was kept for requests after it.
    begins: bool,
}

impl Claim {
    /// That of a call which asks so.
    pub(in crate::model_router::quota) fn of(ask: &SlotRequest) -> Self {
        Self {
            tokens: ask.tokens,
            user: ask.user,
            begins: matches!(ask.turn, ConversationTurn::Begins(_)),
        }
    }

    /// Whose conversation it begins, for which room was kept.
    pub(super) fn conversation(self) -> Option<Option<u64>> {
        self.begins.then_some(self.user)
    }
}

/// The answer that a call gets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::model_router::quota) enum SlotAnswer {
    /// It has a slot.
    Start,
    /// It waits under this number.
    Wait(u64),
    /// It could not start in time.
    Refused(SlotRefusal),
}

/// Why a call gets no slot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SlotRefusal {
    /// When to come back.
    pub after: Duration,
    /// What is used up.
    pub reason: SlotRefusalReason,
}

impl SlotRefusal {
    /// There is no place to wait.
    pub(in crate::model_router) const QUEUE: Self = Self {
        after: Duration::from_secs(1),
        reason: SlotRefusalReason::Queue,
    };

    /// Nobody says what is left.
    pub(in crate::model_router) const DATABASE: Self = Self {
        after: Duration::from_secs(5),
        reason: SlotRefusalReason::Database,
    };
}

/// What is used up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SlotRefusalReason {
    /// The requests of a minute.
    Minute,
    /// The requests of the day.
    Day,
    /// The tokens of a minute.
    Tokens,
    /// Nothing that is counted here: the provider refused the account, and said until when.
    Rest,
    /// The places to wait in, of this user or of all.
    Queue,
    /// The database, which gives the slots of all processes, does not answer.
    Database,
}

impl SlotRefusalReason {
    /// As metrics name it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Minute => "minute",
            Self::Day => "day",
            Self::Tokens => "tokens",
            Self::Rest => "rest",
            Self::Queue => "queue",
            Self::Database => "database",
        }
    }
}

impl SlotRequest {
    /// The queue of background calls.
    pub(super) const BACKGROUND: usize = 2;

    /// Its place among the queues: conversations that go on, then by priority.
    pub(super) fn queue(&self) -> usize {
        match (self.priority, self.turn) {
            (Priority::Interactive, ConversationTurn::GoesOn) => 0,
            (Priority::Interactive, _) => 1,
            (Priority::Background, _) => Self::BACKGROUND,
            (Priority::Batch, _) => 3,
        }
    }
}
