//! `keys.*`: keys of programs that call the gateway, and what they spend, for admins.

use std::sync::Arc;

use chrono::{DateTime, TimeDelta, Utc};
use schemars::JsonSchema;
use secrecy::ExposeSecret;
use serde::{Deserialize, Serialize};

use crate::{
    _core::{
        actor::Actor,
        context::Context,
        declared::Declared,
        errors::{ErrorCode, RpcError},
        registry::Registry,
    },
    keys::{ApiKey, ApiKeyStore, KeyLimits, MAX_OVERLAP_SECONDS, MAX_TTL_SECONDS, Secret, is_name},
    model_router::ModelRouter,
    procedures,
};

/// An old secret holds for a day where nothing else is said.
const OVERLAP_SECONDS: u64 = 24 * 60 * 60;
const MAX_NAME: u32 = 64;
const MAX_MODELS: u32 = 1_000;

const NO_KEY: &[Declared] = &[Declared::new(
    ErrorCode::NotFound,
    "No key that holds has this name.",
)];

/// What the procedures need.
#[derive(Clone)]
pub struct State {
    /// Where keys are kept.
    pub keys: Arc<dyn ApiKeyStore>,
    /// What they may ask for.
    pub models: Arc<ModelRouter>,
}

/// Registers the namespace.
pub fn register(registry: &mut Registry, state: impl Into<Option<State>>) {
    procedures!(registry.outline("keys", state.into());
        /// All keys, the oldest first, with what each has spent today. Their secrets are known to nobody.
        query Admin list = list;
        /// Makes a key. Its secret is shown this once.
        mutation Admin create = create, errors [
            Declared::new(ErrorCode::Conflict, "The name is taken, by a key that may have ended."),
        ];
        /// Gives a key other limits; one that is left out is lifted. They count within a second.
        mutation Admin limit = limit, errors NO_KEY;
        /// Gives a key another secret, which is shown this once. The old one holds a while longer.
        mutation Admin rotate = rotate, errors NO_KEY;
        /// Ends a key, within a second. Streams that are open go on.
        mutation Admin revoke = revoke, errors NO_KEY;
    );
}

/// A key.
#[derive(Debug, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
struct KeyInfo {
    /// Its name.
    name: String,
    /// The part of it that is no secret.
    id: String,
    /// What it may ask for: models, and `task/NAME`; null is everything.
    models: Option<Vec<String>>,
    /// How much it may have.
    limits: KeyLimits,
    /// When it was made, or last given another secret.
    created_at: DateTime<Utc>,
    /// When it runs out, if it does.
    expires_at: Option<DateTime<Utc>>,
    /// When it was revoked, if it was.
    revoked_at: Option<DateTime<Utc>>,
    /// Whether it opens the gateway now.
    holds: bool,
    /// What it has spent today.
    today: Spent,
    /// Models for which its budget in dollars counts nothing, unless their provider says what it charges: the catalog has
    /// no prices for them. Empty where it has no such budget.
    unpriced: Vec<String>,
}

/// What a key has spent since midnight, UTC, and what its calls under way have reserved.
#[derive(Debug, Serialize, JsonSchema)]
struct Spent {
    /// Tokens, read and written.
    tokens: i64,
    /// US dollars.
    dollars: f64,
}

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
struct Create {
    /// For people and the log: letters, digits, `-`, `_` and `.`.
    #[schemars(length(min = 1, max = MAX_NAME))]
    name: String,
    /// Models of the catalog, and `task/NAME`; null is everything.
    #[serde(default)]
    #[schemars(length(min = 1, max = MAX_MODELS))]
    models: Option<Vec<String>>,
    /// How much it may have; all it asks for where nothing is said.
    #[serde(default)]
    limits: KeyLimits,
    /// How long it holds; until it is revoked where nothing is said.
    #[serde(default)]
    #[schemars(range(min = 1, max = MAX_TTL_SECONDS))]
    ttl_seconds: Option<u64>,
}

#[derive(Debug, Deserialize, JsonSchema)]
struct Limit {
    /// Its name.
    #[schemars(length(min = 1, max = MAX_NAME))]
    name: String,
    /// How much it may have from now on.
    limits: KeyLimits,
}

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
struct Rotate {
    /// Its name.
    #[schemars(length(min = 1, max = MAX_NAME))]
    name: String,
    /// How long the old secret still holds; a day where nothing is said.
    #[serde(default)]
    #[schemars(range(max = MAX_OVERLAP_SECONDS))]
    overlap_seconds: Option<u64>,
}

#[derive(Debug, Deserialize, JsonSchema)]
struct Named {
    /// Its name.
    #[schemars(length(min = 1, max = MAX_NAME))]
    name: String,
}

/// A secret, shown once.
#[derive(Debug, Serialize, JsonSchema)]
struct Made {
    /// The key's name.
    name: String,
    /// What programs send.
    key: String,
}

/// A key that was made; its secret is shown once.
#[derive(Debug, Serialize, JsonSchema)]
struct Created {
    /// The key's name.
    name: String,
    /// What programs send.
    key: String,
    /// As `keys.list` has it.
    unpriced: Vec<String>,
}

async fn list(state: State, context: Context) -> Result<Vec<KeyInfo>, RpcError> {
    let now = context.received_at;
    let keys = state.keys.keys().await.map_err(RpcError::internal)?;
    let spent = state.keys.spent_by_all(now.date_naive()).await;
    let spent = spent.map_err(RpcError::internal)?;
    let info = |key: ApiKey| {
        let today = spent.get(&key.name).copied().unwrap_or_default();
        KeyInfo {
            holds: key.holds_at(now),
            unpriced: unpriced(&state, key.models.as_deref(), &key.limits),
            name: key.name,
            id: key.id,
            models: key.models,
            limits: key.limits,
            created_at: key.created_at,
            expires_at: key.expires_at,
            revoked_at: key.revoked_at,
            today: Spent {
                tokens: today.tokens,
                dollars: today.cost.dollars(),
            },
        }
    };
    Ok(keys.into_iter().map(info).collect())
}

async fn create(state: State, context: Context, input: Create) -> Result<Created, RpcError> {
    let Create {
        name,
        models,
        limits,
        ttl_seconds,
    } = input;
    if !is_name(&name) {
        return Err(RpcError::bad_request(format!(
            "`name` is `{name}`; expected letters, digits, `-`, `_` and `.` only"
        )));
    }
    let mut unknown = models.iter().flatten();
    if let Some(model) = unknown.find(|model| !state.models.catalog().offers(model)) {
        let model: String = model.chars().take(100).collect();
        return Err(RpcError::bad_request(format!(
            "`models` has `{model}`; expected a model of the catalog, or `task/` and one of its tasks"
        )));
    }
    let now = context.received_at;
    let secret = Secret::new();
    let key = ApiKey {
        id: secret.id.clone(),
        name: name.clone(),
        models,
        limits,
        created_at: now,
        expires_at: ttl_seconds.map(|ttl| now + seconds(ttl)),
        revoked_at: None,
    };
    let actor = actor(&context)?;
    let added = state.keys.add_key(&key, &secret.hash, &actor).await;
    if !added.map_err(RpcError::internal)? {
        let text =
            format!("There is a key `{name}` already; `keys.rotate` gives it another secret");
        return Err(RpcError::new(ErrorCode::Conflict, text));
    }
    let unpriced = unpriced(&state, key.models.as_deref(), &key.limits);
    let Made { name, key } = made(name, &secret);
    Ok(Created {
        name,
        key,
        unpriced,
    })
}

async fn limit(state: State, context: Context, input: Limit) -> Result<(), RpcError> {
    let (name, actor) = (&input.name, actor(&context)?);
    let limited = state
        .keys
        .limit_key(name, &input.limits, &actor, context.received_at);
    found(name, limited.await)
}

async fn rotate(state: State, context: Context, input: Rotate) -> Result<Made, RpcError> {
    let overlap = seconds(input.overlap_seconds.unwrap_or(OVERLAP_SECONDS));
    let (name, secret, actor) = (input.name, Secret::new(), actor(&context)?);
    let replaced = state
        .keys
        .replace_key(&name, &secret, overlap, &actor, context.received_at);
    found(&name, replaced.await)?;
    Ok(made(name, &secret))
}

async fn revoke(state: State, context: Context, input: Named) -> Result<(), RpcError> {
    let revoked = state
        .keys
        .revoke_key(&input.name, &actor(&context)?, context.received_at)
        .await;
    found(&input.name, revoked)
}

fn unpriced(state: &State, models: Option<&[String]>, limits: &KeyLimits) -> Vec<String> {
    match limits.dollars_per_day {
        Some(_) => state.models.catalog().unpriced(models),
        None => Vec::new(),
    }
}

fn actor(context: &Context) -> Result<Actor, RpcError> {
    Ok(Actor::User(context.user()?.id))
}

fn found(name: &str, changed: anyhow::Result<bool>) -> Result<(), RpcError> {
    match changed.map_err(RpcError::internal)? {
        true => Ok(()),
        false => Err(RpcError::not_found(format!(
            "There is no key `{name}` that holds"
        ))),
    }
}

fn made(name: String, secret: &Secret) -> Made {
    let key = secret.whole.expose_secret().to_owned();
    Made { name, key }
}

fn seconds(seconds: u64) -> TimeDelta {
    let seconds = i64::try_from(seconds).ok();
    seconds.and_then(TimeDelta::try_seconds).unwrap_or_default()
}
