//! `requests.*`: what was asked of models lately, and what became of each attempt.
//!
//! Requests are found by what is true of one of their attempts, newest first, in pages that begin after a
//! place rather than at a number, so none is skipped or listed twice while new ones come. What is not stored
//! yet is not found; that is a second or two, unless the database is behind.

mod answers;
mod filter;

use std::sync::Arc;

use chrono::DateTime;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use self::{
    answers::{NoTexts, OpenedTexts, RequestDetails},
    filter::{cursor, place},
};
pub(crate) use self::{
    answers::{RequestList, RequestRow},
    filter::Filter,
};
use crate::{
    _core::{
        actor::Actor,
        context::Context,
        declared::Declared,
        errors::{ErrorCode, RpcError},
        registry::Registry,
    },
    dashboard::{
        requests::{self, RequestStore},
        texts::TextStore,
    },
    model_router::ModelRouter,
    procedures,
    recording::texts::Keep,
};

/// Requests on a page where nothing else is asked for, and at most.
const LIMIT: u32 = 50;
const MAX_LIMIT: u32 = 200;

/// What the procedures work with.
#[derive(Clone)]
pub struct State {
    /// Where requests are looked up.
    pub store: Arc<dyn RequestStore>,
    /// The catalog, which knows each model's provider.
    pub models: Arc<ModelRouter>,
    /// Texts of which tasks are kept.
    pub kept: Keep,
    /// Where they are looked up.
    pub texts: Arc<dyn TextStore>,
}

/// Registers the namespace.
pub fn register(registry: &mut Registry, state: impl Into<Option<State>>) {
    procedures!(registry.outline("requests", state.into());
        /// Requests of which an attempt fits, the newest first, with all their attempts.
        query Viewer list = list;
        /// One request: every attempt in order, and what was thought of the answer.
        query Viewer get = get, errors [
            Declared::new(ErrorCode::NotFound, "Nothing is stored of such a request."),
        ];
        /// What one request asked models and what they answered, where that is kept. The audit says who
        /// opened it.
        mutation Admin openTexts = open_texts, errors [
            Declared::new(ErrorCode::NotFound, "No texts of such a request are kept."),
        ];
    );
}

/// Which requests.
#[derive(Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub(crate) struct ListRequests {
    /// What must be true of one attempt of a request.
    #[serde(flatten)]
    pub(crate) filter: Filter,
    /// The page after the one that gave this as `nextCursor`.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 200))]
    pub(crate) cursor: Option<String>,
    /// The most requests on the page; 50 where it is not given.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = MAX_LIMIT))]
    pub(crate) limit: Option<u32>,
}

async fn list(
    state: State,
    context: Context,
    input: ListRequests,
) -> Result<RequestList, RpcError> {
    let filter = input.filter.read(&state.models)?;
    let before = input.cursor.as_deref().map(place).transpose()?;
    let limit = input.limit.unwrap_or(LIMIT).clamp(1, MAX_LIMIT);
    let is_first = before.is_none();
    let page = requests::page(&*state.store, &filter, before, limit).await;
    let page = page.map_err(RpcError::internal)?;
    let found = u64::try_from(page.requests.len()).unwrap_or(u64::MAX);
    let count = match (is_first, &page.next, page.searched_to_ms) {
        (false, ..) => None,
        // Whatever a page shows of all that there is, or of what was looked at, need not be counted again.
        (true, None, _) => Some((found, true).into()),
        (true, _, Some(_)) => Some((found, false).into()),
        (true, ..) => {
            let count = requests::count(&*state.store, &filter).await;
            let count = count.map_err(RpcError::internal)?;
            Some((count.found, count.is_exact).into())
        }
    };
    Ok(RequestList {
        next_cursor: page.next.as_ref().map(cursor),
        rows: RequestRow::all(&page.requests, &state.models),
        count,
        up_to: context.received_at,
        searched_to: page
            .searched_to_ms
            .and_then(DateTime::from_timestamp_millis),
    })
}

/// Which request.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
struct WhichRequest {
    /// Its id, as every answer names it.
    #[schemars(length(min = 1, max = 200))]
    request_id: String,
}

async fn get(state: State, _: Context, input: WhichRequest) -> Result<RequestDetails, RpcError> {
    let id = input.request_id;
    let attempts = state.store.attempts(std::slice::from_ref(&id)).await;
    let events = attempts.map_err(RpcError::internal)?;
    let has_texts = state.texts.has_texts(&id).await;
    let no_texts = match has_texts.map_err(RpcError::internal)? {
        true => None,
        false if !state.kept.is_on() => Some(NoTexts::Off),
        false if events.iter().any(|event| state.kept.has(&event.task)) => Some(NoTexts::Gone),
        false => Some(NoTexts::OtherTask),
    };
    RequestDetails::new(&id, &events, &state.models, no_texts).ok_or_else(|| {
        RpcError::not_found(format!(
            "Nothing is stored of a request `{id}`: it is unknown, asked no model, or is older than \
             EVENT_RETENTION"
        ))
    })
}

async fn open_texts(
    state: State,
    context: Context,
    input: WhichRequest,
) -> Result<Vec<OpenedTexts>, RpcError> {
    let (id, actor) = (input.request_id, Actor::User(context.user()?.id));
    let texts = state.texts.open_texts(&id, &actor, context.received_at);
    let texts = texts.await.map_err(RpcError::internal)?;
    if texts.is_empty() {
        return Err(RpcError::not_found(format!(
            "No texts of a request `{id}` are kept: TEXT_TASKS names the tasks of which they are, and \
             TEXT_RETENTION for how long"
        )));
    }
    Ok(texts.into_iter().map(OpenedTexts::from).collect())
}
