//! The main job with real parts: this server's binary, two real small language models, real HTTP.
//!
//! Needs the Python that scripts/test prepares, named by MODELRAMP_TEST_PYTHON; without it the test
//! says so and passes nothing off as done.

use std::{
    io::{BufRead, BufReader},
    path::Path,
    process::{Child, Command, Stdio},
    time::Duration,
};

use parking_lot::Mutex;
use serde_json::{Value, json};

/// Ends with the test, whatever happens.
struct Process(Mutex<Child>);

impl Drop for Process {
    fn drop(&mut self) {
        self.kill();
    }
}

impl Process {
    fn kill(&self) {
        let mut child = self.0.lock();
        let _ = child.kill();
        let _ = child.wait();
    }

    /// Starts a command and gives the first line of its output that `pick` likes.
    fn start(command: &mut Command, pick: impl Fn(&str) -> Option<String>) -> (Self, String) {
        let mut child = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let found = lines
            .by_ref()
            .map_while(Result::ok)
            .find_map(|line| pick(&line));
        // Go on reading, or the process would block on a full pipe.
        std::thread::spawn(move || lines.for_each(drop));
        (
            Self(Mutex::new(child)),
            found.expect("the process ended before it was ready"),
        )
    }
}

fn real_model(python: &str, name: &str) -> (Process, String) {
    let port = std::net::TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap()
        .port();
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/real_model/server.py");
    let mut command = Command::new(python);
    command
        .arg(script)
        .arg(port.to_string())
        .arg(name)
        .stderr(Stdio::null());
    Process::start(&mut command, |line| {
        line.starts_with("http://").then(|| line.to_owned())
    })
}

fn modelramp(folder: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_modelramp"));
    command
        .current_dir(folder)
        .env_clear()
        .env("APP_ENV", "test")
        .env("PORT", "0")
        .env("LOG_LEVEL", "warn")
        .env("MODEL_CATALOGUE", "models.toml")
        .env("OPENROUTER_ROLLOUT_PERCENTAGE", "50");
    command
}

fn token(folder: &Path, user: u32, role: &str) -> String {
    let arguments = ["token", "--user", &user.to_string(), "--role", role];
    let output = modelramp(folder).args(arguments).output().unwrap();
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    String::from_utf8(output.stdout).unwrap().trim().to_owned()
}

struct Client {
    http: reqwest::Client,
    base: String,
    token: String,
}

impl Client {
    async fn query(&self, path: &str, input: &Value) -> Value {
        let input = json!({ "json": input }).to_string();
        let url = format!("{}/api/trpc/{path}", self.base);
        let url = reqwest::Url::parse_with_params(&url, [("input", input)]).unwrap();
        self.send(self.http.get(url)).await
    }

    async fn mutate(&self, path: &str, input: &Value) -> Value {
        let request = self.http.post(format!("{}/api/trpc/{path}", self.base));
        self.send(request.json(&json!({ "json": input }))).await
    }

    async fn send(&self, request: reqwest::RequestBuilder) -> Value {
        let response = request.bearer_auth(&self.token).send().await.unwrap();
        let body: Value = response.json().await.unwrap();
        assert!(body.get("result").is_some(), "{body}");
        body["result"]["data"]["json"].clone()
    }
}

/// Tokens that an upstream says it has written.
async fn tokens_written(upstream: &str) -> f64 {
    let text = reqwest::get(format!("{upstream}/metrics"))
        .await
        .unwrap()
        .text()
        .await
        .unwrap();
    let line = text
        .lines()
        .find(|line| line.starts_with("llamacpp:tokens_predicted_total"));
    line.and_then(|line| line.rsplit(' ').next())
        .and_then(|number| number.parse().ok())
        .unwrap()
}

/// Two real models, the server between them, and an admin.
struct World {
    candidate: Process,
    candidate_url: String,
    _control: Process,
    control_url: String,
    _server: Process,
    admin: Client,
    folder: tempfile::TempDir,
}

impl World {
    /// `None`, and a line that says so, without the Python that has the models.
    #[expect(clippy::print_stdout, reason = "a test that does not run says so")]
    fn start() -> Option<Self> {
        let Some(python) = std::env::var_os("MODELRAMP_TEST_PYTHON") else {
            println!("skipped: MODELRAMP_TEST_PYTHON is not set (scripts/test sets it)");
            return None;
        };
        let python = python.to_str().unwrap();
        let _ = rustls::crypto::ring::default_provider().install_default();
        let (candidate, candidate_url) = real_model(python, "smol-candidate");
        let (control, control_url) = real_model(python, "smol-control");

        let folder = tempfile::tempdir().unwrap();
        let catalogue = format!(
            r#"
            [providers.a]
            base_url = "{candidate_url}/v1"
            [providers.b]
            base_url = "{control_url}/v1"
            [models.new]
            provider = "a"
            id = "smol-candidate"
            context = 2048
            max_tokens = 8
            [models.old]
            provider = "b"
            id = "smol-control"
            context = 2048
            max_tokens = 8
            [tasks.chat]
            candidate = ["new", "old"]
            control = ["old"]
            "#
        );
        std::fs::write(folder.path().join("models.toml"), catalogue).unwrap();
        let token = token(folder.path(), 1000, "admin");
        let mut command = modelramp(folder.path());
        command.arg("serve");
        let (server, base) = Process::start(&mut command, |line| {
            let start = line.find("http://127.0.0.1:")?;
            let url = line[start..].split_whitespace().next()?;
            Some(url.trim_end_matches('/').to_owned())
        });
        let http = reqwest::Client::builder()
            .timeout(Duration::from_secs(60))
            .build()
            .unwrap();
        Some(Self {
            candidate,
            candidate_url,
            _control: control,
            control_url,
            _server: server,
            admin: Client { http, base, token },
            folder,
        })
    }

    fn client(&self, user: u32) -> Client {
        Client {
            token: token(self.folder.path(), user, "user"),
            http: self.admin.http.clone(),
            base: self.admin.base.clone(),
        }
    }

    async fn is_candidate(&self, user: u32) -> bool {
        let input = json!({ "userId": user, "task": "chat" });
        self.admin.query("models.explain", &input).await["variant"] == "candidate"
    }

    /// Requests, and the share of them that failed, by the catalogue's name of the model.
    async fn figures(&self, model: &str) -> (u64, f64) {
        let breakdown = self
            .admin
            .query("aiMetrics.getModelBreakdown", &Value::Null)
            .await;
        let figures = &breakdown["models"][model];
        (
            figures["requests"].as_u64().unwrap(),
            figures["errorRate"].as_f64().unwrap(),
        )
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn users_below_the_share_are_answered_by_the_candidate_and_a_dead_upstream_is_covered() {
    let Some(world) = World::start() else { return };
    let (mut candidates, mut last_candidate) = (0, None);
    for user in 1..=8 {
        let client = world.client(user);
        let in_candidate = world.is_candidate(user).await;
        let (of_candidate, of_control) = (
            tokens_written(&world.candidate_url).await,
            tokens_written(&world.control_url).await,
        );
        chat(&client).await;
        let candidate_wrote = tokens_written(&world.candidate_url).await > of_candidate;
        let control_wrote = tokens_written(&world.control_url).await > of_control;
        assert_eq!(candidate_wrote, in_candidate, "user {user}");
        assert_eq!(control_wrote, !in_candidate, "user {user}");
        if in_candidate {
            candidates += 1;
            last_candidate = Some(client);
        }
    }
    assert!(
        (1..8).contains(&candidates),
        "{candidates} of 8 users in the candidate at 50 %"
    );

    // The candidate's upstream dies: its users are answered by the fallback, and the failure counts.
    world.candidate.kill();
    chat(&last_candidate.unwrap()).await;
    let (requests, error_rate) = world.figures("new").await;
    assert_eq!(requests, candidates + 1);
    assert!(error_rate > 0.0);
    assert_eq!(world.figures("old").await.1, 0.0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rollout_takes_its_candidate_back_when_that_ones_upstream_dies() {
    const PLAN: &str = r#"
        name = "real"
        tasks = ["chat"]
        deadline = "1h"
        [no_traffic]
        alert_after = "1h"
        hold = false
        [[stages]]
        share = 50
        soak = "1h"
    "#;
    let Some(world) = World::start() else { return };
    let start = json!({ "plan": PLAN, "reason": "two real models" });
    let started = world.admin.mutate("rollout.start", &start).await;
    let get = json!({ "id": started["id"] });

    let (mut users, mut candidates) = (Vec::new(), 0);
    for user in 1..=16 {
        let client = world.client(user);
        chat(&client).await;
        candidates += usize::from(world.is_candidate(user).await);
        users.push(client);
    }
    assert!(
        (3..=13).contains(&candidates),
        "{candidates} of 16 users in the candidate"
    );
    assert_eq!(world.admin.query("rollout.get", &get).await["live"], true);

    world.candidate.kill();
    let mut taken_back = false;
    // Both arms go on: evidence compares them. A user's first three errors of a day count, so three
    // rounds are all the evidence that there can be.
    for client in users.iter().cycle().take(3 * users.len()) {
        chat(client).await;
        taken_back = world.admin.query("rollout.get", &get).await["live"] == false;
        if taken_back {
            break;
        }
    }
    // At most two seconds from the event that decides.
    let since = std::time::Instant::now();
    while !taken_back && since.elapsed() < Duration::from_secs(2) {
        taken_back = world.admin.query("rollout.get", &get).await["live"] == false;
    }
    assert!(
        taken_back,
        "{}",
        world.admin.query("rollout.get", &get).await
    );

    let before = world.figures("new").await.0;
    for client in &users {
        chat(client).await;
    }
    assert_eq!(
        world.figures("new").await.0,
        before,
        "the candidate still gets requests"
    );
}

async fn chat(client: &Client) {
    let conversation = client.mutate("chat.createConversation", &json!({})).await;
    let id = &conversation["id"];
    let input = json!({ "conversationId": id, "content": "Say hello." });
    let sent = client.mutate("chat.sendMessage", &input).await;
    assert_eq!(sent["role"], "user");
    let page = client
        .query("chat.getMessages", &json!({ "conversationId": id }))
        .await;
    assert_eq!(page["messages"][1]["role"], "assistant", "{page}");
    assert!(
        !page["messages"][1]["content"].as_str().unwrap().is_empty(),
        "{page}"
    );
}
