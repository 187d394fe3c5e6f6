//! What every wire asks of a request before it runs anything: who calls, and from where.
//!
//! A browser sends cookies wherever a page points it, so a request that brings a cookie and an
//! `Origin` is only taken from our own origin or a listed one; so are WebSocket upgrades, which no
//! CORS preflight protects.

use std::{sync::Arc, time::Duration};

use http::{HeaderMap, header};
use tokio::time::Instant;

use crate::_core::{
    auth::{Authenticator, LAST_WORDS, Session, csrf},
    caller::Access,
    clock,
    context::Context,
    errors::RpcError,
    site::Site,
};

/// Why a socket may not go on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SocketEnd {
    /// Its session has ended, and its streams have said so.
    Lost,
    /// A proxy has to say anew who calls, which it does when the client opens another.
    Outdated,
}

/// What a socket says that is [`SocketEnd::Outdated`].
pub const OUTDATED: &str = "the proxy is to say anew who calls";

/// Finds callers and refuses foreign origins; shared by all wires.
pub struct CallerGate {
    authenticator: Arc<Authenticator>,
    allowed_origins: Vec<String>,
    site: Site,
}

impl CallerGate {
    /// A gate of a site that also lets in the listed origins (exact, such as `https://app.example`).
    pub fn new(
        authenticator: Arc<Authenticator>,
        allowed_origins: Vec<String>,
        site: Site,
    ) -> Self {
        Self {
            authenticator,
            allowed_origins,
            site,
        }
    }

    /// What finds callers.
    pub fn authenticator(&self) -> &Arc<Authenticator> {
        &self.authenticator
    }

    /// How browsers see this server.
    pub fn site(&self) -> &Site {
        &self.site
    }

    /// The circumstances of a request that has just arrived.
    #[expect(
        clippy::disallowed_methods,
        reason = "this is the edge where requests get their time"
    )]
    pub async fn context(&self, headers: &HeaderMap) -> Context {
        let now = clock::now();
        let (caller, session) = self.authenticator.identify(headers, now).await;
        let mut context = Context::new(caller, now);
        context.session = session;
        context.clearing = self.site.clearing(headers);
        context
    }

    /// Resolves once the session that a socket was opened with has ended and its streams have said
    /// so, or is outdated; never where the headers name none. A client then opens another, with its newest session.
    pub async fn socket_end(&self, headers: &HeaderMap, opened: Instant) -> SocketEnd {
        let Some(session) = self.context(headers).await.session else {
            return std::future::pending().await;
        };
        let outdated = session.clone().since(opened).outdated();
        tokio::select! {
            _ = session.lost(Access::SignedIn) => {}
            () = outdated => return SocketEnd::Outdated,
        }
        tokio::time::sleep(LAST_WORDS).await;
        SocketEnd::Lost
    }

    /// Whether an `Origin` may bring cookies or open a socket: none, our own, or a listed one.
    ///
    /// Where there is none, a browser may still say that a page of another origin asks; which one, and
    /// whether it is listed, is not known then.
    pub fn check_origin(&self, headers: &HeaderMap) -> Result<(), RpcError> {
        let mut origins = headers.get_all(header::ORIGIN).iter();
        let Some(origin) = origins.next() else {
            let mut relations = headers.get_all("sec-fetch-site").iter();
            return match relations.find(|is| *is != "same-origin" && *is != "none") {
                None => Ok(()),
                Some(relation) => Err(RpcError::forbidden(format!(
                    "`Sec-Fetch-Site` is `{}`, and there is no `Origin` that could be allowed",
                    String::from_utf8_lossy(relation.as_bytes())
                ))),
            };
        };
        if origins.next().is_some() {
            return Err(RpcError::forbidden("there is more than one `Origin`"));
        }
        let origin = origin.to_str().unwrap_or("");
        if self.is_allowed(origin) || self.site.is_own(origin, headers) {
            return Ok(());
        }
        Err(RpcError::forbidden(format!(
            "origin `{origin}` is not allowed; list it in CORS_ALLOWED_ORIGINS"
        )))
    }

    /// Whether a page that makes a browser send this could act for whoever the browser is signed in as: by
    /// its cookies, or by what a proxy says of it.
    pub fn is_for_pages_to_send(&self, headers: &HeaderMap) -> bool {
        headers.contains_key(header::COOKIE) || self.asserted(headers).is_some()
    }

    #[expect(
        clippy::disallowed_methods,
        reason = "this is the edge where requests get their time"
    )]
    fn asserted(&self, headers: &HeaderMap) -> Option<Session> {
        self.authenticator.asserted(headers, clock::now())
    }

    /// Whether a request that brings cookies may change something by them: its origin as above, and where
    /// `CSRF_TOKEN` is `required`, the token of the session that it is made in, unless `CSRF_EXEMPT` names all of its
    /// paths, of which each call of a batch has one.
    ///
    /// A bearer token that holds is sent by no page that does not know it, and counts before all else; a session
    /// that does not hold opens nothing. Whom a proxy names counts before cookies, whose token is no proof then.
    #[expect(
        clippy::disallowed_methods,
        reason = "this is the edge where requests get their time"
    )]
    pub async fn check_change(&self, headers: &HeaderMap, paths: &[&str]) -> Result<(), RpcError> {
        if let Some(asserted) = self.asserted(headers) {
            self.check_origin(headers)?;
            return self.check_token(headers, paths, Some(&asserted));
        }
        if self.authenticator.has_bearer_session(headers, clock::now()) {
            return self.check_origin(headers);
        }
        self.check_change_by_cookie(headers, paths).await
    }

    /// The same for what goes by cookies whatever else comes along: of several sessions, by the one that counts.
    #[expect(
        clippy::disallowed_methods,
        reason = "this is the edge where requests get their time"
    )]
    pub async fn check_change_by_cookie(
        &self,
        headers: &HeaderMap,
        paths: &[&str],
    ) -> Result<(), RpcError> {
        self.check_origin(headers)?;
        if !self.site.demands_csrf_token() {
            return Ok(());
        }
        let session = self.authenticator.session_by_cookie(headers, clock::now());
        self.check_token(headers, paths, session.await.as_deref())
    }

    /// That the token is that of the session, where one is demanded.
    fn check_token(
        &self,
        headers: &HeaderMap,
        paths: &[&str],
        session: Option<&Session>,
    ) -> Result<(), RpcError> {
        if !self.site.demands_csrf_token() || self.site.are_csrf_exempt(paths) {
            return Ok(());
        }
        let Some(session) = session else {
            return Ok(());
        };
        let key = self.authenticator.key();
        match headers.get(csrf::HEADER).and_then(|it| it.to_str().ok()) {
            Some(token) if csrf::holds(key, session, token) => Ok(()),
            Some(_) => Err(RpcError::forbidden(
                "`X-CSRF-Token` is not that of the session; `auth.session` tells it",
            )),
            None => Err(RpcError::forbidden(
                "there is no `X-CSRF-Token`, which `CSRF_TOKEN=required` demands; `auth.session` tells it",
            )),
        }
    }

    /// The token of the session that a proxy or the cookies name, of several the one that counts, and how long it is worth
    /// something; `None` where no token is demanded, or no session is there.
    #[expect(
        clippy::disallowed_methods,
        reason = "this is the edge where requests get their time"
    )]
    pub async fn csrf_token(&self, headers: &HeaderMap) -> Option<(String, Duration)> {
        if !self.site.demands_csrf_token() {
            return None;
        }
        let now = clock::now();
        let session = match self.asserted(headers) {
            Some(asserted) => Arc::new(asserted),
            None => self.authenticator.session_by_cookie(headers, now).await?,
        };
        let token = csrf::token(self.authenticator.key(), &session).ok()?;
        Some((token, session.remaining(now)))
    }

    /// Whether an origin is on the list.
    pub fn is_allowed(&self, origin: &str) -> bool {
        self.allowed_origins.iter().any(|allowed| allowed == origin)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::_core::{
        auth::{SessionKey, UserStore},
        caller::User,
        environment::Environment,
        errors::ErrorCode,
        site::SiteConfig,
    };
    use async_trait::async_trait;
    use chrono::{DateTime, Utc};

    struct Nobody;

    #[async_trait]
    impl UserStore for Nobody {
        async fn user_of_session(
            &self,
            _: &Session,
            _: DateTime<Utc>,
        ) -> anyhow::Result<Option<User>> {
            Ok(None)
        }

        async fn end_session(&self, _: &Session, _: DateTime<Utc>) -> anyhow::Result<()> {
            Ok(())
        }

        async fn end_sessions_of(&self, _: i64, _: DateTime<Utc>) -> anyhow::Result<()> {
            Ok(())
        }
    }

    fn gate() -> CallerGate {
        let key = SessionKey::new(&"0123456789abcdef0123456789abcdef".into());
        let authenticator = Authenticator::new(key, None, Arc::new(Nobody));
        let site = Site::new(Environment::Production, &SiteConfig::default());
        let listed = vec!["https://web.example".into()];
        CallerGate::new(Arc::new(authenticator), listed, site)
    }

    fn check_all(more: &[(&'static str, &str)]) -> Result<(), RpcError> {
        let mut headers = HeaderMap::new();
        headers.insert(header::HOST, "app.example:8080".parse().unwrap());
        for (name, value) in more {
            headers.append(*name, value.parse().unwrap());
        }
        gate().check_origin(&headers)
    }

    fn check(origin: Option<&str>) -> Result<(), RpcError> {
        let origin = origin.map(|origin| ("origin", origin));
        check_all(origin.as_slice())
    }

    #[test]
    fn a_browser_that_names_no_origin_may_say_that_it_is_another_one() {
        let own = ("origin", "http://app.example:8080");
        let listed = ("origin", "https://web.example");
        let site = |relation| ("sec-fetch-site", relation);
        for right in [
            &[site("same-origin")][..],
            &[site("none")],
            &[site("same-site"), listed],
            &[site("cross-site"), listed],
        ] {
            assert!(check_all(right).is_ok(), "{right:?}");
        }
        for wrong in [
            &[site("cross-site")][..],
            &[site("same-site")],
            &[site("same-origin"), site("cross-site")],
            &[site("anything")],
            &[own, ("origin", "https://evil.example")],
            &[listed, listed],
        ] {
            let error = check_all(wrong).expect_err("refused");
            assert_eq!(error.code, ErrorCode::Forbidden, "{wrong:?}");
        }
    }

    #[test]
    fn no_origin_our_own_and_listed_ones_pass() {
        for origin in [
            None,
            Some("http://app.example:8080"),
            Some("https://APP.example:8080"),
            Some("https://web.example"),
        ] {
            assert!(check(origin).is_ok(), "{origin:?}");
        }
    }

    #[test]
    fn any_other_origin_is_forbidden_and_named() {
        for origin in [
            "null",
            "",
            // The same host, another port.
            "http://app.example",
            "http://app.example:8081",
            // Listed by another scheme, as a part, or with more behind it.
            "http://web.example",
            "https://web.example:444",
            "https://web.example.evil.example",
            "https://web.example/",
            "app.example:8080",
            "http://user@app.example:8080",
            "http://evil.example/?http://app.example:8080",
        ] {
            let error = check(Some(origin)).expect_err(origin);
            assert_eq!(error.code, ErrorCode::Forbidden, "{origin}");
            assert!(error.message.contains(origin), "{origin}");
        }
    }

    #[test]
    fn without_a_host_no_origin_is_our_own() {
        let site = gate().site;
        assert!(!site.is_own("http://app.example:8080", &HeaderMap::new()));
        assert!(!site.is_own("http://", &HeaderMap::new()));
    }
}
