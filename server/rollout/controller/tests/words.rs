//! The alerts of a rollout, whole: as whoever is woken at night reads it.
//!
//! After a text was changed on purpose, `UPDATE_EXPECT=1 cargo test --lib words` writes the files anew:
//! read the difference as those who are woken would.

use std::fmt::Write;

use expect_test::expect_file;

use super::{outages::World, *};

/// The alerts that were sent, in their order.
fn alerts(rig: &Rig) -> String {
    let mut text = String::new();
    for alert in &rig.store.0.lock().alerts {
        let (severity, title) = (alert.severity.name(), &alert.title);
        let _ = write!(text, "\n### {severity}: {title}\n\n{}\n", alert.text);
    }
    text
}

/// What was done, by whom and why.
fn audit(rig: &Rig) -> String {
    let mut text = String::from("\nThe audit:\n\n");
    for row in &rig.store.0.lock().audit {
        let (action, actor, reason) = (row.action.name(), row.actor.to_string(), &row.reason);
        let _ = writeln!(text, "- {action} by {actor}: {reason}");
    }
    text
}

/// A heading, the alerts, the audit and the report of one rollout.
async fn told(title: &str, rig: &Rig, id: &str) -> String {
    let report = rig.controller.archive();
    let report = report.report(id, rig.controller.world.now().wall).await;
    let report = report.expect("a report").replace("\n#", "\n###");
    let (alerts, audit) = (alerts(rig), audit(rig));
    format!("## {title}\n{alerts}{audit}\n\nIts report:\n\n##{report}\n")
}

#[tokio::test]
async fn a_rollout_that_ends_well_is_told_in_these_words() {
    let rig = Rig::new().await;
    let id = rig.started().await.id;
    rig.until(&id, GATE).await;
    let version = rig.status(&id).await.version;
    let approved = rig.controller.apply(approval(&id, version)).await;
    approved.expect("approved");
    rig.until(&id, RunState::Completed).await;
    expect_file!["words/completed.md"].assert_eq(&told("It ends well", &rig, &id).await);
}

#[tokio::test]
async fn one_that_is_taken_back_is_told_in_these_words() {
    let rig = Rig::new().await;
    let id = rig.started().await.id;
    rig.second(200, |_| false).await;
    for _ in 0..60 {
        let number = Mutex::new(0);
        let one_of_two = |variant| {
            *number.lock() += usize::from(variant == Variant::Candidate);
            variant == Variant::Candidate && number.lock().is_multiple_of(2)
        };
        rig.second(60, one_of_two).await;
        if rig.serves() == 0.0 {
            break;
        }
    }
    assert_eq!(rig.status(&id).await.state, RunState::RolledBack);
    expect_file!["words/taken-back.md"].assert_eq(&told("It is taken back", &rig, &id).await);
}

#[tokio::test]
async fn one_whose_candidate_goes_away_five_times_is_told_in_these_words() {
    let world = World::held_for_the_last_time().await;
    world.seconds(100, Some(true)).await;
    assert_eq!(world.status().await.state, RunState::Running);
    assert_eq!(world.fail().await, RunState::RolledBack);
    let text = told("Its candidate goes away five times", &world.rig, &world.id).await;
    expect_file!["words/outages.md"].assert_eq(&text);
}

#[tokio::test]
async fn one_that_nobody_asks_or_that_fails_on_both_sides_is_told_in_these_words() {
    let rig = Rig::new().await;
    let id = rig.started().await.id;
    rig.second(200, |_| false).await;
    for _ in 0..10 {
        rig.second(40, |_| true).await;
    }
    for _ in 0..90 {
        rig.second(0, |_| false).await;
    }
    expect_file!["words/failing.md"].assert_eq(&told("Nobody is answered", &rig, &id).await);
}
