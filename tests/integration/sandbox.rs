//! The sandbox as our own client of providers sees it, and its control interface.

use std::time::Duration;

use futures::StreamExt;
use http::StatusCode;
use modelramp::providers::{
    ChatMessage, ChatRequest,
    fault::FaultKind,
    openai_compatible::{OpenAiCompatible, http_client},
    sandbox::{FaultMode, Sandbox, SandboxPlan},
};
use serde_json::{Value, json};
use tokio::time::Instant;

fn request(model: &str) -> ChatRequest {
    let messages = vec![ChatMessage::text("user", "What can you do for me today?")];
    ChatRequest {
        model: model.into(),
        ..ChatRequest::new(messages)
    }
}

fn soon() -> Instant {
    Instant::now() + Duration::from_millis(300)
}

struct Running {
    sandbox: Sandbox,
    client: OpenAiCompatible,
    http: reqwest::Client,
}

async fn sandbox(plan: &str) -> Running {
    let plan = SandboxPlan::parse(plan).unwrap();
    let sandbox = Sandbox::start_with(&plan).await.unwrap();
    let http = http_client().unwrap();
    let client = OpenAiCompatible::new(http, sandbox.base_url(), None, []).unwrap();
    Running {
        sandbox,
        client,
        http: crate::support::http_client(),
    }
}

impl Running {
    async fn put(&self, model: &str, wanted: Value) -> (StatusCode, Value) {
        let url = format!("{}/control/models/{model}", self.sandbox.origin());
        let response = self.http.put(url).json(&wanted).send().await.unwrap();
        (response.status(), response.json().await.unwrap())
    }

    async fn get(&self, path: &str) -> Value {
        let url = format!("{}{path}", self.sandbox.origin());
        let response = self.http.get(url).send().await.unwrap();
        response.json().await.unwrap()
    }

    /// How a streamed answer ends: its text, or the fault.
    async fn stream(&self, model: &str) -> Result<String, FaultKind> {
        let idle = Duration::from_millis(300);
        let asked = request(model);
        let opened = self.client.stream(&asked, soon(), idle).await;
        let mut deltas = opened.map_err(|fault| fault.kind)?;
        let mut text = String::new();
        while let Some(delta) = deltas.next().await {
            text += &delta.map_err(|fault| fault.kind)?.content;
        }
        Ok(text)
    }
}

#[tokio::test]
async fn every_fault_is_what_our_client_takes_it_for() {
    let running = sandbox("[default]\nlatency_ms = 1\nword_ms = 0").await;
    for (fault, kind) in [
        ("429", FaultKind::ProviderRateLimited),
        ("500", FaultKind::Upstream),
        ("502", FaultKind::Upstream),
        ("503", FaultKind::Upstream),
        ("hang", FaultKind::Timeout),
        ("cut", FaultKind::Connection),
        ("error-in-200", FaultKind::Upstream),
        ("no-choices", FaultKind::InvalidReply),
        ("malformed-json", FaultKind::InvalidReply),
        ("mid-stream", FaultKind::Upstream),
        ("slow-stream", FaultKind::Timeout),
        ("422", FaultKind::BadRequest),
        ("400-bare", FaultKind::BadRequest),
        ("403", FaultKind::Refused),
        ("404-bare", FaultKind::NotFound),
        ("402", FaultKind::Payment),
        ("too-long", FaultKind::ContextLength),
        ("drop", FaultKind::Connection),
        ("key-limit", FaultKind::AccountLimit),
        ("empty", FaultKind::EmptyReply),
        ("empty-null", FaultKind::EmptyReply),
        ("empty-blank", FaultKind::EmptyReply),
        ("empty-parts", FaultKind::EmptyReply),
        ("empty-reasoning", FaultKind::EmptyReply),
        ("empty-filtered", FaultKind::EmptyReply),
        ("empty-length", FaultKind::EmptyReply),
        ("tool-call", FaultKind::EmptyReply),
        ("filtered", FaultKind::Refused),
        ("reasoning-state", FaultKind::BadRequest),
        ("bad-generation", FaultKind::InvalidReply),
        ("no-funds", FaultKind::Payment),
        ("account-limit", FaultKind::RateLimited),
        ("region", FaultKind::Refused),
        ("no-provider", FaultKind::NotFound),
        ("redirect", FaultKind::InvalidReply),
        ("page", FaultKind::InvalidReply),
        ("stall-first", FaultKind::Timeout),
        ("stall", FaultKind::Timeout),
        ("comments", FaultKind::Timeout),
        ("cut-first", FaultKind::Connection),
        ("cut-chunk", FaultKind::Connection),
    ] {
        let wanted = json!({"error_rate": 1, "fault": fault, "latency_ms": 1});
        let (status, _) = running.put(fault, wanted).await;
        assert_eq!(status, StatusCode::OK, "{fault}");
        let whole = running.client.complete(&request(fault), soon()).await;
        assert_eq!(whole.map_err(|fault| fault.kind), Err(kind), "{fault}");
        assert_eq!(running.stream(fault).await, Err(kind), "{fault}, streamed");
    }
}

#[tokio::test]
async fn a_kept_alive_connection_that_dies_is_no_fault() {
    let plan = "[models.stale]\nerror_rate = 1\nfault = \"stale\"\nlatency_ms = 1\nword_ms = 0";
    let running = sandbox(plan).await;
    for _ in 0..4 {
        let whole = running.client.complete(&request("stale"), soon()).await;
        assert!(whole.is_ok(), "{whole:?}");
    }
    let whole = running.stream("stale").await;
    assert!(whole.is_ok(), "{whole:?}");
    // Each second call finds a connection that was used, is lost there, and is sent once more.
    let asked = running.sandbox.models().counts()["stale"].requests;
    assert_eq!(asked, 7);
    // On a fresh connection there is no second try.
    let dropped = sandbox("[models.drop]\nerror_rate = 1\nfault = \"drop\"").await;
    let whole = dropped.client.complete(&request("drop"), soon()).await;
    assert_eq!(
        whole.map_err(|fault| fault.kind),
        Err(FaultKind::Connection)
    );
    assert_eq!(dropped.sandbox.models().counts()["drop"].requests, 1);
}

#[tokio::test]
async fn a_refusal_is_an_answer_whole_and_streamed() {
    let plan = "[models.no]\nerror_rate = 1\nfault = \"refusal\"\nlatency_ms = 1";
    let running = sandbox(plan).await;
    let whole = running.client.complete(&request("no"), soon()).await;
    let whole = whole.unwrap();
    assert!(whole.is_refusal && !whole.content.is_empty());
    assert_eq!(running.stream("no").await, Ok(whole.content));
}

#[tokio::test]
async fn an_answer_has_its_usage_whole_and_streamed() {
    let running = sandbox("[default]\nlatency_ms = 1\nword_ms = 0").await;
    let asked = request("vendor/model:free");
    let whole = running.client.complete(&asked, soon()).await.unwrap();
    assert_eq!(whole.model, "sandbox/vendor/model:free");
    let usage = whole.usage.unwrap();
    assert_eq!((usage.prompt_tokens, usage.completion_tokens), (7, 17));
    let streamed = running.stream("vendor/model:free").await;
    assert_eq!(streamed, Ok(whole.content));
}

/// What the sandbox writes, byte by byte, to a request with these fields beside its question.
async fn raw(running: &Running, model: &str, more: Value) -> String {
    let mut body = json!({"model": model, "messages": [{"role": "user", "content": "What now?"}]});
    body.as_object_mut()
        .unwrap()
        .extend(more.as_object().unwrap().clone());
    let url = format!("{}/chat/completions", running.sandbox.base_url());
    let response = running.http.post(url).json(&body).send().await.unwrap();
    response.text().await.unwrap()
}

/// The events of a stream, but for `[DONE]`, which has to be the last.
fn chunks(stream: &str) -> Vec<Value> {
    let events = stream.strip_suffix("data: [DONE]\n\n").unwrap();
    let events = events.split_terminator("\n\n");
    let data = events.map(|event| event.strip_prefix("data: ").unwrap());
    data.map(|data| serde_json::from_str(data).unwrap())
        .collect()
}

#[tokio::test]
async fn a_stream_has_an_event_for_each_word_and_its_usage_where_it_is_asked_for() {
    let running = sandbox("[default]\nlatency_ms = 0\nword_ms = 0").await;
    let stream = raw(&running, "a", json!({"stream": true})).await;
    let deltas = chunks(&stream);
    let texts: Vec<_> = deltas
        .iter()
        .map(|it| it["choices"][0]["delta"]["content"].as_str().unwrap_or("-"))
        .collect();
    let text = "[sandbox/a] This is the sandbox, no language model. You asked: What now?";
    let words = text.split_inclusive(' ');
    assert_eq!(texts, [vec![""], words.collect(), vec!["-"]].concat());
    assert_eq!(deltas[0]["choices"][0]["delta"]["role"], "assistant");
    assert_eq!(
        deltas.last().unwrap()["choices"][0]["finish_reason"],
        "stop"
    );
    assert!(!stream.contains("usage"), "{stream}");

    let asked = json!({"stream": true, "stream_options": {"include_usage": true}});
    let with_usage = chunks(&raw(&running, "a", asked.clone()).await);
    let last = with_usage.last().unwrap();
    assert_eq!(last["choices"], json!([]));
    assert_eq!(last["usage"]["completion_tokens"], 12);
    running
        .put("quiet", json!({"error_rate": 1, "fault": "no-usage"}))
        .await;
    let quiet = chunks(&raw(&running, "quiet", asked).await);
    assert_eq!(quiet.len(), deltas.len());
    let whole = raw(&running, "quiet", json!({})).await;
    assert!(
        !whole.contains("usage") && whole.contains("What now?"),
        "{whole}"
    );
}

#[tokio::test]
async fn a_tool_that_must_be_called_is_called_in_steps() {
    let running = sandbox("[default]\nlatency_ms = 0\nword_ms = 0").await;
    let tool = |name: &str| json!({"type": "function", "function": {"name": name}});
    let tools = json!([tool("look_up"), tool("answer")]);
    for (choice, called) in [(json!("required"), "look_up"), (tool("answer"), "answer")] {
        let asked = json!({"stream": true, "tools": tools, "tool_choice": choice});
        let deltas = chunks(&raw(&running, "a", asked).await);
        let calls = deltas
            .iter()
            .filter_map(|it| it.pointer("/choices/0/delta/tool_calls/0"));
        let calls: Vec<_> = calls.collect();
        assert_eq!(calls[0]["function"]["name"], called);
        assert!(calls.len() > 2 && calls.iter().all(|call| call["index"] == 0));
        let arguments = calls
            .iter()
            .map(|call| call["function"]["arguments"].as_str().unwrap());
        assert_eq!(arguments.collect::<String>(), r#"{"question":"What now?"}"#);
        let finish = &deltas.last().unwrap()["choices"][0]["finish_reason"];
        assert_eq!(finish, "tool_calls");
    }
    let asked = json!({"tools": tools, "tool_choice": "auto"});
    assert!(
        raw(&running, "a", asked)
            .await
            .contains("You asked: What now?")
    );
}

#[tokio::test]
async fn it_lists_its_faults() {
    let running = sandbox("").await;
    let faults = running.get("/control/faults").await;
    assert_eq!(faults["stall"], "silence in the middle of the answer");
    let faults = faults.as_object().unwrap();
    assert_eq!(faults.len(), FaultMode::NAMED.len());
}

#[tokio::test]
async fn models_change_while_it_runs_and_each_is_counted() {
    let running = sandbox("[default]\nlatency_ms = 1\n[models.\"a/b:free\"]\nspread = 0.5").await;
    let asked = request("a/b:free");
    running.client.complete(&asked, soon()).await.unwrap();
    let before = running.get("/control/models/a/b:free").await;
    assert_eq!(
        (&before["spread"], &before["error_rate"]),
        (&json!(0.5), &json!(0.0))
    );

    let (status, now) = running
        .put("a/b:free", json!({"error_rate": 1.0, "fault": "503"}))
        .await;
    assert_eq!(status, StatusCode::OK);
    assert_eq!(now, running.get("/control/models/a/b:free").await);
    assert_eq!(
        (&now["spread"], &now["latency_ms"]),
        (&json!(0.0), &json!(1.0))
    );
    running.client.complete(&asked, soon()).await.unwrap_err();
    assert_eq!(
        running.get("/control/stats").await,
        json!({"models": {"a/b:free": {"requests": 2, "answered": 1, "faults": {"503": 1}}}})
    );
}

#[tokio::test]
async fn a_page_in_a_browser_cannot_control_it() {
    let running = sandbox("").await;
    let url = format!("{}/control/models/a", running.sandbox.origin());
    let plain = running.http.put(&url).body(r#"{"error_rate": 1}"#);
    assert_eq!(
        plain.send().await.unwrap().status(),
        StatusCode::UNSUPPORTED_MEDIA_TYPE
    );
    let wanted = json!({"error_rate": 1});
    let rebound = running.http.put(&url).header("host", "evil.example");
    assert_eq!(
        rebound.json(&wanted).send().await.unwrap().status(),
        StatusCode::FORBIDDEN
    );
    assert_eq!(running.get("/control/models/a").await["error_rate"], 0.0);
}

#[tokio::test]
async fn what_is_no_behaviour_is_refused() {
    let running = sandbox("").await;
    for (wanted, says) in [
        (json!({"error_rate": 2}), "`2` is out of range"),
        (json!({"errorRate": 1}), "unknown field `errorRate`"),
        (json!({"fault": "fire"}), "unknown fault `fire`"),
    ] {
        let (status, body) = running.put("a", wanted).await;
        assert_eq!(status, StatusCode::UNPROCESSABLE_ENTITY);
        let message = body["error"]["message"].as_str().unwrap();
        assert!(message.contains(says), "{message}");
    }
}
