//! Floods of docs/limits.md against the process: its memory stays small, its work grows as the input
//! does, and it is healthy meanwhile and afterwards.

#![expect(
    clippy::print_stdout,
    reason = "the figures are for whoever changes a limit"
)]

mod during;
mod floods;
mod http2;
mod noise;
mod server;

use std::time::{Duration, Instant};

use bytes::Bytes;
use serde_json::json;

use self::server::Server;
use crate::support::scripted_upstream::{End, Reply, Upstream};

/// Resident memory at its peak, in bytes.
const MAX_MEMORY: u64 = 256 << 20;
/// The same of a server that has nothing to do: what it allocated, and with its program, where that is a release build.
const MAX_IDLE: [u64; 2] = [20 << 20, 40 << 20];
/// The work for twice the input, as a multiple.
const MAX_RATIO: f64 = 2.5;
/// The least that is measured: the system counts in steps of 10 ms.
const MEASURED: Duration = Duration::from_millis(120);
/// Within this an admin takes a rollout back, whoever sends what meanwhile.
const ROLLED_BACK: Duration = Duration::from_secs(3);
/// The work is measured so often at most: what else the machine does only ever adds to it.
const ROUNDS: usize = 12;

/// The CPU time of `flood` for three sizes, each twice the one before, is in proportion.
async fn grows_as_its_input(name: &str, sizes: [usize; 3], flood: impl AsyncFn(&Server, usize)) {
    let server = Server::start().await;
    flood(&server, sizes[0]).await;
    let before = server.cpu();
    let mut floods = 0;
    while server.cpu() - before < MEASURED {
        flood(&server, sizes[0]).await;
        floods += 1;
    }
    let mut times = [Duration::MAX; 3];
    let mut ratios = [f64::MAX; 2];
    for _ in 0..ROUNDS {
        for (time, size) in times.iter_mut().zip(sizes) {
            let before = server.cpu();
            for _ in 0..floods {
                flood(&server, size).await;
            }
            *time = (*time).min(server.cpu() - before);
        }
        ratios = [1, 2].map(|n| times[n].as_secs_f64() / times[n - 1].as_secs_f64());
        if ratios.iter().all(|ratio| *ratio <= MAX_RATIO) {
            break;
        }
    }
    println!(
        "{name}: ratios {ratios:.2?}, peak {} MB",
        server.peak_memory() >> 20
    );
    assert!(
        ratios.iter().all(|ratio| *ratio <= MAX_RATIO),
        "{name}: {sizes:?} took {times:?}"
    );
    server.is_well(name).await;
}

#[tokio::test]
async fn a_server_that_does_nothing_holds_little() {
    let server = Server::start().await;
    server.until_served("/readyz").await;
    let idle = ["RssAnon:", "VmRSS:"].map(|field| server.memory(field));
    let [allocated, resident] = idle.map(|bytes| bytes >> 20);
    println!("idle: {allocated} MB allocated, {resident} MB resident");
    assert!(idle[0] <= MAX_IDLE[0], "{allocated} MB");
    if Server::is_release() {
        assert!(idle[1] <= MAX_IDLE[1], "{resident} MB");
    }
}

#[tokio::test]
async fn notes_of_superjson() {
    // All of them fit into the caches of a processor, beyond which each step takes longer.
    let sizes = [5_000, 10_000, 20_000];
    grows_as_its_input("wide", sizes, floods::wide_notes).await;
    grows_as_its_input("nested", sizes, floods::nested_notes).await;
    grows_as_its_input("deep", [2_000, 4_000, 8_000], floods::deep_notes).await;
}

#[tokio::test]
async fn wrong_types_by_the_thousand() {
    let sizes = [20_000, 40_000, 80_000];
    grows_as_its_input("wrong types", sizes, floods::wrong_types).await;
}

#[tokio::test]
async fn batches_of_many_calls() {
    let sizes = [250, 500, 1_000];
    for lines in [false, true] {
        let batch = async |server: &Server, calls| floods::batch(server, calls, lines).await;
        grows_as_its_input("tRPC batch", sizes, batch).await;
    }
    grows_as_its_input("JSON-RPC batches", sizes, floods::json_rpc_batches).await;
}

/// Each on the same server: what one leaves behind, the next one meets.
#[tokio::test]
async fn health_is_answered_during_a_flood_and_after_it() {
    let server = Server::start().await;
    for flood in during::all(&server) {
        flood.run(&server).await;
    }
}

/// A second of a busy front end, and what the pages of one user hold open.
#[tokio::test]
async fn much_of_what_is_right_is_not_refused() {
    let server = Server::start().await;
    let mut sockets = Vec::new();
    for _ in 0..4 {
        sockets.push(floods::subscribed(&server, 50).await);
    }
    assert_eq!(floods::front_ends(&server, 20).await, [200; 20]);
    drop(sockets);
}

/// All are taken in the end, and meanwhile an admin takes a rollout back.
#[tokio::test]
async fn long_inputs_of_several_front_ends() {
    let answer = json!({"choices": [{"message": {"content": "hej"}, "finish_reason": "stop"}]});
    let json = vec![("content-type", "application/json")];
    let reply = Reply::Http(200, json, answer.to_string());
    let upstream = Upstream::with(move |_, _| reply.clone()).await;
    let server = Server::start_with(&[
        ("OPENROUTER_API_KEY", "x"),
        ("OPENROUTER_BASE_URL", &upstream.base_url),
        ("CHAT_RATE_LIMIT", "1000"),
    ])
    .await;
    let post = async |path: &str, input: serde_json::Value| {
        let request = server.http.post(server.url(&format!("/api/trpc/{path}")));
        let request = request.bearer_auth(&server.admin);
        let answer = request.json(&json!({"json": input})).send().await.unwrap();
        let status = answer.status();
        let mut answer: serde_json::Value = answer.json().await.unwrap();
        assert_eq!(status, 200, "{path}: {answer}");
        answer["result"]["data"]["json"].take()
    };
    let plan = "name = \"p\"\n[[stages]]\nshare = 10\nsoak = \"1h\"\n";
    let started = post("rollout.start", json!({"plan": plan, "reason": "try it"})).await;
    let id = started["id"].as_str().expect("an id");
    let uploads = (0..12).map(async |n| {
        let conversation = &post("chat.createConversation", json!({})).await["id"];
        let mut sent = 0;
        for more in 0..4 {
            let bytes = 1_000_000 * (1 + (n + more) % 3);
            sent += floods::upload(&server, conversation, bytes).await;
        }
        sent
    });
    let uploads = futures::future::join_all(uploads);
    let admin = async {
        let version = &post("rollout.get", json!({"id": id})).await["version"];
        let back = json!({"id": id, "version": version, "reason": "it fails"});
        let back = during::by_admin(&server, "rollout.rollback", &back);
        let address = server.address.clone();
        // On a thread of its own: the uploads keep this one busy.
        let ask = move || {
            let began = Instant::now();
            let answer = during::ask(&address, &back).unwrap();
            assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
            began.elapsed()
        };
        tokio::task::spawn_blocking(ask).await.unwrap()
    };
    let (sent, rollback) = tokio::join!(uploads, admin);
    println!(
        "long inputs: sent {sent:?} times; a rollback took {rollback:?}; peak {} MB",
        server.peak_memory() >> 20
    );
    assert!(rollback <= ROLLED_BACK, "{rollback:?}");
    server.is_well("long inputs").await;
}

#[tokio::test]
async fn tiny_values_cost_no_more_than_they_may() {
    let server = Server::start().await;
    for values in ["{},", "[],", "0,", "\"\","] {
        floods::tiny_values(&server, values).await;
    }
    server.is_well("tiny values").await;
}

#[tokio::test]
async fn sockets_that_never_read() {
    let server = Server::start().await;
    for path in ["/rpc", "/api/trpc"] {
        for message in floods::SOCKET_MESSAGES {
            floods::socket(&server, path, message).await;
            server.is_well(path).await;
        }
    }
}

#[tokio::test]
async fn sockets_with_a_message_that_never_ends() {
    let server = Server::start().await;
    let sockets = floods::unfinished_messages(&server, 90).await;
    server.is_well("unfinished messages").await;
    drop(sockets);
}

#[tokio::test]
async fn more_connections_than_there_are_places() {
    let server = Server::start().await;
    let mut held = Vec::new();
    for begun in [
        "",
        "GET /healthz HTTP/1.1\r\nhost: x\r\nx-long: ",
        "GET /healthz HTTP/1.1\r\nhost: x\r\n\r\n",
    ] {
        held.extend(floods::connections(&server, 150, begun).await);
        server.is_well("connections").await;
    }
    drop(held);
    // Each of these is a request that is under way, and so keeps its place.
    let unfinished = "POST /rpc HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\ncontent-length: 9\r\n\r\n{";
    let mut bodies = floods::connections(&server, 120, unfinished).await;
    server.is_well("bodies that are not finished").await;
    // On a busy machine some are closed before their head was read.
    let mut tries = 0;
    while server.get("/api/trpc/auth.me", None).await != 503 {
        tries += 1;
        assert!(tries < 10, "there is always a place");
        bodies.extend(floods::connections(&server, 20, unfinished).await);
    }
    let admin = server
        .get("/api/trpc/rollout.list", Some(&server.admin))
        .await;
    assert_eq!(admin, 200);
    for (path, what) in [
        (
            "featureFlags.kill",
            json!({"on": true, "reason": "it is full"}),
        ),
        (
            "featureFlags.setShare",
            json!({"percent": 0, "reason": "it is full"}),
        ),
    ] {
        let body = json!({ "json": what }).to_string();
        let status = floods::post(&server, &format!("/api/trpc/{path}"), body).await;
        assert_eq!(status, 200, "{path}");
    }
    drop(bodies);
    server.until_served("/api/trpc/auth.me").await;
}

/// Many long replies of an upstream at once: longer than is read, of the smallest values, of escapes,
/// and streams that never end.
#[tokio::test]
async fn long_replies_of_an_upstream() {
    let almost = 1_000_000;
    let answer = json!({"choices": [{"message": {"content": "hej"}, "finish_reason": "stop"}]});
    let with = |more: String| {
        answer
            .to_string()
            .replacen('{', &format!("{{\"x\":{more},"), 1)
    };
    let escapes = answer
        .to_string()
        .replace("hej", &format!("hej{}", "\\u0041".repeat(almost / 6)));
    let replies = [
        with(format!("[{}0]", "0,".repeat(3_900_000))),
        with(format!("[{}0]", "{},".repeat(almost / 3))),
        with(format!("{}0{}", "[".repeat(100), "]".repeat(100))),
        escapes.clone(),
        format!("data: {escapes}\n\n").repeat(8),
    ];
    let json = vec![("content-type", "application/json")];
    let stream = |delta: serde_json::Value| {
        let event = json!({"choices": [{"delta": delta}]});
        let event = Bytes::from(format!("data: {event}\n\n"));
        Reply::Events(vec![event; 300], End::Clean)
    };
    let replies: Vec<Reply> = replies
        .into_iter()
        .map(|body| Reply::Http(200, json.clone(), body))
        .chain([
            stream(json!({"content": "x".repeat(100_000)})),
            stream(json!({"reasoning": "x".repeat(100_000)})),
            stream(json!({"tool_calls": vec![json!({"index": 0}); 10_000]})),
        ])
        .collect();
    let upstream = Upstream::with(move |count, _| replies[count % replies.len()].clone()).await;
    let server = Server::start_with(&[
        ("OPENROUTER_API_KEY", "x"),
        ("OPENROUTER_BASE_URL", &upstream.base_url),
        ("CHAT_RATE_LIMIT", "1000"),
    ])
    .await;
    let call = async |path: &str, input: serde_json::Value| {
        let request = server.http.post(server.url(&format!("/api/trpc/{path}")));
        let request = request
            .bearer_auth(&server.admin)
            .json(&json!({"json": input}));
        let answer: serde_json::Value = request.send().await.unwrap().json().await.unwrap();
        answer["result"]["data"]["json"].clone()
    };
    let conversation = call("chat.createConversation", json!({})).await["id"].clone();
    for _ in 0..3 {
        let sends = (0..20).map(|n| {
            let message = json!({"conversationId": conversation, "content": format!("nr {n}")});
            call("chat.sendMessage", message)
        });
        futures::future::join_all(sends).await;
    }
    assert!(upstream.requests().len() >= 60);
    println!("long replies: peak {} MB", server.peak_memory() >> 20);
    server.is_well("long replies").await;
}
