//! Answers HTTP requests: one call, a batch, or an event stream.
//!
//! The order of checks is the one of `@trpc/server` 11 (`resolveResponse.ts`), because clients and
//! tests see it: HEAD before anything, then media type, path, batch rules, and per call the lookup
//! before the method before the input.

use std::{borrow::Cow, sync::Arc};

use axum::{
    body::Body,
    extract::{Request, State},
    response::Response,
};
use http::{HeaderMap, Method, StatusCode, request::Parts};

use super::{
    Trpc, batch,
    envelope::CallFailure,
    input,
    moving::{Lead, MovingCall},
    passing,
    request::{self, BatchDelivery, MediaType, QueryParameters},
    respond::{self, RefusedRequest},
    sse, websocket,
};
use crate::_core::{
    context::Holds,
    errors::{ErrorCode, RpcError},
    procedure::{Accepts, Input, Procedure, ProcedureKind},
    registry::Target,
};
use crate::legacy::OldServer;
use crate::transport::{
    bounds::{self, BudgetShare},
    csrf_cookie::CsrfCookie,
    headers::{self, POST},
};

/// Any request at or below the mount point.
pub(super) async fn handle(State(trpc): State<Arc<Trpc>>, request: Request) -> Response {
    let (parts, body) = request.into_parts();
    let csrf = CsrfCookie::of(&trpc.gate, &parts.headers).await;
    let mut response = match respond(&trpc, parts, body).await {
        Ok(response) => response,
        Err(refused) => refused.into_response(trpc.config.transformer),
    };
    csrf.settle(&mut response);
    response
}

/// A request that is answered here, at least in part, and whose body is not read yet.
struct UnreadRequest<'a> {
    parts: &'a Parts,
    /// Its headers, with what connection parameters add to them.
    headers: &'a HeaderMap,
    /// The procedure, or a batch's with commas between.
    path: &'a str,
    query: &'a QueryParameters<'a>,
    delivery: BatchDelivery,
}

async fn respond(
    trpc: &Arc<Trpc>,
    mut parts: Parts,
    body: Body,
) -> Result<Response, RefusedRequest> {
    bounds::admit_request(&trpc.gate, &parts.extensions, &parts.headers).await?;
    if parts.method == Method::HEAD {
        let mut response = Response::new(Body::empty());
        *response.status_mut() = StatusCode::NO_CONTENT;
        return Ok(response);
    }
    let path = parts.uri.path();
    let path = path.strip_prefix(super::MOUNT).unwrap_or(path);
    if headers::is_upgrade(&parts.headers) && matches!(path, "" | "/") {
        if trpc.is_loop(&parts.headers) {
            return Ok(passing::looped(trpc.config.transformer));
        }
        return Ok(websocket::upgrade(trpc, &mut parts).await?);
    }
    let media = MediaType::of(&parts.method, &parts.headers);
    let is_form = matches!(media, Ok(MediaType::Form | MediaType::Binary));
    let mut media = media.map_err(|error| RefusedRequest {
        allowed: POST,
        error,
    });
    // What cannot be called here may be what the old server takes.
    if trpc.old.is_none() {
        media = Ok(media?);
    }
    let uri = parts.uri.clone();
    let path = request::procedure_path(uri.path())?;
    let query = QueryParameters::parse(uri.query().unwrap_or_default());
    let delivery = BatchDelivery::of(&parts.headers);
    let is_batch = query.batch && !is_form;
    let names = match is_batch {
        true => batch::split(&path, trpc.config.max_batch)?,
        false => vec![&*path],
    };
    check_change(trpc, &parts, &names).await?;
    let headers = query
        .params()
        .and_then(|params| request::with_connection_params(&parts.headers, params.as_ref()));
    // Where the parameters cannot be read, whoever they name is not known, and the old server may read them better.
    let by = headers.as_deref().unwrap_or(&parts.headers);
    let asked = match (is_batch, query.asks_this_server) {
        (false, true) => Asked::Call(trpc.lead_here(&path)),
        (false, false) => Asked::Call(trpc.lead(&path, by, &mut None).await),
        (true, true) => Asked::Batch(names.iter().map(|name| trpc.lead_here(name)).collect()),
        (true, false) => Asked::Batch(trpc.leads(&names, by).await),
    };
    if let Some(old) = &trpc.old
        && asked.is_theirs_alone(old, &names, matches!(media, Ok(MediaType::Json)))
    {
        let by = headers.map_or_else(|_| parts.headers.clone(), Cow::into_owned);
        return Ok(pass_on(trpc, old, (parts, by, body), asked, &names, delivery).await);
    }
    let media = media?;
    let headers = headers?;
    if delivery == BatchDelivery::Lines && !is_batch {
        return Err(RpcError::bad_request(
            "Streaming requests must be batched (you can do a batch of 1)",
        )
        .into());
    }
    let request = UnreadRequest {
        parts: &parts,
        headers: &headers,
        path: &path,
        query: &query,
        delivery,
    };
    match asked {
        Asked::Call(lead) => Ok(respond_to_call(trpc, request, lead, media, body).await),
        Asked::Batch(leads) => respond_to_batch(trpc, request, &names, leads, body).await,
    }
}

/// What a request asks for, and where that leads.
enum Asked {
    Call(Lead),
    Batch(Vec<Lead>),
}

impl Asked {
    /// Whether the whole request is the old server's, and goes on as it came.
    fn is_theirs_alone(&self, old: &OldServer, names: &[&str], is_json: bool) -> bool {
        let is_theirs = |lead: &Lead| lead.target.here().is_none();
        match self {
            Self::Call(lead) => is_theirs(lead),
            Self::Batch(leads) => {
                // Answers that are watched are taken apart, as those of both kinds are; and a name that leads elsewhere
                // is refused alone.
                let is_apart = leads.iter().any(|lead| lead.watched.is_some())
                    || !names.iter().all(|name| old.takes(name));
                leads.iter().all(is_theirs) && !(is_apart && is_json)
            }
        }
    }
}

/// Passes a whole request on; `by` are the headers by which its caller is known.
async fn pass_on(
    trpc: &Arc<Trpc>,
    old: &Arc<OldServer>,
    (parts, by, body): (Parts, HeaderMap, Body),
    asked: Asked,
    names: &[&str],
    delivery: BatchDelivery,
) -> Response {
    if trpc.is_loop(&parts.headers) {
        return passing::looped(trpc.config.transformer);
    }
    let (is_batch, watched) = match asked {
        Asked::Call(lead) => (false, lead.watched),
        Asked::Batch(_) => (true, None),
    };
    let watched = watched.map(|watched| (watched, Arc::new(by)));
    let calls = passing::RequestedCalls {
        names,
        is_batch,
        delivery,
    };
    passing::whole(trpc, old, parts, body, calls, watched).await
}

/// What may change something is asked by pages of ours alone.
async fn check_change(trpc: &Trpc, parts: &Parts, names: &[&str]) -> Result<(), RpcError> {
    if parts.method == Method::GET || !trpc.gate.is_for_pages_to_send(&parts.headers) {
        return Ok(());
    }
    let paths: Vec<_> = match trpc.gate.site().demands_csrf_token() {
        true => names
            .iter()
            .map(|it| format!("{}/{it}", super::MOUNT))
            .collect(),
        false => Vec::new(),
    };
    let paths: Vec<_> = paths.iter().map(String::as_str).collect();
    trpc.gate.check_change(&parts.headers, &paths).await
}

async fn respond_to_batch(
    trpc: &Arc<Trpc>,
    asked: UnreadRequest<'_>,
    names: &[&str],
    mut leads: Vec<Lead>,
    body: Body,
) -> Result<Response, RefusedRequest> {
    let UnreadRequest { parts, query, .. } = asked;
    let watched = leads.iter_mut().map(|lead| lead.watched.take());
    let mut watched: Vec<Option<MovingCall>> = watched.collect();
    let targets: Vec<Target> = leads.into_iter().map(|lead| lead.target).collect();
    batch::check_kinds(targets.iter().filter_map(Target::here))?;
    let room = trpc.bounds.hold_calls(names.len())?;
    let mut context = trpc.gate.context(asked.headers).await;
    let places = targets.iter().enumerate();
    let places = places.filter(|(_, target)| target.here().is_none());
    let places: Vec<usize> = places.map(|(place, _)| place).collect();
    let old = trpc.old.as_ref().filter(|_| !places.is_empty());
    if old.is_some() && trpc.is_loop(&parts.headers) {
        return Ok(passing::looped(trpc.config.transformer));
    }
    let mut procedures = targets.iter().filter_map(Target::here);
    let is_read = old.is_some() || procedures.any(|procedure| procedure.admits(&context));
    let mut inputs = if !is_read {
        trpc.bounds.discard(body).await;
        Ok(input::BatchInputs::default())
    } else if parts.method == Method::GET {
        input::BatchInputs::parse(query.input.as_deref().unwrap_or_default().as_bytes())
    } else {
        trpc.bounds.read_json(body).await.and_then(|read| {
            context.holds = Holds::new(read.held);
            input::BatchInputs::parse(&read.bytes)
        })
    };
    context.holds = Holds::new((room, context.holds));
    let theirs = old.zip(inputs.as_mut().ok()).map(|(old, inputs)| {
        let split = passing::BatchSplit {
            names,
            places,
            watched: &mut watched,
            by: Arc::new(asked.headers.clone()),
            delivery: asked.delivery,
        };
        passing::PassedShare::split(trpc, old, parts, inputs, split)
    });
    let calls = batch::BatchCalls {
        trpc,
        names,
        targets,
        watched,
        method: &parts.method,
        context,
        inputs,
        theirs,
    };
    Ok(calls.respond(asked.delivery).await)
}

async fn respond_to_call(
    trpc: &Arc<Trpc>,
    asked: UnreadRequest<'_>,
    Lead { target, watched }: Lead,
    media: MediaType,
    body: Body,
) -> Response {
    let UnreadRequest { parts, path, .. } = asked;
    let mut context = trpc.gate.context(asked.headers).await;
    let request_id = context.request_id.clone();
    let fail = |error| CallFailure::report(error, Some(path), request_id.clone());
    let transformer = trpc.config.transformer;
    let allowed = trpc.allowed(&target);
    let procedure = match trpc.callable(target, path, &parts.method) {
        Ok(procedure) => procedure,
        Err(error) => return respond::single(&Err(fail(error)), transformer, allowed),
    };
    let read = if procedure.admits(&context) {
        let read = trpc.read_input(&procedure, media, parts, asked.query, body);
        read.await.map(|(input, held)| {
            context.holds = Holds::new(held);
            input
        })
    } else {
        trpc.bounds.discard(body).await;
        Ok(Input::Absent)
    };
    let input = match read {
        Ok(input) => input,
        Err(error) => return respond::single(&Err(fail(error)), transformer, &[]),
    };
    if procedure.kind == ProcedureKind::Subscription {
        return sse::respond(trpc.clone(), procedure, context, input);
    }
    let cookies = context.cookies.clone();
    let watched = watched.map(MovingCall::run);
    let answer = trpc.call(&procedure, context, input).await;
    if let Some(watched) = watched {
        watched.answered(&answer);
    }
    let mut response = respond::single(&answer, transformer, &[]);
    headers::request_id(&mut response, &request_id);
    respond::set_cookies(&mut response, cookies.take());
    response
}

impl Trpc {
    /// Whether the request has come through a server that passes on to this one.
    fn is_loop(&self, headers: &HeaderMap) -> bool {
        let old = self.old.as_ref();
        old.is_some_and(|old| old.has_passed(headers))
    }

    async fn read_input(
        &self,
        procedure: &Procedure,
        media: MediaType,
        parts: &Parts,
        query: &QueryParameters<'_>,
        body: Body,
    ) -> Result<(Input, BudgetShare), RpcError> {
        let transformer = self.config.transformer;
        let mut held = BudgetShare::default();
        let mut input = match (media, procedure.accepts) {
            (MediaType::Json, _) => {
                let value = if parts.method == Method::GET {
                    input::parse(query.input.as_deref().unwrap_or_default().as_bytes())?
                } else {
                    let read = self.bounds.read_json(body).await?;
                    held = read.held;
                    input::parse(&read.bytes)?
                };
                match value {
                    Some(value) => input::decode(transformer, value)?,
                    None if parts.method == Method::GET
                        && procedure.kind == ProcedureKind::Query =>
                    {
                        input::from_parameters(&procedure.input, query.raw)
                    }
                    None => Input::Absent,
                }
            }
            (MediaType::Form, Accepts::Form) => {
                let read = self.bounds.read(body).await?;
                held = read.held;
                input::form(&parts.headers, read.bytes).await?
            }
            (MediaType::Binary, Accepts::Binary) => {
                let read = self.bounds.read(body).await?;
                held = read.held;
                Input::Binary(read.bytes)
            }
            (MediaType::Form | MediaType::Binary, _) => {
                return Err(RpcError::new(
                    ErrorCode::UnsupportedMediaType,
                    format!(
                        "the procedure at path \"{}\" does not take a body of this type",
                        procedure.path
                    ),
                ));
            }
        };
        if procedure.kind == ProcedureKind::Subscription {
            let header = parts.headers.get("last-event-id");
            let id = header
                .map(|id| String::from_utf8_lossy(id.as_bytes()).into_owned())
                .or_else(|| query.last_event_id.as_deref().map(str::to_owned));
            if let Some(id) = id.filter(|id| !id.is_empty()) {
                input::add_last_event_id(&mut input, id);
            }
        }
        Ok((input, held))
    }
}
