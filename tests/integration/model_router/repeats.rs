//! A model that is asked a second time.

use super::*;

#[tokio::test]
async fn a_short_retry_after_is_respected_once_no_model_is_left() {
    let busy = || Reply::Http(429, vec![("retry-after", "0.05")], String::new());
    let (asked, _, result) = run(vec![busy(), busy(), busy(), Reply::ok("late")]).await;
    assert_eq!(asked, ["id-a", "id-b", "id-c", "id-a"]);
    assert_eq!(result.unwrap(), "late");
    let later = || Reply::Http(429, vec![("retry-after", "3600")], String::new());
    let (asked, _, _) = run(vec![later()]).await;
    assert_eq!(asked.len(), 3);

    // A route of one model. What does not pass by itself is not waited for, whatever it asks.
    for (status, body, times) in [
        (503, "", 2),
        (529, "{\"error\": {\"retry_after_seconds\": 0.05}}", 2),
        (401, "", 1),
        (402, "", 1),
        (400, "", 1),
        (413, "", 1),
        (404, "", 1),
    ] {
        let headers = if body.is_empty() {
            vec![("retry-after", "0.05")]
        } else {
            vec![]
        };
        let reply = Reply::Http(status, headers, body.into());
        let upstream = Upstream::start(vec![reply, Reply::ok("late")]).await;
        let (router, _) = router(catalog(&upstream, &upstream), flags());
        let result = complete(&router, "mixed").await;
        assert_eq!(
            (upstream.models().len(), result.is_ok()),
            (times, times == 2),
            "{status}"
        );
    }
}

#[tokio::test]
async fn a_request_is_one_observation_however_often_its_primary_is_asked() {
    let busy = Reply::Http(429, vec![("retry-after", "0.05")], String::new());
    let upstream = Upstream::start(vec![busy, Reply::ok("late")]).await;
    let text = format!(
        "[providers.p]\nbase_url = \"{}\"\n\
         [models.old]\nprovider = \"p\"\nid = \"old\"\ncontext = 8000\n\
         [models.new]\nprovider = \"p\"\nid = \"new\"\ncontext = 8000\n\
         [tasks.chat]\ncontrol = [\"old\"]\ncandidate = [\"new\"]\n",
        upstream.base_url
    );
    let catalog = Catalog::parse(&text).unwrap();
    let flags = in_rollout(&["new"], &["old"]);
    let clients = Clients::connect(&catalog, None).unwrap();
    let events = Arc::new(Events::default());
    let patience = Duration::from_secs(5);
    let router = ModelRouter::new(catalog, clients, flags, events.clone(), patience);
    complete(&router, "chat").await.unwrap();
    let told = events.all().into_iter();
    let told: Vec<_> = told
        .map(|it| (it.variant, it.position, it.counted))
        .collect();
    let candidate = Variant::Candidate;
    assert_eq!(told, [(candidate, 0, true), (candidate, 0, false)]);
}

#[tokio::test]
async fn an_outage_is_not_multiplied() {
    let upstream = Upstream::start(vec![Reply::status(500)]).await;
    let (router, _) = router(catalog(&upstream, &upstream), flags());
    let began = Instant::now();
    // The control route of this task is one model.
    let calls = (0..200).map(|_| complete(&router, "mixed"));
    let answers = futures::future::join_all(calls).await;
    assert!(answers.iter().all(Result::is_err));
    let asked = upstream.requests().len();
    let seconds = began.elapsed().as_secs() as usize;
    assert!(
        (220..=222 + seconds).contains(&asked),
        "{asked} for 200 calls"
    );
}

#[tokio::test]
async fn a_moments_fault_of_a_model_that_is_asked_alone_is_not_told() {
    for reply in [
        Reply::status(502),
        Reply::ok(""),
        Reply::Cut,
        Reply::Http(200, vec![], "<html>".into()),
    ] {
        let upstream = Upstream::start(vec![reply.clone(), Reply::ok("hej")]).await;
        let (router, events) = router(catalog(&upstream, &upstream), flags());
        let answer = complete(&router, "mixed").await;
        assert_eq!(answer.unwrap().completion.content, "hej", "{reply:?}");
        assert_eq!(events.all().len(), 2);
    }
}

#[tokio::test]
async fn each_model_has_time_limits_of_its_own() {
    let steps = || [format!("data: {}\n\n", token("hej"))];
    let begun = Reply::events(steps(), End::Hang);
    let silent = Reply::events([String::new()], End::Hang);
    let finished = json!({"choices": [{"delta": {}, "finish_reason": "stop"}]});
    let unended = Reply::events([format!("{}data: {finished}\n\n", steps()[0])], End::Hang);
    let soon = "10ms";
    for (limits, streams, reply, expected) in [
        (
            format!("total = \"{soon}\""),
            false,
            Reply::Hang,
            Some(FaultKind::Timeout),
        ),
        (
            format!("first_token = \"{soon}\""),
            true,
            Reply::Hang,
            Some(FaultKind::Timeout),
        ),
        (
            format!("first_token = \"{soon}\""),
            true,
            silent,
            Some(FaultKind::Timeout),
        ),
        (
            format!("idle = \"{soon}\""),
            true,
            begun.clone(),
            Some(FaultKind::Timeout),
        ),
        (
            format!("total = \"{soon}\""),
            true,
            begun,
            Some(FaultKind::Timeout),
        ),
        // After the finish reason the end is not waited for long.
        ("idle = \"1h\"".to_owned(), true, unended, None),
    ] {
        let upstream = Upstream::start(vec![reply]).await;
        let text = format!(
            "[providers.p]\nbase_url = \"{}\"\n\
             [models.m]\nprovider = \"p\"\nid = \"m\"\ncontext = 8000\ntimeouts = {{ {limits} }}\n\
             [tasks.chat]\ncontrol = [\"m\"]\ncandidate = [\"m\"]\n",
            upstream.base_url
        );
        let catalog = Catalog::parse(&text).unwrap();
        let clients = Clients::connect(&catalog, None).unwrap();
        let flags = Arc::new(FeatureFlags::new(flags()));
        let patience = Duration::from_secs(3_600);
        let router = ModelRouter::new(
            catalog,
            clients,
            flags,
            Arc::new(Events::default()),
            patience,
        );
        let route = route(&router, "chat");
        let call = Call {
            deadline: Instant::now() + patience,
            ..call()
        };
        let ended = timeout(Duration::from_secs(20), async {
            if !streams {
                return router.complete(&route, call).await.map(drop);
            }
            let answer = router.stream(&route, call).await?;
            let ends: Vec<_> = answer.deltas.collect().await;
            ends.into_iter().collect::<Result<Vec<_>, _>>().map(drop)
        });
        let kind = ended.await.unwrap().err().and_then(|error| error.kind());
        assert_eq!(kind, expected, "{limits} {streams}");
    }
}
