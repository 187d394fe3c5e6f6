//! Reads what a provider answered; an error can hide in a 200, so nothing is taken on trust.

use serde_json::Value;

use super::{
    Completion, Delta, Usage,
    fault::{Fault, FaultKind},
};
use crate::_core::units::Microdollars;

/// The answer in the body of a 200.
pub(super) fn completion(body: &[u8]) -> Result<Completion, Fault> {
    let raw: Value = serde_json::from_slice(body).map_err(|error| {
        let start = String::from_utf8_lossy(body.get(..200).unwrap_or(body)).into_owned();
        Fault::new(
            FaultKind::InvalidReply,
            format!("not JSON ({error}): {start}"),
        )
    })?;
    let choice = choice(&raw)?.ok_or_else(|| without_choice("the reply"))?;
    let message = choice.get("message").unwrap_or(&Value::Null);
    let content = text(message.get("content"));
    let finish_reason = string(choice.get("finish_reason"));
    // A model that is still being loaded answers with nothing and does not say that it is done.
    if content.is_empty() && finish_reason.is_none() && tool_calls(message).is_none() {
        return Err(Fault::new(
            FaultKind::InvalidReply,
            "an empty answer without a finish reason",
        ));
    }
    Ok(Completion {
        content,
        model: string(raw.get("model")).unwrap_or_default(),
        finish_reason,
        usage: usage(&raw),
        raw,
    })
}

/// One event of a stream; `None` where it is not JSON, which clients of this API have always
/// ignored.
pub(super) fn delta(data: &str) -> Result<Option<Delta>, Fault> {
    let Ok(raw) = serde_json::from_str::<Value>(data) else {
        tracing::debug!(length = data.len(), "an event of a stream is not JSON");
        return Ok(None);
    };
    let choice = choice(&raw)?;
    let part = choice
        .and_then(|choice| choice.get("delta").or_else(|| choice.get("message")))
        .unwrap_or(&Value::Null);
    let content = text(part.get("content"));
    let tool_calls = tool_calls(part).cloned();
    let reasons = ["reasoning", "reasoning_content"].iter().any(|key| {
        part.get(*key)
            .and_then(Value::as_str)
            .is_some_and(|text| !text.is_empty())
    });
    Ok(Some(Delta {
        is_token: !content.is_empty() || tool_calls.is_some() || reasons,
        content,
        tool_calls,
        finish_reason: string(choice.and_then(|choice| choice.get("finish_reason"))),
        usage: usage(&raw),
        model: string(raw.get("model")),
        raw,
    }))
}

/// A stream or a reply in which no choice was made.
pub(super) fn without_choice(what: &str) -> Fault {
    Fault::new(FaultKind::InvalidReply, format!("{what} holds no choice"))
}

/// The first choice, unless it or the whole is an error.
fn choice(raw: &Value) -> Result<Option<&Value>, Fault> {
    let error_of = |value: &Value| value.get("error").filter(|error| !error.is_null()).cloned();
    if let Some(error) = error_of(raw) {
        return Err(Fault::of_error(&error, None));
    }
    let Some(choice) = raw.get("choices").and_then(|choices| choices.get(0)) else {
        return Ok(None);
    };
    if let Some(error) = error_of(choice) {
        return Err(Fault::of_error(&error, None));
    }
    if choice.get("finish_reason").and_then(Value::as_str) == Some("error") {
        return Err(Fault::new(
            FaultKind::Upstream,
            "the finish reason is `error`",
        ));
    }
    Ok(Some(choice))
}

/// A text, or the texts of a list of parts.
fn text(content: Option<&Value>) -> String {
    match content {
        Some(Value::String(text)) => text.clone(),
        Some(Value::Array(parts)) => parts
            .iter()
            .filter_map(|part| part.get("text").and_then(Value::as_str))
            .collect(),
        _ => String::new(),
    }
}

fn tool_calls(message: &Value) -> Option<&Value> {
    message
        .get("tool_calls")
        .filter(|calls| calls.as_array().is_some_and(|calls| !calls.is_empty()))
}

fn string(value: Option<&Value>) -> Option<String> {
    value.and_then(Value::as_str).map(str::to_owned)
}

fn usage(raw: &Value) -> Option<Usage> {
    let usage = raw.get("usage").filter(|usage| usage.is_object())?;
    let tokens = |key: &str| {
        let count = usage.get(key).and_then(Value::as_u64).unwrap_or(0);
        u32::try_from(count).unwrap_or(u32::MAX)
    };
    let cost = usage
        .get("cost")
        .and_then(Value::as_f64)
        .filter(|cost| cost.is_finite() && *cost >= 0.0);
    Some(Usage {
        prompt_tokens: tokens("prompt_tokens"),
        completion_tokens: tokens("completion_tokens"),
        cost: cost.map(Microdollars::from_dollars),
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn fault(reply: &Value) -> FaultKind {
        completion(reply.to_string().as_bytes()).unwrap_err().kind
    }

    #[test]
    fn an_answer_is_read_whole() {
        let reply = json!({"model": "m", "choices": [{"message": {"content": "hej"}, "finish_reason": "stop"}],
            "usage": {"prompt_tokens": 3, "completion_tokens": 2, "cost": 0.0025}});
        let answer = completion(reply.to_string().as_bytes()).unwrap();
        assert_eq!(
            (answer.content.as_str(), answer.model.as_str()),
            ("hej", "m")
        );
        let usage = answer.usage.unwrap();
        assert_eq!((usage.prompt_tokens, usage.completion_tokens), (3, 2));
        assert_eq!(usage.cost, Some(Microdollars(2500)));
        assert_eq!(answer.raw, reply);
    }

    #[test]
    fn an_error_hides_in_a_200() {
        let choice = |choice: Value| json!({ "choices": [choice] });
        for (reply, kind) in [
            (
                json!({"error": {"code": 429}}),
                FaultKind::ProviderRateLimited,
            ),
            (
                json!({"error": {"code": 400}, "choices": []}),
                FaultKind::BadRequest,
            ),
            (choice(json!({"error": {"code": 403}})), FaultKind::Refused),
            (
                choice(json!({"finish_reason": "error", "message": {"content": "x"}})),
                FaultKind::Upstream,
            ),
            (
                choice(json!({"message": {"content": ""}})),
                FaultKind::InvalidReply,
            ),
            (json!({"choices": []}), FaultKind::InvalidReply),
            (json!({}), FaultKind::InvalidReply),
            (json!([1]), FaultKind::InvalidReply),
            (json!(null), FaultKind::InvalidReply),
        ] {
            assert_eq!(fault(&reply), kind, "{reply}");
        }
        assert_eq!(
            completion(b"<html>").unwrap_err().kind,
            FaultKind::InvalidReply
        );
        assert_eq!(
            completion(br#"{"choices":[{"mess"#).unwrap_err().kind,
            FaultKind::InvalidReply
        );
    }

    #[test]
    fn null_is_not_an_error() {
        let reply = json!({"error": null, "choices": [{"error": null, "message": {"content": [{"type": "text", "text": "a"}, {"text": "b"}]}}]});
        assert_eq!(
            completion(reply.to_string().as_bytes()).unwrap().content,
            "ab"
        );
    }

    #[test]
    fn only_text_reasoning_and_tool_calls_are_tokens() {
        let is_token = |delta: Value| {
            super::delta(&json!({"choices": [{ "delta": delta }]}).to_string())
                .unwrap()
                .unwrap()
                .is_token
        };
        assert!(is_token(json!({"content": "a"})));
        assert!(is_token(json!({"content": null, "reasoning": "hm"})));
        assert!(is_token(json!({"tool_calls": [{"index": 0}]})));
        assert!(!is_token(json!({"role": "assistant", "content": ""})));
        assert!(!is_token(json!({"content": null, "tool_calls": []})));
    }

    #[test]
    fn strange_figures_are_bounded() {
        let reply =
            json!({"usage": {"prompt_tokens": 1e300, "completion_tokens": u64::MAX, "cost": -1}});
        let usage = usage(&reply).unwrap();
        assert_eq!(
            (usage.prompt_tokens, usage.completion_tokens, usage.cost),
            (0, u32::MAX, None)
        );
    }
}
