//! The official SDKs of OpenAI and Anthropic.

use std::process::Command;

use super::*;
use crate::support::packages;

/// Says "Hello", calls the tool where one is offered, and breaks off where it is asked to; see `tests/sdk/run.mjs`.
fn reply(request: &Request) -> Reply {
    if request.body.get("input").is_some() {
        let vector = |index: u8, vector: [f64; 2]| json!({"object": "embedding", "index": index, "embedding": vector});
        let data = [vector(0, [0.5, -1.0]), vector(1, [2.0, 0.25])];
        return Reply::json(&json!({"object": "list", "data": data}));
    }
    let text = request.body["messages"][0]["content"].clone();
    if text == "key" {
        return Reply::status(401);
    }
    let call = json!({"id": "c1", "type": "function", "function": {"name": "f", "arguments": "{\"x\":1}"}});
    let offers_tools = request.body.get("tools").is_some();
    let finish = if offers_tools { "tool_calls" } else { "stop" };
    if request
        .body
        .get("stream")
        .is_none_or(|stream| stream != true)
    {
        let message = if offers_tools {
            json!({"role": "assistant", "content": null, "tool_calls": [call]})
        } else if text == "think" {
            json!({"role": "assistant", "content": "Hello", "reasoning_content": "First"})
        } else {
            json!({"role": "assistant", "content": "Hello"})
        };
        let usage = json!({"prompt_tokens": 3, "completion_tokens": 2, "total_tokens": 5});
        let choice = json!({"index": 0, "message": message, "finish_reason": finish});
        return Reply::json(
            &json!({"id": "x", "object": "chat.completion", "choices": [choice], "usage": usage}),
        );
    }
    if text == "cut" {
        return Reply::events(words(&["He"]), End::Cut);
    }
    let mut pieces = vec![chunk(&json!({"role": "assistant", "content": ""}), None)];
    pieces.extend(if text == "two" {
        let one = call.clone();
        let other = json!({"id": "c2", "type": "function", "function": {"name": "f", "arguments": "{\"x\":2}"}});
        vec![chunk(&json!({"tool_calls": [one]}), None), chunk(&json!({"tool_calls": [other]}), None)]
    } else if offers_tools {
        let mut call = call;
        call["index"] = 0.into();
        vec![chunk(&json!({"tool_calls": [call]}), None)]
    } else {
        words(&["He", "ll", "o"])
    });
    pieces.push(chunk(&json!({}), Some(finish)));
    let usage = json!({"prompt_tokens": 3, "completion_tokens": 2, "total_tokens": 5});
    pieces.push(format!(
        "data: {}\n\n",
        json!({"choices": [], "usage": usage})
    ));
    pieces.push(DONE.into());
    Reply::events(pieces, End::Clean)
}

#[tokio::test(flavor = "multi_thread")]
#[expect(
    clippy::print_stdout,
    reason = "the runner's closing line is part of the report"
)]
async fn the_official_clients_work_with_another_base_url_and_key() {
    let gateway = Gateway::start(|_, request| reply(request)).await;
    let (base, token) = (gateway.app.url.clone(), gateway.token.clone());
    let output = tokio::task::spawn_blocking(move || {
        Command::new("node")
            .arg("run.mjs")
            .arg(base)
            .arg(token)
            .current_dir(packages::installed("sdk"))
            .output()
    });
    let output = output.await.unwrap().unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    println!("{}", text.lines().last().unwrap_or_default());
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{text}{errors}");
}
