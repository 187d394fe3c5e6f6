//! Runs what jsonrpsee has parsed: calls, notifications and batches.
//!
//! jsonrpsee itself drops notifications, runs the calls of a batch one after another, and answers
//! an unknown method, or a subscription over HTTP, without saying what would help.

use std::{future::Future, sync::Arc};

use futures::{FutureExt, StreamExt, future::BoxFuture, stream};
use http::Extensions;
use jsonrpsee::{
    MethodResponse,
    core::{
        middleware::{Batch, BatchEntry, BatchEntryErr, Notification, RpcServiceT},
        server::BatchResponseBuilder,
    },
    types::{ErrorObjectOwned, Id, Request},
};
use serde::{Deserialize, de::IgnoredAny};
use serde_json::value::RawValue;

use super::{
    Peer, Wire,
    dispatch::{Callee, SubscriptionEvents},
    failure,
    silent::{MAX_ANSWER_BYTES, Silent, silent},
};
use crate::_core::{
    context::{Holds, new_request_id},
    errors::{ErrorCode, RpcError},
    turns,
};

/// The calls of one HTTP request or one socket, as the service that jsonrpsee hands them to.
#[derive(Clone)]
pub(super) struct CallService {
    pub(super) wire: Arc<Wire>,
    /// Absent over HTTP, which has no place for subscriptions.
    pub(super) events: Option<SubscriptionEvents>,
}

impl RpcServiceT for CallService {
    type MethodResponse = MethodResponse;
    type NotificationResponse = MethodResponse;
    type BatchResponse = MethodResponse;

    fn call<'a>(&self, request: Request<'a>) -> impl Future<Output = MethodResponse> + Send + 'a {
        let service = self.clone();
        async move {
            let callee = Callee::named(request.method_name(), &service.wire);
            service.answer(callee, request).await
        }
    }

    fn notification<'a>(
        &self,
        notification: Notification<'a>,
    ) -> impl Future<Output = MethodResponse> + Send + 'a {
        let service = self.clone();
        async move {
            let peer = notification.extensions.get::<Peer>();
            if let Some(Peer::Request { context, body, .. }) = peer
                && has_id(body)
            {
                return MethodResponse::error(Id::Null, odd_id(&context.request_id));
            }
            service.run(notification).await;
            silent()
        }
    }

    fn batch<'a>(&self, batch: Batch<'a>) -> impl Future<Output = MethodResponse> + Send + 'a {
        let concurrency = self.wire.batch_concurrency.get();
        let is_empty = batch.is_empty();
        let with_id = entries_with_id(&batch);
        let room = self.wire.bounds.hold_calls(batch.len());
        // Boxed and collected, since the compiler cannot name the lifetimes of a lazy stream here.
        let calls: Vec<BoxFuture<'a, _>> = batch
            .into_iter()
            .filter(|_| room.is_ok())
            .enumerate()
            .map(|(index, entry)| {
                let has_id = with_id.get(index).copied().unwrap_or(false);
                let answer = self.clone().entry(entry, has_id);
                answer.map(move |answer| (index, answer)).boxed()
            })
            .collect();
        async move {
            let _room = match room {
                Ok(room) => room,
                Err(busy) => {
                    let error = failure::of_envelope(&busy, &new_request_id());
                    return MethodResponse::error(Id::Null, error);
                }
            };
            // Sorted afterwards: kept in order, one slow call would hold back those behind it.
            let running = stream::iter(calls).buffer_unordered(concurrency);
            let mut answers: Vec<(usize, Option<MethodResponse>)> = running.collect().await;
            answers.sort_by_key(|(index, _)| *index);

            let mut batch = BatchResponseBuilder::new_with_limit(MAX_ANSWER_BYTES as usize);
            let mut held = Vec::new();
            for answer in answers.into_iter().filter_map(|(_, answer)| answer) {
                held.extend(answer.extensions().get::<Holds>().cloned());
                if let Err(too_large) = batch.append(answer) {
                    return too_large;
                }
            }
            if batch.is_empty() && !is_empty {
                return silent();
            }
            // An empty batch becomes “invalid request” here.
            let mut answer = MethodResponse::from_batch(batch.finish());
            answer.extensions_mut().insert(Holds::new(held));
            answer
        }
    }
}

impl CallService {
    /// Answers a call, whether or not it can be run.
    async fn answer(&self, callee: Callee, request: Request<'_>) -> MethodResponse {
        turns::pass().await;
        if let Some(error) = self.refuse(&callee, &request) {
            return MethodResponse::error(request.id, error);
        }
        let (id, path) = (request.id.clone(), request.method.clone());
        let answer = callee.run(request, &self.wire, self.events.as_ref()).await;
        self.hold(answer, id, &path)
    }

    /// One entry of a batch; `None` where nothing is to be answered.
    async fn entry<'a>(
        self,
        entry: Result<BatchEntry<'a>, BatchEntryErr<'a>>,
        has_id: bool,
    ) -> Option<MethodResponse> {
        match entry {
            Ok(BatchEntry::Call(mut request)) => {
                let request_id = renew(&mut request.extensions);
                let callee = Callee::named(request.method_name(), &self.wire);
                if matches!(callee, Callee::Subscription(_)) {
                    // jsonrpsee answers it at once, and would again with the batch.
                    let error = RpcError::bad_request("a subscription cannot be part of a batch");
                    let error = failure::of_call(&error, request.method_name(), &request_id);
                    return Some(MethodResponse::error(request.id, error));
                }
                Some(self.answer(callee, request).await)
            }
            Ok(BatchEntry::Notification(mut notification)) => {
                let request_id = renew(&mut notification.extensions);
                if has_id {
                    return Some(MethodResponse::error(Id::Null, odd_id(&request_id)));
                }
                self.run(notification).await;
                None
            }
            Err(error) => {
                let (error, id) = error.into_parts();
                Some(MethodResponse::error(id, error))
            }
        }
    }

    /// Runs a notification as the call that it is, and drops its answer.
    async fn run(&self, notification: Notification<'_>) {
        // The events of a subscription that nobody gets an id for would go nowhere, and
        // `rpc.discover` is nothing but its answer.
        let callee @ Callee::Unary(_) = Callee::named(notification.method_name(), &self.wire)
        else {
            return;
        };
        let mut request = Request {
            jsonrpc: notification.jsonrpc,
            id: Id::Null,
            method: notification.method,
            params: notification.params,
            extensions: notification.extensions,
        };
        turns::pass().await;
        request.extensions.insert(Silent);
        callee.run(request, &self.wire, self.events.as_ref()).await;
    }

    /// Counts an answer until it is sent.
    fn hold(&self, mut answer: MethodResponse, id: Id<'_>, path: &str) -> MethodResponse {
        match self.wire.bounds.hold_answer(answer.as_json().get().len()) {
            Ok(held) => {
                answer.extensions_mut().insert(Holds::new(held));
                answer
            }
            Err(error) => {
                let error = failure::of_call(&error, path, &new_request_id());
                MethodResponse::error(id, error)
            }
        }
    }

    /// Why a call cannot be run, where jsonrpsee would not say it as well.
    fn refuse(&self, callee: &Callee, request: &Request<'_>) -> Option<ErrorObjectOwned> {
        let path = request.method_name();
        let request_id = || match request.extensions.get::<Peer>() {
            Some(Peer::Request { context, .. }) => context.request_id.clone(),
            _ => new_request_id(),
        };
        match callee {
            Callee::Unknown => {
                let error = self.wire.registry.unknown(path);
                Some(failure::unknown_method(&error, path, &request_id()))
            }
            Callee::Subscription(_) | Callee::Unsubscription(_) if self.events.is_none() => {
                let error = RpcError::new(
                    ErrorCode::MethodNotSupported,
                    "subscriptions need a WebSocket; connect one to this same address",
                );
                Some(failure::of_call(&error, path, &request_id()))
            }
            _ => None,
        }
    }
}

fn odd_id(request_id: &str) -> ErrorObjectOwned {
    let error =
        RpcError::bad_request("`id` must be a text, `null`, or a whole number from 0 to 2^64-1");
    failure::of_envelope(&error, request_id)
}

/// Gives a call of a batch an id of its own.
fn renew(extensions: &mut Extensions) -> Arc<str> {
    let request_id = new_request_id();
    if let Some(Peer::Request { context, .. }) = extensions.get_mut::<Peer>() {
        context.request_id = request_id.clone();
    }
    request_id
}

/// Whether what jsonrpsee takes for a notification has an id after all, of a kind that jsonrpsee
/// cannot hold (−1, 1.5, two of them).
fn has_id(request: &[u8]) -> bool {
    #[derive(Deserialize)]
    struct Probe {
        id: Option<IgnoredAny>,
    }
    serde_json::from_slice::<Probe>(request).map_or(true, |probe| probe.id.is_some())
}

/// [`has_id`] for each entry of a batch, where the batch has notifications and its text is known.
fn entries_with_id(batch: &Batch<'_>) -> Vec<bool> {
    let notification = batch.iter().flatten().find_map(|entry| match entry {
        BatchEntry::Notification(notification) => notification.extensions.get::<Peer>(),
        BatchEntry::Call(_) => None,
    });
    let Some(Peer::Request { body, .. }) = notification else {
        return Vec::new();
    };
    let entries: Vec<&RawValue> = serde_json::from_slice(body).unwrap_or_default();
    entries
        .iter()
        .map(|entry| has_id(entry.get().as_bytes()))
        .collect()
}
