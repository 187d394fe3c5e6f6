//! Makes procedures of plain async functions: here their types are erased, once.

use std::{future::Future, sync::Arc};

use futures::{Stream, StreamExt, future::BoxFuture, stream::BoxStream};
use serde::Serialize;

use super::{Input, NoInput, ProcedureInput, Reply, StreamItem, SubscriptionItem};
use crate::_core::{context::Context, errors::RpcError, shape::Shape};

/// An async function that serves a query or a mutation: `(state, context)` or `(state, context, input)`.
pub trait Handler<S, Marker>: Clone + Send + Sync + 'static {
    /// What it takes.
    type Input: ProcedureInput;
    /// What it answers.
    type Output: Send + 'static;
    /// Calls it.
    fn run(
        &self,
        state: S,
        context: Context,
        input: Self::Input,
    ) -> impl Future<Output = Result<Self::Output, RpcError>> + Send + 'static;
}

impl<S, F, Fut, O> Handler<S, (S, Context)> for F
where
    F: Fn(S, Context) -> Fut + Clone + Send + Sync + 'static,
    Fut: Future<Output = Result<O, RpcError>> + Send + 'static,
    O: Send + 'static,
{
    type Input = NoInput;
    type Output = O;

    fn run(
        &self,
        state: S,
        context: Context,
        _: NoInput,
    ) -> impl Future<Output = Result<O, RpcError>> + Send + 'static {
        self(state, context)
    }
}

impl<S, F, Fut, I, O> Handler<S, (S, Context, I)> for F
where
    F: Fn(S, Context, I) -> Fut + Clone + Send + Sync + 'static,
    Fut: Future<Output = Result<O, RpcError>> + Send + 'static,
    I: ProcedureInput,
    O: Send + 'static,
{
    type Input = I;
    type Output = O;

    fn run(
        &self,
        state: S,
        context: Context,
        input: I,
    ) -> impl Future<Output = Result<O, RpcError>> + Send + 'static {
        self(state, context, input)
    }
}

pub(super) type Unary =
    Arc<dyn Fn(Context, Input) -> BoxFuture<'static, Result<Reply, RpcError>> + Send + Sync>;
pub(super) type Streaming = Arc<
    dyn Fn(
            Context,
            Input,
        )
            -> BoxFuture<'static, Result<BoxStream<'static, Result<StreamItem, RpcError>>, RpcError>>
        + Send
        + Sync,
>;
/// The erased function.
#[derive(Clone)]
pub(in crate::_core) enum Invocation {
    Unary(Unary),
    Streaming(Streaming),
    /// There is nothing to work with: the procedure can only be described.
    Described,
}

pub(in crate::_core) fn unary<S, M, H>(
    handler: H,
    state: Option<S>,
    shape: Arc<Shape>,
) -> Invocation
where
    S: Clone + Send + Sync + 'static,
    H: Handler<S, M>,
    H::Output: Serialize + Sync,
{
    let Some(state) = state else {
        return Invocation::Described;
    };
    Invocation::Unary(Arc::new(move |context, input| {
        let (handler, state, shape) = (handler.clone(), state.clone(), shape.clone());
        Box::pin(async move {
            let input = H::Input::parse(input, &shape)?;
            let output = handler.run(state, context, input).await?;
            Ok(Box::new(output) as Reply)
        })
    }))
}

pub(in crate::_core) fn streaming<S, M, H, T>(
    handler: H,
    state: Option<S>,
    shape: Arc<Shape>,
) -> Invocation
where
    S: Clone + Send + Sync + 'static,
    H: Handler<S, M>,
    H::Output: Stream<Item = Result<T, RpcError>>,
    T: SubscriptionItem,
{
    let Some(state) = state else {
        return Invocation::Described;
    };
    Invocation::Streaming(Arc::new(move |context, input| {
        let (handler, state, shape) = (handler.clone(), state.clone(), shape.clone());
        Box::pin(async move {
            let input = H::Input::parse(input, &shape)?;
            let events = handler.run(state, context, input).await?;
            Ok(events
                .map(|item| {
                    item.map(|item| {
                        let (id, data) = item.into_parts();
                        StreamItem {
                            id,
                            data: Box::new(data) as Reply,
                        }
                    })
                })
                .boxed())
        })
    }))
}
