//! An error with its remedy beside it: `error: …` says what, `hint: …` says what to do.
//!
//! A leaf: every module may use it. Typed errors with hints of their own turn into this one where
//! they leave their module.

use std::fmt;

/// A message and what the user can do about it. Shown as the message alone.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hinted {
    message: String,
    hint: String,
}

impl Hinted {
    /// An error that says `message` and advises `hint`; both lower case, without a full stop.
    pub fn new(message: impl Into<String>, hint: impl Into<String>) -> Self {
        Self { message: message.into(), hint: hint.into() }
    }

    /// What to do about it.
    pub fn hint(&self) -> &str {
        &self.hint
    }
}

impl fmt::Display for Hinted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for Hinted {}

/// The outermost hint in `error`'s chain.
pub fn of(error: &anyhow::Error) -> Option<&str> {
    error.downcast_ref::<Hinted>().map(Hinted::hint)
}

#[cfg(test)]
mod tests {
    use anyhow::Context;

    use super::{Hinted, of};

    #[test]
    fn a_hint_survives_context_on_top_of_it() {
        let error: anyhow::Result<()> = Err(Hinted::new("disk is full", "free 2 GB").into());
        let error = error.context("could not open the store").unwrap_err();
        assert_eq!(of(&error), Some("free 2 GB"));
        assert_eq!(format!("{error:#}"), "could not open the store: disk is full");
    }
}
