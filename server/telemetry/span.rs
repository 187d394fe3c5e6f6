//! Spans: one for each attempt, in the trace of its request. How a collector gets them is elsewhere.

use rand::random;
use serde_json::{Value, json};

use super::{AttemptTexts, EndedAttempt, series::error_type};

const NANOS_PER_MS: f64 = 1e6;
const MICRODOLLARS: f64 = 1e6;
const MS_PER_SECOND: f64 = 1_000.0;

/// A span of kind client.
#[derive(Debug)]
pub(super) struct Span {
    /// Never 0, as little as the span's own.
    pub(super) trace_id: u128,
    pub(super) span_id: u64,
    pub(super) parent: Option<u64>,
    pub(super) name: String,
    /// Nanoseconds since 1970.
    pub(super) start: u64,
    pub(super) end: u64,
    pub(super) attributes: Vec<(&'static str, Attribute)>,
    /// The kind of the fault that it ended with.
    pub(super) error: Option<&'static str>,
}

/// What an attribute says.
#[derive(Debug)]
pub(super) enum Attribute {
    Text(String),
    Whole(i64),
    Number(f64),
}

impl Span {
    /// The span of an attempt, in the caller's trace; else the trace has the id of the request, which the log has
    /// too.
    pub(super) fn of(ended: &EndedAttempt<'_>) -> Self {
        let event = ended.event;
        let trace_id = match ended.trace {
            Some(trace) => trace.own.trace_id(),
            None => id(&event.request_id).unwrap_or_else(|| random::<u128>().max(1)),
        };
        let own = ended.trace.map(|trace| trace.own.span_id());
        let error = error_type(event.outcome);
        let took = (event.latency_ms * NANOS_PER_MS) as i128;
        let end = i128::from(event.at_ms) * 1_000_000;
        let nanos = |time: i128| u64::try_from(time.max(0)).unwrap_or(u64::MAX);
        Self {
            trace_id,
            span_id: own.unwrap_or_else(|| random::<u64>().max(1)),
            parent: ended.trace.map(|trace| trace.parent.span_id()),
            name: format!("{} {}", ended.operation.name(), ended.model),
            start: nanos(end - took),
            end: nanos(end),
            attributes: attributes(ended, error),
            error,
        }
    }

    /// Bytes that it holds, about.
    pub(super) fn weight(&self) -> usize {
        let texts = self.attributes.iter().map(|(_, it)| match it {
            Attribute::Text(text) => text.len(),
            Attribute::Whole(_) | Attribute::Number(_) => 0,
        });
        texts.sum::<usize>() + 1_024
    }
}

/// The id of a request, where it is one of ours.
fn id(request: &str) -> Option<u128> {
    let is_id = request.len() == 32 && request.bytes().all(|byte| byte.is_ascii_hexdigit());
    let id = is_id.then(|| u128::from_str_radix(request, 16).ok())?;
    id.filter(|id| *id != 0)
}

fn attributes(
    ended: &EndedAttempt<'_>,
    error: Option<&'static str>,
) -> Vec<(&'static str, Attribute)> {
    let event = ended.event;
    let variant = event.variant.name();
    let text = |value: &str| Attribute::Text(value.to_owned());
    let mut attributes = vec![
        ("gen_ai.operation.name", text(ended.operation.name())),
        ("gen_ai.provider.name", text(ended.provider)),
        ("gen_ai.request.model", text(ended.model)),
        ("modelramp.model", text(&event.model)),
        ("modelramp.task", text(&event.task)),
        ("modelramp.variant", text(variant)),
        (
            "modelramp.position",
            Attribute::Whole(event.position.into()),
        ),
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
            attributes.push((name, Attribute::Whole(tokens.into())));
        }
    }
    if event.cost.0 > 0 {
        let dollars = event.cost.0 as f64 / MICRODOLLARS;
        attributes.push(("gen_ai.usage.cost", Attribute::Number(dollars)));
    }
    if let Some(ms) = event.first_token_ms {
        let seconds = Attribute::Number(ms / MS_PER_SECOND);
        attributes.push(("gen_ai.response.time_to_first_chunk", seconds));
    }
    if let Some(rollout) = &event.rollout {
        attributes.push(("modelramp.rollout", text(rollout)));
    }
    if let Some(error) = error {
        attributes.push(("error.type", text(error)));
    }
    if let Some(texts) = ended.texts {
        attributes.extend(of_texts(texts, ended, error));
    }
    attributes
}

/// What Langfuse reads (<https://langfuse.com/integrations/native/opentelemetry>, property mapping): that it is
/// a generation, what went in and what came out, and what became of it.
fn of_texts(
    texts: &AttemptTexts,
    ended: &EndedAttempt<'_>,
    error: Option<&'static str>,
) -> impl Iterator<Item = (&'static str, Attribute)> {
    let event = ended.event;
    let usage = json!({"input": event.prompt_tokens, "output": event.completion_tokens});
    let cost = json!({"total": event.cost.0 as f64 / MICRODOLLARS});
    let named = |name, value: String| Some((name, Attribute::Text(value)));
    let told = |name, value: &Value| named(name, value.to_string());
    let kind = match ended.operation {
        super::Operation::Chat => "generation",
        super::Operation::Embeddings => "embedding",
    };
    [
        named("langfuse.observation.type", kind.to_owned()),
        named("langfuse.observation.model.name", ended.model.to_owned()),
        named("langfuse.observation.input", texts.input.clone()),
        named("langfuse.observation.output", texts.output()),
        told("langfuse.observation.usage_details", &usage),
        told("langfuse.observation.cost_details", &cost).filter(|_| event.cost.0 > 0),
        error.and_then(|_| named("langfuse.observation.level", "ERROR".to_owned())),
        error.and_then(|it| named("langfuse.observation.status_message", it.to_owned())),
        named("langfuse.trace.name", event.task.to_string()),
    ]
    .into_iter()
    .flatten()
}
