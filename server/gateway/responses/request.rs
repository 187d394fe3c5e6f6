//! A request of the Responses API as one of chat completions.

use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
};

use serde_json::{Map, Value, json};

use super::super::{refusal::Refusal, thinking::Thoughts};

type Object = Map<String, Value>;

/// What a tool was, by the name under which a model calls it.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Tool {
    /// Its name in its namespace.
    pub(super) name: String,
    /// The namespace that it came from.
    pub(super) namespace: Option<Arc<str>>,
    /// Whether it takes free text.
    pub(super) is_custom: bool,
}

/// A request as it is sent, and what of it could not be.
pub(super) struct Translated {
    pub(super) body: Object,
    pub(super) dropped: Vec<String>,
    pub(super) tools: HashMap<String, Tool>,
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

/// A tool's name that is longer makes way for none: few models take one of 64 letters, and whoever sends the same name
/// a thousand times gets no thousand names, each longer than the one before.
const MAX_NAME: usize = 128;

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

fn add_tools(
    asked: &Object,
    body: &mut Object,
    dropped: &mut Vec<String>,
    known: &mut HashMap<String, Tool>,
) -> Result<(), Refusal> {
    let mut tools = Vec::new();
    let given = asked.get("tools").and_then(Value::as_array);
    let given: Vec<_> = given.into_iter().flatten().collect();
    // These keep their names, wherever in the list they are.
    let of_no_space = given.iter().filter(|tool| tool["type"] != "namespace");
    let of_no_space: HashSet<_> = of_no_space.filter_map(|it| it["name"].as_str()).collect();
    for tool in given {
        match tool["type"].as_str().unwrap_or("") {
            "function" => tools.push(function(tool, tool["name"].as_str(), None, known)),
            "custom" => tools.push(custom(tool, known)),
            "namespace" => {
                let inner = tool["tools"].as_array().into_iter().flatten();
                let inner = inner.filter(|tool| tool["type"] == "function");
                let space: Option<Arc<str>> = tool["name"].as_str().map(Arc::from);
                tools.extend(inner.map(|it| {
                    let name = it["name"].as_str();
                    // Servers of tools are not asked what others call theirs, and models take no two tools of one name.
                    let is_taken =
                        |name: &str| of_no_space.contains(name) || known.contains_key(name);
                    let mut offered = name.map(str::to_owned);
                    while let (Some(space), Some(name)) = (&space, &offered)
                        && is_taken(name)
                        && space.len() + name.len() <= MAX_NAME
                    {
                        offered = Some(format!("{space}__{name}"));
                    }
                    function(it, offered.as_deref(), space.clone(), known)
                }));
            }
            other => dropped.push(other.to_owned()),
        }
    }
    let choice = asked.get("tool_choice").filter(|choice| !choice.is_null());
    let chosen = choice.filter(|choice| choice.is_object());
    let name = chosen.and_then(|choice| choice["name"].as_str());
    let kind = chosen.and_then(|choice| choice["type"].as_str());
    let is_lost = chosen.is_some_and(|_| dropped.iter().any(|it| Some(it.as_str()) == kind));
    if is_lost || (tools.is_empty() && !dropped.is_empty()) {
        let message = format!(
            "`{}` is a tool that only its maker's servers run: offer a tool of your own",
            dropped.join("`, `")
        );
        return Err(Refusal::unsupported("tools", message));
    }
    if tools.is_empty() {
        return Ok(());
    }
    let names = Offered::of(known);
    if let Some(allowed) = chosen.filter(|_| kind == Some("allowed_tools")) {
        // Few servers know that choice; what is not offered is not called.
        let allowed = allowed["tools"].as_array().into_iter().flatten();
        let allowed: HashSet<_> = allowed.map(|it| names.name(it)).collect();
        tools.retain(|tool| allowed.contains(&tool["function"]["name"]));
        if tools.is_empty() {
            let message = "`tool_choice` allows none of `tools`: expected the name of one at least";
            return Err(Refusal::bad_request(Some("tool_choice"), message));
        }
    }
    body.insert("tools".into(), tools.into());
    let choice = match (choice, name) {
        (Some(choice), Some(_)) => {
            json!({"type": "function", "function": {"name": names.name(choice)}})
        }
        (Some(Value::String(choice)), _) => json!(choice),
        (Some(Value::Object(choice)), _) => choice.get("mode").cloned().unwrap_or(Value::Null),
        _ => Value::Null,
    };
    body.insert("tool_choice".into(), choice);
    if let Some(parallel) = asked.get("parallel_tool_calls") {
        body.insert("parallel_tool_calls".into(), parallel.clone());
    }
    Ok(())
}

fn function(
    tool: &Value,
    offered: Option<&str>,
    namespace: Option<Arc<str>>,
    known: &mut HashMap<String, Tool>,
) -> Value {
    let mut function = json!({"name": offered});
    for name in ["description", "parameters"] {
        if let Some(value) = tool.get(name).filter(|value| !value.is_null()) {
            function[name] = value.clone();
        }
    }
    // What is not said means another thing there.
    function["strict"] = match &tool["strict"] {
        Value::Null => true.into(),
        strict => strict.clone(),
    };
    if let (Some(name), Some(offered)) = (tool["name"].as_str(), offered) {
        let tool = Tool {
            name: name.to_owned(),
            namespace,
            is_custom: false,
        };
        known.insert(offered.to_owned(), tool);
    }
    json!({"type": "function", "function": function})
}

/// The names by which tools are offered: by their own, and their namespace.
struct Offered<'a>(HashMap<(&'a str, Option<&'a str>), &'a str>);

impl<'a> Offered<'a> {
    fn of(tools: &'a HashMap<String, Tool>) -> Self {
        let named = tools.iter().map(|(offered, tool)| {
            let own = (tool.name.as_str(), tool.namespace.as_deref());
            (own, offered.as_str())
        });
        Self(named.collect())
    }

    /// That of the tool that a call or a choice names.
    fn name(&self, named: &Value) -> Value {
        let (name, namespace) = (&named["name"], named["namespace"].as_str());
        let known = name.as_str().and_then(|own| self.0.get(&(own, namespace)));
        known.map_or_else(|| name.clone(), |offered| (*offered).into())
    }
}

/// A tool that takes free text, as a function that takes one text.
fn custom(tool: &Value, known: &mut HashMap<String, Tool>) -> Value {
    if let Some(name) = tool["name"].as_str() {
        let tool = Tool {
            name: name.to_owned(),
            namespace: None,
            is_custom: true,
        };
        known.insert(name.to_owned(), tool);
    }
    let input = json!({"type": "object", "properties": {"input": {"type": "string"}}, "required": ["input"]});
    let mut function = json!({"name": tool["name"], "parameters": input});
    if let Some(description) = tool.get("description") {
        function["description"] = description.clone();
    }
    json!({"type": "function", "function": function})
}
