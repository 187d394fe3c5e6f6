//! The chunk that nearly all chunks of a stream are: one choice, whose delta is text and nothing else.
//!
//! It is read in one pass, where others are read piece by piece, with leniency. Whatever is unusual about a
//! chunk makes it none of these: a field that somebody looks at, of another type, twice, or with a value.

use std::{borrow::Cow, fmt};

use serde::{
    Deserialize, Deserializer,
    de::{self, Visitor},
};

/// A chunk that brings text alone. The stream goes on after it.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Plain<'a> {
    /// The text; may be empty.
    pub(super) content: Cow<'a, str>,
    /// The model that answers, as the provider names it.
    pub(super) model: Option<Cow<'a, str>>,
}

impl<'a> Plain<'a> {
    /// What a chunk brings, if it is one of these. Its JSON has to be without unpaired surrogates.
    pub(super) fn read(json: &'a str) -> Option<Self> {
        let chunk: Chunk<'a> = serde_json::from_str(json).ok()?;
        let Chunk {
            object,
            model,
            choices: [Choice { delta, .. }],
            ..
        } = chunk;
        // That is the name of a whole answer.
        if object.is_some_and(|object| object.0 == "chat.completion") {
            return None;
        }
        Some(Self {
            content: delta.content.map(|text| text.0).unwrap_or_default(),
            model: model.map(|text| text.0),
        })
    }
}

#[derive(Deserialize)]
struct Chunk<'a> {
    #[serde(borrow)]
    choices: [Choice<'a>; 1],
    #[serde(borrow, default)]
    object: Option<Text<'a>>,
    #[serde(borrow, default)]
    model: Option<Text<'a>>,
    #[serde(default, rename = "usage")]
    _usage: Nothing,
    #[serde(default, rename = "error")]
    _error: Nothing,
}

#[derive(Deserialize)]
struct Choice<'a> {
    #[serde(default, rename = "index")]
    _index: u64,
    #[serde(borrow)]
    delta: Message<'a>,
    #[serde(default, rename = "message")]
    _message: Nothing,
    #[serde(default, rename = "finish_reason")]
    _finish_reason: Nothing,
    #[serde(default, rename = "error")]
    _error: Nothing,
}

#[derive(Deserialize)]
struct Message<'a> {
    #[serde(borrow, default)]
    content: Option<Text<'a>>,
    #[serde(default, rename = "reasoning")]
    _reasoning: Nothing,
    #[serde(default, rename = "reasoning_content")]
    _reasoning_content: Nothing,
    #[serde(default, rename = "reasoning_details")]
    _reasoning_details: Nothing,
    #[serde(default, rename = "refusal")]
    _refusal: Nothing,
    #[serde(default, rename = "tool_calls")]
    _tool_calls: Nothing,
    #[serde(default, rename = "function_call")]
    _function_call: Nothing,
    #[serde(default, rename = "audio")]
    _audio: Nothing,
    #[serde(default, rename = "images")]
    _images: Nothing,
}

/// A field that is null or absent.
#[derive(Default)]
struct Nothing;

impl<'de> Deserialize<'de> for Nothing {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        <()>::deserialize(from).map(|()| Self)
    }
}

/// A text, borrowed unless there are escapes in it.
struct Text<'a>(Cow<'a, str>);

impl<'de: 'a, 'a> Deserialize<'de> for Text<'a> {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        struct Read;

        impl<'de> Visitor<'de> for Read {
            type Value = Text<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a text")
            }

            fn visit_borrowed_str<E: de::Error>(self, text: &'de str) -> Result<Self::Value, E> {
                Ok(Text(text.into()))
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<Self::Value, E> {
                Ok(Text(text.to_owned().into()))
            }
        }

        from.deserialize_str(Read)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn text_and_nothing_else_is_plain() {
        let usual = r#"{"id":"c","object":"chat.completion.chunk","model":"m","usage":null,"x":[1],
            "choices":[{"index":0,"logprobs":{"content":[]},"delta":{"role":"assistant","content":"a\n","refusal":null},
            "finish_reason":null}]}"#;
        let read = Plain::read(usual).unwrap();
        assert_eq!((&*read.content, read.model.as_deref()), ("a\n", Some("m")));
        let of = |choice| json!({ "choices": [choice] }).to_string();
        for (delta, content) in [
            (json!({}), ""),
            (json!({"content": null}), ""),
            (json!({"content": "æ"}), "æ"),
        ] {
            let chunk = of(json!({ "delta": delta }));
            assert_eq!(Plain::read(&chunk).unwrap().content, content);
        }
        for choice in [
            json!({}),
            json!({"delta": {}, "finish_reason": "stop"}),
            json!({"delta": {}, "error": {}}),
            json!({"delta": {}, "message": {}}),
            json!({"delta": {}, "index": -1}),
            json!({"delta": null}),
            json!({"delta": {"content": ["a"]}}),
            json!({"delta": {"content": "a", "tool_calls": []}}),
            json!({"delta": {"content": "a", "reasoning": ""}}),
            json!({"delta": {"content": "a", "reasoning_content": "b"}}),
            json!({"delta": {"refusal": "no"}}),
            json!({"delta": {"content": "", "audio": {"data": "AAAA"}}}),
            json!({"delta": {"content": "", "images": [{}]}}),
            json!({"delta": {"function_call": {"name": "f"}}}),
        ] {
            assert_eq!(Plain::read(&of(choice.clone())), None, "{choice}");
        }
        for chunk in [
            "",
            "[]",
            r#"{"choices":[]}"#,
            r#"{"choices":null}"#,
            r#"{"choices":[{"delta":{}},{"delta":{}}]}"#,
            r#"{"choices":[{"delta":{}}],"usage":{}}"#,
            r#"{"choices":[{"delta":{}}],"error":"e"}"#,
            r#"{"choices":[{"delta":{}}],"object":"chat.completion"}"#,
            r#"{"choices":[{"delta":{}}],"choices":[{"delta":{}}]}"#,
            r#"{"choices":[{"delta":{"content":"a","content":"b"}}]}"#,
            r#"{"choices":[{"delta":{"content":"\ud83d"}}]}"#,
            r#"{"choices":[{"delta":{}}]} x"#,
            r#"[{"choices":[{"delta":{}}]}]"#,
        ] {
            assert_eq!(Plain::read(chunk), None, "{chunk}");
        }
    }
}
