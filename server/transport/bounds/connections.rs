//! Counts connections and requests, and keeps some of both for those who look after the server.
//!
//! When all places are taken, the connection that has been idle for longest makes room: one that waits
//! for its next request, or has not finished its first head, for a moment at least. So neither browsers that keep connections
//! nor clients that say nothing keep others out. When none is idle, a newcomer gets a reserved place,
//! where only health checks and admins are served, everybody else being asked to come back.
//!
//! Who is kept waiting for a refusal, as it sends too many wrong keys, has no place: its connection makes room first.

use std::{
    collections::BTreeMap,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use parking_lot::Mutex;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

/// Who has been idle for less makes room only where the reserve is in use, too: a newcomer's request may
/// be on its way, and the next one of a busy client is.
const GRACE: Duration = Duration::from_millis(100);
/// Places beyond the limit, where only health checks and admins are served.
pub(super) const RESERVE: usize = 64;

/// All connections of a server.
#[derive(Debug)]
pub struct Connections {
    /// Connections, and requests under way (of which HTTP/2 has many on one connection).
    max: usize,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    open: usize,
    requests: usize,
    /// Grows with each connection that becomes idle.
    clock: u64,
    /// Those that were refused come first, and then the one that has been idle for longest.
    idle: BTreeMap<(EvictionOrder, u64), Idle>,
}

/// Who makes room first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum EvictionOrder {
    /// Whose last request was put aside.
    Refused,
    Welcome,
}

#[derive(Debug)]
struct Idle {
    since: Instant,
    leave: CancellationToken,
}

/// Whoever serves a connection holds one; its place is free again when the last clone is dropped.
#[derive(Clone, Debug)]
pub struct ConnectionHandle(Arc<ConnectionPlace>);

#[derive(Debug)]
struct ConnectionPlace {
    connections: Arc<Connections>,
    /// Tells the connection to make room.
    leave: CancellationToken,
    is_reserved: bool,
    usage: Mutex<Usage>,
}

#[derive(Debug, Default)]
struct Usage {
    requests: usize,
    idle_since: Option<(EvictionOrder, u64)>,
    was_evicted: bool,
    was_used: bool,
}

/// A request that is under way, until its answer is sent.
#[derive(Debug)]
pub struct RequestUnderWay {
    handle: ConnectionHandle,
    is_excess: bool,
    is_kept: AtomicBool,
    is_aside: AtomicBool,
}

impl Connections {
    /// Room for so many.
    pub fn new(max: usize) -> Arc<Self> {
        Arc::new(Self {
            max,
            state: Mutex::default(),
        })
    }

    /// Connections that are open.
    pub fn count(&self) -> usize {
        self.state.lock().open
    }

    /// A place for a new connection; `None` where even the reserve is in use.
    pub fn open(self: &Arc<Self>) -> Option<ConnectionHandle> {
        let mut state = self.state.lock();
        while state.open >= self.max && state.evict(GRACE) {}
        if state.open >= self.max + RESERVE {
            state.evict(Duration::ZERO);
        }
        if state.open >= self.max + RESERVE {
            return None;
        }
        let is_reserved = state.open >= self.max;
        state.open += 1;
        let leave = CancellationToken::new();
        let since = state.becomes_idle(&leave, EvictionOrder::Welcome);
        drop(state);
        Some(ConnectionHandle(Arc::new(ConnectionPlace {
            connections: self.clone(),
            leave,
            is_reserved,
            usage: Mutex::new(Usage {
                idle_since: Some(since),
                ..Usage::default()
            }),
        })))
    }
}

impl State {
    /// Notes that a connection has become idle, and says by what it is known until it is not.
    fn becomes_idle(
        &mut self,
        leave: &CancellationToken,
        order: EvictionOrder,
    ) -> (EvictionOrder, u64) {
        self.clock += 1;
        let idle = Idle {
            since: Instant::now(),
            leave: leave.clone(),
        };
        let known_by = (order, self.clock);
        self.idle.insert(known_by, idle);
        known_by
    }

    /// Whoever was refused makes room, else whoever has been idle for longest, if it has been for so long.
    fn evict(&mut self, least: Duration) -> bool {
        let first = self.idle.first_entry();
        let may_go = |order: EvictionOrder, idle: &Idle| {
            order == EvictionOrder::Refused || idle.since.elapsed() >= least
        };
        let Some(first) = first.filter(|it| may_go(it.key().0, it.get())) else {
            return false;
        };
        first.remove().leave.cancel();
        // Its own `Drop` finds that it is not counted any more.
        self.open -= 1;
        true
    }
}

impl ConnectionHandle {
    /// Resolves when this connection has to make room.
    pub fn left(&self) -> impl Future<Output = ()> + Send + use<> {
        self.0.leave.clone().cancelled_owned()
    }

    /// Whether it has to make room.
    pub fn has_left(&self) -> bool {
        self.0.leave.is_cancelled()
    }

    /// Whether a request is under way.
    pub fn is_busy(&self) -> bool {
        self.0.usage.lock().requests > 0
    }

    /// Whether there has been a request.
    pub fn was_used(&self) -> bool {
        self.0.usage.lock().was_used
    }

    /// A request begins.
    pub fn begin(&self) -> Arc<RequestUnderWay> {
        let place = &self.0;
        let mut usage = place.usage.lock();
        let mut state = place.connections.state.lock();
        usage.requests += 1;
        usage.was_used = true;
        state.requests += 1;
        if let Some(since) = usage.idle_since.take() {
            usage.was_evicted |= state.idle.remove(&since).is_none();
        }
        let is_excess = place.is_reserved || state.requests > place.connections.max;
        drop(state);
        Arc::new(RequestUnderWay {
            handle: self.clone(),
            is_excess,
            is_kept: AtomicBool::new(false),
            is_aside: AtomicBool::new(false),
        })
    }
}

impl RequestUnderWay {
    /// Whether it came when all places were taken.
    pub fn is_excess(&self) -> bool {
        self.is_excess
    }

    /// The connection has become a socket, which is never idle.
    pub fn keep(&self) {
        self.is_kept.store(true, Ordering::Relaxed);
    }

    /// The caller waits for its refusal: others may have its place.
    pub fn step_aside(&self) {
        if !self.is_aside.swap(true, Ordering::Relaxed) {
            self.end(EvictionOrder::Refused);
        }
    }

    fn end(&self, order: EvictionOrder) {
        let place = &self.handle.0;
        let mut usage = place.usage.lock();
        let mut state = place.connections.state.lock();
        state.requests -= 1;
        if self.is_kept.load(Ordering::Relaxed) {
            return;
        }
        usage.requests -= 1;
        if usage.requests == 0 && !usage.was_evicted {
            usage.idle_since = Some(state.becomes_idle(&place.leave, order));
        }
    }
}

impl Drop for RequestUnderWay {
    fn drop(&mut self) {
        if !self.is_aside.load(Ordering::Relaxed) {
            self.end(EvictionOrder::Welcome);
        }
    }
}

impl Drop for ConnectionPlace {
    fn drop(&mut self) {
        let usage = self.usage.get_mut();
        let mut state = self.connections.state.lock();
        let is_counted = match usage.idle_since {
            Some(since) => state.idle.remove(&since).is_some(),
            None => !usage.was_evicted,
        };
        if is_counted {
            state.open -= 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use futures::FutureExt;

    use super::*;

    fn has_left(handle: &ConnectionHandle) -> bool {
        handle.left().now_or_never().is_some()
    }

    async fn pass_grace() {
        tokio::time::advance(GRACE).await;
    }

    #[tokio::test(start_paused = true)]
    async fn who_has_been_idle_for_longest_makes_room() {
        let all = Connections::new(3);
        let [a, b, c] = [(); 3].map(|()| all.open().unwrap());
        let request = a.begin();
        drop(b.begin());
        pass_grace().await;
        let d = all.open().unwrap();
        assert_eq!([&a, &b, &c, &d].map(has_left), [false, false, true, false]);
        assert!(!d.begin().is_excess());
        let e = all.open().unwrap();
        assert_eq!([&a, &b, &d, &e].map(has_left), [false, true, false, false]);
        drop((request, b, c));
        assert_eq!(all.state.lock().open, 3);
        drop((a, d, e));
        assert_eq!(all.state.lock().open, 0);
        assert!(all.state.lock().idle.is_empty());
    }

    #[tokio::test(start_paused = true)]
    async fn who_has_just_come_makes_room_only_where_the_reserve_is_in_use() {
        let all = Connections::new(1);
        let handles: Vec<_> = (0..=RESERVE).map(|_| all.open().unwrap()).collect();
        assert!(!handles.iter().any(has_left));
        let last = all.open().unwrap();
        assert!(has_left(&handles[0]) && !has_left(&handles[1]));
        drop(last);
        pass_grace().await;
        assert!(!all.open().unwrap().begin().is_excess());
        assert!(handles.iter().all(has_left));
    }

    #[tokio::test(start_paused = true)]
    async fn beyond_the_limit_there_is_a_reserve_and_then_nothing() {
        let all = Connections::new(1);
        let first = all.open().unwrap();
        let busy = first.begin();
        let silent = all.open().unwrap();
        pass_grace().await;
        let reserve: Vec<_> = (0..RESERVE).map(|_| all.open().unwrap().begin()).collect();
        assert!(reserve.iter().all(|request| request.is_excess()));
        assert!(has_left(&silent));
        assert!(all.open().is_none());
        drop(reserve);
        assert!(all.open().unwrap().begin().is_excess());
        drop((busy, first));
        assert!(!all.open().unwrap().begin().is_excess());
    }

    #[tokio::test(start_paused = true)]
    async fn who_waits_for_a_refusal_has_no_place() {
        let all = Connections::new(2);
        let [a, b] = [(); 2].map(|()| all.open().unwrap());
        let refused = [(); 4].map(|()| b.begin());
        refused.iter().for_each(|it| it.step_aside());
        assert!(!a.begin().is_excess(), "their requests do not count");
        let c = all.open().unwrap();
        assert_eq!([&a, &b, &c].map(has_left), [false, true, false]);
        assert!(!c.begin().is_excess());
        drop((refused, a, b, c));
        let state = all.state.lock();
        assert_eq!((state.open, state.requests, state.idle.len()), (0, 0, 0));
    }

    #[test]
    fn many_requests_on_one_connection_are_too_many_as_well() {
        let all = Connections::new(2);
        let handle = all.open().unwrap();
        let requests = [(); 3].map(|()| handle.begin().is_excess());
        assert_eq!(requests, [false, false, false]);
        let held = [(); 3].map(|()| handle.begin());
        assert_eq!(held.each_ref().map(|r| r.is_excess()), [false, false, true]);
    }

    #[test]
    fn a_socket_is_never_idle() {
        let all = Connections::new(1);
        let handle = all.open().unwrap();
        let upgrade = handle.begin();
        upgrade.keep();
        drop(upgrade);
        assert!(all.open().unwrap().begin().is_excess());
        assert!(!has_left(&handle));
    }
}
