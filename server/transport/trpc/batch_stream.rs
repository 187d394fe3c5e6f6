//! Batches whose answers are sent as they come, in the forms of client versions 11 and 10.
//!
//! Version 11 reads lines (`core/stream/jsonl.ts`): first a head that promises one value per call,
//! then one line per promise in order of completion. The reference server nests three promises per
//! call; clients await any of them only if it is one, so we fulfil each call at once. Version 10
//! reads one JSON object whose members come in order of completion.
//!
//! The status is 200 before the calls have ended, so errors are in the stream. Cookies are in the head
//! as well, which therefore waits for the calls that set some.

use std::{collections::VecDeque, convert::Infallible, future::Future, time::Duration};

use axum::{body::Body, response::Response};
use bytes::Bytes;
use futures::{
    StreamExt,
    future::BoxFuture,
    stream::{self, BoxStream, FuturesUnordered},
};
use http::{HeaderValue, header};
use tokio::sync::mpsc;

use super::{Trpc, part::BatchPart, request::BatchDelivery, respond};
use crate::config::Transformer;

/// Answers that wait for the client to read those before them.
const QUEUED: usize = 4;

/// What the old server's share of a batch brings.
pub(super) enum PassedPiece {
    /// The answer to the call at this place.
    Call(usize, BatchPart),
    /// A line of version 11's form, as it is sent.
    Line(Bytes),
}

/// The calls of a batch, each with its place, in order of completion.
///
/// They have a task of their own, which takes turns; a body cannot. It ends when this is dropped.
pub(super) struct RunningBatch {
    answers: mpsc::Receiver<(usize, BatchPart)>,
    /// What ended before anything was sent.
    ended: VecDeque<(usize, BatchPart)>,
}

impl RunningBatch {
    pub(super) fn start<F>(trpc: &Trpc, calls: impl Iterator<Item = (usize, F)>) -> Self
    where
        F: Future<Output = BatchPart> + Send + 'static,
    {
        let indexed = |(index, call): (usize, F)| -> BoxFuture<'static, (usize, BatchPart)> {
            Box::pin(async move { (index, call.await) })
        };
        let mut calls: FuturesUnordered<_> = calls.map(indexed).collect();
        let (sender, answers) = mpsc::channel(QUEUED);
        let turns = trpc.bounds.turns.clone();
        trpc.tasks.spawn(async move {
            let send_all = async {
                while let Some(answer) = calls.next().await {
                    if sender.send(answer).await.is_err() {
                        break;
                    }
                }
            };
            tokio::select! {
                () = turns.take(send_all) => {}
                () = sender.closed() => {}
            }
        });
        Self {
            answers,
            ended: VecDeque::new(),
        }
    }

    /// Runs all of them until those that are marked have ended.
    pub(super) async fn wait_for(&mut self, marked: &[bool]) {
        let mut awaited = marked.iter().filter(|marked| **marked).count();
        while awaited > 0 {
            let Some((index, answer)) = self.answers.recv().await else {
                return;
            };
            awaited -= usize::from(marked.get(index) == Some(&true));
            self.ended.push_back((index, answer));
        }
    }

    async fn next(&mut self) -> Option<(usize, BatchPart)> {
        match self.ended.pop_front() {
            Some(ended) => Some(ended),
            None => self.answers.recv().await,
        }
    }
}

/// The response to a streamed batch of `count` calls, some of which may be the old server's.
pub(super) fn respond(
    running: RunningBatch,
    theirs: Option<BoxStream<'static, PassedPiece>>,
    count: usize,
    trpc: &Trpc,
    delivery: BatchDelivery,
) -> Response {
    let transformer = trpc.config.transformer;
    let pieces = pieces(running, theirs);
    match delivery {
        BatchDelivery::Members => members(pieces, transformer),
        _ => lines(pieces, count, transformer, trpc.config.ping_interval),
    }
}

/// What ends here and what the old server brings, as it comes.
fn pieces(
    mut running: RunningBatch,
    theirs: Option<BoxStream<'static, PassedPiece>>,
) -> BoxStream<'static, PassedPiece> {
    let ours = async_stream::stream! {
        while let Some((index, part)) = running.next().await {
            yield PassedPiece::Call(index, part);
        }
    };
    match theirs {
        Some(theirs) => stream::select(ours, theirs).boxed(),
        None => ours.boxed(),
    }
}

/// Version 11's form; between lines a space is sent every `ping`, so that proxies see life.
fn lines(
    mut pieces: BoxStream<'static, PassedPiece>,
    calls: usize,
    transformer: Transformer,
    ping: Duration,
) -> Response {
    let head = head(calls, transformer);
    streamed(async_stream::stream! {
        yield Ok(Bytes::from(head));
        let mut ping = super::ticks(ping);
        loop {
            tokio::select! {
                biased;
                piece = pieces.next() => match piece {
                    Some(PassedPiece::Call(index, part)) => {
                        let mut line = Vec::with_capacity(512);
                        part.write_line(index, transformer, &mut line);
                        yield Ok(Bytes::from(line));
                    }
                    Some(PassedPiece::Line(line)) => yield Ok(line),
                    None => break,
                },
                _ = ping.tick() => yield Ok(Bytes::from_static(b" ")),
            }
        }
    })
}

/// Version 10's form.
fn members(mut pieces: BoxStream<'static, PassedPiece>, transformer: Transformer) -> Response {
    let mut response = streamed(async_stream::stream! {
        let mut separator = '{';
        while let Some(piece) = pieces.next().await {
            // Lines are of the other form, which was not asked for.
            let PassedPiece::Call(index, part) = piece else { continue };
            let mut member = format!("{separator}\"{index}\":").into_bytes();
            part.write_envelope(transformer, &mut member);
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

fn streamed(
    lines: impl futures::Stream<Item = Result<Bytes, Infallible>> + Send + 'static,
) -> Response {
    let mut response = respond::json(200, Body::from_stream(lines), &[]);
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
