//! Keys and addresses, as the settings have them, and the tasks that have to be there.

use super::*;

fn settings(base_url: &str, keys: &[(&str, &str)]) -> ProvidersConfig {
    let keys: BTreeMap<String, SecretString> = keys
        .iter()
        .map(|(name, key)| ((*name).to_owned(), SecretString::from(*key)))
        .collect();
    ProvidersConfig {
        openrouter_api_key: keys.get("OPENROUTER_API_KEY").cloned(),
        openrouter_base_url: base_url.to_owned(),
        ollama_base_url: None,
        ollama_model: String::new(),
        gemini_api_key: None,
        api_keys: keys,
    }
}

fn load(
    text: &str,
    settings: &ProvidersConfig,
    environment: Environment,
) -> Result<Catalog, FileError> {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("models.toml");
    fs::write(&path, text).unwrap();
    let models = ModelsConfig {
        proxy: None,
        no_proxy: None,
        catalog: Some(path),
        catalog_poll: Duration::from_secs(2),
        catalog_watch: None,
        answer_cache: Default::default(),
        wrong_keys_per_minute: 0,
        attempt_timeout: Duration::from_secs(1),
        breaker: None,
        openrouter_model: String::new(),
    };
    Catalog::load(&models, settings, environment, &[])
}

const TWO: &str = r#"
[providers.openrouter]
base_url = "https://openrouter.ai/api/v1"
api_key_env = "OPENROUTER_API_KEY"
[providers.other]
base_url = "https://other.example/v1"
api_key_env = "OTHER_API_KEY"
[models.m]
provider = "other"
id = "m"
context = 1
[tasks.chat]
candidate = ["m"]
control = ["m"]
"#;

#[test]
fn keys_come_from_the_variables_that_the_file_names() {
    let both = [("OPENROUTER_API_KEY", "a"), ("OTHER_API_KEY", "b")];
    let catalog = load(
        TWO,
        &settings(openrouter::BASE_URL, &both),
        Environment::Production,
    )
    .unwrap();
    assert!(
        catalog
            .providers
            .iter()
            .all(|p| matches!(p.access, ProviderAccess::Key(_)))
    );
    let error = load(
        TWO,
        &settings(openrouter::BASE_URL, &[]),
        Environment::Production,
    )
    .unwrap_err();
    assert_eq!(error.to_string().lines().count(), 3, "{error}");
    let one = settings(openrouter::BASE_URL, &both[..1]);
    let catalog = load(TWO, &one, Environment::Development).unwrap();
    assert!(matches!(
        catalog.providers[1].access,
        ProviderAccess::Sandbox
    ));
    assert!(catalog.needs_sandbox());
}

#[test]
fn another_address_for_openrouter_needs_no_key_in_development() {
    let settings = |base_url| settings(base_url, &[("OTHER_API_KEY", "b")]);
    let local = settings("http://127.0.0.1:8090/v1");
    let catalog = load(TWO, &local, Environment::Development).unwrap();
    assert!(matches!(catalog.providers[0].access, ProviderAccess::Open));
    assert_eq!(catalog.providers[0].base_url, "http://127.0.0.1:8090/v1");
    assert_eq!(catalog.providers[1].base_url, "https://other.example/v1");
    assert!(load(TWO, &local, Environment::Production).is_err());
    let error = load(TWO, &settings("nonsense"), Environment::Development).unwrap_err();
    assert!(error.to_string().contains("OPENROUTER_BASE_URL"), "{error}");
}

#[test]
fn a_file_that_is_not_there_is_named() {
    let models = ModelsConfig {
        proxy: None,
        no_proxy: None,
        catalog: Some("/nowhere/models.toml".into()),
        catalog_poll: Duration::from_secs(2),
        catalog_watch: None,
        answer_cache: Default::default(),
        wrong_keys_per_minute: 0,
        attempt_timeout: Duration::from_secs(1),
        breaker: None,
        openrouter_model: String::new(),
    };
    let error = Catalog::load(
        &models,
        &settings(openrouter::BASE_URL, &[]),
        Environment::Test,
        &[],
    );
    let text = error.unwrap_err().to_string();
    assert!(
        text.contains("`/nowhere/models.toml`") && text.contains("MODEL_CATALOGUE"),
        "{text}"
    );
}

#[test]
fn a_task_that_a_procedure_asks_for_must_be_there() {
    let folder = tempfile::tempdir().unwrap();
    let load = |text: &str| {
        let path = folder.path().join("models.toml");
        fs::write(&path, text).unwrap();
        let models = ModelsConfig {
            proxy: None,
            no_proxy: None,
            catalog: Some(path),
            catalog_poll: Duration::from_secs(2),
            catalog_watch: None,
            answer_cache: Default::default(),
            wrong_keys_per_minute: 0,
            attempt_timeout: Duration::from_secs(1),
            breaker: None,
            openrouter_model: String::new(),
        };
        let settings = settings(openrouter::BASE_URL, &[]);
        let needs = [("chat.sendMessage", "chat")];
        Catalog::load(&models, &settings, Environment::Test, &needs)
    };
    assert!(load(EMBEDDED).is_ok());
    let error = load(&EMBEDDED.replace("[tasks.chat]", "[tasks.chatt]"));
    let error = error.unwrap_err().to_string();
    assert!(
        error.ends_with(
            ":1: `tasks.chat` is missing; expected the task that `chat.sendMessage` asks for; \
             is `chatt` meant to be it?"
        ),
        "{error}"
    );
}

#[test]
fn pasted_addresses_and_keys_are_refused() {
    let slip = EMBEDDED.replace(
        "\"https://openrouter.ai/api/v1\"",
        "\"https://openrouter.ai/api/v1/chat/completions\"",
    );
    let error = Catalog::parse(&slip).unwrap_err().to_string();
    assert!(
        error.contains("`providers.openrouter.base_url` ends in"),
        "{error}"
    );

    let key = [("OPENROUTER_API_KEY", "Bearer sk-hush")];
    let settings = settings(openrouter::BASE_URL, &key);
    let error = load(EMBEDDED, &settings, Environment::Production);
    let error = error.unwrap_err().to_string();
    assert!(
        error.contains("`Bearer`") && !error.contains("hush"),
        "{error}"
    );
}
