//! The old server's share of a batch: one request for all of it, whose answers are joined with ours.

use std::sync::Arc;

use async_stream::stream;
use bytes::Bytes;
use chrono::{DateTime, Utc};
use futures::{
    StreamExt,
    stream::{self, BoxStream},
};
use http::{HeaderMap, HeaderName, Method, header, request};
use serde_json::value::RawValue;

use super::{
    IDENTITY, asker, failures,
    following::{Begun, Following},
};
use crate::{
    legacy::{
        self, LegacyFault, LegacyReply, OldServer, Onward, answer, paths::component,
        send::AnswerRoom,
    },
    transport::trpc::{
        Trpc, batch_stream,
        input::{self, BatchInputs},
        moving::{MovingCall, Passed},
        part::BatchPart,
        request::BatchDelivery,
    },
};

/// The old server's share of a batch.
pub(in crate::transport::trpc) struct PassedShare {
    trpc: Arc<Trpc>,
    old: Arc<OldServer>,
    onward: Result<Onward, LegacyFault>,
    names: Vec<String>,
    /// The places of its calls in the whole batch, in order.
    places: Vec<usize>,
    /// Calls whose names lead elsewhere, with their places. They are refused alone, and the others go on.
    odd: Vec<(usize, String)>,
    /// How many calls the whole batch has.
    count: usize,
    delivery: BatchDelivery,
    /// Calls that are watched, each with its number among them.
    passed: Vec<(usize, Passed)>,
}

/// Which part of a batch is the old server's.
pub(in crate::transport::trpc) struct BatchSplit<'a> {
    /// The names of all calls of the batch.
    pub(in crate::transport::trpc) names: &'a [&'a str],
    /// The places of its calls.
    pub(in crate::transport::trpc) places: Vec<usize>,
    /// What is noted, of all calls of the batch by place; theirs are taken out.
    pub(in crate::transport::trpc) watched: &'a mut [Option<MovingCall>],
    /// The headers by which callers are known.
    pub(in crate::transport::trpc) by: Arc<HeaderMap>,
    pub(in crate::transport::trpc) delivery: BatchDelivery,
}

/// What the old server said of its share.
pub(in crate::transport::trpc) struct PassedAnswer {
    /// In any order.
    pub(in crate::transport::trpc) parts: Vec<(usize, BatchPart)>,
    /// Its `Set-Cookie` and `Retry-After`.
    pub(in crate::transport::trpc) headers: HeaderMap,
    /// The room for them, until they are written.
    pub(in crate::transport::trpc) held: AnswerRoom,
}

impl PassedShare {
    /// Takes the old server's share out of a batch, with its inputs. Answers that are watched come whole.
    pub(in crate::transport::trpc) fn split(
        trpc: &Arc<Trpc>,
        old: &Arc<OldServer>,
        parts: &request::Parts,
        inputs: &mut BatchInputs,
        split: BatchSplit<'_>,
    ) -> Self {
        let BatchSplit {
            names,
            places,
            watched,
            by,
            mut delivery,
        } = split;
        let mut passed = Vec::new();
        let (places, odd): (Vec<_>, Vec<_>) =
            (places.into_iter()).partition(|&place| old.takes(names[place]));
        let odd = odd
            .into_iter()
            .map(|place| (place, names[place].to_owned()));
        let theirs: Vec<String> = places.iter().map(|&at| names[at].to_owned()).collect();
        let mut taken = String::from("{");
        for (call, &place) in places.iter().enumerate() {
            let text = inputs.take_text(place);
            if let Some(watched) = watched.get_mut(place).and_then(Option::take) {
                let transformer = trpc.config.transformer;
                let text = text.as_deref().map(RawValue::get).map(str::as_bytes);
                let is_read = watched.compares();
                let input = is_read
                    .then(|| input::read(text, transformer).ok())
                    .flatten();
                passed.push((call, watched.passed_on(trpc, by.clone(), input)));
            }
            if let Some(text) = text {
                let separator = if taken.len() > 1 { "," } else { "" };
                taken.push_str(&format!("{separator}\"{call}\":{text}"));
            }
        }
        taken.push('}');
        let mut headers = onward_headers(trpc, old, parts);
        if !passed.is_empty() && delivery == BatchDelivery::Lines {
            headers.remove("trpc-accept");
            delivery = BatchDelivery::Whole;
        }
        let path = theirs.iter().map(|name| component(name));
        let path = format!("/{}", path.collect::<Vec<_>>().join(","));
        let query = onward_query(old, parts, &taken);
        let url = old.calls_url(&path, Some(&query));
        let body = match parts.method {
            Method::GET => String::new(),
            _ => taken,
        };
        Self {
            trpc: trpc.clone(),
            old: old.clone(),
            onward: url.map(|url| Onward {
                method: parts.method.clone(),
                url,
                headers,
                body: legacy::LegacyBody::Bytes(body.into()),
            }),
            names: theirs,
            places,
            odd: odd.collect(),
            count: names.len(),
            delivery,
            passed,
        }
    }

    /// Whether the call at this place is among them.
    pub(in crate::transport::trpc) fn has(&self, place: usize) -> bool {
        self.places.binary_search(&place).is_ok() || self.odd.iter().any(|(odd, _)| *odd == place)
    }

    /// The answers to calls whose names lead elsewhere.
    fn refused(&mut self) -> Vec<(usize, BatchPart)> {
        let odd = std::mem::take(&mut self.odd);
        let failures = failures(
            odd.iter().map(|(_, name)| name.as_str()),
            &LegacyFault::Path,
        );
        let parts = failures
            .into_iter()
            .map(|failure| BatchPart::Ours(Err(failure)));
        odd.iter().map(|(place, _)| *place).zip(parts).collect()
    }

    /// Asks for all of it at once.
    pub(in crate::transport::trpc) async fn ask(mut self) -> PassedAnswer {
        let mut parts = self.refused();
        if self.places.is_empty() {
            return PassedAnswer {
                parts,
                headers: HeaderMap::new(),
                held: AnswerRoom::default(),
            };
        }
        let answered = self.answers().await;
        self.old.note(&answered);
        for (call, passed) in std::mem::take(&mut self.passed) {
            match &answered {
                Ok((envelopes, ..)) => {
                    let envelope = envelopes.get(call);
                    let status = envelope.map_or(500, |it| it.status);
                    passed.answered(status, envelope.map(|it| it.json.clone()));
                }
                Err(fault) => passed.failed(fault),
            }
        }
        match answered {
            Ok((envelopes, headers, held)) => {
                let envelopes = envelopes.into_iter().map(BatchPart::Theirs);
                parts.extend(self.places.into_iter().zip(envelopes));
                PassedAnswer {
                    parts,
                    headers,
                    held,
                }
            }
            Err(fault) => {
                parts.extend(self.failed(&fault));
                PassedAnswer {
                    parts,
                    headers: HeaderMap::new(),
                    held: AnswerRoom::default(),
                }
            }
        }
    }

    fn failed(&self, fault: &LegacyFault) -> Vec<(usize, BatchPart)> {
        let failures = failures(self.names.iter().map(String::as_str), fault);
        let parts = failures
            .into_iter()
            .map(|failure| BatchPart::Ours(Err(failure)));
        self.places.iter().copied().zip(parts).collect()
    }

    async fn send(&mut self) -> Result<LegacyReply, LegacyFault> {
        let taken = Err(LegacyFault::Nonsense("it was asked already"));
        self.old
            .send(std::mem::replace(&mut self.onward, taken)?)
            .await
    }

    async fn answers(
        &mut self,
    ) -> Result<(Vec<answer::Envelope>, HeaderMap, AnswerRoom), LegacyFault> {
        let mut reply = self.send().await?;
        let (status, headers) = (reply.status().as_u16(), kept(&reply));
        if reply.is_encoded() {
            return Err(LegacyFault::Nonsense(
                "it is compressed, which was not asked for",
            ));
        }
        let retry_after = reply.retry_after();
        let (json, mut held) = reply.read_whole().await?;
        let envelopes = self.envelopes(status, retry_after, &json)?;
        let written = envelopes.iter().map(|it| it.json.len()).sum();
        reply.hold(&mut held, written)?;
        Ok((envelopes, headers, held))
    }

    fn envelopes(
        &self,
        status: u16,
        retry_after: Option<DateTime<Utc>>,
        json: &Bytes,
    ) -> Result<Vec<answer::Envelope>, LegacyFault> {
        let most = self.old.max_answer_bytes();
        let envelopes = answer::split(status, json, self.places.len(), most);
        envelopes.map_err(|fault| answer::refused(status, retry_after, fault))
    }

    /// Asks for it as a stream; what comes first are the headers.
    pub(in crate::transport::trpc) async fn open(
        mut self,
    ) -> (HeaderMap, BoxStream<'static, batch_stream::PassedPiece>) {
        let odd = self.refused().into_iter();
        let odd = odd.map(|(place, part)| batch_stream::PassedPiece::Call(place, part));
        let odd = stream::iter(odd.collect::<Vec<_>>());
        let (headers, pieces) = self.open_passed().await;
        (headers, odd.chain(pieces).boxed())
    }

    async fn open_passed(mut self) -> (HeaderMap, BoxStream<'static, batch_stream::PassedPiece>) {
        use batch_stream::PassedPiece::{Call, Line};
        if self.delivery != BatchDelivery::Lines || self.places.is_empty() {
            let PassedAnswer {
                parts,
                headers,
                held,
            } = self.ask().await;
            let pieces = stream! {
                let _held = held;
                for (place, part) in parts {
                    yield Call(place, part);
                }
            };
            return (headers, pieces.boxed());
        }
        let reply = match self.send().await {
            Ok(reply) => reply,
            Err(fault) => return (HeaderMap::new(), self.all_failed(&fault)),
        };
        let (status, headers) = (reply.status().as_u16(), kept(&reply));
        let retry_after = reply.retry_after();
        let pieces = stream! {
            let (names, places) = (self.names.clone(), self.places.clone());
            let shift = Some(self.count as u64);
            let begun = if reply.is_encoded() {
                Err(LegacyFault::Nonsense("it is compressed, which was not asked for"))
            } else {
                Following::begin(&self.trpc, &self.old, reply, names, places, shift).await
            };
            let envelopes = match begun {
                Ok(Begun::Stream(fulfilling, mut rest)) => {
                    self.old.note(&Ok(()));
                    for line in fulfilling {
                        yield Line(line);
                    }
                    while let Some(line) = rest.next().await {
                        yield Line(line);
                    }
                    return;
                }
                Ok(Begun::Whole(json)) => self.envelopes(status, retry_after, &json),
                Err(fault) => Err(answer::refused(status, retry_after, fault)),
            };
            self.old.note(&envelopes);
            match envelopes {
                Ok(envelopes) => {
                    for (place, envelope) in self.places.iter().zip(envelopes) {
                        yield Call(*place, BatchPart::Theirs(envelope));
                    }
                }
                Err(fault) => {
                    for (place, part) in self.failed(&fault) {
                        yield Call(place, part);
                    }
                }
            }
        };
        (headers, pieces.boxed())
    }

    fn all_failed(&self, fault: &LegacyFault) -> BoxStream<'static, batch_stream::PassedPiece> {
        self.old.note_fault(fault);
        let pieces = self.failed(fault).into_iter();
        stream::iter(pieces.map(|(place, part)| batch_stream::PassedPiece::Call(place, part)))
            .boxed()
    }
}

/// The query of a batch as it goes on; by GET with these inputs in place of all.
fn onward_query(old: &OldServer, parts: &request::Parts, inputs: &str) -> String {
    let is_get = parts.method == Method::GET;
    let is_input = |pair: &&str| {
        let name = form_urlencoded::parse(pair.as_bytes()).next();
        name.is_some_and(|(name, _)| name == "input")
    };
    let query = old.query(parts.uri.query()).unwrap_or_default();
    let pairs = query.split('&');
    let mut query: Vec<String> = pairs
        .filter(|pair| !(pair.is_empty() || is_get && is_input(pair)))
        .map(str::to_owned)
        .collect();
    if is_get {
        query.push(format!("input={}", component(inputs)));
    }
    query.join("&")
}

/// The headers of a batch as it goes on.
fn onward_headers(trpc: &Trpc, old: &OldServer, parts: &request::Parts) -> HeaderMap {
    let mut headers = old.headers(&parts.headers, &asker(&trpc.gate, parts));
    headers.insert(header::ACCEPT_ENCODING, IDENTITY);
    // Version 10's stream is one object; there is nothing to gain from taking it apart. And what
    // was stored of this answer is not what is asked for.
    for name in [
        "trpc-batch-mode",
        "if-none-match",
        "if-modified-since",
        "range",
    ] {
        headers.remove(name);
    }
    headers
}

/// What a joined answer keeps of the old server's headers.
fn kept(reply: &LegacyReply) -> HeaderMap {
    let headers = reply.headers();
    let is_kept = |name: &HeaderName| *name == header::SET_COOKIE || *name == header::RETRY_AFTER;
    let mut kept = HeaderMap::new();
    for (name, value) in headers.iter().filter(|(name, _)| is_kept(name)) {
        kept.append(name.clone(), value.clone());
    }
    kept
}
