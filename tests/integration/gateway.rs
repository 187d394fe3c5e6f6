//! The gateway over HTTP: what reaches a model's server, what comes back, and what is told of faults.

mod cache;
mod fault_table;
mod faults;
#[expect(clippy::disallowed_methods, reason = "keys are made and end now")]
mod keys;
#[expect(clippy::disallowed_methods, reason = "days begin now")]
mod limits;
mod messages;
mod openfeature;
mod privacy;
mod responses;
mod sdk;
mod texts;

use http::{HeaderMap, HeaderName, StatusCode};
use serde_json::{Value, json};

use crate::support::{
    app::{TestApp, TestAppBuilder},
    scripted_upstream::{End, Reply, Request, Upstream},
    wait::{PATIENCE, eventually, until},
};

/// An application whose models `a` and `b` this upstream answers for, with a token.
struct Gateway {
    app: TestApp,
    upstream: Upstream,
    token: String,
}

/// What came back.
struct Answer {
    status: StatusCode,
    headers: HeaderMap,
    text: String,
}

/// Scripts in browsers may read all that the gateway says in headers.
fn scripts_may_read_it(headers: &HeaderMap) {
    let exposed = headers.get_all("access-control-expose-headers").iter();
    let exposed: Vec<_> = exposed
        .flat_map(|it| it.to_str().unwrap().split(','))
        .collect();
    for name in headers.keys().map(HeaderName::as_str) {
        let is_ours = [
            "x-modelramp-",
            "x-ratelimit-",
            "x-request-id",
            "request-id",
            "retry-after",
        ];
        if is_ours.iter().any(|it| name.starts_with(it)) {
            assert!(exposed.contains(&name), "{name}: {exposed:?}");
        }
    }
}

impl Answer {
    fn json(&self) -> Value {
        serde_json::from_str(&self.text).unwrap_or_else(|error| panic!("{error}: {}", self.text))
    }

    fn header(&self, name: &str) -> &str {
        let value = self.headers.get(name);
        value.map_or("", |value| value.to_str().unwrap())
    }

    /// The data of each event.
    fn events(&self) -> Vec<&str> {
        let lines = self.text.lines();
        lines
            .filter_map(|line| line.strip_prefix("data: "))
            .collect()
    }
}

impl Gateway {
    async fn start(script: impl Fn(usize, &Request) -> Reply + Send + Sync + 'static) -> Self {
        Self::start_with(TestApp::builder(), script).await
    }

    /// The same with settings.
    async fn start_with(
        setup: TestAppBuilder,
        script: impl Fn(usize, &Request) -> Reply + Send + Sync + 'static,
    ) -> Self {
        let upstream = Upstream::with(script).await;
        let mut text = format!("[providers.up]\nbase_url = \"{}\"\n", upstream.base_url);
        for model in ["a", "b"] {
            text +=
                &format!("[models.{model}]\nprovider = \"up\"\nid = \"{model}\"\ncontext = 8192\n");
        }
        text += "[tasks.chat]\ncandidate = [\"b\", \"a\"]\ncontrol = [\"a\", \"b\"]\n";
        let app = setup.with_catalog(&text).start().await;
        Self {
            token: app.setup.admin().await.to_owned(),
            app,
            upstream,
        }
    }

    /// Answers every request like this.
    async fn answering(reply: Reply) -> Self {
        Self::start(move |_, _| reply.clone()).await
    }

    /// How the one attempt ended, and whose call it was, once that is stored.
    async fn attempt(&self) -> (String, Option<i64>) {
        let database = self.app.setup.database();
        let pool = sqlx::SqlitePool::connect(database).await.unwrap();
        let stored = eventually(PATIENCE, async || {
            let stored = sqlx::query_as(
                "SELECT outcome, user_id FROM events JOIN event_order USING (writer, batch)",
            );
            let stored = stored.fetch_all(&pool).await.unwrap();
            <[_; 1]>::try_from(stored)
        });
        let [attempt] = stored.await;
        pool.close().await;
        attempt
    }

    async fn post(&self, path: &str, body: impl Into<reqwest::Body>) -> Answer {
        let request = self.app.http.post(format!("{}{path}", self.app.url));
        self.send(request.bearer_auth(&self.token).body(body)).await
    }

    async fn get(&self, path: &str) -> Answer {
        let request = self.app.http.get(format!("{}{path}", self.app.url));
        self.send(request.bearer_auth(&self.token)).await
    }

    async fn send(&self, request: reqwest::RequestBuilder) -> Answer {
        let response = request.send().await.unwrap();
        scripts_may_read_it(response.headers());
        Answer {
            status: response.status(),
            headers: response.headers().clone(),
            text: response.text().await.unwrap(),
        }
    }

    async fn chat(&self, body: &Value) -> Answer {
        self.post("/v1/chat/completions", body.to_string()).await
    }
}

/// A chat completion's body for this model.
fn asking(model: &str) -> Value {
    json!({"model": model, "messages": [{"role": "user", "content": "hej"}]})
}

fn streaming(model: &str) -> Value {
    let mut body = asking(model);
    body["stream"] = true.into();
    body
}

fn chunk(delta: &Value, finish: Option<&str>) -> String {
    let choice = json!({"index": 0, "delta": delta, "finish_reason": finish});
    let chunk =
        json!({"id": "c", "object": "chat.completion.chunk", "choices": [choice], "x": 1.0});
    format!("data: {chunk}\n\n")
}

fn words(texts: &[&str]) -> Vec<String> {
    texts
        .iter()
        .map(|text| chunk(&json!({"content": text}), None))
        .collect()
}

const DONE: &str = "data: [DONE]\n\n";

#[tokio::test]
async fn a_body_and_its_answer_pass_byte_by_byte() {
    let answer = r#"{ "choices":[{"index":0,"message":{"role":"assistant","content":"\u00f8","x_note":[1.0,1e3]},"finish_reason":"stop","logprobs":null}],"usage":{"prompt_tokens":3,"completion_tokens":2,"x":12345678901234567890123}, "z":null }"#;
    let reply = Reply::Http(
        200,
        vec![("content-type", "application/json")],
        answer.into(),
    );
    let gateway = Gateway::answering(reply).await;
    let sent = r#"{"z":1.0,"model":"task/chat","seed":12345678901234567890123,"messages":[{"role":"user","content":"\u00f8"}],"stream":false}"#;
    let got = gateway.post("/v1/chat/completions", sent).await;
    assert_eq!((got.status, got.text.as_str()), (StatusCode::OK, answer));
    assert_eq!(got.header("x-modelramp-model"), "a");
    assert_eq!(got.header("x-modelramp-variant"), "control");
    assert_eq!(got.header("x-modelramp-attempts"), "a@up:ok");
    assert_eq!(got.header("x-request-id").len(), 32);
    let [request] = &gateway.upstream.requests()[..] else {
        panic!()
    };
    assert_eq!(request.path, "/api/v1/chat/completions");
    assert_eq!(request.body["model"], "a");
    assert!(
        !request.headers.contains_key("authorization"),
        "the caller's key stays here"
    );
    let keys: Vec<_> = request.body.as_object().unwrap().keys().collect();
    assert_eq!(keys, ["z", "model", "seed", "messages", "stream"]);
}

#[tokio::test]
async fn who_calls_is_known_before_anything_is_read() {
    let gateway = Gateway::answering(Reply::ok("hej")).await;
    let url = format!("{}/v1/chat/completions", gateway.app.url);
    let post = || gateway.app.http.post(&url).body(asking("a").to_string());
    let cookie = format!("app_session_id={}", gateway.token);
    for request in [
        post(),
        post().bearer_auth("wrong"),
        post().header("x-api-key", "wrong"),
        post().header("cookie", &cookie),
        post()
            .bearer_auth(&gateway.token)
            .header("x-api-key", "another"),
    ] {
        let answer = gateway.send(request).await;
        assert_eq!(answer.status, StatusCode::UNAUTHORIZED);
        assert_eq!(answer.json()["error"]["code"], "invalid_api_key");
        assert_eq!(answer.header("x-should-retry"), "false");
        assert!(!answer.header("x-request-id").is_empty());
    }
    assert!(gateway.upstream.requests().is_empty());
    let answer = gateway
        .send(post().header("x-api-key", &gateway.token))
        .await;
    assert_eq!(answer.status, StatusCode::OK);
}

#[tokio::test]
async fn what_is_wrong_beside_the_body_is_told_too() {
    let gateway = Gateway::answering(Reply::ok("hej")).await;
    let url = format!("{}/v1/chat/completions", gateway.app.url);
    let post = || {
        let request = gateway.app.http.post(&url).body(asking("a").to_string());
        request.bearer_auth(&gateway.token)
    };
    let get = |path: &str| {
        let url = format!("{}{path}", gateway.app.url);
        gateway.app.http.get(url)
    };
    let too_long = "x".repeat(257);
    for (request, status, code) in [
        (post().header("x-modelramp-subject", ""), 400, Value::Null),
        (
            post().header("x-modelramp-subject", &too_long),
            400,
            Value::Null,
        ),
        (
            post().header("content-encoding", "gzip"),
            415,
            json!("unsupported_encoding"),
        ),
        (
            get("/v1/chat/completions"),
            405,
            json!("method_not_allowed"),
        ),
        (get("/v1/models/%ff"), 401, json!("invalid_api_key")),
        (
            get("/v1/models/%ff").bearer_auth(&gateway.token),
            404,
            json!("model_not_found"),
        ),
    ] {
        let answer = gateway.send(request).await;
        assert_eq!(
            (answer.status.as_u16(), &answer.json()["error"]["code"]),
            (status, &code)
        );
        assert!(!answer.header("x-request-id").is_empty());
    }
    assert!(gateway.upstream.requests().is_empty());
    let plain = post().header("content-encoding", "identity");
    assert_eq!(gateway.send(plain).await.status, StatusCode::OK);
}

#[tokio::test]
async fn what_is_wrong_with_a_request_is_told_by_its_field() {
    let gateway = Gateway::answering(Reply::ok("hej")).await;
    for (body, param) in [
        ("{\"model\":", Value::Null),
        ("[]", Value::Null),
        ("{\"model\":\"a\"}", json!("messages")),
        ("{\"model\":\"a\",\"messages\":[]}", json!("messages")),
        ("{\"messages\":[{}]}", json!("model")),
    ] {
        let answer = gateway.post("/v1/chat/completions", body).await;
        assert_eq!(answer.status, StatusCode::BAD_REQUEST, "{body}");
        assert_eq!(answer.json()["error"]["param"], param, "{body}");
    }
    for name in ["none", "task/none", "chat"] {
        let answer = gateway.chat(&asking(name)).await;
        assert_eq!(answer.status, StatusCode::NOT_FOUND);
        assert_eq!(answer.json()["error"]["code"], "model_not_found");
    }
    let large = format!("{{\"model\":\"{}\"}}", "x".repeat(5 << 20));
    let answer = gateway.post("/v1/chat/completions", large).await;
    assert_eq!(answer.status, StatusCode::PAYLOAD_TOO_LARGE);
    assert_eq!(answer.json()["error"]["code"], "request_too_large");
    assert_eq!(
        gateway.post("/v1/none", "{}").await.status,
        StatusCode::NOT_FOUND
    );
    assert!(gateway.upstream.requests().is_empty());
}

#[tokio::test]
async fn chunks_pass_byte_by_byte_and_usage_is_for_those_who_ask() {
    let usage = r#"{"id":"c","choices":[],"usage":{"prompt_tokens":3,"completion_tokens":2}}"#;
    let mut pieces = vec![": comment\n\n".to_owned()];
    pieces.extend(words(&["he", "j"]));
    pieces.push(chunk(&json!({}), Some("stop")));
    let plain: Vec<String> = pieces[1..]
        .iter()
        .map(|it| it[6..].trim().to_owned())
        .collect();
    pieces.push(format!("data: {usage}\n\n"));
    pieces.push(DONE.to_owned());
    let gateway = Gateway::answering(Reply::events(pieces, End::Clean)).await;
    let answer = gateway.chat(&streaming("a")).await;
    assert!(
        answer
            .header("content-type")
            .starts_with("text/event-stream")
    );
    assert_eq!(answer.header("x-modelramp-attempts"), "a@up:ok");
    let mut wanted: Vec<&str> = plain.iter().map(String::as_str).collect();
    wanted.push("[DONE]");
    assert_eq!(answer.events(), wanted);
    let mut body = streaming("a");
    body["stream_options"] = json!({"include_usage": true, "include_obfuscation": false});
    let answer = gateway.chat(&body).await;
    wanted.insert(wanted.len() - 1, usage);
    assert_eq!(answer.events(), wanted);
    for request in gateway.upstream.requests() {
        assert_eq!(request.body["stream_options"]["include_usage"], true);
    }
}

#[tokio::test]
async fn models_and_tasks_are_listed_in_the_callers_dialect() {
    let gateway = Gateway::answering(Reply::ok("hej")).await;
    let list = gateway.get("/v1/models").await.json();
    let ids: Vec<_> = list["data"]
        .as_array()
        .unwrap()
        .iter()
        .map(|it| &it["id"])
        .collect();
    assert_eq!(ids, ["task/chat", "a", "b"]);
    for path in ["/v1/models/task%2Fchat", "/v1/models/task/chat"] {
        assert_eq!(gateway.get(path).await.json()["object"], "model");
    }
    let none = gateway.get("/v1/models/none").await;
    assert_eq!(
        (none.status, &none.json()["error"]["code"]),
        (StatusCode::NOT_FOUND, &json!("model_not_found"))
    );
    let request = gateway
        .app
        .http
        .get(format!("{}/v1/models", gateway.app.url));
    let request = request.header("x-api-key", &gateway.token);
    let list = gateway
        .send(request.header("anthropic-version", "2023-06-01"))
        .await
        .json();
    assert_eq!(list["first_id"], "claude-task-chat");
    let asked = gateway.chat(&asking("claude-task-chat")).await;
    assert_eq!(asked.header("x-modelramp-variant"), "control");
    assert_eq!(list["data"][1]["type"], "model");
}

#[tokio::test]
async fn embeddings_come_from_one_model_and_as_they_were_asked_for() {
    let vectors = json!({"data": [{"index": 0, "embedding": [0.5, -1.0]}], "usage": {"prompt_tokens": 4}, "x": 1});
    let gateway = Gateway::start(move |_, request| match request.body["model"].as_str() {
        Some("a") => Reply::json(&vectors),
        _ => Reply::status(500),
    })
    .await;
    let ask = |body: Value| gateway.post("/v1/embeddings", body.to_string());
    let float = ask(json!({"model": "task/chat", "input": "x"}))
        .await
        .json();
    assert_eq!(float["data"][0]["embedding"], json!([0.5, -1.0]));
    let base64 = ask(json!({"model": "a", "input": "x", "encoding_format": "base64", "y": 1.0}));
    assert_eq!(base64.await.json()["data"][0]["embedding"], "AAAAPwAAgL8=");
    // No model fails whose caller asks for nothing.
    let nothing = ask(json!({"model": "a", "input": []})).await;
    assert_eq!(nothing.status, StatusCode::BAD_REQUEST, "{}", nothing.text);
    assert_eq!(nothing.json()["error"]["param"], "input");
    let failed = ask(json!({"model": "b", "input": "x"})).await;
    assert_eq!(failed.status, StatusCode::BAD_GATEWAY);
    let tried = "b@up:upstream-error";
    assert_eq!(
        failed.header("x-modelramp-attempts"),
        format!("{tried}, {tried}")
    );
    let requests = gateway.upstream.requests();
    assert_eq!(requests[0].path, "/api/v1/embeddings");
    assert_eq!(requests[1].body["y"], 1.0);
}
