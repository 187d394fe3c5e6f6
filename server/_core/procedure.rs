//! A procedure: one async function with typed input and output, made callable by any wire.
//!
//! [`Handler`] accepts plain async functions, with or without an input, streams included; the
//! types are erased here, once. What an input may look like and what an output holds is kept as a
//! compiled [`Shape`], so that transports can report faults and mark dates without knowing a type.

use std::{future::Future, panic::Location, sync::Arc};

use bytes::Bytes;
use chrono::{DateTime, Utc};
use futures::{Stream, StreamExt, future::BoxFuture, stream::BoxStream};
use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde::{Serialize, de::DeserializeOwned};
use serde_json::Value;

use super::{
    auth::Role,
    call_series::CallSeries,
    context::{Caller, Context, please_login},
    declared::{self, PossibleError},
    errors::{ErrorCode, RpcError},
    shape::Shape,
};

/// How a procedure is called.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// Reads; may be cancelled by dropping it.
    Query,
    /// Changes something; runs to its end even if the client leaves.
    Mutation,
    /// Sends a stream of events.
    Subscription,
}

impl Kind {
    /// Lower case, as in tRPC's texts.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Query => "query",
            Self::Mutation => "mutation",
            Self::Subscription => "subscription",
        }
    }
}

/// Who may call a procedure.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Access {
    /// Anybody.
    Public,
    /// Users with a session.
    SignedIn,
    /// Users whose role is admin.
    Admin,
}

impl Access {
    /// No session is 401 (10001), a user without the role 403 (10002), and 503 where the database
    /// does not say who calls.
    pub fn check_caller(self, caller: &Caller, now: DateTime<Utc>) -> Result<(), RpcError> {
        match (self, caller) {
            (Self::Public, _) => Ok(()),
            (_, Caller::Anonymous) => Err(please_login()),
            (_, Caller::Unknown { .. }) => Err(RpcError::users_unavailable(now)),
            (Self::Admin, Caller::User(user)) if user.role != Role::Admin => Err(
                RpcError::forbidden("You do not have required permission (10002)"),
            ),
            (Self::Admin | Self::SignedIn, Caller::User(_)) => Ok(()),
        }
    }
}

/// What came with a call, after the transport has undone its encoding.
#[derive(Debug, Default)]
pub enum Input {
    /// Nothing, or JavaScript's `undefined`.
    #[default]
    Absent,
    /// A JSON value.
    Json(Value),
    /// `multipart/form-data`.
    Form(FormData),
    /// `application/octet-stream`.
    Binary(Bytes),
}

/// Which bodies a procedure takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Accepts {
    /// JSON, the rule.
    Json,
    /// `multipart/form-data`.
    Form,
    /// `application/octet-stream`.
    Binary,
    /// No input; whatever comes is ignored.
    Nothing,
}

/// The fields of a `multipart/form-data` body, in order.
#[derive(Debug, Default)]
pub struct FormData(pub Vec<FormField>);

/// One field of a form.
#[derive(Debug)]
pub struct FormField {
    /// The field's name.
    pub name: String,
    /// Set for files.
    pub file_name: Option<String>,
    /// The content.
    pub bytes: Bytes,
}

/// A type that can be a procedure's input.
pub trait ProcedureInput: Sized + Send + 'static {
    /// Which body it is read from.
    const ACCEPTS: Accepts;
    /// Its schema for callers.
    fn schema(generator: &mut SchemaGenerator) -> Schema;
    /// Checks against the shape, then converts.
    fn parse(input: Input, shape: &Shape) -> Result<Self, RpcError>;
}

impl<T: DeserializeOwned + JsonSchema + Send + 'static> ProcedureInput for T {
    const ACCEPTS: Accepts = Accepts::Json;

    fn schema(generator: &mut SchemaGenerator) -> Schema {
        generator.subschema_for::<T>()
    }

    fn parse(input: Input, shape: &Shape) -> Result<Self, RpcError> {
        let value = match input {
            Input::Json(value) => Some(value),
            Input::Absent => None,
            Input::Form(_) | Input::Binary(_) => return Err(unsupported_body(Accepts::Json)),
        };
        let issues = shape.check(value.as_ref());
        if !issues.is_empty() {
            return Err(RpcError::bad_request(
                serde_json::to_string_pretty(&issues).map_err(RpcError::internal)?,
            ));
        }
        let mut value = value.unwrap_or_else(|| shape.undefined());
        shape.settle_integers(&mut value);
        serde_json::from_value(value).map_err(|error| RpcError::bad_request(error.to_string()))
    }
}

impl ProcedureInput for FormData {
    const ACCEPTS: Accepts = Accepts::Form;

    fn schema(_: &mut SchemaGenerator) -> Schema {
        schemars::json_schema!({ "x-ts-type": "FormData" })
    }

    fn parse(input: Input, _: &Shape) -> Result<Self, RpcError> {
        match input {
            Input::Form(form) => Ok(form),
            _ => Err(unsupported_body(Accepts::Form)),
        }
    }
}

/// A raw `application/octet-stream` body.
#[derive(Debug)]
pub struct Binary(pub Bytes);

impl ProcedureInput for Binary {
    const ACCEPTS: Accepts = Accepts::Binary;

    fn schema(_: &mut SchemaGenerator) -> Schema {
        schemars::json_schema!({ "x-ts-type": "Blob | Uint8Array" })
    }

    fn parse(input: Input, _: &Shape) -> Result<Self, RpcError> {
        match input {
            Input::Binary(bytes) => Ok(Self(bytes)),
            _ => Err(unsupported_body(Accepts::Binary)),
        }
    }
}

/// The input of a procedure that takes none.
#[derive(Debug)]
pub struct NoInput;

impl ProcedureInput for NoInput {
    const ACCEPTS: Accepts = Accepts::Nothing;

    fn schema(_: &mut SchemaGenerator) -> Schema {
        schemars::json_schema!({ "x-ts-type": "void" })
    }

    fn parse(_: Input, _: &Shape) -> Result<Self, RpcError> {
        Ok(Self)
    }
}

fn unsupported_body(accepts: Accepts) -> RpcError {
    let expected = match accepts {
        Accepts::Form => "multipart/form-data",
        Accepts::Binary => "application/octet-stream",
        Accepts::Json | Accepts::Nothing => "application/json",
    };
    RpcError::new(
        ErrorCode::UnsupportedMediaType,
        format!("this procedure takes a body of type `{expected}`"),
    )
}

/// A result whose type is erased but which can still be serialised either way.
pub trait Output: Send + Sync {
    /// Straight to JSON text; the fast way where nothing needs a mark.
    fn write_json(&self, buffer: &mut Vec<u8>) -> serde_json::Result<()>;
    /// To a value that can be walked.
    fn to_value(&self) -> serde_json::Result<Value>;
}

impl<T: Serialize + Send + Sync> Output for T {
    fn write_json(&self, buffer: &mut Vec<u8>) -> serde_json::Result<()> {
        serde_json::to_writer(buffer, self)
    }

    fn to_value(&self) -> serde_json::Result<Value> {
        serde_json::to_value(self)
    }
}

/// What a query or mutation answers.
pub type Reply = Box<dyn Output>;

/// One event of a subscription.
pub struct Event {
    /// Set for tracked events: where to resume.
    pub id: Option<String>,
    /// The event's data.
    pub data: Reply,
}

/// What a subscription yields: [`Plain`] or [`Tracked`].
pub trait SubscriptionItem: Send + 'static {
    /// The data's type.
    type Data: Serialize + JsonSchema + Send + Sync + 'static;
    /// Whether clients see `{id, data}`.
    const TRACKED: bool;
    /// Takes it apart.
    fn into_parts(self) -> (Option<String>, Self::Data);
}

/// An event without an id.
#[derive(Debug)]
pub struct Plain<T>(pub T);

impl<T: Serialize + JsonSchema + Send + Sync + 'static> SubscriptionItem for Plain<T> {
    type Data = T;
    const TRACKED: bool = false;

    fn into_parts(self) -> (Option<String>, T) {
        (None, self.0)
    }
}

/// An event with an id, from which a client that lost its connection goes on.
#[derive(Debug)]
pub struct Tracked<T> {
    /// Never empty; comes back as `lastEventId` in the input.
    pub id: String,
    /// The event's data.
    pub data: T,
}

impl<T: Serialize + JsonSchema + Send + Sync + 'static> SubscriptionItem for Tracked<T> {
    type Data = T;
    const TRACKED: bool = true;

    fn into_parts(self) -> (Option<String>, T) {
        (Some(self.id), self.data)
    }
}

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
type Streaming = Arc<
    dyn Fn(
            Context,
            Input,
        )
            -> BoxFuture<'static, Result<BoxStream<'static, Result<Event, RpcError>>, RpcError>>
        + Send
        + Sync,
>;
/// Makes a schema with a generator of the contract's side.
pub type SchemaFn = fn(&mut SchemaGenerator) -> Schema;

/// The erased function.
#[derive(Clone)]
pub(super) enum Call {
    Unary(Unary),
    Streaming(Streaming),
    /// There is nothing to work with: the procedure can only be described.
    Described,
}

/// A registered procedure.
#[derive(Clone)]
pub struct Procedure {
    /// Dotted name, as clients call it.
    pub path: &'static str,
    /// How it is called.
    pub kind: Kind,
    /// Who may call it.
    pub access: Access,
    /// Whether it does its work while the database is away, and so is not refused then to those who
    /// were known minutes ago.
    pub outlives_database: bool,
    /// Whether it sets cookies, so that an answer in parts has to wait for it.
    pub sets_cookies: bool,
    /// What it does, from the doc comment of its registration.
    pub docs: &'static str,
    /// Which bodies it takes.
    pub accepts: Accepts,
    /// Whether events carry ids.
    pub tracked: bool,
    /// The input's schema.
    pub input_schema: SchemaFn,
    /// The output's schema; of one event's data for a subscription.
    pub output_schema: SchemaFn,
    /// The input, compiled.
    pub input: Arc<Shape>,
    /// The output, compiled.
    pub output: Arc<Shape>,
    /// The errors that it can give, by status.
    pub errors: Arc<[PossibleError]>,
    /// Where it was registered.
    pub registered_at: &'static Location<'static>,
    pub(super) call: Call,
    pub(super) series: Arc<CallSeries>,
}

impl Procedure {
    /// An error of this procedure, ready for a wire; see [`declared`].
    pub(super) fn settle(&self, error: RpcError) -> RpcError {
        declared::settle(self.path, &self.errors, error)
    }

    /// Whether a caller gets past the access check.
    ///
    /// Wires ask before they read an input, and call without one where the answer is no: the
    /// registry then refuses the call, and logs it.
    pub fn admits(&self, context: &Context) -> bool {
        self.check(context).is_ok()
    }

    /// Whether the caller may call it.
    pub fn check(&self, context: &Context) -> Result<(), RpcError> {
        self.access
            .check_caller(&self.seen_by(&context.caller), context.received_at)
    }

    /// The caller as this procedure is to take it.
    fn seen_by(&self, caller: &Caller) -> Caller {
        match caller {
            Caller::Unknown {
                last_known: Some(user),
            } if self.outlives_database => Caller::User(user.clone()),
            caller => caller.clone(),
        }
    }

    /// Lets a call in, or says why not.
    pub(super) fn admit(&self, mut context: Context) -> Result<Context, RpcError> {
        self.check(&context)?;
        context.caller = self.seen_by(&context.caller);
        Ok(context)
    }
}

pub(super) fn unary<S, M, H>(handler: H, state: Option<S>, shape: Arc<Shape>) -> Call
where
    S: Clone + Send + Sync + 'static,
    H: Handler<S, M>,
    H::Output: Serialize + Sync,
{
    let Some(state) = state else {
        return Call::Described;
    };
    Call::Unary(Arc::new(move |context, input| {
        let (handler, state, shape) = (handler.clone(), state.clone(), shape.clone());
        Box::pin(async move {
            let input = H::Input::parse(input, &shape)?;
            let output = handler.run(state, context, input).await?;
            Ok(Box::new(output) as Reply)
        })
    }))
}

pub(super) fn streaming<S, M, H, T>(handler: H, state: Option<S>, shape: Arc<Shape>) -> Call
where
    S: Clone + Send + Sync + 'static,
    H: Handler<S, M>,
    H::Output: Stream<Item = Result<T, RpcError>>,
    T: SubscriptionItem,
{
    let Some(state) = state else {
        return Call::Described;
    };
    Call::Streaming(Arc::new(move |context, input| {
        let (handler, state, shape) = (handler.clone(), state.clone(), shape.clone());
        Box::pin(async move {
            let input = H::Input::parse(input, &shape)?;
            let events = handler.run(state, context, input).await?;
            Ok(events
                .map(|item| {
                    item.map(|item| {
                        let (id, data) = item.into_parts();
                        Event {
                            id,
                            data: Box::new(data) as Reply,
                        }
                    })
                })
                .boxed())
        })
    }))
}
