//! Who calls: a program by its key, or a user by a session token, in `Authorization: Bearer` or
//! `x-api-key`.
//!
//! Cookies count for nothing here: a page could make a browser send them.

use std::{sync::Arc, time::Duration};

use http::{HeaderMap, HeaderName, HeaderValue, header};
use serde_json::value::RawValue;
use tokio::time::Instant;

use super::refusal::Refusal;
use crate::{
    _core::{
        assignment::Subject,
        caller::{Caller, Role},
        context::Context,
        trace_parent::TraceParent,
    },
    keys::{ApiKey, ApiKeys},
    model_router::{
        Urgency,
        quota::schedule::{MAX_TURNS, Priority},
    },
    providers::RawObject,
};

const API_KEY: HeaderName = HeaderName::from_static("x-api-key");
const SUBJECT: HeaderName = HeaderName::from_static("x-modelramp-subject");
const DEADLINE: HeaderName = HeaderName::from_static("x-modelramp-deadline-ms");
const TRACE_PARENT: HeaderName = HeaderName::from_static("traceparent");
const PRIORITY: HeaderName = HeaderName::from_static("x-modelramp-priority");
const CALLS: HeaderName = HeaderName::from_static("x-modelramp-calls");
const IDEMPOTENCY_KEY: HeaderName = HeaderName::from_static("idempotency-key");
/// The longest id of a subject, and the longest key of a repetition, in bytes.
const MAX_SUBJECT: usize = 256;
/// A whole answer takes no longer than this, and neither does the beginning of a streamed one. The
/// clients' own patience is 600 s.
const DEADLINE_MAX: Duration = Duration::from_secs(120);

/// Two keys that differ.
#[derive(Debug)]
pub(super) struct TwoKeys;

/// The headers that name the caller: the key alone, as a bearer token.
pub(super) fn credentials(headers: &HeaderMap) -> Result<HeaderMap, TwoKeys> {
    let bearers = headers.get_all(header::AUTHORIZATION).iter();
    let bearers = bearers.filter_map(|value| bearer(value.as_bytes()));
    let keys = headers.get_all(API_KEY).iter();
    let keys = keys.map(|value| value.as_bytes().trim_ascii());
    let mut named = bearers.chain(keys).filter(|key| !key.is_empty());
    let Some(key) = named.next() else {
        return Ok(HeaderMap::new());
    };
    if named.any(|other| other != key) {
        return Err(TwoKeys);
    }
    let value = HeaderValue::from_bytes(&[b"Bearer ", key].concat());
    let value = value.ok().map(|value| (header::AUTHORIZATION, value));
    Ok(HeaderMap::from_iter(value))
}

/// What a bearer token names; nothing for another scheme.
fn bearer(authorization: &[u8]) -> Option<&[u8]> {
    let scheme = authorization.get(..b"bearer ".len())?;
    let is_bearer = scheme.eq_ignore_ascii_case(b"bearer ");
    is_bearer.then(|| authorization[scheme.len()..].trim_ascii())
}

/// The key of a program, where the caller's headers hold one.
pub(super) fn key_in(credentials: &HeaderMap) -> Option<&str> {
    let bearer = credentials.get(header::AUTHORIZATION)?.to_str().ok()?;
    let (scheme, key) = bearer.split_once(' ')?;
    let key = key.trim();
    (scheme.eq_ignore_ascii_case("bearer") && ApiKeys::is_key(key)).then_some(key)
}

/// Who calls, and what the headers ask for.
pub(super) struct GatewayCall {
    who: Who,
    /// Whom the headers name.
    subject: Option<String>,
    /// How long the caller waits.
    pub(super) patience: Duration,
    /// Whether it says so.
    is_patient: bool,
    priority: Priority,
    /// Requests that its conversation takes, where it says.
    calls: Option<u32>,
    /// Whether an answer may be one that was kept, or be kept.
    pub(super) may_keep: bool,
    /// What it gives a request and its repetitions, which are to have one answer.
    pub(super) repetition: Option<String>,
    /// The span in which it calls, where it has a trace.
    pub(super) trace: Option<TraceParent>,
}

enum Who {
    /// A user. Admins may call for others.
    User { id: i64, is_admin: bool },
    /// A program, which calls for its users.
    Program(Arc<ApiKey>),
}

impl GatewayCall {
    pub(super) fn of_user(context: &Context, headers: &HeaderMap) -> Result<Self, Refusal> {
        let user = match &context.caller {
            Caller::User(user) => user,
            Caller::Anonymous => return Err(Refusal::unauthorized()),
            Caller::Unknown { .. } => {
                let error = context.user().err();
                return Err(error.map_or_else(Refusal::unauthorized, Into::into));
            }
        };
        let is_admin = user.role == Role::Admin;
        Self::new(
            Who::User {
                id: user.id,
                is_admin,
            },
            headers,
        )
    }

    pub(super) fn of_key(key: Arc<ApiKey>, headers: &HeaderMap) -> Result<Self, Refusal> {
        Self::new(Who::Program(key), headers)
    }

    fn new(who: Who, headers: &HeaderMap) -> Result<Self, Refusal> {
        let text = |name: &HeaderName| {
            let text = headers.get(name).map(|value| value.to_str().map(str::trim));
            text.transpose().map_err(|_| {
                let message =
                    format!("`{name}` is no text: expected one of ASCII that can be seen");
                Refusal::bad_request(None, message)
            })
        };
        let patience = match text(&DEADLINE)? {
            None => DEADLINE_MAX,
            Some(text) => {
                let ms = text.parse().ok().filter(|ms| *ms > 0_u64);
                let ms = ms.ok_or_else(|| {
                    let expected = "expected a whole number of milliseconds, at least 1";
                    Refusal::bad_request(None, format!("`{DEADLINE}` is `{text}`; {expected}"))
                })?;
                DEADLINE_MAX.min(Duration::from_millis(ms))
            }
        };
        let priority = match text(&PRIORITY)? {
            None => Priority::default(),
            Some(text) => Priority::named(text).ok_or_else(|| {
                let expected = "expected `interactive`, `background` or `batch`";
                Refusal::bad_request(None, format!("`{PRIORITY}` is `{text}`; {expected}"))
            })?,
        };
        let calls = text(&CALLS)?.map(|text| {
            let calls = text
                .parse()
                .ok()
                .filter(|calls| (1..=MAX_TURNS).contains(calls));
            calls.ok_or_else(|| {
                let expected = format!("expected a whole number of requests from 1 to {MAX_TURNS}");
                Refusal::bad_request(None, format!("`{CALLS}` is `{text}`; {expected}"))
            })
        });
        let id = |name: HeaderName| {
            let id = headers.get(&name).map(|value| {
                let text = value.to_str().map(str::trim).unwrap_or_default();
                let is_id = (1..=MAX_SUBJECT).contains(&text.len());
                is_id.then(|| text.to_owned()).ok_or_else(|| {
                    let expected = format!("expected an id of 1 to {MAX_SUBJECT} bytes of ASCII");
                    Refusal::bad_request(None, format!("`{name}` is no id; {expected}"))
                })
            });
            id.transpose()
        };
        Ok(Self {
            who,
            subject: id(SUBJECT)?,
            repetition: id(IDEMPOTENCY_KEY)?,
            patience,
            is_patient: headers.contains_key(DEADLINE),
            priority,
            calls: calls.transpose()?,
            may_keep: !forbids_keeping(headers),
            trace: text(&TRACE_PARENT)
                .ok()
                .flatten()
                .and_then(TraceParent::parse),
        })
    }

    /// How urgent it is where an account's quota makes it wait; no more than its key allows.
    pub(super) fn urgency(&self) -> Urgency {
        let most = self.program().and_then(|key| key.limits.priority);
        Urgency {
            priority: self.priority.max(most.unwrap_or_default()),
            calls: self.calls,
            start_by: self.is_patient.then(|| Instant::now() + self.patience),
        }
    }

    /// Who calls, as kept answers know it.
    pub(super) fn identity(&self) -> String {
        match &self.who {
            Who::User { id, .. } => format!("user:{id}"),
            Who::Program(key) => format!("key:{}", key.name),
        }
    }

    /// The key of a program.
    pub(super) fn program(&self) -> Option<&Arc<ApiKey>> {
        match &self.who {
            Who::User { .. } => None,
            Who::Program(key) => Some(key),
        }
    }

    /// Whether the caller may ask for a model or a task, by the name that a request gives it.
    pub(super) fn allows(&self, name: &str) -> bool {
        match &self.who {
            Who::User { .. } => true,
            Who::Program(key) => key.allows(name),
        }
    }

    /// Whether the caller may ask about this subject: a program and an admin about anybody, a user about itself.
    pub(super) fn may_speak_for(&self, subject: &Subject) -> bool {
        match self.who {
            Who::Program(_) => true,
            Who::User { id, is_admin } => is_admin || Subject::user(id).as_ref() == Some(subject),
        }
    }

    /// For whom the variant is decided: whom a program's or an admin's request names, else the user that
    /// calls. A user cannot speak for another.
    pub(super) fn subject(&self, body: &RawObject) -> Option<Subject> {
        let named = || {
            let text = |value: Option<&RawValue>| -> Option<String> {
                serde_json::from_str(value?.get()).ok()
            };
            let metadata = body.get("metadata");
            let metadata = metadata.and_then(|it| RawObject::parse(it.get().as_bytes()).ok());
            let named = self.subject.clone().or_else(|| text(body.get("user")));
            let named = named.or_else(|| text(metadata.as_ref()?.get("user_id")));
            let named = named.map(|text| account_in(&text).unwrap_or(text))?;
            (named.len() <= MAX_SUBJECT).then(|| Subject::parse(&named))?
        };
        match self.who {
            Who::Program(_) => named(),
            Who::User { id, is_admin } => {
                let named = is_admin.then(named).flatten();
                named.or_else(|| Subject::user(id))
            }
        }
    }
}

/// Whether a caller wants an answer of its own.
fn forbids_keeping(headers: &HeaderMap) -> bool {
    let values = headers.get_all(header::CACHE_CONTROL).iter();
    let mut words = values
        .filter_map(|it| it.to_str().ok())
        .flat_map(|it| it.split(','));
    words.any(|word| {
        let is = |known: &&str| word.trim().eq_ignore_ascii_case(known);
        ["no-cache", "no-store", "max-age=0"].iter().any(is)
    })
}

/// Claude Code puts a JSON text where an id is expected, with another session each time.
fn account_in(text: &str) -> Option<String> {
    let object = RawObject::parse(text.as_bytes()).ok()?;
    ["account_uuid", "device_id"].iter().find_map(|name| {
        let id: String = serde_json::from_str(object.get(name)?.get()).ok()?;
        (!id.is_empty()).then_some(id)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(all: &[(&'static str, &str)]) -> HeaderMap {
        let pairs = all.iter();
        pairs
            .map(|(name, value)| (name.parse().unwrap(), value.parse().unwrap()))
            .collect()
    }

    #[test]
    fn a_key_is_a_bearer_token_or_an_api_key_and_no_cookie() {
        let named = |all: &[(&'static str, &str)]| {
            let found = credentials(&headers(all)).ok()?;
            assert!(found.keys().all(|name| name == header::AUTHORIZATION));
            Some(
                found
                    .get(header::AUTHORIZATION)
                    .map(|it| it.to_str().unwrap().to_owned()),
            )
        };
        let key = Some(Some("Bearer k".to_owned()));
        assert_eq!(named(&[("authorization", "Bearer k")]), key);
        assert_eq!(named(&[("x-api-key", "k")]), key);
        assert_eq!(
            named(&[("x-api-key", "k"), ("authorization", "bearer  k")]),
            key
        );
        assert_eq!(
            named(&[("x-api-key", "k"), ("authorization", "Bearer ")]),
            key
        );
        assert_eq!(
            named(&[("authorization", "Bearer k"), ("authorization", "Bearer l")]),
            None
        );
        assert_eq!(
            named(&[("x-api-key", "k"), ("authorization", "Bearer k")]),
            key
        );
        assert_eq!(
            named(&[("x-api-key", "k"), ("authorization", "Bearer l")]),
            None
        );
        assert_eq!(named(&[("cookie", "app_session_id=k")]), Some(None));
    }

    #[test]
    fn a_caller_says_in_any_case_that_it_wants_an_answer_of_its_own() {
        let forbids = |value: &str| forbids_keeping(&headers(&[("cache-control", value)]));
        assert!(forbids("no-store") && forbids("private, No-Cache") && forbids("max-age=0"));
        assert!(!forbids("max-age=60"));
    }

    #[test]
    fn a_header_that_cannot_be_read_is_refused_by_name() {
        let call = |name: &HeaderName| {
            let who = Who::User {
                id: 7,
                is_admin: false,
            };
            let value = HeaderValue::from_bytes(b"\xf8").unwrap();
            GatewayCall::new(who, &HeaderMap::from_iter([(name.clone(), value)]))
        };
        for name in [DEADLINE, PRIORITY, CALLS, SUBJECT, IDEMPOTENCY_KEY] {
            let refusal = call(&name).err().unwrap();
            let message = refusal.to_error().message;
            assert!(message.contains(name.as_str()), "{message}");
        }
        assert!(call(&TRACE_PARENT).is_ok(), "a trace is no reason");
    }

    #[test]
    fn admins_name_the_subject_and_users_are_it() {
        let admin = |subject: Option<&str>| GatewayCall {
            who: Who::User {
                id: 7,
                is_admin: true,
            },
            subject: subject.map(str::to_owned),
            repetition: None,
            patience: DEADLINE_MAX,
            is_patient: false,
            priority: Priority::default(),
            calls: None,
            may_keep: true,
            trace: None,
        };
        let of = |call: GatewayCall, body: &str| {
            call.subject(&RawObject::parse(body.as_bytes()).unwrap())
        };
        let opaque = |id: &str| Some(Subject::Opaque(id.into()));
        let named = r#"{"user":"u-1","metadata":{"user_id":"m-1"}}"#;
        assert_eq!(of(admin(Some("h-1")), named), opaque("h-1"));
        assert_eq!(of(admin(None), named), opaque("u-1"));
        assert_eq!(
            of(admin(None), r#"{"metadata":{"user_id":"m-1"}}"#),
            opaque("m-1")
        );
        let code = r#"{"metadata":{"user_id":"{\"device_id\":\"d\",\"account_uuid\":\"a\",\"session_id\":\"s\"}"}}"#;
        assert_eq!(of(admin(None), code), opaque("a"));
        assert_eq!(of(admin(None), "{}"), Subject::user(7));
        let user = GatewayCall {
            who: Who::User {
                id: 7,
                is_admin: false,
            },
            ..admin(Some("h-1"))
        };
        assert_eq!(of(user, named), Subject::user(7));
    }
}
