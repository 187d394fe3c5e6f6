//! OpenAI's Responses API in front of chat completions.

use super::*;

async fn respond(gateway: &Gateway, body: &Value) -> Answer {
    gateway.post("/v1/responses", body.to_string()).await
}

fn calling(name: &str, arguments: &str) -> Value {
    json!({"index": 0, "id": "c1", "type": "function", "function": {"name": name, "arguments": arguments}})
}

#[tokio::test]
async fn a_request_as_codex_makes_it_is_translated_both_ways() {
    let message = json!({"role": "assistant", "content": "Wait", "reasoning": "hm", "tool_calls": [calling("f", "{}")]});
    let usage = json!({"prompt_tokens": 7, "completion_tokens": 3, "prompt_tokens_details": {"cached_tokens": 2}});
    let reply = json!({"id": "gen", "object": "chat.completion", "choices": [{"index": 0, "message": message, "finish_reason": "tool_calls"}], "usage": usage});
    let gateway = Gateway::answering(Reply::json(&reply)).await;
    let tool = |name: &str| json!({"type": "function", "name": name, "parameters": {"type": "object"}, "strict": false});
    let asked = json!({
        "model": "task/chat", "store": false, "include": ["reasoning.encrypted_content"], "client_metadata": {"a": "b"},
        "instructions": "Be brief", "prompt_cache_key": "k", "max_output_tokens": 9, "reasoning": {"effort": "low"},
        "input": [{"type": "message", "role": "developer", "content": [{"type": "input_text", "text": "You are"}]}, {"role": "user", "content": "Hi"}],
        "tools": [tool("exec"), {"type": "namespace", "name": "n", "tools": [tool("f")]}, {"type": "web_search"}],
    });
    let answer = respond(&gateway, &asked).await;
    assert_eq!(answer.header("x-modelramp-dropped"), "web_search");
    let got = answer.json();
    assert_eq!(
        (&got["status"], &got["store"]),
        (&json!("completed"), &json!(false))
    );
    let output = got["output"].as_array().unwrap();
    let kinds: Vec<_> = output
        .iter()
        .map(|item| item["type"].as_str().unwrap())
        .collect();
    assert_eq!(kinds, ["reasoning", "message", "function_call"]);
    assert_eq!(
        (&output[2]["call_id"], &output[2]["namespace"]),
        (&json!("c1"), &json!("n"))
    );
    assert_eq!(got["usage"]["input_tokens_details"]["cached_tokens"], 2);
    let sent = &gateway.upstream.requests()[0].body;
    let function = |name: &str| json!({"type": "function", "function": {"name": name, "parameters": {"type": "object"}, "strict": false}});
    assert_eq!(
        *sent,
        json!({
            "messages": [{"role": "system", "content": "Be brief"}, {"role": "system", "content": "You are"}, {"role": "user", "content": "Hi"}],
            "tools": [function("exec"), function("f")], "max_tokens": 9, "reasoning_effort": "low", "prompt_cache_key": "k", "model": "a",
        })
    );
    // The next turn: one assistant's message, with what was thought, and the result behind it.
    let mut input = vec![json!({"role": "user", "content": "Hi"})];
    input.extend(output.iter().cloned());
    input.push(json!({"type": "function_call_output", "call_id": "c1", "output": "rain"}));
    respond(&gateway, &json!({"model": "task/chat", "input": input})).await;
    let sent = &gateway.upstream.requests()[1].body["messages"];
    assert_eq!(
        *sent,
        json!([
            {"role": "user", "content": "Hi"},
            {"role": "assistant", "content": "Wait", "reasoning": "hm", "tool_calls": [{"id": "c1", "type": "function", "function": {"name": "f", "arguments": "{}"}}]},
            {"role": "tool", "tool_call_id": "c1", "content": "rain"},
        ])
    );
}

#[tokio::test]
async fn events_are_named_numbered_and_end_once() {
    let mut pieces = vec![chunk(&json!({"reasoning": "hm"}), None)];
    pieces.extend(words(&["he", "j"]));
    pieces.push(chunk(
        &json!({"tool_calls": [calling("patch", "{\"input\":\"x\"}")]}),
        None,
    ));
    pieces.push(chunk(&json!({}), Some("tool_calls")));
    pieces.push(DONE.into());
    let gateway = Gateway::answering(Reply::events(pieces, End::Clean)).await;
    let asked = json!({"model": "a", "input": "Hi", "stream": true, "tools": [{"type": "custom", "name": "patch"}]});
    let answer = respond(&gateway, &asked).await;
    let events: Vec<Value> = answer
        .events()
        .iter()
        .map(|data| serde_json::from_str(data).unwrap())
        .collect();
    let names: Vec<_> = answer
        .text
        .lines()
        .filter_map(|line| line.strip_prefix("event: response."))
        .collect();
    assert_eq!(
        names,
        [
            "created",
            "in_progress",
            "output_item.added",
            "reasoning_summary_part.added",
            "reasoning_summary_text.delta",
            "reasoning_summary_text.done",
            "reasoning_summary_part.done",
            "output_item.done",
            "output_item.added",
            "content_part.added",
            "output_text.delta",
            "output_text.delta",
            "output_text.done",
            "content_part.done",
            "output_item.done",
            "output_item.added",
            "custom_tool_call_input.delta",
            "custom_tool_call_input.done",
            "output_item.done",
            "completed",
        ]
    );
    for (number, event) in events.iter().enumerate() {
        assert_eq!(event["sequence_number"], number);
        assert_eq!(event["type"], format!("response.{}", names[number]));
    }
    let output = &events.last().unwrap()["response"]["output"];
    assert_eq!(output[1]["content"][0]["text"], "hej");
    assert_eq!(
        (&output[2]["type"], &output[2]["input"]),
        (&json!("custom_tool_call"), &json!("x"))
    );
}

#[tokio::test]
async fn a_stream_that_breaks_off_has_failed() {
    let gateway = Gateway::answering(Reply::events(words(&["hej"]), End::Cut)).await;
    let answer = respond(
        &gateway,
        &json!({"model": "a", "input": "Hi", "stream": true}),
    )
    .await;
    let last: Value = serde_json::from_str(answer.events().last().unwrap()).unwrap();
    assert_eq!(last["type"], "response.failed");
    assert_eq!(last["response"]["error"]["code"], "upstream_cut");
}

#[tokio::test]
async fn what_cannot_be_answered_is_refused_by_name() {
    let gateway = Gateway::answering(Reply::ok("hej")).await;
    for (name, value) in [
        ("previous_response_id", json!("resp_1")),
        ("conversation", json!("conv_1")),
        ("background", json!(true)),
        ("prompt", json!({"id": "p"})),
        ("tools", json!([{"type": "web_search"}])),
        ("top_logprobs", json!(2)),
        ("include", json!(["message.output_text.logprobs"])),
    ] {
        let mut asked = json!({"model": "a", "input": "Hi"});
        asked[name] = value;
        let answer = respond(&gateway, &asked).await;
        let error = &answer.json()["error"];
        assert_eq!(answer.status, StatusCode::BAD_REQUEST, "{name}");
        assert_eq!(
            (&error["code"], &error["param"]),
            (&json!("unsupported_parameter"), &json!(name))
        );
    }
    assert!(gateway.upstream.requests().is_empty());
}

#[tokio::test]
async fn what_stands_at_a_call_or_behind_it_goes_back_with_it() {
    let mut call = calling("f", "{}");
    call["extra_content"] = json!({"google": {"thought_signature": "s"}});
    let detail = json!({"type": "reasoning.encrypted", "data": "d", "index": 0});
    let pieces = vec![
        chunk(&json!({ "tool_calls": [call] }), None),
        chunk(&json!({ "reasoning_details": [detail] }), None),
        chunk(&json!({}), Some("tool_calls")),
        DONE.to_owned(),
    ];
    let gateway = Gateway::answering(Reply::events(pieces, End::Clean)).await;
    let tools = json!([{"type": "function", "name": "f"}, {"type": "function", "name": "g"}]);
    let allowed = json!([{"type": "function", "name": "f"}]);
    let mut asked = json!({
        "model": "a", "stream": true, "input": [{"role": "user", "content": "Hi"}], "tools": tools,
        "tool_choice": {"type": "allowed_tools", "mode": "auto", "tools": allowed},
        "include": ["reasoning.encrypted_content"],
    });
    let answer = respond(&gateway, &asked).await;
    let end: Value = serde_json::from_str(answer.events().last().unwrap()).unwrap();
    let output = end["response"]["output"].as_array().unwrap();
    let id = output.iter().find_map(|item| item.get("call_id")).unwrap();
    let input = asked["input"].as_array_mut().unwrap();
    input.extend(output.iter().cloned());
    input.push(json!({"type": "function_call_output", "call_id": id, "output": "1"}));
    input.push(json!({"role": "assistant", "content": "It is 1"}));
    respond(&gateway, &asked).await;
    let sent = &gateway.upstream.requests()[1].body;
    let messages = &sent["messages"];
    assert_eq!(messages[1]["reasoning_details"], json!([detail]));
    let back = &messages[1]["tool_calls"][0]["extra_content"];
    assert_eq!(*back, call["extra_content"]);
    assert!(messages[3].get("reasoning_details").is_none(), "{messages}");
    let tools = sent["tools"].as_array().unwrap();
    assert!(tools.len() == 1 && tools[0]["function"]["name"] == "f");
}

#[tokio::test]
async fn results_stay_together_though_one_of_them_shows_an_image() {
    let gateway = Gateway::answering(Reply::ok("hej")).await;
    let call = |id: &str| json!({"type": "function_call", "call_id": id, "name": "look", "arguments": "{}"});
    let result = |id: &str, output: Value| json!({"type": "function_call_output", "call_id": id, "output": output});
    let image = json!({"type": "input_image", "image_url": "data:image/png;base64,AAAA"});
    let input = json!([
        {"role": "user", "content": "Hi"}, call("1"), call("2"), result("1", json!([image])), result("2", json!("none")),
    ]);
    respond(&gateway, &json!({"model": "a", "input": input})).await;
    let sent = &gateway.upstream.requests()[0].body;
    let roles = sent["messages"].as_array().unwrap().iter();
    let roles: Vec<_> = roles.map(|it| it["role"].as_str().unwrap()).collect();
    assert_eq!(roles, ["user", "assistant", "tool", "tool", "user"]);
}

#[tokio::test]
async fn what_is_no_request_is_told_before_a_model_is_asked() {
    let gateway = Gateway::answering(Reply::ok("hej")).await;
    for input in [json!([]), json!({}), json!(5), json!(["Hi"]), json!([[]])] {
        let answer = respond(&gateway, &json!({"model": "a", "input": input})).await;
        assert_eq!(answer.status, StatusCode::BAD_REQUEST, "{input}");
        assert_eq!(answer.json()["error"]["param"], "input", "{input}");
    }
    for content in [json!(null), json!(7), json!([])] {
        let turns = json!([{"role": "user", "content": content}]);
        let asked = json!({"model": "a", "max_tokens": 9, "messages": turns});
        let answer = gateway.post("/v1/messages", asked.to_string()).await;
        assert_eq!(answer.status, StatusCode::BAD_REQUEST, "{content}");
        assert!(
            answer.text.contains("invalid_request_error"),
            "{}",
            answer.text
        );
    }
    assert!(gateway.upstream.requests().is_empty());
    let sound = json!({"type": "input_audio", "input_audio": {"data": "AAAA", "format": "wav"}});
    let input = json!([{"role": "user", "content": [sound]}]);
    respond(&gateway, &json!({"model": "a", "input": input})).await;
    let sent = &gateway.upstream.requests()[0].body;
    assert_eq!(sent["messages"][0]["content"], json!([sound]));
}

#[tokio::test]
async fn a_tool_of_a_namespace_makes_way_for_one_of_none() {
    let gateway = Gateway::answering(Reply::ok("hej")).await;
    let tool = json!({"type": "function", "name": "get"});
    let space = json!({"type": "namespace", "name": "one", "tools": [tool]});
    let choice = json!({"type": "function", "name": "get", "namespace": "one"});
    let asked = json!({"model": "a", "tools": [space, tool], "tool_choice": choice, "input": "Hi"});
    respond(&gateway, &asked).await;
    let sent = &gateway.upstream.requests()[0].body;
    let names = sent["tools"].as_array().unwrap().iter();
    let names: Vec<_> = names.map(|it| &it["function"]["name"]).collect();
    assert_eq!(names, ["one__get", "get"]);
    assert_eq!(sent["tool_choice"]["function"]["name"], "one__get");
    // Nor may its other name be one that is there.
    let other = json!({"type": "function", "name": "one__get"});
    let asked =
        json!({"model": "a", "tools": [space, tool, other], "tool_choice": choice, "input": "Hi"});
    respond(&gateway, &asked).await;
    let sent = &gateway.upstream.requests()[1].body;
    let names = sent["tools"].as_array().unwrap().iter();
    let names: Vec<_> = names.map(|it| &it["function"]["name"]).collect();
    assert_eq!(names, ["one__one__get", "get", "one__get"]);
    assert_eq!(sent["tool_choice"]["function"]["name"], "one__one__get");
    // Of the same tool a thousand times, no name is longer than all before it.
    let space = json!({"type": "namespace", "name": "one", "tools": vec![tool; 1_000]});
    let asked = json!({"model": "a", "tools": [space], "input": "Hi"});
    respond(&gateway, &asked).await;
    let sent = &gateway.upstream.requests()[2].body;
    let names = sent["tools"].as_array().unwrap().iter();
    let names = names.map(|it| it["function"]["name"].as_str().unwrap());
    assert!(names.map(str::len).max() < Some(140));
}

#[tokio::test]
async fn a_tool_of_a_namespace_may_take_free_text() {
    let message = json!({"role": "assistant", "content": null, "tool_calls": [calling("one__patch", r#"{"input":"*** Begin"}"#)]});
    let choice = json!({"index": 0, "message": message, "finish_reason": "tool_calls"});
    let gateway = Gateway::answering(Reply::json(&json!({ "choices": [choice] }))).await;
    let tools = json!([{"type": "custom", "name": "patch"}, {"type": "web_search"}]);
    let space = json!({"type": "namespace", "name": "one", "tools": tools});
    let mut asked = json!({"model": "a", "tools": [space, {"type": "custom", "name": "patch"}], "input": [{"role": "user", "content": "Hi"}]});
    let answer = respond(&gateway, &asked).await;
    assert_eq!(answer.header("x-modelramp-dropped"), "web_search");
    let output = answer.json()["output"].as_array().unwrap().clone();
    let call = &output[0];
    assert_eq!(
        (
            &call["type"],
            &call["namespace"],
            &call["name"],
            &call["input"]
        ),
        (
            &json!("custom_tool_call"),
            &json!("one"),
            &json!("patch"),
            &json!("*** Begin")
        )
    );
    asked["input"].as_array_mut().unwrap().extend(output);
    respond(&gateway, &asked).await;
    let sent = &gateway.upstream.requests()[1].body;
    let names = sent["tools"].as_array().unwrap().iter();
    let names: Vec<_> = names.map(|it| &it["function"]["name"]).collect();
    assert_eq!(names, ["one__patch", "patch"]);
    let called = &sent["messages"][1]["tool_calls"][0]["function"];
    assert_eq!(called["name"], "one__patch");
}

#[tokio::test]
async fn tools_of_two_namespaces_may_share_a_name() {
    let mut call = calling("two__get", "{}");
    call["id"] = "c2".into();
    let message =
        json!({"role": "assistant", "content": null, "tool_calls": [calling("get", "{}"), call]});
    let choice = json!({"index": 0, "message": message, "finish_reason": "tool_calls"});
    let gateway = Gateway::answering(Reply::json(&json!({ "choices": [choice] }))).await;
    let tool = json!([{"type": "function", "name": "get"}]);
    let space = |name: &str| json!({"type": "namespace", "name": name, "tools": tool});
    let mut asked = json!({"model": "a", "tools": [space("one"), space("two")], "input": [{"role": "user", "content": "Hi"}]});
    let answer = respond(&gateway, &asked).await.json();
    let output = answer["output"].as_array().unwrap();
    let called = output.iter().map(|it| (&it["namespace"], &it["name"]));
    let (one, two, get) = (json!("one"), json!("two"), json!("get"));
    assert_eq!(called.collect::<Vec<_>>(), [(&one, &get), (&two, &get)]);
    let input = asked["input"].as_array_mut().unwrap();
    input.extend(output.iter().cloned());
    respond(&gateway, &asked).await;
    let sent = &gateway.upstream.requests()[1].body;
    let names = |of: &Value| -> Vec<Value> {
        let all = of.as_array().unwrap().iter();
        all.map(|it| it["function"]["name"].clone()).collect()
    };
    assert_eq!(names(&sent["tools"]), ["get", "two__get"]);
    assert_eq!(
        names(&sent["messages"][1]["tool_calls"]),
        ["get", "two__get"]
    );
}
