//! What a provider says with each answer about the requests that it still takes from our account.
//!
//! OpenAI, Azure, Groq and Mistral say `x-ratelimit-remaining-requests` and `-reset-requests`, a span of time;
//! Anthropic `anthropic-ratelimit-requests-remaining` and `-reset`, a moment. Spans differ: a minute, a day, or
//! the time until all are back. Whatever is meant, no more than these are taken until then.

use std::time::Duration;

use chrono::DateTime;
use http::HeaderMap;

use super::retry_after;

/// Where nobody says until when.
const A_MINUTE: Duration = Duration::from_secs(60);

/// Requests that are still taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Allowance {
    /// How many.
    pub left: u32,
    /// For how long.
    pub span: Duration,
}

impl Allowance {
    pub(super) fn of(headers: &HeaderMap) -> Option<Self> {
        let text = |name: &str| headers.get(name)?.to_str().ok().map(str::trim);
        let span = || retry_after::duration(text("x-ratelimit-reset-requests")?);
        let until = || {
            let until =
                DateTime::parse_from_rfc3339(text("anthropic-ratelimit-requests-reset")?).ok()?;
            (until.to_utc() - retry_after::date(headers)?).to_std().ok()
        };
        let (left, span) = match text("x-ratelimit-remaining-requests") {
            Some(left) => (left, span()),
            None => (text("anthropic-ratelimit-requests-remaining")?, until()),
        };
        Some(Self {
            left: left.parse().ok()?,
            span: span.unwrap_or(A_MINUTE),
        })
    }
}

#[cfg(test)]
mod tests {
    use http::{HeaderName, HeaderValue};

    use super::*;

    fn of(headers: &[(&'static str, &'static str)]) -> Option<Allowance> {
        let header = |(name, value): &(&'static str, &'static str)| {
            (
                HeaderName::from_static(name),
                HeaderValue::from_static(value),
            )
        };
        Allowance::of(&headers.iter().map(header).collect())
    }

    #[test]
    fn what_each_maker_says_is_read() {
        let some = |left, ms| {
            Some(Allowance {
                left,
                span: Duration::from_millis(ms),
            })
        };
        let openai = "x-ratelimit-remaining-requests";
        let reset = "x-ratelimit-reset-requests";
        assert_eq!(of(&[(openai, "59"), (reset, "1s")]), some(59, 1_000));
        assert_eq!(of(&[(openai, "0"), (reset, "2m59.56s")]), some(0, 179_560));
        assert_eq!(of(&[(openai, "3")]), some(3, 60_000));
        let anthropic = [
            ("anthropic-ratelimit-requests-remaining", "4"),
            ("anthropic-ratelimit-requests-reset", "2026-11-29T12:00:30Z"),
            ("date", "Sun, 29 Nov 2026 12:00:00 GMT"),
        ];
        assert_eq!(of(&anthropic), some(4, 30_000));
        assert_eq!(of(&[(openai, "many")]), None);
        assert_eq!(of(&[(reset, "1s")]), None);
    }
}
