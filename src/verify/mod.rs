//! Decides of each trace whether its answer is right.
//!
//! A verifier is one file and one entry in [`VERIFIERS`]. Running programs is `sandbox`'s job.

use crate::records::Verdict;

/// What a verifier says, with what it saw.
#[derive(Debug, Clone, PartialEq)]
pub struct Judgement {
    /// The decision.
    pub verdict: Verdict,
    /// What it was based on (extracted answer, tests' outcomes), for people.
    pub detail: serde_json::Value,
}
