//! What OpenTelemetry's `gen_ai` conventions say of an attempt: series for Prometheus, and a span that is
//! sent to a collector.
//!
//! None of it says who asked, and it holds texts of requests and answers only where the settings allow that in spans.

mod exporter;
mod otlp;
mod series;
mod span;
mod texts;

pub use self::{
    exporter::{Exporter, Spans, exporter},
    texts::AttemptTexts,
};
use self::{series::SeriesHandles, span::Span};
use crate::{_core::trace_parent::TraceParent, recording::Event};

/// Describes the metrics to the installed recorder.
pub fn describe() {
    series::describe();
    exporter::describe();
}

/// What a model is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Operation {
    /// An answer in text.
    Chat,
    /// Vectors.
    Embeddings,
}

impl Operation {
    /// As `gen_ai.operation.name` has it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Chat => "chat",
            Self::Embeddings => "embeddings",
        }
    }
}

/// Where an attempt stands in the caller's trace.
#[derive(Clone, Copy, Debug)]
pub struct Trace {
    /// The caller's span.
    pub parent: TraceParent,
    /// The attempt's own.
    pub own: TraceParent,
}

impl Trace {
    /// A new span below the caller's.
    pub fn below(parent: TraceParent) -> Self {
        let own = parent.child();
        Self { parent, own }
    }
}

/// An attempt at a model that has ended.
pub struct EndedAttempt<'a> {
    /// What was asked for.
    pub operation: Operation,
    /// The provider, by its name in the catalog.
    pub provider: &'a str,
    /// The model, by the name that the provider knows.
    pub model: &'a str,
    /// Of the tokens read, those that the provider had kept.
    pub cached_tokens: u32,
    /// Of the tokens written, those that the model only thought.
    pub reasoning_tokens: u32,
    /// Its place in the caller's trace, where it has one.
    pub trace: Option<Trace>,
    /// What was said, where spans may hold it.
    pub texts: Option<&'a AttemptTexts>,
    /// How it ended.
    pub event: &'a Event,
}

/// Records attempts.
#[derive(Clone, Debug, Default)]
pub struct Telemetry {
    series: SeriesHandles,
    spans: Option<Spans>,
    /// Whether spans may hold what was said.
    with_texts: bool,
}

impl Telemetry {
    /// Records them for Prometheus, and for a collector where there is one: with texts of requests and answers, if
    /// these may go there.
    pub fn new(spans: Option<Spans>, with_texts: bool) -> Self {
        Self {
            series: SeriesHandles::default(),
            spans,
            with_texts,
        }
    }

    /// Whether texts of requests go to somebody.
    pub fn wants_texts(&self) -> bool {
        self.with_texts && self.spans.is_some()
    }

    /// Records an attempt. Never waits.
    pub fn record(&self, ended: &EndedAttempt<'_>) {
        self.series.count(ended);
        // A caller that does not record its trace wants no span of it.
        let is_recorded = ended.trace.is_none_or(|trace| trace.parent.is_sampled());
        if let Some(spans) = self.spans.as_ref().filter(|_| is_recorded) {
            spans.send(Span::of(ended));
        }
    }
}
