//! A process that has something otherwise than the others.

use serde_json::json;

use super::Fleet;
use crate::support::wait::PATIENCE;

#[tokio::test(flavor = "multi_thread")]
async fn whoever_has_other_settings_is_named_and_one_with_another_salt_does_not_serve() {
    let Some(mut fleet) = Fleet::of(1).await else {
        return;
    };
    let salted = (fleet.setup.clone())
        .with_setting("ASSIGNMENT_SALT", "another")
        .with_setting("OPENROUTER_ROLLOUT_PERCENTAGE", "87");
    let mut serve = salted.command(&["serve"]);
    let refused = tokio::time::timeout(PATIENCE, serve.output()).await;
    let refused = refused.expect("it does not serve").unwrap();
    assert!(!refused.status.success());
    let said = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert!(
        said.contains("has another ASSIGNMENT_SALT, OPENROUTER_ROLLOUT_PERCENTAGE than"),
        "{said}"
    );
    let by_settings = "SELECT COUNT(*) FROM flag_audit WHERE actor = 'settings'";
    let changed = fleet.number(by_settings).await;
    assert_eq!(changed, 0, "nor does it move the share of those that serve");

    let limited = fleet.setup.clone().with_setting("CHAT_RATE_LIMIT", "7");
    fleet.replicas.push(limited.spawn().await);
    let said = fleet
        .says(0, |it| {
            it["replicas"].as_array().is_some_and(|it| it.len() == 2)
        })
        .await;
    let differing = |replica: usize| {
        let url = fleet.replicas[replica].url.clone();
        let replicas = said["replicas"].as_array().unwrap().iter();
        let port = url.rsplit(':').next().unwrap().to_owned();
        let mut replicas = replicas.filter(move |it| it["name"].as_str().unwrap().ends_with(&port));
        replicas.next().unwrap()["differing"].clone()
    };
    assert_eq!(
        (differing(0), differing(1), &said["agree"]),
        (json!([]), json!(["CHAT_RATE_LIMIT"]), &json!(false))
    );
    let mut command = fleet
        .setup
        .command(&["fleet", "--url", &fleet.replicas[0].url]);
    command.env("MODELRAMP_TOKEN", &fleet.replicas[0].admin);
    let shown = command.output().await.unwrap();
    let shown = String::from_utf8_lossy(&shown.stdout).into_owned();
    assert!(shown.contains("2 live and DO NOT AGREE"), "{shown}");
    assert!(shown.contains("HAS ANOTHER CHAT_RATE_LIMIT"), "{shown}");
}
