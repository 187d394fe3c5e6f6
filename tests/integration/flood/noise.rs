//! What else the machine has to do: whoever measures time on it must know.
//!
//! The world: a machine of two processors that does nothing else keeps what docs/limits.md promises as
//! it stands. Where others use a part of it, everything takes that much longer, and a measurement that
//! finds it slow is made again.

use std::time::{Duration, Instant};

use super::server::{Server, TICK};

/// A machine of which others use less is quiet.
const QUIET: f64 = 0.05;
/// How often it is measured before it counts.
const TRIES: usize = 5;

/// Processor time so far: of everybody, and of this process and the server.
struct Clock {
    at: Instant,
    all: Duration,
    ours: Duration,
}

impl Clock {
    fn now(server: &Server) -> Self {
        let stat = std::fs::read_to_string("/proc/stat").unwrap();
        let all: Vec<u32> = stat
            .lines()
            .next()
            .unwrap()
            .split_whitespace()
            .skip(1)
            .map(|ticks| ticks.parse().unwrap())
            .collect();
        // User, nice, system, and what the host took.
        let all = [0, 1, 2, 7].map(|n| all[n]).iter().sum::<u32>();
        Self {
            at: Instant::now(),
            all: TICK * all,
            ours: server.cpu() + Server::cpu_of("self"),
        }
    }

    /// The part of the machine that others used since then.
    fn others(&self, server: &Server) -> f64 {
        let now = Self::now(server);
        let processors = std::thread::available_parallelism().unwrap().get();
        let others = (now.all - self.all).saturating_sub(now.ours - self.ours);
        let whole = (now.at - self.at).as_secs_f64() * processors as f64;
        (others.as_secs_f64() / whole).min(0.9)
    }
}

/// The times that `measure` takes, of several kinds, are within the limit of each, but for one in a
/// hundred, or one. Says the 99th percentiles.
pub(super) async fn all_are_within<const N: usize>(
    limits: [Duration; N],
    what: &str,
    server: &Server,
    mut measure: impl AsyncFnMut() -> [Vec<Duration>; N],
) -> [Duration; N] {
    for n in 1.. {
        let clock = Clock::now(server);
        let mut all = measure().await;
        let others = clock.others(server);
        let is_slow = std::iter::zip(&mut all, limits).any(|(times, limit)| {
            times.sort();
            percentile(times) > limit.div_f64(1.0 - others)
        });
        if !is_slow {
            return all.map(|times| percentile(&times));
        }
        let slowest = all.map(|times| times[times.len().saturating_sub(5)..].to_vec());
        assert!(
            others > QUIET && n < TRIES,
            "{what}: {slowest:?} where {limits:?} are right; others use {others:.2} of the machine"
        );
    }
    unreachable!()
}

/// The largest but one in a hundred, or but one.
fn percentile(sorted: &[Duration]) -> Duration {
    let larger = (sorted.len() / 100).max(1);
    sorted[sorted.len().saturating_sub(1 + larger)]
}
