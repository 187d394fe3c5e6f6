//! What the procedures answer.

use chrono::{DateTime, Utc};
use schemars::JsonSchema;
use serde::Serialize;

use crate::{
    _core::assignment::Variant,
    dashboard::requests::RequestPlace,
    model_router::ModelRouter,
    providers::{fault::Cause, finish::Finish},
    recording::{
        Event, Outcome,
        texts::{CallTexts, PromptMessage},
    },
};

/// A page of requests.
#[derive(Debug, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct RequestList {
    /// The newest first.
    pub(super) rows: Vec<RequestRow>,
    /// Where the next page begins; null after the last.
    pub(super) next_cursor: Option<String>,
    /// How many requests fit; with the first page only.
    pub(super) count: Option<RequestCount>,
    /// What is stored up to this time was looked at.
    pub(super) up_to: DateTime<Utc>,
    /// Back to this time it was looked, which was not enough to fill the page; `nextCursor` looks on from
    /// there. Null where the page is full, and where there is nothing before it.
    pub(super) searched_to: Option<DateTime<Utc>>,
}

/// How many requests fit.
#[derive(Debug, Serialize, JsonSchema)]
pub(super) struct RequestCount {
    /// So many at least.
    value: u64,
    /// Whether there are no more.
    exact: bool,
}

/// So many, and whether there are no more.
impl From<(u64, bool)> for RequestCount {
    fn from((value, exact): (u64, bool)) -> Self {
        Self { value, exact }
    }
}

/// One request.
#[derive(Debug, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct RequestRow {
    /// Finds it in the log too.
    pub(crate) request_id: String,
    /// When its newest attempt that fits ended.
    pub(crate) at: DateTime<Utc>,
    /// The task.
    pub(crate) task: String,
    /// The variant it was for.
    pub(crate) variant: Variant,
    /// The rollout that decided the variant; null where none did.
    pub(crate) rollout_id: Option<String>,
    /// Whose it was; null where that is not known.
    pub(crate) user_id: Option<i64>,
    /// Whether evidence counts one of its attempts.
    pub(crate) counted: bool,
    /// How it ended: how its last attempt did.
    pub(crate) outcome: &'static str,
    /// From the first attempt's beginning to the last one's end, in milliseconds.
    pub(crate) latency_ms: f64,
    /// To the first token of the answer; null where nothing was streamed.
    pub(crate) first_token_ms: Option<f64>,
    /// Tokens read, by all attempts.
    pub(crate) prompt_tokens: u64,
    /// Tokens written, by all attempts.
    pub(crate) completion_tokens: u64,
    /// What all attempts cost, in millionths of a US dollar.
    pub(crate) cost_microdollars: i64,
    /// Its attempts, in order.
    pub(crate) attempts: Vec<AttemptRow>,
}

/// One attempt of a request, in short.
#[derive(Debug, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct AttemptRow {
    /// The model that was asked.
    pub(crate) model: String,
    /// Its provider; null where the model is no longer in the catalog.
    pub(crate) provider: Option<String>,
    /// How it ended.
    pub(crate) outcome: &'static str,
}

/// The attempts that are over, in order.
fn ends(events: &[Event]) -> Vec<&Event> {
    events
        .iter()
        .filter(|event| event.outcome.is_end())
        .collect()
}

fn provider(model: &str, models: &ModelRouter) -> Option<String> {
    let catalog = models.catalog();
    let model = catalog.models.iter().find(|it| *it.name == *model)?;
    Some(model.provider.clone())
}

fn time(at_ms: f64) -> DateTime<Utc> {
    // A cast of a float saturates.
    DateTime::from_timestamp_millis(at_ms as i64).unwrap_or_default()
}

/// When an attempt began, in milliseconds since 1970.
fn began_ms(event: &Event) -> f64 {
    event.at_ms as f64 - event.latency_ms
}

impl RequestRow {
    pub(crate) fn all(found: &[(RequestPlace, Vec<Event>)], models: &ModelRouter) -> Vec<Self> {
        let rows = found.iter().filter_map(|(place, events)| {
            let at = time(place.at_ms as f64);
            Self::new(&place.request_id, at, &ends(events), models)
        });
        rows.collect()
    }

    fn new(id: &str, at: DateTime<Utc>, ends: &[&Event], models: &ModelRouter) -> Option<Self> {
        let (first, last) = (ends.first()?, ends.last()?);
        let began = ends.iter().map(|event| began_ms(event));
        let began = began.fold(f64::INFINITY, f64::min);
        let tokens = |of: fn(&Event) -> u32| ends.iter().map(|it| u64::from(of(it))).sum();
        let attempt = |event: &&Event| AttemptRow {
            model: event.model.to_string(),
            provider: provider(&event.model, models),
            outcome: event.outcome.name(),
        };
        Some(Self {
            request_id: id.to_owned(),
            at,
            task: first.task.to_string(),
            variant: first.variant,
            rollout_id: first.rollout.as_deref().map(str::to_owned),
            user_id: first.user_id,
            counted: ends.iter().any(|event| event.counted),
            outcome: last.outcome.name(),
            latency_ms: (last.at_ms as f64 - began).max(0.0),
            first_token_ms: last.first_token_ms,
            prompt_tokens: tokens(|it| it.prompt_tokens),
            completion_tokens: tokens(|it| it.completion_tokens),
            cost_microdollars: ends.iter().map(|it| it.cost.0).sum(),
            attempts: ends.iter().map(attempt).collect(),
        })
    }
}

/// All about one request.
#[derive(Debug, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub(super) struct RequestDetails {
    /// The request.
    #[serde(flatten)]
    request: RequestRow,
    /// Each attempt, in order.
    details: Vec<Attempt>,
    /// What a user thought of the answer: whether it helped; null where nobody said.
    rated_good: Option<bool>,
    /// Why no texts of it can be opened; null where an admin can.
    no_texts: Option<NoTexts>,
}

/// Why there are no texts of a request.
#[derive(Clone, Copy, Debug, Serialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub(super) enum NoTexts {
    /// This server keeps none.
    Off,
    /// It keeps none of this task.
    OtherTask,
    /// They are older than they are kept, or the request came before they were; or there was no room.
    Gone,
}

/// One attempt.
#[derive(Debug, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
struct Attempt {
    /// 0 for the primary of the route, then its fallbacks.
    position: u8,
    /// The model that was asked.
    model: String,
    /// Its provider; null where the model is no longer in the catalog.
    provider: Option<String>,
    /// When it was sent.
    started_at: DateTime<Utc>,
    /// To its end, in milliseconds.
    latency_ms: f64,
    /// To the first token; null where nothing was streamed.
    first_token_ms: Option<f64>,
    /// How it ended.
    outcome: &'static str,
    /// The HTTP status with which the provider refused, or the number in an error that came inside a 200; null
    /// where there was none.
    status: Option<u16>,
    /// What went wrong, finer than the outcome, such as `timeout-first` or `account-limit`; null where nothing did.
    cause: Option<&'static str>,
    /// Why the model stopped writing: `length`, `tool-calls`, `content-filter` or `other`; null where it had said
    /// everything, or did not say.
    finish_reason: Option<&'static str>,
    /// What came of that.
    then: Then,
    /// Whether evidence counts it.
    counted: bool,
    /// Whether it was reported as slow while it was open.
    was_slow: bool,
    /// Tokens read.
    prompt_tokens: u32,
    /// Tokens written.
    completion_tokens: u32,
    /// What it cost, in millionths of a US dollar.
    cost_microdollars: i64,
}

/// What came of an attempt.
#[derive(Clone, Copy, Debug, Serialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
enum Then {
    /// Its answer was given.
    Answered,
    /// The same model was asked again.
    Retry,
    /// Another model was asked.
    NextModel,
    /// Nobody else was asked.
    Stop,
}

impl RequestDetails {
    /// `None` where no attempt is stored.
    pub(super) fn new(
        id: &str,
        events: &[Event],
        models: &ModelRouter,
        no_texts: Option<NoTexts>,
    ) -> Option<Self> {
        let ends = ends(events);
        let at = time(ends.last()?.at_ms as f64);
        let rated = events.iter().rev().find_map(|event| match event.outcome {
            Outcome::Rated { good } => Some(good),
            _ => None,
        });
        let after = ends.iter().skip(1).map(Some).chain([None]);
        let details = ends.iter().zip(after).map(|(event, after)| Attempt {
            position: event.position,
            model: event.model.to_string(),
            provider: provider(&event.model, models),
            started_at: time(began_ms(event)),
            latency_ms: event.latency_ms,
            first_token_ms: event.first_token_ms,
            outcome: event.outcome.name(),
            status: event.status,
            cause: event.cause.map(Cause::name),
            finish_reason: event.finish.map(Finish::name),
            then: match (event.outcome, after) {
                (Outcome::Success | Outcome::Refused, _) => Then::Answered,
                (_, Some(after)) if after.model == event.model => Then::Retry,
                (_, Some(_)) => Then::NextModel,
                (_, None) => Then::Stop,
            },
            counted: event.counted,
            was_slow: event.was_open,
            prompt_tokens: event.prompt_tokens,
            completion_tokens: event.completion_tokens,
            cost_microdollars: event.cost.0,
        });
        Some(Self {
            details: details.collect(),
            rated_good: rated,
            no_texts,
            request: RequestRow::new(id, at, &ends, models)?,
        })
    }
}

/// What a request asked models once, and what came back.
#[derive(Debug, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub(super) struct OpenedTexts {
    /// When it began.
    at: DateTime<Utc>,
    /// For which task.
    task: String,
    /// What was asked, as it left this server, the oldest message first.
    prompt: Vec<SaidText>,
    /// What came back; null where nothing did.
    answer: Option<String>,
    /// Whether something was too long to be kept: of the prompt its beginning, of the answer its end.
    cut: bool,
    /// Values that placeholders stand for in both.
    masked: u32,
}

/// One message.
#[derive(Debug, Serialize, JsonSchema)]
struct SaidText {
    /// Who said it.
    role: String,
    /// What.
    text: String,
}

impl From<CallTexts> for OpenedTexts {
    fn from(texts: CallTexts) -> Self {
        let said = |PromptMessage { role, text }| SaidText { role, text };
        Self {
            at: time(texts.at_ms as f64),
            task: texts.task,
            prompt: texts.prompt.into_iter().map(said).collect(),
            answer: texts.answer,
            cut: texts.is_cut,
            masked: texts.masked,
        }
    }
}
