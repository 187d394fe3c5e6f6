//! What a provider says with each answer about the requests and tokens that it still takes of our account for
//! that model.
//!
//! OpenAI, Azure, Groq and Mistral say `x-ratelimit-remaining-requests` and `-reset-requests`, a span of time;
//! Anthropic `anthropic-ratelimit-requests-remaining` and `-reset`, a moment; and the same of tokens. Spans differ:
//! a minute, a day, or the time until all are back. Whatever is meant, no more than these are taken until then.

use std::time::Duration;

use chrono::DateTime;
use http::HeaderMap;

use super::retry_after;
use crate::_core::retry_after::date;

/// Where nobody says until when.
const A_MINUTE: Duration = Duration::from_secs(60);

/// What is still taken for a model.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Allowance {
    /// Of requests, where it is said.
    pub requests: Option<Left>,
    /// Of tokens, read and written.
    pub tokens: Option<Left>,
}

/// How much is left, and for how long.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Left {
    /// How much.
    pub left: u64,
    /// Of how much, where it is said.
    pub of: Option<u64>,
    /// For how long.
    pub span: Duration,
}

impl Allowance {
    pub(super) fn of(headers: &HeaderMap) -> Option<Self> {
        let (requests, tokens) = (Left::of(headers, &REQUESTS), Left::of(headers, &TOKENS));
        (requests.is_some() || tokens.is_some()).then_some(Self { requests, tokens })
    }
}

/// The headers of one thing that is limited: how much is left, of how much, and when that ends, by OpenAI and by
/// Anthropic.
struct Names([&'static str; 3], [&'static str; 3]);

const REQUESTS: Names = Names(
    [
        "x-ratelimit-remaining-requests",
        "x-ratelimit-limit-requests",
        "x-ratelimit-reset-requests",
    ],
    [
        "anthropic-ratelimit-requests-remaining",
        "anthropic-ratelimit-requests-limit",
        "anthropic-ratelimit-requests-reset",
    ],
);
const TOKENS: Names = Names(
    [
        "x-ratelimit-remaining-tokens",
        "x-ratelimit-limit-tokens",
        "x-ratelimit-reset-tokens",
    ],
    [
        "anthropic-ratelimit-tokens-remaining",
        "anthropic-ratelimit-tokens-limit",
        "anthropic-ratelimit-tokens-reset",
    ],
);

impl Left {
    fn of(headers: &HeaderMap, names: &Names) -> Option<Self> {
        let text = |name: &str| headers.get(name)?.to_str().ok().map(str::trim);
        let Names(openai, anthropic) = names;
        let is_openai = text(openai[0]).is_some();
        let [left, of, reset] = if is_openai { openai } else { anthropic };
        let until = |reset: &str| {
            let until = DateTime::parse_from_rfc3339(reset).ok()?.to_utc();
            (until - date(headers)?).to_std().ok()
        };
        let span = text(reset).and_then(|reset| match is_openai {
            true => retry_after::duration(reset),
            false => until(reset),
        });
        Some(Self {
            left: text(left)?.parse().ok()?,
            of: text(of).and_then(|of| of.parse().ok()),
            span: span.map_or(A_MINUTE, retry_after::bounded),
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
        let left = |left, of, ms| {
            Some(Left {
                left,
                of,
                span: Duration::from_millis(ms),
            })
        };
        let requests = |requests| {
            Some(Allowance {
                requests,
                tokens: None,
            })
        };
        let openai = "x-ratelimit-remaining-requests";
        let reset = "x-ratelimit-reset-requests";
        let said = [
            (openai, "59"),
            (reset, "1s"),
            ("x-ratelimit-limit-requests", "60"),
            ("x-ratelimit-remaining-tokens", "149984"),
            ("x-ratelimit-reset-tokens", "6ms"),
        ];
        let both = Allowance {
            requests: left(59, Some(60), 1_000),
            tokens: left(149_984, None, 6),
        };
        assert_eq!(of(&said), Some(both));
        let long = of(&[(openai, "0"), (reset, "2m59.56s")]);
        assert_eq!(long, requests(left(0, None, 179_560)));
        assert_eq!(of(&[(openai, "3")]), requests(left(3, None, 60_000)));
        let anthropic = [
            ("anthropic-ratelimit-requests-remaining", "4"),
            ("anthropic-ratelimit-requests-reset", "2026-11-29T12:00:30Z"),
            ("anthropic-ratelimit-tokens-remaining", "9000"),
            ("anthropic-ratelimit-tokens-limit", "10000"),
            ("date", "Sun, 29 Nov 2026 12:00:00 GMT"),
        ];
        let both = Allowance {
            requests: left(4, None, 30_000),
            tokens: left(9_000, Some(10_000), 60_000),
        };
        assert_eq!(of(&anthropic), Some(both));
        assert_eq!(of(&[(openai, "many")]), None);
        assert_eq!(of(&[(reset, "1s")]), None);
    }
}
