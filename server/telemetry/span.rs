//! Spans in OTLP's JSON: one for each attempt, in the trace of its request.

use rand::random;
use serde_json::{Value, json};

use super::{Ended, series::error_type};
use crate::_core::assignment::Variant;

/// `SPAN_KIND_CLIENT`.
const CLIENT: u8 = 3;
/// `STATUS_CODE_ERROR`.
const ERROR: u8 = 2;
const NANOS_PER_MS: f64 = 1e6;
const MICRODOLLARS: f64 = 1e6;
const MS_PER_SECOND: f64 = 1_000.0;

/// The span of an attempt, in the caller's trace; else the trace has the id of the request, which the log has too.
pub(super) fn of(ended: &Ended<'_>) -> Value {
    let event = ended.event;
    let is_id = event.request_id.len() == 32
        && event
            .request_id
            .bytes()
            .all(|byte| byte.is_ascii_hexdigit());
    let (trace, own) = match (ended.trace, is_id) {
        (Some(trace), _) => (trace.own.trace_id(), trace.own.span_id()),
        (None, true) => (event.request_id.to_string(), new_span()),
        (None, false) => (format!("{:032x}", random::<u128>()), new_span()),
    };
    let end = i128::from(event.at_ms) * 1_000_000;
    let start = end - (event.latency_ms * NANOS_PER_MS) as i128;
    let error = error_type(event.outcome);
    let mut span = json!({
        "traceId": trace,
        "spanId": own,
        "name": format!("{} {}", ended.operation.name(), ended.model),
        "kind": CLIENT,
        "startTimeUnixNano": start.max(0).to_string(),
        "endTimeUnixNano": end.to_string(),
        "attributes": attributes(ended, error),
    });
    if let Some(trace) = ended.trace {
        span["parentSpanId"] = trace.parent.span_id().into();
    }
    if let Some(error) = error {
        span["status"] = json!({"code": ERROR, "message": error});
    }
    span
}

fn new_span() -> String {
    format!("{:016x}", random::<u64>().max(1))
}

fn attributes(ended: &Ended<'_>, error: Option<&str>) -> Value {
    let event = ended.event;
    let variant = match event.variant {
        Variant::Control => "control",
        Variant::Candidate => "candidate",
    };
    let text = |value: &str| json!({ "stringValue": value });
    // OTLP's JSON writes 64 bits as text.
    let whole = |value: i64| json!({"intValue": value.to_string()});
    let number = |value: f64| json!({ "doubleValue": value });
    let mut attributes = vec![
        ("gen_ai.operation.name", text(ended.operation.name())),
        ("gen_ai.provider.name", text(ended.provider)),
        ("gen_ai.request.model", text(ended.model)),
        ("modelramp.model", text(&event.model)),
        ("modelramp.task", text(&event.task)),
        ("modelramp.variant", text(variant)),
        ("modelramp.position", whole(event.position.into())),
        ("modelramp.outcome", text(event.outcome.name())),
        ("modelramp.request_id", text(&event.request_id)),
    ];
    for (name, tokens) in [
        ("gen_ai.usage.input_tokens", event.prompt_tokens),
        ("gen_ai.usage.output_tokens", event.completion_tokens),
        ("gen_ai.usage.cache_read.input_tokens", ended.cached_tokens),
        (
            "gen_ai.usage.reasoning.output_tokens",
            ended.reasoning_tokens,
        ),
    ] {
        if tokens > 0 {
            attributes.push((name, whole(tokens.into())));
        }
    }
    if event.cost.0 > 0 {
        let dollars = event.cost.0 as f64 / MICRODOLLARS;
        attributes.push(("gen_ai.usage.cost", number(dollars)));
    }
    if let Some(ms) = event.first_token_ms {
        let seconds = ms / MS_PER_SECOND;
        attributes.push(("gen_ai.response.time_to_first_chunk", number(seconds)));
    }
    if let Some(rollout) = &event.rollout {
        attributes.push(("modelramp.rollout", text(rollout)));
    }
    if let Some(error) = error {
        attributes.push(("error.type", text(error)));
    }
    let attributes = attributes.into_iter();
    attributes
        .map(|(key, value)| json!({"key": key, "value": value}))
        .collect()
}

/// A request of a collector's `/v1/traces`.
pub(super) fn request(service: &str, spans: &[Value]) -> Value {
    let text = |key: &str, value: &str| json!({"key": key, "value": {"stringValue": value}});
    let version = env!("CARGO_PKG_VERSION");
    json!({"resourceSpans": [{
        "resource": {"attributes": [
            text("service.name", service),
            text("service.version", version),
        ]},
        "scopeSpans": [{
            "scope": {"name": "modelramp", "version": version},
            "spans": spans,
        }],
    }]})
}
