//! A streamed batch of the old server's, followed to its end, so that what it leaves open is closed.

use std::sync::Arc;

use async_stream::stream;
use bytes::Bytes;
use futures::{
    Stream, StreamExt,
    stream::{self, BoxStream},
};

use crate::{
    _core::{context::new_request_id, errors::RpcError},
    config::Transformer,
    legacy::{
        LegacyFault, LegacyReply, OldServer, answer,
        lines::{FollowedStream, LineReader, StreamPiece},
    },
    transport::trpc::{
        Trpc,
        envelope::{self, CallFailure},
    },
};

/// A streamed batch of the old server's, followed to its end.
pub(super) struct Following {
    trpc: Arc<Trpc>,
    old: Arc<OldServer>,
    names: Vec<String>,
    reader: LineReader,
    lines: FollowedStream,
    /// Whether lines go on as they came.
    as_they_came: bool,
}

pub(super) enum Begun {
    /// The lines by which our promises are fulfilled, and what follows.
    Stream(Vec<Bytes>, BoxStream<'static, Bytes>),
    /// It was no stream.
    Whole(Bytes),
}

impl Following {
    /// Reads the head. With `shift` numbers are moved by as much; without it lines go on as they came.
    pub(super) async fn begin(
        trpc: &Arc<Trpc>,
        old: &Arc<OldServer>,
        reply: LegacyReply,
        names: Vec<String>,
        places: Vec<usize>,
        shift: Option<u64>,
    ) -> Result<Begun, LegacyFault> {
        let (status, retry_after) = (reply.status().as_u16(), reply.retry_after());
        let mut reader = LineReader::new(reply, old.max_answer_bytes());
        let mut begun = Vec::new();
        let head = loop {
            match reader.next().await? {
                Some(StreamPiece::Blank(blank)) => begun.extend_from_slice(&blank),
                Some(StreamPiece::Line(head)) => break head,
                None => {
                    let cut = LegacyFault::Cut("nothing came".into());
                    return Err(answer::refused(status, retry_after, cut));
                }
            }
        };
        let superjson = trpc.config.transformer == Transformer::Superjson;
        let Some((lines, fulfilling)) =
            FollowedStream::begin(&head, superjson, shift.unwrap_or(0), &places)
        else {
            begun.extend_from_slice(&head);
            return Ok(Begun::Whole(reader.rest(&begun).await?));
        };
        let following = Self {
            trpc: trpc.clone(),
            old: old.clone(),
            names,
            reader,
            lines,
            as_they_came: shift.is_none(),
        };
        let first = shift.is_none().then_some(head);
        let rest = stream::iter(first).chain(following.run()).boxed();
        Ok(Begun::Stream(
            fulfilling.into_iter().map(Bytes::from).collect(),
            rest,
        ))
    }

    fn run(mut self) -> impl Stream<Item = Bytes> + Send {
        stream! {
            let fault = loop {
                // A client has all that it waits for, whatever the connection does afterwards.
                if self.lines.is_complete() && !self.as_they_came {
                    return;
                }
                match self.reader.next().await {
                    Ok(Some(StreamPiece::Blank(_))) if !self.as_they_came => {}
                    Ok(Some(StreamPiece::Blank(blank))) => yield blank,
                    Ok(Some(StreamPiece::Line(line))) => match self.lines.follow(&line) {
                        Ok(_) if self.as_they_came => yield line,
                        Ok(moved) => yield moved.into(),
                        Err(fault) => break fault,
                    },
                    Ok(None) if self.lines.is_complete() => return,
                    Ok(None) => break LegacyFault::Cut("its stream has ended".into()),
                    Err(_) if self.lines.is_complete() => return,
                    Err(fault) => break fault,
                }
            };
            self.old.note_fault(&fault);
            let error = RpcError::from(fault);
            for (id, awaited) in self.lines.awaited() {
                let name = self.names.get(awaited.call).map(String::as_str);
                let failure = CallFailure::report(error.clone(), name, new_request_id());
                let transformer = self.trpc.config.transformer;
                let mut line = Vec::with_capacity(256);
                envelope::write_rejection(id, awaited.failed(), &failure, transformer, &mut line);
                yield line.into();
            }
        }
    }
}
