//! `greetings`: the example of docs/new-procedure.md.

use std::{collections::BTreeMap, sync::Arc};

use chrono::{DateTime, Utc};
use futures::{Stream, stream};
use modelramp::{
    _core::{
        context::Context,
        declared::Declared,
        errors::{ErrorCode, RpcError},
        procedure::Untracked,
        registry::Registry,
    },
    procedures,
};
use parking_lot::Mutex;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::json;

/// Who was greeted, and when.
#[derive(Default)]
pub(crate) struct Greeted(Mutex<BTreeMap<String, DateTime<Utc>>>);

/// Registers `greetings.*`.
pub(crate) fn register(registry: &mut Registry, greeted: impl Into<Option<Arc<Greeted>>>) {
    procedures!(registry.outline("greetings", greeted.into());
        /// Says hello. Nobody is greeted twice.
        mutation SignedIn greet = greet, errors [
            Declared::with::<Already>(ErrorCode::Conflict, "The name was greeted before."),
        ];
        /// How many were greeted.
        query Public count = count;
        /// Forgets everybody.
        mutation Admin forget = forget;
        /// The number of greeted names, once.
        subscription SignedIn onCount = on_count;
    );
}

/// Whom to greet.
#[derive(Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
struct Greet {
    /// 1 to 50 characters.
    #[schemars(length(min = 1, max = 50))]
    name: String,
    /// How often; once where it is not said.
    #[serde(default = "once")]
    #[schemars(range(min = 1, max = 3))]
    times: u32,
}

fn once() -> u32 {
    1
}

/// A greeting.
#[derive(Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
struct Greeting {
    /// For people.
    text: String,
    /// When it was said; a `Date` in TypeScript.
    said_at: DateTime<Utc>,
}

/// What a second greeting meets.
#[derive(Serialize, JsonSchema)]
struct Already {
    /// When the first one was.
    since: DateTime<Utc>,
}

async fn greet(
    greeted: Arc<Greeted>,
    context: Context,
    input: Greet,
) -> Result<Greeting, RpcError> {
    let said_at = context.received_at;
    let mut greeted = greeted.0.lock();
    if let Some(since) = greeted.get(&input.name) {
        let already = Already { since: *since };
        let text = format!("`{}` was greeted already", input.name);
        return Err(RpcError::new(ErrorCode::Conflict, text).with_details(json!(already)));
    }
    greeted.insert(input.name.clone(), said_at);
    let text = format!("Hello, {}! ", input.name).repeat(input.times as usize);
    Ok(Greeting {
        text: text.trim_end().to_owned(),
        said_at,
    })
}

async fn count(greeted: Arc<Greeted>, _: Context) -> Result<usize, RpcError> {
    Ok(greeted.0.lock().len())
}

async fn forget(greeted: Arc<Greeted>, _: Context) -> Result<(), RpcError> {
    greeted.0.lock().clear();
    Ok(())
}

async fn on_count(
    greeted: Arc<Greeted>,
    _: Context,
) -> Result<impl Stream<Item = Result<Untracked<usize>, RpcError>>, RpcError> {
    let count = greeted.0.lock().len();
    Ok(stream::iter([Ok(Untracked(count))]))
}
