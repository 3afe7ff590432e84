//! What a verifier says of a trace.

use serde::{Deserialize, Serialize};

use super::TraceId;

/// What a verifier says of a trace. A trace nobody can check is `Unchecked`, never `Correct`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "verdict", content = "why", rename_all = "snake_case")]
pub enum Verdict {
    /// The answer equals the reference, or passes every test.
    Correct,
    /// It does not; the text says how.
    Wrong(String),
    /// No verifier can decide this one; the text says why.
    Unchecked(String),
    /// There is no answer to look at: no box, no code block, cut off.
    Unreadable(String),
}

impl Verdict {
    /// The name used in SQL, JSON and the panel.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Correct => "correct",
            Self::Wrong(_) => "wrong",
            Self::Unchecked(_) => "unchecked",
            Self::Unreadable(_) => "unreadable",
        }
    }

    /// The reason, empty for a correct answer.
    pub fn why(&self) -> &str {
        match self {
            Self::Correct => "",
            Self::Wrong(why) | Self::Unchecked(why) | Self::Unreadable(why) => why,
        }
    }

    /// The verdict stored as `name` and `why`.
    ///
    /// # Errors
    /// If `name` is none of the four.
    pub fn from_parts(name: &str, why: String) -> Result<Self, String> {
        match name {
            "correct" => Ok(Self::Correct),
            "wrong" => Ok(Self::Wrong(why)),
            "unchecked" => Ok(Self::Unchecked(why)),
            "unreadable" => Ok(Self::Unreadable(why)),
            other => Err(format!("`{other}` is no verdict")),
        }
    }
}

/// A verdict in the store.
#[derive(Debug, Clone, PartialEq)]
pub struct VerdictRow {
    /// The trace it is about.
    pub trace_id: TraceId,
    /// What was decided.
    pub verdict: Verdict,
    /// Name of the verifier that decided; never renamed.
    pub verifier: String,
    /// Version of that verifier.
    pub version: u32,
    /// What the verifier saw (extracted answer, tests' outcomes), for people.
    pub detail: serde_json::Value,
}
