//! Calls that came by JSON-RPC or MCP, for a procedure that the old server answers: asked there as tRPC, one by one.
//!
//! What the old server says comes back as these wires write it: plain JSON, without superjson's notes. It decides who may
//! call, as it does for calls by tRPC. `?side=native` asks this server, whatever the moves say.

use std::{net::SocketAddr, sync::Arc};

use axum::extract::ConnectInfo;
use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Method, header, request};
use serde::Deserialize;
use serde_json::{Value, value::RawValue};

use super::{
    Trpc,
    envelope::Payload,
    moving::{Lead, MovingCall, MovingRun},
    part::PassedEnvelope as Envelope,
    passing,
    request::QueryParameters,
};
use crate::{
    _core::{
        context::Context,
        errors::{ErrorCode, RpcError},
        procedure::{Input, Procedure, ProcedureKind},
        registry::Target,
    },
    config::Transformer,
    legacy::{
        ForwardedCaller, LegacyBody, LegacyFault, OldServer, Onward,
        answer::{check_single, refused, status_of},
        lines::Wrapped,
        paths::component,
        send::AnswerRoom,
    },
};

/// Headers that say something of the request as it came, and not of whoever sent it.
const OF_THE_REQUEST: [&str; 10] = [
    "content-type",
    "content-encoding",
    "accept",
    "accept-encoding",
    "trpc-accept",
    "sec-websocket-key",
    "sec-websocket-version",
    "sec-websocket-extensions",
    "sec-websocket-protocol",
    "mcp-protocol-version",
];

/// Where a call came from: by this the old server knows who asks.
#[derive(Clone)]
pub(in crate::transport) struct CallOrigin(Arc<OriginParts>);

struct OriginParts {
    headers: Arc<HeaderMap>,
    peer: Option<SocketAddr>,
    asks_this_server: bool,
}

/// Which server answers a call.
pub(in crate::transport) enum AnsweringServer {
    /// This one; what it answers is noted.
    Ours(Option<MovingRun>),
    /// The old one.
    Theirs(PassedCall),
    /// Neither: the old one has it, and cannot be asked.
    Refused(RpcError),
}

/// A call that is the old server's to answer.
pub(in crate::transport) struct PassedCall {
    old: Arc<OldServer>,
    watched: Option<MovingCall>,
}

impl CallOrigin {
    /// Of a request, or of the one that opened a socket.
    pub(in crate::transport) fn of(parts: &request::Parts) -> Self {
        let peer = parts.extensions.get::<ConnectInfo<SocketAddr>>();
        let query = QueryParameters::parse(parts.uri.query().unwrap_or_default());
        Self(Arc::new(OriginParts {
            headers: Arc::new(parts.headers.clone()),
            peer: peer.map(|ConnectInfo(peer)| *peer),
            asks_this_server: query.asks_this_server,
        }))
    }
}

impl MovingRun {
    /// Notes what this server answered, by another wire.
    pub(in crate::transport) fn ended<T>(self, answer: &Result<T, RpcError>) {
        self.ended_with(
            answer
                .as_ref()
                .map_or_else(|error| error.code.http_status(), |_| 200),
        );
    }
}

impl Trpc {
    /// Which server answers a call of this procedure.
    pub(in crate::transport) async fn side(
        &self,
        procedure: &Arc<Procedure>,
        origin: &CallOrigin,
    ) -> AnsweringServer {
        let OriginParts {
            headers,
            asks_this_server,
            ..
        } = &*origin.0;
        let (Some(old), false) = (&self.old, asks_this_server) else {
            return AnsweringServer::Ours(None);
        };
        let target = Target::Here(procedure.clone());
        let Lead { target, watched } = self.lead_to(target, headers, &mut None).await;
        if target.here().is_some() {
            return AnsweringServer::Ours(watched.map(MovingCall::run));
        }
        if old.has_passed(headers) {
            return AnsweringServer::Refused(passing::loop_error());
        }
        if procedure.kind == ProcedureKind::Subscription {
            return AnsweringServer::Refused(RpcError::new(
                ErrorCode::NotImplemented,
                "the old server answers this subscription, which comes over tRPC only",
            ));
        }
        AnsweringServer::Theirs(PassedCall {
            old: old.clone(),
            watched,
        })
    }

    /// Asks the old server for a query or a mutation; its answer as plain JSON.
    pub(in crate::transport) async fn ask_old(
        self: &Arc<Self>,
        theirs: PassedCall,
        procedure: &Procedure,
        input: Input,
        (origin, context): (&CallOrigin, &Context),
    ) -> Result<Box<RawValue>, RpcError> {
        let PassedCall { old, watched } = theirs;
        let OriginParts { headers, peer, .. } = &*origin.0;
        let asker = ForwardedCaller {
            peer: peer.map(|peer| peer.ip()),
            https: self.gate.site().is_https(headers),
            host: self.gate.site().host(headers),
        };
        let mut onward = old.headers(headers, &asker);
        for name in OF_THE_REQUEST {
            onward.remove(name);
        }
        let text = written(self.config.transformer, procedure, &input)?;
        let is_query = procedure.kind == ProcedureKind::Query;
        let query = text.as_deref().filter(|_| is_query);
        let query = query.map(|text| format!("input={}", component(text)));
        let path = format!("/{}", procedure.path);
        let url = old
            .calls_url(&path, query.as_deref())
            .map_err(RpcError::from)?;
        let (method, body) = match is_query {
            true => (Method::GET, Bytes::new()),
            false => {
                let json = HeaderValue::from_static("application/json");
                onward.insert(header::CONTENT_TYPE, json);
                (Method::POST, text.unwrap_or_default().into())
            }
        };
        let passed = watched.map(|watched| {
            let compared = watched.compares().then_some(input);
            watched.passed_on(self, headers.clone(), compared)
        });
        let request = Onward {
            method,
            url,
            headers: onward,
            body: LegacyBody::Bytes(body),
        };
        let answered = read(&old, request, context).await;
        old.note(&answered);
        match answered {
            Ok((envelope, _held)) => {
                if let Some(passed) = passed {
                    passed.answered(status_of(&envelope), Some(envelope.clone()));
                }
                said(&envelope, self.config.transformer)
            }
            Err(fault) => {
                if let Some(passed) = passed {
                    passed.failed(&fault);
                }
                Err(fault.into())
            }
        }
    }
}

/// An input as the old server reads it; none where there is none.
fn written(
    transformer: Transformer,
    procedure: &Procedure,
    input: &Input,
) -> Result<Option<String>, RpcError> {
    let Input::Json(value) = input else {
        return Ok(None);
    };
    let payload = Payload::encode(transformer, &procedure.input, value)?;
    let mut text = Vec::new();
    payload.write(transformer, &mut text);
    let text = String::from_utf8(text).map_err(RpcError::internal)?;
    Ok(Some(text))
}

/// An envelope, and the room that it takes.
async fn read(
    old: &Arc<OldServer>,
    request: Onward,
    context: &Context,
) -> Result<(Bytes, AnswerRoom), LegacyFault> {
    let mut reply = old.send(request).await?;
    for cookie in reply.headers().get_all(header::SET_COOKIE) {
        context.cookies.push(cookie.clone());
    }
    let (status, retry_after) = (reply.status().as_u16(), reply.retry_after());
    let (bytes, held) = reply.read_whole().await?;
    check_single(&bytes).map_err(|fault| refused(status, retry_after, fault))?;
    Ok((bytes, held))
}

#[derive(Deserialize)]
struct TheirError {
    message: String,
    #[serde(default)]
    code: Value,
    data: Option<TheirData>,
}

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct TheirData {
    code: Option<String>,
    /// A time, or what an old server makes of it.
    retry_after: Option<Value>,
}

fn said(envelope: &[u8], transformer: Transformer) -> Result<Box<RawValue>, RpcError> {
    let odd = || RpcError::from(LegacyFault::Nonsense("an envelope of tRPC was expected"));
    let unwrapped = |text: &RawValue| match transformer {
        Transformer::None => Ok(text.to_owned()),
        Transformer::Superjson => serde_json::from_str::<Wrapped<'_>>(text.get())
            .map(|it| it.json.to_owned())
            .map_err(|_| odd()),
    };
    let Envelope { result, error } = serde_json::from_slice(envelope).map_err(|_| odd())?;
    let Some(error) = error else {
        let data = result.and_then(|it| it.data);
        return data.map_or_else(|| Ok(RawValue::NULL.to_owned()), unwrapped);
    };
    // Some servers leave superjson out of their errors.
    let error = unwrapped(error).unwrap_or_else(|_| error.to_owned());
    let TheirError {
        message,
        code: number,
        data,
    } = serde_json::from_str(error.get()).map_err(|_| odd())?;
    let TheirData { code, retry_after } = data.unwrap_or_default();
    let numbered = || {
        ErrorCode::ALL
            .iter()
            .copied()
            .find(|it| number == it.number())
    };
    let code = match code.as_deref().and_then(ErrorCode::named) {
        Some(code) => code,
        None if retry_after.is_some() => ErrorCode::TooManyRequests,
        None => numbered().unwrap_or(ErrorCode::InternalServerError),
    };
    let mut error = RpcError::new(code, message);
    error.retry_after = retry_after.and_then(|it| it.as_str()?.parse().ok());
    Err(error)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(envelope: &str, transformer: Transformer) -> String {
        match said(envelope.as_bytes(), transformer) {
            Ok(json) => json.get().to_owned(),
            Err(error) => format!("{error} {:?}", error.retry_after.map(|it| it.timestamp())),
        }
    }

    #[test]
    fn an_envelope_becomes_what_it_says() {
        use Transformer::{None, Superjson};
        for (envelope, transformer, says) in [
            (
                r#"{"result":{"data":{"json":{"a":1.0},"meta":{}}}}"#,
                Superjson,
                r#"{"a":1.0}"#,
            ),
            (r#"{"result":{"data":{"json":1}}}"#, None, r#"{"json":1}"#),
            (r#"{"result":{}}"#, None, "null"),
            (
                r#"{"error":{"json":{"message":"no","code":-32004,"data":{"code":"NOT_FOUND","httpStatus":404}}}}"#,
                Superjson,
                "NOT_FOUND: no None",
            ),
            (
                r#"{"error":{"message":"wait","code":-32029,"data":{"code":"RATE_LIMIT_EXCEEDED","httpStatus":429,"retryAfter":"1970-01-01T00:00:07.000Z"}}}"#,
                None,
                "TOO_MANY_REQUESTS: wait Some(7)",
            ),
            (
                r#"{"error":{"message":"no","code":-32004}}"#,
                None,
                "NOT_FOUND: no None",
            ),
            (
                r#"{"error":{"message":"no","code":-32603,"data":{"code":"CONFLICT","retryAfter":7}}}"#,
                None,
                "CONFLICT: no None",
            ),
            (
                r#"{"error":{"message":"wait","code":-32029,"data":{"code":"RATE_LIMIT_EXCEEDED","retryAfter":null}}}"#,
                None,
                "TOO_MANY_REQUESTS: wait None",
            ),
            (
                r#"{"error":{"message":"bare","code":-32004}}"#,
                Superjson,
                "NOT_FOUND: bare None",
            ),
        ] {
            assert_eq!(told(envelope, transformer), says);
        }
        assert!(told(r#"{"result":{"data":1}}"#, Superjson).starts_with("BAD_GATEWAY"));
        assert!(told(r#"{"error":{"message":1}}"#, None).starts_with("BAD_GATEWAY"));
    }
}
