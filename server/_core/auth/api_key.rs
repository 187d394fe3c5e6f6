//! Keys of applications: what a program sends that calls for its users.
//!
//! A key is `mr_`, eight characters that find it, `_`, and 43 characters that nobody can guess (256 bits),
//! with four more that are computed from the rest, so that a slip is told from a key without a look-up. It
//! is shown once. The database keeps a hash of the whole, so nobody calls with what a copy of it holds; 256
//! random bits need no slow one.

use std::{
    collections::HashMap,
    sync::Arc,
    time::{Duration, Instant},
};

use async_trait::async_trait;
use chrono::{DateTime, TimeDelta, Utc};
use parking_lot::Mutex;
use rand::{Rng, distr::Alphanumeric};
use secrecy::SecretString;
use sha2::{Digest, Sha256};

const PREFIX: &str = "mr_";
const ID: usize = 8;
const SECRET: usize = 43;
const CHECK: usize = 4;

/// What the database said of a key counts for so long: a revoked key ends within it.
const FRESH: Duration = Duration::from_millis(500);
/// Keys that are remembered.
const MAX_KNOWN: usize = 10_000;

/// A key of the database.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ApiKey {
    /// Finds it; no secret.
    pub id: String,
    /// For people; no two keys have one name.
    pub name: String,
    /// What it may ask for: names of models, and `task/NAME`; everything where it is `None`.
    pub models: Option<Vec<String>>,
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

/// A secret, in the forms that are kept and shown.
pub struct Secret {
    /// What finds it.
    pub id: String,
    /// What the database keeps.
    pub hash: String,
    /// The whole, to be shown once.
    pub whole: SecretString,
}

impl Secret {
    /// A new one.
    pub fn new() -> Self {
        let letters = |count| -> String {
            let random = rand::rng().sample_iter(Alphanumeric);
            random.take(count).map(char::from).collect()
        };
        let id = letters(ID);
        let start = format!("{PREFIX}{id}_{}", letters(SECRET));
        let whole = format!("{start}{}", check(&start));
        Self {
            id,
            hash: hash(&whole),
            whole: whole.into(),
        }
    }
}

impl Default for Secret {
    fn default() -> Self {
        Self::new()
    }
}

fn hash(whole: &str) -> String {
    format!("{:x}", Sha256::digest(whole))
}

fn check(start: &str) -> String {
    let hash = hash(start);
    hash.get(..CHECK).unwrap_or_default().to_owned()
}

/// The part of a key that finds it; `None` for what nobody made.
fn id_of(key: &str) -> Option<&str> {
    let id = key.strip_prefix(PREFIX)?.get(..ID)?;
    let (start, told) = key.split_at_checked(PREFIX.len() + ID + 1 + SECRET)?;
    (told == check(start)).then_some(id)
}

/// Where keys are kept.
#[async_trait]
pub trait ApiKeyStore: Send + Sync {
    /// Adds a key; `false` where its name is taken.
    async fn add_key(&self, key: &ApiKey, hash: &str) -> anyhow::Result<bool>;

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
    async fn revoke_key(&self, name: &str, now: DateTime<Utc>) -> anyhow::Result<bool>;

    /// Gives the key of this name another secret. The old one holds for `overlap` longer. `false` where
    /// there is none that holds.
    async fn replace_key(
        &self,
        name: &str,
        secret: &Secret,
        now: DateTime<Utc>,
        overlap: TimeDelta,
    ) -> anyhow::Result<bool>;
}

/// Finds keys, and remembers for a moment what the database said.
pub struct ApiKeys {
    store: Arc<dyn ApiKeyStore>,
    known: Mutex<HashMap<String, Known>>,
}

struct Known {
    found: Option<(Arc<ApiKey>, String)>,
    at: Instant,
}

impl ApiKeys {
    /// Those of this store.
    pub fn new(store: Arc<dyn ApiKeyStore>) -> Self {
        Self {
            store,
            known: Mutex::default(),
        }
    }

    /// Whether a text has the form of a key, so that it is no session token.
    pub fn is_key(text: &str) -> bool {
        text.starts_with(PREFIX)
    }

    /// The key with this secret that holds now.
    ///
    /// # Errors
    ///
    /// Where the database cannot be asked.
    pub async fn find(
        &self,
        secret: &str,
        now: DateTime<Utc>,
    ) -> anyhow::Result<Option<Arc<ApiKey>>> {
        let Some(id) = id_of(secret) else {
            return Ok(None);
        };
        let found = match self.remembered(id) {
            Some(found) => found,
            None => {
                let found = self.store.find_key(id, now).await?;
                let found = found.map(|(key, hash)| (Arc::new(key), hash));
                self.remember(id, found.clone());
                found
            }
        };
        Ok(found
            .filter(|(_, kept)| is_same(kept, &hash(secret)))
            .map(|(key, _)| key)
            .filter(|key| key.holds_at(now)))
    }

    fn remembered(&self, id: &str) -> Option<Option<(Arc<ApiKey>, String)>> {
        let known = self.known.lock();
        let known = known.get(id).filter(|known| known.at.elapsed() < FRESH)?;
        Some(known.found.clone())
    }

    fn remember(&self, id: &str, found: Option<(Arc<ApiKey>, String)>) {
        let mut known = self.known.lock();
        if known.len() >= MAX_KNOWN {
            known.retain(|_, known| known.at.elapsed() < FRESH);
        }
        if known.len() < MAX_KNOWN {
            let at = Instant::now();
            known.insert(id.to_owned(), Known { found, at });
        }
    }
}

/// Whether two hashes are one, in a time that does not tell where they differ.
fn is_same(one: &str, other: &str) -> bool {
    let differences = one
        .bytes()
        .zip(other.bytes())
        .fold(0, |all, (a, b)| all | (a ^ b));
    one.len() == other.len() && differences == 0
}

#[cfg(test)]
mod tests {
    use secrecy::ExposeSecret;

    use super::*;

    #[test]
    fn a_slip_in_a_key_is_seen_without_a_look_up() {
        let secret = Secret::new();
        let whole = secret.whole.expose_secret();
        assert_eq!(whole.len(), 59);
        assert_eq!(id_of(whole), Some(secret.id.as_str()));
        assert_eq!(secret.hash, hash(whole));
        assert!(ApiKeys::is_key(whole) && !ApiKeys::is_key("eyJ0"));
        let slip = format!("{}{}", &whole[..30], whole[30..].to_ascii_lowercase());
        for wrong in [
            slip.as_str(),
            &whole[..58],
            &format!("{whole}x"),
            "mr_",
            "mr_æøåæøåæø",
            "",
        ] {
            assert!(wrong == whole || id_of(wrong).is_none(), "{wrong}");
        }
        assert!(is_same("ab", "ab") && !is_same("ab", "ac") && !is_same("ab", "abc"));
    }
}
