//! What an HTTP/2 client says beside its requests: settings, pings, resets, priorities, and room.
//!
//! Such a frame is dealt with as soon as it is read, so it takes no memory; but it takes time, and the
//! library that answers it does so as often as it is asked. A browser sends a handful for each request.

use std::{io, time::Duration};

use tokio::time::Instant;

/// What an HTTP/2 connection begins with.
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
/// Length (3), kind, flags, stream (4).
const HEAD_BYTES: usize = 9;
/// DATA, HEADERS, CONTINUATION: what requests are made of.
const OF_REQUESTS: [u8; 3] = [0, 1, 9];
/// Other frames that a client may send, or DATA without data, in each [`PERIOD`].
///
/// Whoever reads an answer as fast as it comes says for every 16 KiB that there is room again.
const MAX_OTHERS: u32 = 10_000;
const PERIOD: Duration = Duration::from_secs(1);

/// The frames of a connection, as far as they have come; of one that does not speak HTTP/2, nothing.
#[derive(Debug)]
pub(super) enum Frames {
    /// So much of the preface has come.
    Preface(usize),
    Http2(Http2),
    /// It speaks something else.
    None,
}

#[derive(Debug)]
pub(super) struct Http2 {
    head: [u8; HEAD_BYTES],
    /// Of the head.
    read: usize,
    /// Of the payload.
    left: usize,
    stays: bool,
    others: u32,
    since: Instant,
}

impl Default for Frames {
    fn default() -> Self {
        Self::Preface(0)
    }
}

impl Frames {
    /// How many of these bytes stay until somebody claims them. Fails where the client says too much
    /// that is no request.
    pub(super) fn read(&mut self, mut bytes: &[u8]) -> io::Result<usize> {
        let mut stays = 0;
        if let Self::Preface(read) = self {
            let common = bytes.len().min(PREFACE.len() - *read);
            if bytes[..common] != PREFACE[*read..*read + common] {
                *self = Self::None;
                return Ok(bytes.len());
            }
            *read += common;
            stays = common;
            bytes = &bytes[common..];
            if *read == PREFACE.len() {
                *self = Self::Http2(Http2::new());
            }
        }
        match self {
            Self::Preface(_) => Ok(stays),
            Self::Http2(frames) => Ok(stays + frames.read(bytes)?),
            Self::None => Ok(bytes.len()),
        }
    }
}

impl Http2 {
    fn new() -> Self {
        Self {
            head: [0; HEAD_BYTES],
            read: 0,
            left: 0,
            stays: false,
            others: 0,
            since: Instant::now(),
        }
    }

    fn read(&mut self, mut bytes: &[u8]) -> io::Result<usize> {
        let mut stays = 0;
        while !bytes.is_empty() {
            if self.left == 0 {
                let more = bytes.len().min(HEAD_BYTES - self.read);
                self.head[self.read..self.read + more].copy_from_slice(&bytes[..more]);
                self.read += more;
                bytes = &bytes[more..];
                if self.read < HEAD_BYTES {
                    break;
                }
                self.read = 0;
                let [a, b, c, kind, ..] = self.head;
                self.left = u32::from_be_bytes([0, a, b, c]) as usize;
                self.stays = OF_REQUESTS.contains(&kind);
                if !self.stays || self.left == 0 {
                    self.count()?;
                }
            }
            let payload = bytes.len().min(self.left);
            self.left -= payload;
            bytes = &bytes[payload..];
            if self.stays {
                stays += payload;
            }
        }
        Ok(stays)
    }

    fn count(&mut self) -> io::Result<()> {
        if self.since.elapsed() > PERIOD {
            self.since = Instant::now();
            self.others = 0;
        }
        self.others += 1;
        if self.others > MAX_OTHERS {
            return Err(io::Error::other("too many frames that are no request"));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(kind: u8, payload: usize) -> Vec<u8> {
        let mut frame = vec![0, (payload >> 8) as u8, payload as u8, kind, 0, 0, 0, 0, 1];
        frame.resize(HEAD_BYTES + payload, 0);
        frame
    }

    #[test]
    fn only_what_requests_are_made_of_stays() {
        let all = [
            PREFACE,
            &frame(4, 6),
            &frame(1, 300),
            &frame(6, 8),
            &frame(0, 1_000),
        ]
        .concat();
        for size in [1, 7, 100, all.len()] {
            let mut frames = Frames::default();
            let stays = all.chunks(size).map(|bytes| frames.read(bytes).unwrap());
            assert_eq!(stays.sum::<usize>(), PREFACE.len() + 1_300, "{size}");
        }
        let mut frames = Frames::default();
        for text in ["PRI", " /x HTTP/1.1\r\n"] {
            assert_eq!(frames.read(text.as_bytes()).unwrap(), text.len());
        }
    }

    #[tokio::test(start_paused = true)]
    async fn pings_and_empty_frames_are_few() {
        for (kind, payload) in [(6, 8), (3, 4), (8, 4), (0, 0), (9, 0)] {
            let mut frames = Frames::default();
            frames.read(PREFACE).unwrap();
            let many = frame(kind, payload).repeat(MAX_OTHERS as usize);
            for _ in 0..3 {
                frames.read(&many).unwrap();
                tokio::time::advance(PERIOD * 2).await;
            }
            frames.read(&many).unwrap();
            assert!(frames.read(&frame(kind, payload)).is_err(), "{kind}");
        }
        let mut frames = Frames::default();
        let requests = frame(1, 10).repeat(2 * MAX_OTHERS as usize);
        assert!(frames.read(&[PREFACE, &requests].concat()).is_ok());
    }
}
