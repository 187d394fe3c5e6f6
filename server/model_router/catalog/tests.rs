mod bundles;
mod keys;

use std::{collections::BTreeMap, fs, time::Duration};

use proptest::prelude::*;

use super::*;
use crate::providers::quality::Language;
use crate::{
    _core::toml_reader::TomlFault,
    model_router::{Route, RouteError},
};

const GOOD: &str = r#"
[providers.p]
base_url = "http://127.0.0.1:1/v1"
[models.m]
provider = "p"
id = "x/m"
context = 8192
[tasks.chat]
candidate = ["m"]
control = ["m"]
"#;

fn faults(text: &str) -> Vec<String> {
    let Err(error) = Catalog::parse(text) else {
        return Vec::new();
    };
    let line = |fault: &TomlFault| format!("{} {}", fault.line, fault.message);
    error.faults.iter().map(line).collect()
}

/// The one fault of the good catalog with one line replaced.
fn fault(from: &str, to: &str) -> String {
    assert!(GOOD.contains(from), "{from}");
    let faults = faults(&GOOD.replacen(from, to, 1));
    assert_eq!(faults.len(), 1, "{from} -> {to}: {faults:#?}");
    faults.into_iter().next().unwrap_or_default()
}

#[test]
fn the_embedded_catalog_is_the_originals() {
    let catalog = Catalog::parse(EMBEDDED).unwrap();
    assert_eq!((catalog.models.len(), catalog.tasks.len()), (11, 10));
    for task in &catalog.tasks {
        assert_eq!(&*task.control[0].name, "gemma-3-27b-free", "{}", task.name);
    }
    assert_eq!(
        &*catalog.unrouted.as_ref().unwrap().name,
        "glm-4.5-air-free"
    );
    assert_eq!(catalog.providers[0].base_url, openrouter::BASE_URL);
    assert!(catalog.needs_sandbox());
}

#[test]
fn little_is_required() {
    let catalog = Catalog::parse(GOOD).unwrap();
    let model = &catalog.models[0];
    assert_eq!(
        (model.display_name.as_str(), model.vendor.as_str()),
        ("m", "p")
    );
    assert_eq!((model.tier, model.prices), (Tier::Free, Prices::default()));
    assert!(!catalog.needs_sandbox());
}

/// Nobody could ask for them.
#[test]
fn names_that_mean_something_else_to_callers_are_refused() {
    assert_eq!(
        fault("[tasks.chat]", "[tasks.direct]"),
        "8 a task cannot be named `direct`: that is the one of requests that ask for a model by its name"
    );
    let more = "[models.\"task/m\"]\nprovider = \"p\"\nid = \"x\"\ncontext = 1\n";
    assert_eq!(
        faults(&format!("{GOOD}{more}")),
        [
            "11 a model cannot be named `task/m`: callers ask for tasks by names that begin with `task/`"
        ]
    );
}

#[test]
fn a_fault_names_key_value_and_expectation() {
    for (from, to, expected) in [
        (
            "context = 8192",
            "context = 0",
            "7 `models.m.context` is 0; expected a whole number of tokens, from 1 to 4294967295",
        ),
        (
            "context = 8192",
            "context = -1",
            "7 `models.m.context` is -1; expected a whole number of tokens, from 1 to 4294967295",
        ),
        (
            "context = 8192",
            "",
            "4 `models.m.context` is missing; expected a whole number of tokens, from 1 to 4294967295",
        ),
        (
            "context = 8192",
            "context = 1\ncontxt = 2",
            "8 unknown key `contxt`; did you mean `context`?",
        ),
        (
            "context = 8192",
            "context = 1\nprices = { prompt = -0.5, completion = 1 }",
            "8 `models.m.prices.prompt` is -0.5; expected US dollars per million tokens, a number of at least 0",
        ),
        (
            "context = 8192",
            "context = 1\nprices = { prompt = nan, completion = 1 }",
            "8 `models.m.prices.prompt` is nan; expected US dollars per million tokens, a number of at least 0",
        ),
        (
            "context = 8192",
            "context = 1\ntier = \"gold\"",
            "8 `models.m.tier` is \"gold\"; expected one of `free`, `paid`",
        ),
        (
            "provider = \"p\"",
            "provider = \"q\"",
            "5 unknown provider `q`; known are p",
        ),
        (
            "candidate = [\"m\"]",
            "candidate = [\"n\"]",
            "9 unknown model `n`; known are m",
        ),
        (
            "candidate = [\"m\"]",
            "candidate = []",
            "9 `tasks.chat.candidate` is an empty list; expected a list of model names with at least one",
        ),
        (
            "candidate = [\"m\"]",
            "candidate = [\"m\", \"m\"]",
            "9 model `m` is listed twice",
        ),
        (
            "base_url = \"http://127.0.0.1:1/v1\"",
            "base_url = \"localhost\"",
            "3 `providers.p.base_url` is \"localhost\"; expected an absolute http or https URL without user name, password, query and fragment",
        ),
    ] {
        assert_eq!(fault(from, to), expected);
    }
}

#[test]
fn what_a_task_demands_and_its_provider_does_not_give_is_a_fault() {
    let demanding = |provider: &str, demand: &str| {
        let text = GOOD.replace(
            "base_url = \"http://127.0.0.1:1/v1\"",
            &format!("base_url = \"http://127.0.0.1:1/v1\"\n{provider}"),
        );
        faults(&format!("{text}privacy = {{ {demand} }}\n"))
    };
    for (provider, demand, reason) in [
        ("", "zdr = true", "does not give `zdr = true`"),
        (
            "",
            "data_collection = \"deny\"",
            "does not give `data_collection = \"deny\"`",
        ),
        ("", "regions = [\"eu\"]", "has no `region`"),
        (
            "region = \"us\"",
            "regions = [\"eu\"]",
            "is in region `us`, none of eu",
        ),
    ] {
        let told = demanding(provider, demand);
        // In both routes.
        assert_eq!(told.len(), 2, "{told:#?}");
        let wanted = format!("model `m` may not get the texts of this task: provider `p` {reason}");
        assert!(told[0].ends_with(&wanted), "{told:#?}");
    }
    for (provider, demand) in [
        ("zdr = true", "zdr = true, data_collection = \"deny\""),
        ("data_collection = \"deny\"", "data_collection = \"deny\""),
        ("region = \"eu\"", "regions = [\"eu\", \"dk\"]"),
        (
            "",
            "providers = [\"p\"], mask = [\"email\", \"phone\", \"cpr\"]",
        ),
    ] {
        let told = demanding(provider, demand);
        assert!(told.is_empty(), "{told:#?}");
    }
    for (provider, demand) in [
        ("", "providers = []"),
        ("", "mask = [\"name\"]"),
        ("", "zrd = true"),
        ("hosts = [\"mistral\"]", ""),
    ] {
        assert_eq!(demanding(provider, demand).len(), 1, "{provider} {demand}");
    }
    assert!(!demanding("", "providers = [\"q\"]").is_empty());
}

#[test]
fn lists_of_hosts_that_share_none_are_a_fault() {
    let text = GOOD
        .replace(
            "[providers.p]",
            "[providers.openrouter]\nhosts = [\"azure\"]",
        )
        .replace("provider = \"p\"", "provider = \"openrouter\"");
    let with = |hosts: &str| faults(&format!("{text}privacy = {{ hosts = [\"{hosts}\"] }}\n"));
    assert!(with("azure").is_empty(), "{:#?}", with("azure"));
    let told = with("mistral");
    assert!(
        told.len() == 2 && told[0].contains("no host is in all lists"),
        "{told:#?}"
    );
}

#[test]
fn what_is_demanded_for_all_holds_for_each_task_and_for_the_common_primary() {
    let all = format!("[privacy]\nzdr = true\nmask = [\"cpr\"]\n{GOOD}");
    assert_eq!(faults(&all).len(), 2, "{:#?}", faults(&all));
    let given = all.replace("/v1\"\n", "/v1\"\nzdr = true\n");
    let catalog = Catalog::parse(&given).unwrap();
    assert!(catalog.privacy.zdr && catalog.tasks[0].privacy == catalog.privacy);
    let other = "[providers.q]\nbase_url = \"http://q/v1\"\n[models.n]\nprovider = \"q\"\nid = \"n\"\ncontext = 1\n";
    let both = Catalog::parse(&format!("{given}{other}")).unwrap();
    let route = |model| Route::of_model(&both, model, None, None);
    assert!(route("m").is_ok());
    assert!(matches!(route("n"), Err(RouteError::Private { .. })));
    let unrouted = faults(&format!("unrouted = \"n\"\n{given}{other}"));
    assert!(
        unrouted.len() == 1 && unrouted[0].contains("the texts of task `chat`"),
        "{unrouted:#?}"
    );
}

#[test]
fn what_a_task_asks_of_its_answers_is_read_and_checked() {
    let with = |answers: &str| format!("{GOOD}\n[tasks.chat.answers]\n{answers}");
    let asked = "language = \"question\"\nschema = '''\n{\"type\": \"object\"}\n'''";
    let catalog = Catalog::parse(&with(asked)).unwrap();
    let checks = &catalog.tasks[0].checks;
    assert!(checks.language == Language::Question && checks.schema.is_some());
    let catalog = Catalog::parse(&with("language = \"danish\"")).unwrap();
    let named = catalog.tasks[0].checks.language;
    assert!(Language::parse("danish") == Some(named));
    let checks = &Catalog::parse(GOOD).unwrap().tasks[0].checks;
    assert_eq!(**checks, Checks::default());
    for (answers, expected) in [
        (
            "schema = \"{\"",
            "13 `tasks.chat.answers.schema` is not JSON",
        ),
        (
            "schema = '{\"type\": 7}'",
            "13 `tasks.chat.answers.schema` is no JSON schema",
        ),
        (
            "language = \"dansk\"",
            "13 `tasks.chat.answers.language` is \"dansk\"; expected `question`, `any`, or a language's name",
        ),
    ] {
        let faults = faults(&with(answers));
        assert_eq!(faults.len(), 1, "{faults:?}");
        assert!(faults[0].starts_with(expected), "{}", faults[0]);
    }
}

#[test]
fn all_faults_are_reported_at_once() {
    let text = GOOD
        .replace("8192", "0")
        .replace("http://", "gopher://")
        .replace("control = [\"m\"]", "control = [\"n\"]\nextra = 1");
    assert_eq!(faults(&text).len(), 4, "{:#?}", faults(&text));
    let error = Catalog::parse(&text).unwrap_err().to_string();
    assert_eq!(error.lines().count(), 4, "{error}");
}

#[test]
fn a_reference_to_a_faulty_model_is_no_second_fault() {
    assert!(fault("id = \"x/m\"", "id = 5").starts_with("6 `models.m.id` is 5"));
}

#[test]
fn what_is_no_toml_is_told_by_line() {
    let told = faults("[providers.p]\nbase_url = \"x\"\nbase_url = \"y\"\n").concat();
    assert!(told.starts_with("3 duplicate key"), "{told}");
    assert_eq!(faults("").len(), 3);
    assert_eq!(faults("providers = 5\nmodels = []\n[tasks]\n").len(), 3);
}

#[test]
fn a_key_in_the_wrong_place_is_not_shown() {
    for line in [
        "api_key_env = \"sk-secret\"",
        "api_key = \"sk-secret\"",
        "headers = { Authorization = 7 }",
    ] {
        let to = format!("base_url = \"http://x/v1\"\n{line}");
        let told = fault("base_url = \"http://127.0.0.1:1/v1\"", &to);
        assert!(!told.contains("sk-secret"), "{told}");
    }
}

#[test]
fn a_password_in_an_address_is_not_shown() {
    let long = "x".repeat(80);
    for value in [
        "\"https://me:hunter2@host/v1\"",
        "'https://hunter2@host/v1'",
        "\"https://host/v1?key=hunter2\"",
        "\"https://me:hunter2@host/v1/chat/completions\"",
        "\"https://me:hunter2\\n@host/v1\"",
        "\"\"\"\nhttps://me:hunter2@host/v1\"\"\"",
        &format!("\"https://me:hunter2{long}@host/v1\""),
        // No text at all.
        "https://me:hunter2@host/v1",
        "[\"https://me:hunter2@host/v1\"]",
        "{ url = \"https://me:hunter2@host/v1\" }",
    ] {
        let to = format!("base_url = {value}");
        let told = faults(&GOOD.replacen("base_url = \"http://127.0.0.1:1/v1\"", &to, 1));
        assert!(!told.is_empty(), "{value}");
        assert!(!told.concat().contains("hunter2"), "{told:?}");
    }
}

#[test]
fn prices_are_dollars_per_million_tokens() {
    let prices = Prices {
        prompt: 0.15,
        completion: 0.6,
        ..Prices::default()
    };
    let usage = Usage {
        prompt_tokens: 1_000_000,
        completion_tokens: 10,
        ..Usage::default()
    };
    assert_eq!(prices.cost(&usage), Microdollars(150_006));
}

#[test]
fn what_a_provider_has_kept_and_keeps_has_a_price_of_its_own() {
    let text = format!(
        "{GOOD}\n[models.kept]\nprovider = \"p\"\nid = \"k\"\ncontext = 8\n\
         prices = {{ prompt = 10, completion = 1, cache_read = 1, cache_write = 12.5 }}\n"
    );
    let catalog = Catalog::parse(&text).unwrap();
    let priced = catalog.model("kept").unwrap().prices;
    let plain = Prices {
        cache_read: None,
        cache_write: None,
        ..priced
    };
    let usage = |cached_tokens, cache_write_tokens| Usage {
        prompt_tokens: 1_000,
        completion_tokens: 100,
        cached_tokens,
        cache_write_tokens,
        ..Usage::default()
    };
    for (found, kept, expected) in [
        (0, 0, 10_100),
        (600, 0, 4_000 + 600 + 100),
        (600, 200, 2_000 + 600 + 2_500 + 100),
        // No more than what was read, whatever a provider counts.
        (5_000, 5_000, 1_000 + 100),
    ] {
        assert_eq!(priced.cost(&usage(found, kept)), Microdollars(expected));
        assert_eq!(plain.cost(&usage(found, kept)), Microdollars(10_100));
    }
    assert_eq!(priced.most(&usage(600, 0)), Microdollars(12_600));
    let said = Usage {
        cost: Some(Microdollars(7)),
        ..usage(600, 0)
    };
    assert_eq!(priced.cost(&said), Microdollars(7));
}

proptest! {
    #[test]
    fn no_text_makes_it_panic(text in ".{0,200}") {
        let _ = Catalog::parse(&text);
    }

    #[test]
    fn no_damage_makes_it_panic(at in 0usize..200, length in 0usize..20, with in "[a-z\\[\\]{}=\".,0-9\n-]{0,10}") {
        let mut text = GOOD.to_owned();
        let start = at.min(text.len());
        let end = (start + length).min(text.len());
        text.replace_range(start..end, &with);
        if let Err(error) = Catalog::parse(&text) {
            prop_assert!(!error.faults.is_empty());
        }
    }
}
