//! How a browser gets a session and keeps it: a page for one-time links, and two requests.
//!
//! `GET /login` is a page; the secret of a link stands behind the `#` of its address, which never
//! leaves the browser. Opening the page spends nothing, so neither does whoever looks at links for
//! previews; only `POST /api/auth/login` with the secret does. `POST /api/auth/refresh` gives a
//! session that is about to run out a later end, as the original's front end asks for. With a sign-in
//! service ([`oidc`]) the page also leads there; `GET /api/auth/ways` says whether there is one.

mod issuer;
mod oidc;

use std::{sync::Arc, time::Duration};

use anyhow::Context as _;
use axum::{
    Json, Router,
    extract::{DefaultBodyLimit, FromRequest, Request, State},
    http::{HeaderMap, HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
    routing::{any, get},
};
use chrono::{DateTime, Utc};
use http::Method;
use serde::Deserialize;
use serde_json::{Value, json};

use self::{issuer::Issuer, oidc::Oidc};
use super::{gate::CallerGate, headers, page::HtmlPage};
use crate::{
    _core::{
        auth::{
            Session,
            cookie::CookieOptions,
            csrf, has_session_cookie,
            login_link::{self, LOGIN_PATH, LoginLinkStore},
            oidc::PersonStore,
        },
        caller::{Caller, User},
        clock,
        errors::{ErrorCode, RpcError},
    },
    config::OidcConfig,
};

/// Where a session is renewed.
const REFRESH: &str = "/api/auth/refresh";

/// A session that has longer to live than this is not renewed, as in the original.
const RENEWED_BELOW: Duration = Duration::from_secs(7 * 86_400);
/// A body with one secret needs no more.
const MAX_BODY_BYTES: usize = 4096;

/// What signing in needs.
pub struct SignIn {
    /// Finds callers and refuses foreign origins.
    pub gate: Arc<CallerGate>,
    /// The links.
    pub links: Arc<dyn LoginLinkStore>,
    /// The `appId` claim of new sessions.
    pub app_id: String,
    /// How long a new session lasts.
    pub session_ttl: Duration,
    /// The sign-in service, if there is one.
    pub oidc: Option<OidcConfig>,
    /// Where browsers reach the server, for the way back from there.
    pub public_url: Option<String>,
    /// Where people become users.
    pub people: Arc<dyn PersonStore>,
}

/// `/login` and `/api/auth/*`. Fails where the sign-in service cannot be asked.
pub fn routes(sign_in: SignIn) -> anyhow::Result<Router> {
    let oidc = match &sign_in.oidc {
        Some(config) => {
            let public = sign_in.public_url.as_deref();
            let public = public.context("OIDC_ISSUER needs PUBLIC_URL")?;
            let back = format!("{}{}", public.trim_end_matches('/'), oidc::CALLBACK);
            Some(Oidc {
                issuer: Issuer::new(config.clone(), back)?,
                people: sign_in.people.clone(),
            })
        }
        None => None,
    };
    let state = Arc::new(Desk { sign_in, oidc });
    let routes = Router::new()
        .route(LOGIN_PATH, get(page))
        .route("/api/auth/ways", get(ways))
        .route(oidc::START, get(oidc::start))
        .route(oidc::CALLBACK, get(oidc::callback))
        .route("/api/auth/login", any(login))
        .route(REFRESH, any(refresh))
        .layer(DefaultBodyLimit::max(MAX_BODY_BYTES))
        .with_state(state);
    Ok(routes)
}

struct Desk {
    sign_in: SignIn,
    oidc: Option<Oidc>,
}

/// How somebody can sign in here.
async fn ways(State(desk): State<Arc<Desk>>) -> Response {
    let ways = json!({ "link": true, "oidc": desk.oidc.is_some() });
    answer(StatusCode::OK, ways)
}

async fn page(State(desk): State<Arc<Desk>>) -> Response {
    let service = match desk.oidc {
        Some(_) => "",
        None => " hidden",
    };
    HtmlPage {
        title: "Sign in to modelramp",
        style: include_str!("sign_in/login.css"),
        body: &include_str!("sign_in/login.html").replace(" data-service", service),
        script: include_str!("sign_in/login.js"),
    }
    .into_response()
}

#[derive(Deserialize)]
struct Secret {
    token: String,
}

#[expect(
    clippy::disallowed_methods,
    reason = "this is the edge where requests get their time"
)]
async fn login(State(desk): State<Arc<Desk>>, request: Request) -> Response {
    let now = clock::now();
    match desk.login(request, now).await {
        Ok((cookies, user)) => {
            let body = json!({
                "success": true,
                "user": { "id": user.id, "name": user.name, "role": user.role },
            });
            with_cookies(answer(StatusCode::OK, body), cookies)
        }
        Err(error) => refused(&error, json!({}), now),
    }
}

#[expect(
    clippy::disallowed_methods,
    reason = "this is the edge where requests get their time"
)]
async fn refresh(State(desk): State<Arc<Desk>>, request: Request) -> Response {
    let now = clock::now();
    let outcome = desk.refresh(request.method(), request.headers(), now).await;
    match outcome {
        Ok(Refreshed::NotYet(remaining)) => {
            let remaining = u64::try_from(remaining.as_millis()).unwrap_or(u64::MAX);
            let body = json!({
                "refreshed": false,
                "remainingMs": remaining,
                "message": "Session still valid",
            });
            answer(StatusCode::OK, body)
        }
        Ok(Refreshed::Renewed(cookies)) => {
            let body = json!({ "refreshed": true, "message": "Session refreshed" });
            with_cookies(answer(StatusCode::OK, body), cookies)
        }
        Err(error) => refused(&error, json!({ "refreshed": false }), now),
    }
}

enum Refreshed {
    /// It has this long to live.
    NotYet(Duration),
    Renewed(Vec<HeaderValue>),
}

impl Desk {
    async fn login(
        &self,
        request: Request,
        now: DateTime<Utc>,
    ) -> Result<(Vec<HeaderValue>, User), RpcError> {
        let SignIn { gate, links, .. } = &self.sign_in;
        check_method(request.method())?;
        // Also without a cookie: nobody is to be signed in as somebody else by another site's page.
        gate.check_origin(request.headers())?;
        // Before the link is spent: what could not be set is better said now.
        let options = gate.site().cookie(request.headers());
        let options = options.map_err(|error| {
            RpcError::new(
                ErrorCode::PreconditionFailed,
                format!("{error}; see PUBLIC_URL and TRUSTED_PROXY_HEADERS"),
            )
        })?;
        let Json(secret) =
            Json::<Secret>::from_request(request, &())
                .await
                .map_err(|rejection| {
                    let code = match rejection.status() {
                        StatusCode::UNSUPPORTED_MEDIA_TYPE => ErrorCode::UnsupportedMediaType,
                        StatusCode::PAYLOAD_TOO_LARGE => ErrorCode::PayloadTooLarge,
                        _ => ErrorCode::BadRequest,
                    };
                    // Not the rejection's own words, which could repeat the secret.
                    RpcError::new(code, "the body must be JSON: `{\"token\": \"…\"}`")
                })?;
        let is_over = || {
            RpcError::new(
                ErrorCode::Unauthorized,
                "This sign-in link has run out or was used. Please ask for a new one.",
            )
        };
        let key = gate.authenticator().key();
        // Whoever makes secrets up costs a hash here, and the database nothing.
        if !login_link::was_made_with(key, &secret.token) {
            return Err(is_over());
        }
        // Looked up by its hash, so how long it takes says nothing about a secret.
        let hash = login_link::hash(&secret.token);
        let user = links
            .spend_link(&hash, now)
            .await
            .map_err(|error| RpcError::users_unavailable(now).with_cause(error))?;
        let user = user.ok_or_else(is_over)?;
        let cookies = self.session(&user, &options, now)?;
        tracing::info!(user = user.id, "signed in by a link");
        Ok((cookies, user))
    }

    async fn refresh(
        &self,
        method: &Method,
        headers: &HeaderMap,
        now: DateTime<Utc>,
    ) -> Result<Refreshed, RpcError> {
        let SignIn {
            gate,
            app_id,
            session_ttl,
            ..
        } = &self.sign_in;
        check_method(method)?;
        gate.check_change_by_cookie(headers, &[REFRESH]).await?;
        let unauthorized = |text| RpcError::new(ErrorCode::Unauthorized, text);
        if !has_session_cookie(headers) {
            return Err(unauthorized("No session cookie"));
        }
        let authenticator = gate.authenticator();
        let (session, user) = self.cookie_session(headers, now).await?;
        let remaining = session.remaining(now);
        if remaining > RENEWED_BELOW || remaining >= *session_ttl {
            return Ok(Refreshed::NotYet(remaining));
        }
        let options = gate
            .site()
            .cookie(headers)
            .map_err(|error| RpcError::new(ErrorCode::PreconditionFailed, error.to_string()))?;
        let token = authenticator
            .key()
            .renew(&session, &user, app_id, *session_ttl, now)
            .map_err(RpcError::internal)?;
        Ok(Refreshed::Renewed(self.cookies(&options, &token, now)?))
    }

    /// What gives a browser a new session.
    fn session(
        &self,
        user: &User,
        options: &CookieOptions,
        now: DateTime<Utc>,
    ) -> Result<Vec<HeaderValue>, RpcError> {
        let SignIn {
            gate,
            app_id,
            session_ttl,
            ..
        } = &self.sign_in;
        let key = gate.authenticator().key();
        let token = key.issue(user, app_id, *session_ttl, now);
        self.cookies(options, &token.map_err(RpcError::internal)?, now)
    }

    /// What gives a browser a session and, where it is demanded, the token against forged requests.
    fn cookies(
        &self,
        options: &CookieOptions,
        token: &str,
        now: DateTime<Utc>,
    ) -> Result<Vec<HeaderValue>, RpcError> {
        let SignIn {
            gate, session_ttl, ..
        } = &self.sign_in;
        let mut cookies = vec![options.set(token, *session_ttl).ok_or_else(unwritable)?];
        if gate.site().demands_csrf_token() {
            let key = gate.authenticator().key();
            let session = key.verify(token, now).ok_or_else(unwritable)?;
            let csrf = csrf::token(key, &session).map_err(RpcError::internal)?;
            let csrf = options.set_readable(csrf::COOKIE, &csrf, *session_ttl);
            cookies.push(csrf.ok_or_else(unwritable)?);
        }
        Ok(cookies)
    }

    /// The first session of the cookies whose user is there, asked anew: a session that was ended
    /// a moment ago must not go on under a later date.
    async fn cookie_session(
        &self,
        headers: &HeaderMap,
        now: DateTime<Utc>,
    ) -> Result<(Arc<Session>, Arc<User>), RpcError> {
        let authenticator = self.sign_in.gate.authenticator();
        let mut error = "Invalid session";
        for session in authenticator.sessions_of_cookies(headers, now) {
            match authenticator.ask_anew(&session, now).await {
                Caller::User(user) => return Ok((session, user)),
                Caller::Unknown { .. } => return Err(RpcError::users_unavailable(now)),
                Caller::Anonymous => error = "User not found",
            }
        }
        Err(RpcError::new(ErrorCode::Unauthorized, error))
    }
}

fn check_method(method: &Method) -> Result<(), RpcError> {
    if method == Method::POST {
        return Ok(());
    }
    Err(RpcError::new(
        ErrorCode::MethodNotSupported,
        format!("{method} is not supported here; use POST"),
    ))
}

fn unwritable() -> RpcError {
    RpcError::internal(anyhow::anyhow!(
        "a session token does not fit into a header"
    ))
}

fn answer(status: StatusCode, body: Value) -> Response {
    (status, [(header::CACHE_CONTROL, "no-store")], Json(body)).into_response()
}

fn with_cookies(mut response: Response, cookies: Vec<HeaderValue>) -> Response {
    for cookie in cookies {
        response.headers_mut().append(header::SET_COOKIE, cookie);
    }
    response
}

fn refused(error: &RpcError, mut body: Value, now: DateTime<Utc>) -> Response {
    if let Some(cause) = error.cause() {
        tracing::error!(error = format!("{cause:#}"), "a sign-in failed");
    }
    body["error"] = (&*error.message).into();
    body["code"] = error.data_code().into();
    let status = StatusCode::from_u16(error.code.http_status());
    let mut response = answer(status.unwrap_or(StatusCode::INTERNAL_SERVER_ERROR), body);
    headers::retry_after(&mut response, error.retry_after_seconds(now));
    if error.code == ErrorCode::MethodNotSupported {
        headers::allow(&mut response, headers::POST);
    }
    response
}
