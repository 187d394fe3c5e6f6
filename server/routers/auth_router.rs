//! `auth`: who the caller is, and the end of a session.

use std::{
    hash::{BuildHasher as _, RandomState},
    sync::Arc,
    time::Duration,
};

use chrono::{DateTime, TimeDelta, Utc};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{
    _core::{
        caller::{Caller, Role, User, please_login},
        context::Context,
        declared::Declared,
        errors::{ErrorCode, RpcError},
        iso_text,
        rate_limit::RateLimiter,
        registry::Registry,
    },
    procedures,
};

/// Passwords that are refused for one address in [`TRIES_IN`] before it has to wait.
const TRIES: usize = 5;
const TRIES_IN: TimeDelta = TimeDelta::minutes(15);
/// Anybody may send any address, so counts are kept by a part of its hash: they take some megabytes at most, and
/// whoever shares one with somebody else is refused all the same.
const COUNTS: u64 = 16_384;

/// Registers `auth.*`.
///
/// `session_ttl` is how long a session lasts that begins now.
pub fn register(registry: &mut Registry, session_ttl: impl Into<Option<Duration>>) {
    let state = session_ttl.into().map(|longest| State {
        longest,
        tries: Arc::new(RateLimiter::new(TRIES, TRIES_IN)),
        hash: RandomState::new(),
    });
    procedures!(registry.outline("auth", state);
        /// The signed-in user, or `null`.
        query Public me = me, errors UNKNOWN;
        /// The session of the call: whose it is, what the user may do, when it runs out, and what a
        /// page sends as `X-CSRF-Token` with what it changes.
        query SignedIn session = session;
        /// Refuses, whatever is sent: people sign in by a link or a sign-in service.
        mutation Public login = login, errors REFUSED;
        /// Ends the session and clears its cookie.
        mutation Public logout = logout, errors NOT_STORED;
        /// Ends all sessions of the caller, on all devices, and clears this one's cookie.
        mutation SignedIn logoutEverywhere = logout_everywhere;
    );
    registry.set_cookies(&["auth.logout", "auth.logoutEverywhere"]);
}

#[derive(Clone)]
struct State {
    /// How long a session lasts that begins now.
    longest: Duration,
    tries: Arc<RateLimiter>,
    hash: RandomState,
}

/// Another code than that of a caller without a session: nobody is signed out because of this.
const UNKNOWN: &[Declared] = &[Declared::new(
    ErrorCode::ServiceUnavailable,
    "The database does not say who calls; try again.",
)];
const REFUSED: &[Declared] = &[
    Declared::new(ErrorCode::Unauthorized, "Always: no password is good."),
    Declared::rate_limited("For one address, more than five times in fifteen minutes."),
];
const NOT_STORED: &[Declared] = &[Declared::new(
    ErrorCode::ServiceUnavailable,
    "The database could not be reached; the session has ended on this server, which writes that down later.",
)];

/// A user as the front end knows it.
#[derive(Debug, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(rename = "Me")]
pub(super) struct UserRow {
    /// What conversations and rollouts go by.
    id: i64,
    /// The identity provider's id.
    open_id: String,
    /// As shown.
    name: Option<String>,
    /// Where it is known.
    email: Option<String>,
    /// How the user first came in.
    login_method: Option<String>,
    /// What the user may do.
    role: Role,
    /// When the user first came, as ISO 8601 text.
    #[serde(serialize_with = "iso_text::serialize")]
    #[schemars(with = "String")]
    created_at: DateTime<Utc>,
    /// When the user was last changed, as ISO 8601 text.
    #[serde(serialize_with = "iso_text::serialize")]
    #[schemars(with = "String")]
    updated_at: DateTime<Utc>,
    /// When the user last called, to the minute, as ISO 8601 text.
    #[serde(serialize_with = "iso_text::serialize")]
    #[schemars(with = "String")]
    last_signed_in: DateTime<Utc>,
}

impl From<&User> for UserRow {
    fn from(user: &User) -> Self {
        Self {
            id: user.id,
            open_id: user.open_id.clone(),
            name: user.name.clone(),
            email: user.email.clone(),
            login_method: user.login_method.clone(),
            role: user.role,
            created_at: user.created_at,
            updated_at: user.updated_at,
            last_signed_in: user.last_signed_in,
        }
    }
}

async fn me(_: State, context: Context) -> Result<Option<UserRow>, RpcError> {
    Ok(match &context.caller {
        Caller::Anonymous => None,
        // A front end takes `null` for signed out, which is not known where the database is away.
        Caller::User(_) | Caller::Unknown { .. } => Some(UserRow::from(&**context.user()?)),
    })
}

/// A session that holds.
#[derive(Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
struct SessionInfo {
    /// Whose it is.
    user: UserRow,
    /// What the user may do: `user` sees no rollout, `viewer` sees and changes nothing, `admin` all.
    role: Role,
    /// When it runs out, unless it is refreshed or ended before.
    expires_at: DateTime<Utc>,
    /// The value of the header `X-CSRF-Token`, which is demanded with `CSRF_TOKEN=required`.
    csrf: String,
}

async fn session(_: State, context: Context) -> Result<SessionInfo, RpcError> {
    let user = context.user()?;
    let session = context.session.as_ref().ok_or_else(please_login)?;
    Ok(SessionInfo {
        user: UserRow::from(&**user),
        role: user.role,
        expires_at: session.expires_at(),
        csrf: session.csrf().map_err(RpcError::internal)?,
    })
}

/// That it was done.
#[derive(Serialize, JsonSchema)]
struct LoggedOut {
    /// Always `true`.
    success: bool,
}

async fn logout(state: State, context: Context) -> Result<LoggedOut, RpcError> {
    // Whatever comes of the rest: this browser is to forget it.
    context.cookies.push(context.clearing.cleared());
    if let Some(session) = &context.session {
        let ended = session.end(state.longest, context.received_at).await;
        // Not a success: others do not know yet, and a process that dies now never tells them.
        let text = "You are signed out on this server. Its database does not answer and is told \
                    as soon as it does; until then the session may hold on other servers.";
        ended.map_err(|error| not_stored(text, error, &context))?;
    }
    Ok(LoggedOut { success: true })
}

async fn logout_everywhere(_: State, context: Context) -> Result<LoggedOut, RpcError> {
    let user = context.user()?;
    if let Some(session) = &context.session {
        let ended = session.end_all_of(user.id, context.received_at).await;
        let text = "The end of the sessions could not be stored. Please try again.";
        ended.map_err(|error| not_stored(text, error, &context))?;
    }
    context.cookies.push(context.clearing.cleared());
    Ok(LoggedOut { success: true })
}

/// The database could not be written, so other processes, or this one after a restart, do not know.
fn not_stored(text: &'static str, error: anyhow::Error, context: &Context) -> RpcError {
    RpcError::unavailable(text, context.received_at).with_cause(error)
}

/// What the original's form sends.
#[derive(Deserialize, JsonSchema)]
struct Credentials {
    /// An e-mail address.
    #[schemars(email)]
    email: String,
    /// A password.
    #[schemars(length(min = 1))]
    #[expect(dead_code, reason = "no password is ever looked at")]
    password: String,
}

async fn login(state: State, context: Context, input: Credentials) -> Result<LoggedOut, RpcError> {
    let address = input.email.to_lowercase();
    let count = i64::try_from(state.hash.hash_one(address) % COUNTS).unwrap_or(0);
    let now = context.received_at;
    if let Err(quota) = state.tries.take(count, now) {
        let wait = (quota.resets_at - now).num_seconds().max(1);
        let text = format!("Too many login attempts. Please try again in {wait} seconds.");
        return Err(RpcError::rate_limited(text, quota.resets_at));
    }
    Err(RpcError::new(
        ErrorCode::Unauthorized,
        "Password-based login is not available. Please use a sign-in link.",
    ))
}
