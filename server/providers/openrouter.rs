//! What only OpenRouter does: one limit over all free models, beside the limits of each provider, and
//! hosts that are chosen by what they do with prompts.

pub mod elsewhere;
pub mod policy;

use std::time::Duration;

use chrono::{DateTime, Utc};
use http::HeaderMap;
use serde_json::Value;

use crate::_core::retry_after::date;

/// Where OpenRouter is, unless `OPENROUTER_BASE_URL` says otherwise.
pub const BASE_URL: &str = "https://openrouter.ai/api/v1";

/// The name by which a catalog refers to it; `OPENROUTER_BASE_URL` applies to this provider.
pub const NAME: &str = "openrouter";

/// Requests of an account to models that cost nothing, in any minute.
pub const FREE_A_MINUTE: u32 = 20;

/// The requests of this day to models that cost nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FreeRequests {
    /// How many an account may make.
    pub limit: u32,
    /// How many it has made.
    pub used: u32,
}

impl FreeRequests {
    /// What `GET /key` says of them, if it does.
    pub(super) fn of_key(body: &Value) -> Option<Self> {
        let told = body.get("data")?.get("free_model_daily_requests")?;
        let count = |name| u32::try_from(told.get(name)?.as_u64()?).ok();
        let limit = count("limit")?;
        let left = count("remaining").map(|left| limit.saturating_sub(left));
        let used = count("used").max(left)?;
        Some(Self { limit, used })
    }
}

const LIMIT: &str = "x-ratelimit-limit";
const RESET: &str = "x-ratelimit-reset";

/// Whether a 429 is the platform's own, which all models of the account share.
///
/// The platform sends `X-RateLimit-*`, as headers or inside `metadata.headers`, and names no
/// provider; a provider's limit is passed on with `provider_code` or `provider_name`.
pub(super) fn is_platform_limit(body: Option<&Value>, headers: &HeaderMap) -> bool {
    let metadata = body.and_then(metadata);
    let names_provider = ["provider_code", "provider_name"]
        .iter()
        .filter_map(|key| metadata?.get(*key))
        .any(|value| !value.is_null());
    !names_provider && (headers.contains_key(LIMIT) || repeated(body, LIMIT).is_some())
}

/// More seconds than any limit lasts (three years); since 1970, it was 1973.
const SPAN_BELOW: u64 = 100_000_000;
/// In seconds since 1970 it will be 5138, in milliseconds it was 1973.
const SECONDS_BELOW: u64 = 100_000_000_000;

/// Until `X-RateLimit-Reset`, by the clock of the server that sent it: OpenRouter's milliseconds since 1970, or, as behind
/// other servers, seconds since then or from now.
pub(super) fn until_reset(body: Option<&Value>, headers: &HeaderMap) -> Option<Duration> {
    let reset = headers
        .get(RESET)
        .and_then(|value| value.to_str().ok()?.trim().parse().ok())
        .or_else(|| match repeated(body, RESET)? {
            Value::String(text) => text.trim().parse().ok(),
            number => number.as_u64(),
        })?;
    let reset: DateTime<Utc> = match reset {
        0..SPAN_BELOW => return Some(Duration::from_secs(reset)),
        SPAN_BELOW..SECONDS_BELOW => DateTime::from_timestamp_secs(reset.try_into().ok()?)?,
        _ => DateTime::from_timestamp_millis(reset.try_into().ok()?)?,
    };
    (reset - date(headers)?).to_std().ok()
}

/// The `metadata` of an error, or of the error in a body.
fn metadata(body: &Value) -> Option<&Value> {
    let body = body.get(0).unwrap_or(body);
    body.get("error").unwrap_or(body).get("metadata")
}

/// A header that is repeated inside the body, as a text or as a number.
fn repeated<'a>(body: Option<&'a Value>, header: &str) -> Option<&'a Value> {
    let headers = metadata(body?)?.get("headers")?.as_object()?;
    headers
        .iter()
        .find(|(name, _)| name.eq_ignore_ascii_case(header))
        .map(|(_, value)| value)
        .filter(|value| !value.is_null())
}
