//! Session tokens: signed by us or by another issuer that has the same secret, checked by us.
//!
//! What is checked, and against which text: HS256 only; `exp` there and not past, `nbf` not to come,
//! `iat` a number (RFC 7519, 4.1.4 to 4.1.6: numbers, also with a fraction); no `crit`, as no
//! extension is known here (RFC 7515, 4.1.11); `openId`, `appId` and `name` there and not empty, as
//! the original had it. `iss` and `aud` are not compared. A claim that comes twice is refused.
//!
//! Tokens that belong together have one id: a token of ours carries it as `sid`, and a refreshed one
//! inherits it, so that logging out with either ends both. A token of another issuer without one is
//! known by the hash of what was signed.

use std::time::Duration;

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use chrono::{DateTime, Utc};
use jsonwebtoken::{Algorithm, DecodingKey, EncodingKey, Header, Validation};
use secrecy::{ExposeSecret, SecretString};
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::{Map, Value};
use sha2::{Digest, Sha256};

use crate::_core::caller::{Role, User};

/// Open ids that start so belong to people whom a proxy names.
pub(super) const PROXY_PREFIX: &str = "proxy:";
/// The clock of another issuer may differ from ours by this many seconds.
const LEEWAY_SECONDS: f64 = 60.0;
const YEAR_SECONDS: f64 = 365.0 * 86_400.0;
/// A longer text is no token. Browsers keep no cookie of more than 4,096 bytes.
const MAX_TOKEN_BYTES: usize = 8192;

/// The claims of a session token, as the original wrote them, with two more.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Claims {
    /// The user's id at the sign-in service.
    pub open_id: String,
    /// For which application; not compared, but never empty.
    pub app_id: String,
    /// The name at sign-in; never empty.
    pub name: String,
    /// Until when, in seconds since 1970.
    pub exp: u64,
    /// Since when, in seconds since 1970. A token without it ends with the first “log out
    /// everywhere” of its user and cannot be distinguished from older ones.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub iat: Option<f64>,
    /// Shared by the tokens of one session.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sid: Option<String>,
}

/// What a token that holds says.
#[derive(Clone, Debug, PartialEq)]
pub struct Session {
    /// Names the session in the database: 64 hexadecimal digits, from which no token can be made.
    pub id: String,
    /// What a refreshed token carries on as `sid`.
    pub(super) sid: String,
    /// The user's id at the sign-in service.
    pub open_id: String,
    /// The name at sign-in.
    pub name: String,
    /// In milliseconds since 1970; 0 where the token does not say.
    pub issued_ms: i64,
    /// In seconds since 1970.
    pub(super) expires: f64,
    /// In seconds since 1970.
    not_before: f64,
    /// Seconds that a token may be late: none with a `sid`, as ours have, which ends when it says.
    leeway: f64,
    /// Whether a proxy says so with each request, and no token does.
    pub(super) is_asserted: bool,
    /// What the user may do in this session, where that is not for the database to say.
    pub(super) role: Option<Role>,
}

impl Session {
    /// A session that holds for ever, for a store's tests.
    pub fn of(open_id: &str, name: &str) -> Self {
        Self {
            id: digest(open_id),
            sid: open_id.to_owned(),
            open_id: open_id.to_owned(),
            name: name.to_owned(),
            issued_ms: 0,
            expires: f64::MAX,
            not_before: 0.0,
            leeway: 0.0,
            is_asserted: false,
            role: None,
        }
    }

    /// Of somebody whom a proxy names: it holds as long as the proxy says so, which is a year to whoever
    /// asks when it ends, and no end of other sessions ends it.
    pub(super) fn asserted(name: &str, role: Option<Role>, now: DateTime<Utc>) -> Self {
        Self {
            name: name.to_owned(),
            issued_ms: i64::MAX,
            expires: seconds(now) + YEAR_SECONDS,
            is_asserted: true,
            role,
            ..Self::of(&format!("{PROXY_PREFIX}{name}"), name)
        }
    }

    /// Whether it has begun and not ended; a token without `sid` is given a minute beyond its end.
    pub fn holds_at(&self, now: DateTime<Utc>) -> bool {
        let now = seconds(now);
        now < self.expires + self.leeway && self.not_before <= now + LEEWAY_SECONDS
    }

    /// When it runs out; the end of the calendar where that is later.
    pub fn expires_at(&self) -> DateTime<Utc> {
        // A cast of a float saturates.
        let ms = (self.expires * 1000.0) as i64;
        DateTime::from_timestamp_millis(ms).unwrap_or(DateTime::<Utc>::MAX_UTC)
    }

    /// How long it has left; nothing where it is over.
    pub fn remaining(&self, now: DateTime<Utc>) -> Duration {
        Duration::try_from_secs_f64((self.expires - seconds(now)).max(0.0)).unwrap_or(Duration::MAX)
    }
}

/// Signs and checks session tokens.
pub struct SessionKey {
    encoding: EncodingKey,
    /// The current one, and the one before while its sessions run out.
    decoding: Vec<DecodingKey>,
    validation: Validation,
}

impl SessionKey {
    /// A key from `JWT_SECRET`.
    pub fn new(secret: &SecretString) -> Self {
        let bytes = secret.expose_secret().as_bytes();
        let mut validation = Validation::new(Algorithm::HS256);
        // Times are checked here, by the clock of whoever asks; an audience is not compared.
        validation.required_spec_claims.clear();
        validation.validate_exp = false;
        validation.validate_aud = false;
        Self {
            encoding: EncodingKey::from_secret(bytes),
            decoding: vec![DecodingKey::from_secret(bytes)],
            validation,
        }
    }

    /// Also takes tokens that were signed with `JWT_SECRET_PREVIOUS`; none are signed with it.
    pub fn or_previous(mut self, secret: Option<&SecretString>) -> Self {
        let previous = secret.map(|secret| secret.expose_secret().as_bytes());
        self.decoding.extend(previous.map(DecodingKey::from_secret));
        self
    }

    /// A token of a new session of this user, good for `ttl` from now.
    pub fn issue(
        &self,
        user: &User,
        app_id: &str,
        ttl: Duration,
        now: DateTime<Utc>,
    ) -> anyhow::Result<String> {
        let sid = uuid::Uuid::new_v4().simple().to_string();
        // To the millisecond, so that it is later than a “log out everywhere” just before.
        self.issue_as(sid, Some(seconds(now)), user, app_id, ttl, now)
    }

    /// A later token of a session that goes on. It keeps the time at which the session began, so a
    /// “log out everywhere” that is on its way just then ends it too.
    pub fn renew(
        &self,
        session: &Session,
        user: &User,
        app_id: &str,
        ttl: Duration,
        now: DateTime<Utc>,
    ) -> anyhow::Result<String> {
        let began = (session.issued_ms > 0).then_some(session.issued_ms as f64 / 1000.0);
        self.issue_as(session.sid.clone(), began, user, app_id, ttl, now)
    }

    fn issue_as(
        &self,
        sid: String,
        began: Option<f64>,
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
            iat: began,
            sid: Some(sid),
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

    /// A code for a text that only somebody with the secret can make.
    pub(super) fn code_of(&self, text: &str) -> anyhow::Result<String> {
        let code = jsonwebtoken::crypto::sign(text.as_bytes(), &self.encoding, Algorithm::HS256);
        Ok(code?)
    }

    /// Whether this is the code of the text, by either secret.
    pub(super) fn vouches_for(&self, text: &str, code: &str) -> bool {
        self.decoding.iter().any(|key| {
            jsonwebtoken::crypto::verify(code, text.as_bytes(), key, Algorithm::HS256)
                .unwrap_or(false)
        })
    }

    /// What a token says, if it holds now; `None` for any other, whatever is wrong with it.
    pub fn verify(&self, token: &str, now: DateTime<Utc>) -> Option<Session> {
        if token.len() > MAX_TOKEN_BYTES || has_critical_extension(token) {
            return None;
        }
        let presented = self
            .decoding
            .iter()
            .find_map(|key| jsonwebtoken::decode::<Presented>(token, key, &self.validation).ok())?;
        let session = presented.claims.session(token, now)?;
        session.holds_at(now).then_some(session)
    }
}

/// The claims as others may have written them.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Presented {
    open_id: String,
    app_id: String,
    name: String,
    exp: f64,
    #[serde(default, deserialize_with = "number")]
    nbf: Option<f64>,
    #[serde(default, deserialize_with = "number")]
    iat: Option<f64>,
    /// Whatever it is to its issuer; only a text is of use here.
    #[serde(default)]
    sid: Value,
}

/// A claim that is there must be a number; `null` is none.
fn number<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<f64>, D::Error> {
    f64::deserialize(deserializer).map(Some)
}

impl Presented {
    fn session(self, token: &str, now: DateTime<Utc>) -> Option<Session> {
        if [&self.open_id, &self.app_id, &self.name]
            .iter()
            .any(|claim| claim.is_empty())
        {
            return None;
        }
        let (sid, leeway) = match self.sid {
            Value::String(sid) if !sid.is_empty() => (sid, 0.0),
            // The signature follows from the rest, so the rest is the token.
            _ => (digest(token.rsplit_once('.')?.0), LEEWAY_SECONDS),
        };
        // A time to come is no time at which it can have been issued.
        let issued = self.iat.filter(|iat| *iat <= seconds(now) + LEEWAY_SECONDS);
        Some(Session {
            id: digest(&format!("{}\n{sid}", self.open_id)),
            sid,
            // A cast of a float saturates.
            issued_ms: issued.map_or(0, |iat| (iat * 1000.0).round() as i64),
            open_id: self.open_id,
            name: self.name,
            expires: self.exp,
            not_before: self.nbf.unwrap_or(0.0),
            leeway,
            is_asserted: false,
            role: None,
        })
    }
}

fn has_critical_extension(token: &str) -> bool {
    let header = token.split('.').next().unwrap_or_default();
    let header = URL_SAFE_NO_PAD.decode(header).unwrap_or_default();
    serde_json::from_slice::<Map<String, Value>>(&header)
        .is_ok_and(|header| header.contains_key("crit"))
}

fn digest(text: &str) -> String {
    format!("{:x}", Sha256::digest(text))
}

fn seconds(time: DateTime<Utc>) -> f64 {
    time.timestamp_millis() as f64 / 1000.0
}

#[cfg(test)]
mod tests;
