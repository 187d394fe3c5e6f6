//! Runs many jobs at once, on as many cores as there are.

use std::{
    num::NonZero,
    panic::resume_unwind,
    sync::atomic::{AtomicUsize, Ordering},
    thread,
};

/// How far it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Progress {
    /// Runs that have ended.
    pub done: usize,
    /// All runs.
    pub total: usize,
}

/// Does jobs on all cores. What comes of them is in their order, so that sums do not depend on which thread was faster.
pub(super) fn on_all_cores<J: Sync, T: Send>(
    jobs: &[J],
    run: impl Fn(&J) -> T + Sync,
    progress: &(dyn Fn(Progress) + Sync),
) -> Vec<T> {
    let threads = thread::available_parallelism().unwrap_or(NonZero::<usize>::MIN);
    on_threads(threads, jobs, run, progress)
}

/// The same on so many threads.
pub(super) fn on_threads<J: Sync, T: Send>(
    threads: NonZero<usize>,
    jobs: &[J],
    run: impl Fn(&J) -> T + Sync,
    progress: &(dyn Fn(Progress) + Sync),
) -> Vec<T> {
    let (next, done) = (AtomicUsize::new(0), AtomicUsize::new(0));
    let work = || {
        let mut results = Vec::new();
        loop {
            let number = next.fetch_add(1, Ordering::Relaxed);
            let Some(job) = jobs.get(number) else {
                return results;
            };
            results.push((number, run(job)));
            progress(Progress {
                done: done.fetch_add(1, Ordering::Relaxed) + 1,
                total: jobs.len(),
            });
        }
    };
    let mut results: Vec<_> = thread::scope(|scope| {
        let workers: Vec<_> = (0..threads.get()).map(|_| scope.spawn(work)).collect();
        let ended = workers
            .into_iter()
            .map(|worker| worker.join().unwrap_or_else(|fault| resume_unwind(fault)));
        ended.flatten().collect()
    });
    results.sort_by_key(|(number, _)| *number);
    results.into_iter().map(|(_, result)| result).collect()
}
