//! OpenAI's API in front of the models: an application changes its base URL and its key, and nothing else.
//!
//! A request goes through five steps, each in a file of its own: who calls ([`caller`]), what is asked
//! for ([`target`]), the answer of the route as it came ([`answer`], [`chunks`] for streams), and what is
//! told where there is none ([`refusal`], [`told`]). Which models are tried, and in which order, is the
//! router's business. What nobody here understands is passed on as it was written, both ways.

mod answer;
mod bill;
mod cache;
mod caller;
mod chat;
mod chunks;
mod content;
mod embeddings;
mod endpoint;
mod flag_events;
mod flags;
mod headers;
mod messages;
mod models;
mod refusal;
mod responses;
mod sequence;
mod target;
mod thinking;
mod told;

use std::{
    net::SocketAddr,
    sync::Arc,
    time::{Duration, Instant},
};

use axum::{
    Router,
    body::Body,
    extract::{ConnectInfo, Request, State},
    response::Response,
    routing::{get, post},
};
use http::{HeaderMap, StatusCode, header};
use serde_json::{Map, Value};
use tokio::time::sleep;

pub use self::cache::Cache;
use self::{
    caller::GatewayCall,
    endpoint::{Endpoint, RequestLogLine},
    refusal::{Dialect, Refusal},
};
use crate::{
    _core::{call_limits::CallLimits, call_log, context::Context, tasks::Tasks},
    keys::{ApiKeys, Spending, WrongKeys},
    model_router::ModelRouter,
    providers::RawObject,
    transport::{
        bounds::{self, Bounds, BudgetShare},
        gate::CallerGate,
    },
};

/// What the routes need.
pub struct Gateway {
    /// Answers.
    pub models: Arc<ModelRouter>,
    /// Who calls.
    pub gate: Arc<CallerGate>,
    /// What clients may take of the server.
    pub bounds: Bounds,
    /// What programs call with.
    pub keys: ApiKeys,
    /// How often wrong ones have come from where.
    pub wrong_keys: WrongKeys,
    /// What they may spend.
    pub spending: Arc<Spending>,
    /// How many calls and streams run at once.
    pub limits: CallLimits,
    /// Answers that are kept.
    pub cache: Arc<Cache>,
    /// When streams without an end of their own have to end.
    pub tasks: Tasks,
}

/// Describes the metrics to the installed recorder.
pub fn describe() {
    cache::describe();
}

/// How long who sends too many wrong keys waits for each answer: a flood of them would else take the processor from callers
/// with right ones.
const WRONG_KEY_PAUSE: Duration = Duration::from_millis(100);

type Shared = State<Arc<Gateway>>;

/// The routes, below `/v1`, and OpenFeature's below `/ofrep/v1`.
pub fn routes(gateway: Gateway) -> Router {
    Router::new()
        .route("/v1/chat/completions", post(chat::answer))
        .route("/v1/embeddings", post(embeddings::answer))
        .route("/v1/messages", post(messages::answer))
        .route("/v1/messages/count_tokens", post(messages::count_tokens))
        .route("/v1/responses", post(responses::answer))
        .route("/v1/models", get(models::list))
        // A slash of the name may come as `%2F` or as it is.
        .route("/v1/models/{*name}", get(models::retrieve))
        .route("/v1/{*path}", axum::routing::any(unknown))
        .route("/ofrep/v1/evaluate/flags", post(flags::all))
        .route("/ofrep/v1/evaluate/flags/{*key}", post(flags::one))
        .route(flag_events::PATH, get(flag_events::hear))
        .route("/ofrep/v1/{*path}", axum::routing::any(unknown))
        .method_not_allowed_fallback(wrong_method)
        .with_state(Arc::new(gateway))
}

/// A request whose caller is known.
struct Admitted {
    context: Context,
    call: GatewayCall,
    line: RequestLogLine,
}

impl Gateway {
    /// Answers a request to an endpoint: finds who calls, lets `run` answer, and writes the line of the log,
    /// unless `run` took it along into a stream.
    async fn serve(
        &self,
        endpoint: &'static Endpoint,
        dialect: Dialect,
        request: Request,
        run: impl AsyncFnOnce(&Self, &mut Admitted, Body) -> Result<Response, Refusal>,
    ) -> Response {
        let (parts, body) = request.into_parts();
        let mut admitted = match self.admit(endpoint, &parts).await {
            Ok(admitted) => admitted,
            Err(refused) => {
                let is_of_too_many = refused.refusal.is_of_too_many();
                if is_of_too_many {
                    // Before its body, which may come slowly.
                    bounds::step_aside(&parts.extensions);
                }
                self.bounds.discard(body).await;
                if is_of_too_many {
                    sleep(WRONG_KEY_PAUSE).await;
                }
                return refused.into_response(dialect);
            }
        };
        let coding = parts.headers.get(header::CONTENT_ENCODING);
        let answered = match coding.filter(|coding| *coding != "identity") {
            None => run(self, &mut admitted, body).await,
            Some(coding) => {
                self.bounds.discard(body).await;
                Err(Refusal::encoded(coding))
            }
        };
        match answered {
            Ok(mut response) => {
                admitted.line.finish(None);
                dialect.name_call(response.headers_mut(), &admitted.context.request_id);
                response
            }
            Err(refusal) => {
                admitted.line.finish(refusal.code());
                Refused::new(refusal, &admitted.context).into_response(dialect)
            }
        }
    }

    /// Finds the caller, before anything is read.
    async fn admit(
        &self,
        endpoint: &'static Endpoint,
        parts: &http::request::Parts,
    ) -> Result<Admitted, Refused> {
        let headers = caller::credentials(&parts.headers);
        let context = self
            .gate
            .context(headers.as_ref().unwrap_or(&HeaderMap::new()))
            .await;
        let refuse = |refusal: Refusal| {
            // Strangers write no more lines than the log takes.
            call_log::refused(
                &refusal.to_error(),
                Some(endpoint.path()),
                &context.request_id,
            );
            Refused::new(refusal, &context)
        };
        if headers.is_err() {
            return Err(refuse(Refusal::two_keys()));
        }
        let admitted = bounds::admit(&parts.extensions, async { context.clone() }).await;
        admitted.map_err(|error| refuse(error.into()))?;
        let call = self
            .call(headers.as_ref().ok(), &context, &parts.headers)
            .await;
        let call = call.map_err(|refusal| refuse(self.counted(refusal, parts)))?;
        let line = RequestLogLine::start(endpoint, &context, call.program().map(|key| &*key.name));
        Ok(Admitted {
            context,
            call,
            line,
        })
    }

    /// Counts a refusal that is about the caller's key; one too many from its address has to wait.
    fn counted(&self, refusal: Refusal, parts: &http::request::Parts) -> Refusal {
        let peer = parts.extensions.get::<ConnectInfo<SocketAddr>>();
        match peer.filter(|_| refusal.is_about_key()) {
            Some(ConnectInfo(peer)) => {
                let wait = self.wrong_keys.count(peer.ip(), Instant::now());
                wait.map_or(refusal, Refusal::too_many_wrong)
            }
            None => refusal,
        }
    }

    /// Who calls: a program by its key, or a user.
    async fn call(
        &self,
        named: Option<&HeaderMap>,
        context: &Context,
        headers: &HeaderMap,
    ) -> Result<GatewayCall, Refusal> {
        let Some(key) = named.and_then(caller::key_in) else {
            return GatewayCall::of_user(context, headers);
        };
        match self.keys.find(key, context.received_at).await {
            Ok(Some(key)) => GatewayCall::of_key(key, headers),
            Ok(None) => Err(Refusal::unauthorized()),
            Err(_) => Err(Refusal::no_database()),
        }
    }

    /// Reads the body: a JSON object.
    async fn read(&self, body: Body) -> Result<(RawObject, BudgetShare), Refusal> {
        let read = self.bounds.read_json(body).await?;
        let object = RawObject::parse(&read.bytes).map_err(|error| {
            Refusal::bad_request(None, format!("The body is no JSON object: {error}"))
        })?;
        Ok((object, read.held))
    }
}

/// A refusal, and the request that it answers.
struct Refused {
    refusal: Refusal,
    request_id: Arc<str>,
}

impl Refused {
    fn new(refusal: Refusal, context: &Context) -> Self {
        Self {
            refusal,
            request_id: context.request_id.clone(),
        }
    }

    fn into_response(self, dialect: Dialect) -> Response {
        self.refusal.into_response(dialect, &self.request_id)
    }
}

async fn unknown(State(gateway): Shared, request: Request) -> Response {
    nothing_there(&gateway, StatusCode::NOT_FOUND, "unknown_path", request).await
}

async fn wrong_method(State(gateway): Shared, request: Request) -> Response {
    let status = StatusCode::METHOD_NOT_ALLOWED;
    nothing_there(&gateway, status, "method_not_allowed", request).await
}

async fn nothing_there(
    gateway: &Gateway,
    status: StatusCode,
    code: &'static str,
    request: Request,
) -> Response {
    let (parts, body) = request.into_parts();
    gateway.bounds.discard(body).await;
    let text = format!("There is no `{} {}` here.", parts.method, parts.uri.path());
    let refusal = Refusal::new(status, Some(code), text);
    let context = gateway.gate.context(&HeaderMap::new()).await;
    Refused::new(refusal, &context).into_response(Dialect::of(parts.uri.path()))
}

/// The body as values: translating needs them.
fn values(body: &RawObject) -> Result<Map<String, Value>, Refusal> {
    serde_json::from_str(&body.to_json())
        .map_err(|error| Refusal::bad_request(None, format!("The body cannot be read: {error}")))
}

fn raw(body: &Map<String, Value>) -> Result<RawObject, Refusal> {
    let json = serde_json::to_vec(body);
    let raw = json.and_then(|json| RawObject::parse(&json));
    raw.map_err(|error| Refusal::bad_request(None, error.to_string()))
}
