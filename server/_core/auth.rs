//! Turns a session cookie or a bearer token into a caller, and makes such tokens.
//!
//! A token says only who somebody is; whether that user still exists and what the user may do is
//! asked of the database, at most once in [`CACHE_TTL`] per token. So a deleted user is refused and
//! a changed role counts within that time, also when another process made the change, and a busy
//! user costs neither a query nor a signature check per call.
//!
//! A token that does not hold makes its bearer anonymous, as in the original: public procedures
//! still work, all others answer 401.

pub mod cookie;

use std::{
    collections::HashMap,
    sync::Arc,
    time::{Duration, Instant},
};

use async_trait::async_trait;
use chrono::{DateTime, Utc};
use http::{HeaderMap, header};
use jsonwebtoken::{Algorithm, DecodingKey, EncodingKey, Header, Validation};
use parking_lot::Mutex;
use schemars::JsonSchema;
use secrecy::{ExposeSecret, SecretString};
use serde::{Deserialize, Serialize};

use super::context::Caller;

/// The session cookie's name.
pub const SESSION_COOKIE: &str = "app_session_id";
/// Open ids that start so belong to users made by `modelramp token`; only that command makes them.
pub const LOCAL_PREFIX: &str = "local:";
/// How long a look-up of a user may be relied on.
const CACHE_TTL: Duration = Duration::from_millis(200);
/// Entries after which the cache is emptied rather than grown.
const CACHE_LIMIT: usize = 10_000;
/// Clocks of two machines may differ by this many seconds.
const LEEWAY_SECONDS: u64 = 60;

/// What a user may do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    /// Uses the application.
    User,
    /// Also steers rollouts.
    Admin,
}

impl Role {
    /// As in the database and on the wire.
    pub const fn name(self) -> &'static str {
        match self {
            Self::User => "user",
            Self::Admin => "admin",
        }
    }
}

/// A row of the users table.
#[derive(Clone, Debug, PartialEq)]
pub struct User {
    /// Positive; what assignment and ownership go by.
    pub id: i64,
    /// The identity provider's id.
    pub open_id: String,
    /// As shown.
    pub name: Option<String>,
    /// Where it is known.
    pub email: Option<String>,
    /// How the user first came in.
    pub login_method: Option<String>,
    /// From the database, or admin for the owner.
    pub role: Role,
    /// When the row was made.
    pub created_at: DateTime<Utc>,
    /// When the row last changed.
    pub updated_at: DateTime<Utc>,
    /// When the user last called, to the minute.
    pub last_signed_in: DateTime<Utc>,
}

/// Where users are kept.
#[async_trait]
pub trait UserStore: Send + Sync {
    /// Who a valid session belongs to, noting that the user called.
    ///
    /// An unknown open id becomes a user with the given name, as in the original; one that was
    /// deleted, or that starts with [`LOCAL_PREFIX`] and does not exist, is `None`.
    async fn user_of_session(
        &self,
        open_id: &str,
        name: &str,
        now: DateTime<Utc>,
    ) -> anyhow::Result<Option<User>>;
}

/// The claims of a session token, as the original wrote them.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Claims {
    /// Who.
    pub open_id: String,
    /// For which application; not compared, but never empty.
    pub app_id: String,
    /// The name at sign-in; never empty.
    pub name: String,
    /// Until when, in seconds since 1970.
    pub exp: u64,
}

/// Signs and checks session tokens (HS256 only, `exp` required).
pub struct SessionKey {
    encoding: EncodingKey,
    decoding: DecodingKey,
    validation: Validation,
}

impl SessionKey {
    /// A key from `JWT_SECRET`.
    pub fn new(secret: &SecretString) -> Self {
        let bytes = secret.expose_secret().as_bytes();
        let mut validation = Validation::new(Algorithm::HS256);
        validation.set_required_spec_claims(&["exp"]);
        validation.leeway = LEEWAY_SECONDS;
        // The original's tokens carry no audience; one that does is judged by its other claims.
        validation.validate_aud = false;
        Self {
            encoding: EncodingKey::from_secret(bytes),
            decoding: DecodingKey::from_secret(bytes),
            validation,
        }
    }

    /// A session token of this user, good for `ttl` from now.
    pub fn issue(
        &self,
        user: &User,
        app_id: &str,
        ttl: Duration,
        now: DateTime<Utc>,
    ) -> anyhow::Result<String> {
        let name = user.name.as_deref().filter(|name| !name.is_empty());
        let exp = u64::try_from(now.timestamp())
            .unwrap_or(0)
            .saturating_add(ttl.as_secs());
        self.sign(&Claims {
            open_id: user.open_id.clone(),
            app_id: app_id.to_owned(),
            name: name.unwrap_or(&user.open_id).to_owned(),
            exp,
        })
    }

    /// A token with these claims.
    pub fn sign(&self, claims: &Claims) -> anyhow::Result<String> {
        Ok(jsonwebtoken::encode(
            &Header::new(Algorithm::HS256),
            claims,
            &self.encoding,
        )?)
    }

    /// The claims of a token that holds; `None` for any other, whatever is wrong with it.
    pub fn verify(&self, token: &str) -> Option<Claims> {
        let claims: Claims = jsonwebtoken::decode(token, &self.decoding, &self.validation)
            .ok()?
            .claims;
        let complete = [&claims.open_id, &claims.app_id, &claims.name]
            .iter()
            .all(|c| !c.is_empty());
        complete.then_some(claims)
    }
}

/// Whose a token was found to be, and until when that may be relied on.
struct Found {
    asked_at: Instant,
    /// In seconds since 1970.
    expires_at: i64,
    caller: Caller,
}

/// Finds the caller of a request.
pub struct Authenticator {
    key: SessionKey,
    owner_open_id: Option<String>,
    users: Arc<dyn UserStore>,
    /// By token: checking a signature costs more than all else that a small query does.
    cache: Mutex<HashMap<Box<str>, Found>>,
}

impl Authenticator {
    /// An authenticator whose owner is always admin.
    pub fn new(key: SessionKey, owner_open_id: Option<String>, users: Arc<dyn UserStore>) -> Self {
        Self {
            key,
            owner_open_id,
            users,
            cache: Mutex::default(),
        }
    }

    /// The caller that the headers name: `Authorization: Bearer` before the session cookie.
    pub async fn caller(&self, headers: &HeaderMap, now: DateTime<Utc>) -> Caller {
        match bearer_token(headers).or_else(|| session_cookie(headers)) {
            Some(token) => self.caller_of_token(token, now).await,
            None => Caller::Anonymous,
        }
    }

    /// The caller that a session token names.
    pub async fn caller_of_token(&self, token: &str, now: DateTime<Utc>) -> Caller {
        let asked_at = Instant::now();
        if let Some(found) = self.cache.lock().get(token)
            && asked_at.duration_since(found.asked_at) < CACHE_TTL
            && now.timestamp() < found.expires_at
        {
            return found.caller.clone();
        }
        let Some(claims) = self.key.verify(token) else {
            return Caller::Anonymous;
        };
        let caller = match self.user(&claims, now).await {
            Ok(user) => user.map_or(Caller::Anonymous, Caller::User),
            Err(error) => {
                tracing::error!(error = format!("{error:#}"), "cannot look up a user");
                return Caller::Anonymous;
            }
        };
        let mut cache = self.cache.lock();
        if cache.len() >= CACHE_LIMIT {
            cache.clear();
        }
        let found = Found {
            asked_at,
            expires_at: claims.exp.try_into().unwrap_or(i64::MAX),
            caller: caller.clone(),
        };
        cache.insert(token.into(), found);
        caller
    }

    async fn user(&self, claims: &Claims, now: DateTime<Utc>) -> anyhow::Result<Option<Arc<User>>> {
        let user = self
            .users
            .user_of_session(&claims.open_id, &claims.name, now)
            .await?;
        Ok(user.map(|mut user| {
            if self.owner_open_id.as_ref() == Some(&user.open_id) {
                user.role = Role::Admin;
            }
            Arc::new(user)
        }))
    }
}

fn bearer_token(headers: &HeaderMap) -> Option<&str> {
    let value = headers.get(header::AUTHORIZATION)?.to_str().ok()?;
    let (scheme, token) = value.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then(|| token.trim())
}

/// The value of the session cookie.
pub fn session_cookie(headers: &HeaderMap) -> Option<&str> {
    headers
        .get_all(header::COOKIE)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(';'))
        .filter_map(|pair| pair.trim().split_once('='))
        .find_map(|(name, value)| (name == SESSION_COOKIE).then_some(value))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key() -> SessionKey {
        SessionKey::new(&"0123456789abcdef0123456789abcdef".into())
    }

    fn claims(exp: u64) -> Claims {
        Claims {
            open_id: "user-1".into(),
            app_id: "app".into(),
            name: "Bo".into(),
            exp,
        }
    }

    #[test]
    fn a_signed_token_holds_until_it_expires() {
        let now = jsonwebtoken::get_current_timestamp();
        let token = key().sign(&claims(now + 60)).unwrap();
        assert_eq!(key().verify(&token), Some(claims(now + 60)));
        let expired = key().sign(&claims(now - LEEWAY_SECONDS - 1)).unwrap();
        assert_eq!(key().verify(&expired), None);
    }

    #[test]
    fn other_keys_algorithms_and_missing_claims_are_refused() {
        let exp = jsonwebtoken::get_current_timestamp() + 60;
        let other = SessionKey::new(&"another secret of enough bytes, 32+".into());
        assert_eq!(key().verify(&other.sign(&claims(exp)).unwrap()), None);
        let secret = EncodingKey::from_secret(b"0123456789abcdef0123456789abcdef");
        let hs512 = jsonwebtoken::encode(&Header::new(Algorithm::HS512), &claims(exp), &secret);
        assert_eq!(key().verify(&hs512.unwrap()), None);
        let mut nameless = claims(exp);
        nameless.name.clear();
        assert_eq!(key().verify(&key().sign(&nameless).unwrap()), None);
        let forever = serde_json::json!({"openId": "user-1", "appId": "app", "name": "Bo"});
        let forever = jsonwebtoken::encode(&Header::new(Algorithm::HS256), &forever, &secret);
        assert_eq!(key().verify(&forever.unwrap()), None);
        // `alg: none`, as in the textbook attack.
        assert_eq!(
            key().verify("eyJhbGciOiJub25lIn0.eyJvcGVuSWQiOiJ1c2VyLTEifQ."),
            None
        );
    }

    #[test]
    fn the_session_cookie_is_found_among_others() {
        let mut headers = HeaderMap::new();
        headers.append(
            header::COOKIE,
            "a=1; app_session_id=tok.en=; b=2".parse().unwrap(),
        );
        assert_eq!(session_cookie(&headers), Some("tok.en="));
    }
}
