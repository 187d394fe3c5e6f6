//! Parsers and wires meet what nobody meant to send: the corpus of `fuzz/`, mutated by chance for a while.
//!
//! How long, and where chance starts, `MODELRAMP_FUZZ_SECONDS` (1) and `MODELRAMP_FUZZ_SEED` (a new one each time) say;
//! scripts/test gives a minute. What fails names its seed, and belongs into the corpus.

#[path = "../../fuzz/targets.rs"]
mod targets;

use std::{
    panic::catch_unwind,
    path::Path,
    sync::Arc,
    time::{Duration, Instant},
};

use parking_lot::Mutex;
use rand::{Rng, RngCore, SeedableRng, rngs::StdRng, seq::IndexedRandom};

use crate::support::{
    app::TestApp,
    scripted_upstream::{End, Reply, Upstream},
};

/// What parsers stumble over.
const TOKENS: [&str; 40] = [
    "{",
    "}",
    "[",
    "]",
    "\"",
    "\\",
    "\\u0000",
    "\\ud800",
    "null",
    "true",
    "-0",
    "1e999",
    "1e-400",
    "9223372036854775808",
    "0.1",
    ",",
    ":",
    "\n",
    "\r\n",
    "\r",
    "\n\n",
    "data: ",
    "event: error\n",
    "[DONE]",
    "\u{feff}",
    "\u{202e}",
    "é",
    "😀",
    "\u{0}",
    "..",
    "%2F",
    "%00",
    "'",
    "\"\"\"",
    "[[x]]",
    "= ",
    "#",
    " ",
    "__proto__",
    "\t",
];
/// No text is longer, in bytes.
const LONGEST: usize = 64 * 1024;

/// A source of mutated texts, and what it gave last.
struct Chance {
    random: StdRng,
    seed: u64,
    corpus: Vec<(String, String)>,
    end: Instant,
}

impl Chance {
    /// Over the corpus of a folder, for a part of the time that there is.
    #[expect(clippy::disallowed_methods, reason = "settings of the tests")]
    fn over(folder: &str, part: f64) -> Self {
        let number = |name: &str| std::env::var(name).ok().map(|text| text.parse().unwrap());
        let seconds: u64 = number("MODELRAMP_FUZZ_SECONDS").unwrap_or(1);
        let seed = number("MODELRAMP_FUZZ_SEED").unwrap_or_else(|| rand::rng().next_u64());
        let folder = Path::new(env!("CARGO_MANIFEST_DIR"))
            .join("fuzz/corpus")
            .join(folder);
        let read = |entry: std::io::Result<std::fs::DirEntry>| {
            let path = entry.unwrap().path();
            let text = String::from_utf8_lossy(&std::fs::read(&path).unwrap()).into_owned();
            (
                path.file_name().unwrap().to_string_lossy().into_owned(),
                text,
            )
        };
        let mut corpus: Vec<_> = std::fs::read_dir(&folder).unwrap().map(read).collect();
        corpus.sort();
        Self {
            random: StdRng::seed_from_u64(seed),
            seed,
            corpus,
            end: Instant::now() + Duration::from_secs(seconds).mul_f64(part),
        }
    }

    /// Another text and the name of what it was made of; none when the time is over.
    fn next(&mut self) -> Option<(String, String)> {
        if Instant::now() > self.end {
            return None;
        }
        let (name, text) = self.corpus.choose(&mut self.random)?.clone();
        let mut bytes = text.into_bytes();
        for _ in 0..self.random.random_range(1..8) {
            self.mutate(&mut bytes);
            bytes.truncate(LONGEST);
        }
        Some((name, String::from_utf8_lossy(&bytes).into_owned()))
    }

    fn mutate(&mut self, bytes: &mut Vec<u8>) {
        let random = &mut self.random;
        let from = random.random_range(0..=bytes.len());
        let to = (from + random.random_range(0..40)).min(bytes.len());
        match random.random_range(0..7) {
            0 => drop(bytes.drain(from..to)),
            1 => bytes.truncate(from),
            2 => {
                let token = TOKENS.choose(random).unwrap_or(&"");
                bytes.splice(from..to, token.bytes());
            }
            3 => {
                let token = TOKENS.choose(random).unwrap_or(&"");
                bytes.splice(from..from, token.bytes());
            }
            4 => {
                let times = random.random_range(2..300);
                let repeated = bytes[from..to].repeat(times);
                bytes.splice(from..to, repeated);
            }
            5 => {
                if let Some(byte) = bytes.get_mut(from) {
                    *byte ^= 1 << random.random_range(0..8);
                }
            }
            _ => {
                let other = self.corpus.choose(random).map_or("", |(_, text)| text);
                let at = random.random_range(0..=other.len());
                bytes.splice(from..to, other.bytes().skip(at).take(200));
            }
        }
    }
}

#[test]
fn every_parser_holds_what_it_is_held_to() {
    let part = 0.34 / targets::TARGETS.len() as f64;
    for (name, target) in targets::TARGETS {
        let mut chance = Chance::over(name, part);
        for (_, text) in chance.corpus.clone() {
            target(&text);
        }
        while let Some((_, text)) = chance.next() {
            let seed = chance.seed;
            let held = catch_unwind(|| target(&text));
            assert!(held.is_ok(), "{name}, seed {seed}: {text:?}");
        }
    }
}

#[tokio::test]
async fn no_body_makes_a_wire_fail() {
    let app = TestApp::builder().with_busy_users().start().await;
    let admin = app.setup.admin().await;
    let paths = [
        ("chat", "/v1/chat/completions"),
        ("messages", "/v1/messages"),
        ("messages", "/v1/messages/count_tokens"),
        ("responses", "/v1/responses"),
        ("embeddings", "/v1/embeddings"),
        ("rpc", "/rpc"),
        (
            "trpc",
            "/api/trpc/chat.sendMessage,chat.createConversation?batch=1",
        ),
        ("mcp", "/mcp"),
    ];
    let mut chance = Chance::over("wires", 0.33);
    while let Some((name, body)) = chance.next() {
        let of_body: Vec<_> = paths.iter().filter(|(of, _)| *of == name).collect();
        let (_, path) = of_body.choose(&mut chance.random).unwrap();
        let request = app
            .http
            .post(format!("{}{path}", app.url))
            .bearer_auth(admin)
            .header("content-type", "application/json")
            .header("accept", "application/json, text/event-stream")
            .body(body.clone());
        let response = request.send().await;
        let seed = chance.seed;
        let status = response.map(|it| it.status().as_u16());
        let status =
            status.unwrap_or_else(|error| panic!("{path}, seed {seed}: {error}: {body:?}"));
        assert_ne!(status, 500, "{path}, seed {seed}: {body:?}");
    }
    app.stop().await;
}

#[tokio::test]
async fn no_answer_of_a_model_makes_the_gateway_fail() {
    let next = Arc::new(Mutex::new((String::new(), String::new())));
    let says = next.clone();
    let upstream = Upstream::with(move |_, _| match says.lock().clone() {
        (name, text) if name == "stream" => Reply::events([text], End::Clean),
        (name, text) => {
            let status = if name == "error" { 400 } else { 200 };
            Reply::Http(status, vec![("content-type", "application/json")], text)
        }
    })
    .await;
    let catalog = format!(
        "[providers.up]\nbase_url = \"{}\"\n[models.one]\nprovider = \"up\"\nid = \"one\"\ncontext = 8192\n\
         [tasks.chat]\ncandidate = [\"one\"]\ncontrol = [\"one\"]\n",
        upstream.base_url
    );
    let app = TestApp::builder()
        .with_catalog(&catalog)
        .with_setting("BREAKER", "false")
        .start()
        .await;
    let admin = app.setup.admin().await;
    let mut chance = Chance::over("replies", 0.33);
    while let Some((name, text)) = chance.next() {
        *next.lock() = (name.clone(), text.clone());
        let path = ["/v1/chat/completions", "/v1/messages", "/v1/responses"];
        let path = path.choose(&mut chance.random).unwrap();
        let body = serde_json::json!({
            "model": "task/chat", "stream": name == "stream", "max_tokens": 8, "input": "Hello",
            "messages": [{"role": "user", "content": "Hello"}],
        });
        let request = app.http.post(format!("{}{path}", app.url));
        let response = request.bearer_auth(admin).json(&body).send().await;
        let seed = chance.seed;
        let why = |error: reqwest::Error| panic!("{path}, seed {seed}: {error}: {text:?}");
        let response = response.unwrap_or_else(why);
        let status = response.status().as_u16();
        assert_ne!(status, 500, "{path}, seed {seed}: {text:?}");
        response
            .text()
            .await
            .unwrap_or_else(|error| panic!("{path}, seed {seed}: {error}: {text:?}"));
    }
    app.stop().await;
}
