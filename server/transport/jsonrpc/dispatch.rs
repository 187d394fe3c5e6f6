//! Finds what a method name stands for, and runs it: a procedure of the registry, or one of the few
//! methods that jsonrpsee keeps (`rpc.discover`, and the ends of subscriptions).

use std::sync::Arc;

use jsonrpsee::{
    ConnectionId, MethodResponse, MethodSink,
    core::server::{BoundedSubscriptions, MethodCallback, SubscriptionState},
    server::{RandomStringIdProvider, ResponsePayload},
    types::{Params, Request, error::ErrorCode, error::reject_too_many_subscriptions},
};

use super::{
    Wire,
    methods::RpcMethod,
    silent::{MAX_ANSWER_BYTES, silent},
};
use crate::_core::{
    procedure::{Procedure, ProcedureKind},
    registry::Target,
};

/// Length of a subscription's id; a text, since JavaScript cannot hold every 64-bit number.
const SUBSCRIPTION_ID_LENGTH: usize = 16;

/// Where subscriptions of a socket send what they have to say.
#[derive(Clone)]
pub(super) struct SubscriptionEvents {
    pub(super) sink: MethodSink,
    pub(super) places: BoundedSubscriptions,
    /// Distinguishes the subscriptions of one socket from those of another.
    pub(super) socket: ConnectionId,
}

/// What a method name stands for.
pub(super) enum Callee {
    /// A query or a mutation.
    Unary(Arc<Procedure>),
    /// A subscription, which jsonrpsee opens.
    Subscription(MethodCallback),
    /// The end of a subscription, `<path>.unsubscribe`.
    Unsubscription(MethodCallback),
    /// `rpc.discover`, which is nothing but its answer.
    Document(MethodCallback),
    /// Nothing.
    Unknown,
}

impl Callee {
    /// What a name stands for; asked once for each call. The registry alone knows procedures: of jsonrpsee comes how a
    /// subscription that was found there is opened.
    pub(super) fn named(name: &str, wire: &Wire) -> Self {
        let kept = || wire.methods.method(name).cloned();
        match wire.registry.resolve(name) {
            Target::Here(procedure) if procedure.kind != ProcedureKind::Subscription => {
                Self::Unary(procedure)
            }
            Target::Here(_) => kept().map_or(Self::Unknown, Self::Subscription),
            _ => match kept() {
                Some(callback @ MethodCallback::Unsubscription(_)) => {
                    Self::Unsubscription(callback)
                }
                Some(callback) => Self::Document(callback),
                None => Self::Unknown,
            },
        }
    }

    /// Runs a call.
    pub(super) async fn run(
        self,
        request: Request<'_>,
        wire: &Wire,
        events: Option<&SubscriptionEvents>,
    ) -> MethodResponse {
        let Request {
            id,
            params,
            extensions,
            ..
        } = request;
        let params = Params::new(params.as_ref().map(|params| params.get()));
        let limit = MAX_ANSWER_BYTES as usize;
        match (self, events) {
            (Self::Unary(procedure), _) => {
                let method = RpcMethod {
                    procedure,
                    gate: wire.gate.clone(),
                    moving: wire.moving.clone(),
                };
                let answer = method.call(params, extensions).await;
                let payload = answer.map_or_else(ResponsePayload::error, ResponsePayload::success);
                MethodResponse::response(id, payload, limit)
            }
            (Self::Document(MethodCallback::Sync(answer)), _) => {
                answer(id, params, limit, extensions)
            }
            (Self::Subscription(MethodCallback::Subscription(open)), Some(events)) => {
                let Some(permit) = events.places.acquire() else {
                    let error = reject_too_many_subscriptions(events.places.max());
                    return MethodResponse::error(id, error);
                };
                let ids = RandomStringIdProvider::new(SUBSCRIPTION_ID_LENGTH);
                let state = SubscriptionState {
                    conn_id: events.socket,
                    id_provider: &ids,
                    subscription_permit: permit,
                };
                let opened = open(id, params, events.sink.clone(), state, extensions);
                // It has answered by itself, before its first event.
                opened.await;
                silent()
            }
            (Self::Unsubscription(MethodCallback::Unsubscription(end)), Some(events)) => {
                end(id, params, events.socket, limit, extensions)
            }
            _ => MethodResponse::error(id, ErrorCode::MethodNotFound),
        }
    }
}
