//! What a caller sees of a fault, and who is asked next.

use super::*;

fn error(status: u16, error: &Value) -> Reply {
    let body = json!({ "error": error }).to_string();
    Reply::Http(status, vec![("content-type", "application/json")], body)
}

/// The reply that a request's `seed` names.
fn by_seed(replies: Vec<Reply>) -> impl Fn(usize, &Request) -> Reply {
    move |_, request| {
        let seed = request.body["seed"].as_u64().unwrap() as usize;
        replies[seed].clone()
    }
}

#[tokio::test]
async fn each_kind_of_fault_has_its_status_and_code() {
    let says = |status: u16, text: &str| error(status, &json!({ "message": text }));
    let faults = [
        (says(401, "no"), "account-key", 400, "upstream_auth"),
        (says(402, "no"), "account-funds", 400, "upstream_funds"),
        (
            says(429, "requests per min"),
            "account-limit",
            429,
            "rate_limit_exceeded",
        ),
        (
            says(429, "no"),
            "provider-limit",
            429,
            "rate_limit_exceeded",
        ),
        (
            says(404, "no model"),
            "model-gone",
            400,
            "model_unavailable",
        ),
        (says(413, "no"), "too-large", 413, "request_too_large"),
        (
            says(400, "prompt is too long"),
            "context-length",
            400,
            "context_length_exceeded",
        ),
        (
            says(403, "Your input was flagged"),
            "refused",
            400,
            "content_filter",
        ),
        (says(500, "no"), "upstream-error", 502, "upstream_error"),
        (says(503, "no"), "overloaded", 503, "overloaded"),
        (says(504, "no"), "timeout-upstream", 504, "upstream_timeout"),
        (
            Reply::Http(307, vec![("location", "/x")], String::new()),
            "wrong-url",
            400,
            "upstream_config",
        ),
        (Reply::ok(" "), "empty", 502, "empty_answer"),
        (
            Reply::Http(200, vec![], "<html>".into()),
            "malformed",
            502,
            "upstream_malformed",
        ),
    ];
    let replies: Vec<Reply> = faults.iter().map(|fault| fault.0.clone()).collect();
    let gateway = Gateway::start(by_seed(replies)).await;
    for (index, (_, kind, status, code)) in faults.into_iter().enumerate() {
        for streams in [false, true] {
            let mut body = if streams { streaming("a") } else { asking("a") };
            body["seed"] = index.into();
            let answer = gateway.chat(&body).await;
            assert_eq!(
                answer.status.as_u16(),
                status,
                "{kind} {streams}: {}",
                answer.text
            );
            assert_eq!(answer.json()["error"]["code"], code, "{kind} {streams}");
            // Where the fault may be a moment's, the model is asked again, though not in each call.
            let tried = answer.header("x-modelramp-attempts");
            let tried: Vec<_> = tried.split(", ").collect();
            let expected = format!("a@up:{kind}");
            assert!((1..=2).contains(&tried.len()), "{tried:?}");
            assert!(tried.iter().all(|it| *it == expected), "{tried:?}");
            let retry = if matches!(status, 400 | 413) {
                "false"
            } else {
                ""
            };
            assert_eq!(answer.header("x-should-retry"), retry, "{kind} {streams}");
        }
    }
}

#[tokio::test]
async fn a_request_that_is_refused_is_refused_in_the_first_models_words_without_our_secrets() {
    let gateway = Gateway::start(|count, _| match count {
        0 => error(
            422,
            &json!({"message": "`foo` is unknown (sk-secret-key at http://10.0.0.1/v1)"}),
        ),
        _ => error(400, &json!({"message": "second"})),
    })
    .await;
    let answer = gateway.chat(&asking("task/chat")).await;
    assert_eq!(answer.status, StatusCode::BAD_REQUEST);
    let message = answer.json()["error"]["message"]
        .as_str()
        .unwrap()
        .to_owned();
    assert!(message.contains("`foo` is unknown"), "{message}");
    assert!(
        !message.contains("secret") && !message.contains("10.0.0.1"),
        "{message}"
    );
    assert_eq!(
        answer.header("x-modelramp-attempts"),
        "a@up:bad-request, b@up:bad-request"
    );
}

#[tokio::test]
async fn until_the_first_token_a_fallback_is_not_seen() {
    let role = chunk(&json!({"role": "assistant", "content": ""}), None);
    let thought = chunk(&json!({"reasoning": "hm"}), None);
    let faults = vec![
        Reply::status(500),
        Reply::Cut,
        Reply::events([role.clone(), thought.clone()], End::Cut),
        Reply::events([role.clone()], End::Clean),
        Reply::events([role, thought, DONE.into()], End::Clean),
        Reply::events(["data: {\"choices\":[{\"ind\n\n".to_owned()], End::Clean),
        Reply::events(
            ["data: {\"error\":{\"code\":502}}\n\n".to_owned()],
            End::Clean,
        ),
    ];
    let count = faults.len();
    let fault = by_seed(faults);
    let gateway = Gateway::start(move |count, request| {
        if request.body["model"] == "a" {
            return fault(count, request);
        }
        let mut pieces = words(&["hej"]);
        pieces.push(chunk(&json!({}), Some("stop")));
        Reply::events(pieces, End::Clean)
    })
    .await;
    for seed in 0..count {
        let mut body = streaming("task/chat");
        body["seed"] = seed.into();
        let answer = gateway.chat(&body).await;
        assert_eq!(answer.status, StatusCode::OK, "{seed} {}", answer.text);
        assert_eq!(answer.header("x-modelramp-model"), "b");
        assert!(answer.header("x-modelramp-attempts").ends_with(", b@up:ok"));
        // The sign of the end is ours, where the model's server leaves it out.
        assert_eq!(answer.events().last(), Some(&"[DONE]"));
        assert!(!answer.text.contains("reasoning"));
    }
}

#[tokio::test]
async fn after_the_first_token_a_fault_is_an_event_and_no_end() {
    let broken = [
        (vec![], End::Cut, "upstream_cut"),
        (vec![], End::Clean, "upstream_cut"),
        (
            vec!["data: {\"error\":{\"code\":502}}\n\n", DONE],
            End::Clean,
            "upstream_error",
        ),
        (
            vec!["data: {\"broken\n\n", DONE],
            End::Clean,
            "upstream_malformed",
        ),
    ];
    for (rest, end, code) in broken {
        let mut pieces = words(&["he", "j"]);
        pieces.extend(rest.into_iter().map(str::to_owned));
        let gateway = Gateway::answering(Reply::events(pieces, end)).await;
        let answer = gateway.chat(&streaming("task/chat")).await;
        assert_eq!(answer.status, StatusCode::OK);
        let events = answer.events();
        assert_eq!(events.len(), 3, "{}", answer.text);
        let last: Value = serde_json::from_str(events[2]).unwrap();
        assert_eq!(last["error"]["code"], code);
        assert_eq!(gateway.upstream.requests().len(), 1, "no second model");
    }
}

#[tokio::test]
async fn a_caller_that_leaves_is_nobodys_failure() {
    let gateway = Gateway::answering(Reply::events(words(&["hej"]), End::Hang)).await;
    let url = format!("{}/v1/chat/completions", gateway.app.url);
    let request = gateway.app.http.post(url).bearer_auth(&gateway.token);
    let mut response = request
        .body(streaming("a").to_string())
        .send()
        .await
        .unwrap();
    assert!(response.chunk().await.unwrap().is_some());
    drop(response);
    assert_eq!(gateway.attempt().await.0, "cancelled");
}

#[tokio::test]
async fn an_answer_that_the_callers_own_limit_cut_to_nothing_is_one() {
    let cut = json!({"choices": [{"index": 0, "message": {"content": "", "reasoning": "hm"}, "finish_reason": "length"}]});
    let gateway = Gateway::answering(Reply::json(&cut)).await;
    assert_eq!(
        gateway.chat(&asking("a")).await.status,
        StatusCode::BAD_GATEWAY
    );
    let mut body = asking("a");
    body["max_completion_tokens"] = 5.into();
    let answer = gateway.chat(&body).await;
    assert_eq!((answer.status, answer.json()), (StatusCode::OK, cut));
}

#[tokio::test]
async fn a_model_that_misses_what_it_thought_is_asked_once_more() {
    let gateway = Gateway::start(|_, request| {
        let calls = &request.body["messages"][0];
        if calls.get("reasoning_content").is_some() {
            return Reply::ok("hej");
        }
        let words = "The `reasoning_content` in the thinking mode must be passed back to the API.";
        error(400, &json!({ "message": words }))
    })
    .await;
    let mut body = asking("a");
    body["messages"] = json!([{"role": "assistant", "tool_calls": [{"id": "c"}]}, {"role": "tool", "content": "x"}]);
    let answer = gateway.chat(&body).await;
    assert_eq!(answer.status, StatusCode::OK, "{}", answer.text);
    assert_eq!(
        answer.header("x-modelramp-attempts"),
        "a@up:reasoning-state, a@up:ok"
    );
}
