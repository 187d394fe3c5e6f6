//! Writes results and errors as tRPC envelopes, plain or as superjson.
//!
//! Outputs go from their type straight to JSON text, which is then copied once into the envelope.
//! With superjson the value and the whole error object are each wrapped as `{json, meta?}`; in a
//! line of a streamed batch the wrap is around the line instead, with the notes moved below the
//! value's place in it.

use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    sync::Arc,
};

use super::superjson::{self, Encoded, Meta};
use crate::transport::bounds::{Bounds, BudgetShare};
use crate::{
    _core::{
        call_log, clock,
        errors::RpcError,
        procedure::{Output, StreamItem},
        shape::Shape,
    },
    config::Transformer,
};

/// A value as JSON text without line breaks, not yet in an envelope.
#[derive(Debug)]
pub(super) struct Payload {
    encoded: Encoded,
    /// Plain JSON says `undefined` by leaving the key out.
    undefined: bool,
    held: BudgetShare,
}

/// An error with what it needs to be sent.
#[derive(Clone, Debug)]
pub(super) struct CallFailure {
    error: RpcError,
    /// Absent where the request names none.
    path: Option<String>,
    request_id: Arc<str>,
}

/// What came of one call.
pub(super) type CallAnswer = Result<Payload, CallFailure>;

/// About how many bytes an answer takes as an envelope.
pub(super) fn size(answer: &CallAnswer) -> usize {
    match answer {
        // The envelope, and notes on dates.
        Ok(payload) => payload.encoded.json.len() + 64,
        Err(_) => 512,
    }
}

/// The HTTP status that an answer alone would have.
pub(super) fn status(answer: &CallAnswer) -> u16 {
    match answer {
        Ok(_) => 200,
        Err(failure) => failure.error.code.http_status(),
    }
}

/// For the `Retry-After` header of a response with this answer.
#[expect(
    clippy::disallowed_methods,
    reason = "the header counts from when it is sent"
)]
pub(super) fn retry_after_seconds(answer: &CallAnswer) -> Option<u64> {
    answer
        .as_ref()
        .err()?
        .error
        .retry_after_seconds(clock::now())
}

impl Payload {
    /// Encodes an output; an error or a panic of its serialiser is an internal error.
    pub(super) fn encode(
        transformer: Transformer,
        shape: &Shape,
        output: &dyn Output,
    ) -> Result<Self, RpcError> {
        let encode = || match transformer {
            Transformer::Superjson => superjson::encode(shape, output).map(Some),
            Transformer::None => Ok(shape.plain_json(output)?.map(|json| Encoded {
                json,
                meta: Meta::default(),
            })),
        };
        let encoded = match catch_unwind(AssertUnwindSafe(encode)) {
            Ok(Ok(encoded)) => encoded,
            Ok(Err(error)) => return Err(unserialisable(error)),
            Err(_) => return Err(unserialisable(anyhow::anyhow!("its serialiser panicked"))),
        };
        let undefined = encoded.is_none();
        let mut encoded = encoded.unwrap_or_else(|| Encoded {
            json: b"null".to_vec(),
            meta: Meta::default(),
        });
        remove_line_breaks(&mut encoded.json);
        Ok(Self {
            encoded,
            undefined,
            held: BudgetShare::default(),
        })
    }

    /// Encodes a tracked item as sockets carry it: the id inside the data as well.
    pub(super) fn encode_tracked(
        transformer: Transformer,
        shape: &Shape,
        id: &str,
        item: &StreamItem,
    ) -> Result<Self, RpcError> {
        let data = Self::encode(transformer, shape, &*item.data)?;
        let mut json = Vec::with_capacity(data.encoded.json.len() + id.len() + 20);
        json.extend_from_slice(b"{\"id\":");
        write_string(&mut json, id);
        if !data.undefined {
            json.extend_from_slice(b",\"data\":");
            json.extend_from_slice(&data.encoded.json);
        }
        json.push(b'}');
        let meta = data.encoded.meta.below("data");
        Ok(Self {
            encoded: Encoded { json, meta },
            undefined: false,
            held: data.held,
        })
    }

    /// Counts it among what is on its way, until it is dropped.
    pub(super) fn hold(&mut self, bounds: &Bounds) -> Result<(), RpcError> {
        self.held = bounds.hold_answer(self.encoded.json.len())?;
        Ok(())
    }

    /// The value as it stands alone; `null` for an undefined one in plain JSON.
    pub(super) fn write(&self, transformer: Transformer, buffer: &mut Vec<u8>) {
        let Encoded { json, meta } = &self.encoded;
        match transformer {
            Transformer::None => buffer.extend_from_slice(json),
            Transformer::Superjson => {
                buffer.extend_from_slice(b"{\"json\":");
                buffer.extend_from_slice(json);
                meta.write(buffer);
                buffer.push(b'}');
            }
        }
    }

    /// The value as the last member of an object, after whatever `separator` has to be there.
    pub(super) fn write_member(
        &self,
        transformer: Transformer,
        separator: &str,
        buffer: &mut Vec<u8>,
    ) {
        if !self.undefined {
            buffer.extend_from_slice(separator.as_bytes());
            buffer.extend_from_slice(b"\"data\":");
            self.write(transformer, buffer);
        }
    }
}

impl CallFailure {
    /// An error of the registry, which has logged it.
    pub(super) fn reported(error: RpcError, path: &str, request_id: Arc<str>) -> Self {
        Self {
            error,
            path: Some(path.to_owned()),
            request_id,
        }
    }

    /// An error from before or after the registry's part; written to the log here.
    pub(super) fn report(error: RpcError, path: Option<&str>, request_id: Arc<str>) -> Self {
        call_log::refused(&error, path, &request_id);
        Self {
            error,
            path: path.map(str::to_owned),
            request_id,
        }
    }

    /// Finds the call in the log.
    pub(super) fn request_id(&self) -> &str {
        &self.request_id
    }

    /// tRPC's error object, transformed as a whole.
    pub(super) fn write(&self, transformer: Transformer, buffer: &mut Vec<u8>) {
        match transformer {
            Transformer::None => {
                self.write_bare(transformer, buffer);
            }
            Transformer::Superjson => {
                buffer.extend_from_slice(b"{\"json\":");
                self.write_bare(transformer, buffer).write(buffer);
                buffer.push(b'}');
            }
        }
    }

    /// Writes the error as JSON and returns what JSON cannot say of it: which details are dates.
    fn write_bare(&self, transformer: Transformer, buffer: &mut Vec<u8>) -> Meta {
        let mut shape = self.error.shape(self.path.as_deref(), &self.request_id);
        let mut meta = Meta::default();
        let rewritten = self.error.special_details().and_then(|(shape, details)| {
            let encoded = Payload::encode(transformer, shape, details).ok()?.encoded;
            meta = encoded.meta.below("data.details");
            serde_json::from_slice(&encoded.json).ok()
        });
        if let Some(details) = &rewritten {
            shape.data.details = Some(details);
        }
        // Strings and numbers into memory: there is nothing that could fail.
        let written = serde_json::to_writer(&mut *buffer, &shape);
        debug_assert!(written.is_ok());
        meta
    }
}

/// `{"result":{"data":…}}` or `{"error":…}`.
pub(super) fn write_envelope(answer: &CallAnswer, transformer: Transformer, buffer: &mut Vec<u8>) {
    match answer {
        Ok(payload) => {
            buffer.extend_from_slice(b"{\"result\":{");
            payload.write_member(transformer, "", buffer);
            buffer.extend_from_slice(b"}}");
        }
        Err(failure) => {
            buffer.extend_from_slice(b"{\"error\":");
            failure.write(transformer, buffer);
            buffer.push(b'}');
        }
    }
}

/// One line of a streamed batch: promise `index` is fulfilled with this answer's envelope.
pub(super) fn write_line(
    index: usize,
    answer: CallAnswer,
    transformer: Transformer,
    buffer: &mut Vec<u8>,
) {
    let superjson = transformer == Transformer::Superjson;
    if superjson {
        buffer.extend_from_slice(b"{\"json\":");
    }
    buffer.extend_from_slice(format!("[{index},0,[[").as_bytes());
    let meta = match answer {
        Ok(payload) => {
            buffer.extend_from_slice(b"{\"result\":{");
            payload.write_member(Transformer::None, "", buffer);
            buffer.extend_from_slice(b"}}");
            payload.encoded.meta.below("2.0.0.result.data")
        }
        Err(failure) => {
            buffer.extend_from_slice(b"{\"error\":");
            let meta = failure.write_bare(transformer, buffer);
            buffer.push(b'}');
            meta.below("2.0.0.error")
        }
    };
    buffer.extend_from_slice(b"]]]");
    if superjson {
        meta.write(buffer);
        buffer.push(b'}');
    }
    buffer.push(b'\n');
}

/// One line of a streamed batch: what was promised under `id` failed, which `status` says.
pub(super) fn write_rejection(
    id: u64,
    status: u8,
    failure: &CallFailure,
    transformer: Transformer,
    buffer: &mut Vec<u8>,
) {
    let superjson = transformer == Transformer::Superjson;
    if superjson {
        buffer.extend_from_slice(b"{\"json\":");
    }
    buffer.extend_from_slice(format!("[{id},{status},").as_bytes());
    let meta = failure.write_bare(transformer, buffer).below("2");
    buffer.push(b']');
    if superjson {
        meta.write(buffer);
        buffer.push(b'}');
    }
    buffer.push(b'\n');
}

/// A JSON string.
pub(super) fn write_string(buffer: &mut Vec<u8>, text: &str) {
    let written = serde_json::to_writer(&mut *buffer, text);
    debug_assert!(written.is_ok());
}

fn unserialisable(cause: impl Into<anyhow::Error>) -> RpcError {
    RpcError::internal(cause.into().context("the output cannot be serialised"))
}

/// Only white space between tokens can be a line break in JSON text, and only where an output
/// embeds a `RawValue`; event streams and streamed batches would take it for an end.
fn remove_line_breaks(json: &mut [u8]) {
    if json.contains(&b'\n') || json.contains(&b'\r') {
        for byte in json {
            if matches!(byte, b'\n' | b'\r') {
                *byte = b' ';
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use serde::Serialize;
    use serde_json::value::RawValue;

    use super::*;

    fn text(write: impl FnOnce(&mut Vec<u8>)) -> String {
        let mut buffer = Vec::new();
        write(&mut buffer);
        String::from_utf8(buffer).unwrap()
    }

    fn failure() -> CallFailure {
        CallFailure::reported(RpcError::not_found("no"), "b", "r".into())
    }

    fn number(transformer: Transformer) -> CallAnswer {
        Ok(Payload::encode(transformer, &Shape::Any, &5).unwrap())
    }

    struct Broken;

    impl Serialize for Broken {
        fn serialize<S: serde::Serializer>(&self, _: S) -> Result<S::Ok, S::Error> {
            Err(serde::ser::Error::custom("secret detail"))
        }
    }

    struct Panicking;

    impl Serialize for Panicking {
        #[expect(clippy::panic_in_result_fn, reason = "that is the point of this type")]
        fn serialize<S: serde::Serializer>(&self, _: S) -> Result<S::Ok, S::Error> {
            panic!("no")
        }
    }

    #[test]
    fn envelopes_are_plain_or_wrapped() {
        let of = |answer: &CallAnswer, t| text(|buffer| write_envelope(answer, t, buffer));
        let (plain, superjson) = (Transformer::None, Transformer::Superjson);
        assert_eq!(of(&number(plain), plain), r#"{"result":{"data":5}}"#);
        assert_eq!(
            of(&number(superjson), superjson),
            r#"{"result":{"data":{"json":5}}}"#
        );
        let error = r#"{"message":"no","code":-32004,"data":{"code":"NOT_FOUND","httpStatus":404,"path":"b","requestId":"r"}}"#;
        assert_eq!(
            of(&Err(failure()), plain),
            format!(r#"{{"error":{error}}}"#)
        );
        assert_eq!(
            of(&Err(failure()), superjson),
            format!(r#"{{"error":{{"json":{error}}}}}"#)
        );
    }

    #[test]
    fn lines_are_wrapped_as_a_whole() {
        let line = |answer, t| text(|buffer| write_line(1, answer, t, buffer));
        let (plain, superjson) = (Transformer::None, Transformer::Superjson);
        assert_eq!(
            line(number(plain), plain),
            "[1,0,[[{\"result\":{\"data\":5}}]]]\n"
        );
        assert_eq!(
            line(number(superjson), superjson),
            "{\"json\":[1,0,[[{\"result\":{\"data\":5}}]]]}\n"
        );
        let error = line(Err(failure()), superjson);
        assert!(
            error.starts_with(r#"{"json":[1,0,[[{"error":{"message":"no","#),
            "{error}"
        );
    }

    #[test]
    fn dates_in_the_details_of_an_error_are_marked() {
        let details = serde_json::json!({ "at": "2026-01-02T03:04:05Z" });
        let error = RpcError::not_found("no").with_details(details);
        let shape = Shape::compile(
            &serde_json::json!({
                "type": "object",
                "properties": { "at": { "type": "string", "format": "date-time" } },
            }),
            &Default::default(),
        );
        let error = error.with_details_shape(Some(Arc::new(shape)));
        let failure = || CallFailure::reported(error.clone(), "b", "r".into());
        let of = |t| text(|buffer| failure().write(t, buffer));
        assert!(of(Transformer::None).contains(r#""details":{"at":"2026-01-02T03:04:05.000Z"}"#));
        let meta = |path: &str| format!(r#""meta":{{"values":{{"{path}":["Date"]}},"v":1}}}}"#);
        let envelope = of(Transformer::Superjson);
        assert!(envelope.ends_with(&meta("data.details.at")), "{envelope}");
        let line = text(|buffer| write_line(1, Err(failure()), Transformer::Superjson, buffer));
        let path = meta("2.0.0.error.data.details.at");
        assert!(line.trim_end().ends_with(&path), "{line}");
    }

    #[test]
    fn undefined_leaves_the_key_out_of_plain_json() {
        let shape = Shape::UndefinedOr(Box::new(Shape::Any));
        let undefined = Payload::encode(Transformer::None, &shape, &()).unwrap();
        assert_eq!(
            text(|buffer| write_envelope(&Ok(undefined), Transformer::None, buffer)),
            r#"{"result":{}}"#
        );
        let null = Payload::encode(Transformer::None, &Shape::Any, &()).unwrap();
        assert_eq!(
            text(|buffer| write_envelope(&Ok(null), Transformer::None, buffer)),
            r#"{"result":{"data":null}}"#
        );
    }

    #[test]
    fn serialisers_that_fail_or_panic_are_internal_errors_without_details() {
        for transformer in [Transformer::None, Transformer::Superjson] {
            for output in [&Broken as &dyn Output, &Panicking] {
                let error = Payload::encode(transformer, &Shape::Any, output).unwrap_err();
                assert_eq!(error.message, "Internal server error");
            }
        }
    }

    #[test]
    fn line_breaks_inside_raw_values_become_spaces() {
        let raw = RawValue::from_string("{\"a\":\r\n1}".into()).unwrap();
        let payload = Payload::encode(Transformer::None, &Shape::Any, &raw).unwrap();
        assert_eq!(
            text(|buffer| payload.write(Transformer::None, buffer)),
            "{\"a\":  1}"
        );
    }
}
