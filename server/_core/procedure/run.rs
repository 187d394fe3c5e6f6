//! Runs procedures: access, limits, the handler, and one line in the log for each call.

use std::{future::Future, panic::AssertUnwindSafe, pin::pin, sync::Arc, time::Duration};

use async_trait::async_trait;
use futures::{FutureExt, Stream, StreamExt, stream::BoxStream};
use serde_json::Value;
use tokio::time::timeout;

use super::{Input, Invocation, Procedure, ProcedureKind, Reply, StreamItem, handler::Unary};
use crate::_core::{
    call_limits::CallLimits,
    call_log::{self, CallLog},
    context::Context,
    declared,
    errors::{ErrorCode, RpcError},
    tasks::Tasks,
    turns::Turns,
};

/// How long a call may take. What takes longer waits for something that never answers, such as a connection that died in
/// silence, and would keep its place and that connection from all others.
const LONGEST: Duration = Duration::from_secs(900);

/// Of several processes on one database, the one that does what only one may do.
#[async_trait]
pub trait Leader: Send + Sync {
    /// What it answers to a call; `None` where this process is to do it.
    async fn hand_over(
        &self,
        procedure: &'static str,
        context: &Context,
        input: &Input,
    ) -> Option<Result<Value, RpcError>>;
}

/// What the calls of all procedures of a server share.
#[derive(Default)]
pub struct Runner {
    /// Tracks mutations, and ends subscriptions when the server stops.
    pub tasks: Tasks,
    /// How many calls, and how many subscriptions, run at once.
    pub limits: CallLimits,
    /// Mutations compute in these; whatever else runs is in the turn of its wire.
    pub turns: Turns,
    /// Distinguishes causes that pass by themselves, such as a locked database, from faults of ours: an
    /// internal error with one becomes `SERVICE_UNAVAILABLE`.
    pub passes: Option<fn(&anyhow::Error) -> bool>,
    /// Who does what only one of several processes may do.
    pub leader: Option<Arc<dyn Leader>>,
}

impl From<Tasks> for Runner {
    /// A runner without limits.
    fn from(tasks: Tasks) -> Self {
        Self {
            tasks,
            ..Self::default()
        }
    }
}

impl Procedure {
    /// Runs a query or a mutation: access, input, handler, one line in the log.
    ///
    /// A query ends when the returned future is dropped; a mutation runs on and is waited for at
    /// shutdown. A panic becomes an internal error.
    pub async fn call(&self, context: Context, input: Input) -> Result<Reply, RpcError> {
        let log = CallLog::start(self.path, &self.series, &context);
        let result = match (self.admit(context), &self.invocation) {
            (Err(error), _) => Err(error),
            (Ok(context), Invocation::Unary(handler)) => self.run(handler, context, input).await,
            _ => Err(RpcError::internal(anyhow::anyhow!(
                "not a query or mutation that can be called"
            ))),
        };
        let result = result.map_err(|error| self.settle(error));
        log.finish(result.as_ref().err());
        result
    }

    /// Runs a query for nobody, to see what it says: no line in the log and none in its series. It takes no
    /// place from calls that somebody waits for; how many run at once is the caller's to bound.
    pub async fn rehearse(&self, context: Context, input: Input) -> Result<Reply, RpcError> {
        let result = match (self.kind, &self.invocation, self.admit(context)) {
            (ProcedureKind::Query, Invocation::Unary(handler), Ok(context)) => {
                let work = AssertUnwindSafe(handler(context, input)).catch_unwind();
                let outcome = work.await;
                outcome.unwrap_or_else(|panic| Err(RpcError::internal(panicked(&panic))))
            }
            (_, _, Err(error)) => Err(error),
            _ => Err(RpcError::internal(anyhow::anyhow!(
                "not a query, and so not run for nobody"
            ))),
        };
        let result = result.map_err(|error| self.settle(error));
        if let Err(error) = &result {
            call_log::rehearsed(error, self.path);
        }
        result
    }

    async fn run(
        &self,
        handler: &Unary,
        context: Context,
        input: Input,
    ) -> Result<Reply, RpcError> {
        let place = self.runner.limits.call(&context).await?;
        let held = (place, context.holds.clone());
        let leader = self.runner.leader.clone().filter(|_| self.is_leaders);
        let (path, handler) = (self.path, handler.clone());
        let work = async move {
            if let Some(leader) = leader
                && let Some(answer) = leader.hand_over(path, &context, &input).await
            {
                return answer.map(|value| Box::new(value) as Reply);
            }
            handler(context, input).await
        };
        let work = async move {
            let done = timeout(LONGEST, work).await;
            done.unwrap_or_else(|_| {
                let error = anyhow::anyhow!("not done within {LONGEST:?}");
                Err(RpcError::internal(error).passing())
            })
        };
        let work = AssertUnwindSafe(work).catch_unwind();
        let outcome = match self.kind {
            ProcedureKind::Mutation => {
                let turns = self.runner.turns.clone();
                let work = async move {
                    let outcome = turns.take(work).await;
                    drop(held);
                    outcome
                };
                self.runner.tasks.spawn(work).await.map_err(|_| {
                    RpcError::new(ErrorCode::ServiceUnavailable, "the server is stopping")
                })?
            }
            ProcedureKind::Query | ProcedureKind::Subscription => {
                let outcome = work.await;
                drop(held);
                outcome
            }
        };
        outcome.unwrap_or_else(|panic| Err(RpcError::internal(panicked(&panic))))
    }

    /// Opens a subscription; the stream ends when it is dropped, and with an error once its caller may no
    /// longer have it. One that does not end by itself ends when the server stops, and when a proxy has to say
    /// anew who calls; its client is to come back then.
    pub async fn subscribe(
        &self,
        context: Context,
        input: Input,
    ) -> Result<BoxStream<'static, Result<StreamItem, RpcError>>, RpcError> {
        let Invocation::Streaming(handler) = &self.invocation else {
            return Err(RpcError::internal(anyhow::anyhow!(
                "not a subscription that can be called"
            )));
        };
        let log = CallLog::start(self.path, &self.series, &context);
        let session = context.session.clone();
        let admitted = self.admit(context).and_then(|context| {
            let place = self.runner.limits.subscription(&context)?;
            Ok((place, context))
        });
        let result = match admitted {
            Err(error) => Err(error),
            Ok((place, context)) => AssertUnwindSafe(handler(context, input))
                .catch_unwind()
                .await
                .unwrap_or_else(|panic| Err(RpcError::internal(panicked(&panic))))
                .map(|items| (place, items)),
        };
        let result = result.map_err(|error| self.settle(error));
        log.finish(result.as_ref().err());
        let (stopping, ends_itself) = (self.runner.tasks.stopping(), self.ends_itself);
        let named = session.clone();
        let outdated = async move {
            match named {
                Some(session) => session.outdated().await,
                None => std::future::pending().await,
            }
        };
        let cut = async move {
            if ends_itself {
                return std::future::pending().await;
            }
            tokio::select! {
                () = stopping => {}
                () = outdated => {}
            }
        };
        let (path, errors) = (self.path, self.errors.clone());
        let passes = self.runner.passes;
        let access = self.access;
        let lost = async move {
            match session {
                Some(session) => session.lost(access).await,
                // Whoever came without a session has none to lose.
                None => std::future::pending().await,
            }
        };
        result.map(|(place, items)| {
            let items = AssertUnwindSafe(items).catch_unwind().map(move |item| {
                // Kept as long as the items are.
                let _ = &place;
                let item = item.unwrap_or_else(|panic| Err(RpcError::internal(panicked(&panic))));
                item.map_err(|error| declared::settle(path, &errors, pass(passes, error)))
            });
            until_lost(items, lost).take_until(cut).boxed()
        })
    }

    /// An error of this procedure, ready for a wire; see [`declared`].
    fn settle(&self, error: RpcError) -> RpcError {
        let error = pass(self.runner.passes, error);
        declared::settle(self.path, &self.errors, error)
    }
}

/// The items until `lost` resolves, whose error is then the last that is said.
fn until_lost(
    items: impl Stream<Item = Result<StreamItem, RpcError>> + Send,
    lost: impl Future<Output = RpcError> + Send,
) -> impl Stream<Item = Result<StreamItem, RpcError>> + Send {
    async_stream::stream! {
        let mut items = pin!(items);
        let mut lost = pin!(lost);
        loop {
            tokio::select! {
                biased;
                error = &mut lost => {
                    yield Err(error);
                    return;
                }
                item = items.next() => match item {
                    Some(item) => yield item,
                    None => return,
                },
            }
        }
    }
}

/// The error, as one that passes where its cause does.
fn pass(passes: Option<fn(&anyhow::Error) -> bool>, error: RpcError) -> RpcError {
    let is_ours = error.code == ErrorCode::InternalServerError;
    let cause = error.cause().filter(|_| is_ours);
    match (cause, passes) {
        (Some(cause), Some(passes)) if passes(cause) => error.passing(),
        _ => error,
    }
}

fn panicked(panic: &(dyn std::any::Any + Send)) -> anyhow::Error {
    let text = panic
        .downcast_ref::<&str>()
        .copied()
        .or_else(|| panic.downcast_ref::<String>().map(String::as_str))
        .unwrap_or("unknown panic");
    anyhow::anyhow!("handler panicked: {text}")
}

#[cfg(test)]
mod tests {
    use chrono::DateTime;

    use super::*;
    use crate::{
        _core::{
            caller::{Caller, Role, User},
            registry::Registry,
        },
        procedures,
    };

    async fn hang(_: (), _: Context) -> Result<bool, RpcError> {
        std::future::pending().await
    }

    #[tokio::test(start_paused = true)]
    async fn what_never_ends_is_given_up() {
        let mut registry = Registry::default();
        procedures!(registry.router("test", ());
            /// Waits for ever.
            mutation SignedIn change = hang;
            /// Waits for ever.
            query SignedIn ask = hang;
        );
        for path in ["test.change", "test.ask"] {
            let target = registry.resolve(path);
            let at = DateTime::UNIX_EPOCH;
            let caller = Caller::User(Arc::new(User {
                id: 1,
                open_id: String::new(),
                name: None,
                email: None,
                login_method: None,
                role: Role::User,
                created_at: at,
                updated_at: at,
                last_signed_in: at,
            }));
            let context = Context::new(caller, at);
            let called = target.here().expect(path).call(context, Input::Absent);
            let Err(error) = called.await else {
                panic!("`{path}` ended");
            };
            assert_eq!(error.code, ErrorCode::ServiceUnavailable, "{path}");
        }
    }
}
