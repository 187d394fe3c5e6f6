//! The session cookie's `Set-Cookie` header.
//!
//! A cookie marked `Secure` comes back over HTTPS only, and browsers refuse to set one over plain
//! HTTP. So it is marked wherever the browser's side is HTTPS, but never on a developer's own machine.
//! Where real users are, a cookie without the mark is refused rather than sent.
//!
//! A cookie is known by its name, domain, path and partition, so the header that clears it repeats
//! what the header that set it said; and a browser takes a cookie from another site only with
//! `SameSite=None; Secure`, a cleared one too.

use std::{fmt::Write, net::Ipv4Addr, sync::Arc, time::Duration};

use http::HeaderValue;

use super::SESSION_COOKIE;
use crate::_core::environment::Environment;

/// When a browser may send the cookie with a request from another site.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum SameSite {
    /// When it follows a link.
    #[default]
    Lax,
    /// Never.
    Strict,
    /// Always.
    None,
}

impl SameSite {
    /// As in the header.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Lax => "Lax",
            Self::Strict => "Strict",
            Self::None => "None",
        }
    }
}

/// The attributes of a session cookie; it is always `HttpOnly` and for `/`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CookieOptions {
    /// Where else it may be sent from.
    pub same_site: SameSite,
    /// Whether it is for HTTPS only.
    pub secure: bool,
    /// Whether it is kept apart for each site that embeds or calls this server (CHIPS).
    pub partitioned: bool,
    /// The domain with whose subdomains it is shared; `None` for the host alone.
    pub domain: Option<Arc<str>>,
}

/// A session cookie cannot be set over plain HTTP where real users are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("HTTPS required in production for secure cookies")]
pub struct InsecureRequest;

impl CookieOptions {
    /// For a browser that sees `hostname` (without a port), over `https` or not.
    pub fn for_request(
        environment: Environment,
        https: bool,
        hostname: &str,
    ) -> Result<Self, InsecureRequest> {
        let secure = https && !is_local(hostname);
        let same_site = match (environment.is_local(), secure) {
            (true, _) => SameSite::Lax,
            (false, true) => SameSite::Strict,
            (false, false) => return Err(InsecureRequest),
        };
        Ok(Self {
            same_site,
            secure,
            ..Self::default()
        })
    }

    /// The header's value that gives the browser this session token for `max_age`; `None` for a
    /// token that no header can carry.
    pub fn set(&self, token: &str, max_age: Duration) -> Option<HeaderValue> {
        let start = format!("{SESSION_COOKIE}={token}; Max-Age={}", max_age.as_secs());
        let mut value = HeaderValue::try_from(self.with_attributes(start)).ok()?;
        value.set_sensitive(true);
        Some(value)
    }

    /// The same for another cookie.
    pub fn set_named(&self, name: &str, value: &str, max_age: Duration) -> Option<HeaderValue> {
        let start = format!("{name}={value}; Max-Age={}", max_age.as_secs());
        let mut value = HeaderValue::try_from(self.with_attributes(start)).ok()?;
        value.set_sensitive(true);
        Some(value)
    }

    /// The same for another cookie, which scripts of the page may read.
    pub fn set_readable(&self, name: &str, value: &str, max_age: Duration) -> Option<HeaderValue> {
        let start = format!("{name}={value}; Max-Age={}", max_age.as_secs());
        let attributes = self.with_attributes(start).replace("; HttpOnly", "");
        let mut value = HeaderValue::try_from(attributes).ok()?;
        value.set_sensitive(true);
        Some(value)
    }

    /// The header's value that makes the browser forget the session.
    pub fn cleared(&self) -> HeaderValue {
        // Both, as the oldest browsers know the second only.
        let start = format!("{SESSION_COOKIE}=; Max-Age=0; Expires=Thu, 01 Jan 1970 00:00:00 GMT");
        let value = HeaderValue::try_from(self.with_attributes(start));
        // The domain is a host name, which the settings see to.
        value.unwrap_or(HeaderValue::from_static(
            "app_session_id=; Max-Age=0; Path=/",
        ))
    }

    fn with_attributes(&self, mut value: String) -> String {
        value.push_str("; Path=/");
        if let Some(domain) = &self.domain {
            // Writing to a `String` cannot fail.
            let _ = write!(value, "; Domain={domain}");
        }
        value.push_str("; HttpOnly");
        if self.secure {
            value.push_str("; Secure");
        }
        let _ = write!(value, "; SameSite={}", self.same_site.name());
        if self.partitioned {
            value.push_str("; Partitioned");
        }
        value
    }
}

/// `localhost` and every bare address: certificates are for names.
fn is_local(hostname: &str) -> bool {
    hostname == "localhost" || hostname.contains(':') || hostname.parse::<Ipv4Addr>().is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_session_is_cleared_with_the_attributes_it_was_set_with() {
        let options = CookieOptions {
            same_site: SameSite::None,
            secure: true,
            partitioned: true,
            domain: Some("app.example".into()),
        };
        let attributes = "Path=/; Domain=app.example; HttpOnly; Secure; SameSite=None; Partitioned";
        let set = options.set("a.b.c", Duration::from_secs(60)).unwrap();
        let expected = format!("app_session_id=a.b.c; Max-Age=60; {attributes}");
        assert_eq!(set, expected);
        let cleared = options.cleared();
        let cleared = cleared.to_str().unwrap();
        assert!(cleared.starts_with("app_session_id=; Max-Age=0; Expires=Thu, 01 Jan 1970"));
        assert!(cleared.ends_with(attributes), "{cleared}");

        let plain = CookieOptions::default().set("a.b.c", Duration::from_secs(60));
        let expected = "app_session_id=a.b.c; Max-Age=60; Path=/; HttpOnly; SameSite=Lax";
        assert_eq!(plain.unwrap(), expected);
        assert_eq!(options.set("a\nb", Duration::ZERO), None);
    }

    #[test]
    fn names_and_addresses_of_this_machine_are_local() {
        for host in ["localhost", "127.0.0.1", "10.0.0.1", "::1", "[::1]"] {
            assert!(is_local(host), "{host}");
        }
        assert!(!is_local("app.example"));
    }
}
