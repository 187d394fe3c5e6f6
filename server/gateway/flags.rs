//! `POST /ofrep/v1/evaluate/flags` and `…/flags/NAME`: who gets which model, for OpenFeature's providers (OFREP 0.3).
//!
//! A flag is a task of the catalog. Its value is the model that the subject would be asked first now, its variant the side.
//! Nothing is recorded: an application that calls models itself asks here, and its requests are in no evidence.

use axum::{
    body::Body,
    extract::{Path, Request, State, rejection::PathRejection},
    response::Response,
};
use http::{HeaderMap, HeaderValue, StatusCode, header};
use serde::Serialize;
use serde_json::{Map, Value, value::RawValue};
use sha2::{Digest, Sha256};

use super::{
    Admitted, Gateway, Shared, answer, caller::GatewayCall, endpoint::Endpoint, flag_events,
    refusal::Dialect, refusal::Refusal,
};
use crate::{
    _core::{
        assignment::Subject,
        feature_flags::{DecidedBy, Reason},
    },
    model_router::{ModelRouter, Route, catalog::TASK_PREFIX},
    providers::{RawObject, fields::text},
};

static ONE: Endpoint = Endpoint::new("/ofrep/v1/evaluate/flags/NAME");
static ALL: Endpoint = Endpoint::new("/ofrep/v1/evaluate/flags");

/// Why there is no value, in OFREP's words.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
enum ErrorCode {
    ParseError,
    TargetingKeyMissing,
    InvalidContext,
    FlagNotFound,
    General,
}

/// No evaluation, and the status of a request for this flag alone.
struct Failure {
    status: StatusCode,
    code: ErrorCode,
    details: String,
}

impl Failure {
    fn bad_request(code: ErrorCode, details: impl Into<String>) -> Self {
        Self {
            status: StatusCode::BAD_REQUEST,
            code,
            details: details.into(),
        }
    }

    fn to_json(&self, key: Option<&str>) -> Value {
        serde_json::json!({ "key": key, "errorCode": self.code, "errorDetails": self.details })
    }

    /// The answer to a request for this flag alone, or for all of them. What is this server's fault has no code there.
    fn into_response(self, key: Option<&str>) -> Response {
        let mut body = self.to_json(key);
        if let Some(fields) = body.as_object_mut() {
            let is_ours = self.status.is_server_error();
            fields.retain(|name, value| match name.as_str() {
                "errorDetails" => true,
                _ => !is_ours && !value.is_null(),
            });
        }
        let mut response = answer::json(body.to_string());
        *response.status_mut() = self.status;
        response
    }
}

/// What is known of a flag for a subject. `metadata` holds no value within a value, as OFREP wants it.
#[derive(Debug, Serialize)]
struct Evaluation<'a> {
    key: &'a str,
    /// Without one the application goes by its own default.
    #[serde(skip_serializing_if = "Option::is_none")]
    value: Option<&'a str>,
    reason: &'static str,
    variant: &'static str,
    metadata: Map<String, Value>,
}

fn evaluation(route: &Route) -> Value {
    let decision = &route.decision;
    let share = decision.share.get();
    let reason = match decision.reason {
        Reason::KillSwitch => "DISABLED",
        Reason::ForcedOn | Reason::ForcedOff | Reason::ForcedForAll => "TARGETING_MATCH",
        Reason::Share | Reason::NoSubject if share <= 0.0 || share >= 100.0 => "STATIC",
        Reason::Share | Reason::NoSubject => "SPLIT",
    };
    let in_force = route.in_force();
    let mut metadata = Map::new();
    metadata.insert("percent".into(), share.into());
    metadata.insert("bucket".into(), decision.bucket.into());
    metadata.retain(|_, value| !value.is_null());
    if let (DecidedBy::Rollout, Some(rollout)) = (in_force.decided_by, &route.rollout) {
        metadata.insert("rolloutId".into(), (&*rollout.id).into());
        metadata.insert("plan".into(), (&*rollout.plan).into());
    }
    let evaluation = Evaluation {
        key: &route.task,
        value: route.models.first().map(|model| &*model.name),
        reason,
        variant: route.variant.name(),
        metadata,
    };
    serde_json::to_value(evaluation).unwrap_or_default()
}

/// Whom a context is about.
fn subject(call: &GatewayCall, body: &RawObject) -> Result<Result<Subject, Failure>, Refusal> {
    let context = body.get("context").map(RawValue::get);
    let Some(Ok(context)) = context.map(|it| RawObject::parse(it.as_bytes())) else {
        let details = "`context` is missing, or is no object";
        return Ok(Err(Failure::bad_request(
            ErrorCode::InvalidContext,
            details,
        )));
    };
    let key = text(context.get("targetingKey"));
    let Some(subject) = key.as_deref().and_then(Subject::parse) else {
        let details =
            "`targetingKey` is missing, or is no id: expected a text such as a user's number";
        return Ok(Err(Failure::bad_request(
            ErrorCode::TargetingKeyMissing,
            details,
        )));
    };
    if call.may_speak_for(&subject) {
        Ok(Ok(subject))
    } else {
        let words =
            "A user may ask about itself only; programs with a key, and admins, about anybody.";
        Err(Refusal::new(
            StatusCode::FORBIDDEN,
            Some("forbidden"),
            words,
        ))
    }
}

/// The flag of a task, where the caller may ask for it.
fn evaluate(
    models: &ModelRouter,
    call: &GatewayCall,
    key: &str,
    subject: &Subject,
) -> Result<Value, Failure> {
    let missing = || Failure {
        status: StatusCode::NOT_FOUND,
        code: ErrorCode::FlagNotFound,
        details: format!("no task `{}`", key.chars().take(100).collect::<String>()),
    };
    if models.catalog().task(key).is_none() || !call.allows(&format!("{TASK_PREFIX}{key}")) {
        return Err(missing());
    }
    let route = models.select(key, Some(subject), None);
    let route = route.map_err(|error| Failure {
        status: StatusCode::INTERNAL_SERVER_ERROR,
        code: ErrorCode::General,
        details: error.to_string(),
    })?;
    Ok(evaluation(&route))
}

/// `POST /ofrep/v1/evaluate/flags/NAME`.
pub(super) async fn one(
    State(gateway): Shared,
    key: Result<Path<String>, PathRejection>,
    request: Request,
) -> Response {
    let key = key.map_or_else(|_| String::new(), |Path(key)| key);
    let run = async |gateway: &Gateway, admitted: &mut Admitted, body: Body| {
        let answered = match gateway.read(body).await {
            Ok((body, _held)) => match subject(&admitted.call, &body)? {
                Ok(subject) => evaluate(&gateway.models, &admitted.call, &key, &subject),
                Err(failure) => Err(failure),
            },
            Err(refusal) => Err(unread(refusal)?),
        };
        Ok(match answered {
            Ok(evaluation) => answer::json(evaluation.to_string()),
            Err(failure) => failure.into_response(Some(&key)),
        })
    };
    gateway.serve(&ONE, Dialect::Flags, request, run).await
}

/// `POST /ofrep/v1/evaluate/flags`: every task that the caller may ask for.
pub(super) async fn all(State(gateway): Shared, request: Request) -> Response {
    let known = if_none_match(request.headers());
    let run = async |gateway: &Gateway, admitted: &mut Admitted, body: Body| {
        let body = match gateway.read(body).await {
            Ok((body, _held)) => body,
            Err(refusal) => return Ok(unread(refusal)?.into_response(None)),
        };
        let subject = match subject(&admitted.call, &body)? {
            Ok(subject) => subject,
            Err(failure) => return Ok(failure.into_response(None)),
        };
        let catalog = gateway.models.catalog();
        let mut flags = Vec::new();
        for task in &catalog.tasks {
            match evaluate(&gateway.models, &admitted.call, &task.name, &subject) {
                Ok(evaluation) => flags.push(evaluation),
                Err(failure) if failure.code == ErrorCode::FlagNotFound => {}
                Err(failure) => flags.push(failure.to_json(Some(&task.name))),
            }
        }
        let streams = flag_events::streams(gateway, admitted.context.received_at);
        Ok(with_tag(&flags, &streams, &known))
    };
    gateway.serve(&ALL, Dialect::Flags, request, run).await
}

/// A body that is no JSON object. One that is too large, too slow or finds no room is refused as on every path.
fn unread(refusal: Refusal) -> Result<Failure, Refusal> {
    match refusal.status() {
        StatusCode::BAD_REQUEST => Ok(Failure::bad_request(
            ErrorCode::ParseError,
            refusal.message(),
        )),
        _ => Err(refusal),
    }
}

/// The tags of answers that the client has.
fn if_none_match(headers: &HeaderMap) -> Vec<String> {
    let values = headers.get_all(header::IF_NONE_MATCH).iter();
    let texts = values.filter_map(|value| value.to_str().ok());
    let tags = texts.flat_map(|text| text.split(','));
    tags.map(|tag| tag.trim().trim_start_matches("W/").to_owned())
        .collect()
}

/// The answer, or 304 where the client has it. The tag is of the whole answer, so whatever changes it (the subject,
/// the share, the catalog) changes the tag, and so does a new day, with the address of notices.
fn with_tag(flags: &[Value], streams: &[Value], known: &[String]) -> Response {
    let text = serde_json::json!({"flags": flags, "eventStreams": streams}).to_string();
    let digest = hex::encode(&Sha256::digest(text.as_bytes())[..16]);
    let tag = format!("\"{digest}\"");
    let mut response = if known.iter().any(|it| *it == tag || it == "*") {
        let mut unchanged = Response::new(Body::empty());
        *unchanged.status_mut() = StatusCode::NOT_MODIFIED;
        unchanged
    } else {
        answer::json(text)
    };
    if let Ok(value) = HeaderValue::try_from(tag) {
        response.headers_mut().insert(header::ETAG, value);
    }
    response
}
