//! The session cookie's `Set-Cookie` header.
//!
//! A cookie marked `Secure` comes back over HTTPS only, and browsers refuse to set one over plain
//! HTTP. So it is marked wherever the client's side is HTTPS, on this connection or on any proxy
//! before it, but never on a developer's own machine. Where real users are, a cookie without the
//! mark is refused rather than sent.

use std::{net::Ipv4Addr, time::Duration};

use http::{HeaderMap, HeaderValue};

use super::SESSION_COOKIE;
use crate::_core::config::Environment;

/// When a browser may send the cookie with a request from another site.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SameSite {
    /// When it follows a link.
    Lax,
    /// Never.
    Strict,
}

impl SameSite {
    /// As in the header.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Lax => "Lax",
            Self::Strict => "Strict",
        }
    }
}

/// The attributes of a session cookie that depend on the request; it is always `HttpOnly`, for `/`,
/// and for the host alone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CookieOptions {
    /// Where else it may be sent from.
    pub same_site: SameSite,
    /// Whether it is for HTTPS only.
    pub secure: bool,
}

/// A session cookie cannot be set over plain HTTP where real users are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("HTTPS required in production for secure cookies")]
pub struct InsecureRequest;

impl CookieOptions {
    /// For a request to `hostname` (without a port); `https` tells of this connection, the header
    /// `x-forwarded-proto` of those before it.
    pub fn for_request(
        environment: Environment,
        https: bool,
        headers: &HeaderMap,
        hostname: &str,
    ) -> Result<Self, InsecureRequest> {
        let secure = (https || is_forwarded_https(headers)) && !is_local(hostname);
        let same_site = match (environment.is_local(), secure) {
            (true, _) => SameSite::Lax,
            (false, true) => SameSite::Strict,
            (false, false) => return Err(InsecureRequest),
        };
        Ok(Self { same_site, secure })
    }

    /// The header's value that gives the browser this session token for `max_age`; `None` for a
    /// token that no header can carry.
    pub fn set(self, token: &str, max_age: Duration) -> Option<HeaderValue> {
        let secure = if self.secure { "; Secure" } else { "" };
        let value = format!(
            "{SESSION_COOKIE}={token}; Max-Age={}; Path=/; HttpOnly{secure}; SameSite={}",
            max_age.as_secs(),
            self.same_site.name()
        );
        HeaderValue::try_from(value).ok()
    }
}

/// The header's value that makes the browser forget the session, with the attributes of the original.
pub fn cleared() -> HeaderValue {
    HeaderValue::from_static("app_session_id=; Path=/; Expires=Thu, 01 Jan 1970 00:00:00 GMT")
}

fn is_forwarded_https(headers: &HeaderMap) -> bool {
    headers
        .get_all("x-forwarded-proto")
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .any(|proto| proto.trim().eq_ignore_ascii_case("https"))
}

/// `localhost` and every bare address: certificates are for names.
fn is_local(hostname: &str) -> bool {
    hostname == "localhost" || hostname.contains(':') || hostname.parse::<Ipv4Addr>().is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_session_is_set_with_its_attributes_and_cleared_without() {
        let options = CookieOptions {
            same_site: SameSite::Strict,
            secure: true,
        };
        assert_eq!(
            options.set("a.b.c", Duration::from_secs(60)).unwrap(),
            "app_session_id=a.b.c; Max-Age=60; Path=/; HttpOnly; Secure; SameSite=Strict"
        );
        assert_eq!(options.set("a\nb", Duration::ZERO), None);
        let cleared = cleared();
        let (name, rest) = cleared.to_str().unwrap().split_once('=').unwrap();
        assert_eq!(name, SESSION_COOKIE);
        assert!(rest.starts_with("; Path=/; Expires=Thu, 01 Jan 1970"));
    }

    #[test]
    fn names_and_addresses_of_this_machine_are_local() {
        for host in ["localhost", "127.0.0.1", "10.0.0.1", "::1", "[::1]"] {
            assert!(is_local(host), "{host}");
        }
        assert!(!is_local("app.example"));
    }
}
