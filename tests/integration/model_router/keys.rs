//! Keys of providers: without one the sandbox answers, and none reaches a fault.

use super::*;
use crate::support::scripted_upstream::Request;

fn providers(key: Option<&str>) -> ProvidersConfig {
    ProvidersConfig {
        openrouter_api_key: key.map(SecretString::from),
        openrouter_base_url: "https://openrouter.ai/api/v1".into(),
        ollama_base_url: None,
        ollama_model: String::new(),
        gemini_api_key: None,
        api_keys: Default::default(),
    }
}

pub(super) fn embedded(key: Option<&str>, environment: Environment) -> Result<Catalog, String> {
    let models = ModelsConfig {
        proxy: None,
        no_proxy: None,
        catalog: None,
        catalog_poll: Duration::from_secs(2),
        catalog_watch: None,
        answer_cache: Default::default(),
        wrong_keys_per_minute: 0,
        attempt_timeout: Duration::from_secs(5),
        breaker: None,
        openrouter_model: String::new(),
    };
    Catalog::load(&models, &providers(key), environment, &[]).map_err(|error| error.to_string())
}

#[tokio::test]
async fn without_a_key_the_sandbox_answers_and_says_so() {
    let catalog = embedded(None, Environment::Development).unwrap();
    assert!(catalog.needs_sandbox());
    let sandbox = Sandbox::start().await.unwrap();
    let clients = Clients::connect(&catalog, Some(sandbox.base_url())).unwrap();
    let events = Arc::new(Events::default());
    let flags = Arc::new(FeatureFlags::new(candidates()));
    let router = ModelRouter::new(
        catalog,
        clients,
        flags,
        events.clone(),
        Duration::from_secs(5),
    );
    let route = route(&router, "chat");
    let answer = router.complete(&route, call()).await.unwrap();
    assert_eq!(answer.completion.model, "sandbox/z-ai/glm-4.5-air:free");
    assert!(
        answer.completion.content.contains("sandbox") && answer.completion.content.contains("hej")
    );
    let streamed = router.stream(&route, call()).await.unwrap();
    let text: Vec<_> = streamed
        .deltas
        .map(|delta| delta.unwrap().content)
        .collect()
        .await;
    assert_eq!(text.concat(), answer.completion.content);
    let [plain, streamed] = &events.all()[..] else {
        panic!()
    };
    assert_eq!(plain.completion_tokens, streamed.completion_tokens);
    assert!(plain.completion_tokens > 0 && streamed.first_token_ms.unwrap() > 0.0);
}

#[test]
fn a_missing_key_refuses_to_start_outside_development() {
    for key in [None, Some("  ")] {
        for environment in [Environment::Staging, Environment::Production] {
            let error = embedded(key, environment).unwrap_err();
            assert!(
                error.contains(
                    "`providers.openrouter.api_key_env` is `OPENROUTER_API_KEY`, which is not set"
                ),
                "{error}"
            );
        }
        assert!(embedded(key, Environment::Test).unwrap().needs_sandbox());
    }
    let catalog = embedded(Some("sk-secret"), Environment::Production).unwrap();
    assert!(matches!(
        catalog.providers[0].access,
        ProviderAccess::Key(_)
    ));
    assert!(!format!("{catalog:?}").contains("sk-secret"));
}

#[tokio::test]
async fn a_provider_that_repeats_the_key_does_not_bring_it_into_a_fault() {
    let upstream =
        Upstream::start(vec![Reply::Http(401, vec![], "bad key sk-secret".into())]).await;
    let key = Some(SecretString::from("sk-secret"));
    let http = modelramp::providers::openai_compatible::http_client().unwrap();
    let client = modelramp::providers::openai_compatible::OpenAiCompatible::new(
        http,
        &upstream.base_url,
        key,
        [],
    )
    .unwrap();
    let request = ChatRequest::new(vec![ChatMessage::text("user", "hej")]);
    let fault = client
        .complete(&request, Instant::now() + Duration::from_secs(5))
        .await
        .unwrap_err();
    assert_eq!(
        upstream.requests()[0].headers["authorization"],
        "Bearer sk-secret"
    );
    assert!(!format!("{fault:?}").contains("sk-secret"));
}

/// A router whose one model has two keys, of one account or of two, at this upstream.
fn with_two_keys(upstream: &Upstream, account: &str) -> (ModelRouter, Arc<Events>) {
    let text = format!(
        "[providers.up]\nbase_url = \"{}\"\napi_key_env = \"ONE_API_KEY\"\n\
         keys = [{{ api_key_env = \"TWO_API_KEY\"{account} }}]\n\
         [models.m]\nprovider = \"up\"\nid = \"m\"\ncontext = 8000\n\
         [tasks.chat]\ncandidate = [\"m\"]\ncontrol = [\"m\"]\n",
        upstream.base_url
    );
    let mut catalog = Catalog::parse(&text).unwrap();
    catalog.providers[0].access = ProviderAccess::Key("one".into());
    catalog.providers[0].keys[0].key = Some("two".into());
    router(catalog, flags())
}

/// Answers the second key, and the first like this.
async fn refusing_one(reply: Reply) -> Upstream {
    let script =
        move |_: usize, request: &Request| match request.headers["authorization"] == "Bearer one" {
            true => reply.clone(),
            false => Reply::ok("hej"),
        };
    Upstream::with(script).await
}

fn keys_asked(upstream: &Upstream) -> Vec<String> {
    let requests = upstream.requests();
    let key = |it: &Request| {
        it.headers["authorization"]
            .to_str()
            .unwrap()
            .replace("Bearer ", "")
    };
    requests.iter().map(key).collect()
}

#[tokio::test]
async fn a_key_that_is_refused_is_changed_within_the_call_and_not_asked_again() {
    for reply in [Reply::status(401), Reply::status(402)] {
        let upstream = refusing_one(reply).await;
        let (router, _) = with_two_keys(&upstream, ", account = \"other\"");
        for _ in 0..30 {
            complete(&router, "chat").await.unwrap();
        }
        let asked = keys_asked(&upstream);
        assert_eq!(
            asked.iter().filter(|key| *key == "one").count(),
            1,
            "{asked:?}"
        );
        let usable: Vec<_> = router
            .keys()
            .into_iter()
            .map(|(_, name, is)| (name, is))
            .collect();
        let expected = [("ONE_API_KEY", false), ("TWO_API_KEY", true)];
        assert_eq!(usable, expected.map(|(name, is)| (name.to_owned(), is)));
    }
}

#[tokio::test]
async fn an_account_that_asks_too_often_rests_and_another_one_answers() {
    let limit = || {
        let headers = vec![("x-ratelimit-limit", "20"), ("retry-after", "30")];
        Reply::Http(429, headers, String::new())
    };
    let upstream = refusing_one(limit()).await;
    let (router, _) = with_two_keys(&upstream, ", account = \"other\"");
    for _ in 0..30 {
        complete(&router, "chat").await.unwrap();
    }
    let asked = keys_asked(&upstream);
    assert_eq!(
        asked.iter().filter(|key| *key == "one").count(),
        1,
        "{asked:?}"
    );
    // Keys of one account are refused together: another is no way around it.
    let upstream = Upstream::start(vec![limit()]).await;
    let (router, events) = with_two_keys(&upstream, "");
    complete(&router, "chat").await.unwrap_err();
    assert_eq!(events.all().len(), 1);
}

#[tokio::test]
async fn when_every_key_is_refused_the_call_fails_with_that() {
    let upstream = Upstream::start(vec![Reply::status(401)]).await;
    let (router, events) = with_two_keys(&upstream, "");
    let error = complete(&router, "chat").await.unwrap_err();
    assert!(
        matches!(
            error,
            RouteError::AllFailed {
                attempts: 2,
                kind: FaultKind::Authentication,
                ..
            }
        ),
        "{error}"
    );
    assert_eq!(events.all().len(), 2);
    assert_eq!(keys_asked(&upstream).len(), 2);
}

#[tokio::test]
async fn what_a_provider_still_takes_is_respected() {
    let headers = vec![
        ("content-type", "application/json"),
        ("x-ratelimit-remaining-requests", "1"),
        ("x-ratelimit-reset-requests", "60s"),
    ];
    let Reply::Http(status, _, body) = Reply::ok("hej") else {
        panic!()
    };
    let upstream = Upstream::start(vec![Reply::Http(status, headers, body)]).await;
    let (router, _) = with_two_keys(&upstream, "");
    complete(&router, "chat").await.unwrap();
    let hurried = || Call {
        urgency: Urgency {
            start_by: Some(Instant::now() + Duration::from_secs(1)),
            ..Urgency::default()
        },
        ..call()
    };
    let calls = (0..5).map(|_| complete_call(&router, "chat", hurried()));
    let answers = futures::future::join_all(calls).await;
    assert_eq!(answers.iter().filter(|answer| answer.is_ok()).count(), 1);
    assert_eq!(upstream.requests().len(), 2);
}
