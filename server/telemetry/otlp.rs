//! Requests of a collector's `/v1/traces`: OTLP over HTTP, as protocol buffers or as JSON.
//!
//! Both are written from the same spans. Field numbers are those of opentelemetry-proto 1
//! (`collector/trace/v1/trace_service.proto`, `trace/v1/trace.proto`, `common/v1/common.proto`).

use serde_json::{Value, json};

use super::span::{Attribute, Span};
use crate::config::TraceFormat;

/// `SPAN_KIND_CLIENT`.
const CLIENT: u64 = 3;
/// `STATUS_CODE_ERROR`.
const ERROR: u64 = 2;
/// What wrote the spans.
const SCOPE: &str = "modelramp";
const VERSION: &str = env!("CARGO_PKG_VERSION");

impl TraceFormat {
    /// The media type of a request.
    pub(super) const fn media_type(self) -> &'static str {
        match self {
            Self::Protobuf => "application/x-protobuf",
            Self::Json => "application/json",
        }
    }

    /// The body of a request with these spans of a service.
    pub(super) fn request(self, service: &str, spans: &[Span]) -> Vec<u8> {
        match self {
            Self::Protobuf => protobuf(service, spans),
            Self::Json => json(service, spans).to_string().into_bytes(),
        }
    }
}

fn json(service: &str, spans: &[Span]) -> Value {
    let text = |key: &str, value: &str| json!({"key": key, "value": {"stringValue": value}});
    let spans: Vec<_> = spans.iter().map(json_span).collect();
    json!({"resourceSpans": [{
        "resource": {"attributes": [
            text("service.name", service),
            text("service.version", VERSION),
        ]},
        "scopeSpans": [{"scope": {"name": SCOPE, "version": VERSION}, "spans": spans}],
    }]})
}

fn json_span(span: &Span) -> Value {
    let attributes = span.attributes.iter().map(|(key, value)| {
        let value = match value {
            Attribute::Text(text) => json!({ "stringValue": text }),
            // OTLP's JSON writes 64 bits as text.
            Attribute::Whole(whole) => json!({"intValue": whole.to_string()}),
            Attribute::Number(number) => json!({ "doubleValue": number }),
        };
        json!({"key": key, "value": value})
    });
    let mut json = json!({
        "traceId": format!("{:032x}", span.trace_id),
        "spanId": format!("{:016x}", span.span_id),
        "name": span.name,
        "kind": CLIENT,
        "startTimeUnixNano": span.start.to_string(),
        "endTimeUnixNano": span.end.to_string(),
        "attributes": attributes.collect::<Value>(),
    });
    if let Some(parent) = span.parent {
        json["parentSpanId"] = format!("{parent:016x}").into();
    }
    if let Some(error) = span.error {
        json["status"] = json!({"code": ERROR, "message": error});
    }
    json
}

fn protobuf(service: &str, spans: &[Span]) -> Vec<u8> {
    let mut request = ProtoMessage::default();
    request.message(1, |resource_spans| {
        resource_spans.message(1, |resource| {
            for (key, value) in [("service.name", service), ("service.version", VERSION)] {
                resource.message(1, |it| {
                    it.attribute(key, &Attribute::Text(value.to_owned()))
                });
            }
        });
        resource_spans.message(2, |scope_spans| {
            scope_spans.message(1, |scope| {
                scope.bytes(1, SCOPE.as_bytes());
                scope.bytes(2, VERSION.as_bytes());
            });
            for span in spans {
                scope_spans.message(2, |it| it.span(span));
            }
        });
    });
    request.0
}

/// A protocol buffer that is written, field by field.
#[derive(Default)]
struct ProtoMessage(Vec<u8>);

/// How the value of a field is written.
const VARINT: u64 = 0;
const FIXED_64: u64 = 1;
const BYTES: u64 = 2;

impl ProtoMessage {
    fn span(&mut self, span: &Span) {
        self.bytes(1, &span.trace_id.to_be_bytes());
        self.bytes(2, &span.span_id.to_be_bytes());
        if let Some(parent) = span.parent {
            self.bytes(4, &parent.to_be_bytes());
        }
        self.bytes(5, span.name.as_bytes());
        self.number(6, CLIENT);
        self.fixed(7, span.start);
        self.fixed(8, span.end);
        for (key, value) in &span.attributes {
            self.message(9, |it| it.attribute(key, value));
        }
        if let Some(error) = span.error {
            self.message(15, |status| {
                status.bytes(2, error.as_bytes());
                status.number(3, ERROR);
            });
        }
    }

    fn attribute(&mut self, key: &str, value: &Attribute) {
        self.bytes(1, key.as_bytes());
        self.message(2, |any| match value {
            Attribute::Text(text) => any.bytes(1, text.as_bytes()),
            Attribute::Whole(whole) => any.number(3, whole.cast_unsigned()),
            Attribute::Number(number) => any.fixed(4, number.to_bits()),
        });
    }

    fn message(&mut self, field: u64, fill: impl FnOnce(&mut Self)) {
        let mut inner = Self::default();
        fill(&mut inner);
        self.bytes(field, &inner.0);
    }

    fn bytes(&mut self, field: u64, bytes: &[u8]) {
        self.number_in(field << 3 | BYTES);
        self.number_in(bytes.len() as u64);
        self.0.extend_from_slice(bytes);
    }

    fn number(&mut self, field: u64, value: u64) {
        self.number_in(field << 3 | VARINT);
        self.number_in(value);
    }

    fn fixed(&mut self, field: u64, value: u64) {
        self.number_in(field << 3 | FIXED_64);
        self.0.extend_from_slice(&value.to_le_bytes());
    }

    /// Seven bits a byte, the lowest first; the eighth says that another byte follows.
    fn number_in(&mut self, mut value: u64) {
        while value >= 0x80 {
            self.0.push(value.to_le_bytes()[0] | 0x80);
            value >>= 7;
        }
        self.0.push(value.to_le_bytes()[0]);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_are_written_as_protocol_buffers_has_them() {
        let mut message = ProtoMessage::default();
        // The examples of https://protobuf.dev/programming-guides/encoding.
        message.number(1, 150);
        message.bytes(2, b"testing");
        message.message(3, |inner| inner.number(1, 150));
        message.fixed(4, 1);
        let expected = b"\x08\x96\x01\x12\x07testing\x1a\x03\x08\x96\x01\x21\x01\0\0\0\0\0\0\0";
        assert_eq!(message.0, expected);
        let mut least = ProtoMessage::default();
        least.number(3, (-1_i64).cast_unsigned());
        assert_eq!(least.0.len(), 11);
    }
}
