use serde_json::json;

use super::*;
use crate::providers::ChatMessage;

fn request() -> ChatRequest {
    ChatRequest::new(vec![ChatMessage::text("user", "hello")])
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
        json!({"content": "<|im_end|>\n"}),
        json!({"content": "\u{fffd}</s>"}),
        json!({"content": "<think>hm</think>\n</s>"}),
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
    // The prompt left no room: a larger context may, and no model is to blame.
    let full = json!({"content": ""});
    let full =
        json!({"choices": [{"message": full, "finish_reason": "model_context_window_exceeded"}]});
    assert_eq!(fault(&full), FaultKind::ContextLength);

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
fn a_thought_alone_is_no_answer_also_where_nothing_is_split() {
    for (content, is_answer) in [
        ("<think>plan</think>", false),
        ("\n<think>\nplan\n</think>\n\u{200b}", false),
        ("<think>never done", false),
        ("<thinking>a</thinking><think>b</think>", false),
        ("[THINK]plan[/THINK]", false),
        ("<think>plan</think>visible", true),
        ("about <think> tags", true),
        ("plan</think>", true),
        ("<thin", true),
    ] {
        let reply = message(json!({ "content": content }));
        let answer = whole(&reply).map(|answer| answer.content);
        let events = [content.split_at(content.floor_char_boundary(content.len() / 2))];
        let [(first, second)] = events;
        let mut steps = crate::providers::stream::Steps::new(&request());
        let mut deltas = Vec::new();
        for piece in [first, second] {
            let event = json!({"choices": [{"delta": {"content": piece}}]});
            deltas.extend(steps.push(&format!("data: {event}\n\n").into()));
        }
        deltas.extend(steps.push(&"data: [DONE]\n\n".into()));
        deltas.extend(steps.finish());
        let streamed: Result<Vec<_>, _> = deltas.into_iter().collect();
        let streamed = streamed.map(|deltas| {
            let texts = deltas.into_iter().map(|delta| delta.content);
            texts.collect::<String>()
        });
        for told in [answer, streamed] {
            match told {
                // What is not to be split stays as it is.
                Ok(text) => assert!(is_answer && text == content, "{content:?} {text:?}"),
                Err(fault) => {
                    assert!(!is_answer, "{content:?}");
                    assert_eq!(fault.kind, FaultKind::EmptyReply, "{content:?}");
                }
            }
        }
    }
}

#[test]
fn an_error_under_a_success_is_what_it_says_in_whatever_shape() {
    let long = "prompt is too long: 9001 tokens > 8192 maximum";
    for body in [
        json!({"type": "error", "message": long}),
        json!({"status": "error", "message": long}),
        json!({"success": false, "errors": [{"message": long}]}),
        json!({"error_code": 336_103, "error_msg": long}),
        json!({"code": 400, "message": long}),
        json!({ "message": long }),
        json!({"msg": long, "data": null}),
        json!([{ "message": long }]),
        json!(long),
    ] {
        let streams = [
            format!("event: error\ndata: {body}\n\n"),
            format!("data: {body}\n\n"),
            format!("data: {body}\n\ndata: [DONE]\n\n"),
            format!("event: error\ndata: {long}\n\n"),
            format!("data: {long}\n\n"),
        ];
        let kinds = streams.map(|text| {
            let mut steps = crate::providers::stream::Steps::new(&request());
            let mut deltas = steps.push(&text.into());
            deltas.extend(steps.finish());
            deltas
                .into_iter()
                .find_map(Result::err)
                .map(|fault| fault.kind)
        });
        assert_eq!(kinds, [Some(FaultKind::ContextLength); 5], "{body}");
        assert_eq!(
            whole(&body).unwrap_err().kind,
            FaultKind::ContextLength,
            "{body}"
        );
    }
    let plain = completion(long.as_bytes().to_vec(), &request()).unwrap_err();
    assert_eq!(plain.kind, FaultKind::ContextLength);
    // What calls itself an error is one, also in words that nobody knows; anything else is unreadable.
    let kind = |body: Value| whole(&body).unwrap_err().kind;
    assert_eq!(
        kind(json!({"type": "error", "message": "?"})),
        FaultKind::Upstream
    );
    assert_eq!(kind(json!({"message": "?"})), FaultKind::InvalidReply);
    // News between the steps of a stream is none.
    let mut steps = crate::providers::stream::Steps::new(&request());
    let news = json!({"type": "status", "message": "the prompt is too long to be quick"});
    let step = json!({"choices": [{"delta": {"content": "x"}}]});
    let mut deltas =
        steps.push(&format!("data: {news}\n\ndata: {step}\n\ndata: [DONE]\n\n").into());
    deltas.extend(steps.finish());
    assert!(deltas.iter().all(Result::is_ok));
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
    for nothing in [
        Value::Null,
        json!([]),
        json!({}),
        json!({"prompt_tokens": null}),
    ] {
        assert_eq!(usage(nothing.clone()), None, "{nothing}");
    }
}

#[test]
fn what_is_billed_and_told_elsewhere_counts() {
    let usage = |usage: Value| {
        let reply = json!({"choices": [{"message": {"content": "x"}}], "usage": usage});
        let usage = whole(&reply).unwrap().usage.unwrap();
        let cost = usage.cost.map(|cost| cost.0);
        (usage.completion_tokens, usage.reasoning_tokens, cost)
    };
    let google = json!({"prompt_tokens": 8, "completion_tokens": 6, "total_tokens": 204});
    assert_eq!(usage(google), (196, 190, None));
    let openai = json!({
        "prompt_tokens": 8, "completion_tokens": 196, "total_tokens": 204,
        "completion_tokens_details": {"reasoning_tokens": 190},
    });
    assert_eq!(usage(openai), (196, 190, None));
    let of_host = |is_own: bool| {
        json!({
            "prompt_tokens": 1, "completion_tokens": 1, "total_tokens": 2, "is_byok": is_own, "cost": 0.001,
            "cost_details": {"upstream_inference_cost": 0.02},
        })
    };
    // OpenRouter gives the host's price of its own keys as well, and it is in `cost` then.
    assert_eq!(usage(of_host(true)), (1, 0, Some(21_000)));
    assert_eq!(usage(of_host(false)), (1, 0, Some(1_000)));
    // Its fee, which is nothing as a rule, is not what the answer cost.
    let untold = json!({
        "prompt_tokens": 1, "completion_tokens": 1, "is_byok": true, "cost": 0,
        "cost_details": {"upstream_inference_cost": null},
    });
    assert_eq!(usage(untold), (1, 0, None));
    // What was read is nothing that was thought.
    let without_prompt = json!({"completion_tokens": 6, "total_tokens": 204});
    assert_eq!(usage(without_prompt), (6, 0, None));
    // What was not read was written, and nobody says that it was thought.
    let without_completion = json!({"prompt_tokens": 4, "total_tokens": 204});
    assert_eq!(usage(without_completion), (200, 0, None));
}

#[test]
fn a_list_of_one_is_passed_on_as_the_one() {
    for (came, goes) in [
        (r#"[{"choices":[]}]"#, r#"{"choices":[]}"#),
        (r#" [ {"a":1} ]"#, r#"{"a":1}"#),
        (r#"{"a":[1]}"#, r#"{"a":[1]}"#),
        ("[]", "[]"),
    ] {
        assert_eq!(unlisted(came.to_owned()), goes);
    }
}

#[test]
fn parts_of_what_was_read_and_written_are_told_apart() {
    let usage = |usage: Value| {
        let reply = json!({"choices": [{"message": {"content": "x"}}], "usage": usage});
        let usage = whole(&reply).unwrap().usage.unwrap();
        (
            usage.cached_tokens,
            usage.cache_write_tokens,
            usage.reasoning_tokens,
        )
    };
    let openai = json!({
        "prompt_tokens": 30, "completion_tokens": 20,
        "prompt_tokens_details": {"cached_tokens": 25, "cache_write_tokens": 3, "audio_tokens": 0},
        "completion_tokens_details": {"reasoning_tokens": 7},
    });
    assert_eq!(usage(openai), (25, 3, 7));
    let deepseek =
        json!({"prompt_tokens": 30, "prompt_cache_hit_tokens": 12, "prompt_tokens_details": null});
    assert_eq!(usage(deepseek), (12, 0, 0));
    let moonshot = json!({"prompt_tokens": 30, "cached_tokens": 11});
    assert_eq!(usage(moonshot), (11, 0, 0));
    let odd =
        json!({"prompt_tokens": 30, "prompt_tokens_details": [1], "completion_tokens_details": {}});
    assert_eq!(usage(odd), (0, 0, 0));
}

#[test]
fn sound_pictures_and_calls_in_old_words_are_answers() {
    let told = |told: Value| whole(&message(told));
    let sound = json!({"content": null, "audio": {"id": "a", "data": "AAAA", "transcript": "hej"}});
    let picture = json!({"content": "", "images": [{"type": "image_url"}]});
    assert!(told(sound).is_ok() && told(picture).is_ok());
    for nothing in [
        json!({"audio": {}}),
        json!({"audio": null}),
        json!({"images": []}),
    ] {
        assert_eq!(
            fault(&message(nothing.clone())),
            FaultKind::EmptyReply,
            "{nothing}"
        );
    }
    let call = json!({"content": null, "function_call": {"name": "f", "arguments": "{}"}});
    let reply = message(call);
    assert_eq!(fault(&reply), FaultKind::EmptyReply, "nobody offered it");
    let mut asked = request();
    asked
        .rest
        .insert("functions".into(), json!([{"name": "f"}]));
    let answer = completion(reply.to_string().into_bytes(), &asked).unwrap();
    assert_eq!(answer.raw, reply.to_string());
    assert_eq!(answer.tool_calls.unwrap()[0]["function"]["name"], "f");
}

#[test]
fn each_input_has_a_vector() {
    let of = |input: Value, data: Value| {
        let asked = json!({"input": input}).to_string();
        let asked = crate::providers::RawObject::parse(asked.as_bytes()).unwrap();
        let inputs = ChatRequest::passing_on(asked).inputs();
        let body = json!({ "data": data }).to_string().into_bytes();
        let told = embeddings(body, inputs, ReplyPlace::default());
        told.err().map(|fault| (fault.kind, fault.cause))
    };
    let vector = json!({"embedding": [0.5, 1]});
    for (input, count) in [
        (json!("a"), 1),
        (json!(["a", "b"]), 2),
        (json!([1, 2, 3]), 1),
        (json!([[1, 2], [3]]), 2),
    ] {
        let vectors = |count: usize| Value::from(vec![vector.clone(); count]);
        assert_eq!(of(input.clone(), vectors(count)), None, "{input}");
        let malformed = Some((FaultKind::InvalidReply, Cause::Malformed));
        assert_eq!(of(input.clone(), vectors(count + 1)), malformed, "{input}");
        for wrong in [
            json!(null),
            json!([]),
            json!([null, 1]),
            json!(""),
            json!(1),
        ] {
            let mut data = vectors(count);
            data[0]["embedding"] = wrong.clone();
            assert_eq!(of(input.clone(), data), malformed, "{wrong}");
        }
    }
    assert_eq!(of(json!("a"), json!([{"embedding": "AAAAPw=="}])), None);
}
