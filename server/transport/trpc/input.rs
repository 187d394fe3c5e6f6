//! Reads inputs: from `?input=`, from bodies of three kinds, and from plain query parameters.

use std::{borrow::Cow, collections::HashMap};

use bytes::Bytes;
use http::{HeaderMap, header};
use serde::de::IgnoredAny;
use serde_json::{Map, Value, value::RawValue};

use super::superjson;
use crate::{
    _core::{
        errors::{ErrorCode, RpcError},
        json_text,
        procedure::{FormData, FormField, Input},
        shape::{Shape, ShapeField},
    },
    config::Transformer,
};

/// Parts of a form; each takes much more memory than its few bytes of text.
const MAX_PARTS: usize = 1_000;

/// The JSON document of a request; nothing where there is none.
pub(super) fn parse(text: &[u8]) -> Result<Option<Value>, RpcError> {
    if text.is_empty() {
        return Ok(None);
    }
    json_text::from_slice(text)
        .map(Some)
        .map_err(|error| not_json(&error))
}

fn not_json(error: &serde_json::Error) -> RpcError {
    RpcError::bad_request(format!("input is not valid JSON: {error}"))
}

/// Undoes the transformer of one input.
pub(super) fn decode(transformer: Transformer, value: Value) -> Result<Input, RpcError> {
    match transformer {
        Transformer::None => Ok(Input::Json(value)),
        Transformer::Superjson => match superjson::decode(value) {
            Ok(Some(value)) => Ok(Input::Json(value)),
            Ok(None) => Ok(Input::Absent),
            Err(fault) => Err(RpcError::bad_request(format!(
                "input is not valid superjson: {fault}"
            ))),
        },
    }
}

/// One input as it was sent, its transformer undone; nothing where there is none.
pub(super) fn read(text: Option<&[u8]>, transformer: Transformer) -> Result<Input, RpcError> {
    match parse(text.unwrap_or_default())? {
        Some(value) => decode(transformer, value),
        None => Ok(Input::Absent),
    }
}

/// The inputs of a batch: one object, by decimal index. Each is read when it is taken, so that those
/// of calls that are refused are not.
#[derive(Debug, Default)]
pub(super) struct BatchInputs(HashMap<String, Box<RawValue>>);

impl BatchInputs {
    pub(super) fn parse(text: &[u8]) -> Result<Self, RpcError> {
        if text.is_empty() {
            return Ok(Self::default());
        }
        if !text.trim_ascii_start().starts_with(b"{") {
            json_text::from_slice::<IgnoredAny>(text).map_err(|error| not_json(&error))?;
            return Err(RpcError::bad_request(
                "\"input\" needs to be an object when doing a batch call",
            ));
        }
        json_text::from_slice(text)
            .map(Self)
            .map_err(|error| not_json(&error))
    }

    /// The text of one input, which can be taken once.
    pub(super) fn take_text(&mut self, index: usize) -> Option<Box<RawValue>> {
        self.0.remove(itoa::Buffer::new().format(index))
    }

    /// The input of one call, which can be taken once.
    pub(super) fn take(
        &mut self,
        index: usize,
        transformer: Transformer,
    ) -> Result<Input, RpcError> {
        let text = self.take_text(index);
        read(
            text.as_deref().map(RawValue::get).map(str::as_bytes),
            transformer,
        )
    }
}

/// A tracked subscription's resume point goes into its input, as the client library does it, too.
pub(super) fn add_last_event_id(input: &mut Input, id: String) {
    match input {
        Input::Absent => {
            *input = Input::Json(Value::Object(Map::from_iter([(
                "lastEventId".to_owned(),
                Value::String(id),
            )])));
        }
        Input::Json(Value::Object(fields)) => {
            fields.insert("lastEventId".to_owned(), Value::String(id));
        }
        Input::Json(_) | Input::Form(_) | Input::Binary(_) => {}
    }
}

/// Reads plain query parameters (`?lastMinutes=60`) into an object of this shape.
///
/// Parameters that are not fields are ignored. A text that is no number where one is expected stays
/// text, so that the check of the shape names the field.
pub(super) fn from_parameters(shape: &Shape, query: &str) -> Input {
    let Some(fields) = object_fields(shape).filter(|_| !query.is_empty()) else {
        return Input::Absent;
    };
    let mut object = Map::new();
    for (name, text) in form_urlencoded::parse(query.as_bytes()) {
        if let Some(field) = fields.iter().find(|field| field.name == name)
            && !object.contains_key(&field.name)
        {
            object.insert(field.name.clone(), parameter(&field.shape, text));
        }
    }
    if object.is_empty() {
        Input::Absent
    } else {
        Input::Json(Value::Object(object))
    }
}

fn object_fields(shape: &Shape) -> Option<&[ShapeField]> {
    match shape.resolve() {
        Shape::Object { fields, .. } => Some(fields),
        Shape::UndefinedOr(inner) => object_fields(inner),
        Shape::Union(shapes) => shapes.iter().find_map(object_fields),
        _ => None,
    }
}

fn parameter(shape: &Shape, text: Cow<'_, str>) -> Value {
    let parsed = || serde_json::from_str::<Value>(&text).ok();
    let value = match shape.resolve() {
        Shape::Number(_) | Shape::SpecialNumber => parsed().filter(Value::is_number),
        Shape::Boolean => parsed().filter(Value::is_boolean),
        Shape::Literal(constants) => parsed().filter(|value| constants.contains(value)),
        Shape::UndefinedOr(inner) => return parameter(inner, text),
        Shape::Union(shapes) => shapes
            .iter()
            .map(|shape| parameter(shape, text.clone()))
            .find(|value| !value.is_string()),
        _ => None,
    };
    value.unwrap_or_else(|| Value::String(text.into_owned()))
}

/// Reads a `multipart/form-data` body.
pub(super) async fn form(headers: &HeaderMap, body: Bytes) -> Result<Input, RpcError> {
    let malformed = |error: multer::Error| {
        RpcError::bad_request(format!(
            "the body is not valid multipart/form-data: {error}"
        ))
    };
    let content_type = headers
        .get(header::CONTENT_TYPE)
        .and_then(|value| value.to_str().ok())
        .unwrap_or_default();
    let boundary = multer::parse_boundary(content_type).map_err(malformed)?;
    let body = futures::stream::once(async { Ok::<_, std::convert::Infallible>(body) });
    let mut parts = multer::Multipart::new(body, boundary);
    let mut fields = Vec::new();
    while let Some(part) = parts.next_field().await.map_err(malformed)? {
        if fields.len() == MAX_PARTS {
            return Err(RpcError::new(
                ErrorCode::PayloadTooLarge,
                format!("the form has more than {MAX_PARTS} parts"),
            ));
        }
        fields.push(FormField {
            name: part.name().unwrap_or_default().to_owned(),
            file_name: part.file_name().map(str::to_owned),
            bytes: part.bytes().await.map_err(malformed)?,
        });
    }
    Ok(Input::Form(FormData(fields)))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn shape() -> Shape {
        let schema = json!({
            "type": "object",
            "properties": {
                "lastMinutes": {"type": "number"},
                "verbose": {"type": "boolean"},
                "task": {"type": "string"},
                "limit": {"anyOf": [{"$ref": "#/$defs/Limit"}, {"type": "null"}]},
                "order": {"enum": ["1", 2]},
            },
        });
        let definitions = json!({"Limit": {"type": "integer"}});
        Shape::compile(&schema, definitions.as_object().unwrap())
    }

    fn parameters(query: &str) -> Option<Value> {
        match from_parameters(&shape(), query) {
            Input::Json(value) => Some(value),
            Input::Absent => None,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn half_a_character_does_not_fail_a_batch() {
        let body = br#"{"0": {"json": {"title": "x\ud83d"}}, "1": {"json": 2}}"#;
        let mut inputs = BatchInputs::parse(body).unwrap();
        let mut take = |index| match inputs.take(index, Transformer::Superjson).unwrap() {
            Input::Json(value) => value,
            other => panic!("{other:?}"),
        };
        assert_eq!(take(0), json!({"title": "x\u{fffd}"}));
        assert_eq!(take(1), json!(2));
    }

    #[test]
    fn parameters_become_fields_by_their_shape() {
        assert_eq!(
            parameters("lastMinutes=60&verbose=true&task=7&limit=5&order=2&x=1&lastMinutes=9"),
            Some(json!({"lastMinutes": 60, "verbose": true, "task": "7", "limit": 5, "order": 2}))
        );
        assert_eq!(parameters("x=1"), None);
        assert_eq!(parameters(""), None);
        assert_eq!(
            parameters("lastMinutes=soon&verbose=1"),
            Some(json!({"lastMinutes": "soon", "verbose": "1"}))
        );
    }

    #[test]
    fn a_batch_takes_its_inputs_from_one_object() {
        let mut inputs = BatchInputs::parse(br#"{"0":1,"2":null,"__proto__":3}"#).unwrap();
        let mut take = |index| match inputs.take(index, Transformer::None).unwrap() {
            Input::Json(value) => Some(value),
            _ => None,
        };
        assert_eq!(take(0), Some(json!(1)));
        assert_eq!(take(1), None);
        assert_eq!(take(2), Some(Value::Null));
        assert!(BatchInputs::parse(b"").is_ok());
        for wrong in ["[1,2]", "5", "{bad"] {
            assert!(BatchInputs::parse(wrong.as_bytes()).is_err(), "{wrong}");
        }
    }

    #[test]
    fn the_last_event_id_joins_objects_and_nothing_else() {
        let joined = |mut input| {
            add_last_event_id(&mut input, "7".into());
            match input {
                Input::Json(value) => value,
                other => panic!("{other:?}"),
            }
        };
        assert_eq!(joined(Input::Absent), json!({"lastEventId": "7"}));
        assert_eq!(
            joined(Input::Json(json!({"a": 1, "lastEventId": "3"}))),
            json!({"a": 1, "lastEventId": "7"})
        );
        assert_eq!(joined(Input::Json(json!(5))), json!(5));
    }

    #[tokio::test]
    async fn forms_keep_names_files_and_order() {
        let mut headers = HeaderMap::new();
        headers.insert(
            header::CONTENT_TYPE,
            "multipart/form-data; boundary=X".parse().unwrap(),
        );
        let body = "--X\r\nContent-Disposition: form-data; name=\"a\"\r\n\r\n1\r\n--X\r\nContent-Disposition: form-data; name=\"f\"; filename=\"n.txt\"\r\n\r\nhi\r\n--X--\r\n";
        let Input::Form(FormData(fields)) = form(&headers, Bytes::from(body)).await.unwrap() else {
            panic!("not a form")
        };
        let seen: Vec<_> = fields
            .iter()
            .map(|f| (&*f.name, f.file_name.as_deref(), &f.bytes[..]))
            .collect();
        assert_eq!(
            seen,
            [("a", None, &b"1"[..]), ("f", Some("n.txt"), &b"hi"[..])]
        );
        let part = "--X\r\nContent-Disposition: form-data; name=\"a\"\r\n\r\n1\r\n";
        for (parts, error) in [
            (MAX_PARTS, None),
            (MAX_PARTS + 1, Some(ErrorCode::PayloadTooLarge)),
        ] {
            let body = part.repeat(parts) + "--X--\r\n";
            let read = form(&headers, Bytes::from(body)).await;
            assert_eq!(read.err().map(|error| error.code), error, "{parts}");
        }
        for broken in ["", "--X\r\nnonsense"] {
            let error = form(&headers, Bytes::from(broken)).await.unwrap_err();
            assert_eq!(error.code, ErrorCode::BadRequest, "{broken:?}");
        }
    }
}
