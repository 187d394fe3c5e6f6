//! `trials.ask`: a prompt for one model, and what came of it.

use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use tokio::time::Instant;

use super::{MAX_NAME, State, task_of, unknown};
use crate::{
    _core::{context::Context, errors::RpcError},
    model_router::{
        Answer, Call, RouteError, Trail, Tried, Urgency,
        catalog::{Catalog, Task},
        quota::schedule::{Priority, SlotRefusalReason},
    },
    providers::{
        ChatMessage, ChatRequest,
        fault::{Fault, FaultKind},
        quality::{Checks, Inspection, Language, Schema},
        retry_after,
    },
    trial::{
        answer::TrialAnswer,
        prompts::{MAX_EXPECTED, MAX_MESSAGES, TrialMessage},
    },
};

/// A longer schema is none, in UTF-16 code units.
const MAX_SCHEMA: u32 = 65_536;
/// A request waits for its slot at most this long; then whoever asks comes again.
const QUOTA_PATIENCE: Duration = Duration::from_secs(20);
/// And has its answer by then: clients give up after 60 s.
const PATIENCE: Duration = Duration::from_secs(55);
/// A model that had less time than this does not fail by taking too long: it is asked again. It had, unless it waited for
/// its slot and then for a place.
const FAIR: Duration = Duration::from_secs(35);
/// Where nothing says how long to wait.
const USUAL_PAUSE: Duration = Duration::from_secs(5);

/// A prompt for one model.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct AskModel {
    /// The task whose texts these are: its privacy holds, and so do its checks where nothing else is said.
    #[schemars(length(min = 1, max = MAX_NAME))]
    pub(crate) task: String,
    /// A model of the catalog; it alone answers.
    #[schemars(length(min = 1, max = MAX_NAME))]
    pub(crate) model: String,
    /// The conversation.
    #[schemars(length(min = 1, max = MAX_MESSAGES))]
    pub(crate) messages: Vec<TrialMessage>,
    /// Tokens that the answer may have.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1))]
    pub(crate) max_tokens: Option<u32>,
    /// The JSON schema that the answer has to be of, as text.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = MAX_SCHEMA))]
    pub(crate) schema: Option<String>,
    /// Whether the answer has to be in the language of the question.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) language: Option<bool>,
    /// The answer has to hold one of these, whatever the case; where there is none, anything is right.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = MAX_EXPECTED))]
    pub(crate) expect: Vec<String>,
}

/// What came of it.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct AskedModel {
    /// What the model made of it; null where it was not asked, or where our account was refused.
    pub(crate) answer: Option<TrialAnswer>,
    /// Why there is none, in words.
    pub(crate) why: Option<String>,
    /// When to ask again, in milliseconds from now; null where that would not help.
    pub(crate) retry_after_ms: Option<u64>,
    /// Requests that were sent to the model's provider for it.
    pub(crate) requests: u32,
}

impl AskedModel {
    fn later(why: String, after: Duration) -> Self {
        Self {
            answer: None,
            why: Some(why),
            retry_after_ms: Some(u64::try_from(after.as_millis()).unwrap_or(u64::MAX)),
            requests: 0,
        }
    }
}

pub(super) async fn ask(
    state: State,
    context: Context,
    input: AskModel,
) -> Result<AskedModel, RpcError> {
    let catalog = state.models.catalog();
    let task = task_of(&catalog, &input.task)?;
    let checks = checks(task, &input)?;
    let route = state.models.select_alone(&input.task, &input.model);
    let route = route.map_err(|error| unknown(&error))?;
    let messages = input.messages.into_iter();
    let messages = messages.map(|it| ChatMessage::text(it.role.name(), it.content));
    let request = ChatRequest {
        max_tokens: input.max_tokens,
        ..ChatRequest::new(messages.collect())
    };
    // The limit is the same for both models, so which of them it cuts off says something.
    let inspection = Inspection::new(&checks.into(), &request, None);
    let now = Instant::now();
    let trail = Trail::default();
    let call = Call {
        request_id: context.request_id.clone(),
        request,
        deadline: now + PATIENCE,
        stream_deadline: None,
        urgency: Urgency {
            priority: Priority::Background,
            start_by: Some(now + QUOTA_PATIENCE),
            calls: None,
        },
        trail: trail.clone(),
    };
    let answered = state.models.complete(&route, call).await;
    let mut asked = as_asked(&catalog, &answered, &trail, inspection);
    asked.requests = trail.sent();
    if let (Some(answer), Ok(answered)) = (&mut asked.answer, &answered)
        && answer.fault.is_none()
    {
        answer.holds = holds(&answered.completion.content, &input.expect);
    }
    Ok(asked)
}

/// Whether an answer holds one of these, whatever the case; none where nothing is expected.
fn holds(answer: &str, expected: &[String]) -> Option<bool> {
    let answer = answer.to_lowercase();
    let mut expected = expected.iter().peekable();
    expected.peek()?;
    Some(expected.any(|it| answer.contains(&it.to_lowercase())))
}

/// What the prompt asks of its answer, else what the task does.
fn checks(task: &Task, input: &AskModel) -> Result<Checks, RpcError> {
    let schema = match &input.schema {
        Some(text) => Some(
            Schema::parse(text)
                .map_err(|fault| RpcError::bad_request(format!("`schema` {fault}")))?,
        ),
        None => task.checks.schema.clone(),
    };
    let language = match (input.language, task.checks.language) {
        (Some(false), _) => Language::Any,
        (Some(true), Language::Any) => Language::Question,
        (_, of_task) => of_task,
    };
    Ok(Checks { schema, language })
}

/// What a call shows of its model: by the first attempt that one of our account's keys was let make, whatever became
/// of those after it.
fn as_asked(
    catalog: &Catalog,
    answered: &Result<Answer, RouteError>,
    trail: &Trail,
    mut inspection: Inspection,
) -> AskedModel {
    let attempts = trail.attempts();
    let is_accounts = |it: &Tried| it.fault().is_some_and(|fault| fault.kind.is_accounts());
    let first = attempts.iter().find(|it| !is_accounts(it));
    let first = first.or(attempts.last());
    let took = trail.last_sent().map(|sent| sent.elapsed());
    let answer = TrialAnswer {
        fault: None,
        quality: None,
        latency_ms: took.unwrap_or_default().as_secs_f64() * 1e3,
        tokens: None,
        cost: None,
        chars: 0,
        holds: None,
    };
    let of_model = |answer| AskedModel {
        answer: Some(answer),
        why: None,
        retry_after_ms: None,
        requests: 0,
    };
    let failed = |kind| {
        of_model(TrialAnswer {
            fault: Some(kind),
            ..answer.clone()
        })
    };
    match (first.and_then(Tried::fault), answered) {
        (Some(fault), _) if fault.kind.is_accounts() => AskedModel {
            answer: None,
            why: Some(format!("our account was refused: {}", fault.kind)),
            retry_after_ms: ask_again_ms(fault),
            requests: 0,
        },
        (Some(fault), _) => failed(fault.kind),
        (None, Ok(answered)) => {
            let completion = &answered.completion;
            inspection.read(completion);
            let prices = catalog.model(&answered.model).map(|it| it.prices);
            let usage = completion.usage;
            of_model(TrialAnswer {
                quality: inspection.quality(usage.map(|it| it.completion_tokens)),
                chars: inspection.chars(),
                tokens: usage
                    .map(|it| u64::from(it.prompt_tokens) + u64::from(it.completion_tokens)),
                cost: usage.zip(prices).map(|(usage, prices)| prices.cost(&usage)),
                ..answer.clone()
            })
        }
        (None, Err(RouteError::OverQuota { provider, refused })) => {
            let why = match refused.reason {
                SlotRefusalReason::Database => {
                    format!("the database does not say what the quota at `{provider}` leaves")
                }
                used_up => format!(
                    "the quota at `{provider}` leaves no slot: its {} is used up",
                    used_up.name()
                ),
            };
            AskedModel::later(why, refused.after)
        }
        (None, Err(RouteError::Busy { provider })) => {
            let why = format!("`{provider}` has no place for another call");
            AskedModel::later(why, USUAL_PAUSE)
        }
        (None, Err(_)) if took.is_none_or(|took| took < FAIR) => {
            let why = "the model had no time left after its wait for a slot and a place";
            AskedModel::later(why.to_owned(), USUAL_PAUSE)
        }
        // No attempt was recorded, so it did not end in time.
        (None, Err(_)) => failed(FaultKind::Timeout),
    }
}

/// When a model may be asked again whose provider refused our account, where that may pass: the account rests no longer
/// than what is believed of the wait.
fn ask_again_ms(fault: &Fault) -> Option<u64> {
    let after = (fault.retry_after).map_or(USUAL_PAUSE, retry_after::bounded);
    let ms = u64::try_from(after.as_millis()).unwrap_or(u64::MAX);
    fault.kind.may_pass().then_some(ms)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_trial_waits_no_longer_than_our_account_rests() {
        let after = |kind, wait: Option<u64>| {
            let mut fault = Fault::new(kind, "refused");
            fault.retry_after = wait.map(Duration::from_secs);
            ask_again_ms(&fault)
        };
        assert_eq!(after(FaultKind::RateLimited, None), Some(5_000));
        assert_eq!(after(FaultKind::RateLimited, Some(60)), Some(60_000));
        let endless = after(FaultKind::RateLimited, Some(2_000_000_000));
        assert_eq!(endless, Some(3_600_000));
        assert_eq!(after(FaultKind::Authentication, Some(60)), None);
    }
}
