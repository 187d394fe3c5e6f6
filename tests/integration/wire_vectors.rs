//! Whole HTTP exchanges recorded from the original, run against this server over real sockets.
//!
//! How two exchanges are compared, and which fields a rule excuses, is in docs/compatibility.md. A
//! case of a namespace that is not served yet is counted by namespace, never passed over silently.

use std::collections::BTreeMap;

use http::{HeaderMap, Method};
use serde_json::{Map, Value};

use crate::support::{
    app::{Session, TestApp},
    vectors::{self, Case, Rules},
};

/// What this version serves; cases of other namespaces are listed as not yet.
const SERVED: &[&str] = &["system", "auth", "aiMetrics", "chat"];
/// Procedures of served namespaces that belong to later work.
const NOT_YET: &[&str] = &["auth.login", "system.notifyOwner"];

#[tokio::test(flavor = "multi_thread")]
#[expect(clippy::print_stdout, reason = "a test reports what it compared")]
async fn wire_vectors_are_answered_as_recorded() {
    let Some(cases) = vectors::load("wire.json") else {
        return;
    };
    let mut rules = Rules::new("wire.json");
    let mut apps: BTreeMap<String, TestApp> = BTreeMap::new();
    let mut not_yet: BTreeMap<String, usize> = BTreeMap::new();
    let mut ids = RowIds::default();
    let mut last_numbered = None;
    for case in &cases {
        let Some(exchange) = Exchange::of(case) else {
            continue;
        };
        if let Some(namespace) = exchange.not_served() {
            *not_yet.entry(namespace).or_default() += 1;
            continue;
        }
        // Such a percentage refuses to start, which the flags' own vectors check.
        if exchange.has_refused_percentage() {
            rules.excuse("C1", "the whole exchange");
            continue;
        }
        let key = format!("{:?} {:?}", exchange.environment, exchange.prior);
        if !apps.contains_key(&key) {
            let app = TestApp::start(&exchange.environment).await;
            app.record_prior(exchange.prior.as_deref());
            apps.insert(key.clone(), app);
        }
        let app = &apps[&key];
        // The record leaves out sends between two numbered ones: they are added, so that ids agree.
        if let Some(number) = exchange.numbered_send() {
            for missing in last_numbered.map_or(number, |last: u64| last + 1)..number {
                exchange.with_number(missing).send(app).await;
            }
            last_numbered = Some(number);
        }
        let got = exchange.send(app).await;
        Comparison {
            rules: &mut rules,
            ids: &mut ids,
            case,
        }
        .compare(&exchange, &got);
    }
    println!("wire.json: not served yet: {not_yet:?}");
    rules.finish();
}

/// One recorded request and its answer.
struct Exchange {
    method: Method,
    path: String,
    headers: Vec<(String, String)>,
    session: Option<String>,
    body: Option<String>,
    environment: BTreeMap<String, String>,
    prior: Option<String>,
    output: Value,
}

/// What came back.
struct Answer {
    status: u16,
    headers: HeaderMap,
    text: String,
}

impl Exchange {
    /// `None` for records that are no exchange.
    fn of(case: &Case) -> Option<Self> {
        let request = case.rest.get("request")?;
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let map = |value: &Value| -> BTreeMap<String, String> {
            let entries = value.as_object().into_iter().flatten();
            entries
                .map(|(name, value)| (name.clone(), text(value)))
                .collect()
        };
        Some(Self {
            method: text(&request["method"]).parse().unwrap(),
            path: text(&request["path"]),
            headers: map(&request["headers"]).into_iter().collect(),
            session: request["sessionOf"].as_str().map(String::from),
            body: match &request["body"] {
                Value::Null => None,
                Value::String(body) => Some(unmask(body)),
                body => Some(unmask(&body.to_string())),
            },
            environment: case.env.clone(),
            prior: case
                .rest
                .get("prior")
                .and_then(Value::as_str)
                .map(String::from),
            output: case.output.clone(),
        })
    }

    /// The procedures that the path names.
    fn procedures(&self) -> Vec<&str> {
        let path = self.path.split('?').next().unwrap_or_default();
        let names = path.strip_prefix("/api/trpc/").unwrap_or_default();
        if self.path.contains("batch=1") {
            names.split(',').collect()
        } else {
            vec![names]
        }
    }

    /// The namespace that stands in the way, for a case that belongs to later work.
    fn not_served(&self) -> Option<String> {
        let Some(path) = self.path.strip_prefix("/api/trpc") else {
            let path = self.path.split('?').next().unwrap_or_default();
            return Some(path.to_owned());
        };
        // A stack trace is sent in development only by the original; C20 keeps the environments apart.
        if self.environment.contains_key("NODE_ENV") {
            return Some("development".into());
        }
        if path.trim_start_matches('/').is_empty() {
            return None;
        }
        // Of subscriptions called by other means, only the later router knows.
        self.procedures().into_iter().find_map(|name| {
            let (namespace, _) = name.split_once('.')?;
            let known = SERVED.contains(&namespace) || self.output["status"] != 200;
            let later = NOT_YET.contains(&name) || namespace == "chatStreaming";
            (!known || later).then(|| {
                if known {
                    name.to_owned()
                } else {
                    namespace.to_owned()
                }
            })
        })
    }

    fn has_refused_percentage(&self) -> bool {
        let setting = self.environment.get("OPENROUTER_ROLLOUT_PERCENTAGE");
        setting.is_some_and(|text| {
            !text.is_empty() && modelramp::_core::units::Percent::parse(text).is_none()
        })
    }

    /// The number of a send whose text is `nr <number>`.
    fn numbered_send(&self) -> Option<u64> {
        let body: Value = serde_json::from_str(self.body.as_deref()?).ok()?;
        body["json"]["content"]
            .as_str()?
            .strip_prefix("nr ")?
            .parse()
            .ok()
    }

    fn with_number(&self, number: u64) -> Self {
        let mut body: Value = serde_json::from_str(self.body.as_deref().unwrap()).unwrap();
        body["json"]["content"] = format!("nr {number}").into();
        Self {
            method: self.method.clone(),
            path: self.path.clone(),
            headers: self.headers.clone(),
            session: self.session.clone(),
            body: Some(body.to_string()),
            environment: self.environment.clone(),
            prior: self.prior.clone(),
            output: Value::Null,
        }
    }

    async fn send(&self, app: &TestApp) -> Answer {
        let mut request = app
            .http
            .request(self.method.clone(), format!("{}{}", app.base, self.path));
        for (name, value) in &self.headers {
            request = request.header(name, value);
        }
        if let Some(session) = &self.session {
            request = request.header("cookie", app.cookie(Session::Named(session)));
        }
        if let Some(body) = &self.body {
            request = request.body(body.clone());
        }
        let response = request.send().await.unwrap();
        Answer {
            status: response.status().as_u16(),
            headers: response.headers().clone(),
            text: response.text().await.unwrap(),
        }
    }

    fn names(&self, procedure: &str) -> bool {
        self.procedures().contains(&procedure)
    }
}

/// Replaces a run that the record has shortened: `<x*10000>`.
fn unmask(text: &str) -> String {
    let mut text = text.to_owned();
    while let Some(start) = text.find("<x*") {
        let Some(length) = text[start..].find('>') else {
            break;
        };
        let count = text[start + 3..start + length].parse().unwrap_or(0);
        text.replace_range(start..=start + length, &"x".repeat(count));
    }
    text
}

/// Row ids are compared by order of appearance: a recorded one always stands for the same one here.
#[derive(Default)]
struct RowIds(BTreeMap<(String, i64), i64>);

impl RowIds {
    fn same(&mut self, field: &str, recorded: i64, got: i64) -> bool {
        *self.0.entry((field.to_owned(), recorded)).or_insert(got) == got
    }
}

struct Comparison<'a> {
    rules: &'a mut Rules,
    ids: &'a mut RowIds,
    case: &'a Case,
}

impl Comparison<'_> {
    fn fail(&mut self, at: &str, why: impl std::fmt::Display) {
        self.rules.fail(self.case, at, why);
    }

    fn compare(&mut self, exchange: &Exchange, got: &Answer) {
        let recorded = &exchange.output;
        let html = recorded["text"]
            .as_str()
            .is_some_and(|text| text.starts_with("<html-page>"));
        if let Some(rule) = changed_outcome(exchange, got) {
            self.rules.excuse(rule, "status");
            return;
        }
        if recorded["status"] != got.status {
            let text: String = got.text.chars().take(300).collect();
            let why = format!("{} became {}: {text}", recorded["status"], got.status);
            self.fail("status", why);
            return;
        }
        if html {
            return;
        }
        self.compare_cookies(recorded, &got.headers);
        match recorded.get("json") {
            Some(json) => match serde_json::from_str(&got.text) {
                Ok(value) => self.value("", json, &value, exchange),
                Err(_) => self.fail("body", format_args!("not JSON: {}", got.text)),
            },
            None if recorded["text"] != "" => {
                self.fail(
                    "body",
                    format_args!("a text that is not compared: {}", recorded["text"]),
                );
            }
            None if !got.text.is_empty() => self.fail("body", &got.text),
            None => {}
        }
        if recorded.get("json").is_some() && got.headers["content-type"] != "application/json" {
            self.fail(
                "content-type",
                format_args!("{:?}", got.headers["content-type"]),
            );
        }
    }

    /// By name, HttpOnly, Secure, Path, cleared or not.
    fn compare_cookies(&mut self, recorded: &Value, got: &HeaderMap) {
        let recorded = recorded["headers"]["set-cookie"]
            .as_array()
            .cloned()
            .unwrap_or_default();
        let recorded: Vec<_> = recorded
            .iter()
            .map(|cookie| cookie_facts(cookie.as_str().unwrap()))
            .collect();
        let got: Vec<_> = got
            .get_all("set-cookie")
            .iter()
            .map(|cookie| cookie_facts(cookie.to_str().unwrap()))
            .collect();
        if recorded != got {
            // C21: the later version's flags hold, and it clears a cookie with the flags it was set with.
            if recorded.len() == got.len()
                && recorded
                    .iter()
                    .zip(&got)
                    .all(|(a, b)| (&a.name, &a.path, a.cleared) == (&b.name, &b.path, b.cleared))
            {
                self.rules.excuse("C21", "set-cookie flags");
            } else {
                self.fail("set-cookie", format_args!("{recorded:?} became {got:?}"));
            }
        }
    }

    fn value(&mut self, at: &str, recorded: &Value, got: &Value, exchange: &Exchange) {
        match (recorded, got) {
            (Value::Object(recorded), Value::Object(got)) => {
                self.object(at, recorded, got, exchange);
            }
            (Value::Array(recorded), Value::Array(got)) => {
                if recorded.len() != got.len() {
                    let (was, is) = (recorded.len(), got.len());
                    if let Some(rule) = changed_field(at, exchange) {
                        self.rules.excuse(rule, at);
                    } else {
                        self.fail(at, format_args!("{was} elements became {is}"));
                    }
                    return;
                }
                for (index, (recorded, got)) in recorded.iter().zip(got).enumerate() {
                    self.value(&format!("{at}.{index}"), recorded, got, exchange);
                }
            }
            (Value::String(mask), got) if mask.starts_with('<') && mask.ends_with('>') => {
                if !fits_mask(mask, got) {
                    self.fail(at, format_args!("{got} does not fit {mask}"));
                }
            }
            (Value::Number(was), Value::Number(is)) if is_row_id(at) => {
                let field = at.rsplit('.').next().unwrap_or_default();
                let field = if at.contains("conversationId") || exchange.lists_conversations() {
                    "conversation"
                } else {
                    field
                };
                if !self
                    .ids
                    .same(field, was.as_i64().unwrap_or(-1), is.as_i64().unwrap_or(-1))
                {
                    self.fail(at, format_args!("row {was} is another row, {is}"));
                }
            }
            (Value::Number(was), Value::Number(is)) => {
                if was.as_f64() != is.as_f64() {
                    self.differ(at, recorded, got, exchange);
                }
            }
            _ if recorded == got => {}
            _ => self.differ(at, recorded, got, exchange),
        }
    }

    fn object(
        &mut self,
        at: &str,
        recorded: &Map<String, Value>,
        got: &Map<String, Value>,
        exchange: &Exchange,
    ) {
        for (name, value) in recorded {
            let at = if at.is_empty() {
                name.clone()
            } else {
                format!("{at}.{name}")
            };
            // The version of superjson's note, and where in its code the original failed.
            if at.ends_with("meta.v") || name == "stack" {
                continue;
            }
            match got.get(name) {
                Some(got) if name == "message" && at.contains("error") => {
                    self.message(&at, value, got, exchange);
                }
                Some(got) => self.value(&at, value, got, exchange),
                None => self.differ(&at, value, &Value::Null, exchange),
            }
        }
        // What superjson notes is compared whole: a note too many turns a text into a date.
        if at.ends_with("meta.values") {
            for name in got.keys().filter(|name| !recorded.contains_key(*name)) {
                self.fail(at, format_args!("a note on `{name}` that was not there"));
            }
        }
    }

    /// A list of issues by count, order, code and path, and by text where the original set its own.
    fn message(&mut self, at: &str, recorded: &Value, got: &Value, exchange: &Exchange) {
        if recorded == got {
            return;
        }
        let issues = |value: &Value| -> Option<Vec<Value>> {
            serde_json::from_str::<Vec<Value>>(value.as_str()?).ok()
        };
        match (issues(recorded), issues(got)) {
            (Some(recorded), Some(got)) if recorded.len() == got.len() => {
                for (recorded, got) in recorded.iter().zip(&got) {
                    let own_text = !is_standard_text(recorded["message"].as_str().unwrap_or(""));
                    let same = recorded["code"] == got["code"]
                        && recorded["path"] == got["path"]
                        && (!own_text || recorded["message"] == got["message"]);
                    if !same {
                        self.fail(at, format_args!("issue {recorded} became {got}"));
                    }
                }
            }
            _ if is_parsers_text(recorded.as_str().unwrap_or("")) => {}
            _ => self.differ(at, recorded, got, exchange),
        }
    }

    fn differ(&mut self, at: &str, recorded: &Value, got: &Value, exchange: &Exchange) {
        match changed_field(at, exchange) {
            Some(rule) => self.rules.excuse(rule, at),
            None => self.fail(at, format_args!("{recorded} became {got}")),
        }
    }
}

impl Exchange {
    fn lists_conversations(&self) -> bool {
        self.names("chat.getConversations") || self.names("chat.createConversation")
    }
}

/// A whole outcome that a rule changes on purpose, told by what was asked and what came.
fn changed_outcome(exchange: &Exchange, got: &Answer) -> Option<&'static str> {
    let input = exchange.input();
    let minutes = &input["lastMinutes"];
    let recorded = exchange.output["status"].as_u64()?;
    match (recorded, got.status) {
        // The input object is optional, and plain query parameters work.
        (400, 200)
            if exchange.names("aiMetrics.getSummary") && !exchange.path.contains("input=") =>
        {
            Some("C7")
        }
        (200, 400)
            if exchange.names("aiMetrics.getSummary")
                && minutes
                    .as_f64()
                    .is_some_and(|m| !(1.0..=10_080.0).contains(&m)) =>
        {
            Some("C7")
        }
        (200, 400)
            if exchange.names("chat.getMessages")
                && ["cursor", "limit"].iter().any(|field| {
                    input[*field]
                        .as_f64()
                        .is_some_and(|n| n < 0.0 || n.fract() != 0.0)
                }) =>
        {
            Some("C7")
        }
        (200, 401 | 403) if exchange.names("aiMetrics.logSummary") => Some("C16"),
        (403, 401) if exchange.session.is_none() => Some("C16"),
        (200, 403) if exchange.is_on_a_conversation() && got.text.contains("permission") => {
            Some("C21")
        }
        (200, 404)
            if exchange.is_on_a_conversation() && got.text.contains("Conversation not found") =>
        {
            Some("C21")
        }
        _ => None,
    }
}

/// A field that a rule changes on purpose.
fn changed_field(at: &str, exchange: &Exchange) -> Option<&'static str> {
    let field = at.rsplit('.').next().unwrap_or_default();
    match field {
        "p50ResponseTime" | "p95ResponseTime" | "p99ResponseTime" => Some("C5"),
        "recommendedPercentage" => Some("C8"),
        // A failed send answers a text of ours: the upstream's stays in the log.
        "message" if exchange.names("chat.sendMessage") && exchange.output["status"] == 500 => {
            Some("C24")
        }
        // Messages that ownership refused are missing from the conversations they went to.
        "lastMessage" | "messages" | "hasMore" | "nextCursor" if exchange.session_is_owner() => {
            Some("C21")
        }
        _ => None,
    }
}

impl Exchange {
    fn input(&self) -> Value {
        let text = match &self.body {
            Some(body) => body.clone(),
            None => {
                let url = reqwest::Url::parse(&format!("http://x{}", self.path)).unwrap();
                let input = url.query_pairs().find(|(name, _)| name == "input");
                input
                    .map(|(_, value)| value.into_owned())
                    .unwrap_or_default()
            }
        };
        serde_json::from_str::<Value>(&text).map_or(Value::Null, |value| value["json"].clone())
    }

    fn is_on_a_conversation(&self) -> bool {
        [
            "chat.sendMessage",
            "chat.getMessages",
            "chat.deleteConversation",
        ]
        .iter()
        .any(|name| self.names(name))
    }

    fn session_is_owner(&self) -> bool {
        self.is_on_a_conversation()
    }
}

fn is_row_id(at: &str) -> bool {
    let field = at.rsplit('.').next().unwrap_or_default();
    matches!(field, "id" | "conversationId" | "userId")
}

fn fits_mask(mask: &str, got: &Value) -> bool {
    let text = got.as_str();
    match mask {
        "<iso-time>" => text.is_some_and(|t| chrono::DateTime::parse_from_rfc3339(t).is_ok()),
        "<ms>" => got.is_number(),
        "<32-hex>" => text.is_some_and(|t| t.len() == 32),
        _ => text == Some(&unmask(mask)),
    }
}

fn is_standard_text(message: &str) -> bool {
    [
        "Invalid input",
        "Too small",
        "Too big",
        "Invalid option",
        "Invalid email",
    ]
    .iter()
    .any(|start| message.starts_with(start))
}

/// Texts of the JSON and media-type parsers are compared by status and code.
fn is_parsers_text(message: &str) -> bool {
    [
        "Expected property name",
        "Unexpected",
        "Unsupported content-type",
        "Unterminated",
        "Bad ",
    ]
    .iter()
    .any(|start| message.starts_with(start))
        || message.contains("JSON")
}

#[derive(Debug, PartialEq)]
struct CookieFacts {
    name: String,
    http_only: bool,
    secure: bool,
    path: Option<String>,
    cleared: bool,
}

fn cookie_facts(cookie: &str) -> CookieFacts {
    let mut parts = cookie.split(';').map(str::trim);
    let (name, value) = parts
        .next()
        .unwrap_or_default()
        .split_once('=')
        .unwrap_or_default();
    let attributes: Vec<String> = parts.map(str::to_ascii_lowercase).collect();
    CookieFacts {
        name: name.to_owned(),
        http_only: attributes.iter().any(|a| a == "httponly"),
        secure: attributes.iter().any(|a| a == "secure"),
        path: attributes
            .iter()
            .find_map(|a| a.strip_prefix("path=").map(String::from)),
        cleared: value.is_empty(),
    }
}
