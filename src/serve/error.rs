//! What the server answers when it cannot: OpenAI's envelope, one total mapping.
//!
//! Causes inside the machine are logged, never sent.

use std::time::Duration;

use axum::Json;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use tracing::error;

use crate::chat::local::Refused;

/// Seconds after which a client that met a full queue may try again.
const RETRY_AFTER: &str = "1";

/// Why a request is not answered.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The body is no JSON object.
    #[error("the body is not a JSON object: {0}")]
    BadBody(String),
    /// The body is too long.
    #[error("the body is larger than {limit} bytes")]
    BodyTooLarge {
        /// The limit in bytes.
        limit: usize,
    },
    /// The body is not declared as JSON.
    #[error("the content type must be `application/json`, not `{0}`")]
    ContentType(String),
    /// The body is compressed.
    #[error("bodies in the content encoding `{0}` are not read")]
    ContentCoding(String),
    /// The body did not arrive in time.
    #[error("the body did not arrive within {} s", .0.as_secs())]
    BodyTooSlow(Duration),
    /// A parameter has a value that cannot be.
    #[error("{message}")]
    BadParameter {
        /// Its name, with a path into it.
        param: String,
        /// What is wrong and what would be right.
        message: String,
    },
    /// A parameter that OpenAI knows and this server does not.
    #[error("the parameter `{0}` is not supported by this server")]
    Unsupported(String),
    /// A parameter that nobody knows.
    #[error("unrecognized request argument supplied: `{0}`")]
    UnknownParameter(String),
    /// The conversation does not fit.
    #[error(
        "this model's maximum context length is {limit} tokens, but the {what} {tokens} tokens"
    )]
    TooLong {
        /// `messages have` or `prompt has`.
        what: &'static str,
        /// Tokens of the conversation.
        tokens: usize,
        /// The model's context.
        limit: usize,
    },
    /// No bearer key was sent.
    #[error("no API key was given: send it as `Authorization: Bearer KEY`")]
    NoKey,
    /// The key is not one of ours.
    #[error("the API key is not valid")]
    BadKey,
    /// There is no such model.
    #[error("the model `{0}` does not exist")]
    NoModel(String),
    /// No model at all is there yet.
    #[error("no model is there to answer yet: train one first")]
    NoModels,
    /// There is no such path.
    #[error("there is nothing at `{0}`")]
    NoRoute(String),
    /// The path takes other methods.
    #[error("the method is not allowed: `{0}`")]
    NoMethod(String),
    /// Too many requests are in flight.
    #[error("too many requests are waiting; try again in {RETRY_AFTER} s")]
    Busy,
    /// The model is being loaded.
    #[error("the model is being loaded; try again in {RETRY_AFTER} s")]
    Loading,
    /// The server is shutting down.
    #[error("the server is shutting down")]
    Draining,
    /// The engine has stopped.
    #[error("the engine has stopped; restart the server")]
    Stopped,
    /// The engine could not go on with this request.
    #[error("the answer could not be generated: {0}")]
    Generation(String),
    /// The model cannot be loaded.
    #[error("the model `{name}` could not be loaded: {why}")]
    BadModel {
        /// Its name.
        name: String,
        /// Why, without paths.
        why: String,
    },
    /// Something else broke.
    #[error("an internal error occurred")]
    Internal(anyhow::Error),
}

impl Error {
    /// A parameter that has a value it cannot have.
    pub fn parameter(param: impl Into<String>, message: impl Into<String>) -> Self {
        Self::BadParameter { param: param.into(), message: message.into() }
    }

    /// The same for an endpoint that has a prompt and no messages.
    pub(super) fn of_prompt(self) -> Self {
        if let Self::TooLong { tokens, limit, .. } = self {
            return Self::TooLong { what: "prompt has", tokens, limit };
        }
        self
    }

    /// The status of the response.
    pub(super) fn status(&self) -> StatusCode {
        self.parts().0
    }

    /// Status, `type` and `code`.
    fn parts(&self) -> (StatusCode, &'static str, Option<&'static str>) {
        use StatusCode as S;
        let request = "invalid_request_error";
        match self {
            Self::BadBody(_) => (S::BAD_REQUEST, request, None),
            Self::BodyTooLarge { .. } => (S::PAYLOAD_TOO_LARGE, request, Some("body_too_large")),
            Self::ContentType(_) => (S::UNSUPPORTED_MEDIA_TYPE, request, None),
            Self::ContentCoding(_) => (S::UNSUPPORTED_MEDIA_TYPE, request, None),
            Self::BodyTooSlow(_) => (S::REQUEST_TIMEOUT, request, Some("body_too_slow")),
            Self::BadParameter { .. } => (S::BAD_REQUEST, request, Some("invalid_value")),
            Self::Unsupported(_) => (S::BAD_REQUEST, request, Some("unsupported_parameter")),
            Self::UnknownParameter(_) => (S::BAD_REQUEST, request, Some("unknown_parameter")),
            Self::TooLong { .. } => (S::BAD_REQUEST, request, Some("context_length_exceeded")),
            Self::NoKey | Self::BadKey => (S::UNAUTHORIZED, request, Some("invalid_api_key")),
            Self::NoModel(_) | Self::NoModels => (S::NOT_FOUND, request, Some("model_not_found")),
            Self::NoRoute(_) => (S::NOT_FOUND, request, Some("unknown_url")),
            Self::NoMethod(_) => (S::METHOD_NOT_ALLOWED, request, Some("method_not_allowed")),
            Self::Busy => (S::TOO_MANY_REQUESTS, "rate_limit_error", Some("queue_full")),
            Self::Loading => (S::SERVICE_UNAVAILABLE, "server_error", Some("loading")),
            Self::Draining => (S::SERVICE_UNAVAILABLE, "server_error", Some("shutting_down")),
            Self::Generation(_) => {
                (S::INTERNAL_SERVER_ERROR, "server_error", Some("generation_failed"))
            }
            Self::Stopped => (S::SERVICE_UNAVAILABLE, "server_error", Some("engine_stopped")),
            Self::BadModel { .. } => {
                (S::INTERNAL_SERVER_ERROR, "server_error", Some("model_not_loadable"))
            }
            Self::Internal(_) => (S::INTERNAL_SERVER_ERROR, "server_error", None),
        }
    }

    fn param(&self) -> Option<&str> {
        match self {
            Self::BadParameter { param, .. }
            | Self::Unsupported(param)
            | Self::UnknownParameter(param) => Some(param),
            Self::TooLong { what, .. } => what.split(' ').next(),
            Self::NoModel(_) | Self::NoModels => Some("model"),
            Self::BadBody(_)
            | Self::BodyTooLarge { .. }
            | Self::ContentType(_)
            | Self::ContentCoding(_)
            | Self::BodyTooSlow(_)
            | Self::NoKey
            | Self::BadKey
            | Self::NoRoute(_)
            | Self::NoMethod(_)
            | Self::Busy
            | Self::Loading
            | Self::Draining
            | Self::Stopped
            | Self::Generation(_)
            | Self::BadModel { .. }
            | Self::Internal(_) => None,
        }
    }

    /// The envelope.
    pub(super) fn body(&self) -> serde_json::Value {
        if let Self::Internal(cause) = self {
            error!("a request could not be answered: {cause:#}");
        } else if let Self::Generation(why) = self {
            error!("an answer could not be generated: {why}");
        }
        let (_, kind, code) = self.parts();
        serde_json::json!({ "error": {
            "message": self.to_string(), "type": kind, "param": self.param(), "code": code,
        }})
    }
}

impl From<Refused> for Error {
    fn from(refused: Refused) -> Self {
        match refused {
            Refused::TooLong { tokens, limit } => {
                Self::TooLong { what: "messages have", tokens, limit }
            }
            Refused::BadConversation(why) => Self::parameter("messages", format!("{why:#}")),
            Refused::BadId { field, .. } => Self::parameter(field, refused.to_string()),
            Refused::BadRequest { field, why } => Self::parameter(field, why),
            Refused::Busy => Self::Busy,
            Refused::Stopped(_) => Self::Stopped,
        }
    }
}

impl IntoResponse for Error {
    fn into_response(self) -> Response {
        let status = self.status();
        let mut response = (status, Json(self.body())).into_response();
        if status == StatusCode::TOO_MANY_REQUESTS || status == StatusCode::SERVICE_UNAVAILABLE {
            let after = HeaderValue::from_static(RETRY_AFTER);
            response.headers_mut().insert(header::RETRY_AFTER, after);
        }
        if status == StatusCode::UNAUTHORIZED {
            let scheme = HeaderValue::from_static("Bearer");
            response.headers_mut().insert(header::WWW_AUTHENTICATE, scheme);
        }
        response
    }
}
