//! The answer to one call of a batch: ours, or the old server's as it wrote it; and the response that all of them make.

use axum::response::Response;
use http::Method;
use serde::Deserialize;
use serde_json::value::RawValue;

use super::{
    envelope::{self, CallAnswer},
    respond,
};
use crate::{
    config::Transformer,
    legacy::{
        answer::Envelope,
        lines::{self, Wrapped},
    },
    transport::headers,
};

/// What came of one call of a batch.
pub(super) enum BatchPart {
    /// Of a call that ran here, or could not be passed on.
    Ours(CallAnswer),
    /// Of a call that the old server answered.
    Theirs(Envelope),
}

/// The old server's envelope.
#[derive(Deserialize)]
pub(super) struct PassedEnvelope<'a> {
    #[serde(borrow)]
    pub(super) result: Option<Data<'a>>,
    #[serde(borrow)]
    pub(super) error: Option<&'a RawValue>,
}

#[derive(Deserialize)]
pub(super) struct Data<'a> {
    #[serde(borrow)]
    pub(super) data: Option<&'a RawValue>,
}

impl BatchPart {
    /// The HTTP status that it would have alone.
    pub(super) fn status(&self) -> u16 {
        match self {
            Self::Ours(answer) => envelope::status(answer),
            Self::Theirs(envelope) => envelope.status,
        }
    }

    /// For the `Retry-After` header of a response with this answer.
    pub(super) fn retry_after_seconds(&self) -> Option<u64> {
        match self {
            Self::Ours(answer) => envelope::retry_after_seconds(answer),
            Self::Theirs(_) => None,
        }
    }

    /// About how many bytes it takes as an envelope.
    fn size(&self) -> usize {
        match self {
            Self::Ours(answer) => envelope::size(answer),
            Self::Theirs(envelope) => envelope.json.len(),
        }
    }

    /// `{"result":{"data":…}}` or `{"error":…}`.
    pub(super) fn write_envelope(&self, transformer: Transformer, buffer: &mut Vec<u8>) {
        match self {
            Self::Ours(answer) => envelope::write_envelope(answer, transformer, buffer),
            Self::Theirs(envelope) => buffer.extend_from_slice(&envelope.json),
        }
    }

    /// One line of a streamed batch: promise `index` is fulfilled with this answer's envelope.
    pub(super) fn write_line(self, index: usize, transformer: Transformer, buffer: &mut Vec<u8>) {
        let envelope = match self {
            Self::Ours(answer) => return envelope::write_line(index, answer, transformer, buffer),
            Self::Theirs(envelope) => envelope.json,
        };
        let (envelope, meta) = match transformer {
            Transformer::None => (String::from_utf8_lossy(&envelope).into_owned(), None),
            Transformer::Superjson => unwrapped(&envelope),
        };
        let envelope = envelope.replace(['\n', '\r'], " ");
        let line = match (transformer, meta) {
            (Transformer::None, _) => format!("[{index},0,[[{envelope}]]]\n"),
            (_, None) => format!("{{\"json\":[{index},0,[[{envelope}]]]}}\n"),
            (_, Some(meta)) => format!("{{\"json\":[{index},0,[[{envelope}]]],\"meta\":{meta}}}\n"),
        };
        buffer.extend_from_slice(line.as_bytes());
    }
}

/// An envelope without superjson around its value, and superjson's notes for a line of a stream.
fn unwrapped(envelope: &[u8]) -> (String, Option<String>) {
    let Ok(theirs) = serde_json::from_slice::<PassedEnvelope<'_>>(envelope) else {
        return (String::from_utf8_lossy(envelope).into_owned(), None);
    };
    let part = |wrapped: &RawValue, place: &str| match serde_json::from_str(wrapped.get()) {
        Ok(Wrapped { json, meta }) => {
            let meta = meta.and_then(|meta| lines::moved(meta, "", place));
            (json.get().to_owned(), meta)
        }
        Err(_) => (wrapped.get().to_owned(), None),
    };
    match (theirs.error, theirs.result.and_then(|result| result.data)) {
        (Some(error), _) => {
            let (json, meta) = part(error, "2.0.0.error.");
            (format!("{{\"error\":{json}}}"), meta)
        }
        (None, Some(data)) => {
            let (json, meta) = part(data, "2.0.0.result.data.");
            (format!("{{\"result\":{{\"data\":{json}}}}}"), meta)
        }
        (None, None) => ("{\"result\":{}}".to_owned(), None),
    }
}

/// The status of a batch: the one that all its calls have, else 207.
fn status(mut statuses: impl Iterator<Item = u16>) -> u16 {
    let first = statuses.next().unwrap_or(200);
    if statuses.all(|status| status == first) {
        first
    } else {
        207
    }
}

/// The response to a batch whose answers are all there, in order.
pub(super) fn whole(parts: &[BatchPart], transformer: Transformer, allowed: &[Method]) -> Response {
    let size = parts.iter().map(|part| part.size() + 1).sum::<usize>();
    let mut body = Vec::with_capacity(size + 1);
    for part in parts {
        body.push(if body.is_empty() { b'[' } else { b',' });
        part.write_envelope(transformer, &mut body);
    }
    body.push(b']');
    let status = status(parts.iter().map(BatchPart::status));
    let mut response = respond::json(status, body, allowed);
    let retry_after = parts
        .iter()
        .filter_map(BatchPart::retry_after_seconds)
        .max();
    headers::retry_after(&mut response, retry_after);
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn their_envelope_is_a_line_of_ours() {
        let line = |json: &'static str, transformer| {
            let mut buffer = Vec::new();
            let json = json.as_bytes().into();
            BatchPart::Theirs(Envelope { status: 200, json }).write_line(
                3,
                transformer,
                &mut buffer,
            );
            String::from_utf8(buffer).unwrap()
        };
        let superjson = |json| line(json, Transformer::Superjson);
        assert_eq!(
            superjson(r#"{"result":{"data":{"json":"x","meta":{"values":["Date"],"v":1}}}}"#),
            "{\"json\":[3,0,[[{\"result\":{\"data\":\"x\"}}]]],\"meta\":{\"values\":{\"2.0.0.result.data\":[\"Date\"]},\"v\":1}}\n"
        );
        assert_eq!(
            superjson(
                r#"{"error":{"json":{"data":{"at":"x"}},"meta":{"values":{"data.at":["Date"]}}}}"#
            ),
            "{\"json\":[3,0,[[{\"error\":{\"data\":{\"at\":\"x\"}}}]]],\"meta\":{\"values\":{\"2.0.0.error.data.at\":[\"Date\"]}}}\n"
        );
        assert_eq!(
            line("{\"result\":\n{}}", Transformer::None),
            "[3,0,[[{\"result\": {}}]]]\n"
        );
    }

    #[test]
    fn different_statuses_make_207() {
        assert_eq!(status([200, 200].into_iter()), 200);
        assert_eq!(status([404, 404].into_iter()), 404);
        assert_eq!(status([200, 404].into_iter()), 207);
        assert_eq!(status([401, 404, 401].into_iter()), 207);
    }
}
