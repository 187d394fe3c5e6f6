//! Floods that go on while health is measured: each says the same on some connections, as fast as it
//! can, and opens those anew that the server closes.
//!
//! The world they stand for: one machine beside the server, as fast as it is, with one processor of two.

use std::{
    io::{Read, Write},
    net::TcpStream as Blocking,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use futures::future::join_all;
use serde_json::json;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

use super::{
    floods, http2, noise,
    server::{HEALTHY, Server},
};

/// How long each goes on.
const FLOOD: Duration = Duration::from_millis(1500);
/// Between two health checks.
const PAUSE: Duration = Duration::from_millis(10);
/// All but one of an admin's kills are answered within this.
const ADMINS: Duration = Duration::from_secs(1);
/// Between two of them.
const ADMINS_PAUSE: Duration = Duration::from_millis(50);
/// Growth of the log in one flood of strangers, in bytes.
const MAX_LOG: u64 = 1 << 20;

/// One flood.
pub(super) struct Flood {
    pub(super) name: &'static str,
    pub(super) connections: usize,
    /// Whether answers are read, and thrown away.
    pub(super) reads: bool,
    /// Said once on each connection.
    opening: Vec<u8>,
    /// Said over and over.
    repeated: Vec<u8>,
}

/// Answers are read, or not.
const READING: bool = true;
const DEAF: bool = false;

/// For an answer of HTTP/2, as it is where nobody says more.
const ROOM: u32 = 65_535;

fn get(target: &str, headers: &str) -> Vec<u8> {
    format!("GET {target} HTTP/1.1\r\nhost: x\r\n{headers}\r\n").into_bytes()
}

fn post(target: &str, headers: &str, body: &str) -> Vec<u8> {
    let length = body.len();
    let head = format!(
        "POST {target} HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\n\
         content-length: {length}\r\n{headers}\r\n"
    );
    (head + body).into_bytes()
}

fn text(message: &str) -> Vec<u8> {
    floods::frame(0x81, message.as_bytes())
}

/// What anybody, and what a user may send. All of it is small, or comes to nothing.
pub(super) fn all(server: &Server) -> Vec<Flood> {
    let session = format!("authorization: Bearer {}\r\n", server.user);
    let socket = |path: &str, session: &str| {
        floods::upgrade(path, &format!("{session}host: {}\r\n", server.address))
    };
    let batch = |name: &str, count: usize, more: &str| {
        let names = vec![name; count].join(",");
        get(&format!("/api/trpc/{names}?batch=1"), more)
    };
    let discover = |count, with_id| {
        let mut call = json!({"jsonrpc": "2.0", "method": "rpc.discover"});
        if with_id {
            call["id"] = 1.into();
        }
        json!(vec![call; count]).to_string()
    };
    let queries = |path: &str| {
        let of = |n| json!({"id": n, "method": "query", "params": {"path": path}});
        json!((0..1_000).map(of).collect::<Vec<_>>()).to_string()
    };
    let subscriptions: Vec<u8> = (0..2_000)
        .flat_map(|n| {
            let params = json!({"path": "aiMetrics.onSummary", "input": {"json": {}}});
            text(&json!({"id": n, "method": "subscription", "params": params}).to_string())
        })
        .collect();
    let rpc_subscriptions: Vec<u8> = (0..2_000)
        .flat_map(|n| {
            let call = json!({"jsonrpc": "2.0", "id": n, "method": "aiMetrics.onSummary"});
            text(&call.to_string())
        })
        .collect();
    let lines = "trpc-accept: application/jsonl\r\n";
    let flood = |name, connections, reads, opening, repeated: Vec<u8>| {
        let times = 1 + (64 << 10) / repeated.len();
        let repeated = repeated.repeat(times);
        Flood {
            name,
            connections,
            reads,
            opening,
            repeated,
        }
    };
    let none = Vec::new;
    vec![
        flood(
            "notifications",
            5,
            READING,
            socket("/rpc", ""),
            text(&discover(100, false)),
        ),
        flood(
            "documents",
            40,
            DEAF,
            socket("/rpc", ""),
            text(&discover(60, true)),
        ),
        flood(
            "documents over HTTP",
            10,
            READING,
            none(),
            post("/rpc", "", &discover(60, true)),
        ),
        flood(
            "unknown names",
            5,
            READING,
            none(),
            batch("chat.sendMesage", 1_000, ""),
        ),
        flood(
            "unknown names, line by line",
            5,
            READING,
            none(),
            batch("chat.sendMesage", 1_000, lines),
        ),
        flood(
            "batches nobody reads",
            40,
            DEAF,
            none(),
            batch("models.list", 1_000, &session),
        ),
        flood(
            "lines nobody reads",
            40,
            DEAF,
            none(),
            batch("models.list", 1_000, &(session.clone() + lines)),
        ),
        flood(
            "calls of a socket",
            20,
            READING,
            socket("/api/trpc", ""),
            text(&queries("auth.me")),
        ),
        flood(
            "unknown calls of a socket",
            5,
            DEAF,
            socket("/api/trpc", ""),
            text(&queries("auth.you")),
        ),
        flood(
            "calls of a user",
            20,
            READING,
            socket("/api/trpc", &session),
            text(&queries("models.list")),
        ),
        flood(
            "subscriptions",
            4,
            READING,
            socket("/api/trpc", &session),
            subscriptions,
        ),
        flood(
            "subscriptions of JSON-RPC",
            4,
            DEAF,
            socket("/rpc", &session),
            rpc_subscriptions,
        ),
        flood(
            "events nobody reads",
            60,
            DEAF,
            none(),
            get("/api/trpc/aiMetrics.onSummary", &session),
        ),
        flood("nothing is here", 60, READING, none(), get("/x", "")),
        flood(
            "large messages",
            40,
            DEAF,
            socket("/api/trpc", ""),
            text(&large()),
        ),
        flood(
            "large messages of JSON-RPC",
            40,
            DEAF,
            socket("/rpc", ""),
            text(&large()),
        ),
        flood(
            "HTTP/2 pings",
            10,
            DEAF,
            http2::opening(ROOM),
            http2::ping(),
        ),
        flood(
            "HTTP/2 settings",
            10,
            DEAF,
            http2::opening(ROOM),
            http2::settings(ROOM),
        ),
        flood(
            "HTTP/2 resets",
            10,
            READING,
            http2::opening(ROOM),
            http2::resets(server, 5_000),
        ),
        flood(
            "HTTP/2 without room",
            40,
            READING,
            http2::opening(0),
            http2::documents(server, 100),
        ),
        flood(
            "HTTP/2 with room for one byte",
            40,
            READING,
            http2::opening(1),
            http2::documents(server, 100),
        ),
        flood(
            "HTTP/2 heads without end",
            10,
            READING,
            http2::opening(ROOM),
            http2::endless_head(),
        ),
    ]
}

/// A call with the most small values that are read.
fn large() -> String {
    let input = vec!["xxxxxxxxxxxxxxxxxx"; 150_000];
    json!({"jsonrpc": "2.0", "id": 1, "method": "query", "params": {"path": "auth.me", "input": input}})
        .to_string()
}

impl Flood {
    /// Goes on for a while, and says how health checks were answered meanwhile.
    pub(super) async fn run(&self, server: &Server) {
        let log = server.log_bytes();
        let mut times = 0;
        let flood = async || {
            times += 1;
            let health = Probe::start(server, PAUSE, get("/healthz", "connection: close\r\n"));
            let kill = Probe::start(server, ADMINS_PAUSE, kill(server));
            let end = tokio::time::Instant::now() + FLOOD;
            let all = join_all((0..self.connections).map(|_| async {
                // As often as it is closed.
                loop {
                    let _ = self.connection(server).await;
                    tokio::task::yield_now().await;
                }
            }));
            let _ = tokio::time::timeout_at(end, all).await;
            [health.stop(), kill.stop()]
        };
        let limits = [HEALTHY, ADMINS];
        let [health, kill] = noise::all_are_within(limits, self.name, server, flood).await;
        let peak = server.peak_memory() >> 20;
        println!(
            "{}: 99 % of health checks took {health:?}, of kills {kill:?}; {peak} MB so far",
            self.name
        );
        server.is_well(self.name).await;
        let grown = (server.log_bytes() - log) / times;
        let said = [&self.opening, &self.repeated].map(|said| String::from_utf8_lossy(said));
        let is_of_user = said.iter().any(|said| said.contains(&server.user));
        assert!(
            is_of_user || grown <= MAX_LOG,
            "{}: {grown} bytes of log",
            self.name
        );
    }

    async fn connection(&self, server: &Server) -> std::io::Result<()> {
        let mut stream = TcpStream::connect(&server.address).await?;
        let (mut incoming, mut outgoing) = stream.split();
        let read = async {
            let mut buffer = vec![0; 64 << 10];
            while self.reads && incoming.read(&mut buffer).await? > 0 {}
            if self.reads {
                Ok(())
            } else {
                std::future::pending().await
            }
        };
        let write = async {
            outgoing.write_all(&self.opening).await?;
            loop {
                outgoing.write_all(&self.repeated).await?;
            }
        };
        tokio::select! { done = read => done, done = write => done }
    }
}

/// An admin turns the kill switch on.
fn kill(server: &Server) -> Vec<u8> {
    let input = json!({"on": true, "reason": "it is full"});
    by_admin(server, "featureFlags.kill", &input)
}

/// A call of an admin, for [`ask`].
pub(super) fn by_admin(server: &Server, path: &str, input: &serde_json::Value) -> Vec<u8> {
    let headers = format!(
        "authorization: Bearer {}\r\nconnection: close\r\n",
        server.admin
    );
    let body = json!({ "json": input }).to_string();
    post(&format!("/api/trpc/{path}"), &headers, &body)
}

/// Asks the same all the time, on a thread of its own and fresh connections.
struct Probe {
    thread: std::thread::JoinHandle<Vec<Duration>>,
    is_over: Arc<AtomicBool>,
}

impl Probe {
    fn start(server: &Server, pause: Duration, request: Vec<u8>) -> Self {
        let is_over = Arc::new(AtomicBool::new(false));
        let (address, over) = (server.address.clone(), is_over.clone());
        let thread = std::thread::spawn(move || {
            let mut times = Vec::new();
            while !over.load(Ordering::Relaxed) {
                let began = Instant::now();
                let answer = ask(&address, &request).unwrap_or_else(|error| error.to_string());
                assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
                times.push(began.elapsed());
                // The pace of the probe.
                std::thread::sleep(pause);
            }
            times
        });
        Self { thread, is_over }
    }

    fn stop(self) -> Vec<Duration> {
        self.is_over.store(true, Ordering::Relaxed);
        self.thread.join().unwrap()
    }
}

/// What a fresh connection answers, which closes then.
pub(super) fn ask(address: &str, request: &[u8]) -> std::io::Result<String> {
    let mut stream = Blocking::connect(address)?;
    stream.set_read_timeout(Some(Duration::from_secs(20)))?;
    stream.write_all(request)?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    Ok(answer)
}
