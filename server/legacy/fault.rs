//! Why a request could not be passed on, or its answer not handed on.

use std::time::Duration;

use chrono::{DateTime, Utc};

use crate::_core::errors::{ErrorCode, RpcError};

/// What went wrong between the client and the old server. Clones share the causes' texts.
#[derive(Clone, Debug, thiserror::Error)]
pub enum LegacyFault {
    /// There is no connection.
    #[error("the old server cannot be reached")]
    Unreachable(String),
    /// Nothing came for too long.
    #[error("the old server said nothing for {} (LEGACY_TIMEOUT)", humantime::format_duration(*.0))]
    Slow(Duration),
    /// An answer was begun, or not even that, and the connection ended.
    #[error("the old server broke off")]
    Cut(String),
    /// The answer is not what tRPC says.
    #[error("the old server's answer is no tRPC: {0}")]
    Nonsense(&'static str),
    /// The same, where the status says why, and perhaps from when on it makes sense to try again.
    #[error("the old server refused the request with status {0}")]
    Refused(u16, Option<DateTime<Utc>>),
    /// There is more of an answer than may be taken apart.
    #[error("the old server's answer has more than {0} bytes (LEGACY_MAX_ANSWER_BYTES)")]
    AnswerTooLarge(usize),
    /// The client sends more than may be passed on.
    #[error("the request body is larger than {0} bytes (LEGACY_MAX_UPLOAD_BYTES)")]
    UploadTooLarge(usize),
    /// The client sends too slowly, or broke off.
    #[error("the request body does not come to its end")]
    Upload,
    /// The old server has as many requests as it may have.
    #[error("the old server has too many requests (LEGACY_MAX_REQUESTS); try again in a second")]
    Full,
    /// There is no memory for the answer now.
    #[error("the server is busy; try again in a second")]
    Busy,
    /// The path leads out of what is passed on.
    #[error(
        "the path holds a segment that leads elsewhere (`.` or `..`), a backslash or a control character"
    )]
    Path,
    /// A method that is not passed on.
    #[error("the method is not passed on")]
    Method,
}

impl LegacyFault {
    /// As metrics and logs name it.
    pub const fn kind(&self) -> &'static str {
        match self {
            Self::Unreachable(_) => "unreachable",
            Self::Slow(_) => "slow",
            Self::Cut(_) => "cut",
            Self::Nonsense(_) => "nonsense",
            Self::Refused(..) => "refused",
            Self::AnswerTooLarge(_) => "answer_too_large",
            Self::UploadTooLarge(_) => "upload_too_large",
            Self::Upload => "upload_broken",
            Self::Full => "full",
            Self::Busy => "busy",
            Self::Path => "path",
            Self::Method => "method",
        }
    }

    /// Whether it says something about the old server.
    pub const fn is_of_old_server(&self) -> bool {
        !matches!(
            self,
            Self::UploadTooLarge(_)
                | Self::Upload
                | Self::Full
                | Self::Busy
                | Self::Path
                | Self::Method
        )
    }

    /// What a client gets.
    pub const fn code(&self) -> ErrorCode {
        match self {
            Self::Unreachable(_) | Self::Cut(_) | Self::Nonsense(_) | Self::AnswerTooLarge(_) => {
                ErrorCode::BadGateway
            }
            Self::Refused(status, _) => match status {
                413 => ErrorCode::PayloadTooLarge,
                429 => ErrorCode::TooManyRequests,
                503 => ErrorCode::ServiceUnavailable,
                504 => ErrorCode::GatewayTimeout,
                _ => ErrorCode::BadGateway,
            },
            Self::Slow(_) => ErrorCode::GatewayTimeout,
            Self::UploadTooLarge(_) => ErrorCode::PayloadTooLarge,
            Self::Upload => ErrorCode::Timeout,
            Self::Full | Self::Busy => ErrorCode::ServiceUnavailable,
            Self::Path => ErrorCode::BadRequest,
            Self::Method => ErrorCode::MethodNotSupported,
        }
    }

    /// What only the log may know.
    fn cause(&self) -> Option<&str> {
        match self {
            Self::Unreachable(cause) | Self::Cut(cause) => Some(cause),
            _ => None,
        }
    }
}

impl From<LegacyFault> for RpcError {
    fn from(fault: LegacyFault) -> Self {
        let mut error = Self::new(fault.code(), fault.to_string());
        if !fault.is_of_old_server() {
            return error;
        }
        if let LegacyFault::Refused(_, retry_after) = &fault {
            error.retry_after = *retry_after;
        }
        let cause = fault.cause().map_or(String::new(), |it| format!(": {it}"));
        error.with_cause(anyhow::anyhow!("{}{cause}", fault.kind()))
    }
}
