//! What the counters of this room say to Prometheus.

use metrics::Unit;

/// Describes them to the recorder.
pub fn describe() {
    metrics::describe_counter!("ai_breaker_opened_total", "Times that a breaker opened");
    metrics::describe_counter!(
        "ai_breaker_skipped_total",
        "Times that a model was left alone because its breaker was open"
    );
    metrics::describe_counter!(
        "ai_quota_refused_total",
        "Calls that were turned away as a quota left no request in time"
    );
    metrics::describe_histogram!(
        "ai_quota_wait_seconds",
        Unit::Seconds,
        "How long calls waited for a request of a quota"
    );
    metrics::describe_counter!(
        "ai_repeats_total",
        "Times that a model would have been asked once more for the same call, and whether it was"
    );
}
