//! The ways in which a model of the sandbox can fail, and their names in plans and statistics.

use std::{borrow::Cow, fmt, str::FromStr};

use serde::{Deserialize, Serialize};

macro_rules! faults {
    ($($variant:ident $name:literal $what:literal;)*) => {
        /// How a request fails, or is answered oddly.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
        #[serde(try_from = "String", into = "String")]
        pub enum FaultMode {
            /// `404`: this status, from 400 to 599, with an error object that says no more. It names a
            /// provider behind the sandbox, so that a 429 is a model's and not the account's.
            Status(u16),
            /// `404-bare`: this status without a body.
            Bare(u16),
            $(#[doc = $what] $variant,)*
        }

        impl FaultMode {
            /// Those that are no status.
            pub const NAMED: &[Self] = &[$(Self::$variant,)*];

            /// As plans and statistics write it.
            pub fn name(self) -> Cow<'static, str> {
                Cow::Borrowed(match self {
                    Self::Status(status) => return status.to_string().into(),
                    Self::Bare(status) => return format!("{status}-bare").into(),
                    $(Self::$variant => $name,)*
                })
            }

            /// What the model does, as part of a sentence.
            pub const fn what(self) -> &'static str {
                match self {
                    Self::Status(_) => "this status, and an error that says no more",
                    Self::Bare(_) => "this status, and no body",
                    $(Self::$variant => $what,)*
                }
            }
        }
    };
}

faults! {
    TooLong "too-long" "400: the prompt is too long for this model";
    Filtered "filtered" "400: a content filter refuses the prompt";
    ReasoningState "reasoning-state" "400: what the model thought earlier must be passed back";
    BadGeneration "bad-generation" "400: the model wrote what its server could not read";
    NoFunds "no-funds" "429: our account has no money left";
    AccountLimit "account-limit" "429: our account asks too often";
    KeyLimit "key-limit" "403: our account's key is at its limit";
    Region "region" "403: the model is not offered in this country";
    NoProvider "no-provider" "404: the account's settings exclude every provider of the model";
    Redirect "redirect" "307: ask elsewhere";
    Page "page" "a page in place of an answer";
    Hang "hang" "takes the request, and says nothing";
    Drop "drop" "the connection ends before a byte of the answer";
    Stale "stale" "as `drop`, but only on a connection that has brought an answer before";
    StallFirst "stall-first" "silence before the first token, after the head of the answer";
    Stall "stall" "silence in the middle of the answer";
    Comments "comments" "comments and no token, for as long as somebody listens; blanks where no stream was asked for";
    SlowStream "slow-stream" "every word takes `slow_word_ms`";
    CutFirst "cut-first" "the connection breaks before the first token";
    Cut "cut" "the connection breaks in the middle of the answer";
    CutChunk "cut-chunk" "the connection breaks within an event";
    EndFirst "end-first" "the answer ends before the first token";
    EndEarly "end-early" "the answer ends in its middle, without a finish reason";
    NoDone "no-done" "a whole stream without `[DONE]`";
    ErrorIn200 "error-in-200" "status 200, and an error instead of an answer";
    MidStream "mid-stream" "half an answer, then an error";
    MalformedJson "malformed-json" "JSON that ends too early, at the beginning of a stream";
    MalformedChunk "malformed-chunk" "an event that is no JSON, in the middle of a stream";
    NoChoices "no-choices" "an answer without a choice";
    EmptyStream "empty-stream" "`[DONE]` alone; nothing where no stream was asked for";
    Empty "empty" "an answer whose text is `\"\"`";
    EmptyNull "empty-null" "an answer whose text is `null`";
    EmptyBlank "empty-blank" "an answer of white space and characters without width";
    EmptyParts "empty-parts" "an answer that is an empty list of parts";
    EmptyReasoning "empty-reasoning" "reasoning, and no answer after it";
    EmptyFiltered "empty-filtered" "no text, with the finish reason `content_filter`";
    EmptyLength "empty-length" "no text, with the finish reason `length`";
    ToolCall "tool-call" "a call of the tool `search`, whether it was offered or not";
    Refusal "refusal" "the model's own words that it will not answer, in `refusal`";
    Length "length" "half an answer, with the finish reason `length`";
    ContentFilter "content-filter" "half an answer, with the finish reason `content_filter`";
    NoUsage "no-usage" "a whole answer that does not tell its usage";
    WrongLanguage "wrong-language" "a whole answer in German, whatever was asked";
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
        if let Some(named) = Self::NAMED.iter().find(|fault| fault.name() == name) {
            return Ok(*named);
        }
        let (digits, fault): (_, fn(u16) -> Self) = match name.strip_suffix("-bare") {
            Some(digits) => (digits, Self::Bare),
            None => (name, Self::Status),
        };
        // A number as it is written in a status line, and not `+503` or `0503`.
        let is_plain = digits.len() == 3 && digits.bytes().all(|digit| digit.is_ascii_digit());
        match digits.parse() {
            Ok(status @ 400..=599) if is_plain => Ok(fault(status)),
            _ => {
                let known = Self::NAMED.iter().map(|fault| fault.name());
                Err(UnknownFault {
                    name: name.chars().take(40).collect(),
                    known: known.collect::<Vec<_>>().join(", "),
                })
            }
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
        for fault in FaultMode::NAMED.iter().copied().chain(statuses) {
            assert_eq!(fault.name().parse(), Ok(fault));
        }
        assert_eq!("503-bare".parse(), Ok(FaultMode::Bare(503)));
        for name in [
            "200", "600", "bare", "-bare", "503-", "+503", "0503", "Hang", "",
        ] {
            assert!(name.parse::<FaultMode>().is_err(), "{name}");
        }
    }
}
