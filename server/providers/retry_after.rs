//! How long a provider asks to wait, from wherever it says so.
//!
//! `Retry-After` in seconds or as a date, `retry-after-ms`, fields of the body (`retry_after_seconds`,
//! Google's `RetryInfo`, headers that OpenRouter repeats in `metadata.headers`), or words ("Please try
//! again in 7.66s").

use std::time::Duration;

use http::{HeaderMap, header};
use serde_json::Value;

use crate::_core::retry_after;

/// No limit of a day lasts longer. Who names a longer wait has a limit of a month, or made a mistake.
const LONGEST: Duration = Duration::from_secs(25 * 3_600);
/// Either is asked again after this: a mistake costs an hour, a month's limit a refusal each hour.
const INSTEAD: Duration = Duration::from_secs(3_600);
/// Nested deeper, nothing is looked at.
const MAX_DEPTH: usize = 8;

/// How long our account rests where a provider asks for this wait.
pub fn bounded(asked: Duration) -> Duration {
    if asked > LONGEST { INSTEAD } else { asked }
}

/// What the headers say.
pub(super) fn of_headers(headers: &HeaderMap) -> Option<Duration> {
    let value = |name: &str| headers.get(name)?.to_str().ok();
    let milliseconds = ["retry-after-ms", "x-ms-retry-after-ms"]
        .iter()
        .find_map(|name| value(name)?.trim().parse::<f64>().ok())
        .and_then(|ms| Duration::try_from_secs_f64(ms / 1e3).ok());
    milliseconds
        .or_else(|| retry_after::of(headers))
        // Some providers write parts of seconds, or units.
        .or_else(|| duration(value(header::RETRY_AFTER.as_str())?))
}

/// What the body says.
pub(super) fn of_body(body: &Value) -> Option<Duration> {
    in_fields(body, 0).or_else(|| in_words(body, 0))
}

fn in_fields(value: &Value, depth: usize) -> Option<Duration> {
    if depth > MAX_DEPTH {
        return None;
    }
    match value {
        Value::Object(fields) => fields.iter().find_map(|(key, value)| {
            let key = key.to_ascii_lowercase().replace(['_', '-'], "");
            match key.as_str() {
                "retryafterms" | "retryaftermilliseconds" => {
                    Duration::try_from_secs_f64(number(value)? / 1e3).ok()
                }
                "retryafter" | "retryafterseconds" | "retryafters" | "retrydelay" | "retryin" => {
                    match value {
                        Value::String(text) => duration(text),
                        value => Duration::try_from_secs_f64(number(value)?).ok(),
                    }
                }
                _ => in_fields(value, depth + 1),
            }
        }),
        Value::Array(list) => list.iter().find_map(|item| in_fields(item, depth + 1)),
        Value::String(text) if text.trim_start().starts_with(['{', '[']) => {
            in_fields(&serde_json::from_str(text).ok()?, depth + 1)
        }
        _ => None,
    }
}

fn in_words(value: &Value, depth: usize) -> Option<Duration> {
    if depth > MAX_DEPTH {
        return None;
    }
    match value {
        Value::Object(fields) => fields.values().find_map(|it| in_words(it, depth + 1)),
        Value::Array(list) => list.iter().find_map(|it| in_words(it, depth + 1)),
        Value::String(text) => {
            let lower = text.to_ascii_lowercase();
            let after = [
                "try again in ",
                "retry in ",
                "retry after ",
                "retry again in ",
            ]
            .iter()
            .find_map(|words| lower.split_once(words))?
            .1;
            let end = after
                .find(|c: char| !(c.is_ascii_alphanumeric() || matches!(c, '.' | ' ')))
                .unwrap_or(after.len());
            duration(after.get(..end)?.trim_end_matches('.'))
        }
        _ => None,
    }
}

fn number(value: &Value) -> Option<f64> {
    match value {
        Value::Number(number) => number.as_f64(),
        Value::String(text) => text.trim().parse().ok(),
        _ => None,
    }
}

/// `2`, `1.5s`, `300ms`, `6m0s`, `5 seconds`; a bare number is seconds. What follows the last unit is
/// ignored.
pub(super) fn duration(text: &str) -> Option<Duration> {
    let mut rest = text.trim();
    let mut seconds = None;
    loop {
        let digits = rest
            .find(|c: char| !(c.is_ascii_digit() || c == '.'))
            .unwrap_or(rest.len());
        let (number, tail) = rest.split_at(digits);
        let Ok(number) = number.parse::<f64>() else {
            break;
        };
        let tail = tail.trim_start();
        let letters = tail
            .find(|c: char| !c.is_ascii_alphabetic())
            .unwrap_or(tail.len());
        let (unit, tail) = tail.split_at(letters);
        let unit = match unit {
            "" if seconds.is_none() && tail.is_empty() => 1.0,
            "s" | "sec" | "secs" | "second" | "seconds" => 1.0,
            "ms" | "millisecond" | "milliseconds" => 1e-3,
            "m" | "min" | "mins" | "minute" | "minutes" => 60.0,
            "h" | "hour" | "hours" => 3_600.0,
            "d" | "day" | "days" => 86_400.0,
            _ => break,
        };
        seconds = Some(seconds.unwrap_or(0.0) + number * unit);
        rest = tail.trim_start();
    }
    Duration::try_from_secs_f64(seconds?).ok()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn durations_have_many_forms() {
        for (text, ms) in [
            ("2", Some(2_000)),
            ("0.5", Some(500)),
            ("1.5s", Some(1_500)),
            ("300ms", Some(300)),
            ("6m0s", Some(360_000)),
            ("1h2m3s", Some(3_723_000)),
            ("5 seconds", Some(5_000)),
            ("1 minute", Some(60_000)),
            ("1d1h", Some(90_000_000)),
            ("20s and then some", Some(20_000)),
            ("soon", None),
            ("-1", None),
            ("NaN", None),
            ("inf", None),
            ("1e300", None),
            ("", None),
        ] {
            assert_eq!(duration(text).map(|it| it.as_millis()), ms, "{text}");
        }
    }

    #[test]
    fn a_wait_that_no_daily_limit_takes_is_an_hour() {
        let hours = |hours: u64| Duration::from_secs(hours * 3_600);
        assert_eq!(bounded(hours(25)), hours(25));
        assert_eq!(bounded(hours(26)), hours(1));
        assert_eq!(bounded(Duration::MAX), hours(1));
    }

    #[test]
    fn bodies_say_it_in_fields_and_in_words() {
        for (body, ms) in [
            (
                json!({"error": {"metadata": {"retry_after_seconds": 1}}}),
                1_000,
            ),
            (json!({"retry_after": "2s"}), 2_000),
            (json!({"error": {"retryAfterMs": 250}}), 250),
            (
                json!([{"error": {"details": [{"@type": "type.googleapis.com/google.rpc.RetryInfo", "retryDelay": "34.07s"}]}}]),
                34_070,
            ),
            (
                json!({"error": {"metadata": {"headers": {"Retry-After": "3"}}}}),
                3_000,
            ),
            (
                json!({"error": {"metadata": {"raw": "{\"retry_after\": 4}"}}}),
                4_000,
            ),
            (
                json!({"error": {"message": "Rate limit reached. Please try again in 7.66s. Visit x."}}),
                7_660,
            ),
            (
                json!({"error": {"message": "Please try again in 20ms."}}),
                20,
            ),
            (json!({"error": "Please retry in 6m0s"}), 360_000),
        ] {
            let wait = of_body(&body).map(|it| it.as_millis());
            assert_eq!(wait, Some(ms), "{body}");
        }
        assert_eq!(
            of_body(&json!({"error": {"message": "try again in a moment"}})),
            None
        );
    }
}
