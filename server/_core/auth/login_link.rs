//! One-time links: how a browser gets its first session.
//!
//! An operator's command makes a link, whoever opens it within five minutes signs in, once. The
//! secret of a link is 256 random bits and a code over them that takes `JWT_SECRET` to make. So what
//! nobody made is refused without a look at the database, and needs no limit of tries, which
//! anybody could use up for all others. The database keeps a hash of the secret only, so nobody
//! signs in with what a copy of the database holds. It stands behind the `#` of the address, which
//! browsers send to nobody.

use async_trait::async_trait;
use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use chrono::{DateTime, TimeDelta, Utc};
use secrecy::{ExposeSecret, SecretString};
use sha2::{Digest, Sha256};

use super::SessionKey;
use crate::_core::caller::User;

/// How long a link can be used.
pub const LINK_TTL: TimeDelta = TimeDelta::minutes(5);
/// Where links lead, below the server's public address.
pub const LOGIN_PATH: &str = "/login";

/// Where links are kept.
#[async_trait]
pub trait LoginLinkStore: Send + Sync {
    /// Keeps a link for a user, by the hash of its secret.
    async fn keep_link(
        &self,
        hash: &str,
        user_id: i64,
        made_at: DateTime<Utc>,
    ) -> anyhow::Result<()>;

    /// Uses a link up; `None` where there is none that is younger than [`LINK_TTL`] and unused, or
    /// its user was deleted or has ended all sessions since. Of several who try at once, one gets
    /// the user.
    async fn spend_link(&self, hash: &str, now: DateTime<Utc>) -> anyhow::Result<Option<User>>;
}

/// The secret of a new link.
pub fn new_secret(key: &SessionKey) -> anyhow::Result<SecretString> {
    let bytes: [u8; 32] = rand::random();
    let number = URL_SAFE_NO_PAD.encode(bytes);
    let code = key.code_of(&named(&number))?;
    Ok(format!("{number}.{code}").into())
}

/// Whether somebody with this key made the secret; it may have been used, or have run out.
pub fn was_made_with(key: &SessionKey, secret: &str) -> bool {
    secret
        .split_once('.')
        .is_some_and(|(number, code)| key.vouches_for(&named(number), code))
}

/// What the code is made of: no part of a token can read so.
fn named(number: &str) -> String {
    format!("sign-in link {number}")
}

/// What the database knows a secret by.
pub fn hash(secret: &str) -> String {
    format!("{:x}", Sha256::digest(secret))
}

/// The address that carries a secret.
pub fn address(public_url: &str, secret: &SecretString) -> String {
    let secret = secret.expose_secret();
    format!(
        "{}{LOGIN_PATH}#t={secret}",
        public_url.trim_end_matches('/')
    )
}
