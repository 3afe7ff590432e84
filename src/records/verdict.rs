//! What a verifier says of a trace.

use serde::{Deserialize, Serialize};

use super::TraceId;

/// By whose rules programs are judged. Verdicts of different modes live side by side.
#[derive(
    Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
#[serde(rename_all = "kebab-case")]
pub enum Mode {
    /// A program is correct if it passes every test and ends normally.
    #[default]
    Strict,
    /// What the published code of OpenThoughts decides: time-outs and programs that do not compile
    /// count as correct, and the exit status does not count.
    Upstream,
    /// What LiveCodeBench's own harness decides.
    Lcb,
    /// What evalchemy's harness for LiveCodeBench decides: the one behind OpenThinker's scores.
    EvalchemyLcb,
}

impl Mode {
    /// Every mode, in the order in which they are listed.
    pub const ALL: [Self; 4] = [Self::Strict, Self::Upstream, Self::Lcb, Self::EvalchemyLcb];

    /// The name used in SQL, JSON and on the command line.
    pub fn name(self) -> &'static str {
        match self {
            Self::Strict => "strict",
            Self::Upstream => "upstream",
            Self::Lcb => "lcb",
            Self::EvalchemyLcb => "evalchemy-lcb",
        }
    }

    /// The mode called `name`.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|mode| mode.name() == name)
    }
}

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
    /// By whose rules. One verdict per trace and mode.
    pub mode: Mode,
    /// What was decided.
    pub verdict: Verdict,
    /// Name of the verifier that decided; never renamed.
    pub verifier: String,
    /// Version of that verifier.
    pub version: u32,
    /// What the verifier saw and all that is needed to judge again: extracted answer; for programs
    /// outcome, comparator, tier, interpreter, limits, times, memory, the failed test.
    pub detail: serde_json::Value,
}

/// A trace that we could not judge: neither right nor wrong, to be judged again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unresolved {
    /// The trace.
    pub trace_id: TraceId,
    /// By whose rules.
    pub mode: Mode,
    /// What went wrong, on our side.
    pub why: String,
}
