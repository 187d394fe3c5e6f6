//! Pages for people: whole HTML documents of the server's own, with nothing from elsewhere.
//!
//! A page is one document: its style and its script are in it, and the content security policy names
//! exactly these by their hashes. So nothing else runs, nothing is fetched but from this server, and
//! nobody can frame it.

use axum::{
    body::Body,
    http::{HeaderName, HeaderValue, header},
    response::Response,
};
use base64::{Engine, engine::general_purpose::STANDARD};
use sha2::{Digest, Sha256};

use crate::_core::markup::escaped;

/// A document; all parts but the title are HTML, CSS and JavaScript of ours and go out as they are.
#[derive(Clone, Copy, Debug)]
pub struct HtmlPage<'a> {
    /// What the window is called; plain text.
    pub title: &'a str,
    /// The one style sheet.
    pub style: &'a str,
    /// What stands in `<body>`. It holds no `style` and no `on…` attributes: the policy forbids both.
    pub body: &'a str,
    /// The one script; runs when the body is there. It may fetch from this server only.
    pub script: &'a str,
}

impl HtmlPage<'_> {
    /// The document with its headers; never stored by a browser or a proxy.
    pub fn into_response(self) -> Response {
        let Self {
            title,
            style,
            body,
            script,
        } = self;
        let title = escaped(title);
        let html = format!(
            "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
             <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
             <title>{title}</title>\n<style>{style}</style>\n</head>\n\
             <body>\n{body}\n<script>{script}</script>\n</body>\n</html>\n"
        );
        let policy = format!(
            "default-src 'none'; script-src '{}'; style-src '{}'; connect-src 'self'; \
             base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
            hash(script),
            hash(style)
        );
        let mut response = Response::new(Body::from(html));
        let headers = response.headers_mut();
        for (name, value) in [
            (header::CONTENT_TYPE, "text/html; charset=utf-8"),
            (header::CACHE_CONTROL, "no-store"),
        ] {
            headers.insert(name, HeaderValue::from_static(value));
        }
        guard(&mut response, &policy);
        response
    }
}

/// What runs and is fetched in answers that are no page: nothing.
pub const NOTHING: &str =
    "default-src 'none'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

/// Puts the headers on an answer that stand on all that browsers get from our pages' addresses: what may run
/// in it, and that no other site frames it, reads it or learns its address.
pub fn guard(response: &mut Response, policy: &str) {
    let headers = response.headers_mut();
    for (name, value) in [
        (header::REFERRER_POLICY, "no-referrer"),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (header::X_FRAME_OPTIONS, "DENY"),
        (
            HeaderName::from_static("cross-origin-opener-policy"),
            "same-origin",
        ),
        (
            HeaderName::from_static("cross-origin-resource-policy"),
            "same-origin",
        ),
    ] {
        headers.insert(name, HeaderValue::from_static(value));
    }
    // Our own words, and hashes in base64: always a header's value.
    if let Ok(policy) = HeaderValue::from_str(policy) {
        headers.insert(header::CONTENT_SECURITY_POLICY, policy);
    }
}

/// As a content security policy names a text (CSP level 3, 2.3.1).
fn hash(text: &str) -> String {
    format!("sha256-{}", STANDARD.encode(Sha256::digest(text)))
}

#[cfg(test)]
mod tests {
    use http_body_util::BodyExt;

    use super::*;

    #[tokio::test]
    async fn only_the_pages_own_script_and_style_may_run() {
        let page = HtmlPage {
            title: "a < b",
            style: "p{}",
            body: "<p>x</p>",
            script: "void 0",
        };
        let response = page.into_response();
        let policy = response.headers()["content-security-policy"]
            .to_str()
            .unwrap();
        assert!(policy.contains("default-src 'none'"), "{policy}");
        assert!(policy.contains(&format!("script-src '{}'", hash("void 0"))));
        assert!(policy.contains(&format!("style-src '{}'", hash("p{}"))));
        assert_eq!(response.headers()["cache-control"], "no-store");
        let body = response.into_body().collect().await.unwrap().to_bytes();
        let body = String::from_utf8(body.to_vec()).unwrap();
        assert!(body.contains("<title>a &lt; b</title>"), "{body}");
        // The browser hashes what stands between the tags.
        assert!(body.contains("<script>void 0</script>") && body.contains("<style>p{}</style>"));
    }

    #[test]
    fn a_hash_is_written_as_browsers_compare_it() {
        // RFC 6234's vector for "abc".
        assert_eq!(
            hash("abc"),
            "sha256-ungWv48Bz+pBQUDeXa4iI7ADYaOWF3qctBD/YfIAFa0="
        );
    }
}
