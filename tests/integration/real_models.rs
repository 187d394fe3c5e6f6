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

use serde_json::{Value, json};

/// Ends with the test, whatever happens.
struct Process(Child);

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

impl Process {
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
            Self(child),
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

#[tokio::test(flavor = "multi_thread")]
#[expect(clippy::print_stdout, reason = "a test that does not run says so")]
async fn users_below_the_share_are_answered_by_the_candidate_and_a_dead_upstream_is_covered() {
    let Some(python) = std::env::var_os("MODELRAMP_TEST_PYTHON") else {
        println!("skipped: MODELRAMP_TEST_PYTHON is not set (scripts/test sets it)");
        return;
    };
    let python = python.to_str().unwrap();
    let _ = rustls::crypto::ring::default_provider().install_default();
    let (candidate, candidate_url) = real_model(python, "smol-candidate");
    let (_control, control_url) = real_model(python, "smol-control");

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
    let admin = token(folder.path(), 1000, "admin");
    let mut command = modelramp(folder.path());
    command.arg("serve");
    let (_server, base) = Process::start(&mut command, |line| {
        let start = line.find("http://127.0.0.1:")?;
        let url: String = line[start..]
            .chars()
            .take_while(|c| !c.is_whitespace())
            .collect();
        Some(url.trim_end_matches('/').to_owned())
    });
    let http = reqwest::Client::builder()
        .timeout(Duration::from_secs(60))
        .build()
        .unwrap();
    let admin = Client {
        http: http.clone(),
        base: base.clone(),
        token: admin,
    };

    let (mut candidates, mut last_candidate) = (0, None);
    for user in 1..=8 {
        let client = Client {
            http: http.clone(),
            base: base.clone(),
            token: token(folder.path(), user, "user"),
        };
        let explained = admin
            .query("models.explain", &json!({ "userId": user, "task": "chat" }))
            .await;
        let (of_candidate, of_control) = (
            tokens_written(&candidate_url).await,
            tokens_written(&control_url).await,
        );
        chat(&client).await;
        let candidate_wrote = tokens_written(&candidate_url).await > of_candidate;
        let control_wrote = tokens_written(&control_url).await > of_control;
        let in_candidate = explained["variant"] == "candidate";
        assert_eq!(candidate_wrote, in_candidate, "user {user}: {explained}");
        assert_eq!(control_wrote, !in_candidate, "user {user}: {explained}");
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
    drop(candidate);
    chat(&last_candidate.unwrap()).await;
    let breakdown = admin
        .query("aiMetrics.getModelBreakdown", &Value::Null)
        .await;
    let new = &breakdown["models"]["new"];
    assert_eq!(new["requests"], candidates + 1, "{breakdown}");
    assert!(new["errorRate"].as_f64().unwrap() > 0.0, "{breakdown}");
    assert_eq!(
        breakdown["models"]["old"]["errorRate"].as_f64(),
        Some(0.0),
        "{breakdown}"
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
