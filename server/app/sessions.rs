//! Sessions that the command line gives to local users, and ends.

use std::{ops::RangeInclusive, time::Duration};

use anyhow::Context as _;
use chrono::{DateTime, Utc};
use secrecy::{ExposeSecret, SecretString};

use crate::{
    _core::{
        auth::{
            SessionKey,
            login_link::{self, LoginLinkStore},
        },
        caller::Role,
    },
    config::Config,
    storage::{Storage, has_secret, secret_for_development},
};

/// `JWT_SECRET`, or the one that development keeps beside its database.
pub(super) fn session_secret(config: &Config) -> anyhow::Result<SecretString> {
    match &config.auth.jwt_secret {
        Some(secret) => Ok(secret.clone()),
        None => secret_for_development(&config.database.url)
            .context("cannot keep a secret for development"),
    }
}

/// Fails where a token would be for a database or a secret that no server has used: such a token is
/// refused by whichever server it was meant for.
pub async fn require_database(config: &Config) -> anyhow::Result<()> {
    let url = &config.database.url;
    Storage::require(url).await?;
    let is_postgres = url.starts_with("postgres");
    anyhow::ensure!(
        config.auth.jwt_secret.is_some() || is_postgres || has_secret(url),
        "no secret lies beside the database `{}`, so its server has one from `JWT_SECRET`; set the \
         same `JWT_SECRET` here",
        Storage::place(url)?
    );
    Ok(())
}

pub(super) fn session_key(config: &Config) -> anyhow::Result<SessionKey> {
    let previous = config.auth.jwt_secret_previous.as_ref();
    Ok(SessionKey::new(&session_secret(config)?).or_previous(previous))
}

/// What a local user is to be given.
#[derive(Clone, Copy, Debug)]
pub enum SessionGrant {
    /// A session token that holds for so long, or as long as sessions do by the settings.
    Token {
        /// How long.
        ttl: Option<Duration>,
    },
    /// A one-time link by which the user signs in with a browser.
    LoginLink,
}

/// What a local user was given.
#[derive(Debug)]
pub struct Issued {
    /// The token or the link.
    pub secret: SecretString,
    /// What the user may do.
    pub role: Role,
    /// And before; `None` for a user who was made.
    pub role_before: Option<Role>,
}

/// Gives a local user a token or a link. A user who is missing is made; without a role the user keeps
/// the one that there is, and a new one is a plain user.
pub async fn issue(
    config: &Config,
    user_id: i64,
    role: Option<Role>,
    grant: SessionGrant,
    now: DateTime<Utc>,
) -> anyhow::Result<Issued> {
    let public_url = match grant {
        SessionGrant::Token { .. } => String::new(),
        SessionGrant::LoginLink => config.public_url().context(
            "`PUBLIC_URL` is not set; a link needs the address at which browsers reach the server, \
             such as `https://app.example`",
        )?,
    };
    let storage = Storage::open_or_make(&config.database.url).await?;
    let role_before = storage.find_user(user_id).await?.map(|user| user.role);
    let role = role.or(role_before).unwrap_or(Role::User);
    let user = storage.ensure_local_user(user_id, role, now).await?;
    let key = SessionKey::new(&session_secret(config)?);
    let secret = match grant {
        SessionGrant::Token { ttl } => {
            let ttl = ttl.unwrap_or(config.auth.session_ttl);
            key.issue(&user, &config.auth.app_id, ttl, now)?.into()
        }
        SessionGrant::LoginLink => new_link(&storage, &key, &public_url, user.id, now).await?,
    };
    storage.close().await;
    Ok(Issued {
        secret,
        role,
        role_before,
    })
}

/// A session token for a local user, who is made or gets this role.
pub async fn issue_token(
    config: &Config,
    user_id: i64,
    role: Role,
    ttl: Option<Duration>,
    now: DateTime<Utc>,
) -> anyhow::Result<String> {
    let issued = issue(
        config,
        user_id,
        Some(role),
        SessionGrant::Token { ttl },
        now,
    )
    .await?;
    Ok(issued.secret.expose_secret().to_owned())
}

/// A link that signs this user in, once.
pub(super) async fn new_link(
    storage: &Storage,
    key: &SessionKey,
    public_url: &str,
    user_id: i64,
    now: DateTime<Utc>,
) -> anyhow::Result<SecretString> {
    let secret = login_link::new_secret(key)?;
    let hash = login_link::hash(secret.expose_secret());
    storage.keep_link(&hash, user_id, now).await?;
    Ok(login_link::address(public_url, &secret).into())
}

/// Gives a user a role; the user's name, where it is known, and the role before.
pub async fn set_role(
    config: &Config,
    user_id: i64,
    role: Role,
    now: DateTime<Utc>,
) -> anyhow::Result<(Option<String>, Role)> {
    // A database that is made here would be another server's.
    let storage = Storage::open_existing(&config.database.url).await?;
    let found = storage.set_role(user_id, role, now).await?;
    storage.close().await;
    let (user, before) = found.with_context(|| format!("there is no user `{user_id}`"))?;
    Ok((user.name, before))
}

/// Ends all sessions that a user has by now; a server that runs knows it at its next look.
pub async fn end_sessions(config: &Config, user_id: i64, now: DateTime<Utc>) -> anyhow::Result<()> {
    // A database that is made here would be another server's.
    let storage = Storage::open_existing(&config.database.url).await?;
    let found = storage.end_sessions(user_id, now).await?;
    storage.close().await;
    anyhow::ensure!(found, "there is no user `{user_id}`");
    Ok(())
}

/// Session tokens for local users with these ids, who are made where they are missing.
///
/// Users who signed in themselves are not impersonated, and nobody's role changes.
pub async fn issue_tokens(
    config: &Config,
    user_ids: RangeInclusive<i64>,
    ttl: Duration,
    now: DateTime<Utc>,
) -> anyhow::Result<Vec<SecretString>> {
    let storage = Storage::open_or_make(&config.database.url).await?;
    let key = SessionKey::new(&session_secret(config)?);
    let mut tokens = Vec::new();
    for id in user_ids {
        let user = match storage.find_user(id).await? {
            Some(user) if user.login_method.as_deref() == Some("local") => user,
            Some(_) => anyhow::bail!("user `{id}` signed in and is not for tests"),
            None => storage.ensure_local_user(id, Role::User, now).await?,
        };
        tokens.push(key.issue(&user, &config.auth.app_id, ttl, now)?.into());
    }
    storage.close().await;
    Ok(tokens)
}
