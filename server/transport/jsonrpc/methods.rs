//! The registry's procedures as jsonrpsee's methods, under the same names.

use std::sync::Arc;

use futures::{StreamExt, stream::BoxStream};
use jsonrpsee::{
    Extensions, PendingSubscriptionSink, RpcModule, SubscriptionCloseResponse, SubscriptionSink,
    core::{SubscriptionError, server::Methods},
    server::{RegisterMethodError, ResponsePayload},
    types::{ErrorObjectOwned, Params},
};
use serde::ser::Error as _;
use serde_json::{
    Value,
    value::{RawValue, to_raw_value},
};

use super::{Peer, failure, silent::Silent};
use crate::{
    _core::{
        context::Context,
        errors::RpcError,
        json_text,
        procedure::{Input, Output, Procedure, ProcedureKind, StreamItem},
        registry::Registry,
        turns::Turns,
    },
    schema::Documents,
    transport::{
        gate::CallerGate,
        trpc::{
            Trpc,
            other_wires::{AnsweringServer, CallOrigin},
        },
    },
};

/// One procedure, and what finds its callers.
pub(super) struct RpcMethod {
    pub(super) procedure: Arc<Procedure>,
    pub(super) gate: Arc<CallerGate>,
    /// Knows which server answers it; none where there is one alone.
    pub(super) moving: Option<Arc<Trpc>>,
}

/// What jsonrpsee keeps the books of: subscriptions, each with `<path>.unsubscribe`, and
/// `rpc.discover`. Queries and mutations are found in the registry alone.
pub(super) fn build(
    registry: &Registry,
    (gate, moving): (&Arc<CallerGate>, Option<&Arc<Trpc>>),
    turns: &Turns,
    documents: Arc<Documents>,
) -> Result<Methods, RegisterMethodError> {
    let mut module = RpcModule::new(());
    for procedure in registry.iter() {
        if procedure.kind != ProcedureKind::Subscription {
            continue;
        }
        let path = procedure.path;
        let method = Arc::new(RpcMethod {
            procedure: procedure.clone(),
            gate: gate.clone(),
            moving: moving.cloned(),
        });
        // jsonrpsee wants names that live as long as the process; they are few.
        let unsubscribe = Box::leak(format!("{path}.unsubscribe").into_boxed_str());
        let turns = turns.clone();
        // In a task of its own.
        module.register_subscription(
            path,
            path,
            unsubscribe,
            move |params, pending, _, extensions| {
                let (method, turns) = (method.clone(), turns.clone());
                async move {
                    let stream = method.stream(params, pending, extensions);
                    turns.take(stream).await
                }
            },
        )?;
    }
    // It is the largest answer there is, and anybody may ask for it.
    module.register_method("rpc.discover", move |_, _, _| {
        ResponsePayload::success(documents.openrpc())
    })?;
    let is_taken = |name: &&str| {
        let target = registry.resolve(name);
        let kind = target.here().map(|procedure| procedure.kind);
        kind.is_some_and(|kind| kind != ProcedureKind::Subscription)
    };
    if let Some(name) = module.method_names().find(is_taken) {
        return Err(RegisterMethodError::AlreadyRegistered(name.into()));
    }
    Ok(module.into())
}

impl RpcMethod {
    /// Runs a query or a mutation.
    pub(super) async fn call(
        &self,
        params: Params<'_>,
        extensions: Extensions,
    ) -> Result<Box<RawValue>, ErrorObjectOwned> {
        let context = self.context(&extensions).await;
        let request_id = context.request_id.clone();
        let outcome = async {
            let running = match self.side(&extensions).await {
                Some((trpc, origin, AnsweringServer::Theirs(theirs))) => {
                    let (procedure, input) = (&self.procedure, input(&params)?);
                    let by = (origin, &context);
                    return trpc.ask_old(theirs, procedure, input, by).await;
                }
                Some((_, _, AnsweringServer::Refused(error))) => return Err(error),
                Some((_, _, AnsweringServer::Ours(running))) => running,
                None => None,
            };
            let input = self.input(&params, &context)?;
            let reply = self.procedure.call(context, input).await;
            if let Some(running) = running {
                running.ended(&reply);
            }
            let reply = reply?;
            if extensions.get::<Silent>().is_some() {
                return Ok(RawValue::NULL.to_owned());
            }
            self.json(&*reply).map_err(|error| {
                let path = self.procedure.path;
                tracing::error!(path, %request_id, %error, "cannot write an output as JSON");
                RpcError::internal(error)
            })
        }
        .await;
        outcome.map_err(|error| failure::of_call(&error, self.procedure.path, &request_id))
    }

    async fn stream(
        &self,
        params: Params<'static>,
        pending: PendingSubscriptionSink,
        extensions: Extensions,
    ) -> SubscriptionCloseResponse {
        let context = self.context(&extensions).await;
        let request_id = context.request_id.clone();
        let opened = async {
            // The old server is never asked for a subscription.
            if let Some((_, _, AnsweringServer::Refused(error))) = self.side(&extensions).await {
                return Err(error);
            }
            let input = self.input(&params, &context)?;
            self.procedure.subscribe(context, input).await
        }
        .await;
        let events = match opened {
            Ok(events) => events,
            Err(error) => {
                let error = failure::of_call(&error, self.procedure.path, &request_id);
                pending.reject(error).await;
                return SubscriptionCloseResponse::None;
            }
        };
        // Fails where the client has left already.
        let Ok(sink) = pending.accept().await else {
            return SubscriptionCloseResponse::None;
        };
        match self.forward(events, &sink).await {
            Ok(Ended::ByClient) => SubscriptionCloseResponse::None,
            // JSON-RPC has no word for the end of a stream, and clients should not wait for ever.
            // This is jsonrpsee's notification of the end, saying that there was no error.
            Ok(Ended::ByServer) => closing(RawValue::NULL.to_owned()),
            Err(error) => {
                let error = failure::of_call(&error, self.procedure.path, &request_id);
                closing(to_raw_value(&error).unwrap_or_else(|_| RawValue::NULL.to_owned()))
            }
        }
    }

    /// Sends events until the stream ends or the client leaves.
    async fn forward(
        &self,
        mut events: BoxStream<'static, Result<StreamItem, RpcError>>,
        sink: &SubscriptionSink,
    ) -> Result<Ended, RpcError> {
        loop {
            let event = tokio::select! {
                () = sink.closed() => return Ok(Ended::ByClient),
                event = events.next() => event,
            };
            let Some(event) = event.transpose()? else {
                return Ok(Ended::ByServer);
            };
            if sink.send(self.encode(&event)?).await.is_err() {
                return Ok(Ended::ByClient);
            }
        }
    }

    /// An output as plain JSON; where it is `undefined` as a whole, JSON-RPC still wants a result.
    fn json(&self, output: &dyn Output) -> serde_json::Result<Box<RawValue>> {
        let json = self.procedure.output.plain_json(output)?;
        let json = json.unwrap_or_else(|| b"null".to_vec());
        RawValue::from_string(String::from_utf8(json).map_err(serde_json::Error::custom)?)
    }

    /// Tracked events keep their id: `{id, data}`.
    fn encode(&self, event: &StreamItem) -> Result<Box<RawValue>, RpcError> {
        let data = self.json(&*event.data);
        let event = data.and_then(|data| match &event.id {
            None => Ok(data),
            Some(id) => to_raw_value(&Tracked { id, data: &data }),
        });
        event.map_err(|error| {
            let path = self.procedure.path;
            tracing::error!(path, %error, "cannot write an event as JSON");
            RpcError::internal(error)
        })
    }

    async fn context(&self, extensions: &Extensions) -> Context {
        match extensions.get::<Peer>() {
            Some(Peer::Request { context, .. }) => context.clone(),
            Some(Peer::Socket(headers, _, opened)) => {
                let mut context = self.gate.context(headers).await;
                context.session = context.session.map(|it| it.since(*opened));
                context
            }
            // Does not happen; nobody is who calls then.
            None => self.gate.context(&Default::default()).await,
        }
    }

    /// Which server answers; `None` where there is one alone.
    async fn side<'a>(
        &'a self,
        extensions: &'a Extensions,
    ) -> Option<(&'a Arc<Trpc>, &'a CallOrigin, AnsweringServer)> {
        let trpc = self.moving.as_ref()?;
        let (Peer::Request { origin, .. } | Peer::Socket(_, origin, _)) = extensions.get()?;
        let side = trpc.side(&self.procedure, origin).await;
        Some((trpc, origin, side))
    }

    /// `params` are read only for those who may call.
    fn input(&self, params: &Params<'_>, context: &Context) -> Result<Input, RpcError> {
        if !self.procedure.admits(context) {
            return Ok(Input::Absent);
        }
        input(params)
    }
}

#[derive(serde::Serialize)]
struct Tracked<'a> {
    id: &'a str,
    data: &'a RawValue,
}

enum Ended {
    ByClient,
    ByServer,
}

fn closing(error: Box<RawValue>) -> SubscriptionCloseResponse {
    SubscriptionCloseResponse::NotifErr(SubscriptionError::from_json(error))
}

/// The input in `params`: the object itself, or the one element of a list.
fn input(params: &Params<'_>) -> Result<Input, RpcError> {
    let Some(text) = params.as_str() else {
        return Ok(Input::Absent);
    };
    let params = json_text::from_str(text)
        .map_err(|error| RpcError::bad_request(format!("`params` cannot be read: {error}")))?;
    match params {
        Value::Null => Ok(Input::Absent),
        Value::Object(_) => Ok(Input::Json(params)),
        Value::Array(mut list) if list.len() <= 1 => {
            Ok(list.pop().map_or(Input::Absent, Input::Json))
        }
        Value::Array(list) => Err(RpcError::bad_request(format!(
            "`params` has {} elements; a procedure takes one at most",
            list.len()
        ))),
        _ => Err(RpcError::bad_request(format!(
            "`params` is `{text}`; it must be an object, or a list with one element"
        ))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn json(params: &str) -> Option<String> {
        match input(&Params::new(Some(params))).unwrap() {
            Input::Json(value) => Some(value.to_string()),
            _ => None,
        }
    }

    #[test]
    fn params_are_an_object_or_one_element() {
        assert_eq!(json(r#"{"a":1}"#).as_deref(), Some(r#"{"a":1}"#));
        assert_eq!(json(r#"[{"a":1}]"#).as_deref(), Some(r#"{"a":1}"#));
        assert_eq!(json("[[1,2]]").as_deref(), Some("[1,2]"));
        assert_eq!(json("[null]").as_deref(), Some("null"));
        assert_eq!(json("[]"), None);
        assert_eq!(json("null"), None);
        assert!(matches!(input(&Params::new(None)), Ok(Input::Absent)));
        let too_deep = "[".repeat(1000) + &"]".repeat(1000);
        for wrong in [r#""a""#, "7", "true", "[1,2]", &too_deep] {
            assert!(input(&Params::new(Some(wrong))).is_err(), "{wrong}");
        }
    }
}
