//! What every wire asks of a request before it runs anything: who calls, and from where.
//!
//! A browser sends cookies wherever a page points it, so a request that brings a cookie and an
//! `Origin` is only taken from our own origin or a listed one; so are WebSocket upgrades, which no
//! CORS preflight protects.

use std::sync::Arc;

use chrono::Utc;
use http::{HeaderMap, header};

use crate::_core::{
    auth::{Authenticator, LAST_WORDS},
    context::Context,
    errors::RpcError,
    procedure::Access,
    site::Site,
};

/// Finds callers and refuses foreign origins; shared by all wires.
pub struct Gate {
    authenticator: Arc<Authenticator>,
    allowed_origins: Vec<String>,
    site: Site,
}

impl Gate {
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
        let now = Utc::now();
        let (caller, session) = self.authenticator.identify(headers, now).await;
        let mut context = Context::new(caller, now);
        context.session = session;
        context.clearing = self.site.clearing(headers);
        context
    }

    /// Resolves once the session that a socket was opened with has ended and its streams have said
    /// so; never where the headers name none. A client then opens another, with its newest session.
    pub async fn socket_end(&self, headers: &HeaderMap) {
        match self.context(headers).await.session {
            Some(session) => drop(session.lost(Access::SignedIn).await),
            None => std::future::pending().await,
        }
        tokio::time::sleep(LAST_WORDS).await;
    }

    /// Whether an `Origin` may bring cookies or open a socket: none, our own, or a listed one.
    pub fn check_origin(&self, headers: &HeaderMap) -> Result<(), RpcError> {
        let Some(origin) = headers.get(header::ORIGIN) else {
            return Ok(());
        };
        let origin = origin.to_str().unwrap_or("");
        if self.is_allowed(origin) || self.site.is_own(origin, headers) {
            return Ok(());
        }
        Err(RpcError::forbidden(format!(
            "origin `{origin}` is not allowed; list it in CORS_ALLOWED_ORIGINS"
        )))
    }

    /// Whether an origin is on the list.
    pub fn is_allowed(&self, origin: &str) -> bool {
        self.allowed_origins.iter().any(|allowed| allowed == origin)
    }
}

#[cfg(test)]
mod tests {
    use async_trait::async_trait;
    use chrono::DateTime;

    use super::*;
    use crate::_core::{
        auth::{Session, SessionKey, User, UserStore},
        config::{Environment, SiteConfig},
        errors::ErrorCode,
    };

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

    fn gate() -> Gate {
        let key = SessionKey::new(&"0123456789abcdef0123456789abcdef".into());
        let authenticator = Authenticator::new(key, None, Arc::new(Nobody));
        let site = Site::new(Environment::Production, &SiteConfig::default());
        let listed = vec!["https://web.example".into()];
        Gate::new(Arc::new(authenticator), listed, site)
    }

    fn check(origin: Option<&str>) -> Result<(), RpcError> {
        let gate = gate();
        let mut headers = HeaderMap::new();
        headers.insert(header::HOST, "app.example:8080".parse().unwrap());
        if let Some(origin) = origin {
            headers.insert(header::ORIGIN, origin.parse().unwrap());
        }
        gate.check_origin(&headers)
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
