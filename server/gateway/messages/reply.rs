//! A chat completion as an answer of Anthropic's API.

use serde_json::{Map, Value, json};
use uuid::Uuid;

use super::super::{
    content::text,
    refusal::Refusal,
    sequence::{arguments, call_id},
    thinking::Thoughts,
};
use crate::providers::finish;

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

    /// Where an answer ended, if that is where it was to: vLLM and SGLang say so.
    pub(super) fn stop(&self, choice: &Value) -> Option<&str> {
        let told = [&choice["stop_reason"], &choice["matched_stop"]];
        let told = told.into_iter().find_map(Value::as_str)?;
        self.stops.iter().map(String::as_str).find(|it| *it == told)
    }
}

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
    let calls = message.get("tool_calls").and_then(Value::as_array);
    for call in calls.into_iter().flatten() {
        let function = &call["function"];
        let arguments = arguments(&function["arguments"]);
        content.push(json!({
            "type": "tool_use", "id": call_id(&call["id"]), "name": function["name"], "input": input(&arguments),
        }));
    }
    let has_calls = calls.is_some_and(|calls| !calls.is_empty());
    let refuses = !text(message.get("refusal")).is_empty();
    let stop = asked.stop(choice);
    let answer = json!({
        "id": id(&whole["id"]),
        "type": "message",
        "role": "assistant",
        "model": asked.model,
        "content": content,
        "stop_reason": stop_reason(finish::reason_of(choice), has_calls, refuses, stop.is_some()),
        "stop_sequence": stop,
        "usage": usage(&whole["usage"]),
    });
    Ok(answer.to_string())
}

/// Arguments are a text of JSON; no text is no arguments.
fn input(arguments: &str) -> Value {
    match serde_json::from_str(arguments) {
        Ok(input @ Value::Object(_)) => input,
        _ => json!({}),
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

pub(super) fn stop_reason(
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
        _ if is_stopped => "stop_sequence",
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
    fn an_answer_that_ended_where_it_was_to_says_where() {
        let asked = json!({"model": "m", "stop_sequences": ["END", "\n"]});
        let asked = Asked::of(asked.as_object().unwrap());
        for (field, told, expected) in [
            ("stop_reason", json!("END"), json!("END")),
            ("matched_stop", json!("\n"), json!("\n")),
            ("stop_reason", json!(128_009), Value::Null),
            ("stop_reason", json!("stop"), Value::Null),
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
