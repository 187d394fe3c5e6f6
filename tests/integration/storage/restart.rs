//! What the windows of `ai_metrics` show after a restart, when old events have been deleted.

use std::sync::Arc;

use chrono::{DateTime, TimeDelta, Utc};
use modelramp::{
    _core::{
        assignment::Variant, caller::Role, context::Context, procedure::Input, units::Microdollars,
    },
    ai_metrics::{AiMetrics, window::Minutes},
    app::{App, filling::Filling},
    providers::fault::FaultKind,
    recording::{Event, Log, Outcome},
};
use serde_json::{Value, json};

use super::{database::Database, events::event};
use crate::support::{
    app::{TestApp, TestAppBuilder},
    calls,
    log::{append, taken},
};

on_both!(windows_are_the_same_after_a_restart);

const MINUTE_MS: i64 = 60_000;
/// The least that `EVENT_RETENTION` allows.
const SHORTEST_RETENTION: TimeDelta = TimeDelta::days(8);
/// Of two models, over nine days; enough to be counted rather than kept one by one.
const EVENTS: i64 = 30_000;

fn time(at_ms: i64) -> DateTime<Utc> {
    DateTime::from_timestamp_millis(at_ms).unwrap()
}

/// Nine days up to this time. Each minute at which a window of a week could start holds some.
fn events(now_ms: i64) -> impl Iterator<Item = Event> {
    let week = TimeDelta::days(7).num_milliseconds();
    let begin = now_ms - TimeDelta::days(9).num_milliseconds();
    let step = (now_ms - begin) / EVENTS;
    let edge = (-120..120).map(move |second| now_ms - week + second * 1_000);
    let times = (0..EVENTS).map(move |i| begin + i * step).chain(edge);
    times.enumerate().map(|(i, at_ms)| {
        let latency_ms = 5.0 + (i * 7_919 % 30_011) as f64 / 7.0;
        Event {
            model: ["glm", "gpt-oss"][i % 2].into(),
            variant: [Variant::Control, Variant::Candidate][i / 2 % 2],
            latency_ms,
            first_token_ms: (i % 3 == 0).then_some(latency_ms / 4.0),
            prompt_tokens: i as u32 % 4_000,
            cost: Microdollars(i as i64 % 97),
            outcome: match i % 50 {
                0 => Outcome::Fault(FaultKind::Upstream),
                1 => Outcome::Cancelled,
                _ => Outcome::Success,
            },
            ..event(at_ms)
        }
    })
}

fn compare(before: &AiMetrics, after: &AiMetrics, now: DateTime<Utc>) {
    for minutes in [1.0, 60.0, 61.5, 1_440.0, 10_079.25, 10_080.0] {
        let minutes = Minutes::try_from(minutes).unwrap();
        let (before, after) = (before.window(minutes, now), after.window(minutes, now));
        assert_eq!(before.models, after.models, "{minutes:?}");
        assert!(before == after, "latencies of {minutes:?}");
    }
}

async fn windows_are_the_same_after_a_restart(database: Database) {
    let storage = &database.storage;
    // On no edge of anything.
    let now = time(1_762_637_425_678);
    assert_ne!(now.timestamp_millis() % MINUTE_MS, 0);
    let log = Arc::new(Log::default());
    let before = AiMetrics::over(log.clone());
    events(now.timestamp_millis()).for_each(|event| before.record(event));
    append(storage, &taken(&log)).await.unwrap();
    let upkeep = storage.prune(SHORTEST_RETENTION, now).await.unwrap();
    assert!(upkeep.deleted > 0);

    let log = Arc::new(Log::default());
    let after = Arc::new(AiMetrics::over(log.clone()));
    let filling = Filling::prepare(storage, &after, now).await.unwrap();
    assert!(filling.trouble().is_some());
    // What this process stores meanwhile counts once.
    for event in events(now.timestamp_millis()).skip(29_900) {
        before.record(event.clone());
        after.record(event);
    }
    append(storage, &taken(&log)).await.unwrap();
    filling.clone().run(std::future::pending()).await;
    assert_eq!(filling.trouble(), None);
    compare(&before, &after, now);
}

/// Whose events stay this long.
fn keeping(retention: &str) -> TestAppBuilder {
    TestApp::builder().with_setting("EVENT_RETENTION", retention)
}

/// A query's answer about the last seven days.
async fn ask(app: &App, name: &str, now: DateTime<Utc>) -> Value {
    let context = Context::new(calls::user(7, Role::User), now);
    let input = Input::Json(json!({"lastMinutes": 10_080}));
    let path = format!("aiMetrics.{name}");
    let answer = calls::call(&app.registry, context, &path, input);
    answer.await.unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[expect(clippy::disallowed_methods, reason = "an application starts now")]
async fn a_restarted_application_answers_as_before() {
    let setup = keeping("8d");
    let before = setup.build().await;
    events(Utc::now().timestamp_millis()).for_each(|event| before.areas.metrics.record(event));
    assert!(
        before.areas.controller.tick().await,
        "the events were not stored"
    );
    let retention = TimeDelta::from_std(before.config.database.event_retention).unwrap();
    let upkeep = before
        .areas
        .storage
        .prune(retention, Utc::now())
        .await
        .unwrap();
    assert!(upkeep.deleted > 0);
    before.areas.storage.close().await;

    let after = setup.build().await;
    after.areas.filling.whole().await;
    let now = Utc::now();
    compare(&before.areas.metrics, &after.areas.metrics, now);
    for name in ["getSummary", "getModelBreakdown"] {
        let answer = ask(&after, name, now).await;
        assert_eq!(ask(&before, name, now).await, answer, "{name}");
    }
    assert!(
        after
            .areas
            .metrics
            .summary(Minutes::WEEK, now)
            .total_requests
            > 20_000
    );
    after.areas.storage.close().await;
}

/// Windows are filled from single events, so none may be missing from the longest one.
#[test]
fn events_stay_longer_than_the_longest_window() {
    let minutes = format!("{}m", Minutes::WEEK.get());
    for too_short in [minutes.as_str(), "191h"] {
        let refused = keeping(too_short).try_config().unwrap_err().to_string();
        assert!(refused.contains("EVENT_RETENTION"), "{refused}");
    }
    assert!(keeping("8d").try_config().is_ok());
}
