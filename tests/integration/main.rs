//! All integration tests in one binary, so that the library is linked once.

mod ai_metrics;
mod ai_metrics_vectors;
mod support;
