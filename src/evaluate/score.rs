//! Means and their errors.
//!
//! The score of a problem is the share of its samples that are correct; the score of a benchmark is
//! the mean over its problems, and its standard error `s / √n` with `s` the standard deviation of
//! the problems' scores (divisor `n − 1`) and `n` the number of problems. So it says how far another
//! draw of problems and samples would move the score. Both in percent.

use std::collections::BTreeMap;

use serde_json::json;

use super::target::Target;
use crate::records::{Sample, Score};
use crate::store::Store;

/// A mean with its error.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Mean {
    /// In percent.
    pub mean: f64,
    /// In percentage points; 0 for a single problem.
    pub standard_error: f64,
    /// Number of problems.
    pub n: u64,
}

/// Mean and standard error of the scores of problems, each between 0 and 1.
pub fn mean(scores: &[f64]) -> Mean {
    let n = scores.len() as f64;
    if scores.is_empty() {
        return Mean { mean: 0.0, standard_error: 0.0, n: 0 };
    }
    let mean = scores.iter().sum::<f64>() / n;
    let squares: f64 = scores.iter().map(|score| (score - mean).powi(2)).sum();
    let deviation = if scores.len() > 1 { (squares / (n - 1.0)).sqrt() } else { 0.0 };
    Mean {
        mean: 100.0 * mean,
        standard_error: 100.0 * deviation / n.sqrt(),
        n: scores.len() as u64,
    }
}

/// Scores a model's samples, stores the scores and tells the panel. Gives the scores, the whole
/// benchmark first, and how many samples ran into the token limit.
pub(super) fn put(store: &Store, target: &Target) -> anyhow::Result<(Vec<Score>, u64)> {
    let mut samples = store.samples(&target.name, &target.benchmark, &target.protocol_hash)?;
    // More samples than are asked for now may be there.
    samples.retain(|sample| sample.sample < target.protocol.samples);
    let truncated = samples.iter().filter(|sample| sample.finish_reason == "length").count();
    let scores = scores(&target.name, &target.benchmark, &samples);
    store.put_scores(&target.protocol_hash, &scores)?;
    for score in &scores {
        store.add_event("score", &json!(score))?;
    }
    Ok((scores, truncated as u64))
}

fn scores(model: &str, benchmark: &str, samples: &[Sample]) -> Vec<Score> {
    let mut families: BTreeMap<&str, BTreeMap<&str, Vec<bool>>> = BTreeMap::new();
    for sample in samples {
        let problems = families.entry(&sample.family).or_default();
        problems.entry(&sample.problem).or_default().push(sample.correct);
    }
    let share = |corrects: &Vec<bool>| {
        corrects.iter().filter(|correct| **correct).count() as f64 / corrects.len() as f64
    };
    let score = |benchmark: String, shares: &[f64]| {
        let Mean { mean, standard_error, n } = mean(shares);
        Score { model: model.to_owned(), benchmark, mean, standard_error, n }
    };
    let all: Vec<f64> = families.values().flat_map(BTreeMap::values).map(share).collect();
    let mut scores = vec![score(benchmark.to_owned(), &all)];
    for (family, problems) in families.iter().filter(|(family, _)| !family.is_empty()) {
        let shares: Vec<f64> = problems.values().map(share).collect();
        scores.push(score(format!("{benchmark}/{family}"), &shares));
    }
    scores
}
