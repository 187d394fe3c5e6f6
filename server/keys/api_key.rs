//! Keys, where they are kept, and how they are found.

use std::{
    collections::HashMap,
    sync::Arc,
    time::{Duration, Instant},
};

use async_trait::async_trait;
use chrono::{DateTime, NaiveDate, TimeDelta, Utc};
use parking_lot::Mutex;
use tokio::time::timeout;

use super::{KeyLimits, Secret, secret};
use crate::_core::{actor::Actor, amount::Amount, errors::in_full, failure_edge::FailureEdge};

/// What the database said of a key counts for so long: a revoked key ends within it.
const FRESH: Duration = Duration::from_millis(500);
/// While the database is away, a key that it confirmed within this time still holds: so a key that is revoked
/// meanwhile ends within it.
const CONFIRMED: Duration = Duration::from_secs(300);
/// How long the database may take to confirm a key that it has confirmed before.
const PATIENCE: Duration = Duration::from_secs(1);
/// The same while it does not answer: nobody's call is to wait for it.
const OUT_OF_PATIENCE: Duration = Duration::from_millis(50);
/// So often one call waits for longer then, to see whether it only is slow.
const TRIED_AGAIN: Duration = Duration::from_secs(10);
/// Keys that are remembered.
const MAX_KNOWN: usize = 10_000;

/// A key of the database.
#[derive(Clone, Debug, PartialEq)]
pub struct ApiKey {
    /// Finds it; no secret.
    pub id: String,
    /// For people; no two keys have one name.
    pub name: String,
    /// What it may ask for: names of models, and `task/NAME`; everything where it is `None`.
    pub models: Option<Vec<String>>,
    /// How much it may have.
    pub limits: KeyLimits,
    /// When it was made, or last replaced.
    pub created_at: DateTime<Utc>,
    /// When it runs out, if it does.
    pub expires_at: Option<DateTime<Utc>>,
    /// When it was revoked, if it was.
    pub revoked_at: Option<DateTime<Utc>>,
}

impl ApiKey {
    /// Whether it holds now.
    pub fn holds_at(&self, now: DateTime<Utc>) -> bool {
        self.revoked_at.is_none() && self.expires_at.is_none_or(|end| now < end)
    }

    /// Whether it may ask for a model or a task, by the name that a request gives it.
    pub fn allows(&self, name: &str) -> bool {
        let models = self.models.as_ref();
        models.is_none_or(|models| models.iter().any(|allowed| allowed == name))
    }
}

/// How long a key can hold, in seconds: a hundred years at most.
pub const MAX_TTL_SECONDS: u64 = 100 * 365 * 24 * 60 * 60;
/// How long an old secret can still hold, in seconds: a month at most.
pub const MAX_OVERLAP_SECONDS: u64 = 31 * 24 * 60 * 60;

/// Whether a key can have this name: 1 to 64 letters, digits, `-`, `_` or `.`.
pub fn is_name(text: &str) -> bool {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
    (1..=64).contains(&text.len()) && text.chars().all(is_plain)
}

/// Where keys are kept.
#[async_trait]
pub trait ApiKeyStore: Send + Sync {
    /// Adds a key; `false` where its name is taken. As with every change of one, the audit says who did it.
    async fn add_key(&self, key: &ApiKey, hash: &str, actor: &Actor) -> anyhow::Result<bool>;

    /// The key that this id finds, and the hash under it: its own, or that of the key that it replaced, as
    /// long as that holds.
    async fn find_key(
        &self,
        id: &str,
        now: DateTime<Utc>,
    ) -> anyhow::Result<Option<(ApiKey, String)>>;

    /// All keys, the oldest first.
    async fn keys(&self) -> anyhow::Result<Vec<ApiKey>>;

    /// Ends the key of this name, and the one that it replaced; `false` where there is none that holds.
    async fn revoke_key(
        &self,
        name: &str,
        actor: &Actor,
        now: DateTime<Utc>,
    ) -> anyhow::Result<bool>;

    /// Gives the key of this name another secret. The old one holds for `overlap` longer. `false` where
    /// there is none that holds.
    async fn replace_key(
        &self,
        name: &str,
        secret: &Secret,
        overlap: TimeDelta,
        actor: &Actor,
        now: DateTime<Utc>,
    ) -> anyhow::Result<bool>;

    /// Gives the key of this name other limits; `false` where there is none that was not revoked.
    async fn limit_key(
        &self,
        name: &str,
        limits: &KeyLimits,
        actor: &Actor,
        now: DateTime<Utc>,
    ) -> anyhow::Result<bool>;

    /// Counts an amount as spent by the key of this name on this day, unless that would be more than
    /// `budget`; whether it was counted. Less than nothing is given back.
    async fn grant(
        &self,
        name: &str,
        day: NaiveDate,
        amount: Amount,
        budget: Amount,
    ) -> anyhow::Result<bool>;

    /// What the key of this name has spent on this day, and what its calls under way have reserved.
    async fn spent(&self, name: &str, day: NaiveDate) -> anyhow::Result<Amount>;

    /// The same of all keys that have spent anything.
    async fn spent_by_all(&self, day: NaiveDate) -> anyhow::Result<HashMap<String, Amount>>;
}

/// Finds keys, and remembers for a moment what the database said.
pub struct ApiKeys {
    store: Arc<dyn ApiKeyStore>,
    known: Mutex<HashMap<String, KnownKey>>,
    outage: FailureEdge,
    /// When a call waited last, while the database did not answer.
    tried: Mutex<Option<Instant>>,
}

struct KnownKey {
    found: Found,
    /// When the database was asked last.
    asked: Instant,
    /// When it answered last.
    told: Instant,
}

/// A key and the hash of its secret, where there is one.
type Found = Option<(Arc<ApiKey>, String)>;

impl ApiKeys {
    /// Those of this store.
    pub fn new(store: Arc<dyn ApiKeyStore>) -> Self {
        Self {
            store,
            known: Mutex::default(),
            outage: FailureEdge::default(),
            tried: Mutex::default(),
        }
    }

    /// Whether a text has the form of a key, so that it is no session token.
    pub fn is_key(text: &str) -> bool {
        secret::is_key(text)
    }

    /// The key with this secret that holds now.
    ///
    /// # Errors
    ///
    /// Where the database cannot be asked, and has not confirmed the key in the last five minutes.
    pub async fn find(
        &self,
        secret: &str,
        now: DateTime<Utc>,
    ) -> anyhow::Result<Option<Arc<ApiKey>>> {
        let Some(id) = secret::id_of(secret) else {
            return Ok(None);
        };
        let found = match self.remembered(id) {
            Some(found) => found,
            None => self.look_up(id, now).await?,
        };
        Ok(found
            .filter(|(_, kept)| secret::is_same(kept, &secret::hash(secret)))
            .map(|(key, _)| key)
            .filter(|key| key.holds_at(now)))
    }

    /// Asks the database; while it is away, what it said in the last five minutes holds.
    async fn look_up(&self, id: &str, now: DateTime<Utc>) -> anyhow::Result<Found> {
        let confirmed = self.confirmed(id);
        let asked = self.store.find_key(id, now);
        let found = match &confirmed {
            None => asked.await,
            Some(_) => match timeout(self.patience(), asked).await {
                Ok(found) => found,
                Err(_) => Err(anyhow::anyhow!("the database does not answer")),
            },
        };
        match (found, confirmed) {
            (Ok(found), _) => {
                if self.outage.ends() {
                    *self.tried.lock() = None;
                    tracing::info!("keys can be looked up again");
                }
                let found = found.map(|(key, hash)| (Arc::new(key), hash));
                self.remember(id, found.clone());
                Ok(found)
            }
            (Err(error), confirmed) => {
                if self.outage.begins() {
                    *self.tried.lock() = Some(Instant::now());
                    let cause = in_full(error.as_ref());
                    tracing::error!(
                        cause,
                        "keys cannot be looked up; those that were in the last five minutes hold, others get 503"
                    );
                }
                confirmed.map(Some).ok_or(error)
            }
        }
    }

    /// How long a call waits for the database whose key it has confirmed.
    fn patience(&self) -> Duration {
        match &mut *self.tried.lock() {
            None => PATIENCE,
            Some(tried) if tried.elapsed() >= TRIED_AGAIN => {
                *tried = Instant::now();
                PATIENCE
            }
            Some(_) => OUT_OF_PATIENCE,
        }
    }

    /// A key that the database has confirmed lately. It is not asked again for a moment.
    fn confirmed(&self, id: &str) -> Option<(Arc<ApiKey>, String)> {
        let mut known = self.known.lock();
        let known = known
            .get_mut(id)
            .filter(|known| known.told.elapsed() < CONFIRMED)?;
        let found = known.found.clone()?;
        known.asked = Instant::now();
        Some(found)
    }

    fn remembered(&self, id: &str) -> Option<Option<(Arc<ApiKey>, String)>> {
        let known = self.known.lock();
        let known = known
            .get(id)
            .filter(|known| known.asked.elapsed() < FRESH)?;
        Some(known.found.clone())
    }

    fn remember(&self, id: &str, found: Option<(Arc<ApiKey>, String)>) {
        let mut known = self.known.lock();
        if known.len() >= MAX_KNOWN {
            // Ids that are no keys go first: whoever sends many of them must not have keys forgotten.
            known.retain(|_, known| known.found.is_some() && known.told.elapsed() < CONFIRMED);
        }
        if known.len() < MAX_KNOWN {
            let told = Instant::now();
            let asked = told;
            known.insert(id.to_owned(), KnownKey { found, asked, told });
        }
    }
}
