//! All procedures by name: written once here, served by every wire.

use std::{
    collections::BTreeMap,
    future::Future,
    panic::{AssertUnwindSafe, Location},
    pin::pin,
    sync::Arc,
};

use futures::{FutureExt, Stream, StreamExt, stream::BoxStream};
use schemars::{JsonSchema, SchemaGenerator, generate::SchemaSettings, transform::Transform};
use serde::Serialize;
use serde_json::{Map, Value};

use super::{
    call_limits::CallLimits,
    call_log::{CallLog, unknown_procedure},
    context::Context,
    declared::{self, Declared},
    errors::{ErrorCode, RpcError},
    procedure::{
        self, Access, Call, Event, Handler, Input, Kind, Procedure, ProcedureInput, Reply,
        SchemaFn, SubscriptionItem, Unary,
    },
    shape::{OptionalFields, Shape},
    tasks::Tasks,
    turns::Turns,
};

/// The procedures of a running server.
#[derive(Default)]
pub struct Registry {
    procedures: BTreeMap<&'static str, Procedure>,
    tasks: Tasks,
    limits: CallLimits,
    turns: Turns,
    passes: Option<fn(&anyhow::Error) -> bool>,
}

impl Registry {
    /// An empty registry whose mutations are tracked by `tasks`.
    pub fn new(tasks: Tasks) -> Self {
        Self {
            procedures: BTreeMap::new(),
            tasks,
            limits: CallLimits::default(),
            turns: Turns::default(),
            passes: None,
        }
    }

    /// Tells causes that pass by themselves, such as a locked database, from faults of ours: an
    /// internal error with one becomes `SERVICE_UNAVAILABLE`.
    pub fn let_pass(&mut self, passes: fn(&anyhow::Error) -> bool) {
        self.passes = Some(passes);
    }

    /// Lets no more calls, and no more subscriptions, run at once than this, and mutations compute in
    /// these turns. Whatever else runs is in the turn of its wire.
    pub fn limit(&mut self, limits: CallLimits, turns: Turns) {
        self.limits = limits;
        self.turns = turns;
    }

    /// Registers procedures below `namespace`, each of which gets a clone of `state`.
    pub fn router<S: Clone + Send + Sync + 'static>(
        &mut self,
        namespace: &'static str,
        state: S,
    ) -> Router<'_, S> {
        self.outline(namespace, Some(state))
    }

    /// The same where there may be no state: such procedures can be described and not called.
    pub fn outline<S: Clone + Send + Sync + 'static>(
        &mut self,
        namespace: &'static str,
        state: Option<S>,
    ) -> Router<'_, S> {
        Router {
            registry: self,
            namespace,
            state,
        }
    }

    /// The procedure of this name.
    pub fn get(&self, path: &str) -> Option<&Procedure> {
        self.procedures.get(path)
    }

    /// The procedure of this name, or tRPC's error.
    pub fn find(&self, path: &str) -> Result<&Procedure, RpcError> {
        self.get(path)
            .ok_or_else(|| unknown_procedure(path, self.procedures.keys().copied()))
    }

    /// All procedures, by name.
    pub fn iter(&self) -> impl Iterator<Item = &Procedure> {
        self.procedures.values()
    }

    /// Schemas of one side of the contract: each procedure's, and the definitions they share.
    pub fn schemas(&self, side: Side) -> Schemas {
        let mut generator = side.settings().into_generator();
        let of = side.of();
        let procedures = self
            .iter()
            .map(|p| (p.path, root_schema(of(p), &mut generator)))
            .collect();
        let details = self.iter().filter(|_| side == Side::Output).map(|p| {
            let errors = p.errors.iter();
            let schemas =
                errors.map(|error| Some(root_schema(error.details_schema?, &mut generator)));
            (p.path, schemas.collect())
        });
        Schemas {
            procedures,
            details: details.collect(),
            definitions: generator.take_definitions(true),
        }
    }

    /// Runs a query or a mutation: access, input, handler, one line in the log.
    ///
    /// A query ends when the returned future is dropped; a mutation runs on and is waited for at
    /// shutdown. A panic becomes an internal error.
    pub async fn call(
        &self,
        procedure: &Procedure,
        context: Context,
        input: Input,
    ) -> Result<Reply, RpcError> {
        let Call::Unary(call) = &procedure.call else {
            return Err(RpcError::internal(anyhow::anyhow!(
                "not a query or mutation that can be called"
            )));
        };
        let log = CallLog::start(procedure, &context);
        let result = match procedure.admit(context) {
            Err(error) => Err(error),
            Ok(context) => self.run(procedure, call, context, input).await,
        };
        let result = result.map_err(|error| procedure.settle(pass(self.passes, error)));
        log.finish(result.as_ref().err());
        result
    }

    async fn run(
        &self,
        procedure: &Procedure,
        call: &Unary,
        context: Context,
        input: Input,
    ) -> Result<Reply, RpcError> {
        let place = self.limits.call(&context).await?;
        let held = (place, context.holds.clone());
        let work = AssertUnwindSafe(call(context, input)).catch_unwind();
        let outcome = match procedure.kind {
            Kind::Mutation => {
                let turns = self.turns.clone();
                let work = async move {
                    let outcome = turns.take(work).await;
                    drop(held);
                    outcome
                };
                self.tasks.spawn(work).await.map_err(|_| {
                    RpcError::new(ErrorCode::ServiceUnavailable, "the server is stopping")
                })?
            }
            Kind::Query | Kind::Subscription => {
                let outcome = work.await;
                drop(held);
                outcome
            }
        };
        outcome.unwrap_or_else(|panic| Err(RpcError::internal(panicked(&panic))))
    }

    /// Opens a subscription; the stream ends when the server stops or it is dropped, and with an
    /// error once its caller may no longer have it.
    pub async fn subscribe(
        &self,
        procedure: &Procedure,
        context: Context,
        input: Input,
    ) -> Result<BoxStream<'static, Result<Event, RpcError>>, RpcError> {
        let Call::Streaming(call) = &procedure.call else {
            return Err(RpcError::internal(anyhow::anyhow!(
                "not a subscription that can be called"
            )));
        };
        let log = CallLog::start(procedure, &context);
        let session = context.session.clone();
        let admitted = procedure.admit(context).and_then(|context| {
            let place = self.limits.subscription(&context)?;
            Ok((place, context))
        });
        let result = match admitted {
            Err(error) => Err(error),
            Ok((place, context)) => AssertUnwindSafe(call(context, input))
                .catch_unwind()
                .await
                .unwrap_or_else(|panic| Err(RpcError::internal(panicked(&panic))))
                .map(|events| (place, events)),
        };
        let result = result.map_err(|error| procedure.settle(pass(self.passes, error)));
        log.finish(result.as_ref().err());
        let stopping = self.tasks.stopping();
        let (path, errors) = (procedure.path, procedure.errors.clone());
        let passes = self.passes;
        let access = procedure.access;
        let lost = async move {
            match session {
                Some(session) => session.lost(access).await,
                // Whoever came without a session has none to lose.
                None => std::future::pending().await,
            }
        };
        result.map(|(place, events)| {
            let events = AssertUnwindSafe(events).catch_unwind().map(move |event| {
                // Kept as long as the events are.
                let _ = &place;
                let event = event.unwrap_or_else(|panic| Err(RpcError::internal(panicked(&panic))));
                event.map_err(|error| declared::settle(path, &errors, pass(passes, error)))
            });
            until_lost(events, lost).take_until(stopping).boxed()
        })
    }

    /// Notes which procedures do their work while the database is away.
    ///
    /// # Panics
    ///
    /// Where there is no such procedure.
    pub fn outlive_database(&mut self, paths: &[&'static str]) {
        for path in paths {
            self.named(path).outlives_database = true;
        }
    }

    /// Notes which procedures set cookies.
    ///
    /// # Panics
    ///
    /// Where there is no such procedure.
    pub fn set_cookies(&mut self, paths: &[&'static str]) {
        for path in paths {
            self.named(path).sets_cookies = true;
        }
    }

    fn named(&mut self, path: &str) -> &mut Procedure {
        let Some(procedure) = self.procedures.get_mut(path) else {
            panic!("there is no procedure `{path}`");
        };
        procedure
    }

    fn insert(&mut self, procedure: Procedure) {
        let path = procedure.path;
        let here = procedure.registered_at;
        if let Some(first) = self.procedures.insert(path, procedure) {
            panic!(
                "procedure `{path}` is registered twice: at {} and at {here}",
                first.registered_at
            );
        }
    }
}

/// The events until `lost` resolves, whose error is then the last that is said.
fn until_lost(
    events: impl Stream<Item = Result<Event, RpcError>> + Send,
    lost: impl Future<Output = RpcError> + Send,
) -> impl Stream<Item = Result<Event, RpcError>> + Send {
    async_stream::stream! {
        let mut events = pin!(events);
        let mut lost = pin!(lost);
        loop {
            tokio::select! {
                biased;
                error = &mut lost => {
                    yield Err(error);
                    return;
                }
                event = events.next() => match event {
                    Some(event) => yield event,
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

/// Which side of the contract a schema describes; a type may look different on the two.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    /// What callers send.
    Input,
    /// What they get.
    Output,
}

impl Side {
    /// The generator's settings for this side.
    pub fn settings(self) -> SchemaSettings {
        let settings = SchemaSettings::draft2020_12().with_transform(OptionalFields);
        match self {
            Self::Input => settings.for_deserialize(),
            Self::Output => settings.for_serialize(),
        }
    }

    fn of(self) -> fn(&Procedure) -> SchemaFn {
        match self {
            Self::Input => |p| p.input_schema,
            Self::Output => |p| p.output_schema,
        }
    }

    pub(super) fn compile(self, schema: SchemaFn) -> Arc<Shape> {
        let mut generator = self.settings().into_generator();
        let root = root_schema(schema, &mut generator);
        Arc::new(Shape::compile(&root, &generator.take_definitions(true)))
    }
}

/// The generator transforms definitions only, not what it returns.
fn root_schema(schema: SchemaFn, generator: &mut SchemaGenerator) -> Value {
    let mut schema = schema(generator);
    OptionalFields.transform(&mut schema);
    schema.to_value()
}

/// The schemas of one side.
#[derive(Debug)]
pub struct Schemas {
    /// By procedure.
    pub procedures: BTreeMap<&'static str, Value>,
    /// By procedure, what the details of each of its errors are, on the side of the output.
    pub details: BTreeMap<&'static str, Vec<Option<Value>>>,
    /// By type name, as `$defs`.
    pub definitions: Map<String, Value>,
}

/// Registers the procedures of one namespace; see [`procedures!`](crate::procedures).
pub struct Router<'a, S> {
    registry: &'a mut Registry,
    namespace: &'static str,
    state: Option<S>,
}

impl<S: Clone + Send + Sync + 'static> Router<'_, S> {
    /// Adds a query or a mutation.
    #[track_caller]
    pub fn unary<M, H>(
        &mut self,
        kind: Kind,
        access: Access,
        name: &str,
        docs: &'static str,
        handler: H,
        errors: &[Declared],
    ) where
        H: Handler<S, M>,
        H::Output: Serialize + JsonSchema + Sync,
    {
        let input = Side::Input.compile(H::Input::schema);
        let output_schema: SchemaFn = |generator| generator.subschema_for::<H::Output>();
        self.registry.insert(Procedure {
            path: self.path(name),
            kind,
            access,
            outlives_database: false,
            sets_cookies: false,
            docs: docs.trim(),
            accepts: H::Input::ACCEPTS,
            tracked: false,
            input_schema: H::Input::schema,
            output_schema,
            output: Side::Output.compile(output_schema),
            errors: declared::all(access, H::Input::ACCEPTS, errors),
            series: Arc::default(),
            registered_at: Location::caller(),
            call: procedure::unary(handler, self.state.clone(), input.clone()),
            input,
        });
    }

    /// Adds a subscription.
    #[track_caller]
    pub fn streaming<M, H, T>(
        &mut self,
        access: Access,
        name: &str,
        docs: &'static str,
        handler: H,
        errors: &[Declared],
    ) where
        H: Handler<S, M>,
        H::Output: Stream<Item = Result<T, RpcError>>,
        T: SubscriptionItem,
    {
        let input = Side::Input.compile(H::Input::schema);
        let output_schema: SchemaFn = |generator| generator.subschema_for::<T::Data>();
        self.registry.insert(Procedure {
            path: self.path(name),
            kind: Kind::Subscription,
            access,
            outlives_database: false,
            sets_cookies: false,
            docs: docs.trim(),
            accepts: H::Input::ACCEPTS,
            tracked: T::TRACKED,
            input_schema: H::Input::schema,
            output_schema,
            output: Side::Output.compile(output_schema),
            errors: declared::all(access, H::Input::ACCEPTS, errors),
            series: Arc::default(),
            registered_at: Location::caller(),
            call: procedure::streaming(handler, self.state.clone(), input.clone()),
            input,
        });
    }

    /// Names live as long as the process: jsonrpsee asks for `&'static str`, and they are few.
    fn path(&self, name: &str) -> &'static str {
        Box::leak(format!("{}.{name}", self.namespace).into_boxed_str())
    }
}

/// Registers procedures with their docs: `/// What it does.` then `kind Access name = handler;`.
///
/// Errors that the handler gives on purpose stand behind it, as a list of [`Declared`]; what the
/// access and the input imply need not be named. docs/new-procedure.md goes through an example.
///
/// ```ignore
/// procedures!(registry.router("aiMetrics", metrics);
///     /// Requests, failures and latency over the last minutes.
///     query SignedIn getSummary = get_summary;
///     /// Begins a conversation.
///     mutation SignedIn begin = begin, errors [Declared::rate_limited("More than ten a minute.")];
/// );
/// ```
#[macro_export]
macro_rules! procedures {
    ($router:expr; $($(#[doc = $docs:literal])+ $kind:ident $access:ident $name:ident = $handler:expr $(, errors $errors:expr)?;)*) => {{
        let mut router = $router;
        $($crate::procedures!(@one router, $kind, $access, stringify!($name), concat!($($docs, "\n"),+), $handler, $crate::procedures!(@errors $($errors)?));)*
    }};
    (@errors) => { &[] };
    (@errors $errors:expr) => { &$errors[..] };
    (@one $router:ident, query, $access:ident, $($rest:expr),*) => {
        $router.unary($crate::_core::procedure::Kind::Query, $crate::_core::procedure::Access::$access, $($rest),*)
    };
    (@one $router:ident, mutation, $access:ident, $($rest:expr),*) => {
        $router.unary($crate::_core::procedure::Kind::Mutation, $crate::_core::procedure::Access::$access, $($rest),*)
    };
    (@one $router:ident, subscription, $access:ident, $($rest:expr),*) => {
        $router.streaming($crate::_core::procedure::Access::$access, $($rest),*)
    };
}
