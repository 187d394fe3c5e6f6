//! Asks a model for JSON of a form, once more where it is none, and refuses then. Nothing is ever made up.

use std::time::Duration;

use chrono::{DateTime, Utc};
use schemars::{JsonSchema, generate::SchemaSettings};
use serde::{Serialize, de::DeserializeOwned};
use serde_json::json;
use tokio::time::Instant;

use super::mail::Mail;
use crate::{
    _core::{assignment::Subject, caller::User, context::Context, rate_limit::RateLimiter},
    model_router::{Call, ModelRouter, RouteError, Trail, Urgency},
    providers::{ChatMessage, ChatRequest, fault::FaultKind},
};

/// Tokens that an answer may have.
const MAX_TOKENS: u32 = 2_000;
/// Characters of a faulty answer that the model is shown.
const SHOWN: usize = 4_000;

/// An answer that has more to it than its types say.
pub(super) trait CheckedAnswer: DeserializeOwned + JsonSchema {
    /// What its form is called.
    const NAME: &'static str;
    /// What is wrong with it.
    fn fault(&self) -> Option<&'static str>;
}

/// Whom to ask, for whom.
pub(super) struct EmailAsker<'a> {
    pub(super) models: &'a ModelRouter,
    pub(super) user: &'a User,
    pub(super) context: &'a Context,
    pub(super) deadline: Duration,
    pub(super) limiter: &'a RateLimiter,
}

/// Why nothing was found out about a mail, for programs.
#[derive(Clone, Debug, PartialEq, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct NotDone {
    /// `schema` where models answered, twice, in another form than they were asked for; else what failed,
    /// such as `timeout`; absent where too many requests wait for a model.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub kind: Option<String>,
}

/// Why a procedure failed.
#[derive(Debug, thiserror::Error)]
pub enum EmailError {
    /// The user has no such reply.
    #[error("no such suggestion")]
    NoSuggestion,
    /// Models answered in another form than they were asked for, twice.
    #[error("the answer is not of the form that was asked for: {fault}")]
    Schema {
        /// What is wrong with it, without its text.
        fault: String,
    },
    /// Too many within a minute.
    #[error("too many; the window frees at {frees_at}")]
    RateLimited {
        /// When the oldest counted one leaves the window.
        frees_at: DateTime<Utc>,
    },
    /// No model answered.
    #[error(transparent)]
    NoAnswer(#[from] RouteError),
    /// The database failed.
    #[error(transparent)]
    Store(#[from] anyhow::Error),
}

impl EmailError {
    /// What programs get; `None` of what is no fault of models.
    pub fn not_done(&self) -> Option<NotDone> {
        let kind = match self {
            Self::Schema { .. } => Some("schema".to_owned()),
            Self::NoAnswer(error) => error.kind().map(FaultKind::name).map(str::to_owned),
            Self::NoSuggestion | Self::RateLimited { .. } | Self::Store(_) => return None,
        };
        Some(NotDone { kind })
    }
}

impl EmailAsker<'_> {
    /// What a model of this task answers about a mail.
    pub(super) async fn ask<T: CheckedAnswer>(
        &self,
        task: &str,
        instructions: &str,
        mail: &Mail,
    ) -> Result<T, EmailError> {
        let now = self.context.received_at;
        let taken = self.limiter.take(self.user.id, now);
        taken.map_err(|quota| EmailError::RateLimited {
            frees_at: quota.resets_at,
        })?;
        let deadline = Instant::now() + self.deadline;
        let schema = SchemaSettings::draft2020_12().into_generator();
        let schema = schema.into_root_schema_for::<T>().to_value();
        let mut messages = mail.messages(instructions, &schema.to_string());
        let form = json!({
            "type": "json_schema",
            "json_schema": {"name": T::NAME, "schema": schema},
        });
        let subject = Subject::user(self.user.id);
        let mut is_second = false;
        loop {
            let route = self.models.select(task, subject.as_ref(), None)?;
            let mut request = ChatRequest::new(messages.clone());
            request.max_tokens = Some(MAX_TOKENS);
            request.rest.insert("response_format".into(), form.clone());
            let call = Call {
                request_id: self.context.request_id.clone(),
                request,
                deadline,
                stream_deadline: None,
                urgency: Urgency::default(),
                trail: Trail::default(),
            };
            let answer = self.models.complete(&route, call).await?;
            let text = answer.completion.content;
            match read::<T>(&text) {
                Ok(answer) => return Ok(answer),
                Err(fault) if is_second => return Err(EmailError::Schema { fault }),
                Err(fault) => {
                    is_second = true;
                    let shown: String = text.chars().take(SHOWN).collect();
                    messages.push(ChatMessage::text("assistant", shown));
                    messages.push(ChatMessage::text(
                        "user",
                        format!("That does not fit the schema: {fault}. Answer again, with the JSON object alone."),
                    ));
                }
            }
        }
    }
}

/// Reads an answer, which may stand in a fence, as models like to put it.
fn read<T: CheckedAnswer>(text: &str) -> Result<T, String> {
    let text = text.trim();
    let fenced = text
        .strip_prefix("```")
        .and_then(|rest| rest.strip_suffix("```"));
    let text = fenced.map_or(text, |inner| inner.trim_start_matches("json").trim());
    if !text.starts_with('{') {
        return Err("it is no JSON object".to_owned());
    }
    // The place and not the value: it comes from a model that has read a stranger's mail.
    let answer: T = serde_json::from_str(text).map_err(|error| {
        let what = match error.classify() {
            serde_json::error::Category::Data => "a field is missing or has another type",
            _ => "it is no JSON",
        };
        format!("{what} (line {}, column {})", error.line(), error.column())
    })?;
    match answer.fault() {
        Some(fault) => Err(fault.to_owned()),
        None => Ok(answer),
    }
}

#[cfg(test)]
mod tests {
    use super::{super::Categorized, *};

    #[test]
    fn an_answer_is_read_with_and_without_a_fence() {
        let json = r#"{"category": "work", "confidence": 0.9, "mood": "happy"}"#;
        for text in [
            json.to_owned(),
            format!("```json\n{json}\n```"),
            format!(" ```{json}```\n"),
        ] {
            assert_eq!(
                read::<Categorized>(&text).unwrap().confidence,
                0.9,
                "{text}"
            );
        }
    }

    #[test]
    fn what_is_of_another_form_is_refused_without_its_text() {
        for (text, words) in [
            ("It is about work, I think.", "no JSON"),
            (r#"["work", 0.5, null, null]"#, "no JSON object"),
            (
                r#"{"category": "secret words", "confidence": 0.9}"#,
                "another type",
            ),
            (r#"{"category": "work"}"#, "missing"),
            (
                r#"{"category": "work", "confidence": 7}"#,
                "between 0 and 1",
            ),
        ] {
            let fault = read::<Categorized>(text).unwrap_err();
            assert!(
                fault.contains(words) && !fault.contains("secret"),
                "{fault}"
            );
        }
    }
}
