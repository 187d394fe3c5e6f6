use serde_json::{Value, json};

use super::*;
use crate::providers::ChatMessage;

fn run(request: &ChatRequest, deltas: &[Value]) -> (Vec<Delta>, Result<(), FaultKind>) {
    let mut steps = Steps::new(request);
    let mut all = Vec::new();
    for delta in deltas {
        let event = json!({"choices": [{"delta": delta}]});
        for delta in steps.push(&format!("data: {event}\n\n").into()) {
            match delta {
                Ok(delta) => all.push(delta),
                Err(fault) => return (all, Err(fault.kind)),
            }
        }
    }
    let end = steps.push(&"data: [DONE]\n\n".into());
    for delta in end.into_iter().chain(steps.finish()) {
        match delta {
            Ok(delta) => all.push(delta),
            Err(fault) => return (all, Err(fault.kind)),
        }
    }
    (all, Ok(()))
}

fn request() -> ChatRequest {
    ChatRequest::new(vec![ChatMessage::text("user", "hello")])
}

#[test]
fn only_text_reasoning_and_tool_calls_are_tokens() {
    let is_token = |delta: Value| run(&request(), &[delta]).0[0].is_token;
    assert!(is_token(json!({"content": "a"})));
    assert!(is_token(json!({"content": null, "reasoning": "hm"})));
    assert!(is_token(json!({"tool_calls": [{"index": 0}]})));
    assert!(is_token(json!({"function_call": {"name": "f"}})));
    let thought = json!([{"type": "text", "text": "hm"}]);
    let thought = json!([{"type": "thinking", "thinking": thought}]);
    assert!(is_token(json!({ "content": thought })));
    assert!(is_token(json!({"content": "", "audio": {"data": "AAAA"}})));
    assert!(is_token(json!({"content": "", "images": [{}]})));
    assert!(!is_token(json!({"role": "assistant", "content": ""})));
    assert!(!is_token(json!({"content": null, "tool_calls": []})));
}

/// A plain chunk is read in one pass; a field with nothing in it makes it one that is not.
#[test]
fn plain_chunks_are_read_as_all_others_are() {
    for content in [
        "",
        "a",
        " ",
        "\u{200b}",
        "æ\n😀\"",
        "<think>",
        "</s>",
        "<think>a</think>b",
    ] {
        let plain = json!({"role": "assistant", "content": content});
        let mut other = plain.clone();
        other["tool_calls"] = json!([]);
        for tag in [None, Some("think".into())] {
            let mut request = request();
            request.reading.reasoning_tag = tag;
            let end = json!({"content": "end"});
            let both =
                [plain.clone(), other.clone()].map(|delta| run(&request, &[delta, end.clone()]));
            let [(plain, _), (others, _)] = both;
            assert!(plain[0].is_plain && !others[0].is_plain);
            let same = |delta: &Delta| Delta {
                is_plain: false,
                raw: String::new(),
                ..delta.clone()
            };
            assert_eq!(same(&plain[0]), same(&others[0]), "{content:?}");
            assert_eq!(plain[1], others[1], "{content:?}");
        }
    }
}

#[test]
fn a_stream_that_says_nothing_is_the_fault_that_a_reply_would_be() {
    let call = json!({"tool_calls": [{"index": 0, "id": "c"}]});
    for deltas in [
        vec![json!({"content": ""})],
        vec![json!({"content": " "}), json!({"content": "\u{200b}"})],
        vec![json!({"reasoning": "hm"}), json!({"content": null})],
        vec![json!({})],
        vec![call.clone()],
    ] {
        let (deltas, verdict) = run(&request(), &deltas);
        assert_eq!(verdict, Err(FaultKind::EmptyReply), "{deltas:?}");
        assert!(deltas.iter().all(|delta| !delta.is_answer));
    }
    assert_eq!(run(&request(), &[]).1, Err(FaultKind::InvalidReply));
    let mut asked = request();
    asked.rest.insert("tools".into(), json!([{}]));
    assert_eq!(run(&asked, &[call]).1, Ok(()));
    let old = json!({"function_call": {"name": "f", "arguments": "{}"}});
    assert_eq!(
        run(&request(), std::slice::from_ref(&old)).1,
        Err(FaultKind::EmptyReply)
    );
    let mut asked = request();
    asked.rest.insert("functions".into(), json!([{}]));
    assert_eq!(run(&asked, &[old]).1, Ok(()));
    let sound = json!({"audio": {"id": "a", "transcript": "hej"}});
    assert_eq!(run(&request(), &[sound]).1, Ok(()));
    let (deltas, verdict) = run(
        &request(),
        &[json!({"refusal": "I "}), json!({"refusal": "cannot"})],
    );
    let text: String = deltas.iter().map(|delta| delta.content.as_str()).collect();
    assert_eq!((text.as_str(), verdict), ("I cannot", Ok(())));
    assert!(deltas[0].is_refusal);
}

#[test]
fn frames_that_are_no_objects_are_faults_where_they_would_be_passed_on() {
    let passed_on = ChatRequest::passing_on(crate::providers::RawObject::default());
    let answer = json!({"choices": [{"delta": {"content": "a"}, "finish_reason": "stop"}]});
    let steps = |request: &ChatRequest, frame: &str| {
        let mut steps = Steps::new(request);
        let text = format!("data: {answer}\n\ndata: {frame}\n\n");
        let mut all = steps.push(&text.into());
        let is_done = steps.is_done();
        all.extend(steps.finish());
        let faults = all.iter().filter_map(|step| step.as_ref().err());
        let kinds: Vec<_> = faults.map(|fault| fault.kind).collect();
        (all.len() - kinds.len(), kinds, is_done)
    };
    for frame in ["null", "[DONE]", "\"[DONE]\""] {
        for request in [&passed_on, &request()] {
            let expected = (1, vec![], frame != "null");
            assert_eq!(steps(request, frame), expected, "{frame}");
        }
    }
    for frame in ["1", "\"text\"", "true", "oops"] {
        let fault = (1, vec![FaultKind::InvalidReply], false);
        assert_eq!(steps(&passed_on, frame), fault, "{frame}");
        assert_eq!(steps(&request(), frame), (1, vec![], false), "{frame}");
    }
}

#[test]
fn a_stream_without_an_end_broke_off_whoever_asked() {
    let passed_on = ChatRequest::passing_on(crate::providers::RawObject::default());
    let word = json!({"choices": [{"delta": {"content": "a"}}]});
    let last = json!({"choices": [{"delta": {}, "finish_reason": "stop"}]});
    for request in [&passed_on, &request()] {
        let ends = |end: &str| {
            let mut steps = Steps::new(request);
            steps.push(&format!("data: {word}\n\n{end}").into());
            let fault = steps.finish().into_iter().find_map(Result::err);
            fault.map(|fault| fault.cause)
        };
        assert_eq!(ends(""), Some(Cause::CutStream));
        assert_eq!(ends("data: [DONE]\n\n"), None);
        assert_eq!(ends(&format!("data: {last}\n\n")), None);
    }
}

#[test]
fn of_several_answers_each_that_began_has_to_end() {
    let body = br#"{"n": 2, "messages": [{}]}"#;
    let body = crate::providers::RawObject::parse(body).unwrap();
    let asked = ChatRequest::passing_on(body);
    let ends = |events: &[Value]| {
        let mut steps = Steps::new(&asked);
        for event in events {
            let event = json!({ "choices": [event] });
            steps.push(&format!("data: {event}\n\n").into());
        }
        let fault = steps.finish().into_iter().find_map(Result::err);
        fault.map(|fault| fault.cause)
    };
    let word = |index: u8| json!({"index": index, "delta": {"content": "a"}});
    let last = |index: u8| json!({"index": index, "delta": {}, "finish_reason": "stop"});
    assert_eq!(ends(&[word(0), word(1), last(1), last(0)]), None);
    assert_eq!(ends(&[word(0), word(1), last(1)]), Some(Cause::CutStream));
    assert_eq!(ends(&[word(0), last(0)]), None, "it gives one");
}

#[test]
fn thoughts_are_split_off_also_where_a_tag_is_split() {
    let mut asked = request();
    asked.reading.reasoning_tag = Some("think".into());
    let pieces = ["<th", "ink>pl", "an</thi", "nk>\n", "\nvis", "ible"];
    let deltas = pieces.map(|piece| json!({ "content": piece }));
    let (deltas, verdict) = run(&asked, &deltas);
    let texts = |of: fn(&Delta) -> &str| deltas.iter().map(of).collect::<String>();
    assert_eq!(texts(|delta| &delta.content), "visible");
    assert_eq!(texts(|delta| &delta.reasoning), "plan");
    assert_eq!(verdict, Ok(()));
    let only = run(&asked, &[json!({"content": "<think>plan"})]);
    assert_eq!(only.1, Err(FaultKind::EmptyReply));
}

#[test]
fn an_answer_without_end_is_cut_off() {
    let mut asked = request();
    asked.reading.max_bytes = 1_000;
    let text = json!({"content": "x".repeat(300)});
    assert_eq!(run(&asked, &vec![text.clone(); 3]).1, Ok(()));
    assert_eq!(run(&asked, &vec![text; 4]).1, Err(FaultKind::InvalidReply));
    let details = json!({"content": "x", "reasoning_details": [{"text": "x".repeat(300)}]});
    assert_eq!(run(&asked, &vec![details.clone(); 2]).1, Ok(()));
    assert_eq!(
        run(&asked, &vec![details; 4]).1,
        Err(FaultKind::InvalidReply)
    );
    let silence = vec![json!({"content": ""}); 40];
    assert_eq!(run(&asked, &silence).1, Err(FaultKind::InvalidReply));
}

#[test]
fn no_reason_to_finish_is_none_however_it_is_written() {
    for none in [json!(null), json!(""), json!("null")] {
        let word = |reason: &Value| json!({"choices": [{"delta": {"content": "a"}, "finish_reason": reason}]});
        let mut steps = Steps::new(&request());
        steps.push(&format!("data: {}\n\n", word(&none)).into());
        assert!(!steps.is_over(), "{none}");
        steps.push(&format!("data: {}\n\n", word(&json!("stop"))).into());
        assert!(steps.is_over());
    }
}
