//! Why a model stopped writing, where it is not that it had said everything.

use serde_json::{Value, value::RawValue};

use super::fields::text;

/// What a choice says of its end; nothing while it goes on, where some servers write `""` or `"null"`.
pub(crate) fn reason(told: Option<&RawValue>) -> Option<String> {
    text(told).filter(|reason| is_one(reason))
}

/// The same of a choice that was read.
pub(crate) fn reason_of(choice: &Value) -> Option<&str> {
    choice["finish_reason"]
        .as_str()
        .filter(|reason| is_one(reason))
}

/// Whether a word is one that some provider gives as a reason.
pub(crate) fn is_reason(word: &str) -> bool {
    Finish::of(word) != Some(Finish::Other)
}

fn is_one(reason: &str) -> bool {
    !matches!(reason, "" | "null")
}

/// What a provider says at the end of an answer, in as few words as there are meanings.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Finish {
    /// It had written as much as it may.
    Length,
    /// It calls a tool.
    ToolCalls,
    /// Its words were filtered, or it refuses.
    ContentFilter,
    /// Something else.
    Other,
}

impl Finish {
    const ALL: [Self; 4] = [
        Self::Length,
        Self::ToolCalls,
        Self::ContentFilter,
        Self::Other,
    ];

    /// What a provider's word means; nothing where the model had said everything, as most have.
    pub fn of(reason: &str) -> Option<Self> {
        match reason {
            "stop" | "end_turn" | "stop_sequence" => None,
            "length" | "max_tokens" | "model_context_window_exceeded" => Some(Self::Length),
            "tool_calls" | "function_call" | "tool_use" => Some(Self::ToolCalls),
            "content_filter" | "refusal" => Some(Self::ContentFilter),
            _ => Some(Self::Other),
        }
    }

    /// `length`, `tool-calls`, `content-filter` or `other`.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Length => "length",
            Self::ToolCalls => "tool-calls",
            Self::ContentFilter => "content-filter",
            Self::Other => "other",
        }
    }

    /// By which the database knows it, since an event is to be small. A number never gets another meaning.
    pub const fn code(self) -> i16 {
        match self {
            Self::Length => 1,
            Self::ToolCalls => 2,
            Self::ContentFilter => 3,
            Self::Other => 4,
        }
    }

    /// The one of this number; one that a later release stored is another one.
    pub fn of_code(code: i16) -> Self {
        let known = Self::ALL.into_iter().find(|it| it.code() == code);
        known.unwrap_or(Self::Other)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_of_providers_have_one_meaning_and_numbers_stay_what_they_are() {
        for (word, finish, code) in [
            ("length", Finish::Length, 1),
            ("max_tokens", Finish::Length, 1),
            ("tool_calls", Finish::ToolCalls, 2),
            ("content_filter", Finish::ContentFilter, 3),
            ("eos", Finish::Other, 4),
        ] {
            assert_eq!(Finish::of(word), Some(finish), "{word}");
            assert_eq!((finish.code(), Finish::of_code(code)), (code, finish));
        }
        assert_eq!(Finish::of("stop"), None);
        assert_eq!(Finish::of_code(99), Finish::Other);
    }
}
