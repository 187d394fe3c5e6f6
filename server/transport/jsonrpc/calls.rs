//! Runs what jsonrpsee has parsed: calls, notifications and batches.
//!
//! jsonrpsee itself drops notifications, runs the calls of a batch one after another, and answers
//! an unknown method, or a subscription over HTTP, without saying what would help.

use std::{future::Future, num::NonZeroUsize, sync::Arc};

use futures::{FutureExt, StreamExt, future::BoxFuture, stream};
use http::Extensions;
use jsonrpsee::{
    MethodResponse,
    core::{
        middleware::{Batch, BatchEntry, BatchEntryErr, Notification, RpcServiceT},
        server::{BatchResponseBuilder, MethodCallback, Methods},
    },
    types::{ErrorObjectOwned, Id, Request},
};
use serde::{Deserialize, de::IgnoredAny};
use serde_json::value::RawValue;

use super::{Peer, failure};
use crate::_core::{
    call_log::unknown_procedure,
    context::{Holds, new_request_id},
    errors::{ErrorCode, RpcError},
    turns,
};
use crate::transport::bounds::Bounds;

/// Bytes of one answer, single or batch; more is an error of jsonrpsee's (−32008, −32011).
pub(super) const MAX_ANSWER_BYTES: u32 = 10 * 1024 * 1024;

/// Marks a call whose answer nobody gets, and the answer to notifications alone: over HTTP it has no
/// body.
#[derive(Clone, Copy)]
pub(super) struct Silent;

/// Wraps jsonrpsee's own service.
#[derive(Clone)]
pub(super) struct CallsLayer {
    methods: Methods,
    bounds: Bounds,
    concurrency: NonZeroUsize,
}

impl CallsLayer {
    /// At least one call of a batch runs, whatever `concurrency` says.
    pub(super) fn new(methods: Methods, bounds: Bounds, concurrency: usize) -> Self {
        Self {
            methods,
            bounds,
            concurrency: NonZeroUsize::new(concurrency).unwrap_or(NonZeroUsize::MIN),
        }
    }
}

impl<S> tower::Layer<S> for CallsLayer {
    type Service = Calls<S>;

    fn layer(&self, inner: S) -> Calls<S> {
        Calls {
            inner,
            layer: self.clone(),
        }
    }
}

/// The service of one HTTP request or one socket.
#[derive(Clone)]
pub(super) struct Calls<S> {
    inner: S,
    layer: CallsLayer,
}

impl<S> RpcServiceT for Calls<S>
where
    S: RpcServiceT<
            MethodResponse = MethodResponse,
            BatchResponse = MethodResponse,
            NotificationResponse = MethodResponse,
        > + Clone
        + Send
        + Sync
        + 'static,
{
    type MethodResponse = MethodResponse;
    type NotificationResponse = MethodResponse;
    type BatchResponse = MethodResponse;

    fn call<'a>(&self, request: Request<'a>) -> impl Future<Output = MethodResponse> + Send + 'a {
        let service = self.clone();
        async move {
            turns::pass().await;
            if let Some(error) = service.refuse(&request) {
                return MethodResponse::error(request.id, error);
            }
            let (id, path) = (request.id.clone(), request.method.clone());
            let answer = service.inner.call(request).await;
            service.hold(answer, id, &path)
        }
    }

    fn notification<'a>(
        &self,
        notification: Notification<'a>,
    ) -> impl Future<Output = MethodResponse> + Send + 'a {
        let service = self.clone();
        async move {
            let peer = notification.extensions.get::<Peer>();
            if let Some(Peer::Request { context, body }) = peer
                && has_id(body)
            {
                return MethodResponse::error(Id::Null, odd_id(&context.request_id));
            }
            service.run(notification).await;
            silent()
        }
    }

    fn batch<'a>(&self, batch: Batch<'a>) -> impl Future<Output = MethodResponse> + Send + 'a {
        let concurrency = self.layer.concurrency.get();
        let is_empty = batch.is_empty();
        let with_id = entries_with_id(&batch);
        let room = self.layer.bounds.hold_calls(batch.len());
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

impl<S> Calls<S>
where
    Self: RpcServiceT<MethodResponse = MethodResponse>,
    S: RpcServiceT<MethodResponse = MethodResponse>,
{
    /// One entry of a batch; `None` where nothing is to be answered.
    async fn entry<'a>(
        self,
        entry: Result<BatchEntry<'a>, BatchEntryErr<'a>>,
        has_id: bool,
    ) -> Option<MethodResponse> {
        match entry {
            Ok(BatchEntry::Call(mut request)) => {
                let request_id = renew(&mut request.extensions);
                if self.is_subscription(request.method_name()) {
                    // jsonrpsee answers it at once, and would again with the batch.
                    let error = RpcError::bad_request("a subscription cannot be part of a batch");
                    let error = failure::of_call(&error, request.method_name(), &request_id);
                    return Some(MethodResponse::error(request.id, error));
                }
                Some(self.call(request).await)
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
        // The events of a subscription that nobody gets an id for would go nowhere.
        if self.is_subscription(notification.method_name()) {
            return;
        }
        let mut request = Request {
            jsonrpc: notification.jsonrpc,
            id: Id::Null,
            method: notification.method,
            params: notification.params,
            extensions: notification.extensions,
        };
        turns::pass().await;
        let method = self.layer.methods.method(request.method_name());
        // `rpc.discover` alone has no procedure behind it: it is nothing but its answer.
        if matches!(method, Some(MethodCallback::Async(_))) {
            request.extensions.insert(Silent);
            self.inner.call(request).await;
        }
    }

    fn is_subscription(&self, method: &str) -> bool {
        let callback = self.layer.methods.method(method);
        matches!(callback, Some(MethodCallback::Subscription(_)))
    }
}

impl<S> Calls<S> {
    /// Counts an answer until it is sent.
    fn hold(&self, mut answer: MethodResponse, id: Id<'_>, path: &str) -> MethodResponse {
        match self.layer.bounds.hold_answer(answer.as_json().get().len()) {
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
    fn refuse(&self, request: &Request<'_>) -> Option<ErrorObjectOwned> {
        let path = request.method_name();
        let peer = request.extensions.get::<Peer>();
        let request_id = match peer {
            Some(Peer::Request { context, .. }) => context.request_id.clone(),
            _ => new_request_id(),
        };
        match self.layer.methods.method(path) {
            None => {
                let error = unknown_procedure(path, self.layer.methods.method_names());
                Some(failure::unknown_method(&error, path, &request_id))
            }
            Some(MethodCallback::Subscription(_) | MethodCallback::Unsubscription(_))
                if !matches!(peer, Some(Peer::Socket(_))) =>
            {
                let error = RpcError::new(
                    ErrorCode::MethodNotSupported,
                    "subscriptions need a WebSocket; connect one to this same address",
                );
                Some(failure::of_call(&error, path, &request_id))
            }
            Some(_) => None,
        }
    }
}

pub(super) fn silent() -> MethodResponse {
    let mut answer = MethodResponse::notification();
    answer.extensions_mut().insert(Silent);
    answer
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
