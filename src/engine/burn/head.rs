//! The head of a decoder and its loss, some rows at a time: `[tokens, vocabulary]` never exists.
//!
//! The gradients are made with the loss, in the place of the logits, so a row's logits are computed
//! once. Rows have the same loss in any chunk; the head's gradient is added up over chunks.

use burn::tensor::{DType, Tensor};

use super::ops::Kernels;

/// Rows that have a loss.
#[derive(Debug, Clone, Default)]
pub(crate) struct Targets {
    /// Where they stand in the pack.
    pub(crate) rows: Vec<usize>,
    /// What each must predict.
    pub(crate) ids: Vec<usize>,
    /// What the loss of each counts.
    pub(crate) factors: Vec<f32>,
}

/// What came of the head.
pub(crate) struct Outcome {
    /// The loss of each row, not weighted.
    pub(crate) losses: Vec<f64>,
    /// The gradient of its input.
    pub(crate) of_input: Tensor<2>,
    /// The gradient of its weight.
    pub(crate) of_weight: Tensor<2>,
}

/// The loss of normed rows `[rows, c]` under a weight `[v, c]`, and both gradients. On no tape.
pub(crate) fn differentiate(
    kernels: Kernels,
    normed: &Tensor<2>,
    weight: &Tensor<2>,
    targets: &Targets,
    chunk: usize,
) -> Outcome {
    let mut losses = Vec::with_capacity(targets.ids.len());
    // In f32 whatever the weight holds: chunks are added up in it.
    let mut of_weight = Tensor::zeros(weight.dims(), (&weight.device(), DType::F32));
    let mut parts = Vec::new();
    for start in (0..targets.ids.len()).step_by(chunk) {
        let end = (start + chunk).min(targets.ids.len());
        let (ids, factors) = (&targets.ids[start..end], &targets.factors[start..end]);
        let rows = normed.clone().narrow(0, start, end - start);
        let logits = kernels.linear(rows.clone(), weight.clone());
        let (new, of_logits) = kernels.cross_entropy(logits, ids, factors);
        losses.extend(new);
        of_weight = kernels.product_added(of_weight, of_logits.clone(), rows, true);
        parts.push(kernels.product(of_logits, weight.clone()));
    }
    let of_input = if parts.len() == 1 { parts.remove(0) } else { Tensor::cat(parts, 0) };
    Outcome { losses, of_input, of_weight }
}
