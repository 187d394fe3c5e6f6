//! The old server's JSON: whether it is what tRPC says, and the envelopes of a batch one by one.

use bytes::Bytes;
use chrono::{DateTime, Utc};
use serde::{Deserialize, de::IgnoredAny};
use serde_json::value::RawValue;

use super::LegacyFault;

/// The answer to one call, as the old server wrote it.
#[derive(Clone, Debug)]
pub struct Envelope {
    /// The status that it would have alone.
    pub status: u16,
    /// `{"result":…}` or `{"error":…}`.
    pub json: Bytes,
}

const NO_JSON: LegacyFault = LegacyFault::Nonsense("it is no JSON, or was cut");
const NO_ENVELOPE: LegacyFault =
    LegacyFault::Nonsense("an object with `result` or `error` was expected");
const WRONG_COUNT: LegacyFault =
    LegacyFault::Nonsense("there are more or fewer answers than calls");

#[derive(Deserialize)]
struct AnswerLook<T> {
    result: Option<IgnoredAny>,
    error: Option<T>,
}

/// What an error says of its status, with or without superjson around it.
#[derive(Deserialize)]
struct ErrorLook {
    data: Option<DataLook>,
    json: Option<JsonLook>,
}

#[derive(Deserialize)]
struct JsonLook {
    data: Option<DataLook>,
}

#[derive(Deserialize)]
struct DataLook {
    #[serde(rename = "httpStatus")]
    http_status: Option<u16>,
}

/// Whether this is one envelope.
pub fn check_single(json: &[u8]) -> Result<(), LegacyFault> {
    // A list could be taken for the fields in their order.
    if !json.trim_ascii_start().starts_with(b"{") {
        return Err(not_envelope(json));
    }
    let look: AnswerLook<IgnoredAny> =
        serde_json::from_slice(json).map_err(|_| not_envelope(json))?;
    (look.result.is_some() != look.error.is_some())
        .then_some(())
        .ok_or(NO_ENVELOPE)
}

fn not_envelope(json: &[u8]) -> LegacyFault {
    match serde_json::from_slice::<IgnoredAny>(json) {
        Ok(_) => NO_ENVELOPE,
        Err(_) => NO_JSON,
    }
}

/// The envelopes of a batch. A single one is the answer to all of its calls, as clients read it; written for
/// each of them it may have `most` bytes.
pub fn split(
    status: u16,
    json: &Bytes,
    calls: usize,
    most: usize,
) -> Result<Vec<Envelope>, LegacyFault> {
    if !json.trim_ascii_start().starts_with(b"[") {
        check_single(json)?;
        let json = json.slice_ref(json.trim_ascii());
        if json.len().saturating_mul(calls) > most {
            return Err(LegacyFault::AnswerTooLarge(most));
        }
        return Ok(vec![Envelope { status, json }; calls]);
    }
    let parts: Vec<&RawValue> = serde_json::from_slice(json).map_err(|_| NO_JSON)?;
    if parts.len() != calls {
        return Err(WRONG_COUNT);
    }
    let envelope = |part: &RawValue| {
        let text = part.get().as_bytes();
        check_single(text)?;
        let status = if status == 207 {
            status_of(text)
        } else {
            status
        };
        Ok(Envelope {
            status,
            json: json.slice_ref(text),
        })
    };
    parts.into_iter().map(envelope).collect()
}

/// The status that an envelope would have alone; 500 for an error that does not say.
pub fn status_of(envelope: &[u8]) -> u16 {
    let Ok(AnswerLook { error, .. }) = serde_json::from_slice::<AnswerLook<ErrorLook>>(envelope)
    else {
        return 500;
    };
    let Some(error) = error else { return 200 };
    let data = error.data.or_else(|| error.json?.data);
    data.and_then(|data| data.http_status).unwrap_or(500)
}

/// Whether this is the answer to a batch, or to a single call.
pub fn check(json: &Bytes, batch: Option<usize>) -> Result<(), LegacyFault> {
    match batch {
        Some(calls) => split(200, json, calls, usize::MAX).map(drop),
        None => check_single(json),
    }
}

/// Why an answer is no JSON, by its status, and its `Retry-After`.
pub fn refused(
    status: u16,
    retry_after: Option<DateTime<Utc>>,
    otherwise: LegacyFault,
) -> LegacyFault {
    match status {
        413 | 429 | 500..=599 => LegacyFault::Refused(status, retry_after),
        _ => otherwise,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn split_text(
        status: u16,
        json: &'static str,
        calls: usize,
    ) -> Result<Vec<(u16, String)>, LegacyFault> {
        let envelopes = split(status, &Bytes::from_static(json.as_bytes()), calls, 1_000)?;
        let text = |it: Envelope| (it.status, String::from_utf8(it.json.to_vec()).unwrap());
        Ok(envelopes.into_iter().map(text).collect())
    }

    #[test]
    fn a_batch_is_split_and_its_texts_stay() {
        let json = r#"[ {"result":{"data":{"json":1.0}}} ,{"error":{"json":{"data":{"httpStatus":404}}}},{"error":{"data":{"httpStatus":401}}},{"error":{}}]"#;
        let parts = split_text(207, json, 4).unwrap();
        let statuses: Vec<u16> = parts.iter().map(|part| part.0).collect();
        assert_eq!(statuses, [200, 404, 401, 500]);
        assert_eq!(parts[0].1, r#"{"result":{"data":{"json":1.0}}}"#);
        assert_eq!(split_text(418, json, 4).unwrap()[0].0, 418);
    }

    #[test]
    fn one_envelope_answers_all_calls() {
        let parts = split_text(415, r#" {"error":{"code":1}} "#, 2).unwrap();
        assert_eq!(parts, vec![(415, r#"{"error":{"code":1}}"#.to_owned()); 2]);
        let large = split_text(415, r#"{"error":{"code":1}}"#, 51);
        assert!(matches!(large, Err(LegacyFault::AnswerTooLarge(1_000))));
    }

    #[test]
    fn nonsense_is_no_answer() {
        for nonsense in [
            "",
            "<html></html>",
            "[",
            r#"[{"result":1}"#,
            r#"[{"result":1}]]"#,
            "[]",
            r#"[{"result":1},{"result":2},{"result":3}]"#,
            "[1,2]",
            "[[1,null],[1,null]]",
            "{}",
            "null",
            r#"{"message":"too many"}"#,
            r#"[{"result":1,"error":2},{"result":1}]"#,
            "\"text\"",
        ] {
            assert!(split_text(200, nonsense, 2).is_err(), "{nonsense}");
        }
        let deep = "[".repeat(100_000);
        assert!(split(200, &Bytes::from(deep), 1, usize::MAX).is_err());
    }
}
