//! Runs methods: jsonrpsee's own service, for which one cannot have a socket of one's own.

use std::future::Future;

use futures::{FutureExt, future};
use jsonrpsee::{
    ConnectionId, MethodResponse, MethodSink,
    core::{
        middleware::{Batch, Notification, RpcServiceT},
        server::{BoundedSubscriptions, MethodCallback, Methods, SubscriptionState},
    },
    server::RandomStringIdProvider,
    types::{ErrorObject, Params, Request, error::ErrorCode, error::reject_too_many_subscriptions},
};

use super::calls::{MAX_ANSWER_BYTES, silent};

/// Length of a subscription's id; a text, since JavaScript cannot hold every 64-bit number.
const SUBSCRIPTION_ID_LENGTH: usize = 16;

/// The methods, and the socket that subscriptions go to where there is one.
#[derive(Clone)]
pub(super) struct Service {
    pub(super) methods: Methods,
    pub(super) events: Option<Events>,
}

/// Where subscriptions of a socket send what they have to say.
#[derive(Clone)]
pub(super) struct Events {
    pub(super) sink: MethodSink,
    pub(super) places: BoundedSubscriptions,
    /// Tells subscriptions of one socket from those of another.
    pub(super) socket: ConnectionId,
}

impl RpcServiceT for Service {
    type MethodResponse = MethodResponse;
    type NotificationResponse = MethodResponse;
    type BatchResponse = MethodResponse;

    fn call<'a>(&self, request: Request<'a>) -> impl Future<Output = MethodResponse> + Send + 'a {
        let Request {
            id,
            method,
            params,
            extensions,
            ..
        } = request;
        let params = Params::new(params.as_ref().map(|params| params.get()));
        let limit = MAX_ANSWER_BYTES as usize;
        let refuse =
            |id, error: ErrorObject<'_>| future::ready(MethodResponse::error(id, error)).boxed();
        match (self.methods.method(&method), &self.events) {
            (Some(MethodCallback::Async(call)), events) => {
                let socket = events
                    .as_ref()
                    .map_or(ConnectionId(0), |events| events.socket);
                call(
                    id.into_owned(),
                    params.into_owned(),
                    socket,
                    limit,
                    extensions,
                )
            }
            (Some(MethodCallback::Sync(call)), _) => {
                future::ready(call(id, params, limit, extensions)).boxed()
            }
            (Some(MethodCallback::Subscription(call)), Some(events)) => {
                let Some(permit) = events.places.acquire() else {
                    let error = reject_too_many_subscriptions(events.places.max());
                    return refuse(id, error);
                };
                let ids = RandomStringIdProvider::new(SUBSCRIPTION_ID_LENGTH);
                let state = SubscriptionState {
                    conn_id: events.socket,
                    id_provider: &ids,
                    subscription_permit: permit,
                };
                let opened = call(id, params, events.sink.clone(), state, extensions);
                // It has answered by itself, before its first event.
                opened.map(|_| silent()).boxed()
            }
            (Some(MethodCallback::Unsubscription(call)), Some(events)) => {
                future::ready(call(id, params, events.socket, limit, extensions)).boxed()
            }
            (Some(_), None) | (None, _) => refuse(id, ErrorCode::MethodNotFound.into()),
        }
    }

    fn batch<'a>(&self, _: Batch<'a>) -> impl Future<Output = MethodResponse> + Send + 'a {
        // Batches are taken apart before they come here.
        future::ready(silent())
    }

    fn notification<'a>(
        &self,
        _: Notification<'a>,
    ) -> impl Future<Output = MethodResponse> + Send + 'a {
        future::ready(silent())
    }
}
