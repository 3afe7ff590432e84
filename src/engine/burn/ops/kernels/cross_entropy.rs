//! Softmax cross entropy over rows of logits, and its gradient in their place.

use rayon::prelude::*;

use super::TASK_ROWS;
use super::vector::{exp, exp_sum, greatest, vectorized};

/// Turns logits into their gradients, `(softmax - one at the target) * factor` row by row, and gives
/// the loss of each row, `-log softmax(row)[target]`.
pub(crate) fn losses(logits: &mut [f32], targets: &[usize], factors: &[f32]) -> Vec<f64> {
    let width = logits.len() / targets.len().max(1);
    let tasks = logits.par_chunks_mut((TASK_ROWS * width).max(1));
    let rows = targets.par_chunks(TASK_ROWS).zip(factors.par_chunks(TASK_ROWS));
    let losses = tasks.zip(rows).map(|(logits, (targets, factors))| {
        let normalisers = normalised(logits, width);
        let rows = logits.chunks_exact(width).zip(targets).zip(&normalisers);
        let losses = rows.map(|((row, target), normaliser)| f64::from(normaliser - row[*target]));
        let losses: Vec<f64> = losses.collect();
        softmax_rows(logits, &normalisers, factors);
        let rows = logits.chunks_exact_mut(width).zip(targets).zip(factors);
        rows.for_each(|((row, target), factor)| row[*target] -= factor);
        losses
    });
    losses.collect::<Vec<_>>().concat()
}

vectorized! {
    /// Of each row the logarithm of its sum of exponentials.
    fn normalised(logits: &[f32], width: usize) -> Vec<f32> {
        let mut normalisers = Vec::with_capacity(logits.len() / width);
        for row in logits.chunks_exact(width) {
            let most = greatest(row);
            normalisers.push(most + exp_sum(row, most).ln());
        }
        normalisers
    }
}

vectorized! {
    fn softmax_rows(logits: &mut [f32], normalisers: &[f32], factors: &[f32]) {
        let width = logits.len() / normalisers.len();
        let rows = logits.chunks_exact_mut(width).zip(normalisers).zip(factors);
        for ((row, normaliser), factor) in rows {
            for logit in row {
                *logit = exp(*logit - normaliser) * factor;
            }
        }
    }
}
