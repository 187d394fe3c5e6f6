//! The paths of the gateway, and one line of the log and one count for each request to them.

use std::{sync::Arc, time::Instant};

use crate::_core::{
    call_series::{self, CallSeries},
    context::Context,
};

/// A path of the gateway.
pub(super) struct Endpoint {
    /// What its requests are called in the log and in metrics.
    path: &'static str,
    series: CallSeries,
}

impl Endpoint {
    pub(super) const fn new(path: &'static str) -> Self {
        Self {
            path,
            series: CallSeries::new(),
        }
    }

    pub(super) const fn path(&self) -> &'static str {
        self.path
    }
}

/// The line of a request whose caller is known; written when it is finished or dropped.
#[derive(Default)]
pub(super) struct RequestLogLine(Option<Open>);

struct Open {
    endpoint: &'static Endpoint,
    user: Option<i64>,
    /// The name of a program's key.
    key: Option<String>,
    request_id: Arc<str>,
    started: Instant,
}

impl RequestLogLine {
    pub(super) fn start(endpoint: &'static Endpoint, context: &Context, key: Option<&str>) -> Self {
        Self(Some(Open {
            endpoint,
            user: context.caller.presumed().map(|user| user.id),
            key: key.map(str::to_owned),
            request_id: context.request_id.clone(),
            started: Instant::now(),
        }))
    }

    /// It ended well, or with this code.
    pub(super) fn finish(&mut self, code: Option<&'static str>) {
        if let Some(open) = self.0.take() {
            open.write(code.unwrap_or(call_series::OK));
        }
    }
}

impl Drop for RequestLogLine {
    fn drop(&mut self) {
        self.finish(Some("CANCELLED"));
    }
}

impl Open {
    fn write(&self, code: &'static str) {
        let Self {
            endpoint: Endpoint { path, series },
            user,
            key,
            request_id,
            started,
        } = self;
        let duration = started.elapsed();
        series.count(path, code, duration);
        let duration_us = duration.as_micros() as u64;
        tracing::info!(target: "call", path, code, duration_us, user, key, %request_id, "call");
    }
}
