//! What answers are worth, and what refusals say.

use super::*;

pub(super) fn empty(message: &Value, reason: &Value) -> Reply {
    let choice = json!({"message": message, "finish_reason": reason});
    Reply::json(&json!({ "choices": [choice] }))
}

#[tokio::test]
async fn an_answer_that_says_nothing_falls_back_and_counts() {
    let call = json!([{"id": "c", "function": {"name": "f", "arguments": "{}"}}]);
    for (message, reason) in [
        (json!({"content": ""}), json!("stop")),
        (json!({"content": ""}), Value::Null),
        (json!({"content": null, "reasoning": "hm"}), json!("length")),
        (json!({"content": " \u{200b}\n"}), json!("stop")),
        (json!({"content": []}), json!("stop")),
        (json!({"content": ""}), json!("content_filter")),
        (
            json!({"content": null, "tool_calls": call}),
            json!("tool_calls"),
        ),
        (Value::Null, json!("stop")),
    ] {
        let (asked, events, result) = run(vec![empty(&message, &reason), Reply::ok("b")]).await;
        assert_eq!(asked, ["id-a", "id-b"], "{message}");
        assert_eq!(events[0].1, kind(FaultKind::EmptyReply), "{message}");
        assert_eq!(result.unwrap(), "b");
    }
}

#[tokio::test]
async fn a_refusals_words_are_an_answer_with_an_outcome_of_its_own() {
    let refusal = empty(
        &json!({"content": null, "refusal": "I cannot."}),
        &json!("stop"),
    );
    let (asked, events, result) = run(vec![refusal]).await;
    assert_eq!(asked, ["id-a"]);
    assert_eq!(events, [("a".into(), Outcome::Refused)]);
    assert_eq!(result.unwrap(), "I cannot.");
}

#[tokio::test]
async fn the_event_of_an_answer_says_what_is_wrong_with_it() {
    let cut = empty(&json!({"content": "æh"}), &json!("length"));
    let refusal = empty(&json!({"refusal": "I cannot."}), &json!("stop"));
    let stream = Reply::tokens(&["no ", "JSON"]);
    let replies = vec![Reply::ok("7"), Reply::ok("seven"), cut, refusal, stream];
    let upstream = Upstream::start(replies).await;
    let mut catalog = catalog(&upstream, &upstream);
    catalog.tasks[0].checks = Arc::new(Checks {
        schema: Some(Schema::parse(r#"{"type": "number"}"#).unwrap()),
        language: Language::Any,
    });
    let (router, events) = router(catalog, candidates());
    for _ in 0..4 {
        complete(&router, "chat").await.unwrap();
    }
    let streamed = router.stream(&route(&router, "chat"), call()).await;
    let deltas: Vec<_> = streamed.unwrap().deltas.collect().await;
    assert!(deltas.iter().all(Result::is_ok));
    let seen = events.all();
    let seen: Vec<_> = seen
        .iter()
        .map(|it| (it.quality, it.answer_chars))
        .collect();
    let expected = [
        (Quality::Good, 1),
        (Quality::SchemaInvalid, 5),
        (Quality::Truncated, 2),
        (Quality::Refused, 9),
        (Quality::SchemaInvalid, 7),
    ];
    assert_eq!(seen, expected.map(|(it, chars)| (Some(it), Some(chars))));
}

#[tokio::test]
async fn a_refused_request_is_put_to_one_other_model_which_shows_whose_fault_it_was() {
    for status in [400, 403, 405, 409, 412, 415, 422, 451] {
        let refused = Reply::status(status);
        let fault = match status {
            403 => FaultKind::Refused,
            _ => FaultKind::BadRequest,
        };
        let (asked, events, result) = run(vec![refused.clone(), Reply::ok("from b")]).await;
        assert_eq!(asked, ["id-a", "id-b"], "{status}");
        let rejected = ("a".into(), kind(FaultKind::Rejected));
        assert_eq!(events, [rejected, ("b".into(), Outcome::Success)]);
        assert_eq!(result.unwrap(), "from b");

        // A second model that refuses, or fails for a reason of its own, shows nothing against the first.
        for (second, other) in [
            (refused.clone(), fault),
            (Reply::status(503), FaultKind::Upstream),
        ] {
            let replies = vec![refused.clone(), second, Reply::ok("from c")];
            let (asked, events, result) = run(replies).await;
            assert_eq!(asked, ["id-a", "id-b"], "{status}");
            assert_eq!(
                events,
                [("a".into(), kind(fault)), ("b".into(), kind(other))]
            );
            let error = RpcError::from(result.unwrap_err());
            let all = format!("{error} {:?}", error.cause());
            assert!(!all.contains("upstream words"), "{all}");
        }
    }
}

#[tokio::test]
async fn a_refused_stream_is_judged_by_the_model_that_streams() {
    let (result, events) = streams::streamed(vec![Reply::status(422), Reply::tokens(&["b"])]).await;
    assert_eq!(result.unwrap().0, "b");
    let outcomes: Vec<_> = events.iter().map(|event| event.outcome).collect();
    assert_eq!(outcomes, [kind(FaultKind::Rejected), Outcome::Success]);
}
