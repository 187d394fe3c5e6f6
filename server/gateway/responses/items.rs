//! What an answer of the Responses API is made of.

use std::collections::HashMap;

use serde_json::{Map, Value, json};

use super::{super::sequence::Block, tools::OfferedTool};
use crate::providers::finish::Finish;

/// How an answer ends.
pub(super) struct ResponseEnd<'a> {
    pub(super) finish_reason: Option<&'a str>,
    pub(super) usage: &'a Value,
}

/// The answer as an object, under this id and with these items; `end` is `None` while it is being made.
pub(super) fn response(
    asked: &Map<String, Value>,
    id: &str,
    created_at: i64,
    output: &[Value],
    end: Option<&ResponseEnd<'_>>,
) -> Value {
    let incomplete = match end.and_then(|end| Finish::of(end.finish_reason?)) {
        Some(Finish::Length) => json!({"reason": "max_output_tokens"}),
        Some(Finish::ContentFilter) => json!({"reason": "content_filter"}),
        _ => Value::Null,
    };
    let status = match (end, incomplete.is_null()) {
        (None, _) => "in_progress",
        (Some(_), true) => "completed",
        (Some(_), false) => "incomplete",
    };
    let given = |name: &str, other: Value| match asked.get(name) {
        None | Some(Value::Null) => other,
        Some(value) => value.clone(),
    };
    json!({
        "id": id,
        "object": "response",
        "created_at": created_at,
        "status": status,
        "model": asked["model"],
        "output": output,
        "error": null,
        "incomplete_details": incomplete,
        "instructions": given("instructions", Value::Null),
        "tools": given("tools", json!([])),
        "tool_choice": given("tool_choice", json!("auto")),
        "parallel_tool_calls": given("parallel_tool_calls", json!(true)),
        "max_output_tokens": given("max_output_tokens", Value::Null),
        "temperature": given("temperature", Value::Null),
        "top_p": given("top_p", Value::Null),
        "text": given("text", json!({"format": {"type": "text"}})),
        "reasoning": given("reasoning", json!({"effort": null, "summary": null})),
        "metadata": given("metadata", json!({})),
        "truncation": "disabled",
        "store": false,
        "previous_response_id": null,
        "usage": end.map(|end| usage(end.usage)),
    })
}

/// Unknown counts are 0: clients want numbers.
fn usage(of_chat: &Value) -> Value {
    // As in events: no answer has more, and sums stay within their type.
    let number = |value: &Value| value.as_f64().map_or(0, |it| u64::from(it as u32));
    let (read, written) = (
        number(&of_chat["prompt_tokens"]),
        number(&of_chat["completion_tokens"]),
    );
    let cached = number(&of_chat["prompt_tokens_details"]["cached_tokens"]);
    let thought = number(&of_chat["completion_tokens_details"]["reasoning_tokens"]);
    json!({
        "input_tokens": read,
        "input_tokens_details": {"cached_tokens": cached},
        "output_tokens": written,
        "output_tokens_details": {"reasoning_tokens": thought},
        "total_tokens": read + written,
    })
}

/// A part of a message.
pub(super) fn part(block: &Block, text: &str) -> Value {
    match block {
        Block::Refusal => json!({"type": "refusal", "refusal": text}),
        _ => json!({"type": "output_text", "text": text, "annotations": [], "logprobs": []}),
    }
}

/// An item with what a block held. `packed` carries what a model thought to the next turn.
pub(super) fn item(
    block: &Block,
    id: &str,
    text: &str,
    tools: &HashMap<String, OfferedTool>,
    packed: Option<String>,
    is_done: bool,
) -> Value {
    let status = if is_done { "completed" } else { "in_progress" };
    match block {
        Block::Thinking => {
            let summary = if is_done && !text.is_empty() {
                json!([{"type": "summary_text", "text": text}])
            } else {
                json!([])
            };
            let mut item = json!({"id": id, "type": "reasoning", "summary": summary});
            if let Some(packed) = packed {
                item["encrypted_content"] = packed.into();
            }
            item
        }
        Block::Text | Block::Refusal => {
            let content = if is_done {
                json!([part(block, text)])
            } else {
                json!([])
            };
            json!({
                "id": id, "type": "message", "status": status, "role": "assistant", "content": content,
            })
        }
        Block::Call { id: call, name } => {
            let tool = tools.get(name);
            let name = tool.map_or(name, |tool| &tool.name);
            let mut item = match tool.is_some_and(|tool| tool.is_custom) {
                true => json!({
                    "id": id, "type": "custom_tool_call", "status": status, "call_id": call,
                    "name": name, "input": free_text(text),
                }),
                false => json!({
                    "id": id, "type": "function_call", "status": status, "call_id": call,
                    "name": name, "arguments": text,
                }),
            };
            if let Some(namespace) = tool.and_then(|tool| tool.namespace.as_ref()) {
                item["namespace"] = Value::from(&**namespace);
            }
            item
        }
    }
}

/// The free text in the arguments of a custom tool. Where a model wrote it otherwise than it was told, the text is
/// what it wrote: the tool can say what is wrong with that, and could not with nothing.
pub(super) fn free_text(arguments: &str) -> String {
    let read: Option<Value> = serde_json::from_str(arguments).ok();
    match read {
        Some(Value::String(text)) => text,
        Some(Value::Object(fields)) => match fields.get("input") {
            Some(Value::String(text)) => text.clone(),
            Some(other) => other.to_string(),
            None if fields.is_empty() => String::new(),
            None => arguments.to_owned(),
        },
        _ => arguments.to_owned(),
    }
}

/// What begins the id of a block's item.
pub(super) fn prefix(block: &Block) -> &'static str {
    match block {
        Block::Thinking => "rs",
        Block::Text | Block::Refusal => "msg",
        Block::Call { .. } => "fc",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_that_a_model_wrote_for_a_custom_tool_is_lost() {
        for (arguments, text) in [
            (r#"{"input":"*** Begin"}"#, "*** Begin"),
            ("*** Begin", "*** Begin"),
            (r#""*** Begin""#, "*** Begin"),
            (r#"{"patch":"x"}"#, r#"{"patch":"x"}"#),
            (r#"{"input":{"a":1}}"#, r#"{"a":1}"#),
            ("{}", ""),
            ("", ""),
        ] {
            assert_eq!(free_text(arguments), text, "{arguments}");
        }
    }

    #[test]
    fn no_number_of_an_upstream_overflows_a_sum() {
        let told = usage(&json!({"prompt_tokens": 1e30, "completion_tokens": 1e30}));
        let most = u64::from(u32::MAX);
        assert_eq!(told["input_tokens"], most);
        assert_eq!(told["total_tokens"], 2 * most);
    }
}
