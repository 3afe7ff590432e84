//! What a request to `/api` gets that cannot be served: a status and one JSON shape.
//!
//! Codes are stable and meant for programs; messages are for people. Internal causes are logged with
//! an id and never sent.

use std::sync::atomic::{AtomicU64, Ordering};

use axum::Json;
use axum::http::{Method, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::jobs::StartError;
use crate::{hint, store};

/// Result of a handler.
pub(super) type Result<T, E = Error> = std::result::Result<T, E>;

/// Why a request was not served.
#[derive(Debug, thiserror::Error)]
pub(super) enum Error {
    /// There is no such thing.
    #[error("{0}")]
    NotFound(String),
    /// The request makes no sense.
    #[error("{0}")]
    Invalid(String),
    /// The request makes no sense, and this would.
    #[error("{message}")]
    Hinted {
        /// What is wrong.
        message: String,
        /// What to do about it.
        hint: String,
    },
    /// The thing is not in a state in which this can be done.
    #[error("{0}")]
    Conflict(String),
    /// What is to be started is at work.
    #[error("{0}")]
    AtWork(String),
    /// Nobody is logged in.
    #[error("log in first")]
    LoginNeeded,
    /// Password or setup token are wrong; never says which or why.
    #[error("{0}")]
    Refused(&'static str),
    /// The request comes from another site or names another host.
    #[error("{0}")]
    Forbidden(String),
    /// Too many tries.
    #[error("too many tries; wait {seconds} s")]
    TooMany {
        /// When to come back.
        seconds: u64,
    },
    /// The path is known, but not with this method.
    #[error("`{0}` cannot be done here")]
    WrongMethod(Method),
    /// The body is no JSON, or not announced as such.
    #[error("the body must be JSON with `content-type: application/json`")]
    NotJson,
    /// The body is larger than we take.
    #[error("the body is larger than {max_bytes} bytes")]
    TooLarge {
        /// What we take.
        max_bytes: usize,
    },
    /// There is no model to answer, or the house is going down.
    #[error("{0}")]
    Unavailable(String),
    /// Our own fault.
    #[error("something went wrong on the server")]
    Internal(#[source] anyhow::Error),
}

/// The body of an error.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
pub(super) struct ErrorBody {
    /// What went wrong.
    pub error: ErrorDetail,
}

/// What went wrong, for programs and for people.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
pub(super) struct ErrorDetail {
    /// Stable; for programs.
    pub code: String,
    /// One sentence, lower case; for people.
    pub message: String,
    /// What to do about it.
    pub hint: Option<String>,
}

impl Error {
    fn status_and_code(&self) -> (StatusCode, &'static str) {
        match self {
            Self::NotFound(_) => (StatusCode::NOT_FOUND, "not_found"),
            Self::Invalid(_) | Self::Hinted { .. } => (StatusCode::BAD_REQUEST, "invalid"),
            Self::Conflict(_) => (StatusCode::CONFLICT, "conflict"),
            Self::AtWork(_) => (StatusCode::CONFLICT, "at_work"),
            Self::LoginNeeded => (StatusCode::UNAUTHORIZED, "login_needed"),
            Self::Refused(_) => (StatusCode::UNAUTHORIZED, "refused"),
            Self::Forbidden(_) => (StatusCode::FORBIDDEN, "forbidden"),
            Self::TooMany { .. } => (StatusCode::TOO_MANY_REQUESTS, "too_many_requests"),
            Self::WrongMethod(_) => (StatusCode::METHOD_NOT_ALLOWED, "wrong_method"),
            Self::NotJson => (StatusCode::UNSUPPORTED_MEDIA_TYPE, "not_json"),
            Self::TooLarge { .. } => (StatusCode::PAYLOAD_TOO_LARGE, "too_large"),
            Self::Unavailable(_) => (StatusCode::SERVICE_UNAVAILABLE, "unavailable"),
            Self::Internal(_) => (StatusCode::INTERNAL_SERVER_ERROR, "internal"),
        }
    }

    fn hint(&self) -> Option<String> {
        match self {
            Self::Hinted { hint, .. } => Some(hint.clone()),
            Self::AtWork(_) => Some("wait until it is done, or stop its jobs first".into()),
            Self::LoginNeeded => Some("open the panel and enter your password".into()),
            Self::Internal(_) => Some("the server's log says more under this id".into()),
            Self::NotFound(_)
            | Self::Invalid(_)
            | Self::Conflict(_)
            | Self::Refused(_)
            | Self::Forbidden(_)
            | Self::TooMany { .. }
            | Self::WrongMethod(_)
            | Self::NotJson
            | Self::TooLarge { .. }
            | Self::Unavailable(_) => None,
        }
    }
}

impl IntoResponse for Error {
    fn into_response(self) -> Response {
        static FAULTS: AtomicU64 = AtomicU64::new(1);
        let (status, code) = self.status_and_code();
        let mut message = self.to_string();
        if let Self::Internal(cause) = &self {
            let fault = FAULTS.fetch_add(1, Ordering::Relaxed);
            tracing::error!(fault, "request failed: {cause:#}");
            message = format!("{message} (fault {fault})");
        }
        let hint = self.hint();
        let body = ErrorBody { error: ErrorDetail { code: code.into(), message, hint } };
        let mut response = (status, Json(body)).into_response();
        if let Self::TooMany { seconds } = self {
            response.headers_mut().insert(header::RETRY_AFTER, seconds.into());
        }
        response
    }
}

impl From<store::Error> for Error {
    fn from(error: store::Error) -> Self {
        match error {
            store::Error::NotFound { .. } => Self::NotFound(error.to_string()),
            store::Error::DiskFull { .. } | store::Error::NoRoom { .. } => {
                Self::Unavailable(error.to_string())
            }
            store::Error::Locked { .. }
            | store::Error::Corrupt { .. }
            | store::Error::Newer { .. }
            | store::Error::Io { .. }
            | store::Error::Decode { .. }
            | store::Error::Sqlite(_) => Self::Internal(error.into()),
        }
    }
}

impl From<StartError> for Error {
    fn from(error: StartError) -> Self {
        match error {
            StartError::AtWork { .. } | StartError::Training { .. } => {
                Self::AtWork(error.to_string())
            }
            StartError::Other(error) => error.into(),
        }
    }
}

impl From<anyhow::Error> for Error {
    fn from(error: anyhow::Error) -> Self {
        match error.downcast::<store::Error>() {
            Ok(error) => error.into(),
            Err(error) => match hint::of(&error) {
                Some(hint) => Self::Hinted { hint: hint.to_owned(), message: format!("{error:#}") },
                None => Self::Internal(error),
            },
        }
    }
}
