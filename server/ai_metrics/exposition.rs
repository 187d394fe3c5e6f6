//! The same events through the `metrics` facade, for whatever recorder the process has installed.
//!
//! Handles are made at a series' first event and kept, so a recorder has to be installed before the
//! first event. Cancelled attempts are counted here, with their outcome.

use std::sync::Arc;

use metrics::{Counter, Histogram, SharedString, Unit};

use super::window::PerVariant;
use crate::{
    _core::assignment::Variant,
    providers::quality::Quality,
    recording::{Event, Outcome},
};

/// Tasks of a model beyond which no new ones are exposed; a catalog has a dozen.
const TASKS_LIMIT: usize = 100;
const MS_PER_SECOND: f64 = 1_000.0;

/// Describes the metrics to the installed recorder.
pub fn describe() {
    metrics::describe_counter!("ai_attempts_total", "Attempts at a model, by outcome");
    metrics::describe_histogram!(
        "ai_attempt_duration_seconds",
        Unit::Seconds,
        "From sending a request to the whole answer"
    );
    metrics::describe_histogram!(
        "ai_first_token_seconds",
        Unit::Seconds,
        "From sending a request to the first token, of streamed answers"
    );
    metrics::describe_counter!("ai_tokens_total", "Tokens read and written");
    metrics::describe_counter!("ai_cost_microdollars_total", "Millionths of a US dollar");
    metrics::describe_counter!(
        "ai_answers_total",
        "Answers that were looked at, by what they are"
    );
}

/// Handles of one model's series that have had an event, by task: few enough to go through.
#[derive(Default)]
pub(super) struct ModelSeries(Vec<(Arc<str>, PerVariant<Option<Series>>)>);

struct Series {
    labels: [(&'static str, SharedString); 3],
    attempts: Vec<(Outcome, Counter)>,
    answers: Vec<(Quality, Counter)>,
    duration: Histogram,
    first_token: Histogram,
    prompt_tokens: Counter,
    completion_tokens: Counter,
    cost: Counter,
}

impl ModelSeries {
    /// Counts an attempt at this model.
    pub(super) fn count(&mut self, event: &Event) {
        let known = self.0.iter().position(|(task, _)| *task == event.task);
        let place = match known {
            Some(place) => place,
            None if self.0.len() < TASKS_LIMIT => {
                self.0.push((event.task.clone(), PerVariant::default()));
                self.0.len() - 1
            }
            None => return,
        };
        let series = self.0[place].1.get_mut(event.variant);
        let series = series.get_or_insert_with(|| Series::new(event));
        series.count(event);
    }
}

impl Series {
    fn new(event: &Event) -> Self {
        let variant = match event.variant {
            Variant::Control => "control",
            Variant::Candidate => "candidate",
        };
        let labels = [
            ("model", SharedString::from(event.model.to_string())),
            ("variant", SharedString::const_str(variant)),
            ("task", SharedString::from(event.task.to_string())),
        ];
        let with = |name, value: &'static str| {
            let mut labels = labels.to_vec();
            labels.push((name, SharedString::const_str(value)));
            labels
        };
        Self {
            attempts: Vec::new(),
            answers: Vec::new(),
            duration: metrics::histogram!("ai_attempt_duration_seconds", &labels),
            first_token: metrics::histogram!("ai_first_token_seconds", &labels),
            prompt_tokens: metrics::counter!("ai_tokens_total", &with("kind", "prompt")),
            completion_tokens: metrics::counter!("ai_tokens_total", &with("kind", "completion")),
            cost: metrics::counter!("ai_cost_microdollars_total", &labels),
            labels,
        }
    }

    fn count(&mut self, event: &Event) {
        if matches!(event.outcome, Outcome::Judged(_)) {
            let mut labels = self.labels.to_vec();
            labels.push(("judgement", SharedString::const_str(event.outcome.name())));
            // These are few, so the series is looked up each time.
            metrics::counter!("ai_judged_answers_total", &labels).increment(1);
            return;
        }
        self.attempts(event.outcome).increment(1);
        if let Some(quality) = event.quality {
            self.answers(quality).increment(1);
        }
        self.duration.record(event.latency_ms / MS_PER_SECOND);
        if let Some(ms) = event.first_token_ms {
            self.first_token.record(ms / MS_PER_SECOND);
        }
        self.prompt_tokens.increment(event.prompt_tokens.into());
        self.completion_tokens
            .increment(event.completion_tokens.into());
        self.cost
            .increment(u64::try_from(event.cost.0).unwrap_or(0));
    }

    fn attempts(&mut self, outcome: Outcome) -> &Counter {
        let place = self
            .attempts
            .iter()
            .position(|(known, _)| *known == outcome);
        let place = place.unwrap_or_else(|| {
            let mut labels = self.labels.to_vec();
            labels.push(("outcome", SharedString::const_str(outcome.name())));
            let counter = metrics::counter!("ai_attempts_total", &labels);
            self.attempts.push((outcome, counter));
            self.attempts.len() - 1
        });
        &self.attempts[place].1
    }

    fn answers(&mut self, quality: Quality) -> &Counter {
        let place = self.answers.iter().position(|(known, _)| *known == quality);
        let place = place.unwrap_or_else(|| {
            let mut labels = self.labels.to_vec();
            labels.push(("quality", SharedString::const_str(quality.name())));
            let counter = metrics::counter!("ai_answers_total", &labels);
            self.answers.push((quality, counter));
            self.answers.len() - 1
        });
        &self.answers[place].1
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        ai_metrics::AiMetrics, providers::fault::FaultKind, recording::event::tests::event,
    };
    use metrics_util::debugging::{DebugValue, DebuggingRecorder};

    #[test]
    fn every_attempt_reaches_the_installed_recorder() {
        let recorder = DebuggingRecorder::new();
        let snapshotter = recorder.snapshotter();
        metrics::with_local_recorder(&recorder, || {
            let metrics = AiMetrics::new();
            let mut one = event(0, "glm", 1_500.0);
            one.variant = Variant::Candidate;
            one.first_token_ms = Some(250.0);
            one.quality = Some(Quality::Truncated);
            metrics.record(one.clone());
            metrics.record(one.clone());
            one.quality = None;
            one.outcome = Outcome::Fault(FaultKind::Timeout);
            metrics.record(one.clone());
            one.outcome = Outcome::Cancelled;
            metrics.record(one);
        });
        let mut lines: Vec<String> = snapshotter
            .snapshot()
            .into_vec()
            .into_iter()
            .map(|(key, _, _, value)| {
                let labels: Vec<_> = key.key().labels().map(metrics::Label::value).collect();
                let value = match value {
                    DebugValue::Counter(count) => count.to_string(),
                    DebugValue::Gauge(value) => value.to_string(),
                    DebugValue::Histogram(values) => {
                        format!("{:?}", values.iter().map(|v| v.0).collect::<Vec<_>>())
                    }
                };
                format!("{} {} {value}", key.key().name(), labels.join(","))
            })
            .collect();
        lines.sort();
        assert_eq!(
            lines,
            [
                "ai_answers_total glm,candidate,chat,truncated 2",
                "ai_attempt_duration_seconds glm,candidate,chat [1.5, 1.5, 1.5, 1.5]",
                "ai_attempts_total glm,candidate,chat,cancelled 1",
                "ai_attempts_total glm,candidate,chat,success 2",
                "ai_attempts_total glm,candidate,chat,timeout 1",
                "ai_cost_microdollars_total glm,candidate,chat 120",
                "ai_first_token_seconds glm,candidate,chat [0.25, 0.25, 0.25, 0.25]",
                "ai_tokens_total glm,candidate,chat,completion 80",
                "ai_tokens_total glm,candidate,chat,prompt 40",
            ]
        );
    }
}
