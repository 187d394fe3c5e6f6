//! Signing in at a sign-in service: `GET /api/auth/oidc/start` sends the browser there, and
//! `GET /api/auth/oidc/callback` is where it comes back.
//!
//! The second answers with a page and no redirect: a session's cookie may be `SameSite=Strict`, and a browser
//! that follows a redirect on its way from another site does not send such a one. What went wrong is said
//! in general words; the log has the cause.

use std::{sync::Arc, time::Duration};

use axum::{
    extract::{Query, State},
    http::{HeaderMap, HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};
use chrono::{DateTime, Utc};
use serde::Deserialize;

use super::{
    Desk,
    issuer::{Issuer, SignInFailure},
};
use crate::{
    _core::{
        auth::{
            cookie::{CookieOptions, SameSite},
            oidc::{ATTEMPT_TTL, PersonStore, SignInAttempt},
        },
        caller::{Role, User},
        clock, cookies,
        errors::in_full,
        markup::escaped,
    },
    transport::page::{self, HtmlPage},
};

/// Where a browser begins.
pub(super) const START: &str = "/api/auth/oidc/start";
/// Where it comes back to.
pub(super) const CALLBACK: &str = "/api/auth/oidc/callback";
/// What a browser keeps while it is away.
const COOKIE: &str = "__sign_in_attempt";
/// The same over HTTPS, where no other host of the domain and nobody on the way can have set it (RFC 6265bis, 4.1.3.2).
const HOST_COOKIE: &str = "__Host-__sign_in_attempt";

/// What it is called, by whether it is for HTTPS only.
const fn cookie_name(is_secure: bool) -> &'static str {
    match is_secure {
        true => HOST_COOKIE,
        false => COOKIE,
    }
}

/// The sign-in service, and where people become users.
pub(super) struct Oidc {
    pub(super) issuer: Issuer,
    pub(super) people: Arc<dyn PersonStore>,
}

/// Why nobody was signed in, and what to say of it.
struct Refused {
    status: StatusCode,
    text: &'static str,
}

impl Refused {
    const fn new(status: StatusCode, text: &'static str) -> Self {
        Self { status, text }
    }
}

const AWAY: Refused = Refused::new(
    StatusCode::SERVICE_UNAVAILABLE,
    "The sign-in service does not answer. Please try again in a minute.",
);
const OFF: Refused = Refused::new(
    StatusCode::NOT_FOUND,
    "This server has no sign-in service; it signs in by links.",
);
const OVER: Refused = Refused::new(
    StatusCode::BAD_REQUEST,
    "This sign-in was not begun in this browser, or more than ten minutes ago. Please begin anew.",
);
const UNKNOWN: Refused = Refused::new(
    StatusCode::SERVICE_UNAVAILABLE,
    "The sign-in service does not know this server any more. Please tell an admin; the log says why.",
);
const NOT_TAKEN: Refused = Refused::new(
    StatusCode::FORBIDDEN,
    "The sign-in service's answer does not hold. Please begin anew.",
);
const DECLINED: Refused = Refused::new(
    StatusCode::FORBIDDEN,
    "The sign-in service did not sign you in.",
);
const GONE: Refused = Refused::new(
    StatusCode::FORBIDDEN,
    "Your user was deleted here. Please ask an admin.",
);
const INSECURE: Refused = Refused::new(
    StatusCode::PRECONDITION_FAILED,
    "Signing in needs HTTPS here; see PUBLIC_URL and TRUSTED_PROXY_HEADERS.",
);
const FAILED: Refused = Refused::new(
    StatusCode::SERVICE_UNAVAILABLE,
    "Nobody can be signed in just now. Please try again in a minute.",
);

/// Where to go afterwards.
#[derive(Deserialize)]
pub(super) struct Afterwards {
    next: Option<String>,
}

#[expect(
    clippy::disallowed_methods,
    reason = "this is the edge where requests get their time"
)]
pub(super) async fn start(
    State(desk): State<Arc<Desk>>,
    Query(wish): Query<Afterwards>,
    headers: HeaderMap,
) -> Response {
    match desk.begin(wish.next, &headers, clock::now()).await {
        Ok(response) => response,
        Err(refused) => said(&refused),
    }
}

/// What the sign-in service sends the browser back with.
#[derive(Deserialize)]
pub(super) struct Return {
    #[serde(default)]
    state: String,
    code: Option<String>,
    error: Option<String>,
    /// RFC 9207: which service it was.
    iss: Option<String>,
}

#[expect(
    clippy::disallowed_methods,
    reason = "this is the edge where requests get their time"
)]
pub(super) async fn callback(
    State(desk): State<Arc<Desk>>,
    Query(back): Query<Return>,
    headers: HeaderMap,
) -> Response {
    let outcome = desk.end(back, &headers, clock::now()).await;
    let mut response = match outcome {
        Ok(response) => response,
        Err(refused) => said(&refused),
    };
    // Whatever came of it, the attempt is over.
    for secure in [false, true] {
        let options = CookieOptions {
            secure,
            ..CookieOptions::default()
        };
        let over = options.set_named(cookie_name(secure), "", Duration::ZERO);
        if let Some(over) = over {
            response.headers_mut().append(header::SET_COOKIE, over);
        }
    }
    response
}

impl Desk {
    fn oidc(&self) -> Result<&Oidc, Refused> {
        self.oidc.as_ref().ok_or(OFF)
    }

    async fn begin(
        &self,
        next: Option<String>,
        headers: &HeaderMap,
        now: DateTime<Utc>,
    ) -> Result<Response, Refused> {
        let oidc = self.oidc()?;
        let gate = &self.sign_in.gate;
        let options = gate.site().cookie(headers).map_err(|_| INSECURE)?;
        let attempt = SignInAttempt::new(next.filter(|path| is_path(path)), now);
        let entrance = oidc
            .issuer
            .entrance(&attempt)
            .await
            .map_err(|failure| as_refused(&failure))?;
        // It has to come along from the sign-in service's site.
        let options = CookieOptions {
            same_site: SameSite::Lax,
            secure: options.secure,
            ..CookieOptions::default()
        };
        let sealed = attempt.sealed(gate.authenticator().key());
        let sealed = sealed.map_err(|error| failed("seal a sign-in attempt", &error))?;
        let ttl = ATTEMPT_TTL.to_std().unwrap_or_default();
        let cookie = options
            .set_named(cookie_name(options.secure), &sealed, ttl)
            .ok_or(FAILED)?;
        let to = HeaderValue::try_from(entrance.as_str()).map_err(|_| FAILED)?;
        let no_store = HeaderValue::from_static("no-store");
        let mut response = (
            StatusCode::SEE_OTHER,
            [
                (header::LOCATION, to),
                (header::SET_COOKIE, cookie),
                (header::CACHE_CONTROL, no_store),
            ],
        )
            .into_response();
        page::guard(&mut response, page::NOTHING);
        Ok(response)
    }

    async fn end(
        &self,
        back: Return,
        headers: &HeaderMap,
        now: DateTime<Utc>,
    ) -> Result<Response, Refused> {
        let oidc = self.oidc()?;
        let gate = &self.sign_in.gate;
        let key = gate.authenticator().key();
        let options = gate.site().cookie(headers).map_err(|_| INSECURE)?;
        let sealed = cookie(headers, cookie_name(options.secure));
        let attempt = sealed.and_then(|sealed| SignInAttempt::opened(sealed, key, now));
        let attempt = attempt.filter(|it| it.state == back.state).ok_or(OVER)?;
        if let Some(error) = &back.error {
            let error: String = error.chars().take(100).collect();
            tracing::info!(error, "the sign-in service signed nobody in");
            return Err(DECLINED);
        }
        if back.iss.as_deref().is_some_and(|iss| !oidc.issuer.is(iss)) {
            return Err(NOT_TAKEN);
        }
        let code = back.code.ok_or(OVER)?;
        let person = oidc
            .issuer
            .person(&code, &attempt, now)
            .await
            .map_err(|failure| as_refused(&failure))?;
        let user = oidc.people.admit(&person, now).await;
        let user = user.map_err(|error| failed("admit somebody who signed in", &error))?;
        let user = user.ok_or(GONE)?;
        let cookies = self.session(&user, &options, now);
        let cookies = cookies.map_err(|error| failed("begin a session", &error))?;
        tracing::info!(user = user.id, "signed in by the sign-in service");
        Ok(super::with_cookies(
            arrived(&user, attempt.next.as_deref()),
            cookies,
        ))
    }
}

/// Whether this is a path of this server, and not the address of another one.
fn is_path(text: &str) -> bool {
    let mut rest = text.chars();
    rest.next() == Some('/')
        && !matches!(rest.next(), Some('/' | '\\'))
        && !text.contains(|c: char| c.is_control() || c == '\\')
        && text.len() <= 2_000
}

/// What this browser was sent away with; it keeps one of a name and a path.
fn cookie<'a>(headers: &'a HeaderMap, name: &'a str) -> Option<&'a str> {
    cookies::named(headers, name).find_map(|value| std::str::from_utf8(value).ok())
}

/// What became of it in the log, and what is said.
fn as_refused(failure: &SignInFailure) -> Refused {
    let refused = match failure {
        SignInFailure::Away(_) => AWAY,
        SignInFailure::Code(_) => OVER,
        SignInFailure::Client(_) => UNKNOWN,
        SignInFailure::Token(_) => NOT_TAKEN,
    };
    let error = in_full(failure);
    tracing::error!(error, "nobody was signed in by the sign-in service");
    refused
}

fn failed(what: &str, error: &impl std::fmt::Display) -> Refused {
    tracing::error!(error = format!("{error:#}"), "cannot {what}");
    FAILED
}

/// A page that leads on.
fn arrived(user: &User, next: Option<&str>) -> Response {
    let home = match user.role {
        Role::User => None,
        Role::Viewer | Role::Admin => Some("/dashboard/"),
    };
    let who = escaped(user.name.as_deref().unwrap_or("somebody"));
    let onward = match next.or(home) {
        Some(path) => format!("<p><a id=\"next\" href=\"{}\">Go on</a></p>", escaped(path)),
        None => String::new(),
    };
    HtmlPage {
        title: "Signed in to modelramp",
        style: include_str!("login.css"),
        body: &format!(
            "<main>\n<h1>Signed in</h1>\n<p role=\"status\">You are signed in as {who} ({}).</p>\n{onward}\n</main>",
            user.role
        ),
        script: "\"use strict\";\nconst next = document.getElementById(\"next\");\nif (next) location.replace(next.href);",
    }
    .into_response()
}

/// A page that says why not, and how to begin anew.
fn said(refused: &Refused) -> Response {
    let mut response = HtmlPage {
        title: "Sign in to modelramp",
        style: include_str!("login.css"),
        body: &format!(
            "<main>\n<h1>Not signed in</h1>\n<p role=\"alert\">{}</p>\n<p><a href=\"{START}\">Begin anew</a></p>\n</main>",
            refused.text
        ),
        script: "",
    }
    .into_response();
    *response.status_mut() = refused.status;
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_leads_on_to_paths_of_this_server_only() {
        for path in ["/", "/dashboard/rollouts/1?at=3#x", "/a//b"] {
            assert!(is_path(path), "{path}");
        }
        for other in [
            "",
            "//evil.example",
            "/\\evil.example",
            "https://evil.example",
            "a",
            "/a\\b",
            "/a\nb",
        ] {
            assert!(!is_path(other), "{other}");
        }
    }

    #[test]
    fn what_a_service_calls_somebody_is_text() {
        assert_eq!(
            escaped("<b title=\"'\">&"),
            "&lt;b title=&quot;&#39;&quot;&gt;&amp;"
        );
    }
}
