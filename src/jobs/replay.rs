//! Judges one trace again, by the rules, and says whether the same comes out. Stores nothing.

use super::{Launch, stages};
use crate::records::{FinishReason, TraceId, Verdict};
use crate::store::Store;
use crate::verify::{Attempt, Mode, verifier};

/// What came out.
#[derive(Debug, Clone, PartialEq)]
pub struct Replayed {
    /// The verdict.
    pub verdict: Verdict,
    /// Name of the verifier.
    pub verifier: String,
    /// Its version.
    pub version: u32,
    /// What it saw, for people.
    pub detail: serde_json::Value,
}

/// A trace judged again.
#[derive(Debug, Clone, PartialEq)]
pub struct Replay {
    /// Whether the stored verdict came out again.
    pub same: bool,
    /// What is stored; none if the rules have not looked yet.
    pub before: Option<Replayed>,
    /// What came out now.
    pub after: Replayed,
}

/// Judges trace `id` again, strictly, as the stage does.
///
/// # Errors
/// If there is no such trace, or a program cannot be run.
pub fn replay(store: &Store, launch: &Launch, id: TraceId) -> anyhow::Result<Replay> {
    let example = store.example(id)?;
    let before = store.verdict(id, Mode::Strict)?.map(|row| Replayed {
        verdict: row.verdict,
        verifier: row.verifier,
        version: row.version,
        detail: row.detail,
    });
    let verifier = verifier(&example.question, Mode::Strict);
    let attempt = Attempt {
        solution: &example.trace.solution,
        truncated: example.trace.finish_reason == FinishReason::Length,
    };
    let judged = verifier.verify(&example.question, &attempt, &stages::tools(launch))?;
    let after = Replayed {
        verdict: judged.verdict,
        verifier: verifier.name().to_owned(),
        version: verifier.version(),
        detail: judged.detail,
    };
    let same = before.as_ref().is_some_and(|before| before.verdict == after.verdict);
    Ok(Replay { same, before, after })
}
