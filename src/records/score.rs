//! What an evaluation leaves behind.

use serde::{Deserialize, Serialize};

/// One answer of a model to one problem.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Sample {
    /// Name of the model in the score table.
    pub model: String,
    /// Name of the benchmark.
    pub benchmark: String,
    /// The problem's id within the benchmark.
    pub problem: String,
    /// The problem's family; empty if it has none.
    pub family: String,
    /// Which sample of this problem, from 0.
    pub sample: u32,
    /// The whole answer.
    pub text: String,
    /// The extracted answer, if there was one.
    pub answer: Option<String>,
    /// Whether it was graded correct.
    pub correct: bool,
    /// Tokens generated.
    pub tokens: u64,
    /// `stop` or `length`.
    pub finish_reason: String,
}

/// A cell of the score table.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Score {
    /// Name of the model.
    pub model: String,
    /// Name of the benchmark, or `benchmark/family` for one family of it.
    pub benchmark: String,
    /// Mean accuracy in percent over problems and samples.
    pub mean: f64,
    /// Standard error of that mean in percentage points, over problems.
    pub standard_error: f64,
    /// Number of problems.
    pub n: u64,
}
