//! Lines wait in memory and are written together by one thread, a few times in every 100 ms.
//!
//! A line costs its caller a copy under a lock. Written at once it would cost a system call, and as
//! long as the reader of the log likes: a full pipe would stop the server. Here a full buffer drops
//! lines, and says how many.

use std::{
    io::{self, Write},
    sync::Arc,
    thread,
    time::Duration,
};

use parking_lot::{Condvar, Mutex};
use tracing_subscriber::fmt::MakeWriter;

/// How long lines are gathered before they are written.
const GATHER: Duration = Duration::from_millis(10);
/// What may wait, in bytes; some 20,000 lines.
const CAPACITY: usize = 4 << 20;
/// How long the end of the process waits for a reader.
const PATIENCE: Duration = Duration::from_secs(1);

/// Where entries are written to; cheap to clone.
#[derive(Clone)]
pub(super) struct LogLines(Arc<Shared>);

/// Writes what is still waiting when it is dropped.
#[must_use = "without it, the last lines of the log are lost"]
pub struct LogGuard(Arc<Shared>);

#[derive(Default)]
struct Shared {
    state: Mutex<State>,
    /// There is something to write, or nothing more will come.
    wake: Condvar,
    /// The thread has ended.
    done: Condvar,
}

#[derive(Default)]
struct State {
    waiting: Vec<u8>,
    dropped: u64,
    closing: bool,
    ended: bool,
}

impl LogLines {
    /// Lines that end up in `output`, as long as the guard lives.
    pub(super) fn to(output: impl Write + Send + 'static) -> io::Result<(Self, LogGuard)> {
        let shared = Arc::new(Shared::default());
        let of_thread = shared.clone();
        thread::Builder::new()
            .name("log".into())
            .spawn(move || of_thread.write_all_to(output))?;
        Ok((Self(shared.clone()), LogGuard(shared)))
    }
}

impl<'a> MakeWriter<'a> for LogLines {
    type Writer = &'a LogLines;

    fn make_writer(&'a self) -> &'a LogLines {
        self
    }
}

/// Takes one entry at a time.
impl Write for &LogLines {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        let mut state = self.0.state.lock();
        if state.closing {
            drop(state);
            // There is nobody left to tell.
            let _ = io::stderr().write_all(line);
        } else if state.waiting.len() + line.len() > CAPACITY {
            state.dropped += 1;
        } else {
            let first = state.waiting.is_empty();
            state.waiting.extend_from_slice(line);
            drop(state);
            if first {
                self.0.wake.notify_one();
            }
        }
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Shared {
    fn write_all_to(&self, mut output: impl Write) {
        let mut lines = Vec::new();
        loop {
            let mut state = self.state.lock();
            while state.waiting.is_empty() && !state.closing {
                self.wake.wait(&mut state);
            }
            std::mem::swap(&mut state.waiting, &mut lines);
            let dropped = std::mem::take(&mut state.dropped);
            let closing = state.closing;
            drop(state);

            // A log that cannot be written has nobody to tell.
            let _ = output.write_all(&lines);
            if dropped > 0 {
                let _ = writeln!(
                    output,
                    "{dropped} lines of the log were dropped: the reader is slow"
                );
            }
            let _ = output.flush();
            lines.clear();
            if closing {
                break;
            }
            thread::sleep(GATHER);
        }
        self.state.lock().ended = true;
        self.done.notify_all();
    }
}

impl Drop for LogGuard {
    fn drop(&mut self) {
        let mut state = self.0.state.lock();
        state.closing = true;
        self.0.wake.notify_one();
        while !state.ended {
            if self.0.done.wait_for(&mut state, PATIENCE).timed_out() {
                break;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use super::*;

    /// An output that waits for a permit before each write.
    struct Slow {
        permits: mpsc::Receiver<()>,
        written: Arc<Mutex<Vec<u8>>>,
    }

    impl Write for Slow {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            // No more permits means that nothing holds it up any more.
            let _ = self.permits.recv();
            self.written.lock().extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    fn slow() -> (Slow, mpsc::Sender<()>, Arc<Mutex<Vec<u8>>>) {
        let (permit, permits) = mpsc::channel();
        let written = Arc::new(Mutex::new(Vec::new()));
        let output = Slow {
            permits,
            written: written.clone(),
        };
        (output, permit, written)
    }

    #[test]
    fn all_lines_are_written_in_order_by_the_time_the_guard_is_gone() {
        let (output, permit, written) = slow();
        drop(permit);
        let (lines, guard) = LogLines::to(output).expect("a thread");
        let expected: String = (0..1000).map(|n| format!("line {n}\n")).collect();
        for line in expected.split_inclusive('\n') {
            (&lines).write_all(line.as_bytes()).expect("never fails");
        }
        drop(guard);
        assert_eq!(String::from_utf8_lossy(&written.lock()), expected);
    }

    #[test]
    fn a_reader_who_stops_costs_lines_and_not_time() {
        let (output, permit, written) = slow();
        let (lines, guard) = LogLines::to(output).expect("a thread");
        let line = [b'x'; 1 << 16];
        for _ in 0..3 * CAPACITY / line.len() {
            (&lines).write_all(&line).expect("never fails");
        }
        drop(permit);
        drop(guard);
        let written = written.lock();
        assert!(written.len() <= 2 * CAPACITY + 100);
        let end = String::from_utf8_lossy(&written[written.len() - 60..]).into_owned();
        assert!(
            end.ends_with("lines of the log were dropped: the reader is slow\n"),
            "{end}"
        );
    }
}
