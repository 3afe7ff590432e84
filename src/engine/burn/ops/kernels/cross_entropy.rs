//! Softmax cross entropy over rows of logits.

use rayon::prelude::*;

use super::TASK_ROWS;
use super::vector::{exp, greatest, vectorized};

/// The sum over rows of `-log softmax(row)[target]`, and of each row the logarithm of its sum of
/// exponentials.
pub(crate) fn forward(logits: &[f32], targets: &[usize], width: usize) -> (f64, Vec<f32>) {
    let mut normalisers = vec![0.0; targets.len()];
    normalisers
        .par_chunks_mut(TASK_ROWS)
        .zip(logits.par_chunks(TASK_ROWS * width))
        .for_each(|(normalisers, logits)| normalise_rows(normalisers, logits, width));
    let rows = logits.chunks_exact(width).zip(targets).zip(&normalisers);
    let losses = rows.map(|((row, target), normaliser)| f64::from(normaliser - row[*target]));
    (losses.sum(), normalisers)
}

/// The gradient of the logits: `(softmax - one at the target) * factor`.
pub(crate) fn backward(
    logits: &[f32],
    targets: &[usize],
    normalisers: &[f32],
    factor: f32,
) -> Vec<f32> {
    let width = logits.len() / targets.len().max(1);
    let mut result = vec![0.0; logits.len()];
    result
        .par_chunks_mut(TASK_ROWS * width)
        .zip(logits.par_chunks(TASK_ROWS * width).zip(normalisers.par_chunks(TASK_ROWS)))
        .for_each(|(result, (logits, normalisers))| {
            softmax_rows(result, logits, normalisers, factor);
        });
    for (row, target) in result.chunks_exact_mut(width).zip(targets) {
        row[*target] -= factor;
    }
    result
}

vectorized! {
    fn normalise_rows(normalisers: &mut [f32], logits: &[f32], width: usize) {
        for (normaliser, row) in normalisers.iter_mut().zip(logits.chunks_exact(width)) {
            let most = greatest(row);
            let mut sums = [0.0_f32; 16];
            let lanes = row.chunks_exact(16);
            let rest: f32 = lanes.remainder().iter().map(|logit| exp(logit - most)).sum();
            for row in lanes {
                for (sum, logit) in sums.iter_mut().zip(row) {
                    *sum += exp(logit - most);
                }
            }
            *normaliser = most + (rest + sums.iter().sum::<f32>()).ln();
        }
    }
}

vectorized! {
    fn softmax_rows(result: &mut [f32], logits: &[f32], normalisers: &[f32], factor: f32) {
        let width = logits.len() / normalisers.len();
        let rows = logits.chunks_exact(width).zip(normalisers);
        for (result, (row, normaliser)) in result.chunks_exact_mut(width).zip(rows) {
            for (result, logit) in result.iter_mut().zip(row) {
                *result = exp(logit - normaliser) * factor;
            }
        }
    }
}
