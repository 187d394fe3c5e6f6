//! The original's choice of models and its look-ups, against the embedded catalog.

use std::collections::BTreeMap;

use modelramp::{
    _core::{
        assignment::Subject, environment::Environment, feature_flags::FlagsConfig, units::Percent,
    },
    config::{ModelsConfig, ProvidersConfig},
    model_router::{
        ModelRouter,
        catalog::{Catalog, Model, Task, Tier},
    },
    providers::openrouter,
};
use secrecy::SecretString;
use serde_json::{Value, json};

use crate::{
    model_router::{flags, router},
    support::vectors::{self, Case, Rules, number, plain},
};

/// The embedded catalog, its provider at `base_url`, as if a key were set.
pub(crate) fn catalog(base_url: &str) -> Catalog {
    let models = ModelsConfig {
        proxy: None,
        no_proxy: None,
        catalog: None,
        catalog_poll: std::time::Duration::from_secs(2),
        catalog_watch: None,
        answer_cache: Default::default(),
        wrong_keys_per_minute: 0,
        attempt_timeout: std::time::Duration::from_secs(5),
        breaker: None,
        openrouter_model: String::new(),
    };
    let providers = ProvidersConfig {
        openrouter_api_key: Some(SecretString::from("k-or")),
        openrouter_base_url: base_url.to_owned(),
        ollama_base_url: None,
        ollama_model: String::new(),
        gemini_api_key: None,
        api_keys: Default::default(),
    };
    Catalog::load(&models, &providers, Environment::Production, &[]).unwrap()
}

/// The flags of a case, with the settings that the rules name for vectors.
pub(crate) fn flags_of(case: &Case) -> FlagsConfig {
    let is_on = |name: &str| {
        let value = case.env.get(name).map_or("", |value| value.trim());
        value == "1" || value.eq_ignore_ascii_case("true")
    };
    let percentage = case.env.get("OPENROUTER_ROLLOUT_PERCENTAGE");
    FlagsConfig {
        percentage: percentage
            .and_then(|text| Percent::parse(text))
            .unwrap_or(Percent::ZERO),
        force_openrouter: is_on("FORCE_OPENROUTER"),
        force_model_routing: is_on("FORCE_MODEL_ROUTING"),
        model_routing: false,
        ..flags()
    }
}

/// C1 and C2: settings that the original read in its own way and that are refused, or mean
/// something else, here.
pub(crate) fn has_settings_read_otherwise(case: &Case) -> bool {
    let percentage = case.env.get("OPENROUTER_ROLLOUT_PERCENTAGE");
    let is_plain = |text: &String| text.parse().is_ok_and(|percent: u8| percent <= 100);
    percentage.is_some_and(|text| !text.is_empty() && !is_plain(text))
        || ["FORCE_OPENROUTER", "FORCE_MODEL_ROUTING"]
            .iter()
            .filter_map(|name| case.env.get(*name))
            .any(|value| !matches!(value.as_str(), "true" | "false" | ""))
}

/// A user id as it counts here; odd ones are refused (C3).
pub(crate) fn subject(id: &Value) -> Option<Subject> {
    id.as_i64().and_then(Subject::user)
}

pub(crate) fn is_odd_id(id: &Value) -> bool {
    number(id).is_some() && subject(id).is_none()
}

fn name_of(value: &Value) -> String {
    plain(value).as_str().unwrap_or("").to_owned()
}

/// The names of the catalog's models that are so, in its order.
fn names(catalog: &Catalog, is_so: impl Fn(&Model) -> bool) -> Value {
    let models = catalog.models.iter().filter(|model| is_so(model));
    models.map(|model| json!(&*model.name)).collect()
}

#[test]
fn model_router_vectors() {
    let Some(cases) = vectors::load("model_router.json") else {
        return;
    };
    let mut rules = Rules::new("model_router.json");
    let catalog = catalog(openrouter::BASE_URL);
    // Making a router loads root certificates, so there is one for each set of flags.
    let mut routers = BTreeMap::new();
    for case in &cases {
        match case.function.as_str() {
            "selectModel" => {
                let router = routers
                    .entry(&case.env)
                    .or_insert_with(|| router(catalog.clone(), flags_of(case)).0);
                select(&mut rules, case, router);
            }
            "getModelConfig" => {
                let name = name_of(&case.input["taskType"]);
                let task = catalog.task(&name);
                let ours = task.map_or(Value::Null, config);
                let unknown = [("C11", task.is_none())];
                rules.compare_fields(case, &ours, &case.output, |_| unknown.to_vec());
            }
            "getModelId" | "getModelMetadata" => {
                let model = catalog.model(&name_of(&case.input["model"]));
                let ours = match case.function.as_str() {
                    "getModelId" => model.map_or(Value::Null, |model| json!(model.id)),
                    _ => model.map_or(Value::Null, |model| metadata(model)),
                };
                let unknown = [("C11", model.is_none())];
                rules.compare_fields(case, &ours, &case.output, |_| unknown.to_vec());
            }
            "getFreeTierModels" => {
                let ours = names(&catalog, |model| model.tier == Tier::Free);
                rules.compare(case, "(whole)", &ours, &case.output, &[]);
            }
            "getModelsBySpecialization" => {
                let word = name_of(&case.input["specialization"]).to_lowercase();
                let ours = names(&catalog, |model| {
                    model.specialization.to_lowercase().contains(&word)
                });
                rules.compare(case, "(whole)", &ours, &case.output, &[]);
            }
            "mapToLiteLLMModel" | "mapToFridayModel" | "getFallbackModels" => {
                rules.excuse("C25", "LiteLLM names");
            }
            other => rules.fail(case, "fn", format_args!("`{other}` is not known")),
        }
    }
    rules.finish();
}

fn select(rules: &mut Rules, case: &Case, router: &ModelRouter) {
    let catalog = router.catalog();
    let (task, forced) = (
        name_of(&case.input["taskType"]),
        name_of(&case.input["forceModel"]),
    );
    let id = &case.input["userId"];
    let route = router.select(&task, subject(id).as_ref(), Some(&forced));
    let ours = match &route {
        Ok(route) => json!(route.models[0].name),
        Err(error) => json!({ "badRequest": error.to_string() }),
    };
    let knows = |name: &str| catalog.model(name).is_some();
    rules.compare(
        case,
        "(whole)",
        &ours,
        &case.output,
        &[
            (
                "C11",
                route.is_err() && (catalog.task(&task).is_none() || !knows(&forced)),
            ),
            ("C10", knows(&forced) && ours == json!(forced)),
            ("C3", is_odd_id(id)),
            ("C1/C2", has_settings_read_otherwise(case)),
        ],
    );
    if case.rest.get("log").is_some_and(|log| *log != json!([])) {
        rules.excuse("C28", "log");
    }
}

fn config(task: &Task) -> Value {
    let names: Vec<&str> = task.candidate.iter().map(|model| &*model.name).collect();
    json!({
        "primary": names[0],
        "fallbacks": names[1..],
        "reasoning": task.reasoning,
        "costLevel": task.cost_level,
        "capabilities": task.capabilities,
    })
}

fn metadata(model: &Model) -> Value {
    json!({
        "displayName": model.display_name,
        "provider": model.vendor,
        "accuracy": model.accuracy,
        "specialization": model.specialization,
        "contextWindow": model.context,
        "costTier": model.tier,
    })
}
