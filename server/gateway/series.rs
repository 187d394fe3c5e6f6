//! One line of the log, and one count, for each request of the gateway.

use std::{sync::Arc, time::Instant};

use crate::_core::{
    call_series::{self, CallSeries},
    context::Context,
};

static CHAT: CallSeries = CallSeries::new();
static EMBEDDINGS: CallSeries = CallSeries::new();
static MODELS: CallSeries = CallSeries::new();
static MESSAGES: CallSeries = CallSeries::new();
static COUNT: CallSeries = CallSeries::new();
static RESPONSES: CallSeries = CallSeries::new();

/// The line of a request whose caller is known; written when it is finished or dropped.
#[derive(Default)]
pub(super) struct Line(Option<Open>);

struct Open {
    path: &'static str,
    user: Option<i64>,
    /// The name of a program's key.
    key: Option<String>,
    request_id: Arc<str>,
    started: Instant,
}

impl Line {
    pub(super) fn start(path: &'static str, context: &Context, key: Option<&str>) -> Self {
        Self(Some(Open {
            path,
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

impl Drop for Line {
    fn drop(&mut self) {
        self.finish(Some("CANCELLED"));
    }
}

impl Open {
    fn write(&self, code: &'static str) {
        let Self {
            path,
            user,
            key,
            request_id,
            started,
        } = self;
        let series = match *path {
            "/v1/embeddings" => &EMBEDDINGS,
            "/v1/models" => &MODELS,
            "/v1/messages" => &MESSAGES,
            "/v1/messages/count_tokens" => &COUNT,
            "/v1/responses" => &RESPONSES,
            _ => &CHAT,
        };
        let duration = started.elapsed();
        series.count(path, code, duration);
        let duration_us = duration.as_micros() as u64;
        tracing::info!(target: "call", path, code, duration_us, user, key, %request_id, "call");
    }
}
