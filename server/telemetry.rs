//! What OpenTelemetry's `gen_ai` conventions say of an attempt: series for Prometheus, and a span that is
//! sent to a collector.
//!
//! None of it holds a text of a request or an answer, or says who asked.

mod exporter;
mod series;
mod span;

pub use self::exporter::{Exporter, Spans, exporter};
use crate::recording::Event;

/// Tells the installed recorder what the metrics are.
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

/// An attempt at a model that has ended.
pub struct Ended<'a> {
    /// What was asked for.
    pub operation: Operation,
    /// The provider, by its name in the catalog.
    pub provider: &'a str,
    /// The model, by the name that the provider knows.
    pub model: &'a str,
    /// How it ended.
    pub event: &'a Event,
}

/// Tells of attempts.
#[derive(Clone, Debug, Default)]
pub struct Telemetry {
    spans: Option<Spans>,
}

impl Telemetry {
    /// Tells them to Prometheus, and to a collector where there is one.
    pub fn new(spans: Option<Spans>) -> Self {
        Self { spans }
    }

    /// Tells of an attempt. Never waits.
    pub fn tell(&self, ended: &Ended<'_>) {
        series::count(ended);
        if let Some(spans) = &self.spans {
            spans.send(span::of(ended));
        }
    }
}
