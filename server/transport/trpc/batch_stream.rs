//! Batches whose answers are sent as they come, in the forms of client versions 11 and 10.
//!
//! Version 11 reads lines (`core/stream/jsonl.ts`): first a head that promises one value per call,
//! then one line per promise in order of completion. The reference server nests three promises per
//! call; clients await any of them only if it is one, so we fulfil each call at once. Version 10
//! reads one JSON object whose members come in order of completion.
//!
//! The status is 200 before any call has ended, so errors are in the stream and cookies are lost.

use std::{convert::Infallible, future::Future, time::Duration};

use ::http::{HeaderValue, header};
use axum::{body::Body, response::Response};
use bytes::Bytes;
use futures::{StreamExt, stream::FuturesUnordered};

use super::{envelope, envelope::Answer, http};
use crate::_core::config::Transformer;

/// Version 11's form; between lines a space is sent every `ping`, so that proxies see life.
pub(super) fn lines<F>(calls: Vec<F>, transformer: Transformer, ping: Duration) -> Response
where
    F: Future<Output = Answer> + Send + 'static,
{
    let head = head(calls.len(), transformer);
    let mut running = indexed(calls);
    streamed(async_stream::stream! {
        yield Ok(Bytes::from(head));
        let mut ping = super::ticks(ping);
        loop {
            tokio::select! {
                biased;
                done = running.next() => {
                    let Some((index, answer)) = done else { break };
                    let mut line = Vec::with_capacity(512);
                    envelope::write_line(index, answer, transformer, &mut line);
                    yield Ok(Bytes::from(line));
                }
                _ = ping.tick() => yield Ok(Bytes::from_static(b" ")),
            }
        }
    })
}

/// Version 10's form.
pub(super) fn members<F>(calls: Vec<F>, transformer: Transformer) -> Response
where
    F: Future<Output = Answer> + Send + 'static,
{
    let mut running = indexed(calls);
    let mut response = streamed(async_stream::stream! {
        let mut separator = '{';
        while let Some((index, answer)) = running.next().await {
            let mut member = format!("{separator}\"{index}\":").into_bytes();
            envelope::write_envelope(&answer, transformer, &mut member);
            member.push(b'\n');
            separator = ',';
            yield Ok(Bytes::from(member));
        }
        yield Ok(Bytes::from_static(b"}"));
    });
    response.headers_mut().insert(
        header::VARY,
        HeaderValue::from_static("trpc-accept, accept, trpc-batch-mode"),
    );
    response
}

/// `{"0":[[0],[null,0,0]],…}`: call `i` is promise `i`.
fn head(calls: usize, transformer: Transformer) -> String {
    let promises: Vec<String> = (0..calls)
        .map(|i| format!("\"{i}\":[[0],[null,0,{i}]]"))
        .collect();
    let head = format!("{{{}}}", promises.join(","));
    match transformer {
        Transformer::Superjson => format!("{{\"json\":{head}}}\n"),
        Transformer::None => format!("{head}\n"),
    }
}

fn indexed<F>(
    calls: Vec<F>,
) -> FuturesUnordered<impl Future<Output = (usize, Answer)> + Send + 'static>
where
    F: Future<Output = Answer> + Send + 'static,
{
    calls
        .into_iter()
        .enumerate()
        .map(|(index, call)| async move { (index, call.await) })
        .collect()
}

fn streamed(
    lines: impl futures::Stream<Item = Result<Bytes, Infallible>> + Send + 'static,
) -> Response {
    let mut response = http::json(200, Body::from_stream(lines), None);
    let headers = response.headers_mut();
    headers.insert(header::CACHE_CONTROL, super::sse::NO_TRANSFORM);
    headers.insert("x-accel-buffering", super::sse::NO_BUFFERING);
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_head_promises_every_call() {
        assert_eq!(
            head(2, Transformer::Superjson),
            "{\"json\":{\"0\":[[0],[null,0,0]],\"1\":[[0],[null,0,1]]}}\n"
        );
        assert_eq!(head(1, Transformer::None), "{\"0\":[[0],[null,0,0]]}\n");
    }
}
