//! A procedure: one async function with typed input and output, made callable by any wire.
//!
//! [`Handler`] accepts plain async functions, with or without an input, streams included; the
//! types are erased here, once. What an input may look like and what an output holds is kept as a
//! compiled [`Shape`], so that transports can report faults and mark dates without knowing a type.

mod handler;
mod input;
mod output;
mod run;

use std::{panic::Location, sync::Arc};

use serde::Serialize;

use super::{
    call_series::CallSeries, caller::Caller, context::Context, contract_side::SchemaFn,
    declared::PossibleError, errors::RpcError, shape::Shape,
};

pub use self::{
    handler::Handler,
    input::{Accepts, Binary, FormData, FormField, Input, NoInput, ProcedureInput},
    output::{Reply, StreamItem, SubscriptionItem, Tracked, Untracked},
    run::{Leader, Runner},
};
pub use super::{caller::Access, output::Output};

pub(super) use self::handler::{Invocation, streaming, unary};

/// How a procedure is called.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum ProcedureKind {
    /// Reads; may be cancelled by dropping it.
    Query,
    /// Changes something; runs to its end even if the client leaves.
    Mutation,
    /// Sends a stream of events.
    Subscription,
}

impl ProcedureKind {
    /// Lower case, as in tRPC's texts.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Query => "query",
            Self::Mutation => "mutation",
            Self::Subscription => "subscription",
        }
    }
}

/// A registered procedure.
#[derive(Clone)]
pub struct Procedure {
    /// Dotted name, as clients call it.
    pub path: &'static str,
    /// How it is called.
    pub kind: ProcedureKind,
    /// Who may call it.
    pub access: Access,
    /// Whether it does its work while the database is away, and so is not refused then to those who
    /// were known minutes ago.
    pub outlives_database: bool,
    /// Whether only the process that leads does it, to which the others hand it over.
    pub is_leaders: bool,
    /// Whether its stream ends by itself, and so is waited for when the server stops.
    pub ends_itself: bool,
    /// Whether it sets cookies, so that an answer in parts has to wait for it.
    pub sets_cookies: bool,
    /// What it does, from the doc comment of its registration.
    pub docs: &'static str,
    /// Which bodies it takes.
    pub accepts: Accepts,
    /// Whether its items carry ids.
    pub tracked: bool,
    /// The input's schema.
    pub input_schema: SchemaFn,
    /// The output's schema; of one item for a subscription.
    pub output_schema: SchemaFn,
    /// The input, compiled.
    pub input: Arc<Shape>,
    /// The output, compiled.
    pub output: Arc<Shape>,
    /// The errors that it can give, by status.
    pub errors: Arc<[PossibleError]>,
    /// Where it was registered.
    pub registered_at: &'static Location<'static>,
    pub(super) invocation: Invocation,
    pub(super) runner: Arc<Runner>,
    pub(super) series: Arc<CallSeries>,
}

impl Procedure {
    /// Whether a caller gets past the access check.
    ///
    /// Wires ask before they read an input, and call without one where the answer is no: the call is
    /// then refused, and logged.
    pub fn admits(&self, context: &Context) -> bool {
        self.check(context).is_ok()
    }

    /// Whether the caller may call it.
    pub fn check(&self, context: &Context) -> Result<(), RpcError> {
        let remembered = self.remembered(&context.caller);
        let caller = remembered.as_ref().unwrap_or(&context.caller);
        self.access.check_caller(caller, context.received_at)
    }

    /// The user whom a procedure that outlives the database takes for the caller while it is away.
    fn remembered(&self, caller: &Caller) -> Option<Caller> {
        match caller {
            Caller::Unknown {
                last_known: Some(user),
            } if self.outlives_database => Some(Caller::User(user.clone())),
            _ => None,
        }
    }

    /// Lets a call in, or says why not.
    fn admit(&self, mut context: Context) -> Result<Context, RpcError> {
        if let Some(user) = self.remembered(&context.caller) {
            context.caller = user;
        }
        self.access
            .check_caller(&context.caller, context.received_at)?;
        Ok(context)
    }
}
