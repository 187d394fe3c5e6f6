//! Who is asked next.

use super::*;

#[tokio::test]
async fn faults_that_another_model_may_not_have_fall_back() {
    let error = |error: Value| Reply::json(&json!({ "error": error }));
    let choice = |choice: Value| Reply::json(&json!({ "choices": [choice] }));
    for (reply, fault) in [
        (Reply::status(404), FaultKind::NotFound),
        (Reply::status(408), FaultKind::Timeout),
        (Reply::status(429), FaultKind::ProviderRateLimited),
        (Reply::status(500), FaultKind::Upstream),
        (Reply::status(502), FaultKind::Upstream),
        (Reply::status(529), FaultKind::Upstream),
        (Reply::status(302), FaultKind::InvalidReply),
        (Reply::Cut, FaultKind::Connection),
        (
            Reply::Http(200, vec![], "<html>".into()),
            FaultKind::InvalidReply,
        ),
        (
            Reply::Http(200, vec![], String::new()),
            FaultKind::InvalidReply,
        ),
        (
            Reply::Http(200, vec![], "{\"choices\":[{".into()),
            FaultKind::InvalidReply,
        ),
        (
            Reply::Http(200, vec![], "x".repeat(9_000_000)),
            FaultKind::InvalidReply,
        ),
        (
            error(json!({"code": 429, "message": "x"})),
            FaultKind::ProviderRateLimited,
        ),
        (error(json!({"code": "server_error"})), FaultKind::Upstream),
        (choice(json!({"error": {"code": 502}})), FaultKind::Upstream),
        (
            choice(json!({"finish_reason": "error", "message": {"content": ""}})),
            FaultKind::Upstream,
        ),
        (
            Reply::json(&json!({"choices": []})),
            FaultKind::InvalidReply,
        ),
    ] {
        let label = format!("{reply:?}").chars().take(80).collect::<String>();
        let (asked, events, result) = run(vec![reply, Reply::ok("from b")]).await;
        assert_eq!(asked, ["id-a", "id-b"], "{label}");
        let expected = [("a".into(), kind(fault)), ("b".into(), Outcome::Success)];
        assert_eq!(events, expected, "{label}");
        assert_eq!(result.unwrap(), "from b", "{label}");
    }
}

/// A reply that says nothing, in this shape of its first choice.

#[tokio::test]
async fn a_reply_is_read_in_whatever_success_and_dress_it_comes() {
    let body = json!({"choices": [{"message": {"content": "hej"}, "finish_reason": "stop"}]});
    let stream = format!("data: {}\n\ndata: [DONE]\n\n", token("hej"));
    let json = vec![("content-type", "application/json")];
    for reply in [
        Reply::Http(201, json.clone(), body.to_string()),
        Reply::Http(200, json.clone(), format!("\u{feff}{body}")),
        Reply::Http(
            200,
            json,
            body.to_string()
                .replace("\"stop\"", "\"stop\", \"score\": NaN"),
        ),
        Reply::events(vec![stream], End::Clean),
    ] {
        let label = format!("{reply:?}");
        let (asked, events, result) = run(vec![reply]).await;
        assert_eq!(asked.len(), 1, "{label}");
        assert_eq!(events, [("a".into(), Outcome::Success)], "{label}");
        assert_eq!(result.unwrap(), "hej", "{label}");
    }
}

#[tokio::test]
async fn an_accounts_fault_is_cured_by_another_provider_only() {
    let limit = vec![("x-ratelimit-limit", "20"), ("x-ratelimit-remaining", "0")];
    let key_limit =
        json!({"error": {"code": 403, "message": "Key limit exceeded (monthly limit)"}});
    for reply in [
        Reply::status(401),
        Reply::status(402),
        Reply::Http(403, vec![], key_limit.to_string()),
        Reply::Http(429, limit, String::new()),
    ] {
        let one = Upstream::start(vec![reply]).await;
        let other = Upstream::start(vec![Reply::ok("from d")]).await;
        let (router, events) = router(catalog(&one, &other), candidates());
        let answer = complete(&router, "mixed").await.unwrap();
        assert_eq!((&*answer.model, answer.position), ("d", 2));
        assert_eq!(one.models(), ["id-a"]);
        assert_eq!(
            events.all().iter().map(|e| e.position).collect::<Vec<_>>(),
            [0, 2]
        );
        assert!(complete(&router, "chat").await.is_err());
        assert_eq!(one.models().len(), 2);
    }
}

#[tokio::test]
async fn a_context_that_is_too_small_goes_to_a_larger_one() {
    let too_long = json!({"error": {"code": 400, "message": "x", "metadata": {"error_type": "context_length_exceeded"}}});
    let too_long = Reply::Http(400, vec![], too_long.to_string());
    let (asked, events, _) = run(vec![too_long, Reply::ok("x")]).await;
    assert_eq!(asked, ["id-a", "id-c"]);
    assert_eq!(events[0].1, kind(FaultKind::ContextLength));
}

#[tokio::test]
async fn when_all_fail_each_distinct_model_was_asked_once() {
    let (asked, events, result) = run(vec![Reply::status(500)]).await;
    assert_eq!(asked, ["id-a", "id-b", "id-c"]);
    assert_eq!(events.len(), 3);
    let RouteError::AllFailed {
        attempts,
        model,
        kind,
    } = result.unwrap_err()
    else {
        panic!()
    };
    assert_eq!((attempts, &*model, kind), (3, "c", FaultKind::Upstream));
}

#[tokio::test]
async fn a_refused_connection_falls_back() {
    let gone = Upstream::start(vec![Reply::Hang]).await;
    let alive = Upstream::start(vec![Reply::ok("from d")]).await;
    let catalog = catalog(&gone, &alive);
    drop(gone);
    let (router, events) = router(catalog, candidates());
    let answer = complete(&router, "mixed").await.unwrap();
    assert_eq!(&*answer.model, "d");
    assert_eq!(events.outcomes()[0].1, kind(FaultKind::Connection));
}

#[tokio::test]
async fn a_model_that_hangs_is_left_for_the_next() {
    let upstream = Upstream::start(vec![Reply::Hang, Reply::ok("from b")]).await;
    let catalog = catalog(&upstream, &upstream);
    let clients = Clients::connect(&catalog, None).unwrap();
    let events = Arc::new(Events::default());
    let flags = Arc::new(FeatureFlags::new(candidates()));
    let patience = Duration::from_millis(200);
    let router = ModelRouter::new(catalog, clients, flags, events.clone(), patience);
    assert_eq!(complete(&router, "chat").await.unwrap().position, 1);
    let first = &events.all()[0];
    assert_eq!(first.outcome, kind(FaultKind::Timeout));
    assert!(
        (200.0..2000.0).contains(&first.latency_ms),
        "{}",
        first.latency_ms
    );
}

#[tokio::test]
async fn the_deadline_ends_the_call_whatever_is_left_to_try() {
    let upstream = Upstream::start(vec![Reply::Hang]).await;
    let (router, events) = router(catalog(&upstream, &upstream), candidates());
    let deadline = Instant::now() + Duration::from_millis(150);
    let late = || Call { deadline, ..call() };
    let result = complete_call(&router, "chat", late()).await;
    assert!(matches!(
        result,
        Err(RouteError::AllFailed {
            attempts: 1,
            kind: FaultKind::Timeout,
            ..
        })
    ));
    assert_eq!(events.all().len(), 1);
    let result = complete_call(&router, "chat", late()).await;
    assert!(matches!(
        result,
        Err(RouteError::AllFailed { attempts: 0, .. })
    ));
    assert_eq!(upstream.models().len(), 1);
}

#[tokio::test]
async fn a_call_that_is_dropped_is_recorded_as_cancelled() {
    let upstream = Upstream::start(vec![Reply::Hang]).await;
    let (router, events) = router(catalog(&upstream, &upstream), candidates());
    let waiting = complete(&router, "chat");
    assert!(timeout(Duration::from_millis(100), waiting).await.is_err());
    assert_eq!(events.outcomes(), [("a".into(), Outcome::Cancelled)]);
}
