//! Alerts from the outbox to real receivers on loopback: what arrives, how often, under which id,
//! and what happens to those that do not take it. Backoff and escalation as such are unit tests.

mod channels;
mod outbox;
mod receivers;
mod smtp;
mod snippets;
#[expect(unreachable_pub, reason = "it stands in the documentation as it is")]
mod verify;

use std::{sync::Arc, time::Duration};

use chrono::{DateTime, TimeDelta, Utc};
use modelramp::{
    alerting::{Alert, AlertKind, Dispatcher, Lane, Outbox, Severity},
    config::{AlertsConfig, ChannelName, EmailConfig, PagerDutyConfig, WebhookConfig},
};
use rand::{SeedableRng, rngs::StdRng};
use serde_json::json;
use tokio::net::TcpListener;

use self::{
    outbox::{Marking, MemoryOutbox},
    receivers::{
        Answer, ROUTING_KEY, Receiver, SIGNING_SECRET, SLACK_PATH, pagerduty, signed, slack,
    },
};

/// No channel at all.
fn no_channels() -> AlertsConfig {
    AlertsConfig {
        slack: None,
        email: None,
        webhook: None,
        pagerduty: None,
        info_channels: ChannelName::ALL.to_vec(),
        escalate_after: Duration::from_secs(30 * 60),
    }
}

fn to_webhook(origin: &str) -> AlertsConfig {
    AlertsConfig {
        webhook: Some(WebhookConfig {
            url: format!("{origin}/hook?key=webhook-secret").into(),
            secret: SIGNING_SECRET.into(),
        }),
        ..no_channels()
    }
}

fn to_slack(origin: &str) -> AlertsConfig {
    AlertsConfig {
        slack: Some(format!("{origin}{SLACK_PATH}").into()),
        ..no_channels()
    }
}

fn to_pagerduty(origin: &str) -> AlertsConfig {
    AlertsConfig {
        pagerduty: Some(PagerDutyConfig {
            routing_key: ROUTING_KEY.into(),
            url: origin.into(),
        }),
        ..no_channels()
    }
}

fn by_email(smtp_url: &str) -> AlertsConfig {
    AlertsConfig {
        email: Some(EmailConfig {
            smtp_url: smtp_url.into(),
            from: "modelramp <ramp@example.com>".parse().unwrap(),
            to: "me@example.com, On Call <oncall@example.org>"
                .parse()
                .unwrap(),
        }),
        ..no_channels()
    }
}

/// The receivers compare with the real clock.
#[expect(clippy::disallowed_methods, reason = "the edge of a test is its start")]
fn now() -> DateTime<Utc> {
    DateTime::from_timestamp_millis(Utc::now().timestamp_millis()).unwrap()
}

fn alert(id: &str, kind: AlertKind, severity: Severity, at: DateTime<Utc>) -> Alert {
    Alert {
        id: id.into(),
        kind,
        severity,
        rollout_id: Some("rollout-1".into()),
        title: "Rollback: chat <b> æøå".into(),
        text: "The candidate failed 9 of 40 requests.\nControl failed 1 of 360.".into(),
        details: json!({"e": 137.5, "share": 10, "task": "chat", "nested": {"a": [1]}}),
        at,
    }
}

fn rollback(id: &str) -> Alert {
    alert(id, AlertKind::RolledBack, Severity::Critical, now())
}

/// The only channel's lane, and what it needs to run.
struct Bench {
    outbox: Arc<MemoryOutbox>,
    lane: Lane,
    random: StdRng,
    now: DateTime<Utc>,
}

impl Bench {
    fn new(config: &AlertsConfig, alerts: &[Alert]) -> Self {
        Self::on(config, MemoryOutbox::with(alerts))
    }

    fn on(config: &AlertsConfig, outbox: Arc<MemoryOutbox>) -> Self {
        let dispatcher = Dispatcher::new(outbox.clone(), config).unwrap();
        Self {
            outbox,
            lane: dispatcher.lanes().pop().unwrap(),
            random: StdRng::seed_from_u64(1),
            now: now(),
        }
    }

    /// All turns that follow each other at once.
    async fn turn(&mut self) {
        let now = self.now;
        while self.lane.turn(|| now, &mut self.random).await {}
    }

    async fn turn_after(&mut self, seconds: i64) {
        self.now += TimeDelta::seconds(seconds);
        self.turn().await;
    }
}

#[tokio::test]
async fn what_is_delivered_is_not_delivered_again() {
    let receiver = Receiver::start(signed, &[]).await;
    let alerts = [rollback("a"), rollback("b")];
    let mut bench = Bench::new(&to_webhook(&receiver.origin), &alerts);
    for _ in 0..3 {
        bench.turn().await;
    }
    let received = receiver.received();
    let ids: Vec<_> = received.iter().map(|r| r.json()["id"].clone()).collect();
    assert_eq!(ids, ["a", "b"], "the oldest first, each once");
    let delivery = bench.outbox.delivery("a", "webhook");
    assert_eq!(
        (delivery.delivered_at, delivery.attempts),
        (Some(bench.now), 0)
    );
}

#[tokio::test]
async fn a_server_error_is_tried_again_under_the_same_id() {
    let errors = [Answer(500, vec![]), Answer(503, vec![])];
    let receiver = Receiver::start(signed, &errors).await;
    let mut bench = Bench::new(&to_webhook(&receiver.origin), &[rollback("a")]);
    bench.turn().await;
    let first = bench.outbox.delivery("a", "webhook");
    let error = first.error.as_deref();
    assert_eq!(error, Some("the receiver answered 500 `answered_so`"));
    let pause = first.retry_at.unwrap() - bench.now;
    assert!(pause >= TimeDelta::zero() && pause <= TimeDelta::seconds(2));

    bench.turn_after(2).await;
    let second = bench.outbox.delivery("a", "webhook");
    assert_eq!(second.attempts, 2);
    assert!(second.retry_at.unwrap() - bench.now <= TimeDelta::seconds(4));

    bench.turn_after(4).await;
    let ids = receiver.received();
    let ids: Vec<_> = ids
        .iter()
        .map(|r| r.headers["x-modelramp-alert-id"].clone())
        .collect();
    assert_eq!(ids, ["a", "a", "a"]);
    assert_eq!(
        bench.outbox.delivery("a", "webhook").delivered_at,
        Some(bench.now)
    );
}

/// A machine that was a day ahead, until its clock was set.
#[tokio::test]
async fn a_clock_that_is_set_back_silences_no_channel() {
    let busy = Answer(429, vec![("retry-after", "60")]);
    let receiver = Receiver::start(slack, &[busy]).await;
    let mut bench = Bench::new(&to_slack(&receiver.origin), &[rollback("a"), rollback("b")]);
    bench.turn_after(24 * 3600).await;
    assert_eq!(receiver.received().len(), 1);
    bench.turn_after(-24 * 3600).await;
    let delivery = bench.outbox.delivery("b", "slack");
    assert_eq!(delivery.delivered_at, Some(bench.now));
}

#[tokio::test]
async fn a_receiver_that_asks_for_time_gets_it_for_all_its_alerts() {
    let busy = Answer(429, vec![("retry-after", "60")]);
    let receiver = Receiver::start(slack, &[busy]).await;
    let mut bench = Bench::new(&to_slack(&receiver.origin), &[rollback("a"), rollback("b")]);
    bench.turn().await;
    let retry_at = bench.outbox.delivery("a", "slack").retry_at.unwrap();
    assert_eq!(retry_at, bench.now + TimeDelta::seconds(60));
    bench.turn_after(59).await;
    assert_eq!(receiver.received().len(), 1, "`b` waits as well");
    bench.turn_after(1).await;
    assert_eq!(receiver.received().len(), 3);
}

#[tokio::test]
async fn an_alert_that_nobody_takes_does_not_hold_up_the_next() {
    let receiver = Receiver::start(signed, &[Answer(422, vec![])]).await;
    let alerts = [rollback("poison"), rollback("b")];
    let mut bench = Bench::new(&to_webhook(&receiver.origin), &alerts);
    bench.turn().await;
    bench
        .outbox
        .failed("poison", "webhook", "x", bench.now + TimeDelta::hours(1))
        .await
        .unwrap();
    bench.turn_after(1).await;
    assert!(bench.outbox.delivery("b", "webhook").delivered_at.is_some());
    assert!(
        bench
            .outbox
            .delivery("poison", "webhook")
            .delivered_at
            .is_none()
    );
}

#[tokio::test(start_paused = true)]
async fn a_receiver_that_never_answers_costs_ten_seconds() {
    let silent = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let origin = format!("http://{}", silent.local_addr().unwrap());
    let mut bench = Bench::new(&to_webhook(&origin), &[rollback("a")]);
    let start = tokio::time::Instant::now();
    bench.turn().await;
    assert!(
        start.elapsed().as_secs_f64() < 10.1,
        "{:?}",
        start.elapsed()
    );
    assert_eq!(bench.outbox.delivery("a", "webhook").attempts, 1);
}

#[tokio::test]
async fn a_process_that_dies_before_it_notes_a_delivery_sends_again_under_the_same_id() {
    let receiver = Receiver::start(signed, &[]).await;
    let config = to_webhook(&receiver.origin);
    let mut first = Bench::new(&config, &[rollback("a")]);
    let outbox = first.outbox.clone();
    *outbox.marking.lock() = Marking::Hangs;
    tokio::select! {
        () = first.turn() => unreachable!("marking never ends"),
        () = outbox.at_mark.notified() => {}
    }
    drop(first);

    *outbox.marking.lock() = Marking::Works;
    Bench::on(&config, outbox.clone()).turn().await;
    let received = receiver.received();
    assert_eq!(received.len(), 2);
    assert!(received.iter().all(|r| r.json()["id"] == "a"));
    assert!(outbox.delivery("a", "webhook").delivered_at.is_some());
}

#[tokio::test]
async fn an_outbox_that_cannot_note_a_delivery_does_not_make_it_a_flood() {
    let receiver = Receiver::start(signed, &[]).await;
    let mut bench = Bench::new(&to_webhook(&receiver.origin), &[rollback("a")]);
    *bench.outbox.marking.lock() = Marking::Fails;
    for _ in 0..30 {
        bench.turn_after(1).await;
    }
    assert_eq!(receiver.received().len(), 1);
    *bench.outbox.marking.lock() = Marking::Works;
    bench.turn_after(5).await;
    assert!(bench.outbox.delivery("a", "webhook").delivered_at.is_some());
    assert_eq!(receiver.received().len(), 1);
}

#[tokio::test]
async fn a_warning_that_could_not_be_delivered_for_half_an_hour_is_critical() {
    let receiver = Receiver::start(signed, &[]).await;
    let start = now();
    let alerts = [31, 29].map(|age| {
        let at = start - TimeDelta::minutes(age);
        let mut watch = alert(&format!("w{age}"), AlertKind::Watch, Severity::Warning, at);
        watch.rollout_id = Some(format!("rollout-{age}"));
        watch
    });
    Bench::new(&to_webhook(&receiver.origin), &alerts)
        .turn()
        .await;
    let received = receiver.received();
    let bodies: Vec<_> = received.iter().map(receivers::Received::json).collect();
    let told: Vec<_> = bodies
        .iter()
        .map(|b| (&b["severity"], &b["escalated"]))
        .collect();
    let expected = [
        (json!("critical"), json!(true)),
        (json!("warning"), json!(false)),
    ];
    assert_eq!(
        told,
        expected
            .each_ref()
            .map(|(severity, escalated)| (severity, escalated))
    );
}

#[tokio::test]
async fn information_goes_only_where_it_is_wanted() {
    let receiver = Receiver::start(signed, &[]).await;
    let config = AlertsConfig {
        info_channels: vec![ChannelName::Slack],
        ..to_webhook(&receiver.origin)
    };
    let promoted = alert("p", AlertKind::Promoted, Severity::Info, now());
    let mut bench = Bench::new(&config, &[promoted, rollback("r")]);
    bench.turn().await;
    let received = receiver.received();
    assert_eq!(received.len(), 1);
    assert_eq!(received[0].json()["id"], "r");
    assert!(
        bench.outbox.delivery("p", "webhook").delivered_at.is_some(),
        "and is not kept"
    );
}

#[tokio::test]
async fn a_rollback_resolves_the_incidents_before_it() {
    let receiver = Receiver::start(pagerduty, &[]).await;
    let start = now();
    let alerts = [
        alert("w1", AlertKind::Watch, Severity::Warning, start),
        alert(
            "h1",
            AlertKind::Hold,
            Severity::Warning,
            start + TimeDelta::seconds(1),
        ),
        alert(
            "r",
            AlertKind::RolledBack,
            Severity::Critical,
            start + TimeDelta::seconds(2),
        ),
    ];
    let mut bench = Bench::new(&to_pagerduty(&receiver.origin), &alerts);
    bench.turn().await;
    let events = receiver
        .received()
        .iter()
        .map(receivers::Received::json)
        .collect::<Vec<_>>();
    let mut events: Vec<_> = events
        .iter()
        .map(|event| {
            let text = |name: &str| event[name].as_str().unwrap().to_owned();
            (text("event_action"), text("dedup_key"))
        })
        .collect();
    let resolved = events.split_off(3);
    let pair = |action: &str, id: &str| (action.to_owned(), id.to_owned());
    assert_eq!(events, ["w1", "h1", "r"].map(|id| pair("trigger", id)));
    assert_eq!(resolved.len(), 2);
    assert!(
        ["w1", "h1"]
            .iter()
            .all(|id| resolved.contains(&pair("resolve", id)))
    );
}

#[tokio::test]
async fn an_alert_can_name_those_that_it_resolves() {
    let receiver = Receiver::start(pagerduty, &[]).await;
    let mut over = alert("over", AlertKind::Promoted, Severity::Info, now());
    over.details = json!({"resolves": ["w1", "w2"]});
    let config = AlertsConfig {
        info_channels: vec![],
        ..to_pagerduty(&receiver.origin)
    };
    Bench::new(&config, &[over]).turn().await;
    let events: Vec<_> = receiver
        .received()
        .iter()
        .map(receivers::Received::json)
        .collect();
    let ids: Vec<_> = events.iter().map(|event| &event["dedup_key"]).collect();
    assert_eq!(ids, ["w1", "w2"]);
    assert!(
        events
            .iter()
            .all(|event| event["event_action"] == "resolve")
    );
}
