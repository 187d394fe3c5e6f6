//! Counts every call by the `metrics` facade, for Prometheus.

use std::{sync::OnceLock, time::Duration};

use metrics::{Counter, Histogram, Unit};

const CALLS: &str = "rpc_calls_total";
const DURATION: &str = "rpc_call_duration_seconds";
/// What stands in place of an error's code where there was no error.
pub(crate) const OK: &str = "OK";

/// Describes what is counted to the installed recorder.
pub fn describe() {
    metrics::describe_counter!(CALLS, "Calls of procedures on all wires, by how they ended");
    metrics::describe_histogram!(
        DURATION,
        Unit::Seconds,
        "From the access check of a query or mutation to its answer, or to a subscription's start"
    );
}

/// The handles of one procedure, made at its first call, when the recorder is installed.
#[derive(Default)]
pub(crate) struct CallSeries(OnceLock<(Counter, Histogram)>);

impl CallSeries {
    /// Handles that are made when they are needed.
    pub(crate) const fn new() -> Self {
        Self(OnceLock::new())
    }

    /// Counts a call that ended with this code.
    pub(crate) fn count(&self, path: &'static str, code: &'static str, duration: Duration) {
        let (ok, seconds) = self.0.get_or_init(|| {
            let ok = metrics::counter!(CALLS, "procedure" => path, "code" => OK);
            (ok, metrics::histogram!(DURATION, "procedure" => path))
        });
        match code {
            OK => ok.increment(1),
            _ => metrics::counter!(CALLS, "procedure" => path, "code" => code).increment(1),
        }
        seconds.record(duration.as_secs_f64());
    }
}
