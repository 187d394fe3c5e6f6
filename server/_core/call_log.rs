//! One line per call, with what an operator asks for and nothing secret.
//!
//! What strangers cause is bounded: of calls without a user, and of those that name no procedure, some
//! lines are written a second ([`PER_SECOND`]), and one says how many were left out. Faults of the
//! server are always written.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use parking_lot::Mutex;

use super::{
    call_series::{self, CallSeries},
    context::Context,
    errors::RpcError,
    suggest,
};

/// Lines about strangers that are written each second, on average.
const PER_SECOND: u32 = 20;
/// Those that are written at once after a quiet time.
const BURST: u32 = 400;

static STRANGERS: Mutex<Strangers> = Mutex::new(Strangers {
    since: None,
    spent: Duration::ZERO,
    left_out: 0,
});

/// What strangers have spent of the log. Each line costs some time, which comes back as time goes by.
#[derive(Debug)]
struct Strangers {
    since: Option<Instant>,
    spent: Duration,
    left_out: u64,
}

impl Strangers {
    /// Whether one more line may be written now.
    fn admit(&mut self, now: Instant) -> bool {
        let price = Duration::from_secs(1) / PER_SECOND;
        let since = self.since.replace(now).unwrap_or(now);
        self.spent = self.spent.saturating_sub(now.duration_since(since));
        let is_admitted = self.spent + price <= price * BURST;
        if is_admitted {
            self.spent += price;
        } else {
            self.left_out += 1;
        }
        is_admitted
    }
}

/// Whether a line about a stranger is to be written; says before it how many were not.
fn admit() -> bool {
    let mut strangers = STRANGERS.lock();
    let is_admitted = strangers.admit(Instant::now());
    let left_out = if is_admitted {
        std::mem::take(&mut strangers.left_out)
    } else {
        0
    };
    drop(strangers);
    if left_out > 0 {
        tracing::warn!(
            target: "call",
            lines = left_out,
            "calls without a user came so fast that lines were left out"
        );
    }
    is_admitted
}

/// The line of a call that the registry runs; written, and counted, when this is finished or dropped.
pub(super) struct CallLog<'p> {
    path: &'static str,
    series: &'p CallSeries,
    user: Option<i64>,
    request_id: Arc<str>,
    started: Instant,
    finished: bool,
}

impl<'p> CallLog<'p> {
    pub(super) fn start(path: &'static str, series: &'p CallSeries, context: &Context) -> Self {
        Self {
            path,
            series,
            user: context.caller.presumed().map(|user| user.id),
            request_id: context.request_id.clone(),
            started: Instant::now(),
            finished: false,
        }
    }

    pub(super) fn finish(mut self, error: Option<&RpcError>) {
        self.finished = true;
        let code = error.map_or(call_series::OK, RpcError::data_code);
        match error.and_then(RpcError::cause) {
            Some(cause) => self.write(code, Some(&format!("{cause:#}"))),
            None => self.write(code, None),
        }
    }

    fn write(&self, code: &'static str, cause: Option<&str>) {
        let duration = self.started.elapsed();
        let duration_us = duration.as_micros() as u64;
        let Self {
            path,
            series,
            user,
            request_id,
            ..
        } = self;
        series.count(path, code, duration);
        match cause {
            Some(cause) => {
                tracing::error!(target: "call", path, code, duration_us, user, %request_id, cause, "call failed");
            }
            None if user.is_some() || admit() => {
                tracing::info!(target: "call", path, code, duration_us, user, %request_id, "call");
            }
            None => {}
        }
    }
}

impl Drop for CallLog<'_> {
    fn drop(&mut self) {
        if !self.finished {
            self.write("CANCELLED", None);
        }
    }
}

/// The line of a call that a wire refused, or could not answer.
pub fn refused(error: &RpcError, path: Option<&str>, request_id: &str) {
    let code = error.data_code();
    match error.cause() {
        Some(cause) => {
            let cause = format!("{cause:#}");
            tracing::error!(target: "call", path, code, %request_id, cause, "call failed");
        }
        None if admit() => {
            tracing::info!(target: "call", path, code, %request_id, "call refused");
        }
        None => {}
    }
}

/// The line of a call that failed where it was run only to be compared; nobody waited for it.
pub fn rehearsed(error: &RpcError, path: &str) {
    if let Some(cause) = error.cause().filter(|_| admit()) {
        let (code, cause) = (error.data_code(), format!("{cause:#}"));
        tracing::warn!(target: "call", path, code, cause, "a call that was only compared failed");
    }
}

/// tRPC's error for a path that names no procedure. Its text is tRPC's own, so only the log says which
/// of the `known` was probably meant, and only in known words.
pub fn unknown_procedure<'k>(path: &str, known: impl IntoIterator<Item = &'k str>) -> RpcError {
    // Nobody looks for a word that nobody was given.
    if admit()
        && let Some(near) = suggest::nearest(path, known)
    {
        tracing::info!(
            target: "call",
            did_you_mean = near.word,
            "an unknown procedure was called"
        );
    }
    RpcError::not_found(format!("No procedure found on path \"{path}\""))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn strangers_get_some_lines_at_once_and_then_a_few_a_second() {
        let began = Instant::now();
        let mut strangers = Strangers {
            since: None,
            spent: Duration::ZERO,
            left_out: 0,
        };
        let mut lines = |seconds| {
            let now = began + Duration::from_secs(seconds);
            let admitted = (0..1_000).filter(|_| strangers.admit(now)).count();
            (admitted as u32, std::mem::take(&mut strangers.left_out))
        };
        assert_eq!(lines(0), (BURST, 600));
        assert_eq!(lines(1), (PER_SECOND, 980));
        assert_eq!(lines(3), (2 * PER_SECOND, 960));
        assert_eq!(lines(3600), (BURST, 600));
    }
}
