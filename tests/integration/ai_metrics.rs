//! Windows against a plain list of events; the log that recorded events go on to; the procedures through the
//! registry.

mod log;
mod procedures;

use std::{sync::Arc, time::Duration};

use chrono::{DateTime, Utc};
use futures::{FutureExt, StreamExt};
use modelramp::{
    _core::{
        assignment::{Algorithm, Variant},
        caller::{Caller, Role},
        context::Context,
        errors::ErrorCode,
        feature_flags::{FeatureFlags, FlagsConfig},
        procedure::Input,
        registry::Registry,
        tasks::Tasks,
        units::{Microdollars, Percent},
    },
    ai_metrics::{AiMetrics, health::HealthStatus, summary::Summary, window::Minutes},
    providers::{fault::FaultKind, quality::Quality},
    recording::{Event, Log, Outcome},
    routers::ai_metrics_router::{self, State},
};
use proptest::prelude::*;
use serde_json::{Value, json};

const MINUTE: i64 = 60_000;
const HOUR: i64 = 60 * MINUTE;
const DAY: i64 = 24 * HOUR;
/// A moment that is on no edge of anything.
const NOW: i64 = 1_762_637_425_678;

pub(crate) fn event(at_ms: i64, latency_ms: f64) -> Event {
    Event {
        at_ms,
        request_id: "request".into(),
        user_id: Some(1),
        seq: 0,
        subject: None,
        rollout: None,
        counted: false,
        was_open: false,
        model: "glm".into(),
        task: "chat".into(),
        variant: Variant::Control,
        position: 0,
        latency_ms,
        first_token_ms: None,
        words_ms: None,
        prompt_tokens: 1,
        completion_tokens: 2,
        quality: None,
        answer_chars: None,
        status: None,
        cause: None,
        finish: None,
        cost: Microdollars(3),
        outcome: Outcome::Success,
    }
}

fn minutes(minutes: f64) -> Minutes {
    Minutes::try_from(minutes).unwrap()
}

fn time(at_ms: i64) -> DateTime<Utc> {
    DateTime::from_timestamp_millis(at_ms).unwrap()
}

fn summary(metrics: &AiMetrics, window: f64) -> Summary {
    metrics.summary(minutes(window), time(NOW))
}

/// Nearest rank over a list.
fn quantile(latencies: &[f64], percent: usize) -> f64 {
    let mut sorted = latencies.to_vec();
    sorted.sort_by(f64::total_cmp);
    let rank = (sorted.len() * percent).div_ceil(100);
    rank.checked_sub(1).map_or(0.0, |index| sorted[index])
}

mod windows {
    use super::*;

    #[test]
    fn the_edge_is_inside_and_the_future_counts() {
        let metrics = AiMetrics::new();
        for at in [NOW - HOUR - 1, NOW - HOUR, NOW, NOW + DAY] {
            metrics.record(event(at, 10.0));
        }
        assert_eq!(summary(&metrics, 60.0).total_requests, 3);
        assert_eq!(summary(&metrics, 59.999).total_requests, 2);
    }

    #[test]
    fn ten_thousand_events_are_exact_whatever_happened_before() {
        let metrics = AiMetrics::new();
        // Older ones that are counted by now, and the newest one before the window.
        for i in 0..30_000 {
            metrics.record(event(NOW - 2 * HOUR + i, 77.7));
        }
        metrics.record(event(NOW - HOUR - 1, 99.9));
        for i in 0..10_000 {
            metrics.record(event(NOW - HOUR, 1_000.123 + f64::from(i)));
        }
        let summary = summary(&metrics, 60.0);
        assert_eq!(summary.total_requests, 10_000);
        assert_eq!(summary.p50_response_time, 6_000);
        assert_eq!(summary.p99_response_time, 10_900);
    }

    #[test]
    fn larger_windows_keep_sums_exact_and_quantiles_within_a_thousandth() {
        let metrics = AiMetrics::new();
        let latencies: Vec<f64> = (0..50_000_u32)
            .map(|i| 5.0 + f64::from(i.wrapping_mul(2_654_435_761) % 30_000) / 7.0)
            .collect();
        for (i, latency) in (0..).zip(&latencies) {
            let mut event = event(NOW - HOUR + i * 72, *latency);
            if i % 7 == 0 {
                event.outcome = Outcome::Fault(FaultKind::Timeout);
            }
            metrics.record(event);
        }
        let summary = summary(&metrics, 60.0);
        let mean = latencies.iter().sum::<f64>() / 50_000.0;
        assert_eq!(summary.total_requests, 50_000);
        assert_eq!(summary.failed_requests, 7_143);
        assert_eq!(summary.avg_response_time, mean.round() as u64);
        for (percent, ours) in [
            (50, summary.p50_response_time),
            (95, summary.p95_response_time),
            (99, summary.p99_response_time),
        ] {
            let exact = quantile(&latencies, percent);
            // Rounded up to whole milliseconds.
            let tolerance = exact / 1_000.0 + 1.0;
            assert!((ours as f64 - exact).abs() <= tolerance, "{ours} {exact}");
        }
    }

    #[test]
    fn large_windows_start_within_a_second_up_to_an_hour_and_within_a_minute_beyond() {
        let metrics = AiMetrics::new();
        // One event a second, for longer than the newest events reach.
        for i in 0..20_000 {
            metrics.record(event(NOW - i * 250, 10.0));
        }
        for (window, tolerance) in [(45.0, 4), (60.0, 4), (61.5, 240)] {
            let exact = (window * 240.0) as u64 + 1;
            let ours = summary(&metrics, window).total_requests;
            assert!(
                ours.abs_diff(exact) <= tolerance,
                "{window}: {ours} {exact}"
            );
        }
    }

    #[test]
    fn an_idle_gap_empties_the_window() {
        let metrics = AiMetrics::new();
        for i in 0..25_000 {
            metrics.record(event(NOW - DAY + i, 10.0));
        }
        assert_eq!(summary(&metrics, 60.0).total_requests, 0);
        assert_eq!(summary(&metrics, 60.0).health.status, HealthStatus::NoData);
        assert_eq!(summary(&metrics, 1_440.0).total_requests, 25_000);
        assert_eq!(
            metrics
                .summary(Minutes::WEEK, time(NOW + 7 * DAY))
                .total_requests,
            0
        );
    }

    #[test]
    fn an_event_from_the_far_future_spoils_nothing() {
        let metrics = AiMetrics::new();
        metrics.record(event(NOW + 100 * 365 * DAY, 10.0));
        for i in 0..30_000 {
            metrics.record(event(NOW - 30_000 + i, 10.0));
        }
        assert_eq!(summary(&metrics, 60.0).total_requests, 30_001);
        assert_eq!(summary(&metrics, 10_080.0).total_requests, 30_001);
    }

    #[test]
    fn any_time_that_can_be_written_can_be_recorded() {
        let metrics = AiMetrics::new();
        for at_ms in [i64::MIN, i64::MAX, 0, -1].into_iter().cycle().take(30_000) {
            metrics.record(event(at_ms, 10.0));
        }
        assert_eq!(summary(&metrics, 60.0).failed_requests, 0);
    }

    #[test]
    fn durations_that_are_none_are_refused() {
        let metrics = AiMetrics::new();
        for latency in [f64::NAN, f64::INFINITY, -1.0] {
            metrics.record(event(NOW, latency));
        }
        assert_eq!(summary(&metrics, 60.0).total_requests, 0);
    }

    #[test]
    fn cancelled_attempts_are_no_requests() {
        let metrics = AiMetrics::new();
        let mut cancelled = event(NOW, 10.0);
        cancelled.outcome = Outcome::Cancelled;
        metrics.record(cancelled);
        assert_eq!(summary(&metrics, 60.0).total_requests, 0);
    }

    #[test]
    fn variants_and_models_are_told_apart() {
        let metrics = AiMetrics::new();
        metrics.record(event(NOW, 100.0));
        let mut streamed = event(NOW, 300.0);
        streamed.model = "gpt-oss".into();
        streamed.variant = Variant::Candidate;
        streamed.first_token_ms = Some(40.5);
        streamed.quality = Some(Quality::Good);
        metrics.record(streamed.clone());
        streamed.outcome = Outcome::Fault(FaultKind::Upstream);
        streamed.first_token_ms = None;
        streamed.quality = Some(Quality::Truncated);
        metrics.record(streamed);

        let summary = serde_json::to_value(summary(&metrics, 60.0)).unwrap();
        assert_eq!(
            summary["variants"]["candidate"],
            json!({
                "requests": 2, "failures": 1, "errorRate": 50.0, "avgResponseTime": 300,
                "p50ResponseTime": 300, "p95ResponseTime": 300, "p99ResponseTime": 300,
                "p50FirstTokenTime": 41, "p95FirstTokenTime": 41,
                "promptTokens": 2, "completionTokens": 4, "costMicrodollars": 6,
                "checkedAnswers": 2, "flawedAnswers": 1, "judgedAnswers": 0, "worseAnswers": 0,
            })
        );
        assert_eq!(summary["variants"]["control"]["requests"], 1);
        assert_eq!(
            summary["variants"]["control"]["p50FirstTokenTime"],
            Value::Null
        );
        assert_eq!(
            summary["modelBreakdown"]["gpt-oss"],
            json!({"requests": 2, "avgResponseTime": 300, "errorRate": 50.0, "flawRate": 50.0,
                "judgedAnswers": 0, "worseAnswers": 0})
        );
        assert_eq!(summary["p50ResponseTime"], 300.0);
        assert_eq!(summary["avgResponseTime"], 233);
    }

    #[test]
    fn models_beyond_a_thousand_share_a_name() {
        let metrics = AiMetrics::new();
        for i in 0..1_100 {
            let mut event = event(NOW, 10.0);
            event.model = format!("model-{i}").into();
            metrics.record(event);
        }
        let summary = summary(&metrics, 60.0);
        assert_eq!(summary.model_breakdown.len(), 1_001);
        assert_eq!(summary.model_breakdown["(other)"].requests, 100);
    }

    #[test]
    fn recording_goes_on_while_windows_are_read() {
        let metrics = AiMetrics::new();
        std::thread::scope(|scope| {
            for thread in 0..2 {
                let metrics = &metrics;
                scope.spawn(move || {
                    for i in 0..20_000 {
                        metrics.record(event(NOW - i * 3 - thread, 10.0));
                    }
                });
            }
            for _ in 0..20 {
                let _ = summary(&metrics, 10_080.0);
            }
        });
        assert_eq!(summary(&metrics, 10_080.0).total_requests, 40_000);
    }

    /// Events in any order, some of them long ago.
    fn events(most: usize) -> impl Strategy<Value = Vec<Event>> {
        let event = (
            0..6 * DAY,
            0.0..20_000f64,
            0..4_u8,
            prop::option::of(0.0..500f64),
        );
        let event = event.prop_map(|(age, latency_ms, kind, first_token_ms)| Event {
            // Most are recent, as in life.
            at_ms: NOW - if kind > 0 { age / 200 } else { age },
            model: ["glm", "gpt-oss"][usize::from(kind % 2)].into(),
            variant: [Variant::Control, Variant::Candidate][usize::from(kind / 2)],
            first_token_ms,
            outcome: match latency_ms as u64 % 5 {
                0 => Outcome::Fault(FaultKind::Upstream),
                _ => Outcome::Success,
            },
            ..super::event(NOW, latency_ms)
        });
        prop::collection::vec(event, 0..most)
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(32))]

        #[test]
        fn windows_agree_with_a_plain_list(events in events(300), window in 1.0..10_080f64) {
            let metrics = AiMetrics::new();
            for event in &events {
                metrics.record(event.clone());
            }
            let start = minutes(window).start(time(NOW));
            let inside: Vec<_> = events.iter().filter(|e| e.at_ms >= start).collect();
            let latencies: Vec<_> = inside.iter().map(|e| e.latency_ms).collect();
            let failed = inside.iter().filter(|e| e.outcome != Outcome::Success).count();
            let summary = summary(&metrics, window);
            prop_assert_eq!(summary.total_requests, inside.len() as u64);
            prop_assert_eq!(summary.failed_requests, failed as u64);
            prop_assert_eq!(summary.p50_response_time, quantile(&latencies, 50).ceil() as u64);
            prop_assert_eq!(summary.p95_response_time, quantile(&latencies, 95).ceil() as u64);
            prop_assert_eq!(summary.p99_response_time, quantile(&latencies, 99).ceil() as u64);
        }

        #[test]
        fn replicas_add_up(events in events(300), cut in 0..300usize) {
            let (here, there, whole) = (AiMetrics::new(), AiMetrics::new(), AiMetrics::new());
            for (i, event) in events.into_iter().enumerate() {
                whole.record(event.clone());
                if i < cut { &here } else { &there }.record(event);
            }
            let of = |metrics: &AiMetrics| metrics.window(Minutes::WEEK, time(NOW));
            prop_assert_eq!(of(&here).merge(&of(&there)), of(&whole));
        }
    }

    #[test]
    fn large_replicas_add_up_too() {
        let (here, there, whole) = (AiMetrics::new(), AiMetrics::new(), AiMetrics::new());
        for i in 0..60_000_i64 {
            let event = event(NOW - HOUR + i * 50, (i * i % 9_973) as f64 / 3.0);
            whole.record(event.clone());
            if i % 3 == 0 { &here } else { &there }.record(event);
        }
        let of = |metrics: &AiMetrics| metrics.window(minutes(90.0), time(NOW));
        assert_eq!(of(&here).merge(&of(&there)), of(&whole));
    }
}
