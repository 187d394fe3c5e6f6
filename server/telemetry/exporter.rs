//! Sends spans to a collector, beside the calls that they describe.
//!
//! A collector that is slow or away costs spans and nothing else: what finds no place in the queue is
//! dropped, and counted in `otlp_spans_total`.

use std::{
    future::Future,
    pin::pin,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use http::{StatusCode, header::CONTENT_TYPE};
use tokio::{
    sync::mpsc,
    time::{Instant, sleep, timeout_at},
};

use super::span::Span;
use crate::{
    _core::{failure_edge::FailureEdge, http_client},
    config::TelemetryConfig,
};

/// Spans that wait at most, and what they hold together, in bytes.
const QUEUE: usize = 4_096;
const QUEUE_BYTES: usize = 16 * 1024 * 1024;
/// Spans of one request.
const BATCH: usize = 512;
/// How long the first span of a request waits for others.
const GATHER: Duration = Duration::from_secs(1);
/// How long a collector may take to answer.
const PATIENCE: Duration = Duration::from_secs(5);
/// How long a stop waits for what is left to be sent.
const LAST_PATIENCE: Duration = Duration::from_secs(2);
/// Before a request is sent again that failed for a moment.
const PAUSES: [Duration; 2] = [Duration::from_secs(1), Duration::from_secs(3)];
const COUNTER: &str = "otlp_spans_total";

/// Where spans are put; cheap to clone.
#[derive(Clone, Debug)]
pub struct Spans {
    queue: mpsc::Sender<Span>,
    /// What those hold that are not taken yet.
    waiting: Arc<AtomicUsize>,
}

impl Spans {
    pub(super) fn send(&self, span: Span) {
        let weight = span.weight();
        let waiting = self.waiting.fetch_add(weight, Ordering::Relaxed);
        if waiting + weight > QUEUE_BYTES || self.queue.try_send(span).is_err() {
            self.waiting.fetch_sub(weight, Ordering::Relaxed);
            count("dropped", 1);
        }
    }
}

/// What sends them.
#[derive(Debug)]
pub struct Exporter {
    queue: mpsc::Receiver<Span>,
    waiting: Arc<AtomicUsize>,
    http: reqwest::Client,
    url: String,
    config: TelemetryConfig,
    outage: FailureEdge,
}

/// Where spans are put, and what sends them; `None` where no collector is named.
pub fn exporter(config: &TelemetryConfig) -> anyhow::Result<Option<(Spans, Exporter)>> {
    let Some(endpoint) = &config.endpoint else {
        return Ok(None);
    };
    let (sender, queue) = mpsc::channel(QUEUE);
    let waiting = Arc::default();
    let exporter = Exporter {
        queue,
        waiting: Arc::clone(&waiting),
        http: http_client::builder().timeout(PATIENCE).build()?,
        url: format!("{endpoint}/v1/traces"),
        config: config.clone(),
        outage: FailureEdge::default(),
    };
    let queue = sender;
    Ok(Some((Spans { queue, waiting }, exporter)))
}

impl Exporter {
    /// Sends what comes until `stopping`, then what is left, but for no longer than two seconds.
    pub async fn run(mut self, stopping: impl Future<Output = ()>) {
        let mut rest = Vec::new();
        {
            let mut stopping = pin!(stopping);
            let deliver = async {
                while self.gather(&mut rest).await {
                    self.deliver(&rest).await;
                    rest.clear();
                }
            };
            tokio::select! {
                () = deliver => {}
                () = &mut stopping => {}
            }
        }
        while let Ok(span) = self.queue.try_recv() {
            self.take(span, &mut rest);
        }
        let until = Instant::now() + LAST_PATIENCE;
        for batch in rest.chunks(BATCH) {
            if timeout_at(until, self.post(batch, true)).await.is_err() {
                count("failed", batch.len());
            }
        }
    }

    /// Adds the next spans; `false` once no more can come.
    async fn gather(&mut self, batch: &mut Vec<Span>) -> bool {
        let Some(first) = self.queue.recv().await else {
            return false;
        };
        self.take(first, batch);
        let until = Instant::now() + GATHER;
        while batch.len() < BATCH
            && let Ok(Some(span)) = timeout_at(until, self.queue.recv()).await
        {
            self.take(span, batch);
        }
        true
    }

    fn take(&self, span: Span, to: &mut Vec<Span>) {
        self.waiting.fetch_sub(span.weight(), Ordering::Relaxed);
        to.push(span);
    }

    /// Sends spans, again where that failed for a moment.
    async fn deliver(&self, spans: &[Span]) {
        for pause in PAUSES {
            if self.post(spans, false).await {
                return;
            }
            sleep(pause).await;
        }
        self.post(spans, true).await;
    }

    /// Sends spans; `false` where that may succeed in a moment, and this is not the last try.
    async fn post(&self, spans: &[Span], is_last: bool) -> bool {
        let format = self.config.format;
        let body = format.request(&self.config.service, spans);
        let request = self.http.post(&self.url);
        let request = request
            .headers(self.config.headers.clone())
            .header(CONTENT_TYPE, format.media_type());
        let sent = request.body(body).send().await;
        let status = sent.map(|response| response.status());
        let passes = match &status {
            Ok(status) if status.is_success() => {
                if self.outage.ends() {
                    tracing::info!("the collector of traces takes spans again");
                }
                count("sent", spans.len());
                return true;
            }
            Ok(status) => matches!(
                *status,
                StatusCode::TOO_MANY_REQUESTS
                    | StatusCode::BAD_GATEWAY
                    | StatusCode::SERVICE_UNAVAILABLE
                    | StatusCode::GATEWAY_TIMEOUT
            ),
            Err(_) => true,
        };
        if passes && !is_last {
            return false;
        }
        if self.outage.begins() {
            let status = status.as_ref().ok().map(StatusCode::as_u16);
            tracing::warn!(
                status,
                "the collector of traces (OTEL_EXPORTER_OTLP_ENDPOINT) does not take spans; they are dropped"
            );
        }
        count("failed", spans.len());
        true
    }
}

fn count(outcome: &'static str, spans: usize) {
    metrics::counter!(COUNTER, "outcome" => outcome).increment(spans as u64);
}

/// Describes the metric to the installed recorder.
pub(super) fn describe() {
    metrics::describe_counter!(
        COUNTER,
        "Spans for the collector of traces, by what became of them"
    );
}
