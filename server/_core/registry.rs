//! All procedures by name: written once here, served by every wire.

mod schemas;

use std::{collections::BTreeMap, panic::Location, sync::Arc};

use futures::Stream;
use schemars::JsonSchema;
use serde::Serialize;

use super::{
    call_log::unknown_procedure,
    contract_side::{ContractSide, SchemaFn},
    declared::{self, Declared},
    errors::RpcError,
    procedure::{
        self, Accepts, Access, Handler, Procedure, ProcedureInput, ProcedureKind, Runner,
        SubscriptionItem,
    },
};

pub use self::schemas::Schemas;

/// The procedures of a running server.
#[derive(Default)]
pub struct Registry {
    procedures: BTreeMap<&'static str, Arc<Procedure>>,
    runner: Arc<Runner>,
}

/// Where the name of a procedure leads.
#[derive(Clone)]
pub enum Target {
    /// To a procedure of this server.
    Here(Arc<Procedure>),
    /// Nowhere that this server knows.
    Unknown,
}

impl Target {
    /// The procedure, where it is one of this server.
    pub fn here(&self) -> Option<&Arc<Procedure>> {
        match self {
            Self::Here(procedure) => Some(procedure),
            Self::Unknown => None,
        }
    }
}

impl Registry {
    /// An empty registry, whose calls run by this runner.
    pub fn new(runner: impl Into<Runner>) -> Self {
        Self {
            procedures: BTreeMap::new(),
            runner: Arc::new(runner.into()),
        }
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

    /// Where a name leads. Every wire asks once for each call, before it reads the input. Only MCP does not: its tools have
    /// names of their own, and hold their procedures from the start.
    pub fn resolve(&self, path: &str) -> Target {
        match self.procedures.get(path) {
            Some(procedure) => Target::Here(procedure.clone()),
            None => Target::Unknown,
        }
    }

    /// tRPC's error for a name that leads nowhere.
    pub fn unknown(&self, path: &str) -> RpcError {
        unknown_procedure(path, self.procedures.keys().copied())
    }

    /// All procedures, by name.
    pub fn iter(&self) -> impl Iterator<Item = &Arc<Procedure>> {
        self.procedures.values()
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

    /// Notes which procedures only the process that leads does.
    ///
    /// # Panics
    ///
    /// Where there is no such procedure.
    pub fn leave_to_leader(&mut self, paths: &[&'static str]) {
        for path in paths {
            self.named(path).is_leaders = true;
        }
    }

    /// Notes which subscriptions end by themselves; a server that stops waits for them.
    ///
    /// # Panics
    ///
    /// Where there is no such procedure.
    pub fn end_themselves(&mut self, paths: &[&'static str]) {
        for path in paths {
            self.named(path).ends_itself = true;
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
        // Nobody has asked for it yet: procedures are registered before anything is served.
        Arc::make_mut(procedure)
    }

    fn insert(&mut self, procedure: Procedure) {
        let path = procedure.path;
        let here = procedure.registered_at;
        if let Some(first) = self.procedures.insert(path, Arc::new(procedure)) {
            panic!(
                "procedure `{path}` is registered twice: at {} and at {here}",
                first.registered_at
            );
        }
    }
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
        kind: ProcedureKind,
        access: Access,
        name: &str,
        docs: &'static str,
        handler: H,
        errors: &[Declared],
    ) where
        H: Handler<S, M>,
        H::Output: Serialize + JsonSchema + Sync,
    {
        let input = ContractSide::Input.compile(H::Input::schema);
        let output_schema: SchemaFn = |generator| generator.subschema_for::<H::Output>();
        self.registry.insert(Procedure {
            path: self.path(name),
            kind,
            access,
            outlives_database: false,
            is_leaders: false,
            ends_itself: false,
            sets_cookies: false,
            docs: docs.trim(),
            accepts: H::Input::ACCEPTS,
            tracked: false,
            input_schema: H::Input::schema,
            output_schema,
            output: ContractSide::Output.compile(output_schema),
            errors: declared::all(access, H::Input::ACCEPTS != Accepts::Nothing, errors),
            series: Arc::default(),
            registered_at: Location::caller(),
            runner: self.registry.runner.clone(),
            invocation: procedure::unary(handler, self.state.clone(), input.clone()),
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
        let input = ContractSide::Input.compile(H::Input::schema);
        let output_schema: SchemaFn = |generator| generator.subschema_for::<T::Data>();
        self.registry.insert(Procedure {
            path: self.path(name),
            kind: ProcedureKind::Subscription,
            access,
            outlives_database: false,
            is_leaders: false,
            ends_itself: false,
            sets_cookies: false,
            docs: docs.trim(),
            accepts: H::Input::ACCEPTS,
            tracked: T::TRACKED,
            input_schema: H::Input::schema,
            output_schema,
            output: ContractSide::Output.compile(output_schema),
            errors: declared::all(access, H::Input::ACCEPTS != Accepts::Nothing, errors),
            series: Arc::default(),
            registered_at: Location::caller(),
            runner: self.registry.runner.clone(),
            invocation: procedure::streaming(handler, self.state.clone(), input.clone()),
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
        $router.unary($crate::_core::procedure::ProcedureKind::Query, $crate::_core::procedure::Access::$access, $($rest),*)
    };
    (@one $router:ident, mutation, $access:ident, $($rest:expr),*) => {
        $router.unary($crate::_core::procedure::ProcedureKind::Mutation, $crate::_core::procedure::Access::$access, $($rest),*)
    };
    (@one $router:ident, subscription, $access:ident, $($rest:expr),*) => {
        $router.streaming($crate::_core::procedure::Access::$access, $($rest),*)
    };
}
