//! Reads server-sent events from bytes as they arrive.
//!
//! An event may be split anywhere, even inside a character or between `\r` and `\n`, so whatever is
//! not a whole line yet is carried over to the next read. Unlike a browser this reader also delivers
//! the last event when the stream ends without a blank line, because servers leave it out; and it
//! reports comments, because a comment is a sign of life although it says nothing.

use memchr::{memchr, memchr2};

/// The longest line and the longest event that are accepted, in bytes.
pub const MAX_EVENT_BYTES: usize = 1024 * 1024;

/// What the stream said.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Item {
    /// A line that starts with a colon.
    Comment,
    /// The joined `data` lines of one event.
    Data(String),
    /// The same of an event whose name is `error`.
    Error(String),
}

/// More than [`MAX_EVENT_BYTES`] without an end.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("an event is longer than {MAX_EVENT_BYTES} bytes")]
pub struct TooLong;

/// The reader; feed it with [`Reader::push`], end it with [`Reader::finish`].
#[derive(Debug, Default)]
pub struct Reader {
    line: Vec<u8>,
    data: Option<String>,
    is_error: bool,
    after_cr: bool,
    started: bool,
}

impl Reader {
    /// Takes what was read from the network; gives what is complete by now.
    pub fn push(&mut self, bytes: &[u8]) -> Result<Vec<Item>, TooLong> {
        let mut items = Vec::new();
        let mut rest = bytes;
        if self.after_cr && !rest.is_empty() {
            // The `\n` of a `\r\n` that was split between two reads.
            rest = rest.strip_prefix(b"\n").unwrap_or(rest);
            self.after_cr = false;
        }
        while let Some(end) = memchr2(b'\n', b'\r', rest) {
            let (line, tail) = rest.split_at(end);
            if self.line.is_empty() && line.len() <= MAX_EVENT_BYTES {
                items.extend(self.end_line(line)?);
            } else {
                self.extend(line)?;
                let line = std::mem::take(&mut self.line);
                items.extend(self.end_line(&line)?);
            }
            rest = match tail {
                [b'\r', b'\n', rest @ ..] => rest,
                [b'\r'] => {
                    self.after_cr = true;
                    &[]
                }
                [_, rest @ ..] => rest,
                [] => &[],
            };
        }
        self.extend(rest)?;
        Ok(items)
    }

    /// The stream has ended: what was still open counts as complete.
    pub fn finish(mut self) -> Result<Option<Item>, TooLong> {
        let line = std::mem::take(&mut self.line);
        if !line.is_empty() {
            self.end_line(&line)?;
        }
        Ok(self.end_event())
    }

    fn end_event(&mut self) -> Option<Item> {
        let is_error = std::mem::take(&mut self.is_error);
        let data = self.data.take()?;
        if is_error {
            return Some(Item::Error(data));
        }
        // An event without data is none.
        (!data.is_empty()).then_some(Item::Data(data))
    }

    fn extend(&mut self, bytes: &[u8]) -> Result<(), TooLong> {
        if self.line.len() + bytes.len() > MAX_EVENT_BYTES {
            return Err(TooLong);
        }
        self.line.extend_from_slice(bytes);
        Ok(())
    }

    fn end_line(&mut self, mut line: &[u8]) -> Result<Option<Item>, TooLong> {
        if !std::mem::replace(&mut self.started, true) {
            line = line.strip_prefix("\u{feff}".as_bytes()).unwrap_or(line);
        }
        if line.is_empty() {
            return Ok(self.end_event());
        }
        if line.first() == Some(&b':') {
            return Ok(Some(Item::Comment));
        }
        let colon = memchr(b':', line);
        let (name, value) = line.split_at(colon.unwrap_or(line.len()));
        let value = value.strip_prefix(b":").unwrap_or(value);
        let value = value.strip_prefix(b" ").unwrap_or(value);
        match name {
            b"data" => {}
            b"event" => {
                self.is_error = value.trim_ascii().eq_ignore_ascii_case(b"error");
                return Ok(None);
            }
            // `id`, `retry` and whatever else say nothing about a completion.
            _ => return Ok(None),
        }
        let value = String::from_utf8_lossy(value);
        match &mut self.data {
            Some(data) if data.len() + value.len() > MAX_EVENT_BYTES => return Err(TooLong),
            Some(data) => {
                data.push('\n');
                data.push_str(&value);
            }
            None => self.data = Some(value.into_owned()),
        }
        Ok(None)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn read(pieces: &[&[u8]]) -> Vec<Item> {
        let mut reader = Reader::default();
        let mut items = Vec::new();
        for piece in pieces {
            items.extend(reader.push(piece).unwrap());
        }
        items.extend(reader.finish().unwrap());
        items
    }

    fn data(text: &str) -> Item {
        Item::Data(text.to_owned())
    }

    #[test]
    fn lines_end_in_any_of_three_ways() {
        for text in [
            "data: a\n\ndata: b\n\n",
            "data: a\r\rdata: b\r\r",
            "data: a\r\n\r\ndata: b\r\n\r\n",
        ] {
            assert_eq!(read(&[text.as_bytes()]), [data("a"), data("b")], "{text:?}");
        }
    }

    #[test]
    fn other_fields_are_ignored_and_comments_are_reported() {
        let text = b": hello\n\nevent: x\nid: 1\nretry: 5\ndata:a\ndata\ndata:  b\nodd\n\n";
        assert_eq!(read(&[text]), [Item::Comment, data("a\n\n b")]);
    }

    #[test]
    fn an_event_named_error_is_told_apart_and_the_next_is_not() {
        let text = b"event: error\ndata: a\n\ndata: b\n\nevent:error\n\nevent: x\ndata: c\n\ndata: d\nevent: Error";
        let error = |text: &str| Item::Error(text.to_owned());
        assert_eq!(
            read(&[text]),
            [error("a"), data("b"), data("c"), error("d")]
        );
    }

    #[test]
    fn the_last_event_needs_no_blank_line_and_no_newline() {
        assert_eq!(read(&[b"data: a"]), [data("a")]);
        assert_eq!(read(&[b"data: a\n"]), [data("a")]);
    }

    #[test]
    fn an_event_without_data_is_none() {
        assert_eq!(read(&[b"data:\n\ndata: a\n\ndata\n\n"]), [data("a")]);
    }

    #[test]
    fn a_byte_order_mark_is_skipped() {
        assert_eq!(read(&["\u{feff}data: a\n\n".as_bytes()]), [data("a")]);
    }

    #[test]
    fn endless_lines_and_events_are_refused() {
        let line = vec![b'x'; MAX_EVENT_BYTES + 1];
        assert_eq!(Reader::default().push(&line), Err(TooLong));
        let mut event = b"data: ".to_vec();
        event.extend(vec![b'x'; MAX_EVENT_BYTES / 2]);
        event.push(b'\n');
        let mut reader = Reader::default();
        assert_eq!(reader.push(&event), Ok(vec![]));
        assert_eq!(reader.push(&event), Ok(vec![]));
        assert_eq!(reader.push(&event), Err(TooLong));
    }

    proptest! {
        #[test]
        fn splitting_changes_nothing(text in "(data: ?[aé€\u{1f600}]{0,4}|:[a-c]{0,3}|id: 7|[a-d: ]{0,6}|\u{0}|(\r\n|\r|\n)){0,30}", cuts in proptest::collection::vec(0usize..200, 0..6)) {
            let bytes = text.as_bytes();
            let mut cuts: Vec<usize> = cuts.into_iter().map(|cut| cut.min(bytes.len())).collect();
            cuts.sort_unstable();
            let mut pieces = Vec::new();
            let mut start = 0;
            for cut in cuts {
                pieces.push(&bytes[start..cut]);
                start = cut;
            }
            pieces.push(&bytes[start..]);
            prop_assert_eq!(read(&pieces), read(&[bytes]));
        }
    }
}
