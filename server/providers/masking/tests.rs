use std::sync::Arc;

use proptest::prelude::*;
use serde_json::{Value, json};

use super::{answer::Answer, *};
use crate::providers::{ChatMessage, Delta, RawObject};

fn passing_on(body: &Value) -> ChatRequest {
    ChatRequest::passing_on(RawObject::parse(body.to_string().as_bytes()).unwrap())
}

fn sent(request: &ChatRequest) -> Value {
    serde_json::from_str(&request.given.as_ref().unwrap().to_json()).unwrap()
}

/// A vault that knows `anna@firma.dk` as the first mail address and a CPR number.
fn vault() -> Vault {
    let body = json!({"messages": [{"role": "user", "content": "anna@firma.dk 010170-1234"}]});
    mask(&mut passing_on(&body), &MaskedKind::ALL).unwrap()
}

fn mark(vault: &Vault) -> String {
    placeholder::write(MaskedKind::Email, 1, &vault.tag)
}

#[test]
fn all_that_a_body_says_is_masked_and_what_is_for_programs_stays() {
    let arguments = r#"{"to":"anna@firma.dk","cpr":1201701234,"x":"\nb@y.dk"}"#;
    let image = format!("data:image/png;base64,{}", "A0101701234A".repeat(9));
    let body = json!({
        "model": "anna@firma.dk",
        "user": "anna@firma.dk",
        "messages": [
            {"role": "system", "content": "Du hjælper."},
            {"role": "user", "content": [
                {"type": "text", "text": "Skriv til anna@firma.dk og ring +45 12345678"},
                {"type": "image_url", "image_url": {"url": image}},
            ]},
            {"role": "assistant", "content": null, "tool_calls": [
                {"id": "0101701234", "type": "function", "function": {"name": "f", "arguments": arguments}},
            ]},
            {"role": "tool", "tool_call_id": "0101701234", "content": "anna@firma.dk"},
        ],
        "tools": [{"type": "function", "function": {"name": "f", "description": "help@firma.dk"}}],
        "n": 1,
    });
    let mut request = passing_on(&body);
    let vault = mask(&mut request, &MaskedKind::ALL).unwrap();
    let told = sent(&request);
    let anna = mark(&vault);
    assert_eq!(told["user"], anna);
    assert_eq!(told["messages"][3]["content"], anna);
    let phone = placeholder::write(MaskedKind::Phone, 1, &vault.tag);
    let text = &told["messages"][1]["content"][0]["text"];
    assert_eq!(*text, format!("Skriv til {anna} og ring {phone}"));
    let call = &told["messages"][2]["tool_calls"][0];
    let inner: Value =
        serde_json::from_str(call["function"]["arguments"].as_str().unwrap()).unwrap();
    let cpr = placeholder::write(MaskedKind::Cpr, 1, &vault.tag);
    let other = placeholder::write(MaskedKind::Email, 2, &vault.tag);
    assert_eq!(
        inner,
        json!({"to": anna, "cpr": cpr, "x": format!("\n{other}")})
    );
    for path in [
        "/model",
        "/tools",
        "/n",
        "/messages/2/tool_calls/0/id",
        "/messages/1/content/1",
    ] {
        assert_eq!(told.pointer(path), body.pointer(path), "{path}");
    }
    let system = told["messages"][0]["content"].as_str().unwrap();
    assert!(system.starts_with("Du hjælper.\n\n") && system.ends_with(NOTE));
}

#[test]
fn a_field_that_stands_twice_hides_nothing() {
    for last in [r#"[{"role":"user","content":"hej"}]"#, "null"] {
        let first = r#"[{"role":"user","content":"anna@firma.dk"}]"#;
        let body = format!(r#"{{"messages":{first},"messages":{last}}}"#);
        let given = RawObject::parse(body.as_bytes()).unwrap();
        let mut request = ChatRequest::passing_on(given);
        assert!(mask(&mut request, &MaskedKind::ALL).is_some());
        let told = request.given.unwrap().to_json();
        assert!(!told.contains("anna"), "{told}");
    }
}

#[test]
fn a_conversation_stays_the_same_text_from_turn_to_turn() {
    let first = json!({"role": "user", "content": "anna@firma.dk"});
    let more = json!([first, {"role": "assistant", "content": "ok anna@firma.dk"}, {"role": "user", "content": "b@y.dk"}]);
    let told = |messages: Value| {
        let mut request = passing_on(&json!({ "messages": messages }));
        mask(&mut request, &MaskedKind::ALL).unwrap();
        sent(&request)["messages"].as_array().unwrap().clone()
    };
    let (short, long) = (told(json!([first])), told(more));
    assert_eq!(short[..], long[..short.len()]);
}

#[test]
fn a_text_that_looks_like_a_placeholder_stays_what_it_is() {
    let plain = vault();
    let fake = mark(&plain);
    let body = json!({"messages": [{"role": "user", "content": format!("{fake} c@z.dk")}]});
    let mut request = passing_on(&body);
    let vault = mask(&mut request, &MaskedKind::ALL).unwrap();
    assert_ne!(vault.tag, plain.tag);
    assert!(sent(&request).to_string().contains(&fake));
    assert_eq!(
        vault.whole(&format!("{fake} {}", mark(&vault))),
        format!("{fake} c@z.dk")
    );
}

#[test]
fn nothing_to_mask_is_no_other_request() {
    let body = json!({"messages": [{"role": "user", "content": "hej \u{1f600} 12"}], "x": 1.0});
    for kinds in [&MaskedKind::ALL[..], &[]] {
        let mut request = passing_on(&body);
        assert!(mask(&mut request, kinds).is_none());
        assert_eq!(sent(&request), body);
    }
    let mut chat = ChatRequest::new(vec![ChatMessage::text("user", "anna@firma.dk")]);
    assert!(mask(&mut chat, &MaskedKind::ALL).is_some());
    assert_eq!(chat.messages.len(), 2);
    assert_eq!(chat.messages[0].content, NOTE);
}

#[test]
fn a_whole_answer_has_the_values_back() {
    let vault = vault();
    let anna = mark(&vault);
    let arguments = format!("{{\"to\":\"{}\"}}", anna.to_lowercase());
    let calls = json!([{"id": "c", "function": {"name": "f", "arguments": arguments}}]);
    let message = json!({"content": format!("Til {anna}s"), "tool_calls": calls});
    let mut answer = Completion {
        content: format!("Til {anna}s"),
        tool_calls: Some(calls),
        raw: json!({"choices": [{"message": message}], "x": 1.0}).to_string(),
        ..Completion::default()
    };
    vault.restore(&mut answer);
    assert_eq!(answer.content, "Til anna@firma.dks");
    let raw: Value = serde_json::from_str(&answer.raw).unwrap();
    let call = &raw["choices"][0]["message"]["tool_calls"][0];
    assert_eq!(call["function"]["arguments"], "{\"to\":\"anna@firma.dk\"}");
    assert_eq!(answer.tool_calls.unwrap()[0], *call);
}

/// All that a stream of these pieces says, as text and as arguments; `open` is the reason to finish while there is none.
fn streamed(
    vault: Vault,
    pieces: &[String],
    has_end: bool,
    open: &Value,
) -> (String, String, String) {
    let mut answer = Answer::new(Arc::new(vault));
    let step = |delta: &Value, finish: Option<&str>| Delta {
        content: delta["content"].as_str().unwrap_or_default().to_owned(),
        finish_reason: finish.map(str::to_owned),
        raw: {
            let reason = finish.map_or_else(|| open.clone(), Value::from);
            json!({"choices": [{"index": 0, "delta": delta, "finish_reason": reason}]}).to_string()
        },
        ..Delta::default()
    };
    let texts = pieces
        .iter()
        .map(|piece| step(&json!({ "content": piece }), None));
    let calls = pieces.iter().map(|piece| {
        let call = json!({"index": 0, "function": {"arguments": piece}});
        step(&json!({"tool_calls": [call]}), None)
    });
    let end = has_end.then(|| step(&json!({}), Some("stop")));
    let mut steps: Vec<Delta> = texts.chain(calls).chain(end).collect();
    steps.iter_mut().for_each(|step| answer.push(step));
    steps.extend(answer.finish());
    let (mut content, mut read, mut arguments) = (String::new(), String::new(), String::new());
    for step in steps {
        read += &step.content;
        let raw: Value = serde_json::from_str(&step.raw).unwrap_or_default();
        let delta = &raw["choices"][0]["delta"];
        content += delta["content"].as_str().unwrap_or_default();
        let call = delta.pointer("/tool_calls/0/function/arguments");
        arguments += call.and_then(Value::as_str).unwrap_or_default();
    }
    (content, read, arguments)
}

proptest! {
    #[test]
    fn however_a_stream_is_cut_it_says_the_same(
        words in proptest::collection::vec(0usize..9, 1..8),
        cuts in proptest::collection::vec(any::<prop::sample::Index>(), 0..12),
        has_end: bool,
        open in prop::sample::select(vec![json!(null), json!(""), json!("null")]),
    ) {
        let vault = vault();
        let anna = mark(&vault);
        let parts = [
            anna.clone(), anna.to_lowercase(), anna.replace('-', "\u{2011}"),
            anna.trim_matches(['[', ']']).to_owned(), anna[..8].to_owned(),
            "\\".into(), "[".into(), " æ E".into(), format!("\\{}\\]", &anna[..anna.len() - 1]),
        ];
        let text: String = words.iter().map(|word| parts[*word].as_str()).collect();
        let wanted = vault.whole(&text);
        let mut places: Vec<usize> = cuts.iter().map(|cut| cut.index(text.len() + 1)).collect();
        places.retain(|place| text.is_char_boundary(*place));
        places.extend([0, text.len()]);
        places.sort_unstable();
        let pieces: Vec<_> = places.windows(2).map(|it| text[it[0]..it[1]].to_owned()).collect();
        let (content, read, arguments) = streamed(vault, &pieces, has_end, &open);
        prop_assert_eq!(&content, &wanted);
        prop_assert_eq!(&read, &wanted);
        prop_assert_eq!(&arguments, &wanted);
    }

    #[test]
    fn what_was_masked_comes_back(text in "[a-c@.+0-9 øE\\[\\]\\\\\"-]{0,80}") {
        let body = json!({"messages": [{"role": "user", "content": text}]});
        let mut request = passing_on(&body);
        if let Some(vault) = mask(&mut request, &MaskedKind::ALL) {
            let told = sent(&request);
            let last = told["messages"].as_array().unwrap().last().unwrap()["content"].clone();
            prop_assert_eq!(vault.whole(last.as_str().unwrap()), text);
        }
    }
}
