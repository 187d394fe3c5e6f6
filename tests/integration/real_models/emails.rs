//! What two real small models make of e-mails: what was asked for, in its form, or a refusal; never a guess.

use modelramp::_core::caller::Role;
use serde_json::{Value, json};

use super::upstream::Model;
use crate::support::{app::TestApp, calls::rpc};

const CATEGORIES: [&str; 6] = [
    "work",
    "personal",
    "finance",
    "marketing",
    "important",
    "other",
];

#[tokio::test(flavor = "multi_thread")]
#[expect(clippy::print_stdout, reason = "a test says how often models managed")]
async fn mails_are_read_in_the_form_that_is_asked_for_or_refused() {
    let Some(python) = std::env::var_os("MODELRAMP_TEST_PYTHON") else {
        println!("skipped: MODELRAMP_TEST_PYTHON is not set (scripts/test sets it)");
        return;
    };
    let python = python.to_str().unwrap();
    let [candidate, control] =
        ["smol-candidate", "smol-control"].map(|it| Model::start(python, it));
    let model = |name: &str, provider: &str| {
        format!(
            "[models.{name}]\nprovider = \"{provider}\"\nid = \"smol-{name}\"\ncontext = 2048\nmax_tokens = 160\n"
        )
    };
    let task = |name: &str| {
        format!("[tasks.{name}]\ncandidate = [\"candidate\"]\ncontrol = [\"control\"]\n")
    };
    let catalog = format!(
        "[providers.a]\nbase_url = \"{}/v1\"\n[providers.b]\nbase_url = \"{}/v1\"\n{}{}{}{}{}",
        candidate.url,
        control.url,
        model("candidate", "a"),
        model("control", "b"),
        task("chat"),
        task("email-analysis"),
        task("email-draft"),
    );
    let app = TestApp::builder()
        .with_catalog(&catalog)
        .with_setting("OPENROUTER_ROLLOUT_PERCENTAGE", "50")
        .start()
        .await;
    let (mut found, mut refused) = (0, 0);
    // Users of both models.
    for user in 7..13 {
        let token = app.setup.token(user, Role::User).await;
        let call = async |name: &str, input: Value| {
            let method = format!("emailIntelligence.{name}");
            rpc(&app.http, &app.url, &token, &method, input)
                .await
                .unwrap()
        };
        let thread = json!({"threadId": "t"});
        let mail = json!({
            "threadId": "t", "from": "anna@firma.dk", "to": "mig@her.dk", "subject": "Regning",
            "body": "Vedhæftet er regningen for marts. Betal venligst inden fredag.",
        });
        for (name, kept, says) in [
            (
                "categorizeEmail",
                "getEmailCategory",
                "Failed to categorize email",
            ),
            (
                "scorePriority",
                "getEmailPriority",
                "Failed to score email priority",
            ),
            (
                "generateResponses",
                "getResponses",
                "Failed to generate response suggestions",
            ),
        ] {
            let answer = call(name, mail.clone()).await;
            let kept = call(kept, thread.clone()).await.unwrap();
            match answer {
                Ok(answer) => {
                    found += 1;
                    let is_whole = match name {
                        "categorizeEmail" => {
                            let sure = answer["confidence"].as_f64().unwrap();
                            CATEGORIES.contains(&answer["category"].as_str().unwrap())
                                && (0.0..=1.0).contains(&sure)
                                && kept["category"] == answer["category"]
                        }
                        "scorePriority" => {
                            let score = answer["score"].as_f64().unwrap();
                            (0.0..=100.0).contains(&score) && kept["level"] == answer["level"]
                        }
                        _ => {
                            let replies = answer.as_array().unwrap();
                            (1..=4).contains(&replies.len()) && kept[0]["id"].is_i64()
                        }
                    };
                    assert!(is_whole, "{name}: {answer} {kept}");
                }
                Err(error) => {
                    refused += 1;
                    assert_eq!(error["message"], says, "{error}");
                    assert!(error["data"]["details"]["kind"].is_string(), "{error}");
                    assert!(kept.is_null() || kept == json!([]), "{name} kept {kept}");
                }
            }
        }
    }
    println!("{found} found, {refused} refused");
    let breakdown = app.call("aiMetrics.getModelBreakdown", Value::Null).await;
    let models = breakdown.unwrap()["models"].clone();
    for name in ["candidate", "control"] {
        assert!(models[name]["requests"].as_u64() >= Some(3), "{models}");
    }
}
