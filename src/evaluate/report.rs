//! An evaluation as a file: every sample of one model, for people and scripts.

use serde::Serialize;

use super::{Mean, Protocol, Summary, mean};
use crate::store::Store;

/// One model on one benchmark.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Report {
    /// The model's name.
    pub model: String,
    /// The benchmark's name.
    pub benchmark: String,
    /// How it was asked.
    pub protocol: Protocol,
    /// Mean accuracy in percent.
    pub mean: f64,
    /// Standard error of the mean over problems, in percentage points.
    pub standard_error: f64,
    /// Number of problems.
    pub n: u64,
    /// Every problem.
    pub problems: Vec<Asked>,
}

/// A problem with its samples.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Asked {
    /// Its id within the benchmark.
    pub id: String,
    /// Its samples, by number.
    pub samples: Vec<Given>,
}

/// One sample.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Given {
    /// The whole answer.
    pub text: String,
    /// What was extracted from it, if anything.
    pub answer: Option<String>,
    /// Whether it was graded correct.
    pub correct: bool,
    /// Tokens generated.
    pub tokens: u64,
    /// `stop` or `length`.
    pub finish_reason: String,
}

/// The reports of everything that `summary` scored.
///
/// # Errors
/// If the store cannot be read.
pub fn report(store: &Store, summary: &Summary, protocol: Protocol) -> anyhow::Result<Vec<Report>> {
    let mut reports = Vec::new();
    for scored in &summary.models {
        let samples = store.samples(&scored.name, &summary.benchmark, &scored.protocol)?;
        let mut problems: Vec<Asked> = Vec::new();
        for sample in samples.into_iter().filter(|sample| sample.sample < protocol.samples) {
            if problems.last().is_none_or(|last| last.id != sample.problem) {
                problems.push(Asked { id: sample.problem, samples: Vec::new() });
            }
            let given = Given {
                text: sample.text,
                answer: sample.answer,
                correct: sample.correct,
                tokens: sample.tokens,
                finish_reason: sample.finish_reason,
            };
            if let Some(last) = problems.last_mut() {
                last.samples.push(given);
            }
        }
        let share = |asked: &Asked| {
            let corrects = asked.samples.iter().filter(|given| given.correct).count();
            corrects as f64 / asked.samples.len() as f64
        };
        let Mean { mean, standard_error, n } =
            mean(&problems.iter().map(share).collect::<Vec<_>>());
        reports.push(Report {
            model: scored.name.clone(),
            benchmark: summary.benchmark.clone(),
            protocol,
            mean,
            standard_error,
            n,
            problems,
        });
    }
    Ok(reports)
}
