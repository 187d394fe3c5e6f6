//! The one error that leaves the server: a code, a text for the client, and a cause for the log.
//!
//! Inside an area an error is that area's `thiserror` enum. At the edge it becomes an [`RpcError`],
//! which keeps the two audiences apart: `message` is written for the client and never holds anything
//! internal, `cause` is logged once and never sent. The string code is the identity of an error;
//! numbers are shared (five codes are −32603), so both wires also carry `code` and `httpStatus`.

use std::{borrow::Cow, fmt, sync::Arc};

use chrono::{DateTime, SecondsFormat, TimeDelta, Utc};
use serde::Serialize;
use serde_json::Value;

use super::shape::Shape;

const NO_DATABASE: &str = "The database cannot be used just now. Please try again in a moment.";

/// What `data.code` says beside `data.retryAfter`; not an [`ErrorCode`].
pub const RATE_LIMIT_EXCEEDED: &str = "RATE_LIMIT_EXCEEDED";

/// An error with its causes on one line, each said once: many texts repeat the cause that they wrap.
pub fn in_full(error: &(dyn std::error::Error + 'static)) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let said = error.to_string();
        if !text.ends_with(&said) {
            text = format!("{text}: {said}");
        }
        cause = error.source();
    }
    text
}

macro_rules! error_codes {
    ($($(#[$doc:meta])* $variant:ident $name:literal $number:literal $status:literal;)*) => {
        /// What went wrong, in tRPC's vocabulary (`@trpc/server` 11, `rpc/codes.ts`).
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum ErrorCode { $(#[doc = concat!("`", $name, "`")] $variant,)* }

        impl ErrorCode {
            /// Every code, in the order of the table.
            pub const ALL: &[Self] = &[$(Self::$variant,)*];

            /// The code of this name.
            pub fn named(name: &str) -> Option<Self> {
                Self::ALL.iter().copied().find(|code| code.name() == name)
            }

            /// The string a client compares, as in `error.data.code`.
            pub const fn name(self) -> &'static str {
                match self { $(Self::$variant => $name,)* }
            }

            /// The number in `error.code` on the tRPC wire.
            pub const fn number(self) -> i32 {
                match self { $(Self::$variant => $number,)* }
            }

            /// The HTTP status of a response that holds only this error.
            pub const fn http_status(self) -> u16 {
                match self { $(Self::$variant => $status,)* }
            }
        }
    };
}

error_codes! {
    ParseError            "PARSE_ERROR"             -32700 400;
    BadRequest            "BAD_REQUEST"             -32600 400;
    Unauthorized          "UNAUTHORIZED"            -32001 401;
    PaymentRequired       "PAYMENT_REQUIRED"        -32002 402;
    Forbidden             "FORBIDDEN"               -32003 403;
    NotFound              "NOT_FOUND"               -32004 404;
    MethodNotSupported    "METHOD_NOT_SUPPORTED"    -32005 405;
    Timeout               "TIMEOUT"                 -32008 408;
    Conflict              "CONFLICT"                -32009 409;
    PreconditionFailed    "PRECONDITION_FAILED"     -32012 412;
    PayloadTooLarge       "PAYLOAD_TOO_LARGE"       -32013 413;
    UnsupportedMediaType  "UNSUPPORTED_MEDIA_TYPE"  -32015 415;
    UnprocessableContent  "UNPROCESSABLE_CONTENT"   -32022 422;
    PreconditionRequired  "PRECONDITION_REQUIRED"   -32028 428;
    TooManyRequests       "TOO_MANY_REQUESTS"       -32029 429;
    ClientClosedRequest   "CLIENT_CLOSED_REQUEST"   -32099 499;
    InternalServerError   "INTERNAL_SERVER_ERROR"   -32603 500;
    NotImplemented        "NOT_IMPLEMENTED"         -32603 501;
    BadGateway            "BAD_GATEWAY"             -32603 502;
    ServiceUnavailable    "SERVICE_UNAVAILABLE"     -32603 503;
    GatewayTimeout        "GATEWAY_TIMEOUT"         -32603 504;
}

impl ErrorCode {
    /// The number in `error.code` on the JSON-RPC wire: −32600 means a broken envelope there, so a
    /// bad input is −32602.
    pub const fn json_rpc_number(self) -> i32 {
        match self {
            Self::BadRequest => -32602,
            code => code.number(),
        }
    }
}

/// An error as a client will see it, with its private cause.
#[derive(Clone, Debug)]
pub struct RpcError {
    /// The identity of the error.
    pub code: ErrorCode,
    /// For the client; says what to do about it where that is possible.
    pub message: Cow<'static, str>,
    /// When trying again makes sense. Too many calls are then `RATE_LIMIT_EXCEEDED` in `data.code`
    /// (docs/compatibility.md, C19).
    pub retry_after: Option<DateTime<Utc>>,
    /// What a program needs beside the text, such as the state that a stale change met.
    pub details: Option<Arc<Value>>,
    details_shape: Option<Arc<Shape>>,
    cause: Option<Arc<anyhow::Error>>,
}

impl RpcError {
    /// An error whose text the client may read.
    pub fn new(code: ErrorCode, message: impl Into<Cow<'static, str>>) -> Self {
        Self {
            code,
            message: message.into(),
            retry_after: None,
            details: None,
            details_shape: None,
            cause: None,
        }
    }

    /// The caller sent something wrong; the text names the field, the value and what was expected.
    pub fn bad_request(message: impl Into<Cow<'static, str>>) -> Self {
        Self::new(ErrorCode::BadRequest, message)
    }

    /// The thing named in the text does not exist.
    pub fn not_found(message: impl Into<Cow<'static, str>>) -> Self {
        Self::new(ErrorCode::NotFound, message)
    }

    /// The caller is known and may not do this.
    pub fn forbidden(message: impl Into<Cow<'static, str>>) -> Self {
        Self::new(ErrorCode::Forbidden, message)
    }

    /// A fault of ours: the client gets a fixed phrase, the log gets the cause.
    pub fn internal(cause: impl Into<anyhow::Error>) -> Self {
        Self::new(ErrorCode::InternalServerError, "Internal server error").with_cause(cause)
    }

    /// The eleventh of ten calls: when the next one is welcome is part of the error.
    pub fn rate_limited(message: impl Into<Cow<'static, str>>, retry_after: DateTime<Utc>) -> Self {
        Self {
            retry_after: Some(retry_after),
            ..Self::new(ErrorCode::TooManyRequests, message)
        }
    }

    /// The database does not say who calls. Nobody is signed out for that.
    pub fn users_unavailable(now: DateTime<Utc>) -> Self {
        Self::unavailable(
            "The database does not answer; you are still signed in. Please try again.",
            now,
        )
    }

    /// What is asked for cannot be had now, but may be in a second.
    pub fn unavailable(message: impl Into<Cow<'static, str>>, now: DateTime<Utc>) -> Self {
        Self {
            retry_after: Some(now + TimeDelta::seconds(1)),
            ..Self::new(ErrorCode::ServiceUnavailable, message)
        }
    }

    /// The same where it was not our fault: what we need failed in a way that passes.
    pub(super) fn passing(self) -> Self {
        Self {
            code: ErrorCode::ServiceUnavailable,
            message: NO_DATABASE.into(),
            ..self
        }
    }

    /// What is asked for needs the database, which cannot be used now.
    pub fn no_database() -> Self {
        Self::new(ErrorCode::ServiceUnavailable, NO_DATABASE)
    }

    /// All places are taken.
    pub fn overloaded() -> Self {
        Self::new(
            ErrorCode::ServiceUnavailable,
            "the server is busy; try again in a second",
        )
    }

    /// The whole seconds of a `Retry-After` header that is sent now, at least one; one for any 503.
    pub fn retry_after_seconds(&self, now: DateTime<Utc>) -> Option<u64> {
        let Some(at) = self.retry_after else {
            return (self.code == ErrorCode::ServiceUnavailable).then_some(1);
        };
        let wait_ms = (at - now).num_milliseconds().max(1);
        u64::try_from(wait_ms).ok().map(|ms| ms.div_ceil(1000))
    }

    /// Adds what a program needs to go on; the client sees it as `data.details`.
    pub fn with_details(mut self, details: Value) -> Self {
        self.details = Some(Arc::new(details));
        self
    }

    /// Says where the details hold dates; the registry does, which knows what was declared.
    pub(crate) fn with_details_shape(mut self, shape: Option<Arc<Shape>>) -> Self {
        self.details_shape = shape;
        self
    }

    /// The details and what they are, where they hold what JSON cannot say.
    pub fn special_details(&self) -> Option<(&Shape, &Value)> {
        let shape = self.details_shape.as_deref()?;
        let details = self.details.as_deref()?;
        shape.is_special().then_some((shape, details))
    }

    /// Adds what only the log may know.
    pub fn with_cause(mut self, cause: impl Into<anyhow::Error>) -> Self {
        self.cause = Some(Arc::new(cause.into()));
        self
    }

    /// The private cause, for the one place that logs it.
    pub fn cause(&self) -> Option<&anyhow::Error> {
        self.cause.as_deref()
    }

    /// The string in `data.code`.
    pub fn data_code(&self) -> &'static str {
        if self.code == ErrorCode::TooManyRequests && self.retry_after.is_some() {
            RATE_LIMIT_EXCEEDED
        } else {
            self.code.name()
        }
    }

    /// The error as it goes on the wire, before any transformer.
    pub fn shape<'a>(&'a self, path: Option<&'a str>, request_id: &'a str) -> ErrorShape<'a> {
        ErrorShape {
            message: &self.message,
            code: self.code.number(),
            data: self.data(path, request_id),
        }
    }

    /// The `data` part alone, which JSON-RPC carries beside its own number.
    pub fn data<'a>(&'a self, path: Option<&'a str>, request_id: &'a str) -> ErrorData<'a> {
        ErrorData {
            code: self.data_code(),
            http_status: self.code.http_status(),
            path,
            request_id,
            retry_after: self
                .retry_after
                .map(|at| at.to_rfc3339_opts(SecondsFormat::Millis, true)),
            details: self.details.as_deref(),
        }
    }
}

impl fmt::Display for RpcError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.code.name(), self.message)
    }
}

impl std::error::Error for RpcError {}

/// `{message, code, data}`: tRPC's error shape, with the request's id added to `data`.
#[derive(Debug, Serialize)]
pub struct ErrorShape<'a> {
    /// For people.
    pub message: &'a str,
    /// [`ErrorCode::number`].
    pub code: i32,
    /// For programs.
    pub data: ErrorData<'a>,
}

/// What a program needs to act on an error.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ErrorData<'a> {
    /// The string code.
    pub code: &'static str,
    /// The HTTP status of this call, also where a batch's own status is 207.
    pub http_status: u16,
    /// The procedure, where one was named.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub path: Option<&'a str>,
    /// Finds the call in the log.
    pub request_id: &'a str,
    /// ISO 8601 with milliseconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub retry_after: Option<String>,
    /// For some errors: what to go on with. Its form is the procedure's.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub details: Option<&'a Value>,
}
