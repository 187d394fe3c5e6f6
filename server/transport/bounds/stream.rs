//! A connection's bytes: what has come and waits to be whole, and what does not get away.
//!
//! Heads, frames and messages are put together by libraries that know only the size of one. Here their
//! bytes are counted from the kernel until whoever they are for has claimed them; what is more than a
//! little is taken from the budget of the server, so that thousands of halves have a limit together.

use std::{
    io,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
    time::Duration,
};

use parking_lot::Mutex;
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::TcpStream,
    time::{Instant, Sleep},
};

use super::{
    budget::{Budget, BudgetShare},
    connections::ConnectionHandle,
    frames::Frames,
    pace,
};
use crate::_core::rounds::others_first;

/// Unclaimed bytes of a connection that cost nothing: buffers of this size are there anyway.
const FREE_BYTES: usize = 16 * 1024;
/// Bytes that are read one after another before other connections have their turn: the smallest frames
/// cost the most, and nobody else bounds how many of them are read at once.
const FAIR_BYTES: usize = 64 * 1024;
/// How long a peer may take no byte of what waits for it.
const STALL: Duration = Duration::from_secs(30);

/// A connection that knows its place and what it holds.
pub struct BoundedStream {
    inner: TcpStream,
    inflow: Arc<Inflow>,
    /// Read without a pause.
    read: usize,
    /// Since when a write waits.
    stalled: Option<Pin<Box<Sleep>>>,
    // Lives as long as the bytes do, also as a socket.
    _slot: ConnectionHandle,
}

/// What has come on a connection and has not been claimed.
#[derive(Debug)]
pub struct Inflow {
    budget: Budget,
    unclaimed: Mutex<Unclaimed>,
}

#[derive(Debug, Default)]
struct Unclaimed {
    frames: Frames,
    bytes: usize,
    since: Option<Instant>,
    held: BudgetShare,
}

impl BoundedStream {
    /// Watches a connection.
    pub fn new(inner: TcpStream, slot: ConnectionHandle, budget: Budget) -> Self {
        Self {
            inner,
            inflow: Arc::new(Inflow {
                budget,
                unclaimed: Mutex::default(),
            }),
            read: 0,
            stalled: None,
            _slot: slot,
        }
    }

    /// What has come, for those who claim it.
    pub fn inflow(&self) -> Arc<Inflow> {
        self.inflow.clone()
    }

    /// A write that waits for too long fails.
    fn watch<T>(
        &mut self,
        cx: &mut Context<'_>,
        write: Poll<io::Result<T>>,
    ) -> Poll<io::Result<T>> {
        if write.is_ready() {
            self.stalled = None;
            return write;
        }
        let stalled = self
            .stalled
            .get_or_insert_with(|| Box::pin(tokio::time::sleep(STALL)));
        ready!(stalled.as_mut().poll(cx));
        Poll::Ready(Err(io::Error::new(
            io::ErrorKind::TimedOut,
            "the peer does not read",
        )))
    }
}

impl Inflow {
    /// What has come is whole, or in somebody else's hands.
    ///
    /// Whoever keeps it until they have looked at it keeps what comes back, too.
    pub fn claim(&self) -> BudgetShare {
        let mut unclaimed = self.unclaimed.lock();
        if unclaimed.bytes == 0 {
            return BudgetShare::default();
        }
        unclaimed.bytes = 0;
        unclaimed.since = None;
        std::mem::take(&mut unclaimed.held)
    }

    /// Whether something began so long ago that it should be whole.
    pub fn is_late(&self) -> bool {
        let unclaimed = self.unclaimed.lock();
        unclaimed
            .since
            .is_some_and(|since| pace::deadline(since, unclaimed.bytes) <= Instant::now())
    }

    fn add(&self, new: &[u8]) -> io::Result<()> {
        let mut unclaimed = self.unclaimed.lock();
        let Unclaimed {
            frames,
            bytes: all,
            since,
            held,
        } = &mut *unclaimed;
        let stays = frames.read(new)?;
        if stays == 0 {
            return Ok(());
        }
        *all += stays;
        since.get_or_insert_with(Instant::now);
        if *all <= FREE_BYTES {
            return Ok(());
        }
        self.budget
            .extend(held, *all - FREE_BYTES)
            .map_err(|_| io::Error::new(io::ErrorKind::OutOfMemory, "too much is on its way"))
    }
}

impl AsyncRead for BoundedStream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.read >= FAIR_BYTES {
            self.read = 0;
            others_first(cx);
            return Poll::Pending;
        }
        let before = buffer.filled().len();
        let read = Pin::new(&mut self.inner).poll_read(cx, buffer);
        if read.is_pending() {
            self.read = 0;
        }
        ready!(read)?;
        let new = &buffer.filled()[before..];
        self.inflow.add(new)?;
        self.read += new.len();
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for BoundedStream {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.inner).poll_write(cx, bytes);
        self.watch(cx, written)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        parts: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.inner).poll_write_vectored(cx, parts);
        self.watch(cx, written)
    }

    fn is_write_vectored(&self) -> bool {
        self.inner.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_shutdown(cx)
    }
}
