//! The ways in which a model of the sandbox can fail, and their names in plans and statistics.

use std::{borrow::Cow, fmt, str::FromStr};

use serde::{Deserialize, Serialize};

/// How a request fails.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum FaultMode {
    /// `404`: this status, from 400 to 599, with an error object that says no more. It names a provider
    /// behind the sandbox, so that a 429 is a model's and not the account's.
    Status(u16),
    /// `404-bare`: this status without a body.
    Bare(u16),
    /// `too-long`: a 400 that says that the prompt is too long for this model.
    TooLong,
    /// `key-limit`: a 403 that says that the account's key is at its limit.
    KeyLimit,
    /// Takes the request and never answers.
    Hang,
    /// `drop`: the connection ends before a byte of the answer.
    Drop,
    /// `stale`: as `drop`, but only on a connection that has brought an answer before.
    Stale,
    /// The connection breaks in the middle of the answer.
    Cut,
    /// Status 200, and an error instead of an answer.
    ErrorIn200,
    /// Status 200, and no choice in it.
    NoChoices,
    /// Status 200, and JSON that ends too early.
    MalformedJson,
    /// Half an answer, then an error in its place.
    MidStream,
    /// Every word takes `slow_word_ms`.
    SlowStream,
    /// An answer whose text is `""`.
    Empty,
    /// An answer whose text is `null`.
    EmptyNull,
    /// An answer of white space and characters without width.
    EmptyBlank,
    /// An answer that is an empty list of parts.
    EmptyParts,
    /// Reasoning, and no answer after it.
    EmptyReasoning,
    /// No text, with the finish reason `content_filter`.
    EmptyFiltered,
    /// No text, with the finish reason `length`.
    EmptyLength,
    /// A call of a tool, whether one was offered or not, and no text.
    ToolCall,
    /// The model's own words that it will not answer, in `refusal`.
    Refusal,
}

impl FaultMode {
    /// Those that are no status.
    pub const NAMED: [Self; 20] = [
        Self::TooLong,
        Self::KeyLimit,
        Self::Hang,
        Self::Drop,
        Self::Stale,
        Self::Cut,
        Self::ErrorIn200,
        Self::NoChoices,
        Self::MalformedJson,
        Self::MidStream,
        Self::SlowStream,
        Self::Empty,
        Self::EmptyNull,
        Self::EmptyBlank,
        Self::EmptyParts,
        Self::EmptyReasoning,
        Self::EmptyFiltered,
        Self::EmptyLength,
        Self::ToolCall,
        Self::Refusal,
    ];

    /// As plans and statistics write it.
    pub fn name(self) -> Cow<'static, str> {
        Cow::Borrowed(match self {
            Self::Status(status) => return status.to_string().into(),
            Self::Bare(status) => return format!("{status}-bare").into(),
            Self::TooLong => "too-long",
            Self::KeyLimit => "key-limit",
            Self::Hang => "hang",
            Self::Drop => "drop",
            Self::Stale => "stale",
            Self::Cut => "cut",
            Self::ErrorIn200 => "error-in-200",
            Self::NoChoices => "no-choices",
            Self::MalformedJson => "malformed-json",
            Self::MidStream => "mid-stream",
            Self::SlowStream => "slow-stream",
            Self::Empty => "empty",
            Self::EmptyNull => "empty-null",
            Self::EmptyBlank => "empty-blank",
            Self::EmptyParts => "empty-parts",
            Self::EmptyReasoning => "empty-reasoning",
            Self::EmptyFiltered => "empty-filtered",
            Self::EmptyLength => "empty-length",
            Self::ToolCall => "tool-call",
            Self::Refusal => "refusal",
        })
    }
}

/// A name that no fault has.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "unknown fault `{name}`; expected a status from 400 to 599 (`404`, or `404-bare` without a body) or one of {known}"
)]
pub struct UnknownFault {
    name: String,
    known: String,
}

impl FromStr for FaultMode {
    type Err = UnknownFault;

    fn from_str(name: &str) -> Result<Self, UnknownFault> {
        if let Some(named) = Self::NAMED.into_iter().find(|fault| fault.name() == name) {
            return Ok(named);
        }
        let (digits, fault): (_, fn(u16) -> Self) = match name.strip_suffix("-bare") {
            Some(digits) => (digits, Self::Bare),
            None => (name, Self::Status),
        };
        match digits.parse() {
            Ok(status @ 400..=599) => Ok(fault(status)),
            _ => Err(UnknownFault {
                name: name.chars().take(40).collect(),
                known: Self::NAMED.map(|fault| fault.name()).join(", "),
            }),
        }
    }
}

impl TryFrom<String> for FaultMode {
    type Error = UnknownFault;

    fn try_from(name: String) -> Result<Self, UnknownFault> {
        name.parse()
    }
}

impl From<FaultMode> for String {
    fn from(fault: FaultMode) -> Self {
        fault.name().into_owned()
    }
}

impl fmt::Display for FaultMode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.name())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_fault_has_a_name_of_its_own() {
        let statuses = [FaultMode::Status(503), FaultMode::Bare(403)];
        for fault in FaultMode::NAMED.into_iter().chain(statuses) {
            assert_eq!(fault.name().parse(), Ok(fault));
        }
        assert_eq!("503-bare".parse(), Ok(FaultMode::Bare(503)));
        for name in ["200", "600", "bare", "-bare", "503-", "Hang", ""] {
            assert!(name.parse::<FaultMode>().is_err(), "{name}");
        }
    }
}
