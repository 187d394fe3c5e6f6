//! One recorded exchange: what was asked, in which circumstances, and how to ask it again.

use std::collections::BTreeMap;

use http::{HeaderMap, Method};
use serde_json::Value;

use super::{PATHS, SERVED};
use crate::support::{recorded_app::RecordedApp, vectors::Case};

/// One recorded request and its answer.
pub(super) struct Exchange {
    pub(super) method: Method,
    pub(super) path: String,
    pub(super) headers: Vec<(String, String)>,
    pub(super) session: Option<String>,
    pub(super) body: Option<String>,
    pub(super) environment: BTreeMap<String, String>,
    pub(super) prior: Option<String>,
    pub(super) output: Value,
}

/// What came back.
pub(super) struct Answer {
    pub(super) status: u16,
    pub(super) headers: HeaderMap,
    pub(super) text: String,
}

impl Exchange {
    /// `None` for records that are no exchange.
    pub(super) fn of(case: &Case) -> Option<Self> {
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
    pub(super) fn procedures(&self) -> Vec<&str> {
        let path = self.path.split('?').next().unwrap_or_default();
        let names = path.strip_prefix("/api/trpc/").unwrap_or_default();
        if self.path.contains("batch=1") {
            names.split(',').collect()
        } else {
            vec![names]
        }
    }

    /// The rule by which a case is not this server's to answer as recorded, if there is one.
    pub(super) fn is_not_ours(&self) -> Option<&'static str> {
        let Some(path) = self.path.strip_prefix("/api/trpc") else {
            let path = self.path.split('?').next().unwrap_or_default();
            return (!PATHS.contains(&path)).then_some("C60");
        };
        // A stack trace is sent in development only by the original.
        if self.environment.contains_key("NODE_ENV") {
            return Some("C20");
        }
        if path.trim_start_matches('/').is_empty() {
            return None;
        }
        let is_elsewhere = |name: &&str| {
            let namespace = name.split_once('.').map(|it| it.0);
            namespace.is_some_and(|it| !SERVED.contains(&it) && self.output["status"] == 200)
        };
        let names = self.procedures();
        names.iter().any(is_elsewhere).then_some("C60")
    }

    pub(super) fn has_refused_percentage(&self) -> bool {
        let setting = self.environment.get("OPENROUTER_ROLLOUT_PERCENTAGE");
        setting.is_some_and(|text| {
            !text.is_empty() && modelramp::_core::units::Percent::parse(text).is_none()
        })
    }

    /// The number of a send whose text is `nr <number>`.
    pub(super) fn numbered_send(&self) -> Option<u64> {
        let body: Value = serde_json::from_str(self.body.as_deref()?).ok()?;
        body["json"]["content"]
            .as_str()?
            .strip_prefix("nr ")?
            .parse()
            .ok()
    }

    pub(super) fn with_number(&self, number: u64) -> Self {
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

    pub(super) async fn send(&self, recorded: &RecordedApp) -> Answer {
        let app = &recorded.app;
        let url = format!("{}{}", app.url, self.path);
        let mut request = app.http.request(self.method.clone(), url);
        for (name, value) in &self.headers {
            request = request.header(name, value);
        }
        if let Some(session) = &self.session {
            request = request.header("cookie", recorded.cookie(session));
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

    pub(super) fn lists_conversations(&self) -> bool {
        self.names("chat.getConversations") || self.names("chat.createConversation")
    }

    pub(super) fn input(&self) -> Value {
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

    pub(super) fn is_on_a_conversation(&self) -> bool {
        [
            "chat.sendMessage",
            "chat.getMessages",
            "chat.deleteConversation",
            "chatStreaming.sendMessageStreaming",
            "chatStreaming.sendMessageStream",
        ]
        .iter()
        .any(|name| self.names(name))
    }

    pub(super) fn session_is_owner(&self) -> bool {
        self.is_on_a_conversation()
    }

    pub(super) fn names(&self, procedure: &str) -> bool {
        self.procedures().contains(&procedure)
    }
}

/// Replaces a run that the record has shortened: `<x*10000>`.
pub(super) fn unmask(text: &str) -> String {
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
