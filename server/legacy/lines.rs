//! The old server's streamed batches (`core/stream/jsonl.ts`), followed line by line.
//!
//! Each line belongs to a promise or an iterable, which an earlier line has announced under a number.
//! So it is known what is still awaited when a stream breaks off, and the numbers can be moved out of
//! the way of ours. Values are not looked at.

use std::collections::BTreeMap;

use bytes::{Bytes, BytesMut};
use serde::Deserialize;
use serde_json::{Map, Value, value::RawValue};

use super::{LegacyFault, LegacyReply, send::AnswerRoom};

const NONSENSE: LegacyFault = LegacyFault::Nonsense("a line of its stream cannot be read");
/// What a line announces at most, so that a stream cannot fill the memory with promises.
const MAX_AWAITED: usize = 100_000;

/// What is awaited under a number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Awaited {
    /// Whether it yields more than one value.
    pub is_iterable: bool,
    /// The call that it belongs to, by its place in the batch that was sent.
    pub call: usize,
}

impl Awaited {
    /// How a line says that it failed.
    pub const fn failed(self) -> u8 {
        if self.is_iterable { 2 } else { 1 }
    }
}

/// A stream that is being followed.
#[derive(Debug)]
pub struct FollowedStream {
    superjson: bool,
    /// Added to all numbers.
    shift: u64,
    awaited: BTreeMap<u64, Awaited>,
}

/// What superjson makes of a value.
#[derive(Deserialize)]
pub struct Wrapped<'a> {
    /// The value.
    #[serde(borrow)]
    pub json: &'a RawValue,
    /// Notes on what JSON cannot say of it.
    #[serde(borrow)]
    pub meta: Option<&'a RawValue>,
}

#[derive(Deserialize)]
struct Definition<'a>(#[serde(borrow)] &'a RawValue, u8, u64);

impl FollowedStream {
    /// Begins with the first line; `None` where it is not the head of a stream. With it come the lines
    /// by which the promises 0, 1 … of a stream of ours are fulfilled, where `places` says which promise
    /// stands for which call.
    pub fn begin(
        head: &[u8],
        superjson: bool,
        shift: u64,
        places: &[usize],
    ) -> Option<(Self, Vec<Vec<u8>>)> {
        let mut lines = Self {
            superjson,
            shift,
            awaited: BTreeMap::new(),
        };
        let (json, meta) = lines.unwrap(head)?;
        let entries: BTreeMap<usize, &RawValue> = serde_json::from_str(json.get()).ok()?;
        let mut fulfilling = Vec::with_capacity(places.len());
        for (call, place) in places.iter().enumerate() {
            let encoded = lines.encoded(entries.get(&call)?, call).ok()?;
            let meta = meta.and_then(|meta| moved(meta, &format!("{call}."), "2."));
            fulfilling.push(lines.wrap(&format!("[{place},0,{encoded}]"), meta.as_deref()));
        }
        (entries.len() == places.len()).then_some((lines, fulfilling))
    }

    /// The next line, with its numbers moved.
    pub fn follow(&mut self, line: &[u8]) -> Result<Vec<u8>, LegacyFault> {
        let (json, meta) = self.unwrap(line).ok_or(NONSENSE)?;
        let parts: Vec<&RawValue> = serde_json::from_str(json.get()).map_err(|_| NONSENSE)?;
        let (id, status, rest) = match &parts[..] {
            [id, status] => (id, status, None),
            [id, status, rest] => (id, status, Some(rest)),
            _ => return Err(NONSENSE),
        };
        let id: u64 = id.get().parse().map_err(|_| NONSENSE)?;
        let status: u8 = status.get().parse().map_err(|_| NONSENSE)?;
        let awaited = *self.awaited.get(&id).ok_or(NONSENSE)?;
        if status > awaited.failed() {
            return Err(NONSENSE);
        }
        let goes_on = awaited.is_iterable && status == 1;
        if !goes_on {
            self.awaited.remove(&id);
        }
        let failed = status == awaited.failed();
        let rest = match rest {
            Some(error) if failed => error.get().to_owned(),
            Some(encoded) => self.encoded(encoded, awaited.call)?,
            None => "[[]]".to_owned(),
        };
        let id = id.saturating_add(self.shift);
        let json = format!("[{id},{status},{rest}]");
        Ok(self.wrap(&json, meta.map(RawValue::get)))
    }

    /// What has not come yet, by the number that the client knows.
    pub fn awaited(&self) -> impl Iterator<Item = (u64, Awaited)> + '_ {
        let moved = |(id, awaited): (&u64, &Awaited)| (id.saturating_add(self.shift), *awaited);
        self.awaited.iter().map(moved)
    }

    /// Whether all has come.
    pub fn is_complete(&self) -> bool {
        self.awaited.is_empty()
    }

    /// `[[value], …definitions]` with moved numbers; notes what it announces.
    fn encoded(&mut self, encoded: &RawValue, call: usize) -> Result<String, LegacyFault> {
        let parts: Vec<&RawValue> = serde_json::from_str(encoded.get()).map_err(|_| NONSENSE)?;
        let (value, definitions) = parts.split_first().ok_or(NONSENSE)?;
        let mut text = format!("[{}", value.get());
        for definition in definitions {
            let Definition(key, kind, id) =
                serde_json::from_str(definition.get()).map_err(|_| NONSENSE)?;
            let is_iterable = kind == 1;
            if self.awaited.len() >= MAX_AWAITED {
                return Err(NONSENSE);
            }
            self.awaited.insert(id, Awaited { is_iterable, call });
            let id = id.saturating_add(self.shift);
            text.push_str(&format!(",[{},{kind},{id}]", key.get()));
        }
        text.push(']');
        Ok(text)
    }

    fn unwrap<'a>(&self, line: &'a [u8]) -> Option<(&'a RawValue, Option<&'a RawValue>)> {
        if !self.superjson {
            return Some((serde_json::from_slice(line).ok()?, None));
        }
        let wrapped: Wrapped<'a> = serde_json::from_slice(line).ok()?;
        Some((wrapped.json, wrapped.meta))
    }

    fn wrap(&self, json: &str, meta: Option<&str>) -> Vec<u8> {
        let line = match (self.superjson, meta) {
            (false, _) => format!("{json}\n"),
            (true, None) => format!("{{\"json\":{json}}}\n"),
            (true, Some(meta)) => format!("{{\"json\":{json},\"meta\":{meta}}}\n"),
        };
        line.into_bytes()
    }
}

/// Reads a stream of the old server's, line by line.
pub struct LineReader {
    reply: LegacyReply,
    buffer: BytesMut,
    most: usize,
    /// The room for the longest line so far, as long as it is read.
    held: AnswerRoom,
}

/// What a stream consists of.
pub enum StreamPiece {
    /// A line with its end, which only the last one may lack.
    Line(Bytes),
    /// A sign of life between two lines.
    Blank(Bytes),
}

impl LineReader {
    /// Reads the body of this answer; a line has `most` bytes at most.
    pub fn new(reply: LegacyReply, most: usize) -> Self {
        Self {
            reply,
            buffer: BytesMut::new(),
            most,
            held: AnswerRoom::default(),
        }
    }

    /// The next piece; nothing at the end.
    pub async fn next(&mut self) -> Result<Option<StreamPiece>, LegacyFault> {
        let mut seen = 0;
        loop {
            let end = self.buffer[seen..].iter().position(|byte| *byte == b'\n');
            if let Some(end) = end {
                let line = self.buffer.split_to(seen + end + 1);
                return Ok(Some(StreamPiece::Line(line.freeze())));
            }
            if !self.buffer.is_empty() && self.buffer.iter().all(u8::is_ascii_whitespace) {
                return Ok(Some(StreamPiece::Blank(self.buffer.split().freeze())));
            }
            if self.buffer.len() > self.most {
                return Err(LegacyFault::AnswerTooLarge(self.most));
            }
            seen = self.buffer.len();
            self.reply.hold(&mut self.held, self.buffer.capacity())?;
            match self.reply.chunk().await? {
                Some(data) => self.buffer.extend_from_slice(&data),
                None if self.buffer.is_empty() => return Ok(None),
                None => return Ok(Some(StreamPiece::Line(self.buffer.split().freeze()))),
            }
        }
    }

    /// All that is left, behind what was read already.
    pub async fn rest(&mut self, begun: &[u8]) -> Result<Bytes, LegacyFault> {
        let mut whole = BytesMut::from(begun);
        while let Some(StreamPiece::Line(piece) | StreamPiece::Blank(piece)) = self.next().await? {
            whole.extend_from_slice(&piece);
            self.reply.hold(&mut self.held, whole.capacity())?;
            if whole.len() > self.most {
                return Err(LegacyFault::AnswerTooLarge(self.most));
            }
        }
        Ok(whole.freeze())
    }
}

/// superjson's notes on what lies below a place, for another place; `None` where there are none.
///
/// Which values were one and the same object is left out: readers may take them for equal ones.
pub fn moved(meta: &RawValue, from: &str, to: &str) -> Option<String> {
    let meta: Value = serde_json::from_str(meta.get()).ok()?;
    let notes = match meta.get("values")? {
        Value::Object(values) => {
            let below = values.iter().filter_map(|(path, note)| {
                let rest = path.strip_prefix(from)?;
                Some((format!("{to}{rest}"), note.clone()))
            });
            below.collect::<Map<_, _>>()
        }
        // Of the value itself.
        root @ Value::Array(_) if from.is_empty() => {
            Map::from_iter([(to.trim_end_matches('.').to_owned(), root.clone())])
        }
        _ => return None,
    };
    if notes.is_empty() {
        return None;
    }
    let mut moved = Map::from_iter([("values".to_owned(), Value::Object(notes))]);
    if let Some(version) = meta.get("v") {
        moved.insert("v".to_owned(), version.clone());
    }
    Some(Value::Object(moved).to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(line: &[u8]) -> &str {
        std::str::from_utf8(line).unwrap().trim_end()
    }

    #[test]
    fn numbers_are_moved_and_values_stay() {
        let head = br#"{"json":{"0":[[0],[null,0,0]],"1":[[0],[null,0,1]]}}"#;
        let (mut lines, fulfilling) = FollowedStream::begin(head, true, 5, &[1, 4]).unwrap();
        let fulfilling: Vec<&str> = fulfilling.iter().map(|line| text(line)).collect();
        assert_eq!(
            fulfilling,
            [
                r#"{"json":[1,0,[[0],[null,0,5]]]}"#,
                r#"{"json":[4,0,[[0],[null,0,6]]]}"#
            ]
        );
        for (line, moved) in [
            (
                r#"{"json":[1,0,[[{"result":0}],["result",0,2]]]}"#,
                r#"{"json":[6,0,[[{"result":0}],["result",0,7]]]}"#,
            ),
            (
                r#"{"json":[0,1,{"message":"[9,0]"}]}"#,
                r#"{"json":[5,1,{"message":"[9,0]"}]}"#,
            ),
            (
                r#"{"json":[2,0,[[{"data":0}],["data",1,3]]]}"#,
                r#"{"json":[7,0,[[{"data":0}],["data",1,8]]]}"#,
            ),
            (
                r#"{"json":[3,1,[[ 1.0 ]]],"meta":{"values":{"2.0.0":["Date"]},"v":1}}"#,
                r#"{"json":[8,1,[[ 1.0 ]]],"meta":{"values":{"2.0.0":["Date"]},"v":1}}"#,
            ),
        ] {
            assert_eq!(text(&lines.follow(line.as_bytes()).unwrap()), moved);
        }
        let iterable = Awaited {
            is_iterable: true,
            call: 1,
        };
        assert_eq!(lines.awaited().collect::<Vec<_>>(), [(8, iterable)]);
        lines.follow(br#"{"json":[3,0,[[]]]}"#).unwrap();
        assert!(lines.is_complete());
    }

    #[test]
    fn what_nobody_announced_is_nonsense() {
        let (mut lines, _) =
            FollowedStream::begin(br#"{"0":[[0],[null,0,0]]}"#, false, 0, &[0]).unwrap();
        for line in [
            "",
            "[1,0,[[1]]]",
            "[0]",
            "{}",
            "[0,0,5]",
            "[0,7,[[1]]]",
            "[-1,0,[[]]]",
            "[0,0,[[1],[null,0,-1]]]",
        ] {
            let mut lines = FollowedStream {
                awaited: lines.awaited.clone(),
                ..lines
            };
            assert!(lines.follow(line.as_bytes()).is_err(), "{line}");
        }
        lines.follow(b" [0,0,[[1]]]").unwrap();
        assert!(lines.is_complete());
        for head in [
            "[]",
            "<html>",
            r#"{"0":5}"#,
            r#"{"1":[[0]]}"#,
            r#"{"0":[[1]],"1":[[1]]}"#,
        ] {
            assert!(
                FollowedStream::begin(head.as_bytes(), false, 0, &[0]).is_none(),
                "{head}"
            );
        }
    }

    #[test]
    fn notes_in_a_head_move_with_their_call() {
        let head = br#"{"json":{"0":[["1970-01-01T00:00:00.000Z"]],"1":[[null]]},"meta":{"values":{"0.0.0":["Date"],"1.0.0":["undefined"]},"v":1}}"#;
        let (_, fulfilling) = FollowedStream::begin(head, true, 0, &[3, 0]).unwrap();
        assert_eq!(
            text(&fulfilling[1]),
            r#"{"json":[0,0,[[null]]],"meta":{"values":{"2.0.0":["undefined"]},"v":1}}"#
        );
    }
}
