//! The cookie from which a page reads its session's token, for browsers that have another one or none.
//!
//! A sign-in here sets it. A session may come from elsewhere: the old server signed it, or it began before
//! `CSRF_TOKEN` was `required`. And the old server may set a cookie of the same name, which would be worth nothing
//! here. So each answer to a browser with a session leaves it with the one that holds. The old server takes it
//! as well, as the original compares the header with the cookie and with nothing else.

use axum::response::Response;
use http::{HeaderMap, HeaderValue, header};

use super::gate::CallerGate;
use crate::_core::{auth::csrf, cookies};

/// What becomes of the cookie in one answer.
pub(super) enum CsrfCookie {
    /// Nothing: no token is demanded, or there is no session.
    AsItIs,
    /// The browser has the right one and keeps it.
    Kept,
    /// The browser gets it.
    Given(HeaderValue),
}

impl CsrfCookie {
    /// For the answer to a request with these headers.
    pub(super) async fn of(gate: &CallerGate, headers: &HeaderMap) -> Self {
        match gate.csrf_token(headers).await {
            None => Self::AsItIs,
            Some((token, _)) if has(headers, &token) => Self::Kept,
            Some((token, remaining)) => {
                let options = gate.site().cookie(headers).ok();
                let cookie =
                    options.and_then(|it| it.set_readable(csrf::COOKIE, &token, remaining));
                cookie.map_or(Self::AsItIs, Self::Given)
            }
        }
    }

    /// Brings it about.
    pub(super) fn settle(self, response: &mut Response) {
        if matches!(self, Self::AsItIs) {
            return;
        }
        let headers = response.headers_mut();
        if headers.get_all(header::SET_COOKIE).iter().any(is_named) {
            let cookies: Vec<_> = headers
                .get_all(header::SET_COOKIE)
                .iter()
                .cloned()
                .collect();
            headers.remove(header::SET_COOKIE);
            for cookie in cookies.into_iter().filter(|cookie| !is_named(cookie)) {
                headers.append(header::SET_COOKIE, cookie);
            }
        }
        if let Self::Given(cookie) = self {
            headers.append(header::SET_COOKIE, cookie);
        }
    }
}

/// Whether a `Set-Cookie` is of this name.
fn is_named(cookie: &HeaderValue) -> bool {
    let rest = cookie.as_bytes().strip_prefix(csrf::COOKIE.as_bytes());
    rest.is_some_and(|rest| rest.trim_ascii_start().starts_with(b"="))
}

/// Whether the cookie came along with this value, and with no other.
fn has(headers: &HeaderMap, token: &str) -> bool {
    let mut values = cookies::named(headers, csrf::COOKIE).peekable();
    values.peek().is_some() && values.all(|value| value == token.as_bytes())
}

#[cfg(test)]
mod tests {
    use axum::body::Body;

    use super::*;

    #[test]
    fn the_cookie_of_another_server_ends_here_and_no_other_does() {
        let mut response = Response::new(Body::empty());
        for cookie in ["__csrf_token=theirs; Path=/", "__csrf_token2=x", "a=1"] {
            let value = HeaderValue::from_static(cookie);
            response.headers_mut().append(header::SET_COOKIE, value);
        }
        CsrfCookie::AsItIs.settle(&mut response);
        assert_eq!(response.headers().len(), 3);
        CsrfCookie::Given(HeaderValue::from_static("__csrf_token=ours")).settle(&mut response);
        let cookies: Vec<_> = response
            .headers()
            .get_all(header::SET_COOKIE)
            .iter()
            .collect();
        assert_eq!(cookies, ["__csrf_token2=x", "a=1", "__csrf_token=ours"]);
        CsrfCookie::Kept.settle(&mut response);
        assert_eq!(response.headers().len(), 2);
    }

    #[test]
    fn a_browser_with_two_of_the_name_has_not_the_right_one() {
        let has = |cookie| {
            let cookie = HeaderValue::from_static(cookie);
            has(&HeaderMap::from_iter([(header::COOKIE, cookie)]), "t")
        };
        assert!(has("a=1; __csrf_token=t"));
        assert!(!has("__csrf_token=t; __csrf_token=x"));
        assert!(!has("__csrf_token=tt"));
        assert!(!has("a=1"));
    }
}
