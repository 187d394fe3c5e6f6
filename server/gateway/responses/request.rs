//! A request of the Responses API as one of chat completions.

use std::collections::HashMap;

use serde_json::{Map, Value, json};

use super::{
    super::{refusal::Refusal, thinking::Thoughts},
    tools::{Offered, OfferedTool, add_tools},
};

type Object = Map<String, Value>;

/// A request as it is sent, and what of it could not be.
pub(super) struct Translated {
    pub(super) body: Object,
    pub(super) dropped: Vec<String>,
    pub(super) tools: HashMap<String, OfferedTool>,
}

/// Fields that chat completions do not have, or that were translated.
const OWN: &[&str] = &[
    "model",
    "input",
    "instructions",
    "tools",
    "tool_choice",
    "parallel_tool_calls",
    "max_output_tokens",
    "max_tool_calls",
    "text",
    "reasoning",
    "include",
    "store",
    "stream",
    "stream_options",
    "previous_response_id",
    "conversation",
    "background",
    "truncation",
    "metadata",
    "user",
    "safety_identifier",
    "service_tier",
    "prompt",
    "client_metadata",
    "context_management",
    "top_logprobs",
];

/// What `include` names where the probabilities of tokens are wanted.
const LOGPROBS: &str = "message.output_text.logprobs";

/// Refuses what this gateway cannot do, as it stores nothing.
pub(super) fn check(asked: &Object) -> Result<(), Refusal> {
    let is_given = |name: &str| asked.get(name).is_some_and(|value| !value.is_null());
    let history = "this gateway stores nothing: send the whole history in `input`";
    for name in ["previous_response_id", "conversation"] {
        if is_given(name) {
            return Err(Refusal::unsupported(
                name,
                format!("`{name}` is not supported: {history}"),
            ));
        }
    }
    if asked.get("background") == Some(&Value::Bool(true)) {
        let message = "`background` is not supported: ask for a stream instead";
        return Err(Refusal::unsupported("background", message));
    }
    if is_given("prompt") {
        let message = "`prompt` is not supported: send its text in `instructions` or `input`";
        return Err(Refusal::unsupported("prompt", message));
    }
    let asks_for_none = |it: &Value| it.is_null() || *it == 0;
    if !asked.get("top_logprobs").is_none_or(asks_for_none) {
        let message = "`top_logprobs` is not supported: ask `/v1/chat/completions` for them";
        return Err(Refusal::unsupported("top_logprobs", message));
    }
    let included = asked.get("include").and_then(Value::as_array);
    if included.is_some_and(|it| it.iter().any(|it| it == LOGPROBS)) {
        let message = "`message.output_text.logprobs` is not supported: ask `/v1/chat/completions` for `logprobs`";
        return Err(Refusal::unsupported("include", message));
    }
    if !is_given("input") {
        let message = "`input` is missing: expected a text or a list of items";
        return Err(Refusal::bad_request(Some("input"), message));
    }
    let items = asked["input"].as_array();
    let are_items = items.is_some_and(|it| !it.is_empty() && it.iter().all(Value::is_object));
    if !asked["input"].is_string() && !are_items {
        let message =
            "`input` is no text and no list of items: expected one item at least, each an object";
        return Err(Refusal::bad_request(Some("input"), message));
    }
    Ok(())
}

/// The request for this model.
pub(super) fn to_chat(asked: &Object, model: &str) -> Result<Translated, Refusal> {
    let (mut body, mut offer) = (Object::new(), Object::new());
    let (mut dropped, mut tools) = (Vec::new(), HashMap::new());
    add_tools(asked, &mut offer, &mut dropped, &mut tools)?;
    let mut turns = Turns {
        messages: Vec::new(),
        thought: Object::new(),
        images: Vec::new(),
        offered: Offered::of(&tools),
        model,
    };
    if let Some(text) = asked.get("instructions").and_then(Value::as_str)
        && !text.is_empty()
    {
        turns
            .messages
            .push(json!({"role": "system", "content": text}));
    }
    match &asked["input"] {
        Value::String(text) => turns
            .messages
            .push(json!({"role": "user", "content": text})),
        input => {
            for item in input.as_array().into_iter().flatten() {
                turns.add(item)?;
            }
        }
    }
    turns.show();
    turns.settle();
    for message in turns.messages.iter_mut().filter_map(Value::as_object_mut) {
        Thoughts::give_back(message);
    }
    body.insert("messages".into(), turns.messages.into());
    body.extend(offer);
    if let Some(most) = asked.get("max_output_tokens") {
        body.insert("max_tokens".into(), most.clone());
    }
    if let Some(effort) = asked.get("reasoning").and_then(|it| it.get("effort")) {
        body.insert("reasoning_effort".into(), effort.clone());
    }
    if let Some(text) = asked.get("text") {
        add_form(text, &mut body);
    }
    for (name, value) in asked {
        if !OWN.contains(&name.as_str()) {
            body.insert(name.clone(), value.clone());
        }
    }
    body.retain(|_, value| !value.is_null());
    Ok(Translated {
        body,
        dropped,
        tools,
    })
}

/// The form of the answer.
fn add_form(text: &Value, body: &mut Object) {
    let format = &text["format"];
    let translated = match format["type"].as_str() {
        Some("json_schema") => {
            let mut schema = Object::new();
            for name in ["name", "description", "schema", "strict"] {
                if let Some(value) = format.get(name) {
                    schema.insert(name.into(), value.clone());
                }
            }
            json!({"type": "json_schema", "json_schema": schema})
        }
        Some("json_object") => json!({"type": "json_object"}),
        _ => Value::Null,
    };
    body.insert("response_format".into(), translated);
    body.insert("verbosity".into(), text["verbosity"].clone());
}

struct Turns<'a> {
    messages: Vec<Value>,
    /// What was thought, for the assistant's message that follows.
    thought: Object,
    /// What results of tools show, for the user's message behind them.
    images: Vec<Value>,
    offered: Offered<'a>,
    model: &'a str,
}

impl Turns<'_> {
    fn add(&mut self, item: &Value) -> Result<(), Refusal> {
        let kind = item["type"].as_str().unwrap_or("message");
        if !matches!(kind, "function_call_output" | "custom_tool_call_output") {
            self.show();
        }
        match kind {
            "message" => self.add_message(item)?,
            "function_call" => {
                self.add_call(item, item["arguments"].as_str().unwrap_or("{}"));
            }
            "custom_tool_call" => {
                let arguments = json!({"input": item["input"]}).to_string();
                self.add_call(item, &arguments);
            }
            "function_call_output" | "custom_tool_call_output" => self.add_result(item)?,
            "reasoning" => self.add_thought(item),
            "item_reference" => {
                let message = "`item_reference` is not supported: send the item itself";
                return Err(Refusal::unsupported("input", message));
            }
            // Of tools that only OpenAI's servers run, or for them.
            _ => {}
        }
        Ok(())
    }

    fn add_message(&mut self, item: &Value) -> Result<(), Refusal> {
        let role = match item["role"].as_str() {
            Some("developer" | "system") => "system",
            Some("assistant") => "assistant",
            _ => "user",
        };
        let content = content(&item["content"])?;
        if role != "assistant" {
            self.settle();
        }
        let mut message = json!({"role": role, "content": content});
        if role == "assistant"
            && let Value::Object(message) = &mut message
        {
            message.extend(std::mem::take(&mut self.thought));
        }
        self.messages.push(message);
        Ok(())
    }

    /// Calls belong to the assistant's message before them.
    fn add_call(&mut self, item: &Value, arguments: &str) {
        let name = self.offered.name(item);
        let function = json!({"name": name, "arguments": arguments});
        let call = json!({"id": item["call_id"], "type": "function", "function": function});
        let last = self
            .messages
            .last_mut()
            .filter(|last| last["role"] == "assistant");
        if let Some(Value::Object(last)) = last
            && self.thought.is_empty()
        {
            let calls = last.entry("tool_calls").or_insert_with(|| json!([]));
            if let Value::Array(calls) = calls {
                calls.push(call);
            }
            return;
        }
        let mut message = Object::new();
        message.insert("role".into(), "assistant".into());
        message.insert("content".into(), Value::Null);
        message.insert("tool_calls".into(), json!([call]));
        message.extend(std::mem::take(&mut self.thought));
        self.messages.push(message.into());
    }

    fn add_result(&mut self, item: &Value) -> Result<(), Refusal> {
        self.settle();
        let text = match content(&item["output"])? {
            Value::String(text) => text,
            Value::Array(parts) => {
                let (texts, others): (Vec<_>, Vec<_>) =
                    parts.into_iter().partition(|part| part["type"] == "text");
                self.images.extend(others);
                let texts = texts.iter().filter_map(|part| part["text"].as_str());
                texts.collect::<Vec<_>>().join("\n")
            }
            _ => String::new(),
        };
        let id = &item["call_id"];
        self.messages
            .push(json!({"role": "tool", "tool_call_id": id, "content": text}));
        Ok(())
    }

    /// Servers refuse calls of which not all results come directly behind them, so what these show comes after the last.
    fn show(&mut self) {
        if !self.images.is_empty() {
            let images = std::mem::take(&mut self.images);
            self.messages
                .push(json!({"role": "user", "content": images}));
        }
    }

    fn add_thought(&mut self, item: &Value) {
        let texts = |name: &str| {
            let parts = item[name].as_array().into_iter().flatten();
            parts
                .filter_map(|part| part["text"].as_str())
                .collect::<String>()
        };
        let text = Some(texts("content")).filter(|text| !text.is_empty());
        let text = text.unwrap_or_else(|| texts("summary"));
        let packed = item["encrypted_content"].as_str().unwrap_or("");
        let thought = Thoughts::unpack(&text, packed, self.model).unwrap_or_default();
        Thoughts::join(&mut self.thought, thought);
    }

    /// What was thought behind the last words or calls of a turn belongs to that turn.
    fn settle(&mut self) {
        let thought = std::mem::take(&mut self.thought);
        let last = self.messages.last_mut();
        let last = last.filter(|last| last["role"] == "assistant");
        if let Some(Value::Object(last)) = last {
            Thoughts::join(last, thought);
        }
    }
}

/// A text, or parts of chat completions.
fn content(content: &Value) -> Result<Value, Refusal> {
    let Some(parts) = content.as_array() else {
        return Ok(content.clone());
    };
    let mut all = Vec::new();
    for part in parts {
        all.push(match part["type"].as_str() {
            Some("input_text" | "output_text" | "text" | "summary_text") => {
                json!({"type": "text", "text": part["text"]})
            }
            Some("refusal") => json!({"type": "text", "text": part["refusal"]}),
            Some("input_image") if part["image_url"].is_string() => {
                let mut image = json!({"url": part["image_url"]});
                if let Some(detail) = part.get("detail").filter(|detail| !detail.is_null()) {
                    image["detail"] = detail.clone();
                }
                json!({"type": "image_url", "image_url": image})
            }
            Some("input_file") if part["file_data"].is_string() => {
                let file = json!({"filename": part["filename"], "file_data": part["file_data"]});
                json!({"type": "file", "file": file})
            }
            Some("input_image" | "input_file") => {
                let message = "a `file_id` or address of a file is not supported: send its data";
                return Err(Refusal::unsupported("input", message));
            }
            Some("input_audio") if part["input_audio"].is_object() => {
                json!({"type": "input_audio", "input_audio": part["input_audio"]})
            }
            _ if part["text"].is_string() => json!({"type": "text", "text": part["text"]}),
            _ => continue,
        });
    }
    Ok(match all.as_mut_slice() {
        [only] if only["type"] == "text" => only["text"].take(),
        _ => all.into(),
    })
}
