//! The original's recorded flags against ours, from the environment's texts to the answer.
//!
//! Each case is loaded as settings, with `ASSIGNMENT_ALGORITHM=legacy-modulo` (C4) and
//! `MODEL_ROUTING=false` (C12), which are the original's behaviour; C11 keeps an unknown flag false,
//! as it was. So only C1, C2 and C3 have something to excuse.

use std::collections::BTreeMap;

use modelramp::{
    _core::{assignment::Subject, feature_flags::FeatureFlags},
    config::{Config, Sources},
};
use serde_json::{Value, json};

use crate::support::vectors::{self, Case, Rules, number};

const FILE: &str = "feature_flags.json";
const PERCENTAGE: &str = "OPENROUTER_ROLLOUT_PERCENTAGE";
/// Stands for the answer where the server would not have started.
const REFUSES: &str = "refuses to start";

/// The flags, and the variables that each is made of.
const FLAGS: &[(&str, &[&str])] = &[
    ("useServerSideChat", &["FORCE_SERVER_SIDE_CHAT"]),
    ("enableStreaming", &["FORCE_STREAMING"]),
    ("enableModelRouting", &["FORCE_MODEL_ROUTING"]),
    ("enableOpenRouterModels", &["FORCE_OPENROUTER", PERCENTAGE]),
    ("openRouterRolloutPercentage", &[PERCENTAGE]),
    ("enableUTCP", &["FORCE_UTCP"]),
];

#[test]
fn feature_flags_agree_with_the_vectors() {
    let Some(cases) = vectors::load(FILE) else {
        return;
    };
    let mut rules = Rules::new(FILE);
    for case in &cases {
        let (flags, refused) = load(&case.env);
        let is_refused = |flag: &str| variables(flag).iter().any(|name| refused.contains(name));
        let subject = subject(&case.input["userId"]);
        match case.function.as_str() {
            "getFeatureFlags" => {
                let mut ours = json!(flags.flags(subject.as_ref()));
                for (flag, _) in FLAGS.iter().filter(|(flag, _)| is_refused(flag)) {
                    ours[flag] = json!(REFUSES);
                }
                rules.compare_fields(case, &ours, &case.output, |flag| excuses(case, flag));
            }
            "isFeatureEnabled" => {
                let flag = case.input["feature"].as_str().unwrap_or_default();
                // The percentage is no flag: its text can be refused, its answer is always false.
                let ours = if is_refused(flag) && flag != "openRouterRolloutPercentage" {
                    json!(REFUSES)
                } else {
                    json!(flags.is_enabled(flag, subject.as_ref()))
                };
                let recorded = vectors::returned(&case.output);
                rules.compare(case, flag, &ours, recorded, &excuses(case, flag));
            }
            other => rules.fail(
                case,
                "fn",
                format_args!("`{other}` is not known to this test"),
            ),
        }
    }
    rules.finish();
}

/// The server's flags under these variables, and those of them that it refuses to start with.
fn load(env: &BTreeMap<String, String>) -> (FeatureFlags, Vec<&'static str>) {
    let mut environment = env.clone();
    for (name, value) in [
        ("APP_ENV", "test"),
        ("ASSIGNMENT_ALGORITHM", "legacy-modulo"),
        ("MODEL_ROUTING", "false"),
    ] {
        environment.insert(name.into(), value.into());
    }
    let folder = tempfile::tempdir().unwrap();
    let mut sources = Sources {
        environment,
        working_dir: folder.path().to_owned(),
        config_file: None,
    };
    let mut refused = Vec::new();
    loop {
        match Config::load(&sources) {
            Ok(config) => return (FeatureFlags::new(config.flags), refused),
            Err(faults) => {
                for fault in faults.iter() {
                    let known = FLAGS.iter().flat_map(|(_, names)| *names);
                    let name = known.copied().find(|name| *name == fault.name);
                    refused.push(name.unwrap_or_else(|| panic!("{fault}")));
                    sources.environment.remove(&fault.name);
                }
            }
        }
    }
}

fn variables(flag: &str) -> &'static [&'static str] {
    let found = FLAGS.iter().find(|(name, _)| *name == flag);
    found.map_or(&[], |(_, names)| names)
}

/// A positive whole number; all else is nobody.
fn subject(user_id: &Value) -> Option<Subject> {
    user_id.as_i64().and_then(Subject::user)
}

/// The rules that speak of a flag, with whether they hold for a case.
fn excuses(case: &Case, flag: &str) -> Vec<(&'static str, bool)> {
    let names = variables(flag);
    let given = |name: &&&str| case.env.get(**name);
    let odd_switch = names
        .iter()
        .filter(|name| name.starts_with("FORCE_"))
        .filter_map(|name| given(&name))
        .any(|text| is_odd_switch(text));
    let odd_percentage = names
        .iter()
        .filter(|name| **name == PERCENTAGE)
        .filter_map(|name| given(&name))
        .any(|text| is_odd_percentage(text));
    let odd_id = flag == "enableOpenRouterModels" && is_odd_id(&case.input["userId"]);
    vec![("C1", odd_percentage), ("C2", odd_switch), ("C3", odd_id)]
}

/// C1: other than nothing, or a whole number from 0 to 100 with or without blanks around it, which
/// both read alike.
fn is_odd_percentage(text: &str) -> bool {
    let text = text.trim();
    let digits = text.bytes().all(|byte| byte.is_ascii_digit());
    let alike = text.is_empty() || digits && text.parse().is_ok_and(|share: u8| share <= 100);
    !alike
}

/// C2: other than what both read alike.
fn is_odd_switch(text: &str) -> bool {
    !matches!(text, "true" | "false" | "0" | "")
}

/// C3: a number that no user has.
fn is_odd_id(user_id: &Value) -> bool {
    number(user_id).is_some_and(|id| !(id > 0.0 && id.fract() == 0.0))
}
