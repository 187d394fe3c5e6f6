//! The input of a recorded call as a request: the original's words (`toolChoice: "required"`,
//! `outputSchema`) in those of OpenAI's body, or what it said was missing. The server itself reads no
//! such words.

use modelramp::providers::{ChatMessage, ChatRequest};
use serde::Deserialize;
use serde_json::{Map, Value, json};

/// What a caller wants from a model. Both spellings of the original are read, though not at once.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Wish {
    /// The conversation; contents are a text, one part, or a list of texts and parts.
    messages: Vec<ChatMessage>,
    /// Functions the model may call.
    tools: Vec<Value>,
    /// `none`, `auto`, `required`, `{name}`, or OpenAI's form.
    #[serde(alias = "tool_choice", rename = "toolChoice")]
    tool_choice: Option<Value>,
    /// OpenAI's `response_format`; wins over `output_schema`.
    #[serde(alias = "response_format", rename = "responseFormat")]
    response_format: Option<Value>,
    /// `{name, schema, strict?}`: the answer is JSON of this schema.
    #[serde(alias = "output_schema", rename = "outputSchema")]
    output_schema: Option<Value>,
    /// Tokens the answer may have.
    #[serde(alias = "max_tokens", rename = "maxTokens")]
    max_tokens: Option<u32>,
}

/// Why no request can be built.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum WishError {
    /// A part that is neither text, image nor file.
    #[error("Unsupported message content part")]
    UnsupportedPart,
    /// A tool is required and there is none.
    #[error("tool_choice 'required' was provided but no tools were configured")]
    NoTools,
    /// A tool is required and there are several.
    #[error("tool_choice 'required' needs a single tool or specify the tool name explicitly")]
    SeveralTools,
    /// `json_schema` without a schema.
    #[error("responseFormat json_schema requires a defined schema object")]
    NoSchema,
    /// An output schema that lacks its name or itself.
    #[error("outputSchema requires both name and schema")]
    IncompleteOutputSchema,
}

impl Wish {
    /// The request to a model, by the provider's id of it.
    pub(super) fn into_request(self, model: impl Into<String>) -> Result<ChatRequest, WishError> {
        let mut rest = Map::new();
        let tool_choice = tool_choice(self.tool_choice, &self.tools)?;
        if !self.tools.is_empty() {
            rest.insert("tools".into(), Value::Array(self.tools));
        }
        rest.extend(tool_choice.map(|choice| ("tool_choice".into(), choice)));
        let format = response_format(self.response_format, self.output_schema.as_ref())?;
        rest.extend(format.map(|format| ("response_format".into(), format)));
        let messages = self.messages.into_iter().map(message);
        Ok(ChatRequest {
            model: model.into(),
            max_tokens: self.max_tokens,
            rest,
            ..ChatRequest::new(messages.collect::<Result<_, _>>()?)
        })
    }
}

/// One text stays a text, parts become a list, the result of a tool becomes lines of text.
fn message(mut message: ChatMessage) -> Result<ChatMessage, WishError> {
    let parts = match message.content {
        Value::Array(parts) => parts,
        Value::Null if message.rest.contains_key("tool_calls") => {
            message.content = Value::Null;
            return Ok(message);
        }
        part => vec![part],
    };
    message.content = if matches!(message.role.as_str(), "tool" | "function") {
        let lines: Vec<String> = parts.iter().map(line).collect();
        Value::String(lines.join("\n"))
    } else {
        let mut parts = parts.into_iter().map(part).collect::<Result<Vec<_>, _>>()?;
        match parts.as_mut_slice() {
            [only] if only["type"] == "text" && only["text"].is_string() => only["text"].take(),
            _ => Value::Array(parts),
        }
    };
    Ok(message)
}

fn part(part: Value) -> Result<Value, WishError> {
    match &part {
        Value::String(text) => Ok(json!({"type": "text", "text": text})),
        Value::Object(fields) => match fields.get("type").and_then(Value::as_str) {
            Some("text" | "image_url" | "file_url") => Ok(part),
            _ => Err(WishError::UnsupportedPart),
        },
        _ => Err(WishError::UnsupportedPart),
    }
}

fn line(part: &Value) -> String {
    match part {
        Value::String(text) => text.clone(),
        part => part.to_string(),
    }
}

fn tool_choice(choice: Option<Value>, tools: &[Value]) -> Result<Option<Value>, WishError> {
    let by_name = |name: &Value| json!({"type": "function", "function": {"name": name}});
    let Some(choice) = choice.filter(|choice| !choice.is_null()) else {
        return Ok(None);
    };
    if choice == "required" {
        return match tools {
            [] => Err(WishError::NoTools),
            [only] => Ok(Some(by_name(&only["function"]["name"]))),
            _ => Err(WishError::SeveralTools),
        };
    }
    Ok(Some(match choice.get("name") {
        Some(name) => by_name(name),
        None => choice,
    }))
}

fn response_format(
    format: Option<Value>,
    output_schema: Option<&Value>,
) -> Result<Option<Value>, WishError> {
    let is_given = |value: &Value| !value.is_null();
    if let Some(format) = format.filter(is_given) {
        let lacks_schema = format
            .pointer("/json_schema/schema")
            .is_none_or(Value::is_null);
        return if format["type"] == "json_schema" && lacks_schema {
            Err(WishError::NoSchema)
        } else {
            Ok(Some(format))
        };
    }
    let Some(output) = output_schema.filter(|value| is_given(value)) else {
        return Ok(None);
    };
    let name = output["name"].as_str().filter(|name| !name.is_empty());
    let schema = output.get("schema").filter(|schema| schema.is_object());
    let (Some(name), Some(schema)) = (name, schema) else {
        return Err(WishError::IncompleteOutputSchema);
    };
    let mut wanted = json!({"name": name, "schema": schema});
    if let Some(strict) = output.get("strict").filter(|strict| strict.is_boolean()) {
        wanted["strict"] = strict.clone();
    }
    Ok(Some(json!({"type": "json_schema", "json_schema": wanted})))
}
