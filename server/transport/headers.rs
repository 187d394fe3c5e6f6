//! Headers that several wires read or write in the same way.

use axum::response::Response;
use http::{HeaderMap, HeaderName, HeaderValue, Method, header};

/// The method of whatever changes something.
pub(super) const POST: &[Method] = &[Method::POST];
/// The method of what only reads.
pub(super) const GET: &[Method] = &[Method::GET];
/// The methods of what only reads, where inputs may also come in a body.
pub(super) const GET_OR_POST: &[Method] = &[Method::GET, Method::POST];

/// The media type of a body as it was sent, without parameters; `None` where the header is missing.
pub(super) fn media_type(headers: &HeaderMap) -> Option<&[u8]> {
    let value = headers.get(header::CONTENT_TYPE)?.as_bytes();
    let essence = value.split(|byte| *byte == b';').next();
    essence.map(<[u8]>::trim_ascii)
}

/// Whether the body is said to be of one of these media types; in upper or lower case.
pub(super) fn is_media_type(headers: &HeaderMap, types: &[&str]) -> bool {
    let sent = media_type(headers);
    sent.is_some_and(|sent| {
        types
            .iter()
            .any(|it| sent.eq_ignore_ascii_case(it.as_bytes()))
    })
}

/// Whether the client wants to turn this request into a WebSocket.
pub(super) fn is_upgrade(headers: &HeaderMap) -> bool {
    headers
        .get(header::UPGRADE)
        .is_some_and(|value| value.as_bytes().eq_ignore_ascii_case(b"websocket"))
}

/// Says which methods a path takes, where it takes any.
pub(super) fn allow(response: &mut Response, methods: &[Method]) {
    let names: Vec<&str> = methods.iter().map(Method::as_str).collect();
    if let Ok(value) = HeaderValue::from_str(&names.join(", "))
        && !names.is_empty()
    {
        response.headers_mut().insert(header::ALLOW, value);
    }
}

/// Says in how many seconds it makes sense to try again, where that is known.
pub(super) fn retry_after(response: &mut Response, seconds: Option<u64>) {
    if let Some(seconds) = seconds {
        let value = HeaderValue::from(seconds);
        response.headers_mut().insert(header::RETRY_AFTER, value);
    }
}

/// Lets nobody keep an answer that says nothing of that itself: it may be for one person alone, and a cache on the
/// way goes by its own rules where an answer has none.
pub(super) fn uncached(response: &mut Response) {
    let headers = response.headers_mut();
    headers
        .entry(header::CACHE_CONTROL)
        .or_insert(HeaderValue::from_static("no-store"));
}

/// Lets a client name the call to whoever reads the log.
pub(super) fn request_id(response: &mut Response, request_id: &str) {
    if let Ok(value) = HeaderValue::from_str(request_id) {
        let name = HeaderName::from_static("x-request-id");
        response.headers_mut().insert(name, value);
    }
}

#[cfg(test)]
mod tests {
    use axum::body::Body;

    use super::*;

    #[test]
    fn allowed_methods_are_listed_and_none_are_not_said() {
        let listed = |methods| {
            let mut response = Response::new(Body::empty());
            allow(&mut response, methods);
            response.headers().get(header::ALLOW).cloned()
        };
        assert_eq!(listed(POST).unwrap(), "POST");
        assert_eq!(listed(GET_OR_POST).unwrap(), "GET, POST");
        assert_eq!(listed(&[]), None);
    }

    #[test]
    fn an_answer_that_says_how_it_may_be_kept_is_kept_so() {
        let mut response = Response::new(Body::empty());
        uncached(&mut response);
        assert_eq!(response.headers()[header::CACHE_CONTROL], "no-store");
        let own = HeaderValue::from_static("max-age=60");
        response.headers_mut().insert(header::CACHE_CONTROL, own);
        uncached(&mut response);
        assert_eq!(response.headers()[header::CACHE_CONTROL], "max-age=60");
    }

    #[test]
    fn a_media_type_is_read_without_its_parameters() {
        let of = |value: &'static str| {
            let value = HeaderValue::from_static(value);
            let headers = HeaderMap::from_iter([(header::CONTENT_TYPE, value)]);
            media_type(&headers).map(<[u8]>::to_vec)
        };
        assert_eq!(of("text/plain ; charset=x").unwrap(), b"text/plain");
        assert_eq!(of("").unwrap(), b"");
        assert_eq!(media_type(&HeaderMap::new()), None);
    }
}
