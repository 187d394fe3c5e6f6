//! Series under the names of OpenTelemetry's conventions, as Prometheus writes them.

use std::{fmt, sync::Arc};

use metrics::{Histogram, SharedString};
use parking_lot::Mutex;

use super::{EndedAttempt, Operation};
use crate::recording::Outcome;

const TOKENS: &str = "gen_ai_client_token_usage";
const PART: &str = "ai_tokens_part_total";
const DURATION: &str = "gen_ai_client_operation_duration_seconds";
const FIRST_TOKEN: &str = "gen_ai_server_time_to_first_token_seconds";
const PER_TOKEN: &str = "gen_ai_server_time_per_output_token_seconds";
const MS_PER_SECOND: f64 = 1_000.0;
/// Models whose handles are kept; a catalog has some dozens, and others cost a look-up each time.
const MODELS_LIMIT: usize = 500;

/// Describes the metrics to the installed recorder.
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

/// Handles of the series that have had an attempt; clones share them.
#[derive(Clone, Default)]
pub(super) struct SeriesHandles(Arc<Mutex<Vec<OfModel>>>);

/// The series of what a model is asked for.
struct OfModel {
    operation: Operation,
    labels: [(&'static str, SharedString); 3],
    duration: Option<Histogram>,
    faults: Vec<(&'static str, Histogram)>,
    input: Option<Histogram>,
    output: Option<Histogram>,
    first_token: Option<Histogram>,
    per_token: Option<Histogram>,
}

impl fmt::Debug for SeriesHandles {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SeriesHandles").finish_non_exhaustive()
    }
}

impl SeriesHandles {
    /// Counts an attempt.
    pub(super) fn count(&self, ended: &EndedAttempt<'_>) {
        count_parts(ended);
        let mut all = self.0.lock();
        let known = all.iter_mut().find(|it| it.is_of(ended));
        if let Some(known) = known {
            return known.count(ended);
        }
        let mut new = OfModel::new(ended);
        new.count(ended);
        if all.len() < MODELS_LIMIT {
            all.push(new);
        }
    }
}

impl OfModel {
    fn new(ended: &EndedAttempt<'_>) -> Self {
        let operation = ended.operation;
        let named = |text: &str| SharedString::from(text.to_owned());
        Self {
            operation,
            labels: [
                (
                    "gen_ai_operation_name",
                    SharedString::const_str(operation.name()),
                ),
                ("gen_ai_provider_name", named(ended.provider)),
                ("gen_ai_request_model", named(ended.model)),
            ],
            duration: None,
            faults: Vec::new(),
            input: None,
            output: None,
            first_token: None,
            per_token: None,
        }
    }

    fn is_of(&self, ended: &EndedAttempt<'_>) -> bool {
        let [_, (_, provider), (_, model)] = &self.labels;
        self.operation == ended.operation
            && **provider == *ended.provider
            && **model == *ended.model
    }

    fn count(&mut self, ended: &EndedAttempt<'_>) {
        let event = ended.event;
        let labels = &self.labels;
        let with = |name, value: &'static str| {
            let mut labels = labels.to_vec();
            labels.push((name, SharedString::const_str(value)));
            labels
        };
        let plain = |name: &'static str| metrics::histogram!(name, labels);
        let seconds = event.latency_ms / MS_PER_SECOND;
        let error = error_type(event.outcome);
        match error {
            // How long a caller stayed says nothing of the model.
            None if event.outcome == Outcome::Cancelled => {}
            None => {
                let duration = self.duration.get_or_insert_with(|| plain(DURATION));
                duration.record(seconds);
            }
            Some(error) => {
                let place = self.faults.iter().position(|(known, _)| *known == error);
                let place = place.unwrap_or_else(|| {
                    let labels = with("error_type", error);
                    let series = metrics::histogram!(DURATION, &labels);
                    self.faults.push((error, series));
                    self.faults.len() - 1
                });
                self.faults[place].1.record(seconds);
            }
        }
        for (series, kind, tokens) in [
            (&mut self.input, "input", event.prompt_tokens),
            (&mut self.output, "output", event.completion_tokens),
        ] {
            if tokens > 0 {
                let new = || metrics::histogram!(TOKENS, &with("gen_ai_token_type", kind));
                series.get_or_insert_with(new).record(f64::from(tokens));
            }
        }
        let Some(first) = event.first_token_ms else {
            return;
        };
        let series = self.first_token.get_or_insert_with(|| plain(FIRST_TOKEN));
        series.record(first / MS_PER_SECOND);
        let is_whole = error.is_none() && event.outcome != Outcome::Cancelled;
        // What the model only thought came before the first.
        let tokens = event
            .completion_tokens
            .saturating_sub(ended.reasoning_tokens);
        if is_whole && tokens > 1 {
            let each = (event.latency_ms - first) / f64::from(tokens - 1);
            let series = self.per_token.get_or_insert_with(|| plain(PER_TOKEN));
            series.record(each.max(0.0) / MS_PER_SECOND);
        }
    }
}

/// Counts what of the tokens the provider had kept, and what the model only thought.
fn count_parts(ended: &EndedAttempt<'_>) {
    let event = ended.event;
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
}

/// As `error.type` has it; `None` of an answer, and of a caller who left: that is nobody's failure.
pub(super) fn error_type(outcome: Outcome) -> Option<&'static str> {
    match outcome {
        Outcome::Success | Outcome::Refused | Outcome::Cancelled => None,
        other => Some(other.name()),
    }
}
