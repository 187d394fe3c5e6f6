//! How long the headers of an answer ask to wait, by the clock of the server that answered.

use std::time::Duration;

use chrono::{DateTime, Utc};
use http::{HeaderMap, HeaderName, header};

/// What `Retry-After` says: whole seconds, or a date, which is compared with the answer's own. A date that is
/// over is no wait.
pub fn of(headers: &HeaderMap) -> Option<Duration> {
    let value = text(headers, &header::RETRY_AFTER)?.trim();
    if let Ok(seconds) = value.parse() {
        return Some(Duration::from_secs(seconds));
    }
    (parsed(value)? - date(headers)?).to_std().ok()
}

/// The clock of the server that answered, to the second, so that ours need not agree with it.
pub fn date(headers: &HeaderMap) -> Option<DateTime<Utc>> {
    parsed(text(headers, &header::DATE)?)
}

fn text<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Option<&'a str> {
    headers.get(name)?.to_str().ok()
}

fn parsed(text: &str) -> Option<DateTime<Utc>> {
    Some(DateTime::parse_from_rfc2822(text).ok()?.to_utc())
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    fn asked(headers: &[(&'static str, &'static str)]) -> Option<Duration> {
        let headers = headers.iter().map(|(name, value)| {
            let name = HeaderName::from_static(name);
            (name, HeaderValue::from_static(value))
        });
        of(&headers.collect())
    }

    #[test]
    fn retry_after_is_seconds_or_a_date() {
        let date = ("date", "Sun, 06 Nov 1994 08:49:37 GMT");
        let later = ("retry-after", "Sun, 06 Nov 1994 08:50:37 GMT");
        assert_eq!(
            asked(&[("retry-after", "30")]),
            Some(Duration::from_secs(30))
        );
        assert_eq!(asked(&[date, later]), Some(Duration::from_secs(60)));
        assert_eq!(asked(&[later]), None);
        assert_eq!(asked(&[("retry-after", "soon")]), None);
        assert_eq!(asked(&[]), None);
    }
}
