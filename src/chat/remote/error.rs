//! What can go wrong with one request, and whether asking again can help.

use std::time::Duration;

use crate::hint::Hinted;

/// What went wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// No connection.
    Connect,
    /// The connection broke, or the reply ended before it was complete.
    Cut,
    /// The reply took too long.
    Timeout,
    /// The endpoint is busy (429).
    Busy,
    /// The endpoint failed (5xx).
    Server,
    /// The reply is not what an OpenAI-compatible endpoint says.
    Garbage,
    /// The key is not accepted (401, 403).
    Key,
    /// The account is empty (402).
    Money,
    /// The endpoint will not answer this request, however often it is asked.
    Refused,
}

/// Whether to ask again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Retry {
    /// The same request fails the same way.
    Never,
    /// Not before this has passed; zero if the endpoint named no time.
    After(Duration),
}

/// Why a request has no answer. Never contains the key.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct Error {
    /// What went wrong.
    pub kind: Kind,
    /// In words.
    pub message: String,
    /// Whether to ask again.
    pub retry: Retry,
}

impl Error {
    pub(super) fn new(kind: Kind, message: impl Into<String>) -> Self {
        let retry = match kind {
            Kind::Key | Kind::Money | Kind::Refused => Retry::Never,
            Kind::Connect
            | Kind::Cut
            | Kind::Timeout
            | Kind::Busy
            | Kind::Server
            | Kind::Garbage => Retry::After(Duration::ZERO),
        };
        Self { kind, message: message.into(), retry }
    }

    /// Whether it concerns the account: every other request will meet it too.
    pub fn is_account(&self) -> bool {
        matches!(self.kind, Kind::Key | Kind::Money)
    }

    /// What the user can do about it.
    pub fn hint(&self) -> &'static str {
        match self.kind {
            Kind::Connect => "check that the endpoint runs and that its address is right",
            Kind::Key => {
                "set the key in THINKERY_TEACHER_KEY, or name its file in THINKERY_TEACHER_KEY_FILE"
            }
            Kind::Money => {
                "top up the account, then start again: only what is missing is asked for"
            }
            Kind::Refused => "check the name of the model and what the endpoint accepts",
            Kind::Cut | Kind::Timeout | Kind::Busy | Kind::Server | Kind::Garbage => {
                "try again later: only what is missing is asked for"
            }
        }
    }

    /// The same with its hint.
    pub fn hinted(self) -> anyhow::Error {
        let hint = self.hint();
        Hinted::new(self.message, hint).into()
    }
}
