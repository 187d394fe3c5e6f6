//! The session tokens that a request brings.
//!
//! A bearer token is the whole answer: where there is one, cookies are not looked at, so a program
//! that sends a wrong one learns of it. A bearer that is no token at all (`undefined`, `null`,
//! nothing: what scripts send that have none) is as good as none.
//!
//! Cookies are bytes (RFC 6265, 5.4): what neighbours hold, and in which encoding, is theirs. A
//! browser may send several of one name, with the older path or domain first, so each is tried.

use http::{HeaderMap, HeaderValue, header};

use super::SESSION_COOKIE;
use crate::_core::cookies;

/// Cookies of the session's name that are tried; a browser sends one for each path and domain.
const MAX_COOKIES: usize = 8;

/// The bearer that may be a session's token, whether or not it holds.
pub(super) fn token(headers: &HeaderMap) -> Option<&str> {
    bearer(headers).filter(|token| looks_like_a_token(token))
}

/// The tokens to try, in order; the first that holds says who calls.
pub(super) fn candidates(headers: &HeaderMap) -> impl Iterator<Item = &str> {
    let bearer = token(headers);
    let cookies = bearer.is_none().then(|| session_cookies(headers));
    bearer.into_iter().chain(cookies.into_iter().flatten())
}

/// Whether a session cookie came along, whatever it is worth.
pub fn has_session_cookie(headers: &HeaderMap) -> bool {
    session_cookies(headers).next().is_some()
}

/// The values of the session cookies, in the order in which they came; not any number of them.
pub(super) fn session_cookies(headers: &HeaderMap) -> impl Iterator<Item = &str> {
    cookies::named(headers, SESSION_COOKIE)
        .map(unquoted)
        .filter_map(|value| std::str::from_utf8(value).ok())
        .filter(|value| !value.is_empty())
        .take(MAX_COOKIES)
}

/// RFC 6265, 4.1.1: a value may stand in double quotes.
fn unquoted(value: &[u8]) -> &[u8] {
    let inner = value.strip_prefix(b"\"");
    let inner = inner.and_then(|value| value.strip_suffix(b"\""));
    inner.unwrap_or(value)
}

/// What a request brings as `Authorization: Bearer …`, whatever it is worth.
pub fn bearer(headers: &HeaderMap) -> Option<&str> {
    bearer_of(headers.get(header::AUTHORIZATION)?)
}

/// Whether an `Authorization` holds a bearer token.
pub fn is_bearer(value: &HeaderValue) -> bool {
    bearer_of(value).is_some()
}

fn bearer_of(value: &HeaderValue) -> Option<&str> {
    let value = value.to_str().ok()?.trim();
    let (scheme, token) = value.split_once(|c: char| c.is_ascii_whitespace())?;
    scheme
        .eq_ignore_ascii_case("bearer")
        .then_some(token.trim())
}

/// Three parts, of which the first two say something.
fn looks_like_a_token(text: &str) -> bool {
    let mut parts = text.split('.');
    let says_something = |part: Option<&str>| part.is_some_and(|part| !part.is_empty());
    says_something(parts.next())
        && says_something(parts.next())
        && parts.next().is_some()
        && parts.next().is_none()
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    fn of(pairs: &[(&'static str, &[u8])]) -> Vec<String> {
        let mut headers = HeaderMap::new();
        for (name, value) in pairs {
            headers.append(*name, HeaderValue::from_bytes(value).unwrap());
        }
        candidates(&headers).map(String::from).collect()
    }

    #[test]
    fn the_session_cookie_is_found_whatever_its_neighbours_hold() {
        for cookie in [
            &b"app_session_id=a.b.c"[..],
            b"a=1; app_session_id=a.b.c; b=2",
            b"a=1;app_session_id=a.b.c;b=2",
            b"a=1;\tapp_session_id = a.b.c ;",
            b"app_session_id=\"a.b.c\"",
            "navn=S\u{f8}ren; app_session_id=a.b.c".as_bytes(),
            "app_session_id=a.b.c; navn=S\u{f8}ren".as_bytes(),
            b"navn=S\xf8ren; app_session_id=a.b.c",
            b"x=100%; y=%E0%A4%A; app_session_id=a.b.c",
            b"prefs={\"a\":1,\"b\":\"x;y\"}; app_session_id=a.b.c",
            b"alone; =nameless; app_session_id=a.b.c",
            b"app_session_id=; app_session_id=a.b.c",
            b"app_session_id=\xff\xfe; app_session_id=a.b.c",
            b"App_Session_Id=other; app_session_id2=x; app_session_id=a.b.c",
        ] {
            assert_eq!(
                of(&[("cookie", cookie)]),
                ["a.b.c"],
                "{}",
                cookie.escape_ascii()
            );
        }
        assert_eq!(
            of(&[("cookie", b"app_session_id=tok.en=; b=2")]),
            ["tok.en="]
        );
    }

    #[test]
    fn each_cookie_of_the_name_is_tried_but_not_any_number() {
        let two = b"app_session_id=old.bad.token; x=1; app_session_id=a.b.c";
        assert_eq!(of(&[("cookie", two)]), ["old.bad.token", "a.b.c"]);
        let apart: [(&str, &[u8]); 2] = [
            ("cookie", b"app_session_id=one"),
            ("cookie", b"app_session_id=two"),
        ];
        assert_eq!(of(&apart), ["one", "two"]);
        let many = b"app_session_id=x;".repeat(1000);
        assert_eq!(of(&[("cookie", &many)]).len(), MAX_COOKIES);
    }

    #[test]
    fn a_bearer_counts_before_cookies_if_it_is_a_token_at_all() {
        let cookie: (&str, &[u8]) = ("cookie", b"app_session_id=a.b.c");
        for bearer in [
            &b"Bearer x.y.z"[..],
            b"bearer x.y.z",
            b"BEARER   x.y.z ",
            b"Bearer\tx.y.z",
        ] {
            assert_eq!(of(&[("authorization", bearer), cookie]), ["x.y.z"]);
        }
        for none in [
            &b"Bearer undefined"[..],
            b"Bearer null",
            b"Bearer ",
            b"Bearer",
            b"Bearer [object Object]",
            b"Bearer \"\"",
            b"Bearer x.y",
            b"Bearer a.b.c.d.e",
            b"Bearer ..",
            b"Bearer S\xf8ren",
            b"Basic dXNlcjpwYXNz",
            b"undefined",
            b"",
        ] {
            assert_eq!(of(&[("authorization", none), cookie]), ["a.b.c"]);
            assert_eq!(of(&[("authorization", none)]), [""; 0]);
        }
    }
}
