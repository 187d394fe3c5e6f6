//! Why there is no answer, in the words of the caller's API.

mod dialect;
mod harmless;

use std::{borrow::Cow, time::Duration};

use chrono::{DateTime, SecondsFormat, Utc};
use http::{HeaderValue, StatusCode};
use serde_json::Value;

pub(super) use self::dialect::Dialect;
use self::harmless::harmless;
use super::told::CauseWords;
use crate::{
    _core::{
        errors::{ErrorCode, RpcError},
        units::counted,
    },
    keys::{OverBudget, RateLeft, TooFast},
    model_router::{
        Route, RouteError, Tried, catalog::TASK_PREFIX, quota::schedule::SlotRefusalReason,
    },
    providers::fault::Cause,
};

/// Clients do wait for longer where an answer asks for it, hours included; so it says not to try again.
const LONG: Duration = Duration::from_secs(60);
/// Nobody opens again later than a month from now: such a time is a mistake.
const LONGEST: Duration = Duration::from_secs(31 * 24 * 60 * 60);
/// The code for an address that sends too many wrong keys.
const TOO_MANY_WRONG: &str = "too_many_wrong_keys";

/// A limit of a key that a request has met.
#[derive(Debug)]
enum KeyLimit {
    /// Its rate, of which this is left.
    Rate(RateLeft),
    /// Its budget, which opens again then.
    Budget(DateTime<Utc>),
}

/// Why there is no answer.
#[derive(Debug)]
pub(super) struct Refusal {
    status: StatusCode,
    code: Option<&'static str>,
    param: Option<&'static str>,
    message: Box<str>,
    may_retry: bool,
    retry_after: Option<Duration>,
    /// Tokens that the model takes, where the prompt is longer.
    context: Option<u32>,
    /// The limit of the caller's key, where that is why.
    limit: Option<Box<KeyLimit>>,
    attempts: Vec<Tried>,
    route: Option<Box<Route>>,
}

impl Refusal {
    pub(super) fn new(
        status: StatusCode,
        code: Option<&'static str>,
        message: impl Into<Cow<'static, str>>,
    ) -> Self {
        Self {
            status,
            code,
            param: None,
            message: message.into().into(),
            may_retry: status == StatusCode::TOO_MANY_REQUESTS || status.is_server_error(),
            retry_after: None,
            context: None,
            limit: None,
            attempts: Vec::new(),
            route: None,
        }
    }

    /// The request is wrong; `param` is the field.
    pub(super) fn bad_request(
        param: Option<&'static str>,
        message: impl Into<Cow<'static, str>>,
    ) -> Self {
        Self {
            param,
            ..Self::new(StatusCode::BAD_REQUEST, None, message)
        }
    }

    /// A body that is compressed, or coded otherwise.
    pub(super) fn encoded(coding: &HeaderValue) -> Self {
        let coding = String::from_utf8_lossy(coding.as_bytes());
        let coding: String = coding.chars().take(100).collect();
        let message =
            format!("`Content-Encoding` is `{coding}`; expected a body that is not encoded.");
        let code = Some("unsupported_encoding");
        Self::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, code, message)
    }

    /// What this gateway cannot do, and what to do instead.
    pub(super) fn unsupported(param: &'static str, message: impl Into<Cow<'static, str>>) -> Self {
        Self {
            code: Some("unsupported_parameter"),
            ..Self::bad_request(Some(param), message)
        }
    }

    /// An answer that cannot be translated.
    pub(super) fn unreadable() -> Self {
        let message = "The model's answer cannot be read.";
        Self::new(StatusCode::BAD_GATEWAY, Some("upstream_malformed"), message)
    }

    /// A call of a tool whose arguments are broken, where they cannot be told as the model wrote them.
    pub(super) fn unreadable_call(name: &Value) -> Self {
        let name = name.as_str().unwrap_or_default();
        let message = format!(
            "The model called the tool `{name}` with arguments that are no JSON object. Ask once more."
        );
        Self::new(StatusCode::BAD_GATEWAY, Some("upstream_malformed"), message)
    }

    pub(super) fn unauthorized() -> Self {
        let message = "No valid key: expected `Authorization: Bearer KEY` or `x-api-key: KEY`.";
        let code = Some("invalid_api_key");
        Self::new(StatusCode::UNAUTHORIZED, code, message)
    }

    pub(super) fn two_keys() -> Self {
        Self {
            message: "`Authorization` and `x-api-key` name different keys.".into(),
            ..Self::unauthorized()
        }
    }

    /// The database is needed to answer, and cannot be used just now.
    pub(super) fn no_database() -> Self {
        RpcError::no_database().into()
    }

    /// Whether the caller's key is why.
    pub(super) fn is_about_key(&self) -> bool {
        self.status == StatusCode::UNAUTHORIZED
    }

    /// Whether its address sends too many wrong keys.
    pub(super) fn is_of_too_many(&self) -> bool {
        self.code == Some(TOO_MANY_WRONG)
    }

    /// An address that sends too many wrong keys.
    pub(super) fn too_many_wrong(after: Duration) -> Self {
        let message = "Too many requests without a valid key have come from this address. One with a valid key is \
             answered at any time.";
        Self {
            retry_after: Some(after),
            ..Self::new(StatusCode::TOO_MANY_REQUESTS, Some(TOO_MANY_WRONG), message)
        }
    }

    /// A key that asks more often than it may.
    pub(super) fn too_fast(key: &str, too_fast: TooFast) -> Self {
        let TooFast { left, after } = too_fast;
        let requests = counted(left.limit, "request");
        let message = format!("Key `{key}`: it may send {requests} a minute.");
        Self {
            retry_after: Some(after),
            limit: Some(Box::new(KeyLimit::Rate(left))),
            ..Self::new(
                StatusCode::TOO_MANY_REQUESTS,
                Some("rate_limit_exceeded"),
                message,
            )
        }
    }

    /// A key whose budget does not allow the request.
    pub(super) fn over_budget(key: &str, over: &OverBudget, now: DateTime<Utc>) -> Self {
        let OverBudget {
            limits,
            spent,
            needed,
            opens_at,
        } = over;
        let left = over.left();
        let what = match (limits.dollars_per_day, limits.tokens_per_day) {
            (Some(budget), tokens) if tokens.is_none() || left.tokens >= needed.tokens => format!(
                "the budget of {budget:.2} USD a day is used up ({:.4} spent, {:.4} needed)",
                spent.cost.dollars(),
                needed.cost.dollars(),
            ),
            (_, budget) => format!(
                "the budget of {} tokens a day is used up ({} spent, {} needed)",
                budget.unwrap_or_default(),
                spent.tokens,
                needed.tokens,
            ),
        };
        let opens = opens_at.to_rfc3339_opts(SecondsFormat::Secs, true);
        let message = format!("Key `{key}`: {what}. It opens again at {opens}.");
        Self {
            may_retry: false,
            retry_after: (*opens_at - now).to_std().ok(),
            limit: Some(Box::new(KeyLimit::Budget(*opens_at))),
            ..Self::new(
                StatusCode::PAYMENT_REQUIRED,
                Some("budget_exceeded"),
                message,
            )
        }
    }

    /// Neither a task nor a model has this name.
    pub(super) fn no_model(name: &str) -> Self {
        let name: String = name.chars().take(100).collect();
        let what = match name.strip_prefix(TASK_PREFIX) {
            Some(task) => format!("task `{task}`"),
            None => format!("model `{name}`"),
        };
        let message = format!("The {what} does not exist; GET /v1/models lists what there is.");
        Self {
            param: Some("model"),
            ..Self::new(StatusCode::NOT_FOUND, Some("model_not_found"), message)
        }
    }

    /// No model answered, or one broke off. Of a whole route the answer is about the first attempt: it was the arm's.
    pub(super) fn of_route<'a>(error: &RouteError, attempts: &'a [Tried]) -> Self {
        let fault = |tried: &'a Tried| Some((tried, tried.fault()?));
        let mut faults = attempts.iter().filter_map(fault);
        let faulty = match error {
            RouteError::Busy { provider } => {
                let message = format!("Too many requests wait for `{provider}`.");
                return Self {
                    retry_after: Some(Duration::from_secs(1)),
                    ..Self::new(StatusCode::SERVICE_UNAVAILABLE, Some("overloaded"), message)
                };
            }
            RouteError::OverQuota { refused, .. }
                if refused.reason == SlotRefusalReason::Database =>
            {
                return Self {
                    retry_after: Some(refused.after),
                    attempts: attempts.to_vec(),
                    ..Self::no_database()
                };
            }
            RouteError::OverQuota { provider, refused } => {
                let after = refused.after;
                let seconds = after.as_secs_f64().ceil();
                let told = CauseWords::about(Cause::AccountLimit);
                let (code, message) = match refused.reason {
                    SlotRefusalReason::Rest => {
                        let message =
                            format!("`{provider}` {}. It does again in {seconds} s.", told.text);
                        (told.code, message)
                    }
                    reason => {
                        let message = format!(
                            "The quota of this gateway's account at `{provider}` leaves no slot in time ({}). It has \
                             one again in {seconds} s.",
                            reason.name(),
                        );
                        (Some("quota_exhausted"), message)
                    }
                };
                return Self {
                    may_retry: after <= LONG,
                    retry_after: Some(after),
                    attempts: attempts.to_vec(),
                    ..Self::new(StatusCode::TOO_MANY_REQUESTS, code, message)
                };
            }
            RouteError::Interrupted { .. } => faults.next_back(),
            _ => faults.next(),
        };
        let Some((tried, fault)) = faulty else {
            let message = "No model answered in time.";
            return Self {
                attempts: attempts.to_vec(),
                ..Self::new(
                    StatusCode::GATEWAY_TIMEOUT,
                    Some("deadline_exceeded"),
                    message,
                )
            };
        };
        let told = CauseWords::about(fault.cause);
        let (model, provider) = (&tried.model.name, &tried.model.provider);
        let mut message = format!("Model `{model}` of `{provider}` {}.", told.text);
        let takes_no_blame = matches!(fault.cause, Cause::BadRequest | Cause::Refused);
        if takes_no_blame && !fault.detail().is_empty() {
            message = format!("{message} It says: {}", harmless(fault.detail()));
        }
        let wait = attempts
            .iter()
            .filter_map(|tried| tried.fault()?.retry_after);
        let wait = wait.filter(|wait| *wait <= LONGEST).min();
        let status = StatusCode::from_u16(told.status).unwrap_or(StatusCode::BAD_GATEWAY);
        Self {
            may_retry: told.may_retry && wait.is_none_or(|wait| wait <= LONG),
            retry_after: wait.filter(|_| told.may_retry),
            context: (fault.cause == Cause::ContextLength).then_some(tried.model.context),
            attempts: attempts.to_vec(),
            ..Self::new(status, told.code, message)
        }
    }

    /// The same, about a request on this route.
    pub(super) fn on(self, route: &Route) -> Self {
        Self {
            route: Some(Box::new(route.clone())),
            ..self
        }
    }

    fn opens_at(&self) -> Option<DateTime<Utc>> {
        match self.limit.as_deref() {
            Some(KeyLimit::Budget(opens_at)) => Some(*opens_at),
            _ => None,
        }
    }

    /// What the log calls it.
    pub(super) fn code(&self) -> Option<&'static str> {
        self.code.or(Some("bad_request"))
    }

    /// The status of the answer.
    pub(super) fn status(&self) -> StatusCode {
        self.status
    }

    /// What is said to the caller.
    pub(super) fn message(&self) -> &str {
        &self.message
    }

    /// The same for the log of calls.
    pub(super) fn to_error(&self) -> RpcError {
        let status = self.status.as_u16();
        let mut codes = ErrorCode::ALL.iter();
        let code = codes.find(|code| code.http_status() == status);
        let code = code.copied().unwrap_or(ErrorCode::BadRequest);
        RpcError::new(code, self.message.to_string())
    }
}

impl From<RpcError> for Refusal {
    fn from(error: RpcError) -> Self {
        let (code, wait) = match error.code {
            ErrorCode::ServiceUnavailable => (Some("overloaded"), Some(Duration::from_secs(1))),
            ErrorCode::PayloadTooLarge => (Some("request_too_large"), None),
            ErrorCode::Timeout => (Some("request_timeout"), None),
            ErrorCode::InternalServerError => (Some("internal_error"), None),
            _ => (None, None),
        };
        let status = StatusCode::from_u16(error.code.http_status());
        let status = status.unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        Self {
            retry_after: wait,
            ..Self::new(status, code, error.message)
        }
    }
}
