//! Accounts that may ask so often only.

use std::sync::atomic::{AtomicUsize, Ordering};

use modelramp::storage::Storage;

use super::*;

/// The model `free`, of an account of 20 a minute and 50 a day, and `paid` at another.
fn limited(upstream: &Upstream) -> Catalog {
    let text = format!(
        "[providers.one]\nbase_url = \"{0}\"\nquota = {{ minute = 20, day = 50 }}\n\
         [providers.other]\nbase_url = \"{0}\"\n\
         [models.free]\nprovider = \"one\"\nid = \"free\"\ncontext = 8000\n\
         [models.paid]\nprovider = \"other\"\nid = \"paid\"\ncontext = 8000\n\
         [tasks.alone]\ncandidate = [\"free\"]\ncontrol = [\"free\"]\n\
         [tasks.chat]\ncandidate = [\"free\", \"paid\"]\ncontrol = [\"free\", \"paid\"]\n",
        upstream.base_url
    );
    Catalog::parse(&text).unwrap()
}

fn hurried() -> Call {
    let urgency = Urgency {
        start_by: Some(Instant::now() + Duration::from_secs(3)),
        ..Urgency::default()
    };
    Call { urgency, ..call() }
}

/// Refuses what is too much, and counts that.
async fn account(refused: Arc<AtomicUsize>) -> Upstream {
    let asked = AtomicUsize::new(0);
    Upstream::with(move |_, request| {
        let is_free = request.body["model"] == "free";
        if is_free && asked.fetch_add(1, Ordering::Relaxed) >= 20 {
            refused.fetch_add(1, Ordering::Relaxed);
            return Reply::status(429);
        }
        Reply::ok("hej")
    })
    .await
}

#[tokio::test]
async fn twenty_five_calls_at_once_provoke_no_refusal() {
    let refused = Arc::new(AtomicUsize::new(0));
    let upstream = account(refused.clone()).await;
    let (router, _) = router(limited(&upstream), flags());
    let began = Instant::now();
    let calls = (0..25).map(|_| complete_call(&router, "alone", hurried()));
    let answers = futures::future::join_all(calls).await;
    assert!(began.elapsed() < Duration::from_secs(3));
    let turned_away = answers.iter().filter(|answer| {
        matches!(answer, Err(RouteError::OverQuota { refused, .. }) if !refused.after.is_zero())
    });
    assert_eq!(turned_away.count(), 6);
    assert_eq!(answers.iter().filter(|answer| answer.is_ok()).count(), 19);
    assert_eq!(refused.load(Ordering::Relaxed), 0);
}

#[tokio::test]
async fn another_account_takes_over_and_the_event_blames_nobody() {
    let upstream = account(Arc::default()).await;
    let (router, events) = router(limited(&upstream), flags());
    for _ in 0..19 {
        complete_call(&router, "chat", hurried()).await.unwrap();
    }
    let before = events.all().len();
    let call = hurried();
    let trail = call.trail.clone();
    let answer = complete_call(&router, "chat", call).await.unwrap();
    assert_eq!(&*answer.model, "paid");
    let words: Vec<_> = trail.attempts().iter().map(|it| it.word()).collect();
    assert_eq!(words, ["ours-quota", "ok"]);
    // No rollout counts it, so there is nothing to tell but the answer.
    assert_eq!(events.all().len(), before + 1);
}

#[tokio::test]
async fn a_process_that_is_killed_leaves_what_it_used_to_the_next() {
    let upstream = account(Arc::default()).await;
    let folder = tempfile::tempdir().unwrap();
    let url = format!("sqlite://{}", folder.path().join("m.db").display());
    let open = async || {
        let store = Arc::new(Storage::open(&url).await.unwrap());
        let (router, _) = router(limited(&upstream), flags());
        router.restore_quotas(store).await.unwrap();
        router
    };
    let standing = |router: &ModelRouter| {
        let standing = router.quota("one").unwrap();
        (standing.free_minute, standing.free_day)
    };
    let first = open().await;
    assert_eq!(
        standing(&first),
        (Some(19), Some(25)),
        "nothing is known of this day"
    );
    for _ in 0..10 {
        complete_call(&first, "alone", hurried()).await.unwrap();
    }
    // Nothing is told to stop, and the next one asks while a request of the first is under way.
    let second = open().await;
    assert_eq!(standing(&second), (Some(9), Some(15)));
    for _ in 0..9 {
        complete_call(&second, "alone", hurried()).await.unwrap();
    }
    let error = complete_call(&second, "alone", hurried())
        .await
        .unwrap_err();
    assert!(matches!(error, RouteError::OverQuota { .. }));
    assert_eq!(upstream.requests().len(), 19);
}

#[tokio::test]
async fn the_room_of_a_conversation_is_kept_while_tools_are_called_and_no_longer() {
    let called = json!({"choices": [{"index": 0, "finish_reason": "tool_calls", "message": {
        "role": "assistant", "content": null,
        "tool_calls": [{"id": "c", "type": "function", "function": {"name": "f", "arguments": "{}"}}],
    }}]});
    let upstream = Upstream::with(move |count, _| match count {
        0 => Reply::json(&called),
        _ => Reply::ok("hej"),
    })
    .await;
    let (router, _) = router(limited(&upstream), flags());
    let turn = |messages: serde_json::Value| {
        let body = json!({"messages": messages, "tools": [{"type": "function", "function": {"name": "f"}}]});
        let body = modelramp::providers::RawObject::parse(body.to_string().as_bytes()).unwrap();
        let urgency = Urgency {
            calls: Some(10),
            ..Urgency::default()
        };
        Call {
            request: ChatRequest::passing_on(body),
            urgency,
            ..call()
        }
    };
    let free = || router.quota("one").unwrap().free_minute;
    let user = json!({"role": "user", "content": "hej"});
    complete_call(&router, "alone", turn(json!([user])))
        .await
        .unwrap();
    assert_eq!(free(), Some(9), "nine are kept for the conversation");
    let said = json!([user, {"role": "tool", "tool_call_id": "c", "content": "ok"}]);
    complete_call(&router, "alone", turn(said)).await.unwrap();
    assert_eq!(free(), Some(17), "it has come to its end");
}

/// An account that refuses its first request for a second, and `paid` at another.
async fn refused_once() -> Upstream {
    Upstream::with(|count, request| {
        let is_free = request.body["model"] == "free";
        match count {
            0 if is_free => {
                let body = json!({"error": {"message": "Requests rate limit exceeded"}});
                Reply::Http(429, vec![("retry-after", "1")], body.to_string())
            }
            _ => Reply::ok("hej"),
        }
    })
    .await
}

/// The catalog of `limited`, without a quota.
fn unlimited(upstream: &Upstream) -> Catalog {
    let mut catalog = limited(upstream);
    for provider in &mut catalog.providers {
        provider.quota = None;
    }
    catalog
}

#[tokio::test]
async fn an_account_that_rests_is_passed_over_where_another_can_answer() {
    let upstream = refused_once().await;
    let (router, _) = router(unlimited(&upstream), flags());
    for (task, expected) in [
        ("chat", ["account-limit", "ok"]),
        ("chat", ["account-limit", "ok"]),
    ] {
        let call = call();
        let trail = call.trail.clone();
        complete_call(&router, task, call).await.unwrap();
        let words: Vec<_> = trail.attempts().iter().map(|it| it.word()).collect();
        assert_eq!(words, expected);
    }
    assert_eq!(
        upstream.models(),
        ["free", "paid", "paid"],
        "it was asked once"
    );
}

#[tokio::test]
async fn an_account_that_rests_is_waited_for_where_nobody_else_can_answer() {
    let upstream = refused_once().await;
    let (router, _) = router(unlimited(&upstream), flags());
    complete_call(&router, "chat", call()).await.unwrap();
    let began = Instant::now();
    complete_call(&router, "alone", call()).await.unwrap();
    assert!(
        began.elapsed() > Duration::from_millis(700),
        "{:?}",
        began.elapsed()
    );
    assert_eq!(upstream.models(), ["free", "paid", "free"]);
}

/// What evidence was told of the arm's model, in order.
fn told(events: &Events) -> Vec<(String, Outcome)> {
    let events = events.all().into_iter().filter(|event| event.counted);
    let told = events.map(|event| (event.model.to_string(), event.outcome));
    told.collect()
}

#[tokio::test]
async fn evidence_is_told_of_an_account_that_rests_only_where_its_model_is_not_asked_after_all() {
    let (upstream, catalog) = both_refused("1").await;
    let events = Arc::new(Events::default());
    let clients = Clients::connect(&catalog, None).unwrap();
    let flags = in_rollout(&["fast", "slow"], &["slow"]);
    let router = ModelRouter::new(
        catalog,
        clients,
        flags,
        events.clone(),
        Duration::from_secs(5),
    );
    let short = || Call {
        deadline: Instant::now() + Duration::from_millis(400),
        ..call()
    };
    for task in ["slow", "fast"] {
        assert!(complete_call(&router, task, short()).await.is_err());
    }
    assert_eq!(told(&events), []);
    // It has no time to wait for either.
    assert!(complete_call(&router, "chat", short()).await.is_err());
    let ours = ("fast".to_owned(), kind(FaultKind::RateLimited));
    assert_eq!(told(&events), std::slice::from_ref(&ours));
    let answer = complete_call(&router, "chat", call()).await.unwrap();
    assert_eq!(&*answer.model, "fast");
    assert_eq!(told(&events), [ours, ("fast".to_owned(), Outcome::Success)]);
    assert_eq!(upstream.models(), ["slow", "fast", "fast"]);
}

#[tokio::test]
async fn what_is_paid_for_answers_where_the_same_account_has_used_up_what_costs_nothing() {
    let words = "Rate limit exceeded: free-models-per-day. Add 10 credits to unlock 1000 free model requests per day";
    // One that nobody can wait for, and one that a call could.
    for after in ["40000", "20"] {
        let upstream = Upstream::with(move |_, request| {
            if request.body["model"] == "paid" {
                return Reply::ok("hej");
            }
            let body = json!({"error": {"message": words, "code": 429}});
            Reply::Http(429, vec![("retry-after", after)], body.to_string())
        })
        .await;
        let mut text = format!(
            "[providers.one]\nbase_url = \"{}\"\nquota = {{ minute = 20 }}\n",
            upstream.base_url
        );
        for (model, tier) in [("free", "free"), ("other", "free"), ("paid", "paid")] {
            text += &format!(
                "[models.{model}]\nprovider = \"one\"\nid = \"{model}\"\ncontext = 8000\ntier = \"{tier}\"\n"
            );
        }
        let route = "[\"free\", \"other\", \"paid\"]";
        text += &format!("[tasks.chat]\ncandidate = {route}\ncontrol = {route}\n");
        let (router, _) = router(Catalog::parse(&text).unwrap(), flags());
        for _ in 0..3 {
            let answer = complete_call(&router, "chat", call()).await.unwrap();
            assert_eq!(&*answer.model, "paid");
        }
        assert_eq!(upstream.models(), ["free", "paid", "paid", "paid"]);
    }
}

#[tokio::test]
async fn an_account_that_rests_is_waited_for_also_where_the_others_have_failed() {
    let upstream = Upstream::with(|count, request| {
        let is_free = request.body["model"] == "free";
        match count {
            0 => {
                let body = json!({"error": {"message": "Requests rate limit exceeded"}});
                Reply::Http(429, vec![("retry-after", "1")], body.to_string())
            }
            1 => Reply::ok("hej"),
            _ if is_free => Reply::ok("hej"),
            _ => Reply::status(500),
        }
    })
    .await;
    let (router, _) = router(unlimited(&upstream), flags());
    let first = complete_call(&router, "chat", call()).await.unwrap();
    assert_eq!(&*first.model, "paid");
    let answer = complete_call(&router, "chat", call()).await.unwrap();
    assert_eq!(&*answer.model, "free");
}

#[tokio::test]
async fn who_comes_back_as_it_was_told_stands_in_line_with_those_who_wait_for_the_same_rest() {
    let asked = AtomicUsize::new(0);
    let upstream = Upstream::with(move |_, request| {
        if request.body["model"] != "free" {
            return Reply::status(500);
        }
        match asked.fetch_add(1, Ordering::Relaxed) {
            0 => {
                let body = json!({"error": {"message": "Requests rate limit exceeded"}});
                Reply::Http(429, vec![("retry-after", "2")], body.to_string())
            }
            _ => Reply::ok("hej"),
        }
    })
    .await;
    let (router, _) = router(unlimited(&upstream), flags());
    let first = call();
    let trail = first.trail.clone();
    let others = async {
        until("the first call waits for the rest to end", async || {
            trail.attempts().len() == 2
        })
        .await;
        let others = (0..5).map(|_| complete_call(&router, "alone", call()));
        futures::future::join_all(others).await
    };
    let (answer, others) = tokio::join!(complete_call(&router, "chat", first), others);
    assert!(answer.is_ok() && others.iter().all(Result::is_ok));
    // It was refused, the other model failed, and it was asked again: once.
    let words: Vec<_> = trail.attempts().iter().map(|it| it.word()).collect();
    assert_eq!((words.len(), words.last()), (3, Some(&"ok")), "{words:?}");
}

/// A route of `slow` and then `fast`, each at an account that refuses its first request: for 20 s, and for this long.
async fn both_refused(fast_seconds: &'static str) -> (Upstream, Catalog) {
    let upstream = Upstream::with(move |count, request| {
        let after = match request.body["model"].as_str() {
            Some("slow") => "20",
            _ => fast_seconds,
        };
        match count {
            0 | 1 => {
                let body = json!({"error": {"message": "Requests rate limit exceeded"}});
                Reply::Http(429, vec![("retry-after", after)], body.to_string())
            }
            _ => Reply::ok("hej"),
        }
    })
    .await;
    let text = format!(
        "[providers.one]\nbase_url = \"{0}\"\n[providers.other]\nbase_url = \"{0}\"\n\
         [models.slow]\nprovider = \"one\"\nid = \"slow\"\ncontext = 8000\n\
         [models.fast]\nprovider = \"other\"\nid = \"fast\"\ncontext = 8000\n\
         [tasks.chat]\ncandidate = [\"slow\", \"fast\"]\ncontrol = [\"slow\", \"fast\"]\n\
         [tasks.slow]\ncandidate = [\"slow\"]\ncontrol = [\"slow\"]\n\
         [tasks.fast]\ncandidate = [\"fast\"]\ncontrol = [\"fast\"]\n",
        upstream.base_url
    );
    (upstream, Catalog::parse(&text).unwrap())
}

#[tokio::test]
async fn of_accounts_that_rest_the_one_is_waited_for_that_is_back_first() {
    let (upstream, catalog) = both_refused("1").await;
    let (router, _) = router(catalog, flags());
    for task in ["slow", "fast"] {
        let urgency = Urgency {
            start_by: Some(Instant::now() + Duration::from_millis(500)),
            ..Urgency::default()
        };
        let deadline = Instant::now() + Duration::from_millis(500);
        let call = Call {
            urgency,
            deadline,
            ..call()
        };
        assert!(complete_call(&router, task, call).await.is_err());
    }
    let began = Instant::now();
    let answer = complete_call(&router, "chat", call()).await.unwrap();
    assert_eq!(&*answer.model, "fast");
    assert!(began.elapsed() < Duration::from_secs(10));
    assert_eq!(upstream.models(), ["slow", "fast", "fast"]);
}

#[tokio::test]
async fn where_all_models_are_of_one_provider_a_rest_is_waited_for_and_nothing_passed_over() {
    let upstream = refused_once().await;
    let text = format!(
        "[providers.one]\nbase_url = \"{}\"\n\
         [models.free]\nprovider = \"one\"\nid = \"free\"\ncontext = 8000\n\
         [models.paid]\nprovider = \"one\"\nid = \"paid\"\ncontext = 8000\n\
         [tasks.chat]\ncandidate = [\"free\", \"paid\"]\ncontrol = [\"free\", \"paid\"]\n",
        upstream.base_url
    );
    let (router, _) = router(Catalog::parse(&text).unwrap(), flags());
    let late = Instant::now() + Duration::from_millis(500);
    let short = Call {
        deadline: late,
        ..call()
    };
    assert!(complete_call(&router, "chat", short).await.is_err());
    let call = call();
    let trail = call.trail.clone();
    complete_call(&router, "chat", call).await.unwrap();
    let words: Vec<_> = trail.attempts().iter().map(|it| it.word()).collect();
    assert_eq!(words, ["ok"]);
}

#[tokio::test]
async fn who_gets_no_slot_is_told_of_the_account_that_is_back_first() {
    let (_upstream, catalog) = both_refused("12").await;
    let (router, _) = router(catalog, flags());
    for task in ["slow", "fast"] {
        assert!(complete_call(&router, task, hurried()).await.is_err());
    }
    let told = complete_call(&router, "chat", hurried()).await;
    let Err(RouteError::OverQuota { provider, refused }) = told else {
        panic!()
    };
    assert_eq!(provider, "other");
    let after = refused.after.as_secs();
    assert!((8..=12).contains(&after), "{after}");
}

#[tokio::test]
async fn a_route_does_not_go_on_at_the_account_that_rests_for_another_model() {
    // Longer than anybody is given a second chance for.
    let words = "Rate limit reached for model `free` in organization `o` on requests per minute (RPM). \
                 Please try again in 20s.";
    let upstream = Upstream::with(move |count, _| match count {
        0 => {
            let body = json!({"error": {"message": words, "code": "rate_limit_exceeded"}});
            Reply::Http(429, vec![], body.to_string())
        }
        _ => Reply::ok("hej"),
    })
    .await;
    let text = format!(
        "[providers.one]\nbase_url = \"{}\"\n\
         [models.free]\nprovider = \"one\"\nid = \"free\"\ncontext = 8000\n\
         [models.paid]\nprovider = \"one\"\nid = \"paid\"\ncontext = 8000\n\
         [tasks.chat]\ncandidate = [\"free\", \"paid\"]\ncontrol = [\"free\", \"paid\"]\n\
         [tasks.other]\ncandidate = [\"paid\"]\ncontrol = [\"paid\"]\n",
        upstream.base_url
    );
    let (router, _) = router(Catalog::parse(&text).unwrap(), flags());
    for _ in 0..2 {
        assert!(complete_call(&router, "chat", hurried()).await.is_err());
    }
    complete_call(&router, "other", hurried()).await.unwrap();
    assert_eq!(upstream.models(), ["free", "paid"]);
}
