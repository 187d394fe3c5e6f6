//! Reads a collector's request as protocol buffers into what OTLP's JSON would be. It shares no code with what writes
//! them.

use serde_json::{Value, json};

/// What a field holds.
#[derive(Clone, Copy)]
enum Field<'a> {
    Number(u64),
    Fixed(u64),
    Bytes(&'a [u8]),
}

impl<'a> Field<'a> {
    fn bytes(self) -> &'a [u8] {
        match self {
            Self::Bytes(bytes) => bytes,
            Self::Number(_) | Self::Fixed(_) => panic!("no bytes"),
        }
    }

    fn text(self) -> Value {
        std::str::from_utf8(self.bytes()).unwrap().into()
    }

    fn hex(self) -> Value {
        hex::encode(self.bytes()).into()
    }

    fn number(self) -> u64 {
        match self {
            Self::Number(number) | Self::Fixed(number) => number,
            Self::Bytes(_) => panic!("no number"),
        }
    }
}

fn varint(bytes: &mut &[u8]) -> u64 {
    let mut number = 0;
    for shift in (0..).step_by(7) {
        let (byte, rest) = bytes.split_first().unwrap();
        *bytes = rest;
        number |= u64::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            break;
        }
    }
    number
}

fn fields(mut bytes: &[u8]) -> Vec<(u64, Field<'_>)> {
    let mut fields = Vec::new();
    while !bytes.is_empty() {
        let key = varint(&mut bytes);
        let field = match key & 7 {
            0 => Field::Number(varint(&mut bytes)),
            1 => {
                let (fixed, rest) = bytes.split_first_chunk().unwrap();
                bytes = rest;
                Field::Fixed(u64::from_le_bytes(*fixed))
            }
            2 => {
                let length = varint(&mut bytes) as usize;
                let (inner, rest) = bytes.split_at(length);
                bytes = rest;
                Field::Bytes(inner)
            }
            other => panic!("a wire type that nobody writes: {other}"),
        };
        fields.push((key >> 3, field));
    }
    fields
}

/// The messages in a repeated field.
fn all(bytes: &[u8], number: u64, read: impl Fn(&[u8]) -> Value) -> Value {
    let of = fields(bytes).into_iter();
    let of = of.filter(|(field, _)| *field == number);
    of.map(|(_, field)| read(field.bytes())).collect()
}

/// `ExportTraceServiceRequest`.
pub(super) fn request(bytes: &[u8]) -> Value {
    json!({"resourceSpans": all(bytes, 1, |bytes| {
        let mut resource = all(bytes, 1, |bytes| json!({"attributes": all(bytes, 1, attribute)}));
        json!({"resource": resource[0].take(), "scopeSpans": all(bytes, 2, |bytes| {
            let mut scope = all(bytes, 1, scope);
            json!({"scope": scope[0].take(), "spans": all(bytes, 2, span)})
        })})
    })})
}

fn scope(bytes: &[u8]) -> Value {
    let mut scope = json!({});
    for (number, field) in fields(bytes) {
        match number {
            1 => scope["name"] = field.text(),
            2 => scope["version"] = field.text(),
            other => panic!("{other}"),
        }
    }
    scope
}

fn span(bytes: &[u8]) -> Value {
    let mut span = json!({"attributes": all(bytes, 9, attribute)});
    for (number, field) in fields(bytes) {
        match number {
            1 => span["traceId"] = field.hex(),
            2 => span["spanId"] = field.hex(),
            4 => span["parentSpanId"] = field.hex(),
            5 => span["name"] = field.text(),
            6 => span["kind"] = field.number().into(),
            7 => span["startTimeUnixNano"] = field.number().to_string().into(),
            8 => span["endTimeUnixNano"] = field.number().to_string().into(),
            9 => {}
            15 => span["status"] = status(field.bytes()),
            other => panic!("{other}"),
        }
    }
    span
}

fn status(bytes: &[u8]) -> Value {
    let mut status = json!({});
    for (number, field) in fields(bytes) {
        match number {
            2 => status["message"] = field.text(),
            3 => status["code"] = field.number().into(),
            other => panic!("{other}"),
        }
    }
    status
}

fn attribute(bytes: &[u8]) -> Value {
    let mut attribute = json!({});
    for (number, field) in fields(bytes) {
        match number {
            1 => attribute["key"] = field.text(),
            2 => attribute["value"] = value(field.bytes()),
            other => panic!("{other}"),
        }
    }
    attribute
}

fn value(bytes: &[u8]) -> Value {
    let [(number, field)] = fields(bytes)[..] else {
        panic!("a value is one")
    };
    match number {
        1 => json!({"stringValue": field.text()}),
        3 => json!({"intValue": field.number().cast_signed().to_string()}),
        4 => json!({"doubleValue": f64::from_bits(field.number())}),
        other => panic!("{other}"),
    }
}
