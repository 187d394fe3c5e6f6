//! What is told of attempts to a collector of traces, and what a Prometheus makes of the dashboard.

mod protobuf;

use std::{
    collections::BTreeMap,
    net::TcpListener,
    process::{Command, Stdio},
    time::Duration,
};

use axum::{Router, body::Bytes, extract::State, http::HeaderMap, routing::post};
use modelramp::_core::caller::Role;
use parking_lot::Mutex;
use serde_json::{Value, json};
use std::sync::Arc;

use crate::support::{
    app::{TestApp, TestAppBuilder},
    scripted_upstream::{Reply, Upstream},
    wait::{PATIENCE, eventually},
};

const CATALOG: &str = r#"
[providers.test]
base_url = "http://127.0.0.1:9/v1"
api_key_env = "TELEMETRY_TEST_API_KEY"
[models.trusty]
provider = "test"
id = "vendor/trusty:free"
context = 32000
prices = { prompt = 1.0, completion = 2.0 }
[models.shiny]
provider = "test"
id = "shiny"
context = 32000
[tasks.chat]
control = ["shiny", "trusty"]
candidate = ["trusty", "shiny"]
"#;

fn setup() -> TestAppBuilder {
    let sandbox =
        "[default]\nlatency_ms = 1\nword_ms = 1\n[models.shiny]\nerror_rate = 1\nfault = \"503\"\n";
    TestApp::builder()
        .with_catalog(CATALOG)
        .with_sandbox(sandbox)
}

/// Asks the gateway for this, and reads all of the answer.
async fn ask(app: &TestApp, body: Value) -> String {
    let request = app.http.post(format!("{}/v1/chat/completions", app.url));
    let request = request.bearer_auth(app.setup.admin().await);
    let answer = request.body(body.to_string()).send().await.unwrap();
    answer.text().await.unwrap()
}

const SECRET_WORDS: &str = "nobody else should read this";

fn body(model: &str, streams: bool) -> Value {
    json!({"model": model, "stream": streams, "messages": [{"role": "user", "content": SECRET_WORDS}]})
}

/// What a collector was sent.
#[derive(Default)]
struct Collector {
    bodies: Mutex<Vec<(HeaderMap, Value)>>,
}

impl Collector {
    /// It listens at this address.
    #[expect(clippy::disallowed_methods, reason = "it ends with the test")]
    async fn start() -> (Arc<Self>, String) {
        let collector = Arc::new(Self::default());
        let receive = async |State(it): State<Arc<Self>>, headers: HeaderMap, body: Bytes| {
            let body = match headers["content-type"].to_str() {
                Ok("application/x-protobuf") => protobuf::request(&body),
                Ok("application/json") => serde_json::from_slice(&body).unwrap(),
                other => panic!("{other:?}"),
            };
            it.bodies.lock().push((headers, body));
            "{}"
        };
        let routes = Router::new().route("/otel/v1/traces", post(receive));
        let routes = routes.with_state(collector.clone());
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/otel", listener.local_addr().unwrap());
        tokio::spawn(async move { axum::serve(listener, routes).await.unwrap() });
        (collector, url)
    }

    /// The spans, once there are so many: their fields, with attributes by name.
    async fn spans(&self, count: usize) -> Vec<(Value, BTreeMap<String, Value>)> {
        eventually(PATIENCE, async || {
            let spans = self.all();
            match spans.len() >= count {
                true => Ok(spans),
                false => Err(spans),
            }
        })
        .await
    }

    fn all(&self) -> Vec<(Value, BTreeMap<String, Value>)> {
        let list = |value: &Value| value.as_array().unwrap().clone();
        let bodies = self.bodies.lock();
        let bodies = bodies.iter().map(|(_, body)| body.clone());
        let resources = bodies.flat_map(|body: Value| list(&body["resourceSpans"]));
        let scopes = resources.flat_map(|it| list(&it["scopeSpans"]));
        let spans = scopes.flat_map(|it| list(&it["spans"]));
        let with_attributes = spans.map(|span| {
            let attributes = list(&span["attributes"]).into_iter();
            let attributes = attributes.map(|it| {
                let value = it["value"].as_object().unwrap().values().next().unwrap();
                (it["key"].as_str().unwrap().to_owned(), value.clone())
            });
            (span, attributes.collect())
        });
        with_attributes.collect()
    }
}

#[tokio::test]
async fn a_collector_gets_a_span_of_each_attempt_and_no_text() {
    for (protocol, media_type) in [
        ("http/protobuf", "application/x-protobuf"),
        ("http/json", "application/json"),
    ] {
        spans_come_as(protocol, media_type).await;
    }
}

async fn spans_come_as(protocol: &str, media_type: &str) {
    let (collector, url) = Collector::start().await;
    let setup = setup().with_settings([
        ("OTEL_EXPORTER_OTLP_PROTOCOL", protocol),
        ("OTEL_EXPORTER_OTLP_ENDPOINT", url.as_str()),
        (
            "OTEL_EXPORTER_OTLP_HEADERS",
            "authorization=Bearer%20abc,x-scope=a",
        ),
        ("OTEL_SERVICE_NAME", "a-service"),
    ]);
    let app = setup.start().await;
    ask(&app, body("task/chat", true)).await;
    let spans = collector.spans(2).await;
    let [(failed, of_failed), (answered, of_answered)] = &spans[..] else {
        panic!("{spans:?}")
    };
    assert_eq!(failed["traceId"], answered["traceId"]);
    assert_eq!(failed["traceId"].as_str().unwrap().len(), 32);
    assert_ne!(failed["spanId"], answered["spanId"]);
    assert_eq!(failed["name"], "chat shiny");
    assert_eq!(failed["kind"], 3);
    assert_eq!(failed["status"], json!({"code": 2, "message": "upstream"}));
    assert_eq!(of_failed["error.type"], "upstream");
    assert!(answered.get("status").is_none());
    for (name, value) in [
        ("gen_ai.operation.name", json!("chat")),
        ("gen_ai.provider.name", json!("test")),
        ("gen_ai.request.model", json!("vendor/trusty:free")),
        ("gen_ai.usage.input_tokens", json!("5")),
        ("gen_ai.usage.output_tokens", json!("15")),
        ("modelramp.model", json!("trusty")),
        ("modelramp.task", json!("chat")),
        ("modelramp.variant", json!("control")),
        ("modelramp.position", json!("1")),
        ("modelramp.outcome", json!("success")),
    ] {
        assert_eq!(of_answered[name], value, "{name}");
    }
    let nanos = |span: &Value, field: &str| span[field].as_str().unwrap().parse::<u64>().unwrap();
    for (span, _) in &spans {
        assert!(nanos(span, "startTimeUnixNano") <= nanos(span, "endTimeUnixNano"));
    }
    let took = nanos(answered, "endTimeUnixNano") - nanos(answered, "startTimeUnixNano");
    let first = &of_answered["gen_ai.response.time_to_first_chunk"];
    assert!(
        first.as_f64().unwrap() * 1e9 <= took as f64,
        "{first} {took}"
    );
    let bodies = collector.bodies.lock();
    for (headers, body) in bodies.iter() {
        assert_eq!(headers["authorization"], "Bearer abc");
        assert_eq!(headers["x-scope"], "a");
        assert_eq!(headers["content-type"], media_type);
        let service = json!({"key": "service.name", "value": {"stringValue": "a-service"}});
        let resource = &body["resourceSpans"][0]["resource"]["attributes"];
        assert_eq!(resource[0], service);
        let body = body.to_string();
        assert!(
            !body.contains(SECRET_WORDS) && !body.contains("sandbox/"),
            "{body}"
        );
    }
}

#[tokio::test]
async fn spans_hold_what_was_said_where_that_is_allowed_and_placeholders_for_what_is_masked() {
    let (collector, url) = Collector::start().await;
    let upstream = Upstream::with(|_, request| {
        let messages = request.body["messages"].as_array().unwrap();
        let asked = messages.last().unwrap()["content"].as_str().unwrap();
        match request.body["stream"] == true {
            true => Reply::tokens(&["You said ", asked]),
            false => Reply::ok(&format!("You said {asked}")),
        }
    })
    .await;
    let catalog = format!(
        "[providers.up]\nbase_url = \"{}\"\n[models.a]\nprovider = \"up\"\nid = \"a\"\ncontext = 8192\n\
         [tasks.chat]\ncandidate = [\"a\"]\ncontrol = [\"a\"]\n[tasks.chat.privacy]\nmask = [\"email\"]\n",
        upstream.base_url
    );
    let app = TestApp::builder()
        .with_catalog(&catalog)
        .with_setting("OTEL_EXPORTER_OTLP_ENDPOINT", &url)
        .with_setting("OTEL_INSTRUMENTATION_GENAI_CAPTURE_MESSAGE_CONTENT", "true")
        .start()
        .await;
    for streams in [false, true] {
        let messages = json!([{"role": "user", "content": "Write to anna@firma.dk."}]);
        let body = json!({"model": "task/chat", "stream": streams, "messages": messages});
        let answer = ask(&app, body).await;
        assert!(answer.contains("anna@firma.dk"), "{answer}");
    }
    let spans = collector.spans(2).await;
    for (_, attributes) in &spans {
        assert_eq!(attributes["langfuse.observation.type"], "generation");
        assert_eq!(attributes["langfuse.observation.model.name"], "a");
        assert_eq!(attributes["langfuse.trace.name"], "chat");
        let text = |side: &str| {
            attributes[&format!("langfuse.observation.{side}")]
                .as_str()
                .unwrap()
        };
        assert!(
            text("input").contains("Write to [EMAIL-1-"),
            "{}",
            text("input")
        );
        assert!(
            text("output").contains("You said Write to [EMAIL-1-"),
            "{}",
            text("output")
        );
    }
    let all = format!("{spans:?}");
    assert!(!all.contains("firma"), "{all}");
}

#[tokio::test]
async fn a_callers_trace_goes_on_with_each_attempt_unless_it_is_not_recorded() {
    let (collector, url) = Collector::start().await;
    let upstream = Upstream::with(|count, _| match count {
        0 => Reply::status(503),
        _ => Reply::ok("hej"),
    })
    .await;
    let catalog = format!(
        "[providers.up]\nbase_url = \"{}\"\n[models.a]\nprovider = \"up\"\nid = \"a\"\ncontext = 8192\n\
         [models.b]\nprovider = \"up\"\nid = \"b\"\ncontext = 8192\n\
         [tasks.chat]\ncandidate = [\"a\", \"b\"]\ncontrol = [\"a\", \"b\"]\n",
        upstream.base_url
    );
    let setup = TestApp::builder().with_catalog(&catalog);
    let app = setup
        .with_setting("OTEL_EXPORTER_OTLP_ENDPOINT", &url)
        .start()
        .await;
    let call = async |trace: &str| {
        let request = app.http.post(format!("{}/v1/chat/completions", app.url));
        let request = request.bearer_auth(app.setup.admin().await);
        let request = request.header("traceparent", trace);
        let answer = request.body(body("task/chat", false).to_string()).send();
        assert_eq!(answer.await.unwrap().status(), 200);
    };
    const TRACE: &str = "0af7651916cd43dd8448eb211c80319c";
    const SPAN: &str = "b7ad6b7169203331";
    call(&format!("00-{TRACE}-{SPAN}-00")).await;
    call(&format!("00-{TRACE}-{SPAN}-01")).await;
    call("no-trace-at-all").await;
    let sent: Vec<_> = upstream.requests();
    let headers: Vec<_> = sent
        .iter()
        .map(|it| Some(it.headers.get("traceparent")?.to_str().unwrap().to_owned()))
        .collect();
    let parts = |header: &Option<String>| {
        let parts: Vec<_> = header
            .as_ref()
            .unwrap()
            .split('-')
            .map(str::to_owned)
            .collect();
        <[_; 4]>::try_from(parts).unwrap()
    };
    let [[_, first, first_span, flags], [_, second, second_span, _]] =
        [parts(&headers[0]), parts(&headers[1])];
    assert_eq!([&*first, &*second, &*flags], [TRACE, TRACE, "00"]);
    assert!(first_span != SPAN && first_span != second_span);
    let [_, _, recorded, flags] = parts(&headers[2]);
    assert_eq!((&*flags, headers.get(3)), ("01", Some(&None)));
    app.stop().await;
    let spans = collector.all();
    let [(of_trace, _), (own, _)] = &spans[..] else {
        panic!("{spans:?}")
    };
    assert_eq!(of_trace["traceId"], TRACE);
    assert_eq!(of_trace["parentSpanId"], SPAN);
    assert_eq!(of_trace["spanId"], recorded);
    assert!(own.get("parentSpanId").is_none());
}

#[tokio::test]
async fn what_is_left_is_sent_when_the_server_stops_and_a_collector_that_is_away_hinders_nobody() {
    let (collector, url) = Collector::start().await;
    let app = setup()
        .with_setting("OTEL_EXPORTER_OTLP_ENDPOINT", &url)
        .start()
        .await;
    ask(&app, body("trusty", false)).await;
    app.stop().await;
    assert_eq!(collector.all().len(), 1);

    let away = setup().with_setting("OTEL_EXPORTER_OTLP_ENDPOINT", "http://127.0.0.1:9");
    let app = away.start().await;
    let answer = ask(&app, body("trusty", false)).await;
    assert!(answer.contains("sandbox/"), "{answer}");
    app.stop().await;
}

/// A Prometheus that reads this server; ends when dropped.
struct Prometheus {
    process: std::process::Child,
    url: String,
}

impl Drop for Prometheus {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

impl Prometheus {
    /// `None` where it is not installed and need not be.
    fn start(app: &TestApp) -> Option<Self> {
        let folder = app.setup.folder();
        let target = app.url.trim_start_matches("http://");
        let config = format!(
            "global: {{ scrape_interval: 1s }}\nscrape_configs:\n  - job_name: modelramp\n    \
             static_configs: [{{ targets: [\"{target}\"] }}]\n"
        );
        let file = folder.join("prometheus.yml");
        std::fs::write(&file, config).unwrap();
        let free = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = free.local_addr().unwrap();
        drop(free);
        let started = Command::new("prometheus")
            .arg(format!("--config.file={}", file.display()))
            .arg(format!(
                "--storage.tsdb.path={}",
                folder.join("tsdb").display()
            ))
            .arg(format!("--web.listen-address={address}"))
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn();
        match started {
            Ok(process) => Some(Self {
                process,
                url: format!("http://{address}"),
            }),
            Err(error) => {
                let required = std::env::var_os("MODELRAMP_TEST_REQUIRE_PROMTOOL").is_some();
                assert!(!required, "`prometheus` cannot be run: {error}");
                None
            }
        }
    }

    /// What a query gives now: the series, or the error.
    async fn ask(&self, http: &reqwest::Client, query: &str) -> Result<Vec<Value>, String> {
        let url = format!("{}/api/v1/query", self.url);
        let url = reqwest::Url::parse_with_params(&url, [("query", query)]).unwrap();
        let answer = http
            .get(url)
            .send()
            .await
            .map_err(|error| error.to_string())?;
        let text = answer.text().await.map_err(|error| error.to_string())?;
        let answer: Value = serde_json::from_str(&text).map_err(|_| text)?;
        match answer["data"]["result"].as_array() {
            Some(series) if !series.is_empty() => Ok(series.clone()),
            _ => Err(answer.to_string()),
        }
    }
}

#[tokio::test]
async fn a_collector_that_never_answers_holds_up_a_stop_for_two_seconds() {
    // The system takes the connection; nobody reads.
    let silent = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", silent.local_addr().unwrap());
    let setup = setup().with_setting("OTEL_EXPORTER_OTLP_ENDPOINT", &url);
    let app = setup.start().await;
    for _ in 0..3 {
        ask(&app, body("task/chat", false)).await;
    }
    let begun = std::time::Instant::now();
    app.stop().await;
    let took = begun.elapsed();
    // Less than one request to a collector may take.
    assert!(took < Duration::from_millis(4_500), "{took:?}");
    drop(silent);
}

#[tokio::test]
async fn a_prometheus_answers_every_query_of_the_dashboard() {
    let app = setup().start().await;
    let Some(prometheus) = Prometheus::start(&app) else {
        return;
    };
    let user = app.setup.token(5, Role::User).await;
    let call = async |method: &str, params: Value| {
        let answer = crate::support::calls::rpc(&app.http, &app.url, &user, method, params);
        answer.await.unwrap().unwrap()
    };
    let conversation = call("chat.createConversation", json!({})).await;
    let sent = json!({"conversationId": conversation["id"], "content": "hej"});
    call("chat.sendMessage", sent).await;
    for streams in [false, true] {
        ask(&app, body("task/chat", streams)).await;
    }
    let dashboard: Value = serde_json::from_str(include_str!("../../docs/grafana.json")).unwrap();
    let panels = dashboard["panels"].as_array().unwrap().iter();
    let targets = panels
        .filter_map(|panel| panel["targets"].as_array())
        .flatten();
    let queries: Vec<&str> = targets.map(|it| it["expr"].as_str().unwrap()).collect();
    assert!(queries.len() > 20);
    for query in queries {
        let query = query.replace("$__rate_interval", "1m");
        eventually(Duration::from_secs(30), async || {
            prometheus
                .ask(&app.http, &query)
                .await
                .map_err(|error| format!("{query}: {error}"))
        })
        .await;
    }
}
