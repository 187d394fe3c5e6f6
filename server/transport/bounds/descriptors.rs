//! File descriptors: of connections, of calls to models, and of the process itself.
//!
//! Without one the server cannot even accept a connection to refuse it. So no more connections are
//! taken than there are descriptors for, whatever else they lead to.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use super::connections::RESERVE;

/// The database, the log, the catalog, alerts, and a few to spare.
const OWN: u64 = 64;

/// How many connections the process can take of those that it should, while `calls` run that may need a
/// connection to a model each.
///
/// Asks the system for more descriptors where it gives some (the soft and the hard limit of `ulimit -n`).
pub fn fit(connections: usize, calls: usize) -> usize {
    let fixed = OWN + RESERVE as u64;
    let wanted = fixed + connections as u64 + connections.min(calls) as u64;
    let limits = getrlimit(Resource::Nofile);
    let has = |limit: Option<u64>| limit.is_none_or(|limit| limit >= wanted);
    if has(limits.current) {
        return connections;
    }
    let raised = limits.maximum.map_or(wanted, |most| most.min(wanted));
    let asked = Rlimit {
        current: Some(raised),
        maximum: limits.maximum,
    };
    // Some systems refuse; then it stays as it is.
    let _ = setrlimit(Resource::Nofile, asked);
    match getrlimit(Resource::Nofile).current {
        Some(limit) if limit < wanted => with(limit.saturating_sub(fixed), calls as u64) as usize,
        _ => connections,
    }
}

/// Connections for which there is room, with a call each as long as there are so many.
fn with(room: u64, calls: u64) -> u64 {
    (room / 2).max(room.saturating_sub(calls)).max(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_connection_may_run_a_call() {
        assert_eq!(with(0, 1024), 1);
        assert_eq!(with(128, 1024), 64);
        assert_eq!(with(2048, 1024), 1024);
        assert_eq!(with(3000, 1024), 1976);
        assert_eq!(with(100, 0), 100);
    }
}
