//! Which headers go on to the old server, and which come back.
//!
//! Headers between two neighbours (RFC 9110, 7.6.1) end here, as do those that `Connection` names. What
//! names our own sessions goes on only where the settings say so; other cookies stay byte for byte.

use std::{borrow::Cow, net::IpAddr};

use chrono::{DateTime, TimeDelta, Utc};
use http::{HeaderMap, HeaderName, HeaderValue, header};
use serde_json::Value;

use super::{MARKER, OldServer, paths::component};
use crate::_core::{
    auth::{self, SESSION_COOKIE},
    cookies,
};

const BETWEEN_NEIGHBOURS: [&str; 11] = [
    "connection",
    "keep-alive",
    "proxy-authenticate",
    "proxy-authorization",
    "proxy-connection",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
    "http2-settings",
    "expect",
];
const FORWARDED_FOR: &str = "x-forwarded-for";

/// Who asks, as far as the old server learns it.
pub struct ForwardedCaller<'a> {
    /// The address that the request came from.
    pub peer: Option<IpAddr>,
    /// Whether the browser's side is HTTPS.
    pub https: bool,
    /// The host that the browser asked.
    pub host: Option<&'a str>,
}

/// The headers that are not between two neighbours.
pub(super) fn end_to_end(headers: &HeaderMap) -> HeaderMap {
    let named: Vec<String> = headers
        .get_all(header::CONNECTION)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .map(|name| name.trim().to_ascii_lowercase())
        .collect();
    let ends_here = |name: &HeaderName| {
        let name = name.as_str();
        BETWEEN_NEIGHBOURS.contains(&name) || named.iter().any(|it| it == name)
    };
    let kept = headers.iter().filter(|(name, _)| !ends_here(name));
    let mut passed = HeaderMap::with_capacity(headers.len());
    for (name, value) in kept {
        passed.append(name.clone(), value.clone());
    }
    // Beside `Transfer-Encoding` a length is wrong (RFC 9112, 6.3): what it leaves out would be read as
    // the next message.
    if headers.contains_key(header::TRANSFER_ENCODING) {
        passed.remove(header::CONTENT_LENGTH);
    }
    passed
}

impl OldServer {
    /// The headers of a request as they go on.
    pub fn headers(&self, headers: &HeaderMap, asker: &ForwardedCaller<'_>) -> HeaderMap {
        let mut passed = end_to_end(headers);
        // The client of the old server sets these: its own host, the length of what it sends.
        passed.remove(header::HOST);
        passed.remove(header::CONTENT_LENGTH);
        passed.remove(header::FORWARDED);
        passed.append(MARKER, self.marker.clone());
        if let Some(peer) = asker.peer {
            let peer = peer.to_canonical().to_string();
            let before = passed.get_all(FORWARDED_FOR).iter();
            let chain: Vec<&str> = before.filter_map(|value| value.to_str().ok()).collect();
            let chain = chain.into_iter().chain([peer.as_str()]);
            if let Ok(chain) = HeaderValue::try_from(chain.collect::<Vec<_>>().join(", ")) {
                passed.insert(FORWARDED_FOR, chain);
            }
        }
        let proto = if asker.https { "https" } else { "http" };
        passed.insert("x-forwarded-proto", HeaderValue::from_static(proto));
        match asker.host.map(HeaderValue::from_str) {
            Some(Ok(host)) => passed.insert("x-forwarded-host", host),
            _ => passed.remove("x-forwarded-host"),
        };
        if !self.config.forwards_session {
            cut_session(&mut passed);
        }
        passed
    }

    /// What clients that cannot set headers send in their place, as it goes on.
    pub fn connection_params(&self, mut params: Value) -> Value {
        if !self.config.forwards_session
            && let Value::Object(fields) = &mut params
        {
            fields.retain(|name, _| !name.eq_ignore_ascii_case("authorization"));
        }
        params
    }

    /// A query string as it goes on: the same, but for what names our session in `connectionParams`.
    pub fn query(&self, query: Option<&str>) -> Option<String> {
        let query = query?;
        if self.config.forwards_session {
            return Some(query.to_owned());
        }
        let changed = |pair: &str| {
            let name = pair.split('=').next().unwrap_or_default();
            let name = form_urlencoded::parse(name.as_bytes()).next()?.0;
            // Inputs are long, and are not decoded.
            if name != "connectionParams" {
                return None;
            }
            let (_, value) = form_urlencoded::parse(pair.as_bytes()).next()?;
            let params: Value = serde_json::from_str(&value).ok()?;
            let passed = self.connection_params(params.clone());
            (passed != params).then(|| format!("{name}={}", component(&passed.to_string())))
        };
        let pairs = query.split('&');
        let pairs = pairs.map(|pair| changed(pair).map_or(Cow::Borrowed(pair), Cow::Owned));
        Some(pairs.collect::<Vec<_>>().join("&"))
    }
}

fn cut_session(headers: &mut HeaderMap) {
    let kept: Vec<HeaderValue> = headers
        .get_all(header::AUTHORIZATION)
        .iter()
        .filter(|value| !auth::is_bearer(value))
        .cloned()
        .collect();
    headers.remove(header::AUTHORIZATION);
    for value in kept {
        headers.append(header::AUTHORIZATION, value);
    }
    if !mentions_session(headers) {
        return;
    }
    let cookies: Vec<HeaderValue> = headers
        .get_all(header::COOKIE)
        .iter()
        .filter_map(without_session)
        .collect();
    headers.remove(header::COOKIE);
    for cookie in cookies {
        headers.append(header::COOKIE, cookie);
    }
}

fn is_session(pair: &&[u8]) -> bool {
    cookies::is_named(pair, SESSION_COOKIE)
}

fn mentions_session(headers: &HeaderMap) -> bool {
    let mut all = headers.get_all(header::COOKIE).iter();
    all.any(|value| cookies::pairs(value).any(|pair| is_session(&pair)))
}

/// The cookies of one header but for the session; nothing where none is left.
fn without_session(value: &HeaderValue) -> Option<HeaderValue> {
    let kept: Vec<&[u8]> = cookies::pairs(value)
        .filter(|pair| !is_session(pair))
        .collect();
    let kept = kept.join(&b';');
    let kept = kept.trim_ascii_start();
    if kept.is_empty() {
        return None;
    }
    HeaderValue::from_bytes(kept).ok()
}

/// From when on it makes sense to try again, by headers that came now: in seconds, or by a date (RFC 9110, 10.2.3).
/// Nothing of the past counts, and nothing beyond a year.
pub(super) fn retry_at(headers: &HeaderMap, now: DateTime<Utc>) -> Option<DateTime<Utc>> {
    let text = headers.get(header::RETRY_AFTER)?.to_str().ok()?.trim();
    let at = match text.parse::<u32>() {
        Ok(seconds) => now.checked_add_signed(TimeDelta::seconds(seconds.into()))?,
        Err(_) => DateTime::parse_from_rfc2822(text).ok()?.to_utc(),
    };
    (now <= at && at - now <= TimeDelta::days(365)).then_some(at)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cut(pairs: &[(&'static str, &[u8])]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (name, value) in pairs {
            headers.append(*name, HeaderValue::from_bytes(value).unwrap());
        }
        cut_session(&mut headers);
        headers
    }

    #[test]
    fn our_session_is_cut_out_and_its_neighbours_stay_byte_for_byte() {
        for (sent, kept) in [
            (
                &b"a=1; app_session_id=x.y.z; b=2"[..],
                Some(&b"a=1; b=2"[..]),
            ),
            (b"app_session_id=x.y.z; b=2", Some(b"b=2")),
            (b"a=1;app_session_id=x.y.z", Some(b"a=1")),
            (b"app_session_id=x", None),
            (b"app_session_id=x; app_session_id=", None),
            (
                b"a=\"q\";  b=S\xf8ren; app_session_id2=1",
                Some(b"a=\"q\";  b=S\xf8ren; app_session_id2=1"),
            ),
            (b"app_session_id", None),
            (b"App_Session_Id=other", Some(b"App_Session_Id=other")),
        ] {
            let cookie = cut(&[("cookie", sent)]).remove(header::COOKIE);
            let cookie = cookie.as_ref().map(HeaderValue::as_bytes);
            assert_eq!(cookie, kept, "{}", sent.escape_ascii());
        }
        let basic = cut(&[("authorization", b"Basic dTpw")]);
        assert_eq!(basic[header::AUTHORIZATION], "Basic dTpw");
        assert!(cut(&[("authorization", b"bearer x")]).is_empty());
        let both = cut(&[
            ("authorization", b"Basic dTpw"),
            ("authorization", b"Bearer x"),
        ]);
        assert_eq!(both.get_all(header::AUTHORIZATION).iter().count(), 1);
    }

    #[test]
    fn what_is_between_neighbours_ends_here() {
        let mut headers = HeaderMap::new();
        for (name, value) in [
            ("connection", "close, X-Secret"),
            ("x-secret", "1"),
            ("keep-alive", "timeout=5"),
            ("te", "trailers"),
            ("transfer-encoding", "chunked"),
            ("content-length", "3"),
            ("x-kept", "1"),
            ("x-kept", "2"),
        ] {
            headers.append(name, HeaderValue::from_static(value));
        }
        let passed = end_to_end(&headers);
        assert_eq!(passed.len(), 2, "{passed:?}");
        assert_eq!(passed.get_all("x-kept").iter().count(), 2);
    }
}
