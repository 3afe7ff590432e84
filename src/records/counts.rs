//! How much there is of everything: what the dashboard shows live.

use std::collections::BTreeMap;

use serde::Serialize;

/// What is in the store.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct Counts {
    /// Questions.
    pub questions: QuestionTotals,
    /// Traces.
    pub traces: TraceTotals,
    /// Verdicts.
    pub verdicts: VerdictTotals,
}

/// How many questions there are.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct QuestionTotals {
    /// All.
    pub total: u64,
    /// May be trained on.
    pub train: u64,
    /// Kept for evaluation.
    pub held_out: u64,
    /// By domain.
    pub domains: BTreeMap<String, u64>,
}

/// How many traces there are.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct TraceTotals {
    /// All.
    pub total: u64,
    /// Cut off by the token limit.
    pub truncated: u64,
    /// What the teachers have cost, in US dollars.
    pub cost_usd: f64,
}

/// How many traces have which verdict.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct VerdictTotals {
    /// All.
    pub total: u64,
    /// Judged correct.
    pub correct: u64,
    /// Judged wrong.
    pub wrong: u64,
    /// No verifier can decide.
    pub unchecked: u64,
    /// No answer found.
    pub unreadable: u64,
}
