//! A model that is asked a second time.

use std::collections::HashSet;

use modelramp::_core::feature_flags::LiveRollout;

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
    let flags = Arc::new(FeatureFlags::new(flags()));
    flags.publish(&[Arc::new(LiveRollout {
        id: "r".into(),
        is_open: true,
        tasks: vec!["chat".into()],
        algorithm: Algorithm::Murmur3,
        salt: "test".into(),
        share: Percent::new(100.0).unwrap(),
        forced_on: HashSet::new(),
        forced_off: HashSet::new(),
        candidate: None,
        control: None,
        plan: "plan".into(),
        ended: None,
        is_released: false,
    })]);
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
