//! What a start says: which models, and whom it moves.

use super::*;

const ALL: &str = r#"
name = "all"
tasks = ["chat"]
control = ["trusty"]
candidate = ["shiny", "trusty"]
[evidence]
good_error_rate = 0.2
[[stages]]
share = 100
soak = "2s"
min_requests = 20
min_users = 5
min_time = "1s"
"#;

#[tokio::test]
async fn a_start_that_takes_users_back_has_to_be_meant() {
    let rig = Rig::new().await;
    rig.controller.tick().await;
    let start = async |plan: &str, take_back: bool| {
        let wishes = Wishes {
            take_back,
            ..Wishes::default()
        };
        let started = rig.controller.start(plan, "try it", &USER, wishes);
        started.await
    };
    let (status, moves) = start(ALL, false).await.expect("nobody has anything yet");
    assert_eq!(
        moves.words,
        ["100 % of users move from `trusty` to `shiny`"]
    );
    assert_eq!(
        status.models_in_words(),
        "control trusty; candidate shiny, then trusty"
    );
    rig.until(&status.id, RunState::Completed).await;

    let quarter = ALL.replace("share = 100", "share = 25");
    let refused = start(&quarter, false)
        .await
        .expect_err("75 % would lose it");
    let ControlError::TakesBack { moves } = refused else {
        panic!("{refused}");
    };
    assert_eq!(moves.taken_back, 75.0);
    assert_eq!(
        moves.words,
        ["75 % of users are taken back from `shiny` to `trusty`"]
    );
    // Where the candidate has become the control, nobody loses anything.
    let onwards = quarter
        .replace("[\"trusty\"]", "[\"shiny\"]")
        .replace("[\"shiny\", \"trusty\"]", "[\"glossy\"]");
    let (onwards, moves) = start(&onwards, false).await.expect("no way back");
    assert_eq!(moves.words, ["25 % of users move from `shiny` to `glossy`"]);
    rig.second(0, |_| false).await;

    let version = onwards.version;
    let ended = rig.steer(&onwards.id, version, "enough", CommandKind::RollBack);
    ended.await.expect("rolled back");
    let (heir, _) = start(&quarter, true).await.expect("it is meant");
    let late = rig.steer(&onwards.id, version + 1, "so", CommandKind::Release);
    match late.await.expect_err("it decides nothing") {
        ControlError::Refused { why, .. } => assert!(why.contains(&heir.id), "{why}"),
        other => panic!("{other}"),
    }
    let why = rig
        .controller
        .archive()
        .why(&onwards.id)
        .await
        .expect("a history");
    for words in [
        "\nModels: control shiny; candidate glossy.",
        "from `shiny` to `glossy`",
    ] {
        assert!(why[0].text.contains(words), "{}", why[0].text);
    }
    let alert = rig.store.0.lock().alerts.last().cloned().expect("an alert");
    assert!(alert.text.contains("candidate glossy"), "{}", alert.text);
}

#[tokio::test]
async fn the_beginning_of_an_id_is_enough_where_no_other_begins_so() {
    let rig = Rig::new().await;
    let id = rig.started().await.id;
    let other = FAST.replace("\"chat\"", "\"email-draft\"");
    rig.clock.pass(86_400_000);
    let wishes = Wishes::default();
    let second = rig.controller.start(&other, "too", &USER, wishes).await;
    let second = second.expect("a rollout").0.id;
    let common = id.bytes().zip(second.bytes());
    let common = common.take_while(|(a, b)| a == b).count();
    let ambiguous = rig.controller.get(&id[..common]).await;
    assert!(matches!(ambiguous, Err(ControlError::Ambiguous { .. })));
    let beginning = &id[..=common];
    let capitals = beginning.to_uppercase();
    for given in [beginning, &capitals, &id.to_uppercase()] {
        let got = rig.controller.get(given).await.expect("one");
        assert_eq!(got.status.id, id);
    }
    let got = rig.controller.get(beginning).await.expect("one");
    let paused = rig.steer(beginning, got.status.version, "wait", CommandKind::Pause);
    assert_eq!(paused.await.expect("paused").id, id);
    let nobody = rig.controller.get("ffff").await;
    assert!(matches!(nobody, Err(ControlError::UnknownRollout { .. })));
}
