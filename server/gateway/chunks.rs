//! The chunks of a streamed answer, as its caller expects them.
//!
//! A chunk goes out as it came, byte by byte, but for what clients are known to stumble over: usage that
//! they did not ask for, or that does not come last; calls of tools whose fragments do not say which call
//! they belong to; a whole answer in the place of chunks. Of such a chunk only that part is another.

use std::borrow::Cow;

use serde::de::IgnoredAny;
use serde_json::value::RawValue;

use crate::providers::{
    Delta, RawObject,
    fields::{each, fields, first, text},
    finish,
};

/// Calls of one choice that are told apart.
const MAX_CALLS: usize = 1_000;
/// Choices that are told apart.
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
    calls: Vec<Call>,
}

/// A call of a tool, by what its first fragment said.
struct Call {
    id: Option<String>,
    index: Option<u64>,
    /// Its arguments, where it had all of them.
    whole: Option<String>,
}

/// A fragment of a call, and what has to be other about it.
struct Fragment {
    index: usize,
    /// Whether the first fragment of the call has come before.
    is_later: bool,
    /// Whether it says all of the call once more.
    is_repetition: bool,
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
        let (mut all, mut is_mended, mut brings_nothing) = (Vec::new(), false, true);
        each(choices, |choice| {
            let (mended, is_empty) = self.read_choice(choice);
            is_mended |= mended.is_some();
            brings_nothing &= is_empty;
            all.push(mended.map_or(Cow::Borrowed(choice.get()), Cow::Owned));
        });
        let mended = is_mended.then(|| format!("[{}]", all.join(",")));
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
        let calls = calls.and_then(|calls| state.mend(calls));
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

impl Choice {
    /// The arguments of a call that had all of them at once.
    fn whole(&self, place: usize) -> Option<&str> {
        self.calls.get(place)?.whole.as_deref()
    }

    /// The fragments of calls, where they have to go out as another text.
    fn mend(&mut self, calls: &RawValue) -> Option<String> {
        let (mut all, mut is_mended) = (Vec::new(), false);
        each(calls, |call| {
            let mended = self.mend_one(call);
            is_mended |= mended.is_some();
            all.push(mended.map_or(Cow::Borrowed(call.get()), Cow::Owned));
        });
        is_mended.then(|| format!("[{}]", all.join(",")))
    }

    fn mend_one(&mut self, call: &RawValue) -> Option<String> {
        let [index, id, function] = fields(call, ["index", "id", "function"]);
        let index: Option<u64> = index.and_then(|index| index.get().parse().ok());
        let id = text(id).filter(|id| !id.is_empty());
        let name = function.and_then(|function| text(fields(function, ["name"])[0]));
        let name = name.filter(|name| !name.is_empty());
        let is_repeated = id.is_some() || name.is_some();
        let whole = function.filter(|_| name.is_some()).and_then(all_arguments);
        let arguments = function.and_then(|it| text(fields(it, ["arguments"])[0]));
        let goes_on = !is_repeated && arguments.is_some_and(|it| !it.is_empty());
        let fragment = self.place(Call { id, index, whole }, name.is_some(), goes_on)?;
        let is_placed = index == Some(fragment.index as u64);
        if is_placed && !(fragment.is_later && is_repeated) {
            return None;
        }
        let mut whole = RawObject::parse(call.get().as_bytes()).ok()?;
        whole.set("index", &fragment.index).ok()?;
        if fragment.is_later && is_repeated {
            // Clients join what comes for one call, names and ids too.
            whole.remove("id");
            if let Some(function) = function {
                let mut function = RawObject::parse(function.get().as_bytes()).ok()?;
                function.remove("name");
                if fragment.is_repetition {
                    function.set("arguments", &"").ok()?;
                }
                let function = RawValue::from_string(function.to_json()).ok()?;
                whole.set("function", &function).ok()?;
            }
        }
        Some(whole.to_json())
    }

    /// The call that a fragment belongs to. A new one has an id that did not come before, or an index;
    /// servers that number nothing, or everything with 0, still give each call an id and a name, or, as Gemini's
    /// does, a name and all arguments at once.
    ///
    /// What `goes_on` has arguments alone, and no call begins with these: under a number that nobody knows they are the
    /// last call's.
    fn place(&mut self, call: Call, is_named: bool, goes_on: bool) -> Option<Fragment> {
        let Call { id, index, whole } = call;
        // Some servers give all calls one id, and numbers that tell them apart.
        let is_other = |call: &Call| index.is_some() && call.index.is_some() && call.index != index;
        let same_id = |call: &Call| id.is_some() && call.id == id && !is_other(call);
        let same_index = |call: &Call| index.is_some() && call.index == index;
        let known = self.calls.iter().rposition(same_id).or_else(|| {
            let starts = is_named && id.is_some();
            let by_index = self.calls.iter().rposition(same_index);
            match by_index {
                _ if starts => None,
                Some(place) if whole.is_some() && id.is_none() && self.whole(place).is_some() => {
                    None
                }
                Some(place) => Some(place),
                None if goes_on || (index.is_none() && !is_named) => {
                    self.calls.len().checked_sub(1)
                }
                None => None,
            }
        });
        if let Some(index) = known {
            let before = whole.as_ref().and_then(|_| self.whole(index));
            let is_repetition = before.is_some() && before == whole.as_deref();
            // Others give one id to all calls, each of which comes at once.
            if before.is_none() || is_repetition {
                return Some(Fragment {
                    index,
                    is_later: true,
                    is_repetition,
                });
            }
        }
        if self.calls.len() >= MAX_CALLS {
            return None;
        }
        self.calls.push(Call { id, index, whole });
        Some(Fragment {
            index: self.calls.len() - 1,
            is_later: false,
            is_repetition: false,
        })
    }
}

/// The arguments of a function, where they are the whole of an object.
fn all_arguments(function: &RawValue) -> Option<String> {
    text(fields(function, ["arguments"])[0]).filter(|it| {
        it.trim_start().starts_with('{') && serde_json::from_str::<IgnoredAny>(it).is_ok()
    })
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
    use serde_json::{Value, json};

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

    fn calls(fragments: &[Value]) -> Vec<Value> {
        let chunk = |fragment: &Value| {
            let calls = if fragment.is_array() {
                fragment.clone()
            } else {
                json!([fragment])
            };
            json!({"choices": [{"index": 0, "delta": {"tool_calls": calls}}]}).to_string()
        };
        let chunks: Vec<_> = fragments.iter().map(chunk).collect();
        let chunks: Vec<_> = chunks.iter().map(String::as_str).collect();
        let out = run(false, &chunks);
        let calls = out
            .iter()
            .map(|it| serde_json::from_str::<Value>(it).unwrap());
        calls
            .flat_map(|it| {
                it["choices"][0]["delta"]["tool_calls"]
                    .as_array()
                    .unwrap()
                    .clone()
            })
            .collect()
    }

    #[test]
    fn every_fragment_of_a_call_says_which_call_it_is() {
        let start = |index: Option<u8>, id: &str| {
            let mut call = json!({"id": id, "function": {"name": "f", "arguments": ""}});
            index
                .into_iter()
                .for_each(|index| call["index"] = index.into());
            call
        };
        let part = |index: Option<u8>| {
            let mut call = json!({"function": {"arguments": "{}"}});
            index
                .into_iter()
                .for_each(|index| call["index"] = index.into());
            call
        };
        let indexes = |fragments: &[Value]| -> Vec<u64> {
            calls(fragments)
                .iter()
                .map(|call| call["index"].as_u64().unwrap())
                .collect()
        };
        // As it should be.
        let right = [
            start(Some(0), "a"),
            part(Some(0)),
            start(Some(1), "b"),
            part(Some(0)),
            part(Some(1)),
        ];
        assert_eq!(calls(&right), right);
        // Without numbers, and with 0 for all.
        for index in [None, Some(0)] {
            let wrong = [
                start(index, "a"),
                part(index),
                start(index, "b"),
                part(index),
            ];
            assert_eq!(indexes(&wrong), [0, 0, 1, 1], "{index:?}");
        }
        assert_eq!(
            indexes(&[json!([start(None, "a"), start(None, "b")])]),
            [0, 1]
        );
        // One id for all, and right numbers.
        let one_id = [start(Some(0), "0"), start(Some(1), "0"), part(Some(1))];
        assert_eq!(indexes(&one_id), [0, 1, 1]);
        // No ids, and 0 for all that come at once.
        let at_once = |name: &str, arguments: &str| json!({"index": 0, "id": "", "function": {"name": name, "arguments": arguments}});
        let each = [at_once("f", "{\"x\":1}"), at_once("f", "{\"x\":2}")];
        assert_eq!(indexes(&each), [0, 1]);
        let in_pieces = [
            at_once("f", ""),
            at_once("f", "{\"x\":"),
            at_once("f", "1}"),
        ];
        assert_eq!(indexes(&in_pieces), [0, 0, 0]);
        // Another number with each fragment.
        let counted = [
            start(Some(0), "a"),
            part(Some(1)),
            part(Some(2)),
            start(Some(3), "b"),
            part(Some(4)),
        ];
        assert_eq!(indexes(&counted), [0, 0, 0, 1, 1]);
        // One id for all, each at once, without numbers; and one that is said once more as a whole.
        let same = |x: u8| json!({"id": "f", "function": {"name": "f", "arguments": format!("{{\"x\":{x}}}")}});
        let all = calls(&[same(1), same(2), same(2)]);
        let told = all
            .iter()
            .map(|it| (&it["index"], &it["function"]["arguments"]));
        let told: Vec<_> = told.collect();
        let wanted = json!([[0, "{\"x\":1}"], [1, "{\"x\":2}"], [1, ""]]);
        assert_eq!(json!(told), wanted);
        // The id and the name again.
        let again = calls(&[start(Some(0), "a"), start(Some(0), "a")]);
        assert_eq!(again[1], json!({"index": 0, "function": {"arguments": ""}}));
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
