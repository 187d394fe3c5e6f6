//! A model that fails is left alone while another can answer, and comes back.

use std::sync::atomic::{AtomicBool, Ordering};

use futures::stream;
use modelramp::model_router::{
    AttemptEnd as Became,
    breaker::{BreakerState, Rules},
};

use super::*;

/// A router whose breakers rest for a moment only, and come back as soon.
fn router_with(
    catalog: Catalog,
    flags: Arc<FeatureFlags>,
    attempt_timeout: Duration,
) -> (ModelRouter, Arc<Events>) {
    let events = Arc::new(Events::default());
    let clients = Clients::connect(&catalog, None).unwrap();
    let router = ModelRouter::new(catalog, clients, flags, events.clone(), attempt_timeout);
    let rules = Rules {
        rest: Duration::from_millis(100),
        back: Duration::from_millis(200),
        ..Rules::default()
    };
    (router.with_breakers(Some(rules)), events)
}

const PATIENCE: Duration = Duration::from_secs(5);

#[tokio::test]
async fn many_calls_at_once_stop_asking_a_model_that_fails_and_find_it_again() {
    let is_down = Arc::new(AtomicBool::new(true));
    let down = is_down.clone();
    let upstream = Upstream::with(move |_, request| {
        if request.body["model"] == "id-a" && down.load(Ordering::Relaxed) {
            Reply::status(500)
        } else {
            Reply::ok("hej")
        }
    })
    .await;
    let (router, events) = router_with(
        catalog(&upstream, &upstream),
        in_rollout(&["a", "b"], &["c"]),
        PATIENCE,
    );
    let ask = |count| {
        let calls = stream::iter(0..count).map(|_| complete(&router, "chat"));
        calls.buffer_unordered(16).collect::<Vec<_>>()
    };
    let answers = ask(300).await;
    assert!(
        answers
            .iter()
            .all(|answer| answer.as_ref().unwrap().model == "b".into())
    );
    let asked = upstream
        .models()
        .iter()
        .filter(|model| *model == "id-a")
        .count();
    // Fifteen more were under way when it opened; then at most a probe for each rest.
    assert!((20..60).contains(&asked), "{asked}");
    assert_ne!(router.breaker("a"), Some(BreakerState::Closed));
    assert_eq!(router.breaker("b"), Some(BreakerState::Closed));
    // Whatever the breaker says, each request counts once, and as a fault of its arm.
    let events = events.all();
    let counted: Vec<_> = events.iter().filter(|event| event.counted).collect();
    assert_eq!(counted.len(), 300);
    let is_fault =
        |event: &&Event| event.outcome == kind(FaultKind::Upstream) && &*event.model == "a";
    assert!(counted.iter().all(is_fault));

    is_down.store(false, Ordering::Relaxed);
    timeout(Duration::from_secs(30), async {
        while router.breaker("a") != Some(BreakerState::Closed) {
            ask(4).await;
        }
    })
    .await
    .unwrap();
    let answers = ask(20).await;
    assert!(
        answers
            .iter()
            .all(|answer| answer.as_ref().unwrap().model == "a".into())
    );
}

#[tokio::test]
async fn a_skipped_model_is_told_with_the_fault_that_opened_its_breaker() {
    let upstream = Upstream::with(|_, request| match request.body["model"].as_str() {
        Some("id-a") => Reply::ok(""),
        _ => Reply::ok("hej"),
    })
    .await;
    let (router, events) = router_with(
        catalog(&upstream, &upstream),
        in_rollout(&["a", "b"], &["c"]),
        PATIENCE,
    );
    while router.breaker("a") == Some(BreakerState::Closed) {
        complete(&router, "chat").await.unwrap();
    }
    assert_eq!(upstream.requests().len(), 40);
    let call = call();
    let trail = call.trail.clone();
    let answer = complete_call(&router, "chat", call).await.unwrap();
    assert_eq!(answer.completion.content, "hej");
    assert_eq!(upstream.requests().len(), 41);
    let words: Vec<_> = trail.attempts().iter().map(|it| it.word()).collect();
    assert_eq!(words, ["breaker-open", "ok"]);
    assert!(matches!(trail.attempts()[0].end, Became::Skipped));
    let all = events.all();
    let [opened, _, skipped, answered] = &all[38..] else {
        panic!("{}", all.len())
    };
    assert_eq!(skipped.outcome, kind(FaultKind::EmptyReply));
    assert_eq!(skipped.latency_ms, opened.latency_ms);
    let counted = |event: &Event| (event.model.to_string(), event.position, event.counted);
    assert_eq!(counted(skipped), ("a".into(), 0, true));
    assert_eq!(counted(answered), ("b".into(), 1, false));
}

#[tokio::test]
async fn outside_of_a_rollout_a_skipped_model_leaves_no_event() {
    let upstream = Upstream::with(|_, request| match request.body["model"].as_str() {
        Some("id-a") => Reply::status(502),
        _ => Reply::ok("hej"),
    })
    .await;
    let flags = Arc::new(FeatureFlags::new(candidates()));
    let (router, events) = router_with(catalog(&upstream, &upstream), flags, PATIENCE);
    while router.breaker("a") == Some(BreakerState::Closed) {
        complete(&router, "chat").await.unwrap();
    }
    let before = events.all().len();
    complete(&router, "chat").await.unwrap();
    assert_eq!(events.all().len(), before + 1);
}

#[tokio::test]
async fn the_last_model_of_a_route_is_never_left_alone() {
    let upstream = Upstream::start(vec![Reply::status(500)]).await;
    let flags = Arc::new(FeatureFlags::new(flags()));
    let (router, _) = router_with(catalog(&upstream, &upstream), flags, PATIENCE);
    for n in 0..30 {
        // The task's control route is the model `a` alone.
        let before = upstream.requests().len();
        complete(&router, "mixed").await.unwrap_err();
        assert!(upstream.requests().len() > before, "{n}");
    }
    assert_ne!(router.breaker("a"), Some(BreakerState::Closed));
    // With both of a route open, the last one is asked.
    while router.breaker("b") == Some(BreakerState::Closed) {
        complete(&router, "chat").await.unwrap_err();
    }
    let before = upstream.models().len();
    complete(&router, "chat").await.unwrap_err();
    assert_eq!(upstream.models()[before..].last().unwrap(), "id-b");
}

#[tokio::test]
async fn callers_who_wait_briefly_or_leave_open_no_breaker() {
    let upstream = Upstream::start(vec![Reply::Hang]).await;
    let flags = || Arc::new(FeatureFlags::new(candidates()));
    let (router, _) = router_with(catalog(&upstream, &upstream), flags(), PATIENCE);
    let brief = || async {
        let call = Call {
            deadline: Instant::now() + Duration::from_millis(20),
            ..call()
        };
        complete_call(&router, "chat", call).await.unwrap_err();
    };
    futures::future::join_all((0..40).map(|_| brief())).await;
    let leaves = || timeout(Duration::from_millis(20), complete(&router, "chat"));
    futures::future::join_all((0..40).map(|_| leaves())).await;
    assert_eq!(router.breaker("a"), Some(BreakerState::Closed));

    // Who gives a model all of its time and hears nothing tells of its fault.
    let short = Duration::from_millis(20);
    let (router, _) = router_with(catalog(&upstream, &upstream), flags(), short);
    futures::future::join_all((0..20).map(|_| complete(&router, "chat"))).await;
    assert_ne!(router.breaker("a"), Some(BreakerState::Closed));
}

#[tokio::test]
async fn a_probe_whose_caller_leaves_makes_room_for_the_next() {
    let mode = Arc::new(Mutex::new(Reply::status(500)));
    let now = mode.clone();
    let upstream = Upstream::with(move |_, request| match request.body["model"].as_str() {
        Some("id-a") => now.lock().clone(),
        _ => Reply::ok("hej"),
    })
    .await;
    let flags = Arc::new(FeatureFlags::new(candidates()));
    let (router, _) = router_with(catalog(&upstream, &upstream), flags, PATIENCE);
    while router.breaker("a") == Some(BreakerState::Closed) {
        complete(&router, "chat").await.unwrap();
    }
    *mode.lock() = Reply::Hang;
    let asked = || {
        upstream
            .models()
            .iter()
            .filter(|model| *model == "id-a")
            .count()
    };
    let before = asked();
    {
        // Others are served while the probe is under way.
        let mut probe = std::pin::pin!(async {
            loop {
                complete(&router, "chat").await.unwrap();
            }
        });
        while asked() == before {
            tokio::select! {
                () = &mut probe => {}
                () = tokio::time::sleep(Duration::from_millis(5)) => {}
            }
        }
        for _ in 0..5 {
            assert_eq!(&*complete(&router, "chat").await.unwrap().model, "b");
        }
    }
    *mode.lock() = Reply::ok("again");
    timeout(Duration::from_secs(30), async {
        while router.breaker("a") != Some(BreakerState::Closed) {
            complete(&router, "chat").await.unwrap();
        }
    })
    .await
    .unwrap();
}

#[tokio::test]
async fn streams_that_are_cut_open_the_breaker_although_they_begin() {
    let upstream = Upstream::with(|_, request| match request.body["model"].as_str() {
        Some("id-a") => Reply::events([format!("data: {}\n\n", token("hej"))], End::Cut),
        _ => Reply::tokens(&["hej"]),
    })
    .await;
    let flags = Arc::new(FeatureFlags::new(candidates()));
    let (router, _) = router_with(catalog(&upstream, &upstream), flags, PATIENCE);
    let route = route(&router, "chat");
    for n in 0..20 {
        assert_eq!(router.breaker("a"), Some(BreakerState::Closed), "{n}");
        let answer = router.stream(&route, call()).await.unwrap();
        assert_eq!(&*answer.model, "a");
        let steps: Vec<_> = answer.deltas.collect().await;
        assert!(steps.last().unwrap().is_err());
    }
    let answer = router.stream(&route, call()).await.unwrap();
    assert_eq!(&*answer.model, "b");
}

#[tokio::test]
async fn a_breaker_outlives_another_catalog_where_the_model_stays_at_its_place() {
    let upstream = Upstream::start(vec![Reply::status(500)]).await;
    let (router, _) = router_with(
        catalog(&upstream, &upstream),
        Arc::new(FeatureFlags::new(candidates())),
        PATIENCE,
    );
    for _ in 0..20 {
        complete(&router, "chat").await.unwrap_err();
    }
    assert_ne!(router.breaker("a"), Some(BreakerState::Closed));
    let same = catalog(&upstream, &upstream);
    router
        .adopt(same.clone(), router.clients_of(&same, None).unwrap())
        .await;
    assert_ne!(router.breaker("a"), Some(BreakerState::Closed));
    let other = Upstream::start(vec![Reply::ok("hej")]).await;
    let moved = catalog(&other, &upstream);
    router
        .adopt(moved.clone(), router.clients_of(&moved, None).unwrap())
        .await;
    assert_eq!(router.breaker("a"), Some(BreakerState::Closed));
}
