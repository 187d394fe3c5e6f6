//! `server_core.json`: cookie attributes, the AI configuration, the rate limit.

use std::{collections::BTreeMap, time::Duration};

use chrono::{DateTime, TimeDelta, Utc};
use http::{HeaderMap, HeaderName};
use modelramp::{
    _core::{
        auth::cookie::CookieOptions,
        environment::Environment,
        rate_limit::RateLimiter,
        site::{ProxyHeader, Site, SiteConfig},
    },
    config::{ModelsConfig, ProvidersConfig},
    routers::system_router::AiConfig,
};
use serde_json::{Value, json};

use crate::support::vectors::{self, Case, Rules};

/// Functions whose place in this server comes with later work.
const NOT_YET: &[&str] = &["hasPermission"];

#[test]
fn server_core_vectors() {
    let Some(cases) = vectors::load("server_core.json") else {
        return;
    };
    let mut rules = Rules::new("server_core.json");
    let mut not_yet: BTreeMap<&str, usize> = BTreeMap::new();
    for case in &cases {
        match case.function.as_str() {
            "getSessionCookieOptions" => session_cookie_options(&mut rules, case),
            "system.aiConfig" => ai_config(&mut rules, case),
            "rateLimitInMemory" => rate_limit(&mut rules, case),
            function if NOT_YET.contains(&function) => *not_yet.entry(function).or_default() += 1,
            function => rules.fail(case, "fn", format_args!("`{function}` is not known here")),
        }
    }
    say(&not_yet);
    rules.finish();
}

#[expect(clippy::print_stdout, reason = "a test reports what it left out")]
fn say(not_yet: &BTreeMap<&str, usize>) {
    for (function, count) in not_yet {
        println!("server_core.json: {count} cases of `{function}` not yet");
    }
}

fn session_cookie_options(rules: &mut Rules, case: &Case) {
    let environment = match case.env.get("NODE_ENV").map(String::as_str) {
        Some("production") => Environment::Production,
        Some("test") => Environment::Test,
        _ => Environment::Development,
    };
    let headers: HeaderMap = case.input["headers"]
        .as_object()
        .into_iter()
        .flatten()
        .flat_map(|(name, values)| {
            let values = values.as_array().cloned().unwrap_or(vec![values.clone()]);
            values.into_iter().map(|value| {
                let name: HeaderName = name.parse().unwrap();
                (name, value.as_str().unwrap().parse().unwrap())
            })
        })
        .collect();
    let config = SiteConfig {
        trusted_headers: vec![ProxyHeader::Proto],
        ..SiteConfig::default()
    };
    let forwarded = Site::new(environment, &config).is_https(&headers);
    let options = CookieOptions::for_request(
        environment,
        case.input["protocol"] == "https" || forwarded,
        case.input["hostname"].as_str().unwrap_or_default(),
    );
    let ours = match options {
        Ok(options) => {
            let header = options.set("token", Duration::from_secs(1)).unwrap();
            let header = header.to_str().unwrap();
            json!({
                "httpOnly": header.contains("; HttpOnly"),
                "path": if header.contains("; Path=/;") { "/" } else { "" },
                "sameSite": options.same_site.name().to_lowercase(),
                "secure": header.contains("; Secure"),
            })
        }
        Err(error) => json!({ "throws": error.to_string() }),
    };
    let recorded = vectors::plain(vectors::returned(&case.output));
    rules.compare_fields(case, &ours, &recorded, |_| vec![]);
}

fn ai_config(rules: &mut Rules, case: &Case) {
    let setting = |name: &str| case.env.get(name).cloned();
    let providers = ProvidersConfig {
        openrouter_api_key: setting("OPENROUTER_API_KEY").map(Into::into),
        openrouter_base_url: String::new(),
        ollama_base_url: setting("OLLAMA_BASE_URL"),
        ollama_model: setting("OLLAMA_MODEL").unwrap_or("gemma3:9b".into()),
        gemini_api_key: setting("GEMINI_API_KEY").map(Into::into),
        api_keys: BTreeMap::new(),
    };
    let models = ModelsConfig {
        proxy: None,
        no_proxy: None,
        catalog: None,
        catalog_poll: Duration::from_secs(2),
        catalog_watch: None,
        answer_cache: Default::default(),
        wrong_keys_per_minute: 0,
        attempt_timeout: Duration::ZERO,
        breaker: None,
        openrouter_model: setting("OPENROUTER_MODEL").unwrap_or("z-ai/glm-4.5-air:free".into()),
    };
    let ours = serde_json::to_value(AiConfig::new(&providers, &models)).unwrap();
    rules.compare_fields(case, &ours, vectors::returned(&case.output), |_| vec![]);
}

fn rate_limit(rules: &mut Rules, case: &Case) {
    let start: DateTime<Utc> = "2025-11-08T21:30:00Z".parse().unwrap();
    let limit = case.input["limit"].as_u64().unwrap();
    let window = TimeDelta::milliseconds(case.input["windowMs"].as_i64().unwrap());
    let limiter = RateLimiter::new(limit.try_into().unwrap(), window);
    let times = case.input["atMs"].as_array().unwrap();
    let recorded = case.output.as_array().unwrap();
    assert_eq!(times.len(), recorded.len(), "{}", case.id);
    for (at_ms, recorded) in times.iter().zip(recorded) {
        let now = start + TimeDelta::milliseconds(at_ms.as_i64().unwrap());
        let taken = limiter.take(1, now);
        let (Ok(quota) | Err(quota)) = taken;
        let ours: Value = json!({
            "success": taken.is_ok(),
            "limit": limit,
            "remaining": quota.remaining,
            // Whole seconds since the start.
            "reset": (quota.resets_at - start).num_seconds(),
        });
        rules.compare_fields(case, &ours, recorded, |field| {
            vec![("C21", field == "reset" && limit == 0)]
        });
    }
}
