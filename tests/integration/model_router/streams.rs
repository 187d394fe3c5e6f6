//! Answers that come in steps: which model takes over, and until when.

use super::*;

/// The text of a streamed answer, and how its attempts ended.
pub(super) async fn streamed(
    replies: Vec<Reply>,
) -> (Result<(String, Option<RouteError>), RouteError>, Vec<Event>) {
    let upstream = Upstream::start(replies).await;
    let (router, events) = router(catalog(&upstream, &upstream), candidates());
    let answer = match router.stream(&route(&router, "chat"), call()).await {
        Ok(answer) => answer,
        Err(error) => return (Err(error), events.all()),
    };
    let mut text = String::new();
    let mut broken = None;
    let mut deltas = answer.deltas;
    while let Some(delta) = deltas.next().await {
        match delta {
            Ok(delta) => text += &delta.content,
            Err(error) => broken = Some(error),
        }
    }
    (Ok((text, broken)), events.all())
}

#[tokio::test]
async fn a_stream_brings_text_usage_and_the_time_to_the_first_token() {
    let mut pieces = vec![": OPENROUTER PROCESSING\n\n".to_owned()];
    pieces.push(
        "data: {\"choices\":[{\"delta\":{\"role\":\"assistant\",\"content\":\"\"}}]}\n\n".into(),
    );
    for half in [
        "data: {\"choices\":[{\"delta\":{\"con",
        "tent\":\"hej \"}}]}\n",
        "\n",
    ] {
        pieces.push(half.into());
    }
    pieces.push(format!("data: {}\n\n", token("dér")));
    let last = json!({"choices": [{"delta": {}, "finish_reason": "stop"}], "usage": {"prompt_tokens": 7, "completion_tokens": 2, "cost": 0.001}});
    pieces.push(format!("data: {last}"));
    let (result, events) = streamed(vec![Reply::events(pieces, End::Clean)]).await;
    assert_eq!(result.unwrap().0, "hej dér");
    let [event] = &events[..] else { panic!() };
    assert_eq!((event.outcome, event.prompt_tokens), (Outcome::Success, 7));
    assert_eq!(event.cost, Microdollars(1000));
    assert!(event.first_token_ms.unwrap() <= event.latency_ms);
}

#[tokio::test]
async fn before_the_first_token_the_next_model_takes_over() {
    let error = |code: u16| {
        format!(
            "data: {}\n\n",
            json!({"error": {"code": code}, "choices": [{"delta": {"content": ""}, "finish_reason": "error"}]})
        )
    };
    let role = "data: {\"choices\":[{\"delta\":{\"role\":\"assistant\"}}]}\n\n".to_owned();
    for (reply, fault) in [
        (Reply::status(503), FaultKind::Upstream),
        (
            Reply::events(vec![error(502)], End::Clean),
            FaultKind::Upstream,
        ),
        (
            Reply::events(vec![role.clone(), error(429)], End::Clean),
            FaultKind::ProviderRateLimited,
        ),
        (Reply::events(vec![role], End::Cut), FaultKind::Connection),
        (
            Reply::events(vec!["data: [DONE]\n\n".into()], End::Clean),
            FaultKind::InvalidReply,
        ),
        (
            Reply::events(vec!["data: {oops\n\n".into()], End::Clean),
            FaultKind::InvalidReply,
        ),
        (
            Reply::json(&json!({"error": {"code": 500}})),
            FaultKind::Upstream,
        ),
        (Reply::Cut, FaultKind::Connection),
    ] {
        let label = format!("{reply:?}");
        let (result, events) = streamed(vec![reply, Reply::tokens(&["from ", "b"])]).await;
        assert_eq!(result.unwrap().0, "from b", "{label}");
        assert_eq!(events[0].outcome, kind(fault), "{label}");
        assert_eq!(
            (events[1].outcome, events[1].position),
            (Outcome::Success, 1)
        );
    }
}

#[tokio::test]
async fn after_the_first_token_a_failure_ends_the_stream() {
    let error = format!(
        "data: {}\n\n",
        json!({"error": {"message": "boom", "code": 502}})
    );
    let first = format!("data: {}\n\n", token("a"));
    for (reply, fault) in [
        (
            Reply::events(vec![first.clone(), error], End::Clean),
            FaultKind::Upstream,
        ),
        (Reply::events(vec![first], End::Cut), FaultKind::Connection),
    ] {
        let (result, events) = streamed(vec![reply, Reply::tokens(&["b"])]).await;
        let (text, broken) = result.unwrap();
        assert_eq!(text, "a");
        let error = RpcError::from(broken.unwrap());
        assert!(!error.to_string().contains("boom"));
        let [event] = &events[..] else { panic!() };
        assert_eq!(event.outcome, kind(fault));
        assert!(event.first_token_ms.is_some());
    }
}

#[tokio::test]
async fn a_stream_that_is_dropped_is_recorded_as_cancelled() {
    let first = format!("data: {}\n\n", token("a"));
    let upstream = Upstream::start(vec![Reply::events(vec![first], End::Hang)]).await;
    let (router, events) = router(catalog(&upstream, &upstream), candidates());
    let route = route(&router, "chat");
    let mut answer = router.stream(&route, call()).await.unwrap();
    assert_eq!(answer.deltas.next().await.unwrap().unwrap().content, "a");
    assert!(events.all().is_empty());
    drop(answer);
    assert_eq!(events.outcomes(), [("a".into(), Outcome::Cancelled)]);
    assert_eq!(events.all()[0].completion_tokens, 1, "what came of it");
}

#[tokio::test]
async fn what_a_model_thinks_is_no_beginning_of_its_answer() {
    let thought = json!({"choices": [{"index": 0, "delta": {"reasoning": "hm"}}]});
    let thoughts: Vec<_> = (0..40).map(|_| format!("data: {thought}\n\n")).collect();
    let first_token = async |pieces: Vec<String>| {
        let upstream = Upstream::start(vec![Reply::events(pieces, End::Hang)]).await;
        let (router, events) = router(catalog(&upstream, &upstream), candidates());
        let route = route(&router, "chat");
        let mut answer = router.stream(&route, call()).await.unwrap();
        // All of it came, as far as it goes.
        let steps = answer.deltas.by_ref().take(40).count().await;
        drop(answer);
        (steps, events.all()[0].first_token_ms)
    };
    let (steps, none) = first_token(thoughts.clone()).await;
    assert_eq!((steps, none), (40, None));
    let said = format!("data: {}\n\n", token("hej"));
    let (_, some) = first_token([&thoughts[1..], &[said]].concat()).await;
    assert!(some.is_some());
}

#[tokio::test]
async fn an_answer_whose_limit_was_used_up_by_thoughts_took_until_its_end() {
    let thought = json!({"choices": [{"index": 0, "delta": {"reasoning": "hm"}}]});
    let end = json!({"choices": [{"index": 0, "delta": {}, "finish_reason": "length"}]});
    let mut pieces = vec![format!("data: {thought}\n\n"); 40];
    pieces.push(format!("data: {end}\n\ndata: [DONE]\n\n"));
    let upstream = Upstream::start(vec![Reply::events(pieces, End::Clean)]).await;
    let (router, events) = router(catalog(&upstream, &upstream), candidates());
    let route = route(&router, "chat");
    let body = json!({"messages": [{"role": "user", "content": "hej"}], "max_tokens": 40});
    let body = modelramp::providers::RawObject::parse(body.to_string().as_bytes()).unwrap();
    let limited = Call {
        request: ChatRequest::passing_on(body),
        ..call()
    };
    let answer = router.stream(&route, limited).await.unwrap();
    answer
        .deltas
        .for_each(async |step| drop(step.unwrap()))
        .await;
    let [event] = &events.all()[..] else { panic!() };
    assert_eq!(event.outcome, Outcome::Success);
    // It took time, so it is judged by its time.
    assert!(event.first_token_ms.is_some() && event.first_words_ms().is_some());
}

#[tokio::test]
async fn who_goes_away_in_the_middle_of_a_stream_leaves_how_much_of_it_was_there() {
    let gone_after = async |text: &str| {
        let first = format!("data: {}\n\n", token(text));
        let upstream = Upstream::start(vec![Reply::events(vec![first], End::Hang)]).await;
        let (router, events) = router(catalog(&upstream, &upstream), candidates());
        let route = route(&router, "chat");
        let mut answer = router.stream(&route, call()).await.unwrap();
        answer.deltas.next().await.unwrap().unwrap();
        drop(answer);
        let [event] = &events.all()[..] else { panic!() };
        assert_eq!(event.outcome, Outcome::Cancelled);
        let words_ms = event.words_ms.map(f64::from);
        assert_eq!(event.first_words_ms(), words_ms);
        (event.answer_chars, words_ms.is_some())
    };
    assert_eq!(gone_after("hej").await, (Some(3), false));
    assert_eq!(gone_after(&"æ".repeat(100)).await, (Some(100), true));
}

/// Notes when attempts are let go that are noted while they are open.
#[derive(Default)]
struct OpenOnes(Mutex<Vec<&'static str>>);

impl Recorder for OpenOnes {
    fn record(&self, event: Event) {
        assert!(event.was_open, "it was told before the words came");
        self.0.lock().push("recorded");
    }

    fn begin(&self, _event: &Event, _started: Instant) -> Option<u64> {
        Some(7)
    }

    fn close(&self, number: u64) -> bool {
        assert_eq!(number, 7);
        self.0.lock().push("closed");
        true
    }
}

#[tokio::test]
async fn a_stream_is_no_longer_waited_for_once_its_first_words_are_there() {
    let [early, later] = ["a".repeat(60), "b".repeat(60)];
    let pieces = [&early, &later].map(|it| format!("data: {}\n\n", token(it)));
    let reply = Reply::events(pieces, End::Hang);
    let upstream = Upstream::start(vec![reply]).await;
    let catalog = catalog(&upstream, &upstream);
    let clients = Clients::connect(&catalog, None).unwrap();
    let (flags, open) = (
        Arc::new(FeatureFlags::new(candidates())),
        Arc::new(OpenOnes::default()),
    );
    let limit = Duration::from_secs(5);
    let router = ModelRouter::new(catalog, clients, flags, open.clone(), limit);
    let mut answer = router
        .stream(&route(&router, "chat"), call())
        .await
        .unwrap();
    answer.deltas.next().await.unwrap().unwrap();
    assert!(open.0.lock().is_empty(), "a line is not there yet");
    answer.deltas.next().await.unwrap().unwrap();
    assert_eq!(*open.0.lock(), ["closed"]);
    drop(answer);
    assert_eq!(*open.0.lock(), ["closed", "recorded"]);
}

#[tokio::test]
async fn a_stream_that_falls_silent_times_out() {
    let comment = ": still here\n\n".to_owned();
    let upstream = Upstream::start(vec![Reply::events(vec![comment], End::Hang)]).await;
    let (router, events) = router(catalog(&upstream, &upstream), candidates());
    let deadline = Instant::now() + Duration::from_millis(150);
    let (route, call) = (route(&router, "chat"), Call { deadline, ..call() });
    assert!(router.stream(&route, call).await.is_err());
    assert_eq!(events.outcomes(), [("a".into(), kind(FaultKind::Timeout))]);
}
