//! The chunks of a streamed answer, as its caller expects them.
//!
//! A chunk goes out as it came, byte by byte, but for what clients are known to stumble over: usage that
//! they did not ask for, or that does not come last; calls of tools whose fragments do not say which call
//! they belong to; a whole answer in the place of chunks. Of such a chunk only that part is another.

mod calls;

use serde_json::value::RawValue;

pub(super) use self::calls::with_text_arguments;
use self::calls::{Calls, mend_each};
use crate::providers::{
    Delta, RawObject,
    fields::{fields, first, text},
    finish,
};

/// The most choices of an answer whose state is kept.
const MAX_CHOICES: usize = 128;

/// The chunks of one answer.
#[derive(Default)]
pub(super) struct Chunks {
    wants_usage: bool,
    /// The chunk with the usage, which comes last.
    usage: Option<String>,
    choices: Vec<Choice>,
}

#[derive(Default)]
struct Choice {
    index: u64,
    is_finished: bool,
    calls: Calls,
}

impl Chunks {
    pub(super) fn new(wants_usage: bool) -> Self {
        Self {
            wants_usage,
            ..Self::default()
        }
    }

    /// What goes out for a chunk that came.
    pub(super) fn push(&mut self, chunk: Delta) -> Option<String> {
        if chunk.is_plain {
            return Some(one_line(chunk.raw));
        }
        self.mend(chunk.raw)
    }

    fn mend(&mut self, raw: String) -> Option<String> {
        let json: &RawValue = serde_json::from_str(&raw).ok()?;
        let [choices, usage, object] = fields(json, ["choices", "usage", "object"]);
        let choices = choices.filter(|choices| first(choices).is_some());
        if usage.is_some() && self.wants_usage {
            self.usage = Some(match fields(json, ["choices"]) {
                [Some(none)] if choices.is_none() && none.get().starts_with('[') => raw.clone(),
                _ => with(&raw, "choices", "[]")?,
            });
        }
        let Some(choices) = choices else {
            let is_other = usage.is_none() && self.wants_usage;
            return is_other.then(|| one_line(raw));
        };
        let (mended, brings_nothing) = self.read(choices);
        if usage.is_some() && brings_nothing {
            return None;
        }
        let is_whole = text(object).as_deref() == Some("chat.completion");
        if mended.is_none() && usage.is_none() && !is_whole {
            return Some(one_line(raw));
        }
        let mut chunk = RawObject::parse(raw.as_bytes()).ok()?;
        if let Some(mended) = mended {
            chunk
                .set("choices", &RawValue::from_string(mended).ok()?)
                .ok()?;
        }
        if usage.is_some() {
            match self.wants_usage {
                true => chunk.set("usage", &()).ok()?,
                false => chunk.remove("usage"),
            }
        }
        if is_whole {
            chunk.set("object", &"chat.completion.chunk").ok()?;
        }
        Some(one_line(chunk.to_json()))
    }

    /// What comes before the end.
    pub(super) fn finish(&mut self) -> Option<String> {
        self.usage.take().map(one_line)
    }

    /// The choices as they go out, where that is another text; and whether they say nothing new.
    fn read(&mut self, choices: &RawValue) -> (Option<String>, bool) {
        let mut brings_nothing = true;
        let mended = mend_each(choices, |choice| {
            let (mended, is_empty) = self.read_choice(choice);
            brings_nothing &= is_empty;
            mended
        });
        (mended, brings_nothing)
    }

    fn read_choice(&mut self, choice: &RawValue) -> (Option<String>, bool) {
        let [index, delta, message, reason] =
            fields(choice, ["index", "delta", "message", "finish_reason"]);
        let index = index
            .and_then(|index| index.get().parse().ok())
            .unwrap_or(0);
        let Some(state) = self.choice(index) else {
            return (None, false);
        };
        let brings_nothing = state.is_finished && delta.is_none_or(is_empty_delta);
        state.is_finished |= finish::reason(reason).is_some();
        let Some(delta) = delta.or(message) else {
            return (None, brings_nothing);
        };
        let [calls] = fields(delta, ["tool_calls"]);
        let calls = calls.and_then(|calls| state.calls.mend(calls));
        if calls.is_none() && message.is_none() {
            return (None, brings_nothing);
        }
        let mended = || {
            let mut delta = RawObject::parse(delta.get().as_bytes()).ok()?;
            if let Some(calls) = calls {
                delta
                    .set("tool_calls", &RawValue::from_string(calls).ok()?)
                    .ok()?;
            }
            let mut whole = RawObject::parse(choice.get().as_bytes()).ok()?;
            whole.remove("message");
            let delta = RawValue::from_string(delta.to_json()).ok()?;
            whole.set("delta", &delta).ok()?;
            Some(whole.to_json())
        };
        (mended(), brings_nothing)
    }

    fn choice(&mut self, index: u64) -> Option<&mut Choice> {
        let place = self.choices.iter().position(|choice| choice.index == index);
        if place.is_none() && self.choices.len() < MAX_CHOICES {
            self.choices.push(Choice {
                index,
                ..Choice::default()
            });
        }
        let last = self.choices.len().checked_sub(1)?;
        let found = self.choices.get_mut(place.unwrap_or(last))?;
        (found.index == index).then_some(found)
    }
}

/// Whether a delta adds nothing to an answer that is finished.
fn is_empty_delta(delta: &RawValue) -> bool {
    let told = fields(
        delta,
        [
            "content",
            "refusal",
            "reasoning",
            "reasoning_content",
            "reasoning_details",
            "tool_calls",
            "audio",
        ],
    );
    let says = |value: &RawValue| !matches!(value.get(), "\"\"" | "[]" | "{}");
    !told.into_iter().flatten().any(says)
}

/// The object with this field.
fn with(raw: &str, name: &str, value: &str) -> Option<String> {
    let mut object = RawObject::parse(raw.as_bytes()).ok()?;
    let value = RawValue::from_string(value.to_owned()).ok()?;
    object.set(name, &value).ok()?;
    Some(object.to_json())
}

/// An event is one line. In JSON a line's end is white space.
fn one_line(json: String) -> String {
    if json.contains(['\n', '\r']) {
        json.replace(['\n', '\r'], " ")
    } else {
        json
    }
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;

    fn run(wants_usage: bool, chunks: &[&str]) -> Vec<String> {
        let mut state = Chunks::new(wants_usage);
        let mut out: Vec<_> = chunks
            .iter()
            .filter_map(|chunk| state.mend((*chunk).to_owned()))
            .collect();
        out.extend(state.finish());
        out
    }

    const TEXT: &str = r#"{"choices":[{"index":0, "delta":{"content":"\u00f8"},"x":1.0}],"y":1e5}"#;
    const END: &str = r#"{"choices":[{"index":0,"delta":{},"finish_reason":"stop"}]}"#;
    const USAGE: &str = r#"{"id":"a","choices":[],"usage":{"total_tokens":3.0}}"#;

    #[test]
    fn a_chunk_goes_out_as_it_came() {
        assert_eq!(run(false, &[TEXT, END]), [TEXT, END]);
        assert_eq!(
            run(false, &["{\"choices\":[\n{\"index\":0}]}"]),
            ["{\"choices\":[ {\"index\":0}]}"]
        );
        // Some servers say so from the first chunk on that there is no reason to finish.
        let open = r#"{"choices":[{"index":0,"delta":{"content":"a"},"finish_reason":""}]}"#;
        assert_eq!(run(false, &[open, END]), [open, END]);
    }

    #[test]
    fn usage_comes_last_and_only_to_those_who_ask() {
        let filter = r#"{"choices":[],"prompt_filter_results":[]}"#;
        assert_eq!(run(false, &[filter, TEXT, END, USAGE]), [TEXT, END]);
        assert_eq!(
            run(true, &[filter, TEXT, END, USAGE]),
            [filter, TEXT, END, USAGE]
        );
        let repeated = r#"{"id":"a","choices":[{"index":0,"delta":{"role":"assistant","content":""},"finish_reason":"stop"}],"usage":{"total_tokens":3.0}}"#;
        assert_eq!(run(true, &[TEXT, END, repeated]), [TEXT, END, USAGE]);
        assert_eq!(run(false, &[TEXT, END, repeated]), [TEXT, END]);
        let at_once = r#"{"choices":[{"index":0,"delta":{"content":"a"},"finish_reason":"stop"}],"usage":{"total_tokens":3.0}}"#;
        let without = r#"{"choices":[{"index":0,"delta":{"content":"a"},"finish_reason":"stop"}]}"#;
        assert_eq!(run(false, &[at_once]), [without]);
        let null = r#"{"choices":[{"index":0,"delta":{"content":"a"},"finish_reason":"stop"}],"usage":null}"#;
        let alone = r#"{"choices":[],"usage":{"total_tokens":3.0}}"#;
        assert_eq!(run(true, &[at_once]), [null, alone]);
        // Clients read its choices, which are none.
        for none in [
            r#"{"choices":null,"usage":{"total_tokens":3.0}}"#,
            r#"{"usage":{"total_tokens":3.0}}"#,
        ] {
            let out = run(true, &[TEXT, END, none]);
            let last: Value = serde_json::from_str(&out[2]).unwrap();
            assert_eq!(last, serde_json::from_str::<Value>(alone).unwrap());
        }
    }

    #[test]
    fn a_whole_answer_is_one_chunk() {
        let whole = r#"{"object":"chat.completion","choices":[{"index":0,"message":{"role":"assistant","content":"a","tool_calls":[{"id":"c","function":{"name":"f","arguments":"{}"}}]},"finish_reason":"stop"}],"usage":{"total_tokens":3}}"#;
        let out = run(false, &[whole]);
        let [chunk] = out.as_slice() else {
            panic!("{out:?}")
        };
        let chunk: Value = serde_json::from_str(chunk).unwrap();
        assert_eq!(chunk["object"], "chat.completion.chunk");
        assert_eq!(chunk["choices"][0]["delta"]["content"], "a");
        assert_eq!(chunk["choices"][0]["delta"]["tool_calls"][0]["index"], 0);
        assert!(chunk.get("usage").is_none() && chunk["choices"][0].get("message").is_none());
    }
}
