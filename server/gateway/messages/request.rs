//! A request of Anthropic's API as one of chat completions.

use serde_json::{Map, Value, json};

use super::super::{refusal::Refusal, thinking::Thoughts};
use crate::providers::openrouter::elsewhere::Elsewhere;

type Object = Map<String, Value>;

/// A request as OpenRouter takes it, what other providers get instead, and what of it nobody can be sent.
pub(super) struct Translated {
    pub(super) body: Object,
    pub(super) elsewhere: Elsewhere,
    pub(super) dropped: Vec<String>,
}

/// Claude Code's account of what it bills: it changes with each request, and says nothing to a model.
const BILLING: &str = "x-anthropic-billing-header:";
/// Bytes of text that make a token, on average, in tenths; and what is added so that the count is rather
/// too high.
const TENTHS_PER_TOKEN: usize = 36;
const RESERVE_PERCENT: usize = 115;
/// What an image counts, and a page of a document.
const IMAGE_TOKENS: usize = 1_600;
/// Bytes of base64 that make a page of a document, about.
const BYTES_PER_PAGE: usize = 64 * 1024;

/// The request, with what this model thought in earlier turns.
pub(super) fn to_chat(asked: &Object, model: &str) -> Result<Translated, Refusal> {
    let mut body = Object::new();
    let mut dropped = Vec::new();
    let mut messages = Vec::new();
    if let Some(system) = asked.get("system").and_then(|it| system(it, true)) {
        messages.push(json!({"role": "system", "content": system}));
    }
    for turn in turns(asked)? {
        add_turn(turn, model, &mut messages)?;
    }
    if messages.iter().all(|message| message["role"] == "system") {
        let message = "`messages` says nothing: expected a text or a block in one of them";
        return Err(Refusal::bad_request(Some("messages"), message));
    }
    let marks_cache = messages.iter().any(is_marked);
    body.insert("messages".into(), messages.into());
    for (from, to) in [
        ("max_tokens", "max_tokens"),
        ("temperature", "temperature"),
        ("top_p", "top_p"),
        ("top_k", "top_k"),
        ("stop_sequences", "stop"),
    ] {
        // Some servers refuse an empty list.
        let value = asked.get(from).filter(|value| **value != json!([]));
        if let Some(value) = value {
            body.insert(to.into(), value.clone());
        }
    }
    add_tools(asked, &mut body, &mut dropped)?;
    let elsewhere = Elsewhere {
        reasoning_effort: add_reasoning(asked, &mut body),
        marks_cache,
    };
    let format = asked.get("output_config").and_then(|it| it.get("format"));
    // Its name while it was new, which clients of then still write.
    let format = format.or_else(|| asked.get("output_format"));
    if let Some(schema) = format.and_then(|format| format.get("schema")) {
        let schema = json!({"name": "response", "schema": schema, "strict": true});
        let format = json!({"type": "json_schema", "json_schema": schema});
        body.insert("response_format".into(), format);
    }
    Ok(Translated {
        body,
        elsewhere,
        dropped,
    })
}

/// Whether a part of the message is marked for a cache.
fn is_marked(message: &Value) -> bool {
    let parts = message["content"].as_array();
    parts.is_some_and(|parts| parts.iter().any(|it| it.get("cache_control").is_some()))
}

/// The messages of a request.
pub(super) fn turns(asked: &Object) -> Result<&[Value], Refusal> {
    let turns = asked.get("messages").and_then(Value::as_array);
    let turns = turns.filter(|turns| !turns.is_empty());
    turns.map(Vec::as_slice).ok_or_else(|| {
        let message = "`messages` is missing or empty: expected a list of messages";
        Refusal::bad_request(Some("messages"), message)
    })
}

/// The system's text; its parts stay apart where some are marked for a cache, and marks are kept.
fn system(system: &Value, keeps_marks: bool) -> Option<Value> {
    let Some(blocks) = system.as_array() else {
        return system
            .as_str()
            .filter(|text| !text.is_empty())
            .map(Value::from);
    };
    let text = |block: &Value| block["text"].as_str().map(str::to_owned);
    let is_meant = |block: &&Value| {
        let text = block["text"].as_str();
        text.is_some_and(|text| !text.is_empty() && !text.starts_with(BILLING))
    };
    let blocks: Vec<&Value> = blocks.iter().filter(is_meant).collect();
    if keeps_marks
        && blocks
            .iter()
            .any(|block| block.get("cache_control").is_some())
    {
        let parts: Vec<_> = blocks.into_iter().map(text_part).collect();
        return Some(parts.into());
    }
    let texts: Vec<String> = blocks.into_iter().filter_map(text).collect();
    (!texts.is_empty()).then(|| texts.join("\n\n").into())
}

fn text_part(block: &Value) -> Value {
    let mut part = json!({"type": "text", "text": block["text"]});
    if let Some(cache) = block.get("cache_control") {
        part["cache_control"] = cache.clone();
    }
    part
}

fn add_turn(turn: &Value, model: &str, messages: &mut Vec<Value>) -> Result<(), Refusal> {
    let role = turn["role"].as_str().unwrap_or("user");
    let content = &turn["content"];
    let Some(blocks) = content.as_array() else {
        if !content.is_string() {
            let message = "the `content` of a message is neither a text nor a list of blocks";
            return Err(Refusal::bad_request(Some("messages"), message));
        }
        messages.push(json!({"role": role, "content": content}));
        return Ok(());
    };
    match role {
        "assistant" => messages.push(assistant(blocks, model)),
        "system" => {
            if let Some(content) = system(content, false) {
                messages.push(json!({"role": "system", "content": content}));
            }
        }
        _ => add_user(blocks, messages)?,
    }
    Ok(())
}

fn assistant(blocks: &[Value], model: &str) -> Value {
    let (mut text, mut calls, mut message) = (String::new(), Vec::new(), Object::new());
    message.insert("role".into(), "assistant".into());
    for block in blocks {
        match block["type"].as_str() {
            Some("text") => text.push_str(block["text"].as_str().unwrap_or("")),
            Some("tool_use") => {
                let input = block.get("input").cloned().unwrap_or_else(|| json!({}));
                let function = json!({"name": block["name"], "arguments": input.to_string()});
                calls.push(json!({"id": block["id"], "type": "function", "function": function}));
            }
            Some("thinking") => {
                let text = block["thinking"].as_str().unwrap_or("");
                let packed = block["signature"].as_str().unwrap_or("");
                let thought = Thoughts::unpack(text, packed, model).unwrap_or_default();
                Thoughts::join(&mut message, thought);
            }
            // Another model's, or its server's.
            _ => {}
        }
    }
    let content = (!text.is_empty() || calls.is_empty()).then_some(text);
    message.insert("content".into(), content.into());
    if !calls.is_empty() {
        message.insert("tool_calls".into(), calls.into());
    }
    Thoughts::give_back(&mut message);
    message.into()
}

/// Results of tools come directly behind the calls, before whatever else the user says.
fn add_user(blocks: &[Value], messages: &mut Vec<Value>) -> Result<(), Refusal> {
    let mut parts = Vec::new();
    for block in blocks {
        match block["type"].as_str() {
            Some("tool_result") => messages.push(tool_result(block, &mut parts)?),
            Some("text") => parts.push(text_part(block)),
            _ => parts.extend(part(block)?),
        }
    }
    let content = match parts.as_mut_slice() {
        [] => return Ok(()),
        [only] if only["type"] == "text" && only.get("cache_control").is_none() => {
            only["text"].take()
        }
        _ => Value::Array(parts),
    };
    messages.push(json!({"role": "user", "content": content}));
    Ok(())
}

/// A block as a part of chat completions; nothing where it is of a kind that nobody here knows. An answer about an
/// image or a document that the model never saw would be worse than none.
fn part(block: &Value) -> Result<Option<Value>, Refusal> {
    let source = &block["source"];
    let kind = block["type"].as_str().unwrap_or("");
    Ok(Some(match (kind, source["type"].as_str()) {
        ("search_result", _) => json!({"type": "text", "text": block["content"].to_string()}),
        ("document", Some("text")) => json!({"type": "text", "text": source["data"]}),
        ("document", Some("content")) => {
            let mut pieces = source["content"].as_array().into_iter().flatten();
            if pieces.any(|piece| piece["type"] != "text") {
                let message = "the `content` of a document holds a block that is no `text`: send images as blocks of their own";
                return Err(Refusal::unsupported("messages", message));
            }
            json!({"type": "text", "text": texts(&source["content"])})
        }
        ("image", _) => json!({"type": "image_url", "image_url": {"url": address(source)?}}),
        ("document", _) => {
            let name = block["title"].as_str().unwrap_or("document.pdf");
            let file = json!({"filename": name, "file_data": address(source)?});
            json!({"type": "file", "file": file})
        }
        _ => return Ok(None),
    }))
}

/// The address of an image or a document, which may hold it.
fn address(source: &Value) -> Result<String, Refusal> {
    let text = |name: &str| source[name].as_str();
    let address = match text("type") {
        Some("url") => text("url").map(str::to_owned),
        Some("file") => None,
        _ => text("media_type")
            .zip(text("data"))
            .map(|(kind, data)| format!("data:{kind};base64,{data}")),
    };
    address.ok_or_else(|| {
        let given: String = text("type").unwrap_or("nothing").chars().take(40).collect();
        let message = format!(
            "the `source` of an image or a document is `{given}`; expected `base64` with `media_type` and `data`, \
             or `url` with `url`"
        );
        Refusal::unsupported("messages", message)
    })
}

/// A text, or the texts of a list of blocks as lines.
fn texts(content: &Value) -> String {
    match content {
        Value::String(text) => text.clone(),
        Value::Array(blocks) => {
            let texts = blocks.iter().filter_map(|block| block["text"].as_str());
            texts.collect::<Vec<_>>().join("\n")
        }
        _ => String::new(),
    }
}

/// A message with a result; its images go to the user's words behind it.
fn tool_result(block: &Value, parts: &mut Vec<Value>) -> Result<Value, Refusal> {
    let content = &block["content"];
    let mut text = texts(content);
    let pieces = content.as_array().into_iter().flatten();
    for piece in pieces.filter(|piece| piece["type"] != "text") {
        parts.extend(part(piece)?);
    }
    if block["is_error"] == true {
        text.insert_str(0, "Error: ");
    }
    Ok(json!({"role": "tool", "tool_call_id": block["tool_use_id"], "content": text}))
}

fn add_tools(asked: &Object, body: &mut Object, dropped: &mut Vec<String>) -> Result<(), Refusal> {
    let mut tools = Vec::new();
    let given = asked.get("tools").and_then(Value::as_array);
    for tool in given.into_iter().flatten() {
        match tool["type"].as_str() {
            None | Some("custom") => {
                let mut function = json!({"name": tool["name"]});
                for (from, to) in [
                    ("description", "description"),
                    ("input_schema", "parameters"),
                    ("strict", "strict"),
                ] {
                    if let Some(value) = tool.get(from) {
                        function[to] = value.clone();
                    }
                }
                tools.push(json!({"type": "function", "function": function}));
            }
            Some(kind) => dropped.push(kind.to_owned()),
        }
    }
    let choice = asked.get("tool_choice");
    let chosen = choice
        .filter(|it| it["type"] == "tool")
        .map(|it| &it["name"]);
    let is_chosen = |name: &Value| tools.iter().any(|tool| tool["function"]["name"] == *name);
    let is_lost =
        !dropped.is_empty() && (tools.is_empty() || chosen.is_some_and(|it| !is_chosen(it)));
    if is_lost {
        let message = format!(
            "`{}` is a tool that only its maker's servers run: offer a tool of your own",
            dropped.join("`, `")
        );
        return Err(Refusal::unsupported("tools", message));
    }
    if tools.is_empty() {
        return Ok(());
    }
    body.insert("tools".into(), tools.into());
    if let Some(choice) = choice {
        let translated = match choice["type"].as_str() {
            Some("any") => json!("required"),
            Some("none") => json!("none"),
            Some("tool") => json!({"type": "function", "function": {"name": choice["name"]}}),
            _ => json!("auto"),
        };
        body.insert("tool_choice".into(), translated);
        if choice["disable_parallel_tool_use"] == true {
            body.insert("parallel_tool_calls".into(), false.into());
        }
    }
    Ok(())
}

/// How much the model is to think, in OpenRouter's words; and what other providers are told instead.
fn add_reasoning(asked: &Object, body: &mut Object) -> Option<String> {
    let thinking = asked.get("thinking");
    if thinking.is_some_and(|thinking| thinking["type"] == "disabled") {
        return None;
    }
    let budget = thinking.and_then(|thinking| thinking["budget_tokens"].as_u64());
    let effort = asked
        .get("output_config")
        .and_then(|it| it["effort"].as_str());
    let reasoning = match (budget, effort) {
        (Some(budget), _) => json!({"max_tokens": budget}),
        (None, Some(effort)) => json!({"effort": effort}),
        (None, None) => return None,
    };
    body.insert("reasoning".into(), reasoning);
    let elsewhere = match (effort, budget) {
        // Anthropic's alone.
        (Some("max"), _) => "high",
        (Some(effort), _) => effort,
        (None, Some(0..4_096)) => "low",
        (None, Some(4_096..16_384)) => "medium",
        (None, _) => "high",
    };
    Some(elsewhere.to_owned())
}

/// About how many tokens a request is.
pub(super) fn tokens(asked: &Object) -> usize {
    fn weigh(value: &Value, bytes: &mut usize, images: &mut usize) {
        match value {
            Value::String(text) => *bytes += text.len() + 1,
            Value::Array(list) => list.iter().for_each(|it| weigh(it, bytes, images)),
            Value::Object(fields) if fields.get("type").is_some_and(|it| it == "image") => {
                *images += 1;
            }
            // A document as bytes, of which no model reads the letters.
            Value::Object(source) if source.get("type").is_some_and(|it| it == "base64") => {
                let data = source.get("data").and_then(Value::as_str).unwrap_or("");
                *images += data.len().div_ceil(BYTES_PER_PAGE).max(1);
            }
            Value::Object(fields) => {
                for (key, value) in fields {
                    *bytes += key.len() + 2;
                    weigh(value, bytes, images);
                }
            }
            _ => *bytes += 2,
        }
    }
    let (mut bytes, mut images) = (0, 0);
    for name in ["system", "messages", "tools"] {
        if let Some(value) = asked.get(name) {
            weigh(value, &mut bytes, &mut images);
        }
    }
    let text = bytes * 10 / TENTHS_PER_TOKEN;
    (text * RESERVE_PERCENT / 100 + images * IMAGE_TOKENS).max(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_schema_for_the_answer_goes_by_either_name() {
        let format = json!({"type": "json_schema", "schema": {"type": "object"}});
        for asked in [
            json!({"output_config": {"format": format}}),
            json!({"output_format": format}),
        ] {
            let mut asked = asked;
            asked["messages"] = json!([{"role": "user", "content": "x"}]);
            let sent = to_chat(asked.as_object().unwrap(), "a").ok().unwrap();
            let sent = &sent.body["response_format"]["json_schema"];
            assert_eq!(sent["schema"], format["schema"]);
        }
    }
}
