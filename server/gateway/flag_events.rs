//! `GET /ofrep/v1/events`: events for OpenFeature's providers when flags may have changed (OFREP 0.3). Which, and to
//! what, they ask then.
//!
//! A browser's `EventSource` sends no headers. So whoever was told all flags is told an address that holds for a day or two,
//! the same for everybody within a day, as a client keeps its stream as long as the address stays. It opens notices alone.

use std::{convert::Infallible, sync::Arc, time::Duration};

use axum::{
    body::Body,
    extract::{Request, State},
    response::Response,
};
use bytes::Bytes;
use chrono::{DateTime, Utc};
use futures::Stream;
use http::{HeaderMap, StatusCode};
use serde_json::{Value, json};
use tokio::time::{Instant, sleep};

use super::{
    Gateway, Refused, Shared, answer,
    endpoint::{Endpoint, RequestLogLine},
    refusal::{Dialect, Refusal},
};
use crate::{
    _core::{
        auth::leave, call_limits::CallPermit, context::Context, feature_flags::LiveShares,
        tasks::Tasks,
    },
    model_router::{ModelRouter, catalog::Catalog},
    transport::bounds,
};

pub(super) const PATH: &str = "/ofrep/v1/events";
static EVENTS: Endpoint = Endpoint::new(PATH);
/// What the address gives leave to do.
const WHAT: &str = "hear of flags";
const DAY: i64 = 24 * 60 * 60;
/// How often a stream looks whether something has changed.
const LOOK: Duration = Duration::from_millis(250);
/// Of several servers another may answer what is asked after a notice, and know of the change only by then.
const AGAIN: Duration = Duration::from_secs(2);
/// After so long without an event a client gets a sign that the connection lives.
const IDLE: Duration = Duration::from_secs(15);

/// Where notices come from, as the list of flags says it; nothing where no address can be made.
pub(super) fn streams(gateway: &Gateway, now: DateTime<Utc>) -> Vec<Value> {
    // The end of the next day.
    let until = (now.timestamp().div_euclid(DAY) + 2) * DAY;
    let code = leave::code(gateway.gate.authenticator().key(), WHAT, until);
    let stream = code.map(|code| {
        let address = format!("{PATH}?until={until}&code={code}");
        json!({"type": "sse", "endpoint": {"requestUri": address}})
    });
    stream.into_iter().collect()
}

/// Whether the query of an address gives leave.
fn has_leave(gateway: &Gateway, query: &str, now: DateTime<Utc>) -> bool {
    let (mut until, mut code) = (None, None);
    for (name, value) in form_urlencoded::parse(query.as_bytes()) {
        match &*name {
            "until" => until = value.parse().ok(),
            "code" => code = Some(value),
            _ => {}
        }
    }
    let key = gateway.gate.authenticator().key();
    let holds = |until, code: &str| leave::holds(key, WHAT, until, code, now);
    until
        .zip(code)
        .is_some_and(|(until, code)| holds(until, &code))
}

/// `GET /ofrep/v1/events`.
pub(super) async fn hear(State(gateway): Shared, request: Request) -> Response {
    let (parts, body) = request.into_parts();
    gateway.bounds.discard(body).await;
    // The address is all that the client has.
    let context = gateway.gate.context(&HeaderMap::new()).await;
    let opened = async {
        bounds::admit(&parts.extensions, async { context.clone() }).await?;
        open(&gateway, &context, parts.uri.query().unwrap_or_default())
    };
    match opened.await {
        Ok(response) => response,
        Err(refusal) => Refused::new(refusal, &context).into_response(Dialect::Flags),
    }
}

fn open(gateway: &Gateway, context: &Context, query: &str) -> Result<Response, Refusal> {
    if !has_leave(gateway, query, context.received_at) {
        let words = "This address does not hold, or no more; POST /ofrep/v1/evaluate/flags tells one that does.";
        return Err(Refusal::new(StatusCode::UNAUTHORIZED, None, words));
    }
    let place = gateway.limits.subscription(context)?;
    let line = RequestLogLine::start(&EVENTS, context, None);
    let notices = notices(gateway.models.clone(), gateway.tasks.clone(), line, place);
    let mut response = Response::new(Body::from_stream(notices));
    answer::tell_media_type(response.headers_mut(), true);
    Ok(response)
}

/// All that decides who gets which model.
struct InForce {
    live: Arc<LiveShares>,
    catalog: Arc<Catalog>,
}

impl InForce {
    fn now(models: &ModelRouter) -> Self {
        Self {
            live: models.live(),
            catalog: models.catalog(),
        }
    }

    /// What is published anew may be what it was.
    fn is(&self, other: &Self) -> bool {
        let is_live = Arc::ptr_eq(&self.live, &other.live) || self.live == other.live;
        is_live && Arc::ptr_eq(&self.catalog, &other.catalog)
    }
}

/// A notice at once, as something may have changed since the client asked; then at each change, and once more after
/// [`AGAIN`]. It ends when the server stops.
fn notices(
    models: Arc<ModelRouter>,
    tasks: Tasks,
    mut line: RequestLogLine,
    place: CallPermit,
) -> impl Stream<Item = Result<Bytes, Infallible>> {
    async_stream::stream! {
        let _place = place;
        let mut seen = InForce::now(&models);
        let (mut told, mut spoke) = (0_u64, Instant::now());
        let mut due = Some(spoke);
        while !tasks.is_stopping() {
            let now = InForce::now(&models);
            let at = Instant::now();
            let has_changed = !now.is(&seen);
            seen = now;
            if has_changed || due.is_some_and(|due| due <= at) {
                due = has_changed.then(|| at + AGAIN);
                told += 1;
                spoke = at;
                yield Ok(notice(told).into());
            } else if at.duration_since(spoke) >= IDLE {
                spoke = at;
                yield Ok(":\n\n".into());
            }
            sleep(LOOK).await;
        }
        line.finish(None);
    }
}

fn notice(number: u64) -> String {
    format!("id: {number}\nevent: message\ndata: {{\"type\":\"refetchEvaluation\"}}\n\n")
}
