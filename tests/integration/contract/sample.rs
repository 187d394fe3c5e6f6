//! A registry with everything that a contract can hold, for the type tests in `tests/types`.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use chrono::{DateTime, Utc};
use futures::Stream;
use modelramp::{
    _core::{
        context::Context,
        declared::Declared,
        errors::{ErrorCode, RpcError},
        js::{BigInt, Float, JsMap, UndefinedOr},
        procedure::{Binary, FormData, Tracked},
        registry::Registry,
        tasks::Tasks,
    },
    procedures,
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// A registry of the sample's procedures.
pub(crate) fn registry() -> Registry {
    let mut registry = Registry::new(Tasks::default());
    procedures!(registry.router("sample", ());
        /// Everything that JavaScript has and JSON has not.
        query Public exotic = exotic;
        /// The same value back,
        /// whatever it is.
        mutation SignedIn echo = echo;
        /// Takes none, gives none. */ Not the end of <i>a comment</i>.
        mutation Admin nothing = nothing;
        /// Its input may be left out.
        query Public optional = optional;
        /// A folder with folders in it.
        query Public tree = tree, errors [
            Declared::with::<Folder>(ErrorCode::Conflict, "The folder has changed."),
            Declared::rate_limited("Trees grow slowly."),
        ];
        /// Events that can be resumed.
        subscription Public onEvent = on_event;
        /// A file from a form.
        mutation SignedIn upload = upload;
        /// A file as it is.
        mutation SignedIn store = store;
    );
    procedures!(registry.router("sample.deeper", ());
        /// In a namespace of a namespace.
        query Public ping = nothing;
    );
    registry
}

/// What a note is about.
#[derive(Clone, Copy, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Topic {
    /// Nothing in particular.
    SmallTalk,
    /// The matter at hand.
    Work,
}

/// Part of a message.
#[derive(Clone, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "type", rename_all = "lowercase")]
pub(crate) enum Part {
    Text { text: String },
    Image { url: String, taken: DateTime<Utc> },
}

/// Goes in and comes out, not quite alike.
#[derive(Clone, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Note {
    /// Who wrote it.
    pub(crate) author_id: i64,
    pub(crate) topic: Topic,
    /// Nothing, unless it is said.
    #[serde(default)]
    pub(crate) tags: BTreeSet<String>,
    pub(crate) parts: Vec<Part>,
    /// Left out where it is not known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) due: Option<DateTime<Utc>>,
    pub(crate) reply_to: Option<i64>,
    #[serde(default)]
    pub(crate) pinned: bool,
}

/// A type that holds itself.
#[derive(Clone, Serialize, Deserialize, JsonSchema)]
pub(crate) struct Folder {
    pub(crate) name: String,
    pub(crate) changed: DateTime<Utc>,
    pub(crate) folders: Vec<Folder>,
}

#[derive(Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Exotic {
    pub(crate) at: DateTime<Utc>,
    pub(crate) never: Option<DateTime<Utc>>,
    pub(crate) big: BigInt,
    pub(crate) ratios: Vec<Float>,
    pub(crate) missing: UndefinedOr<String>,
    pub(crate) present: UndefinedOr<String>,
    pub(crate) days: BTreeSet<DateTime<Utc>>,
    pub(crate) by_day: JsMap<DateTime<Utc>, BigInt>,
    pub(crate) by_name: BTreeMap<String, DateTime<Utc>>,
    pub(crate) by_id: BTreeMap<u32, Option<Topic>>,
    pub(crate) pair: (String, DateTime<Utc>),
    pub(crate) either: Either,
    pub(crate) other: Either,
    #[serde(rename = "not-a-name")]
    pub(crate) quoted: bool,
    pub(crate) anything: serde_json::Value,
}

#[derive(Serialize, JsonSchema)]
#[serde(untagged)]
pub(crate) enum Either {
    One(f64),
    Many(Vec<DateTime<Utc>>),
}

/// Where to begin, and how far to go.
#[derive(Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Range {
    pub(crate) since: Option<DateTime<Utc>>,
    /// At most so many.
    #[schemars(range(min = 1, max = 100))]
    #[serde(default = "ten")]
    pub(crate) limit: u32,
    /// Where the stream broke off.
    pub(crate) last_event_id: Option<String>,
}

fn ten() -> u32 {
    10
}

fn day() -> DateTime<Utc> {
    DateTime::from_timestamp_nanos(1_767_323_045_678_901_234)
}

pub(crate) fn sample_exotic() -> Exotic {
    Exotic {
        at: day(),
        never: None,
        big: BigInt(9_007_199_254_740_993),
        ratios: [f64::NAN, f64::INFINITY, f64::NEG_INFINITY, -0.0, 0.5]
            .map(Float)
            .into(),
        missing: None.into(),
        present: Some("here".to_owned()).into(),
        days: [day()].into(),
        by_day: [(day(), BigInt(7))].into_iter().collect(),
        by_name: [r"gpt.4\o", "", "a.b", r"\"]
            .map(|name| (name.to_owned(), day()))
            .into(),
        by_id: [(7, Some(Topic::Work))].into(),
        pair: ("2026-01-02T03:04:05.678Z".into(), day()),
        either: Either::Many(vec![day()]),
        other: Either::One(1.5),
        quoted: true,
        anything: serde_json::json!({"at": "2026-01-02T03:04:05.678Z"}),
    }
}

async fn exotic(_: (), _: Context) -> Result<Exotic, RpcError> {
    Ok(sample_exotic())
}

async fn echo(_: (), _: Context, note: Note) -> Result<Note, RpcError> {
    Ok(note)
}

async fn nothing(_: (), _: Context) -> Result<(), RpcError> {
    Ok(())
}

async fn optional(_: (), _: Context, range: Range) -> Result<Vec<u32>, RpcError> {
    Ok((0..range.limit).collect())
}

async fn tree(_: (), _: Context, folder: Folder) -> Result<Arc<Folder>, RpcError> {
    Ok(Arc::new(folder))
}

async fn on_event(
    _: (),
    _: Context,
    range: Range,
) -> Result<impl Stream<Item = Result<Tracked<Part>, RpcError>>, RpcError> {
    let first = range.last_event_id.is_none().then(|| {
        let data = Part::Image {
            url: "u".into(),
            taken: range.since.unwrap_or_else(day),
        };
        let id = "1".into();
        Ok(Tracked { id, data })
    });
    Ok(futures::stream::iter(first))
}

async fn upload(_: (), _: Context, _: FormData) -> Result<u32, RpcError> {
    Ok(1)
}

async fn store(_: (), _: Context, _: Binary) -> Result<Option<u32>, RpcError> {
    Ok(None)
}
