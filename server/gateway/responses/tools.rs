//! The tools of a request of the Responses API: under which names they are offered, and what they were.

use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
};

use serde_json::{Map, Value, json};

use super::super::refusal::Refusal;

type Object = Map<String, Value>;

/// A tool's name that is longer makes way for none: few models take one of 64 letters, and whoever sends the same name
/// a thousand times gets no thousand names, each longer than the one before.
const MAX_NAME: usize = 128;

/// What a tool was, by the name under which a model calls it.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct OfferedTool {
    /// Its name in its namespace.
    pub(super) name: String,
    /// The namespace that it came from.
    pub(super) namespace: Option<Arc<str>>,
    /// Whether it takes free text.
    pub(super) is_custom: bool,
}

/// Offers the tools of a request, under names that each has alone; `dropped` gets the kinds of those that cannot be offered.
pub(super) fn add_tools(
    asked: &Object,
    body: &mut Object,
    dropped: &mut Vec<String>,
    known: &mut HashMap<String, OfferedTool>,
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
            "custom" => tools.push(custom(tool, tool["name"].as_str(), None, known)),
            "namespace" => {
                let inner = tool["tools"].as_array().into_iter().flatten();
                let space: Option<Arc<str>> = tool["name"].as_str().map(Arc::from);
                for it in inner {
                    let make = match it["type"].as_str().unwrap_or("") {
                        "function" => function,
                        "custom" => custom,
                        other => {
                            dropped.push(other.to_owned());
                            continue;
                        }
                    };
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
                    tools.push(make(it, offered.as_deref(), space.clone(), known));
                }
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
    known: &mut HashMap<String, OfferedTool>,
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
    know(tool, offered, namespace, false, known);
    json!({"type": "function", "function": function})
}

fn know(
    tool: &Value,
    offered: Option<&str>,
    namespace: Option<Arc<str>>,
    is_custom: bool,
    known: &mut HashMap<String, OfferedTool>,
) {
    if let (Some(name), Some(offered)) = (tool["name"].as_str(), offered) {
        let tool = OfferedTool {
            name: name.to_owned(),
            namespace,
            is_custom,
        };
        known.insert(offered.to_owned(), tool);
    }
}

/// The names by which tools are offered: by their own, and their namespace.
pub(super) struct Offered<'a>(HashMap<(&'a str, Option<&'a str>), &'a str>);

impl<'a> Offered<'a> {
    pub(super) fn of(tools: &'a HashMap<String, OfferedTool>) -> Self {
        let named = tools.iter().map(|(offered, tool)| {
            let own = (tool.name.as_str(), tool.namespace.as_deref());
            (own, offered.as_str())
        });
        Self(named.collect())
    }

    /// That of the tool that a call or a choice names.
    pub(super) fn name(&self, named: &Value) -> Value {
        let (name, namespace) = (&named["name"], named["namespace"].as_str());
        let known = name.as_str().and_then(|own| self.0.get(&(own, namespace)));
        known.map_or_else(|| name.clone(), |offered| (*offered).into())
    }
}

/// A tool that takes free text, as a function that takes one text.
fn custom(
    tool: &Value,
    offered: Option<&str>,
    namespace: Option<Arc<str>>,
    known: &mut HashMap<String, OfferedTool>,
) -> Value {
    know(tool, offered, namespace, true, known);
    let input = json!({"type": "object", "properties": {"input": {"type": "string"}}, "required": ["input"]});
    let mut function = json!({"name": offered, "parameters": input});
    if let Some(description) = tool.get("description") {
        function["description"] = description.clone();
    }
    json!({"type": "function", "function": function})
}
