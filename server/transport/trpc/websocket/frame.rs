//! The frames of a tRPC socket: what clients send, taken apart, and what they get, put together.

use std::sync::Arc;

use serde::Deserialize;
use serde_json::{Map, Value, value::RawValue};

use super::super::envelope::{self, CallFailure, Payload};
use crate::{
    _core::{
        errors::{ErrorCode, RpcError},
        json_text,
        procedure::ProcedureKind,
    },
    config::Transformer,
};

/// Asks the client to open a new socket and to resume its subscriptions there.
pub(super) const RECONNECT: &[u8] = br#"{"id":null,"method":"reconnect"}"#;

/// One text frame of a client.
#[derive(Debug, PartialEq)]
pub enum Incoming {
    /// The bare text `PING`, to be answered with `PONG`.
    Ping,
    /// The bare text `PONG`.
    Pong,
    /// The first frame of a socket that was opened with `connectionParams=1`.
    ConnectionParams(Option<Value>),
    /// One message, or the elements of an array.
    Messages(Vec<ClientMessage>),
}

/// What a client asks for.
#[derive(Debug, PartialEq)]
pub enum ClientMessage {
    /// `query`, `mutation` or `subscription`.
    Request(CallFrame),
    /// `subscription.stop`.
    Stop(AnswerHead),
}

impl ClientMessage {
    /// Drops what is large, of a request that is not to be run.
    pub fn forget_input(&mut self) {
        if let Self::Request(request) = self {
            request.input = None;
        }
    }
}

/// A request to call a procedure.
#[derive(Debug, PartialEq)]
pub struct CallFrame {
    /// What the answer repeats.
    pub head: AnswerHead,
    /// The request's method.
    pub kind: ProcedureKind,
    /// `params.path`.
    pub path: String,
    /// `params.input`, still transformed.
    pub input: Option<Value>,
    /// `params.lastEventId`.
    pub last_event_id: Option<String>,
}

/// What every frame of an answer repeats from the request.
#[derive(Clone, Debug, PartialEq)]
pub struct AnswerHead {
    /// As JSON, so that `1` and `"1"` stay apart.
    pub id: Arc<str>,
    /// Whether the request said `"jsonrpc":"2.0"`.
    pub jsonrpc: bool,
}

/// Takes a text frame apart; the error says what is wrong with it.
///
/// One bad element fails the whole array, as in the reference server.
pub fn parse(text: &str, expects_params: bool) -> Result<Incoming, RpcError> {
    match text {
        "PING" => return Ok(Incoming::Ping),
        "PONG" => return Ok(Incoming::Pong),
        _ => {}
    }
    let value = json_text::from_str(text)
        .map_err(|error| fault(format!("the frame is not valid JSON: {error}")))?;
    if expects_params {
        return connection_params(value);
    }
    let messages = match value {
        Value::Array(elements) => elements
            .into_iter()
            .map(message)
            .collect::<Result<_, _>>()?,
        other => vec![message(other)?],
    };
    Ok(Incoming::Messages(messages))
}

/// The same without inputs, in about the memory of the text: for who asks, when nothing can be run.
pub fn parse_heads(text: &str) -> Result<Incoming, RpcError> {
    let wrong = |error| fault(format!("the frame is not valid JSON: {error}"));
    let elements = match text.trim_ascii_start().starts_with('[') {
        true => serde_json::from_str::<Vec<&RawValue>>(text).map_err(wrong)?,
        false => vec![serde_json::from_str::<&RawValue>(text).map_err(wrong)?],
    };
    let heads = elements.into_iter().map(|element| {
        // A list could be taken for the members in their order.
        if !element.get().starts_with('{') {
            return Err(fault("a request has to be an object"));
        }
        let look: Look<'_> = serde_json::from_str(element.get()).map_err(wrong)?;
        message(look.frame())
    });
    Ok(Incoming::Messages(heads.collect::<Result<_, _>>()?))
}

/// What of a request is not its input.
#[derive(Deserialize)]
struct Look<'a> {
    #[serde(borrow)]
    id: Option<&'a RawValue>,
    #[serde(borrow)]
    jsonrpc: Option<&'a RawValue>,
    #[serde(borrow)]
    method: Option<&'a RawValue>,
    #[serde(borrow)]
    params: Option<LookParams<'a>>,
}

#[derive(Deserialize)]
struct LookParams<'a> {
    #[serde(borrow)]
    path: Option<&'a RawValue>,
}

/// The longest text of a member that is no input.
const HEAD_BYTES: usize = 4 * 1024;

impl Look<'_> {
    fn frame(&self) -> Value {
        let value = |raw: Option<&RawValue>| {
            let raw = raw.filter(|raw| raw.get().len() <= HEAD_BYTES)?;
            json_text::from_str::<Value>(raw.get()).ok()
        };
        let path = |params: &LookParams<'_>| {
            let path = value(params.path).map(|path| ("path".to_owned(), path));
            Value::Object(path.into_iter().collect())
        };
        let members = [
            ("id", value(self.id)),
            ("jsonrpc", value(self.jsonrpc)),
            ("method", value(self.method)),
            ("params", self.params.as_ref().map(path)),
        ];
        let members = members.into_iter();
        let members = members.filter_map(|(name, value)| Some((name.to_owned(), value?)));
        Value::Object(members.collect())
    }
}

fn connection_params(value: Value) -> Result<Incoming, RpcError> {
    match value {
        Value::Object(mut frame)
            if frame.get("method").and_then(Value::as_str) == Some("connectionParams") =>
        {
            let params = frame.get_mut("data").map(Value::take);
            Ok(Incoming::ConnectionParams(params))
        }
        _ => Err(fault("the first frame has to bring `connectionParams`")),
    }
}

fn message(value: Value) -> Result<ClientMessage, RpcError> {
    let Value::Object(mut frame) = value else {
        return Err(fault("a request has to be an object"));
    };
    let head = head(&frame)?;
    let kind = match frame.get("method").and_then(Value::as_str) {
        Some("query") => ProcedureKind::Query,
        Some("mutation") => ProcedureKind::Mutation,
        Some("subscription") => ProcedureKind::Subscription,
        Some("subscription.stop") => return Ok(ClientMessage::Stop(head)),
        _ => {
            return Err(fault(
                "`method` has to be query, mutation, subscription or subscription.stop",
            ));
        }
    };
    let Some(Value::Object(params)) = frame.get_mut("params") else {
        return Err(fault("`params` has to be an object"));
    };
    let path = match params.get_mut("path").map(Value::take) {
        Some(Value::String(path)) => path,
        _ => return Err(fault("`params.path` has to be a string")),
    };
    let last_event_id = match params.get_mut("lastEventId").map(Value::take) {
        None => None,
        Some(Value::String(id)) => Some(id).filter(|id| !id.is_empty()),
        Some(_) => return Err(fault("`params.lastEventId` has to be a string")),
    };
    Ok(ClientMessage::Request(CallFrame {
        head,
        kind,
        path,
        input: params.get_mut("input").map(Value::take),
        last_event_id,
    }))
}

fn head(frame: &Map<String, Value>) -> Result<AnswerHead, RpcError> {
    let id = match frame.get("id") {
        Some(id @ (Value::Number(_) | Value::String(_))) => id.to_string(),
        _ => return Err(fault("`id` has to be a number or a string")),
    };
    let jsonrpc = match frame.get("jsonrpc") {
        None => false,
        Some(Value::String(version)) if version == "2.0" => true,
        Some(_) => return Err(fault("`jsonrpc` has to be \"2.0\" where it is sent")),
    };
    Ok(AnswerHead {
        id: id.into(),
        jsonrpc,
    })
}

fn fault(message: impl Into<std::borrow::Cow<'static, str>>) -> RpcError {
    RpcError::new(ErrorCode::ParseError, message)
}

impl AnswerHead {
    /// Of answers to frames that name no call.
    pub(super) fn none() -> Self {
        Self {
            id: "null".into(),
            jsonrpc: false,
        }
    }

    /// An answer, or one event of a subscription; `event_id` is set for tracked ones.
    pub(super) fn data(
        &self,
        payload: &Payload,
        event_id: Option<&str>,
        transformer: Transformer,
    ) -> Vec<u8> {
        let mut frame = self.open(512);
        frame.extend_from_slice(b"\"result\":{\"type\":\"data\"");
        if let Some(id) = event_id {
            frame.extend_from_slice(b",\"id\":");
            envelope::write_string(&mut frame, id);
        }
        payload.write_member(transformer, ",", &mut frame);
        frame.extend_from_slice(b"}}");
        frame
    }

    pub(super) fn error(&self, failure: &CallFailure, transformer: Transformer) -> Vec<u8> {
        let mut frame = self.open(256);
        frame.extend_from_slice(b"\"error\":");
        failure.write(transformer, &mut frame);
        frame.push(b'}');
        frame
    }

    pub(super) fn started(&self) -> Vec<u8> {
        self.state(b"\"result\":{\"type\":\"started\"}}")
    }

    pub(super) fn stopped(&self) -> Vec<u8> {
        self.state(b"\"result\":{\"type\":\"stopped\"}}")
    }

    fn state(&self, rest: &[u8]) -> Vec<u8> {
        let mut frame = self.open(rest.len());
        frame.extend_from_slice(rest);
        frame
    }

    fn open(&self, rest: usize) -> Vec<u8> {
        let mut frame = Vec::with_capacity(rest + self.id.len() + 24);
        frame.extend_from_slice(b"{\"id\":");
        frame.extend_from_slice(self.id.as_bytes());
        frame.push(b',');
        if self.jsonrpc {
            frame.extend_from_slice(b"\"jsonrpc\":\"2.0\",");
        }
        frame
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;
    use crate::_core::shape::Shape;

    fn one(text: &str) -> ClientMessage {
        match parse(text, false).unwrap() {
            Incoming::Messages(mut messages) if messages.len() == 1 => messages.remove(0),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn requests_and_stops_are_taken_apart() {
        let message = one(
            r#"{"id":7,"jsonrpc":"2.0","method":"subscription","params":{"path":"a.b","input":{"json":1},"lastEventId":"5"}}"#,
        );
        assert_eq!(
            message,
            ClientMessage::Request(CallFrame {
                head: AnswerHead {
                    id: "7".into(),
                    jsonrpc: true
                },
                kind: ProcedureKind::Subscription,
                path: "a.b".into(),
                input: Some(json!({"json": 1})),
                last_event_id: Some("5".into()),
            })
        );
        let ClientMessage::Stop(head) = one(r#"{"id":"7","method":"subscription.stop"}"#) else {
            panic!("not a stop")
        };
        assert_eq!(&*head.id, "\"7\"");
    }

    #[test]
    fn heads_are_those_of_the_whole() {
        for text in [
            r#"{"id":7,"jsonrpc":"2.0","method":"query","params":{"path":"a.b","input":{"json":[1]}}}"#,
            r#" [{"id":"x\ud83d","method":"mutation","params":{"input":["\ud83d"],"path":"a\u0041"}},{"id":1,"method":"subscription.stop"}]"#,
            r#"[{"id":7,"method":"query","params":{"path":"a"}},[7]]"#,
            r#"{"id":7,"method":"query","params":{"input":1}}"#,
            r#"{"id":{},"method":"query","params":{"path":"a"}}"#,
            "[]",
            "[",
            "7",
        ] {
            let whole = parse(text, false).map(|whole| match whole {
                Incoming::Messages(mut messages) => {
                    messages.iter_mut().for_each(ClientMessage::forget_input);
                    Incoming::Messages(messages)
                }
                other => other,
            });
            match (parse_heads(text), whole) {
                (Ok(heads), Ok(whole)) => assert_eq!(heads, whole),
                (heads, whole) => assert_eq!(heads.is_err(), whole.is_err(), "{text}"),
            }
        }
        let long = format!(
            r#"{{"id":"{}","method":"query","params":{{"path":"a"}}}}"#,
            "x".repeat(5_000)
        );
        assert!(parse_heads(&long).is_err());
    }

    #[test]
    fn half_a_character_does_not_fail_a_frame() {
        let message =
            one(r#"{"id":1,"method":"query","params":{"path":"a","input":{"json":"x\ud83d"}}}"#);
        let ClientMessage::Request(request) = message else {
            panic!("{message:?}");
        };
        assert_eq!(request.input, Some(json!({"json": "x\u{fffd}"})));
    }

    #[test]
    fn pings_are_bare_text() {
        assert_eq!(parse("PING", true).unwrap(), Incoming::Ping);
        assert_eq!(parse("PONG", false).unwrap(), Incoming::Pong);
    }

    #[test]
    fn one_bad_element_fails_the_frame() {
        let good = r#"{"id":1,"method":"query","params":{"path":"a"}}"#;
        assert!(parse(&format!("[{good},{good}]"), false).is_ok());
        for bad in [
            "{oops",
            "5",
            "null",
            r#"{"method":"query","params":{"path":"a"}}"#,
            r#"{"id":null,"method":"query","params":{"path":"a"}}"#,
            r#"{"id":{},"method":"query","params":{"path":"a"}}"#,
            r#"{"id":1,"method":"nope","params":{"path":"a"}}"#,
            r#"{"id":1,"method":"query"}"#,
            r#"{"id":1,"method":"query","params":{"path":5}}"#,
            r#"{"id":1,"method":"query","params":{"path":"a","lastEventId":5}}"#,
            r#"{"id":1,"jsonrpc":"1.0","method":"query","params":{"path":"a"}}"#,
            r#"{"method":"connectionParams","data":null}"#,
        ] {
            let error = parse(bad, false).unwrap_err();
            assert_eq!(error.code, ErrorCode::ParseError, "{bad}");
            assert!(parse(&format!("[{good},{bad}]"), false).is_err(), "{bad}");
        }
    }

    #[test]
    fn connection_params_are_the_first_frame_where_they_are_announced() {
        assert_eq!(
            parse(r#"{"method":"connectionParams","data":{"a":"b"}}"#, true).unwrap(),
            Incoming::ConnectionParams(Some(json!({"a": "b"})))
        );
        assert_eq!(
            parse(r#"{"method":"connectionParams","data":null}"#, true).unwrap(),
            Incoming::ConnectionParams(Some(Value::Null))
        );
        assert!(parse(r#"{"id":1,"method":"query","params":{"path":"a"}}"#, true).is_err());
    }

    #[test]
    fn answers_repeat_the_id_as_it_was_sent() {
        let head = |id: &str, jsonrpc| AnswerHead {
            id: id.into(),
            jsonrpc,
        };
        let text = |frame: Vec<u8>| String::from_utf8(frame).unwrap();
        assert_eq!(
            text(head("1", false).started()),
            r#"{"id":1,"result":{"type":"started"}}"#
        );
        assert_eq!(
            text(head("\"1\"", true).stopped()),
            r#"{"id":"1","jsonrpc":"2.0","result":{"type":"stopped"}}"#
        );
        let plain = Transformer::None;
        let payload = Payload::encode(plain, &Shape::Any, &5).unwrap();
        assert_eq!(
            text(head("1", false).data(&payload, Some("e\"1"), plain)),
            r#"{"id":1,"result":{"type":"data","id":"e\"1","data":5}}"#
        );
        let undefined = Shape::UndefinedOr(Box::new(Shape::Any));
        let payload = Payload::encode(plain, &undefined, &()).unwrap();
        assert_eq!(
            text(head("1", false).data(&payload, None, plain)),
            r#"{"id":1,"result":{"type":"data"}}"#
        );
    }

    proptest! {
        #[test]
        fn no_text_panics(text in ".*", expects_params: bool) {
            let _ = parse(&text, expects_params);
        }

        #[test]
        fn no_shape_of_request_panics(
            id in prop_oneof![Just(json!(1)), Just(json!("a")), Just(json!([])), Just(Value::Null)],
            method in prop_oneof![Just("query"), Just("subscription"), Just("subscription.stop"), Just("x")],
            path in prop_oneof![Just(json!("a.b")), Just(json!(1)), Just(Value::Null)],
            array: bool,
        ) {
            let request = json!({"id": id, "method": method, "params": {"path": path}});
            let frame = if array { json!([request]) } else { request };
            let _ = parse(&frame.to_string(), false);
        }
    }
}
