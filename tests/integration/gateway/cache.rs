//! Answers that are kept: for whom, for what, and what ends them.

use super::*;

/// A gateway that keeps answers.
async fn keeping(script: impl Fn(usize, &Request) -> Reply + Send + Sync + 'static) -> Gateway {
    let setup = TestApp::builder().with_setting("ANSWER_CACHE_BYTES", "1000000");
    Gateway::start_with(setup, script).await
}

fn likeliest(model: &str) -> Value {
    let mut body = asking(model);
    body["temperature"] = 0.into();
    body
}

fn asked(gateway: &Gateway) -> usize {
    gateway.upstream.requests().len()
}

#[tokio::test]
async fn an_answer_is_kept_for_its_caller_and_exactly_its_request_and_is_no_attempt() {
    let gateway = keeping(|count, _| Reply::ok(&format!("answer {count}"))).await;
    let first = gateway.chat(&likeliest("task/chat")).await;
    assert_eq!(first.header("x-modelramp-cache"), "");
    let again = gateway.chat(&likeliest("task/chat")).await;
    assert_eq!(again.text, first.text);
    let headers = [
        "x-modelramp-cache",
        "x-modelramp-model",
        "x-modelramp-variant",
        "x-modelramp-attempts",
    ];
    assert_eq!(
        headers.map(|name| again.header(name)),
        ["hit", "a", "control", ""]
    );
    assert_ne!(again.header("x-request-id"), first.header("x-request-id"));
    assert_eq!(asked(&gateway), 1);
    let event = gateway.attempt().await;
    assert_eq!(event.0, "success", "one event, of the one attempt");

    let other = gateway
        .app
        .setup
        .token(7, modelramp::_core::caller::Role::User)
        .await;
    let url = format!("{}/v1/chat/completions", gateway.app.url);
    let post = |token: &str| {
        gateway
            .app
            .http
            .post(&url)
            .bearer_auth(token)
            .body(likeliest("task/chat").to_string())
    };
    assert_eq!(
        gateway.send(post(&other)).await.header("x-modelramp-cache"),
        ""
    );
    let own = post(&gateway.token).header("x-modelramp-subject", "somebody");
    assert_eq!(gateway.send(own).await.header("x-modelramp-cache"), "");
    let anew = post(&gateway.token).header("cache-control", "max-age=0, no-cache");
    assert_eq!(gateway.send(anew).await.header("x-modelramp-cache"), "");
    let mut slightly = likeliest("task/chat");
    slightly["seed"] = 7.into();
    assert_eq!(
        gateway.chat(&slightly).await.header("x-modelramp-cache"),
        ""
    );
    assert_eq!(asked(&gateway), 5);
    for body in [asking("task/chat"), asking("task/chat")] {
        assert_eq!(
            gateway.chat(&body).await.header("x-modelramp-cache"),
            "",
            "it may have many answers"
        );
    }
    assert_eq!(asked(&gateway), 7);
}

#[tokio::test]
async fn a_request_that_is_repeated_under_its_key_has_one_answer() {
    let gateway = keeping(|count, _| Reply::ok(&format!("answer {count}"))).await;
    let ask = async |key: &'static str, body: Value| {
        let url = format!("{}/v1/chat/completions", gateway.app.url);
        let request = gateway.app.http.post(url).bearer_auth(&gateway.token);
        let request = request.header("idempotency-key", key);
        gateway.send(request.body(body.to_string())).await
    };
    let first = ask("one", asking("a")).await;
    let again = ask("one", asking("a")).await;
    assert_eq!(
        (again.header("x-modelramp-cache"), &again.text),
        ("hit", &first.text)
    );
    assert_eq!(asked(&gateway), 1);
    // Another request under that key, another key, and none are others.
    ask("one", asking("b")).await;
    ask("two", asking("a")).await;
    gateway.chat(&asking("a")).await;
    assert_eq!(asked(&gateway), 4);
    // One that has a likeliest answer has it under any key.
    let likeliest = likeliest("a");
    gateway.chat(&likeliest).await;
    for key in ["three", "four"] {
        let again = ask(key, likeliest.clone()).await;
        assert_eq!(again.header("x-modelramp-cache"), "hit", "{key}");
    }
    assert_eq!(asked(&gateway), 5);
    let refused = ask("", asking("a")).await;
    assert_eq!(refused.status, StatusCode::BAD_REQUEST);
    assert!(refused.text.contains("idempotency-key"), "{}", refused.text);
}

#[tokio::test]
async fn nothing_is_kept_unless_it_is_switched_on() {
    let gateway = Gateway::answering(Reply::ok("hej")).await;
    for _ in 0..2 {
        assert_eq!(
            gateway
                .chat(&likeliest("a"))
                .await
                .header("x-modelramp-cache"),
            ""
        );
    }
    assert_eq!(asked(&gateway), 2);
}

#[tokio::test]
async fn a_stream_that_came_to_its_end_is_told_again_byte_by_byte_on_every_wire() {
    let gateway = keeping(|_, _| {
        let mut pieces = words(&["hej", " med", " dig"]);
        pieces.push(chunk(&json!({}), Some("stop")));
        pieces.push(DONE.to_owned());
        Reply::events(pieces, End::Clean)
    })
    .await;
    let mut chat = likeliest("a");
    chat["stream"] = true.into();
    let mut messages = chat.clone();
    messages["max_tokens"] = 100.into();
    let responses = json!({"model": "a", "input": "hej", "temperature": 0, "stream": true});
    for (path, body) in [
        ("/v1/chat/completions", &chat),
        ("/v1/messages", &messages),
        ("/v1/responses", &responses),
    ] {
        let before = asked(&gateway);
        let first = gateway.post(path, body.to_string()).await;
        let again = gateway.post(path, body.to_string()).await;
        assert_eq!(
            (&*again.text, again.header("x-modelramp-cache")),
            (&*first.text, "hit"),
            "{path}"
        );
        assert_eq!(
            again.header("content-type"),
            "text/event-stream; charset=utf-8"
        );
        assert_eq!(asked(&gateway) - before, 1, "{path}");
    }
}

#[tokio::test]
async fn faults_and_answers_that_were_cut_are_never_kept() {
    let cut = |reason: &str| json!({"choices": [{"message": {"role": "assistant", "content": "hal"}, "finish_reason": reason}]});
    let refusal = json!({"choices": [{"message": {"role": "assistant", "content": null, "refusal": "no"}, "finish_reason": "stop"}]});
    let mut ended = words(&["hal"]);
    ended.push(chunk(&json!({}), Some("length")));
    ended.push(DONE.to_owned());
    for (streams, reply) in [
        (false, Reply::status(400)),
        (false, Reply::json(&cut("length"))),
        (false, Reply::json(&cut("content_filter"))),
        (false, Reply::json(&refusal)),
        (true, Reply::events(words(&["hal"]), End::Cut)),
        (true, Reply::events(ended, End::Clean)),
    ] {
        let told = format!("{reply:?}");
        let gateway = keeping(move |_, _| reply.clone()).await;
        let mut body = likeliest("a");
        body["stream"] = streams.into();
        for round in 1..=2 {
            gateway.chat(&body).await;
            assert_eq!(asked(&gateway), round, "{told}");
        }
    }
}

#[tokio::test]
async fn what_was_kept_is_gone_when_a_rollout_is_taken_back() {
    let gateway = keeping(|count, _| Reply::ok(&format!("answer {count}"))).await;
    let plan = "name = \"slow\"\ntasks = [\"chat\"]\ndeadline = \"30days\"\n\
                [[stages]]\nshare = 100\nsoak = \"1h\"\n";
    let id = gateway.app.begin_rollout(plan).await;
    let hit = async || {
        let answer = gateway.chat(&likeliest("task/chat")).await;
        (
            answer.header("x-modelramp-variant").to_owned(),
            answer.header("x-modelramp-cache") == "hit",
        )
    };
    let candidate = || ("candidate".to_owned(), true);
    eventually(PATIENCE, async || {
        let seen = hit().await;
        if seen == candidate() {
            Ok(())
        } else {
            Err(seen)
        }
    })
    .await;
    // Control's, of the same rollout.
    let asked_before = asked(&gateway);
    let rollout = gateway
        .app
        .call("rollout.get", json!({"id": id}))
        .await
        .unwrap();
    let params = json!({"id": id, "version": rollout["version"], "reason": "a test"});
    gateway.app.call("rollout.rollback", params).await.unwrap();
    assert_eq!(hit().await, ("control".to_owned(), false));
    assert_eq!(asked(&gateway), asked_before + 1);
}

#[tokio::test]
async fn what_a_task_masks_is_never_kept() {
    let upstream = Upstream::with(|_, _| Reply::ok("hej")).await;
    let text = format!(
        "[providers.up]\nbase_url = \"{}\"\n[models.a]\nprovider = \"up\"\nid = \"a\"\ncontext = 8192\n\
         [tasks.chat]\ncandidate = [\"a\"]\ncontrol = [\"a\"]\nprivacy = {{ mask = [\"email\"] }}\n",
        upstream.base_url
    );
    let setup = TestApp::builder().with_setting("ANSWER_CACHE_BYTES", "1000000");
    let app = setup.with_catalog(&text).start().await;
    let token = app.setup.admin().await.to_owned();
    let gateway = Gateway {
        app,
        upstream,
        token,
    };
    for _ in 0..2 {
        gateway.chat(&likeliest("task/chat")).await;
    }
    assert_eq!(asked(&gateway), 2);
}

#[tokio::test]
async fn what_no_model_sees_of_a_request_is_part_of_what_was_asked() {
    let gateway = keeping(|_, _| Reply::ok("hej")).await;
    let responses = |run: &str| json!({"model": "a", "input": "hej", "temperature": 0, "metadata": {"run": run}});
    let messages = |run: &str| {
        let mut body = likeliest("a");
        body["max_tokens"] = 100.into();
        body["context_management"] = json!({"run": run});
        body
    };
    for (path, [one, other]) in [
        ("/v1/responses", ["1", "2"].map(responses)),
        ("/v1/messages", ["1", "2"].map(messages)),
    ] {
        for (body, expected) in [(&one, ""), (&other, ""), (&one, "hit"), (&other, "hit")] {
            let answer = gateway.post(path, body.to_string()).await;
            assert_eq!(
                answer.header("x-modelramp-cache"),
                expected,
                "{path} {body}"
            );
            if path == "/v1/responses" {
                let answer: Value = serde_json::from_str(&answer.text).unwrap();
                assert_eq!(answer["metadata"], body["metadata"]);
            }
        }
    }
}

#[tokio::test]
async fn what_a_fallback_answered_is_not_kept() {
    for streams in [false, true] {
        let gateway = keeping(move |count, request| match (count, streams) {
            (0, _) => Reply::status(503),
            _ if request.body["stream"] == true => {
                let mut pieces = words(&["hej"]);
                pieces.extend([chunk(&json!({}), Some("stop")), DONE.to_owned()]);
                Reply::events(pieces, End::Clean)
            }
            _ => Reply::ok("hej"),
        })
        .await;
        let mut body = likeliest("task/chat");
        body["stream"] = streams.into();
        for (model, cache, asked_so_far) in [("b", "", 2), ("a", "", 3), ("a", "hit", 3)] {
            let answer = gateway.chat(&body).await;
            assert_eq!(
                (
                    answer.header("x-modelramp-model"),
                    answer.header("x-modelramp-cache"),
                    asked(&gateway)
                ),
                (model, cache, asked_so_far),
                "{}",
                answer.text
            );
        }
    }
}
