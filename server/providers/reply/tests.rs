use serde_json::json;

use super::*;
use crate::providers::Message;

fn request() -> ChatRequest {
    ChatRequest::new(vec![Message::text("user", "hello")])
}

fn whole(reply: &Value) -> Result<Completion, Fault> {
    completion(reply.to_string().into_bytes(), &request())
}

fn fault(reply: &Value) -> FaultKind {
    whole(reply).unwrap_err().kind
}

fn message(message: Value) -> Value {
    let mut reply = json!({"choices": [{"finish_reason": "stop"}]});
    reply["choices"][0]["message"] = message;
    reply
}

#[test]
fn an_answer_is_read_whole() {
    let reply = json!({"model": "m", "choices": [{"message": {"content": "hej"}, "finish_reason": "stop"}],
        "usage": {"prompt_tokens": 3, "completion_tokens": 2, "cost": 0.0025}});
    let answer = whole(&reply).unwrap();
    assert_eq!(
        (answer.content.as_str(), answer.model.as_str()),
        ("hej", "m")
    );
    let usage = answer.usage.unwrap();
    assert_eq!((usage.prompt_tokens, usage.completion_tokens), (3, 2));
    assert_eq!(usage.cost, Some(Microdollars(2500)));
    assert_eq!(answer.raw, reply.to_string());
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
        (json!([{"error": {"code": 503}}]), FaultKind::Upstream),
        (
            json!({"object": "error", "message": "maximum context length is 5 tokens", "code": 400}),
            FaultKind::ContextLength,
        ),
        (choice(json!({"error": {"code": 403}})), FaultKind::Refused),
        (
            choice(json!({"finish_reason": "error", "message": {"content": "x"}})),
            FaultKind::Upstream,
        ),
        (json!({"choices": []}), FaultKind::InvalidReply),
        (json!({"choices": null}), FaultKind::InvalidReply),
        (json!({}), FaultKind::InvalidReply),
        (json!([1]), FaultKind::InvalidReply),
        (json!(null), FaultKind::InvalidReply),
    ] {
        assert_eq!(fault(&reply), kind, "{reply}");
    }
    for broken in [&b"<html>"[..], br#"{"choices":[{"mess"#, b""] {
        let fault = completion(broken.to_vec(), &request()).unwrap_err();
        assert_eq!(fault.kind, FaultKind::InvalidReply);
    }
}

#[test]
fn an_answer_that_says_nothing_is_a_fault_whatever_its_reason() {
    let call =
        json!([{"id": "c", "type": "function", "function": {"name": "f", "arguments": "{}"}}]);
    for empty in [
        json!({"content": ""}),
        json!({"content": null}),
        json!({"content": null, "reasoning": "Let me think"}),
        json!({"content": "", "reasoning_content": "42?"}),
        json!({"content": " \n\u{200b}\u{feff}"}),
        json!({"content": []}),
        json!({"content": [{"type": "text", "text": ""}]}),
        json!({"content": [{"type": "thinking", "text": "hm"}]}),
        json!({"content": null, "refusal": " "}),
        json!({"content": null, "tool_calls": []}),
        json!({"content": "", "tool_calls": call}),
        json!({}),
    ] {
        for reason in [
            json!("stop"),
            json!("length"),
            json!("content_filter"),
            json!("tool_calls"),
            Value::Null,
        ] {
            let reply = json!({"choices": [{"message": empty, "finish_reason": reason}]});
            assert_eq!(fault(&reply), FaultKind::EmptyReply, "{reply}");
        }
    }
    assert_eq!(fault(&json!({"choices": [{}]})), FaultKind::EmptyReply);

    let mut asked = request();
    asked
        .rest
        .insert("tools".into(), json!([{"type": "function"}]));
    let reply = message(json!({"content": null, "tool_calls": call}));
    let answer = completion(reply.to_string().into_bytes(), &asked).unwrap();
    assert_eq!(
        (answer.content.as_str(), answer.tool_calls),
        ("", Some(call))
    );
}

#[test]
fn a_refusals_words_are_the_answer() {
    for reply in [
        message(json!({"content": null, "refusal": "I cannot."})),
        message(json!({"content": [{"type": "refusal", "refusal": "I cannot."}]})),
        json!({"choices": [{"message": {"content": "I cannot."}, "finish_reason": "refusal"}]}),
    ] {
        let answer = whole(&reply).unwrap();
        assert_eq!(
            (answer.content.as_str(), answer.is_refusal),
            ("I cannot.", true)
        );
    }
    assert!(
        !whole(&message(json!({"content": "Sure.", "refusal": null})))
            .unwrap()
            .is_refusal
    );
}

#[test]
fn thoughts_in_the_text_are_split_off_where_the_model_is_known_for_it() {
    let reply = message(json!({"content": "<think>plan</think>\nvisible"})).to_string();
    let mut asked = request();
    assert!(
        completion(reply.clone().into_bytes(), &asked)
            .unwrap()
            .content
            .starts_with("<think>")
    );
    asked.reading.reasoning_tag = Some("think".into());
    let answer = completion(reply.into_bytes(), &asked).unwrap();
    assert_eq!(
        (answer.content.as_str(), answer.reasoning.as_str()),
        ("visible", "plan")
    );
    let only = message(json!({"content": "<think>plan</think>\n"})).to_string();
    let fault = completion(only.into_bytes(), &asked).unwrap_err();
    assert_eq!(fault.kind, FaultKind::EmptyReply);
}

#[test]
fn null_is_not_an_error() {
    let reply = json!({"error": null, "choices": [{"error": null, "message": {"content": [{"type": "text", "text": "a"}, {"text": "b"}]}}]});
    assert_eq!(whole(&reply).unwrap().content, "ab");
}

#[test]
fn what_is_nearly_json_is_read() {
    for body in [
        &b"\xEF\xBB\xBF{\"choices\": [{\"message\": {\"content\": \"nice \\ud83d\"}}]}"[..],
        b"{\"choices\": [{\"message\": {\"content\": \"nice \\ud83d\"}}], \"usage\": {\"rate\": NaN}}",
    ] {
        let answer = completion(body.to_vec(), &request()).unwrap();
        assert_eq!(answer.content, "nice \u{fffd}");
    }
}

#[test]
fn strange_figures_are_bounded() {
    let usage = |usage: Value| {
        let reply = json!({"choices": [{"message": {"content": "x"}}], "usage": usage});
        whole(&reply).unwrap().usage
    };
    let strange =
        usage(json!({"prompt_tokens": -1, "completion_tokens": u64::MAX, "cost": -1})).unwrap();
    assert_eq!(
        (
            strange.prompt_tokens,
            strange.completion_tokens,
            strange.cost
        ),
        (0, u32::MAX, None)
    );
    let floats =
        usage(json!({"prompt_tokens": 7.0, "completion_tokens": 3.0, "cost": "0.0025"})).unwrap();
    assert_eq!((floats.prompt_tokens, floats.completion_tokens), (7, 3));
    assert_eq!(floats.cost, Some(Microdollars(2500)));
    assert_eq!(usage(Value::Null), None);
    assert_eq!(usage(json!([])), None);
}
