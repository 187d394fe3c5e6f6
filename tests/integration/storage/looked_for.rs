//! What the dashboard looks for: that looking ends, finds what it should, and can be asked anything.

use std::collections::BTreeMap;

use chrono::DateTime;
use modelramp::{
    _core::{
        actor::Actor,
        auth::{Session, UserStore},
        caller::Role,
    },
    alerting::sent::{AlertLog, AlertPlace},
    dashboard::{
        audit::{AuditFilter, AuditPlace, AuditStore, AuditSubject},
        requests::{RequestFilter, RequestPlace, RequestStore},
        series::{By, ChartPart, SeriesStore},
        users::UserLookup,
    },
    keys::ApiKeyStore,
    recording::Event,
    rollout::{samples::SampleStore, store::RolloutStore},
};

use super::{at, database::Database, events::event};
use crate::support::log::append;

on_both!(
    a_look_passes_so_many_attempts_and_says_how_far_it_got,
    an_attempt_is_in_its_hour_or_not_counted_yet,
    any_text_can_be_looked_for,
    users_are_found_whatever_the_case_of_their_letters,
    roles_sessions_and_settings_are_in_the_audit,
    replicas_that_start_in_turn_fill_no_audit,
    the_audit_is_paged_by_the_order_of_its_ids,
);

const BY: &Actor = &Actor::CommandLine;

fn numbered(n: i64) -> Event {
    Event {
        request_id: format!("r{n:03}").into(),
        user_id: Some(n % 3),
        ..event(n * 1_000)
    }
}

async fn a_look_passes_so_many_attempts_and_says_how_far_it_got(database: Database) {
    let storage = &database.storage;
    let events: Vec<_> = (0..100).map(numbered).collect();
    append(storage, &events).await.unwrap();
    let oldest = RequestFilter {
        to_ms: Some(1_000),
        ..RequestFilter::default()
    };
    let none = RequestFilter {
        task: Some("none".into()),
        ..RequestFilter::default()
    };
    let looked = storage.places(&none, None, 5, 30).await.unwrap();
    assert_eq!((looked.found.len(), looked.floor_ms), (0, Some(69_000)));
    let from_there = RequestPlace {
        at_ms: 69_000,
        request_id: String::new(),
    };
    let looked = storage.places(&none, Some(&from_there), 5, 30).await;
    assert_eq!(looked.unwrap().floor_ms, Some(38_000));
    // Where little is left, all of it is looked at.
    let looked = storage.places(&oldest, None, 5, 30).await.unwrap();
    assert_eq!((looked.found.len(), looked.floor_ms), (1, None));
    for (most, passing, expected) in [(200, 200, (100, true)), (50, 200, (50, false))] {
        let all = RequestFilter::default();
        let count = storage.count(&all, most, passing).await.unwrap();
        assert_eq!((count.found, count.is_exact), expected);
    }
    let count = storage.count(&none, 200, 30).await.unwrap();
    assert_eq!((count.found, count.is_exact), (0, false));
}

async fn an_attempt_is_in_its_hour_or_not_counted_yet(database: Database) {
    const HOUR_MS: i64 = 3_600_000;
    let storage = &database.storage;
    let all = RequestFilter {
        from_ms: Some(0),
        to_ms: Some(10 * HOUR_MS),
        ..RequestFilter::default()
    };
    let parts = async |most| {
        let (mut hours, mut single) = (0, 0);
        let mut take = |part| match part {
            ChartPart::Attempt(_) => single += 1,
            ChartPart::Hour(hour) => hours += hour.attempts,
        };
        let is_all = storage.hours_of(&all, By::Model, most, &mut take).await;
        (hours, single, is_all.unwrap())
    };
    // Ten an hour, of which nothing is counted yet.
    let events = |from: i64| (from..from + 40).map(|n| event(n * HOUR_MS / 10));
    append(storage, &events(0).collect::<Vec<_>>())
        .await
        .unwrap();
    assert_eq!(parts(1_000).await, (0, 40, true));
    assert_eq!(storage.count_by_hour().await.unwrap(), 40);
    assert_eq!(parts(1_000).await, (40, 0, true));
    append(storage, &events(35).collect::<Vec<_>>())
        .await
        .unwrap();
    assert_eq!(parts(1_000).await, (40, 40, true));
    assert_eq!(parts(39).await, (40, 39, false), "more than may be read");
    assert_eq!(storage.count_by_hour().await.unwrap(), 40);
    assert_eq!(parts(1_000).await, (80, 0, true));
    assert!(storage.has_more(0, 10 * HOUR_MS, 79).await.unwrap());
    assert!(!storage.has_more(0, 10 * HOUR_MS, 80).await.unwrap());
}

async fn any_text_can_be_looked_for(database: Database) {
    const ODD: &str = "a\0'; DROP TABLE users; --";
    let storage = &database.storage;
    let text = || Some(ODD.to_owned());
    let filter = RequestFilter {
        models: Some(vec![ODD.into()]),
        task: text(),
        rollout: text(),
        ..RequestFilter::default()
    };
    let place = RequestPlace {
        at_ms: 5,
        request_id: ODD.into(),
    };
    let found = storage.places(&filter, Some(&place), 5, 5).await.unwrap();
    assert_eq!(found.found, []);
    let mut none = |_| panic!("nothing is there");
    assert!(
        (storage.attempts_of(&filter, By::Task, 5, &mut none))
            .await
            .unwrap()
    );
    assert!(
        (storage.hours_of(&filter, By::Task, 5, &mut none))
            .await
            .unwrap()
    );
    assert_eq!(storage.attempts(&[ODD.into()]).await.unwrap().len(), 0);
    let changes = AuditFilter {
        subjects: AuditSubject::ALL.to_vec(),
        subject_id: text(),
        actor: text(),
        ..AuditFilter::default()
    };
    let before = AuditPlace {
        at_ms: 5,
        id: ODD.into(),
    };
    let changes = storage.changes(&changes, Some(&before), 5).await;
    assert_eq!(changes.unwrap(), []);
    let before = AlertPlace {
        at_ms: 5,
        id: ODD.into(),
    };
    assert!(
        storage
            .newest(None, Some(&before), 5)
            .await
            .unwrap()
            .is_empty()
    );
    assert_eq!(storage.look_up(ODD, 5).await.unwrap(), []);
    assert!(storage.rollout(ODD).await.unwrap().is_none());
    assert!(storage.audit(ODD).await.unwrap().is_empty());
    assert!(storage.events_of(ODD, 0, 5).await.unwrap().is_empty());
    let samples = storage.samples(ODD, DateTime::UNIX_EPOCH, at(0)).await;
    assert!(samples.unwrap().is_empty());
    assert!(!storage.revoke_key(ODD, BY, at(0)).await.unwrap());
    assert!(
        !storage
            .limit_key(ODD, &Default::default(), BY, at(0))
            .await
            .unwrap()
    );
}

async fn users_are_found_whatever_the_case_of_their_letters(database: Database) {
    let storage = &database.storage;
    for (open_id, name) in [
        ("a", "Åse Ærø"),
        ("b", "åse"),
        ("c", "ÉLODIE"),
        ("d", "50 %_x"),
    ] {
        let session = Session::of(open_id, name);
        storage.user_of_session(&session, at(0)).await.unwrap();
    }
    for (text, expected) in [
        ("åse", &[1, 2][..]),
        ("ÅSE", &[1, 2]),
        ("åse æ", &[1]),
        ("élo", &[3]),
        ("É", &[3]),
        ("50 %_", &[4]),
        ("50 %%", &[]),
        ("2", &[2]),
    ] {
        let found = storage.look_up(text, 10).await.unwrap();
        let ids: Vec<_> = found.iter().map(|user| user.id).collect();
        assert_eq!(ids, expected, "{text}");
    }
}

/// The world: two replicas with another setting each, which are started in turn for months.
async fn replicas_that_start_in_turn_fill_no_audit(database: Database) {
    let storage = &database.storage;
    let of = |level: &str| BTreeMap::from([("LOG_LEVEL", level.to_owned()), ("HOST", "::".into())]);
    let mut noted = 0;
    for start in 0..60 {
        let level = if start % 2 == 0 { "info" } else { "debug" };
        noted += storage.note_settings(&of(level), at(start)).await.unwrap();
    }
    assert_eq!(noted, 10 + 1, "ten of the one, and the first of the other");
    // The next day says it again.
    let later = at(2 * 86_400);
    assert_eq!(storage.note_settings(&of("warn"), later).await.unwrap(), 1);
    assert_eq!(storage.note_settings(&of("warn"), later).await.unwrap(), 0);
}

async fn roles_sessions_and_settings_are_in_the_audit(database: Database) {
    let storage = &database.storage;
    storage
        .ensure_local_user(7, Role::User, at(0))
        .await
        .unwrap();
    storage
        .ensure_local_user(8, Role::Admin, at(1))
        .await
        .unwrap();
    storage.set_role(7, Role::Viewer, at(2)).await.unwrap();
    storage.set_role(7, Role::Viewer, at(3)).await.unwrap();
    storage.end_sessions(7, at(4)).await.unwrap();
    storage.end_sessions_of(8, at(5)).await.unwrap();
    storage
        .forget_user(7, &Actor::CommandLine, at(6))
        .await
        .unwrap();
    let settings = |pairs: &[(&'static str, &str)]| -> BTreeMap<_, _> {
        pairs
            .iter()
            .map(|(name, value)| (*name, (*value).to_owned()))
            .collect()
    };
    let (first, second) = (
        settings(&[("PORT", "3000"), ("JWT_SECRET", "(set)")]),
        settings(&[("PORT", "4000")]),
    );
    assert_eq!(storage.note_settings(&first, at(7)).await.unwrap(), 2);
    assert_eq!(storage.note_settings(&first, at(8)).await.unwrap(), 0);
    assert_eq!(storage.note_settings(&second, at(9)).await.unwrap(), 2);
    assert_eq!(storage.note_settings(&second, at(10)).await.unwrap(), 0);
    let filter = AuditFilter {
        subjects: vec![
            AuditSubject::Users,
            AuditSubject::Sessions,
            AuditSubject::Settings,
        ],
        ..AuditFilter::default()
    };
    let changes = storage.changes(&filter, None, 50).await.unwrap();
    let told = changes.iter().rev().map(|it| {
        let id = it.subject_id.as_deref().unwrap_or("-");
        let actor = it
            .actor
            .as_ref()
            .map(ToString::to_string)
            .unwrap_or_default();
        format!(
            "{actor} {} {id} {} {}",
            it.action,
            json_text(it.before.as_ref()),
            json_text(it.after.as_ref())
        )
    });
    assert_eq!(
        told.collect::<Vec<_>>(),
        [
            r#"command-line role-set 8 - {"role":"admin"}"#,
            r#"command-line role-set 7 {"role":"user"} {"role":"viewer"}"#,
            "command-line ended 7 - -",
            "user:8 ended 8 - -",
            r#"command-line deleted 7 {"role":"viewer"} -"#,
            r#"settings set JWT_SECRET - "(set)""#,
            r#"settings set PORT - "3000""#,
            r#"settings left-out JWT_SECRET "(set)" -"#,
            r#"settings set PORT "3000" "4000""#,
        ]
    );
    let newest = storage.newest_ms().await.unwrap();
    assert_eq!(newest, Some(at(9).timestamp_millis()));
}

async fn the_audit_is_paged_by_the_order_of_its_ids(database: Database) {
    let storage = &database.storage;
    // All at one moment, of several subjects: what a database orders by language would come twice or never.
    for id in 1..=20 {
        storage
            .ensure_local_user(id, Role::Admin, at(0))
            .await
            .unwrap();
        storage.end_sessions(id, at(0)).await.unwrap();
    }
    let names = ["A", "B", "a", "b", "_", "Z_", "z-"];
    let settings: BTreeMap<_, _> = names.iter().map(|it| (*it, "x".to_owned())).collect();
    storage.note_settings(&settings, at(0)).await.unwrap();
    let filter = AuditFilter {
        subjects: AuditSubject::ALL.to_vec(),
        ..AuditFilter::default()
    };
    let all = storage.changes(&filter, None, 100).await.unwrap();
    assert_eq!(all.len(), 47);
    let (mut paged, mut before) = (Vec::new(), None);
    loop {
        let page = storage.changes(&filter, before.as_ref(), 3).await.unwrap();
        let Some(last) = page.last() else { break };
        before = Some(AuditPlace {
            at_ms: last.at.timestamp_millis(),
            id: last.id.clone(),
        });
        paged.extend(page);
    }
    assert_eq!(paged, all);
}

fn json_text(value: Option<&impl serde::Serialize>) -> String {
    value.map_or("-".to_owned(), |it| serde_json::to_string(it).unwrap())
}
