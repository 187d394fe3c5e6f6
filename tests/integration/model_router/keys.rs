//! Keys of providers: without one the sandbox answers, and none reaches a fault.

use super::*;

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
        catalog: None,
        catalog_poll: Duration::from_secs(2),
        catalog_watch: None,
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
    assert!(matches!(catalog.providers[0].access, Access::Key(_)));
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
    let request = ChatRequest::new(vec![Message::text("user", "hej")]);
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
