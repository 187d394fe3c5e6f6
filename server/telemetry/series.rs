//! Series under the names of OpenTelemetry's conventions, as Prometheus writes them.

use super::Ended;
use crate::recording::Outcome;

const TOKENS: &str = "gen_ai_client_token_usage";
const PART: &str = "ai_tokens_part_total";
const DURATION: &str = "gen_ai_client_operation_duration_seconds";
const FIRST_TOKEN: &str = "gen_ai_server_time_to_first_token_seconds";
const PER_TOKEN: &str = "gen_ai_server_time_per_output_token_seconds";
const MS_PER_SECOND: f64 = 1_000.0;

/// Tells the installed recorder what the metrics are.
pub(super) fn describe() {
    metrics::describe_histogram!(TOKENS, "Tokens of a request, read or written");
    metrics::describe_counter!(
        PART,
        "Of the tokens read, those that the provider had kept, and of those written, those that were thought"
    );
    metrics::describe_histogram!(
        DURATION,
        "From sending a request to a model to its whole answer or its end"
    );
    metrics::describe_histogram!(
        FIRST_TOKEN,
        "From sending a request to the first token, of streamed answers"
    );
    metrics::describe_histogram!(
        PER_TOKEN,
        "For each token after the first, of streamed answers that are whole"
    );
}

/// Counts an attempt.
pub(super) fn count(ended: &Ended<'_>) {
    let event = ended.event;
    let labels = [
        ("gen_ai_operation_name", ended.operation.name().to_owned()),
        ("gen_ai_provider_name", ended.provider.to_owned()),
        ("gen_ai_request_model", ended.model.to_owned()),
    ];
    let with = |name, value: &str| {
        let mut labels = labels.to_vec();
        labels.push((name, value.to_owned()));
        labels
    };
    let seconds = event.latency_ms / MS_PER_SECOND;
    match error_type(event.outcome) {
        // How long a caller stayed says nothing of the model.
        None if event.outcome == Outcome::Cancelled => {}
        None => metrics::histogram!(DURATION, &labels).record(seconds),
        Some(error) => metrics::histogram!(DURATION, &with("error_type", error)).record(seconds),
    }
    for (kind, tokens) in [
        ("input", event.prompt_tokens),
        ("output", event.completion_tokens),
    ] {
        if tokens > 0 {
            metrics::histogram!(TOKENS, &with("gen_ai_token_type", kind)).record(f64::from(tokens));
        }
    }
    for (kind, tokens) in [
        ("cached", ended.cached_tokens),
        ("reasoning", ended.reasoning_tokens),
    ] {
        if tokens > 0 {
            let labels = [
                ("model", event.model.to_string()),
                ("variant", event.variant.name().to_owned()),
                ("task", event.task.to_string()),
                ("kind", kind.to_owned()),
            ];
            metrics::counter!(PART, &labels).increment(tokens.into());
        }
    }
    let Some(first) = event.first_token_ms else {
        return;
    };
    metrics::histogram!(FIRST_TOKEN, &labels).record(first / MS_PER_SECOND);
    if event.outcome != Outcome::Cancelled
        && error_type(event.outcome).is_none()
        && event.completion_tokens > 1
    {
        let each = (event.latency_ms - first) / f64::from(event.completion_tokens - 1);
        metrics::histogram!(PER_TOKEN, &labels).record(each.max(0.0) / MS_PER_SECOND);
    }
}

/// As `error.type` has it; `None` of an answer, and of a caller who left: that is nobody's failure.
pub(super) fn error_type(outcome: Outcome) -> Option<&'static str> {
    match outcome {
        Outcome::Success | Outcome::Refused | Outcome::Cancelled => None,
        other => Some(other.name()),
    }
}
