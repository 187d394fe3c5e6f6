//! Reads an envelope for what it means, to compare two of them.

use std::collections::BTreeMap;

use serde_json::{Map, Value};

use super::path::{self, EscapeRule};
use crate::{
    _core::json_text,
    config::Transformer,
    migration::meaning::{CallMeaning, Meaning},
};

/// What an envelope says; `None` where it is none.
pub(in crate::transport::trpc) fn said(
    envelope: &[u8],
    transformer: Transformer,
) -> Option<CallMeaning> {
    let Ok(Value::Object(mut envelope)) = json_text::from_slice(envelope) else {
        return None;
    };
    let read = |value: Value| match transformer {
        Transformer::None => Some(Meaning::from(value)),
        Transformer::Superjson => wrapped(value),
    };
    if let Some(error) = envelope.remove("error") {
        return Some(error_of(read(error)?));
    }
    let Value::Object(mut result) = envelope.remove("result")? else {
        return None;
    };
    let data = result.remove("data");
    data.map_or(Some(Meaning::Undefined), read)
        .map(CallMeaning::Data)
}

fn error_of(error: Meaning) -> CallMeaning {
    let Meaning::Object(error) = error else {
        return unknown(String::new());
    };
    let text = |members: &BTreeMap<String, Meaning>, name: &str| match members.get(name) {
        Some(Meaning::Text(text)) => Some(text.clone()),
        _ => None,
    };
    let message = text(&error, "message").unwrap_or_default();
    let Some(Meaning::Object(data)) = error.get("data") else {
        return unknown(message);
    };
    match (text(data, "code"), data.get("httpStatus")) {
        (Some(code), Some(Meaning::Number(status))) => CallMeaning::Error {
            code,
            status: *status as u16,
            message,
        },
        _ => unknown(message),
    }
}

/// An error that does not say which.
fn unknown(message: String) -> CallMeaning {
    CallMeaning::Error {
        code: "INTERNAL_SERVER_ERROR".to_owned(),
        status: 500,
        message,
    }
}

/// `{json, meta?}`; what is no such object is `undefined`, as clients read it.
fn wrapped(value: Value) -> Option<Meaning> {
    let Value::Object(mut wrapped) = value else {
        return Some(Meaning::Undefined);
    };
    let Some(json) = wrapped.remove("json") else {
        return Some(Meaning::Undefined);
    };
    let mut meaning = Meaning::from(json);
    if let Some(Value::Object(meta)) = wrapped.remove("meta") {
        let is_v1 = meta.get("v").and_then(Value::as_f64) >= Some(1.0);
        let rule = if is_v1 {
            EscapeRule::V1
        } else {
            EscapeRule::Legacy
        };
        if let Some(notes) = meta.get("values").filter(|it| !it.is_null()) {
            apply(notes, &mut meaning, rule)?;
        }
    }
    Some(meaning)
}

/// Applies notes, those below first; `None` where they cannot be read.
fn apply(node: &Value, meaning: &mut Meaning, rule: EscapeRule) -> Option<()> {
    match node {
        Value::Object(children) => below(children, meaning, rule),
        Value::Array(note) => {
            if let Some(Value::Object(children)) = note.get(1) {
                below(children, meaning, rule)?;
            }
            become_noted(note.first()?, meaning);
            Some(())
        }
        _ => None,
    }
}

fn below(children: &Map<String, Value>, meaning: &mut Meaning, rule: EscapeRule) -> Option<()> {
    for (path, child) in children {
        let keys = path::split(path, rule).ok()?;
        let mut place = Some(&mut *meaning);
        for key in &keys {
            place = match place {
                Some(Meaning::Object(members)) => members.get_mut(&**key),
                Some(Meaning::List(items)) => {
                    let index: Option<usize> = key.parse().ok();
                    index.and_then(|index| items.get_mut(index))
                }
                _ => None,
            };
        }
        if let Some(place) = place {
            apply(child, place, rule)?;
        }
    }
    Some(())
}

/// Makes of a value what the note says that it is.
fn become_noted(kind: &Value, meaning: &mut Meaning) {
    let value = std::mem::replace(meaning, Meaning::Undefined);
    *meaning = match (kind.as_str(), value) {
        (Some("undefined"), _) => Meaning::Undefined,
        (Some("Date"), Meaning::Text(text)) => {
            let date = chrono::DateTime::parse_from_rfc3339(&text).ok();
            Meaning::Date(date.map(|date| date.timestamp_millis()))
        }
        (Some("Date"), _) => Meaning::Date(None),
        (Some("bigint"), Meaning::Text(digits)) => Meaning::BigInt(digits),
        (Some("bigint"), Meaning::Number(number)) => Meaning::BigInt(number.to_string()),
        (Some("number"), Meaning::Text(text)) => Meaning::Number(text.parse().unwrap_or(f64::NAN)),
        (Some("set"), Meaning::List(items)) => Meaning::Set(items),
        (Some("map"), Meaning::List(pairs)) => Meaning::Map(pairs),
        (Some(kind), value) => Meaning::Other(kind.to_owned(), Box::new(value)),
        (None, value) => Meaning::Other(kind.to_string(), Box::new(value)),
    };
}

#[cfg(test)]
mod tests {
    use super::*;

    fn data(envelope: &str) -> Meaning {
        match said(envelope.as_bytes(), Transformer::Superjson) {
            Some(CallMeaning::Data(data)) => data,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn notes_say_what_json_cannot() {
        let found = data(
            r#"{"result":{"data":{"json":{"at":"1970-01-01T00:00:00.005Z","big":"7","set":["1970-01-01T00:00:00.000Z"],"none":null,"n":"NaN","a.b":null},"meta":{"values":{"at":["Date"],"big":["bigint"],"set":["set",{"0":["Date"]}],"none":["undefined"],"n":["number"],"a\\.b":["undefined"]},"v":1}}}}"#,
        );
        let Meaning::Object(members) = found else {
            panic!("{found:?}")
        };
        assert_eq!(members["at"], Meaning::Date(Some(5)));
        assert_eq!(members["big"], Meaning::BigInt("7".into()));
        assert_eq!(members["set"], Meaning::Set(vec![Meaning::Date(Some(0))]));
        assert_eq!(members["none"], Meaning::Undefined);
        assert_eq!(members["a.b"], Meaning::Undefined);
        assert!(matches!(members["n"], Meaning::Number(n) if n.is_nan()));
        assert_eq!(data(r#"{"result":{}}"#), Meaning::Undefined);
        assert_eq!(
            data(r#"{"id":1,"result":{"type":"data","data":{"json":null}}}"#),
            Meaning::Null
        );
    }

    #[test]
    fn errors_have_code_status_and_message() {
        let error = r#"{"error":{"json":{"message":"no","code":-32004,"data":{"code":"NOT_FOUND","httpStatus":404,"path":"a.b"}}}}"#;
        let expected = CallMeaning::Error {
            code: "NOT_FOUND".into(),
            status: 404,
            message: "no".into(),
        };
        let found = said(error.as_bytes(), Transformer::Superjson);
        assert_eq!(found, Some(expected));
        assert!(said(b"[]", Transformer::Superjson).is_none());
        assert!(said(b"<html>", Transformer::None).is_none());
    }
}
