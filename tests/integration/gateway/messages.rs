//! Anthropic's API in front of chat completions.

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

use super::*;

fn message(content: &Value) -> Value {
    json!({"model": "task/chat", "max_tokens": 50, "messages": content})
}

/// The events of a stream, by their names and data, which agree.
fn named(text: &str) -> Vec<Value> {
    let events = text.split("\n\n").filter(|event| !event.is_empty());
    let event = |event: &str| {
        let (name, data) = event.split_once("\ndata: ").unwrap();
        let data: Value = serde_json::from_str(data).unwrap();
        assert_eq!(name.strip_prefix("event: "), data["type"].as_str());
        data
    };
    events
        .map(event)
        .filter(|event| event["type"] != "ping")
        .collect()
}

#[tokio::test]
async fn a_conversation_with_tools_is_translated_both_ways() {
    let call = json!({"id": "c1", "type": "function", "function": {"name": "f", "arguments": "{\"x\":1}"}});
    let reply = json!({
        "id": "gen-1",
        "choices": [{"index": 0, "message": {"role": "assistant", "content": "Wait", "reasoning": "hm", "tool_calls": [call]}, "finish_reason": "tool_calls"}],
        "usage": {"prompt_tokens": 10, "completion_tokens": 5, "prompt_tokens_details": {"cached_tokens": 4}},
    });
    let gateway = Gateway::answering(Reply::json(&reply)).await;
    let user = json!([{"type": "text", "text": "See"}, {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "AAAA"}}]);
    let tools = json!([{"name": "f", "description": "d", "input_schema": {"type": "object"}}, {"type": "web_search_20250305", "name": "web_search"}]);
    let mut asked = message(&json!([{"role": "user", "content": user}]));
    asked["system"] = json!([{"type": "text", "text": "x-anthropic-billing-header: x"}, {"type": "text", "text": "Be brief"}]);
    asked["tools"] = tools;
    asked["tool_choice"] = json!({"type": "any", "disable_parallel_tool_use": true});
    asked["stop_sequences"] = json!(["END"]);
    asked["unknown"] = json!(1);
    let answer = gateway
        .post("/v1/messages?beta=true", asked.to_string())
        .await;
    assert_eq!(answer.status, StatusCode::OK, "{}", answer.text);
    assert_eq!(answer.header("x-modelramp-dropped"), "web_search_20250305");
    assert_eq!(answer.header("request-id"), answer.header("x-request-id"));
    let got = answer.json();
    let kinds: Vec<_> = got["content"]
        .as_array()
        .unwrap()
        .iter()
        .map(|it| &it["type"])
        .collect();
    assert_eq!(kinds, ["thinking", "text", "tool_use"]);
    assert_eq!(got["content"][2]["input"], json!({"x": 1}));
    assert_eq!(got["stop_reason"], "tool_use");
    assert_eq!(
        (
            &got["usage"]["input_tokens"],
            &got["usage"]["cache_read_input_tokens"]
        ),
        (&json!(6), &json!(4))
    );
    let sent = &gateway.upstream.requests()[0].body;
    let tool = json!({"type": "function", "function": {"name": "f", "description": "d", "parameters": {"type": "object"}}});
    assert_eq!(
        *sent,
        json!({
            "messages": [
                {"role": "system", "content": "Be brief"},
                {"role": "user", "content": [{"type": "text", "text": "See"}, {"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA"}}]},
            ],
            "max_tokens": 50, "stop": ["END"], "tools": [tool], "tool_choice": "required",
            "parallel_tool_calls": false, "model": "a",
        })
    );
    // The next turn: what was thought goes back, and the result before whatever else the user says.
    let result = json!([{"type": "text", "text": "Go on"}, {"type": "tool_result", "tool_use_id": "c1", "content": [{"type": "text", "text": "no"}], "is_error": true}]);
    let turns = json!([{"role": "user", "content": "See"}, {"role": "assistant", "content": got["content"]}, {"role": "user", "content": result}]);
    gateway
        .post("/v1/messages", message(&turns).to_string())
        .await;
    let sent = &gateway.upstream.requests()[1].body["messages"];
    assert_eq!(sent[1]["reasoning"], "hm");
    assert_eq!(
        sent[1]["tool_calls"][0]["function"]["arguments"],
        "{\"x\":1}"
    );
    assert_eq!(
        sent[2],
        json!({"role": "tool", "tool_call_id": "c1", "content": "Error: no"})
    );
    assert_eq!(sent[3], json!({"role": "user", "content": "Go on"}));
}

#[tokio::test]
async fn blocks_of_a_stream_never_overlap() {
    let call = |index: u8, id: Option<&str>, arguments: &str| {
        let mut call = json!({"index": index, "function": {"arguments": arguments}});
        if let Some(id) = id {
            call["id"] = id.into();
            call["function"]["name"] = "f".into();
        }
        chunk(&json!({"tool_calls": [call]}), None)
    };
    let mut pieces = vec![chunk(&json!({"reasoning": "hm"}), None)];
    pieces.extend(words(&["he", "j"]));
    pieces.push(call(0, Some("c0"), ""));
    pieces.push(call(1, Some("c1"), "{"));
    pieces.push(call(0, None, "{}"));
    pieces.push(call(1, None, "}"));
    pieces.push(chunk(&json!({}), Some("tool_calls")));
    pieces.push(
        "data: {\"choices\":[],\"usage\":{\"prompt_tokens\":7,\"completion_tokens\":3}}\n\n".into(),
    );
    pieces.push(DONE.into());
    let gateway = Gateway::answering(Reply::events(pieces, End::Clean)).await;
    let mut asked = message(&json!([{"role": "user", "content": "hej"}]));
    asked["stream"] = true.into();
    asked["tools"] = json!([{"name": "f", "input_schema": {}}]);
    let answer = gateway.post("/v1/messages", asked.to_string()).await;
    let events = named(&answer.text);
    let (mut open, mut blocks) = (None, Vec::new());
    for event in &events {
        match event["type"].as_str().unwrap() {
            "content_block_start" => {
                assert_eq!(open.replace(event["index"].clone()), None);
                blocks.push((event["content_block"]["type"].clone(), String::new()));
            }
            "content_block_delta" => {
                assert_eq!(open.as_ref(), Some(&event["index"]));
                let delta = &event["delta"];
                let text = ["text", "thinking", "partial_json"]
                    .iter()
                    .find_map(|key| delta[key].as_str());
                blocks.last_mut().unwrap().1 += text.unwrap_or("");
            }
            "content_block_stop" => assert_eq!(open.take().as_ref(), Some(&event["index"])),
            _ => assert_eq!(open, None),
        }
    }
    let block = |kind: &str, text: &str| (json!(kind), text.to_owned());
    assert_eq!(
        blocks,
        [
            block("thinking", "hm"),
            block("text", "hej"),
            block("tool_use", "{}"),
            block("tool_use", "{}")
        ]
    );
    assert_eq!(events[0]["type"], "message_start");
    let [.., end, stop] = &events[..] else {
        panic!()
    };
    assert_eq!(
        (&end["delta"]["stop_reason"], &end["usage"]["input_tokens"]),
        (&json!("tool_use"), &json!(7))
    );
    assert_eq!(stop["type"], "message_stop");
}

/// A conversation's next turn brings all of it back, each thing once, with signatures that had no words.
#[tokio::test]
async fn what_was_thought_in_several_blocks_comes_back_once() {
    let words =
        |index: u8, text: &str| json!({"type": "reasoning.text", "index": index, "text": text});
    let signature = json!({"type": "reasoning.encrypted", "index": 2, "data": "c2ln"});
    let call = json!({"index": 0, "id": "c0", "function": {"name": "f", "arguments": "{}"}});
    let deltas = [
        json!({"reasoning": "hm", "reasoning_details": [words(0, "hm")]}),
        json!({"content": "hej"}),
        json!({"reasoning": "so", "reasoning_details": [words(1, "so")]}),
        json!({"content": " igen"}),
        json!({"reasoning_details": [signature]}),
        json!({"tool_calls": [call]}),
    ];
    let pieces = deltas.iter().map(|delta| chunk(delta, None));
    let pieces = pieces.chain([chunk(&json!({}), Some("tool_calls")), DONE.into()]);
    let gateway = Gateway::answering(Reply::events(pieces, End::Clean)).await;
    let tools = json!([{"name": "f", "input_schema": {}}]);
    let mut asked = message(&json!([{"role": "user", "content": "hej"}]));
    (asked["stream"], asked["tools"]) = (true.into(), tools.clone());
    let answer = gateway.post("/v1/messages", asked.to_string()).await;
    let mut content: Vec<Value> = Vec::new();
    for event in named(&answer.text) {
        match event["type"].as_str() {
            Some("content_block_start") => content.push(event["content_block"].clone()),
            Some("content_block_delta") => {
                let block = content.last_mut().unwrap();
                for key in ["text", "thinking", "signature"] {
                    if let Some(more) = event["delta"][key].as_str() {
                        block[key] = (block[key].as_str().unwrap_or("").to_owned() + more).into();
                    }
                }
            }
            _ => {}
        }
    }
    let kinds: Vec<_> = content
        .iter()
        .map(|it| it["type"].as_str().unwrap())
        .collect();
    let expected = [
        "thinking", "text", "thinking", "text", "thinking", "tool_use",
    ];
    assert_eq!(kinds, expected);
    let result = json!([{"type": "tool_result", "tool_use_id": "c0", "content": "1"}]);
    let mut next = message(&json!([
        {"role": "user", "content": "hej"},
        {"role": "assistant", "content": content},
        {"role": "user", "content": result},
    ]));
    next["tools"] = tools;
    gateway.post("/v1/messages", next.to_string()).await;
    let sent = &gateway.upstream.requests()[1].body["messages"][1];
    assert_eq!(sent["reasoning"], "hmso");
    let details = json!([words(0, "hm"), words(1, "so"), signature]);
    assert_eq!(sent["reasoning_details"], details);
}

#[tokio::test]
async fn a_stream_that_breaks_off_ends_with_an_error() {
    let gateway = Gateway::answering(Reply::events(words(&["hej"]), End::Cut)).await;
    let mut asked = message(&json!([{"role": "user", "content": "hej"}]));
    asked["stream"] = true.into();
    let answer = gateway.post("/v1/messages", asked.to_string()).await;
    let last = named(&answer.text).pop().unwrap();
    assert_eq!(
        (&last["type"], &last["error"]["type"]),
        (&json!("error"), &json!("api_error"))
    );
}

#[tokio::test]
async fn errors_and_counts_are_in_its_words() {
    let gateway = Gateway::answering(Reply::Http(
        400,
        vec![],
        "{\"error\":\"prompt is too long\"}".into(),
    ))
    .await;
    let asked = message(&json!([{"role": "user", "content": "hej"}]));
    let answer = gateway.post("/v1/messages", asked.to_string()).await;
    assert_eq!(answer.status, StatusCode::BAD_REQUEST);
    let got = answer.json();
    assert_eq!(got["error"]["type"], "invalid_request_error");
    assert_eq!(
        got["error"]["message"],
        "prompt is too long: 8193 tokens > 8192 maximum"
    );
    let count = |text: String| {
        let asked = message(&json!([{"role": "user", "content": text}])).to_string();
        gateway.post("/v1/messages/count_tokens", asked)
    };
    let tokens = |answer: Answer| answer.json()["input_tokens"].as_u64().unwrap();
    let (short, long) = (
        tokens(count("hej".into()).await),
        tokens(count("hej ".repeat(900)).await),
    );
    assert!((900..1400).contains(&(long - short)), "{short} {long}");
    let nothing = message(&json!([])).to_string();
    let answer = gateway.post("/v1/messages/count_tokens", nothing).await;
    assert_eq!(answer.status, StatusCode::BAD_REQUEST, "{}", answer.text);
    let none = json!({"model": "none", "max_tokens": 1, "messages": [{}]}).to_string();
    let answer = gateway.post("/v1/messages", none).await;
    assert_eq!(
        (answer.status, &answer.json()["error"]["type"]),
        (StatusCode::NOT_FOUND, &json!("not_found_error"))
    );
}

/// An answer about a picture that the model never saw would look like any other.
#[tokio::test]
async fn what_a_model_would_not_see_is_refused_by_name() {
    let gateway = Gateway::answering(Reply::ok("hej")).await;
    let asked = |block: Value| {
        let words = json!({"type": "text", "text": "What is it?"});
        message(&json!([{"role": "user", "content": [words, block]}])).to_string()
    };
    let source = json!({"type": "file", "file_id": "file_1"});
    for kind in ["image", "document"] {
        let block = json!({"type": kind, "source": source});
        let answer = gateway.post("/v1/messages", asked(block)).await;
        assert_eq!(answer.status, StatusCode::BAD_REQUEST, "{}", answer.text);
        assert!(answer.text.contains("`file`"), "{}", answer.text);
    }
    let image =
        json!([{"type": "image", "source": {"type": "url", "url": "https://a.example/b.png"}}]);
    let source = json!({"type": "content", "content": image});
    let block = json!({"type": "document", "source": source});
    let answer = gateway.post("/v1/messages", asked(block)).await;
    assert_eq!(answer.status, StatusCode::BAD_REQUEST, "{}", answer.text);
    assert!(gateway.upstream.requests().is_empty());
    let texts = json!([{"type": "text", "text": "a"}, {"type": "text", "text": "b"}]);
    let source = json!({"type": "content", "content": texts});
    let block = json!({"type": "document", "source": source});
    let answer = gateway.post("/v1/messages", asked(block)).await;
    assert_eq!(answer.status, StatusCode::OK, "{}", answer.text);
    let sent = gateway.upstream.requests();
    assert_eq!(sent[0].body["messages"][0]["content"][1]["text"], "a\nb");
}

#[tokio::test]
async fn the_bytes_of_a_document_are_not_counted_as_words() {
    let gateway = Gateway::answering(Reply::ok("hej")).await;
    let data = "A".repeat(1_000_000);
    let source = json!({"type": "base64", "media_type": "application/pdf", "data": data});
    let block = json!({"type": "document", "source": source});
    let asked = message(&json!([{"role": "user", "content": [block]}]));
    let answer = gateway.post("/v1/messages/count_tokens", asked.to_string());
    let tokens = answer.await.json()["input_tokens"].as_u64().unwrap();
    assert!((1_600..50_000).contains(&tokens), "{tokens}");
}

#[tokio::test]
async fn what_only_openrouter_takes_reaches_no_fallback_elsewhere() {
    let upstream = Upstream::with(|_, request| match request.body["model"].as_str() {
        Some("c") => Reply::ok("hej"),
        _ => Reply::status(500),
    })
    .await;
    let text = format!(
        "[providers.openrouter]\nbase_url = \"{0}\"\n[providers.house]\nbase_url = \"{0}\"\n\
         [models.a]\nprovider = \"openrouter\"\nid = \"a\"\ncontext = 8192\n\
         [models.c]\nprovider = \"house\"\nid = \"c\"\ncontext = 8192\n\
         [tasks.chat]\ncandidate = [\"a\", \"c\"]\ncontrol = [\"a\", \"c\"]\n\
         [tasks.house]\ncandidate = [\"c\", \"a\"]\ncontrol = [\"c\", \"a\"]\n",
        upstream.base_url
    );
    let app = TestApp::builder().with_catalog(&text).start().await;
    let gateway = Gateway {
        token: app.setup.admin().await.to_owned(),
        app,
        upstream,
    };
    let marked = json!([{"type": "text", "text": "hi", "cache_control": {"type": "ephemeral"}}]);
    let mut asked = message(&json!([{"role": "user", "content": marked}]));
    asked["system"] = marked.clone();
    asked["top_k"] = 5.into();
    asked["thinking"] = json!({"type": "enabled", "budget_tokens": 9_000});
    for task in ["task/chat", "task/house"] {
        asked["model"] = task.into();
        let answer = gateway.post("/v1/messages", asked.to_string()).await;
        assert_eq!(answer.header("x-modelramp-model"), "c", "{}", answer.text);
        assert_eq!(answer.header("x-modelramp-dropped"), "top_k");
    }
    let system = |content: &Value| json!({"role": "system", "content": content});
    let user = |content: &Value| json!({"role": "user", "content": content});
    let of_openrouter = json!({
        "model": "a", "max_tokens": 50, "messages": [system(&marked), user(&marked)], "top_k": 5,
        "reasoning": {"max_tokens": 9_000},
    });
    let text = json!("hi");
    let elsewhere = json!({
        "model": "c", "max_tokens": 50, "messages": [system(&text), user(&text)],
        "reasoning_effort": "medium",
    });
    let sent = gateway.upstream.requests();
    let sent: Vec<_> = sent.iter().map(|request| &request.body).collect();
    assert_eq!(sent, [&of_openrouter, &elsewhere, &elsewhere]);
}

#[tokio::test]
async fn what_a_model_thought_reaches_no_other_model_of_its_route() {
    let thinks = json!({"choices": [{"index": 0, "finish_reason": "tool_calls", "message": {
        "role": "assistant", "content": "hej", "reasoning": "hm", "reasoning_content": "hm",
        "reasoning_details": [{"type": "reasoning.text", "text": "hm", "signature": "s"}],
        "tool_calls": [{"id": "c", "type": "function", "function": {"name": "f", "arguments": "{}"},
            "extra_content": {"google": {"thought_signature": "x"}}}],
    }}]});
    let is_first = Arc::new(AtomicBool::new(true));
    let first = is_first.clone();
    let upstream = Upstream::with(move |_, request| match request.body["model"].as_str() {
        Some("a") if first.load(Ordering::Relaxed) => Reply::json(&thinks),
        Some("a") => Reply::status(500),
        _ => Reply::ok("hej"),
    })
    .await;
    let text = format!(
        "[providers.house]\nbase_url = \"{}\"\n\
         [models.a]\nprovider = \"house\"\nid = \"a\"\ncontext = 8192\n\
         [models.c]\nprovider = \"house\"\nid = \"c\"\ncontext = 8192\n\
         [tasks.chat]\ncandidate = [\"a\", \"c\"]\ncontrol = [\"a\", \"c\"]\n",
        upstream.base_url
    );
    let app = TestApp::builder().with_catalog(&text).start().await;
    let gateway = Gateway {
        token: app.setup.admin().await.to_owned(),
        app,
        upstream,
    };
    // Each wire: what is asked first, and how its answer is sent back.
    let question = json!({"role": "user", "content": "hi"});
    let mut asked = message(&json!([question]));
    asked["model"] = "task/chat".into();
    let said: Value = gateway.post("/v1/messages", asked.to_string()).await.json();
    let result = json!({"type": "tool_result", "tool_use_id": "c", "content": "1"});
    asked["messages"] = json!([
        question,
        {"role": "assistant", "content": said["content"]},
        {"role": "user", "content": [result]},
    ]);
    let mut input = json!({
        "model": "task/chat", "input": [question], "store": false, "include": ["reasoning.encrypted_content"],
    });
    let said: Value = gateway
        .post("/v1/responses", input.to_string())
        .await
        .json();
    let items = input["input"].as_array_mut().unwrap();
    items.extend(said["output"].as_array().unwrap().iter().cloned());
    items.push(json!({"type": "function_call_output", "call_id": "c", "output": "1"}));
    is_first.store(false, Ordering::Relaxed);
    for (path, body) in [("/v1/messages", asked), ("/v1/responses", input)] {
        let before = gateway.upstream.requests().len();
        let answer = gateway.post(path, body.to_string()).await;
        assert_eq!(answer.header("x-modelramp-model"), "c", "{}", answer.text);
        let sent = gateway.upstream.requests().split_off(before);
        for request in sent {
            let of_its_own = request.body["model"] == "a";
            let message = &request.body["messages"][1];
            let call = &message["tool_calls"][0];
            assert_eq!(call["id"], "c", "{path}: {message}");
            for thought in [
                &message["reasoning"],
                &message["reasoning_details"],
                &call["extra_content"],
            ] {
                assert_eq!(thought.is_null(), !of_its_own, "{path}: {message}");
            }
        }
    }
}
