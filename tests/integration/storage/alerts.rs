//! The outbox: which channel has had which alert.

use modelramp::alerting::Outbox;

use super::{at, database::Database, rollouts::alert};

on_both!(
    each_channel_is_tracked_alone,
    old_alerts_are_not_sent_to_a_new_channel,
    a_newer_release_may_give_a_delivery_what_an_alert_has,
);

async fn each_channel_is_tracked_alone(database: Database) {
    let storage = &database.storage;
    for (id, seconds) in [("b", 2), ("a", 1), ("c", 3)] {
        storage.enqueue(&alert(id, seconds)).await.unwrap();
        storage.enqueue(&alert(id, seconds)).await.unwrap();
    }
    let channels = ["mail".to_owned(), "slack".to_owned()];
    let due = async |seconds, limit| -> Vec<String> {
        let due = storage.due(&channels, at(seconds), limit).await.unwrap();
        due.iter()
            .map(|pending| {
                format!(
                    "{} {} {}",
                    pending.alert.id, pending.channel, pending.attempts
                )
            })
            .collect()
    };
    assert_eq!(due(9, 3).await, ["a mail 0", "a slack 0", "b mail 0"]);

    storage
        .failed("a", "mail", "no route", at(60))
        .await
        .unwrap();
    storage.delivered("a", "slack", at(9)).await.unwrap();
    storage.delivered("b", "mail", at(9)).await.unwrap();
    // It was delivered; a late failure of another try does not undo that.
    storage.failed("b", "mail", "late", at(10)).await.unwrap();
    assert_eq!(due(59, 9).await, ["b slack 0", "c mail 0", "c slack 0"]);
    assert_eq!(due(60, 1).await, ["a mail 1"]);
    storage
        .failed("a", "mail", "no route", at(90))
        .await
        .unwrap();
    assert_eq!(due(90, 1).await, ["a mail 2"]);
    // No pause is longer than an hour: the clock was set back.
    assert_eq!(due(90 - 3_600, 1).await, ["b slack 0"]);
    assert_eq!(due(89 - 3_600, 1).await, ["a mail 2"]);
    storage.delivered("a", "mail", at(91)).await.unwrap();
    assert_eq!(due(999, 9).await, ["b slack 0", "c mail 0", "c slack 0"]);
    assert!(storage.due(&[], at(999), 9).await.unwrap().is_empty());
}

async fn old_alerts_are_not_sent_to_a_new_channel(database: Database) {
    const DAY: i64 = 86_400;
    let storage = &database.storage;
    storage.enqueue(&alert("old", 0)).await.unwrap();
    storage.enqueue(&alert("recent", DAY)).await.unwrap();
    let due = storage.due(&["new".into()], at(8 * DAY), 9).await.unwrap();
    assert_eq!(due.len(), 1);
    assert_eq!(due[0].alert.id, "recent");
}

async fn a_newer_release_may_give_a_delivery_what_an_alert_has(database: Database) {
    let storage = &database.storage;
    storage.enqueue(&alert("a", 0)).await.unwrap();
    for column in [
        "id",
        "at_ms",
        "kind",
        "severity",
        "rollout_id",
        "title",
        "body",
        "details",
    ] {
        let add = format!("ALTER TABLE alert_deliveries ADD COLUMN {column} TEXT");
        database.execute(&add).await.unwrap();
    }
    let due = storage.due(&["mail".to_owned()], at(1), 9).await.unwrap();
    assert_eq!(due.len(), 1);
}
