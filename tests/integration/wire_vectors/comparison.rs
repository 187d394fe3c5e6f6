//! Compares an answer with the recorded one, field by field.

use std::collections::BTreeMap;

use http::HeaderMap;
use serde_json::{Map, Value};

use super::{
    exchange::{Answer, Exchange, unmask},
    rules::{changed_field, changed_outcome},
};
use crate::support::vectors::{Case, Rules};

/// Row ids are compared by order of appearance: a recorded one always stands for the same one here.
#[derive(Default)]
pub(super) struct RowIds(BTreeMap<(String, i64), i64>);

impl RowIds {
    fn same(&mut self, field: &str, recorded: i64, got: i64) -> bool {
        *self.0.entry((field.to_owned(), recorded)).or_insert(got) == got
    }
}

pub(super) struct Comparison<'a> {
    pub(super) rules: &'a mut Rules,
    pub(super) ids: &'a mut RowIds,
    pub(super) case: &'a Case,
}

impl Comparison<'_> {
    fn fail(&mut self, at: &str, why: impl std::fmt::Display) {
        self.rules.fail(self.case, at, why);
    }

    pub(super) fn compare(&mut self, exchange: &Exchange, got: &Answer) {
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
            None if recorded["headers"]["content-type"] == "text/event-stream" => {
                self.events(recorded["text"].as_str().unwrap(), &got.text, exchange);
            }
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

    /// By their names and data; comments, ids and waits are left out.
    fn events(&mut self, recorded: &str, got: &str, exchange: &Exchange) {
        let refused = got.contains("Conversation not found");
        if refused && exchange.is_on_a_conversation() {
            self.rules.excuse("C21", "body");
            return;
        }
        let (recorded, got) = (events(recorded), events(got));
        let names = |events: &[(String, Value)]| -> Vec<String> {
            events.iter().map(|(name, _)| name.clone()).collect()
        };
        if names(&recorded) != names(&got) {
            self.fail("body", format_args!("{recorded:?} became {got:?}"));
            return;
        }
        for ((name, recorded), (_, got)) in recorded.iter().zip(&got) {
            self.value(name, recorded, got, exchange);
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

/// The events of a stream: their names, and their data as JSON.
fn events(text: &str) -> Vec<(String, Value)> {
    let blocks = text.split("\n\n").filter_map(|block| {
        let field = |name: &str| {
            let mut lines = block.lines();
            lines.find_map(|line| line.strip_prefix(name))
        };
        let data = field("data: ")?;
        let name = field("event: ").unwrap_or("message");
        Some((
            name.to_owned(),
            serde_json::from_str(data).unwrap_or_default(),
        ))
    });
    blocks.collect()
}
