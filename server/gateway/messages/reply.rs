//! A chat completion as an answer of Anthropic's API.

use serde_json::{Map, Value, json};
use uuid::Uuid;

use super::super::{
    content::text,
    refusal::Refusal,
    sequence::{arguments, call_id},
    thinking::Thoughts,
};
use crate::providers::finish::{self, Finish};

/// What of a request its answer repeats.
pub(super) struct Asked {
    /// The name that the caller gave the model.
    pub(super) model: String,
    /// Where the answer is to end.
    stops: Vec<String>,
}

impl Asked {
    pub(super) fn of(asked: &Map<String, Value>) -> Self {
        let stops = asked.get("stop_sequences").and_then(Value::as_array);
        let stops = stops.into_iter().flatten().filter_map(Value::as_str);
        let name = asked.get("model").and_then(Value::as_str);
        Self {
            model: name.unwrap_or_default().to_owned(),
            stops: stops.map(str::to_owned).collect(),
        }
    }

    /// Why an answer ended, and with which of the sequences where that is why.
    pub(super) fn end(
        &self,
        choice: &Value,
        finish: Option<&str>,
        has_calls: bool,
        refuses: bool,
    ) -> (&'static str, Option<&str>) {
        let matched = self.matched(choice);
        let reason = stop_reason(finish, has_calls, refuses, matched.is_some());
        (reason, matched.filter(|_| reason == STOP_SEQUENCE))
    }

    /// Which sequence was met, as vLLM and SGLang say. By vLLM's name others give the reason, in a word such as `stop`,
    /// which then names no sequence.
    fn matched(&self, choice: &Value) -> Option<&str> {
        let sequence = choice["matched_stop"].as_str();
        let told = sequence.or_else(|| {
            let told = choice["stop_reason"].as_str();
            told.filter(|told| !finish::is_reason(told))
        })?;
        self.stops.iter().map(String::as_str).find(|it| *it == told)
    }
}

/// The reason of an answer that one of the caller's sequences ended.
const STOP_SEQUENCE: &str = "stop_sequence";

/// The answer of this model.
pub(super) fn message(raw: &str, model: &str, asked: &Asked) -> Result<String, Refusal> {
    let whole: Value = serde_json::from_str(raw).map_err(|_| Refusal::unreadable())?;
    let choice = &whole["choices"][0];
    let empty = Map::new();
    let message = choice["message"].as_object().unwrap_or(&empty);
    let mut content = Vec::new();
    let mut thoughts = Thoughts::default();
    thoughts.add(message);
    if !thoughts.is_empty() {
        content.push(json!({
            "type": "thinking", "thinking": thoughts.text, "signature": thoughts.pack(model),
        }));
    }
    let said = text(message.get("content")) + &text(message.get("refusal"));
    if !said.is_empty() {
        content.push(json!({"type": "text", "text": said}));
    }
    let finish = finish::reason_of(choice);
    let is_cut = matches!(
        finish.and_then(Finish::of),
        Some(Finish::Length | Finish::ContentFilter)
    );
    let calls = message.get("tool_calls").and_then(Value::as_array);
    for call in calls.into_iter().flatten() {
        let function = &call["function"];
        match input(&arguments(&function["arguments"])) {
            Some(input) => content.push(json!({
                "type": "tool_use", "id": call_id(&call["id"]), "name": function["name"], "input": input,
            })),
            // The caller learns of it by the reason.
            None if is_cut => {}
            None => return Err(Refusal::unreadable_call(&function["name"])),
        }
    }
    let has_calls = calls.is_some_and(|calls| !calls.is_empty());
    let refuses = !text(message.get("refusal")).is_empty();
    let (stop_reason, stop_sequence) = asked.end(choice, finish, has_calls, refuses);
    let answer = json!({
        "id": id(&whole["id"]),
        "type": "message",
        "role": "assistant",
        "model": asked.model,
        "content": content,
        "stop_reason": stop_reason,
        "stop_sequence": stop_sequence,
        "usage": usage(&whole["usage"]),
    });
    Ok(answer.to_string())
}

/// Arguments are a text of JSON; no text is no arguments. `None` where it is no object, as of a call that was cut: a tool
/// that ran without its arguments could do harm.
fn input(arguments: &str) -> Option<Value> {
    if arguments.trim().is_empty() {
        return Some(json!({}));
    }
    match serde_json::from_str(arguments) {
        Ok(input @ Value::Object(_)) => Some(input),
        Ok(Value::Null) => Some(json!({})),
        _ => None,
    }
}

/// The id of a message; one of ours where the model's server gave none: clients take two messages of one id for
/// one.
pub(super) fn id(of_chat: &Value) -> String {
    let id = of_chat.as_str().unwrap_or("");
    let mut id: String = id
        .chars()
        .filter(char::is_ascii_alphanumeric)
        .take(40)
        .collect();
    if id.is_empty() {
        id = Uuid::now_v7().simple().to_string();
    }
    format!("msg_{id}")
}

fn stop_reason(
    finish: Option<&str>,
    has_calls: bool,
    refuses: bool,
    is_stopped: bool,
) -> &'static str {
    match finish {
        Some("length" | "max_tokens") => "max_tokens",
        Some("content_filter" | "refusal") => "refusal",
        Some("pause_turn") => "pause_turn",
        Some("model_context_window_exceeded") => "model_context_window_exceeded",
        _ if has_calls => "tool_use",
        _ if refuses => "refusal",
        _ if is_stopped => STOP_SEQUENCE,
        _ => "end_turn",
    }
}

/// Tokens read do not count those that came from a cache, or went into one.
pub(super) fn usage(of_chat: &Value) -> Value {
    // As in events: no answer has more.
    let number = |value: &Value| value.as_f64().map_or(0, |it| u64::from(it as u32));
    let details = &of_chat["prompt_tokens_details"];
    let read = number(&details["cached_tokens"]);
    let written = number(&details["cache_write_tokens"]);
    let prompt = number(&of_chat["prompt_tokens"]);
    json!({
        "input_tokens": prompt.saturating_sub(read + written),
        "cache_read_input_tokens": read,
        "cache_creation_input_tokens": written,
        "output_tokens": number(&of_chat["completion_tokens"]),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_message_has_an_id_of_its_own() {
        assert_eq!(id(&json!("gen-1")), "msg_gen1");
        for none in [Value::Null, json!(""), json!(7)] {
            assert_ne!(id(&none), id(&none), "{none}");
        }
    }

    #[test]
    fn an_answer_that_was_cut_says_so() {
        for cut in ["length", "max_tokens"] {
            assert_eq!(stop_reason(Some(cut), false, false, false), "max_tokens");
        }
    }

    #[test]
    fn no_call_is_told_without_the_arguments_that_its_model_gave() {
        let asked = json!({"model": "m"});
        let asked = Asked::of(asked.as_object().unwrap());
        let told = |arguments: Value, finish: &str| {
            let call = json!([{"id": "c", "function": {"name": "pay", "arguments": arguments}}]);
            let choice =
                json!({"message": {"content": "a", "tool_calls": call}, "finish_reason": finish});
            let raw = json!({ "choices": [choice] }).to_string();
            message(&raw, "m", &asked)
        };
        for (arguments, input) in [
            (json!(r#"{"a":1}"#), json!({"a": 1})),
            (json!({"a": 1}), json!({"a": 1})),
            (json!(""), json!({})),
            (json!(" "), json!({})),
            (json!("null"), json!({})),
            (Value::Null, json!({})),
        ] {
            let told: Value =
                serde_json::from_str(&told(arguments, "tool_calls").unwrap()).unwrap();
            assert_eq!(told["content"][1]["input"], input);
        }
        for broken in [json!(r#"{"a":"#), json!("[1]"), json!("7"), json!([1])] {
            let cut: Value =
                serde_json::from_str(&told(broken.clone(), "length").unwrap()).unwrap();
            assert_eq!(cut["content"], json!([{"type": "text", "text": "a"}]));
            assert_eq!(cut["stop_reason"], "max_tokens");
            let refused = format!("{:?}", told(broken, "tool_calls").unwrap_err());
            assert!(refused.contains("`pay`"), "{refused}");
        }
    }

    #[test]
    fn an_answer_that_ended_where_it_was_to_says_where() {
        let asked = json!({"model": "m", "stop_sequences": ["END", "\n", "stop"]});
        let asked = Asked::of(asked.as_object().unwrap());
        for (field, told, expected) in [
            ("stop_reason", json!("END"), json!("END")),
            ("matched_stop", json!("\n"), json!("\n")),
            ("stop_reason", json!(128_009), Value::Null),
            // Which the caller did not name; and a reason, whatever the caller named.
            ("stop_reason", json!("###"), Value::Null),
            ("stop_reason", json!("stop"), Value::Null),
            ("matched_stop", json!("stop"), json!("stop")),
        ] {
            let choice = json!({"message": {"content": "a"}, "finish_reason": "stop", field: told});
            let raw = json!({ "choices": [choice] }).to_string();
            let told: Value = serde_json::from_str(&message(&raw, "m", &asked).unwrap()).unwrap();
            assert_eq!(told["stop_sequence"], expected);
            let reason = if expected.is_null() {
                "end_turn"
            } else {
                "stop_sequence"
            };
            assert_eq!(told["stop_reason"], reason);
        }
    }

    #[test]
    fn an_answer_that_ended_for_another_reason_names_no_sequence() {
        let asked = json!({"model": "m", "stop_sequences": ["END"]});
        let asked = Asked::of(asked.as_object().unwrap());
        let call = json!([{"id": "c", "function": {"name": "f", "arguments": "{}"}}]);
        for (finish, calls, expected) in [
            ("length", Value::Null, "max_tokens"),
            ("content_filter", Value::Null, "refusal"),
            ("tool_calls", call, "tool_use"),
        ] {
            let message = json!({"content": "a", "tool_calls": calls});
            let choice = json!({"message": message, "finish_reason": finish, "stop_reason": "END"});
            let raw = json!({ "choices": [choice] }).to_string();
            let told: Value =
                serde_json::from_str(&super::message(&raw, "m", &asked).unwrap()).unwrap();
            assert_eq!(told["stop_reason"], expected);
            assert_eq!(told["stop_sequence"], Value::Null, "{finish}");
        }
    }

    #[test]
    fn calls_keep_their_arguments_and_get_the_id_that_they_lack() {
        let raw = json!({"choices": [{"message": {"tool_calls": [
            {"function": {"name": "f", "arguments": {"x": 1}}},
            {"id": "", "function": {"name": "g", "arguments": "{\"y\":2}"}},
            {"id": "c", "function": {"name": "h"}},
        ]}}], "usage": {"prompt_tokens": 1e308}});
        let told = message(&raw.to_string(), "m", &Asked::of(&Map::new())).unwrap();
        let told: Value = serde_json::from_str(&told).unwrap();
        let [first, second, third] = [0, 1, 2].map(|n| &told["content"][n]);
        assert_eq!(first["input"], json!({"x": 1}));
        assert_eq!(second["input"], json!({"y": 2}));
        assert_eq!((&third["id"], &third["input"]), (&json!("c"), &json!({})));
        let ids = [first, second].map(|call| call["id"].as_str().unwrap());
        assert!(ids[0] != ids[1] && ids.iter().all(|id| id.starts_with("call_")));
        assert_eq!(told["usage"]["input_tokens"], u32::MAX);
    }
}
