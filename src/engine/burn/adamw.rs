//! AdamW as PyTorch defines it.
//!
//! Decay is decoupled and skips biases and norms; epsilon is added to the root of the second
//! moment after its bias correction (burn's own optimizer differs in the default epsilon and in
//! clipping each tensor by itself).

use burn::tensor::Tensor;

use crate::engine::Adam;

/// What one step needs beside the tensors.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Step {
    pub(crate) adam: Adam,
    pub(crate) learning_rate: f64,
    /// Multiplies the gradient: the clipping factor.
    pub(crate) scale: f64,
    /// 1 at the first step.
    pub(crate) number: u64,
}

/// Weight, first and second moment of one parameter.
pub(crate) struct Trained {
    pub(crate) weight: Tensor<2>,
    pub(crate) first: Tensor<2>,
    pub(crate) second: Tensor<2>,
}

/// One step for one parameter.
pub(crate) fn update(old: Trained, gradient: Tensor<2>, decays: bool, step: &Step) -> Trained {
    let Adam { beta1, beta2, epsilon, weight_decay } = step.adam;
    let steps = step.number as f64;
    let gradient = gradient * step.scale;
    let first = old.first * beta1 + gradient.clone() * (1.0 - beta1);
    let second = old.second * beta2 + gradient.clone() * gradient * (1.0 - beta2);
    let root = (second.clone().sqrt() / (1.0 - beta2.powf(steps)).sqrt()) + epsilon;
    let size = step.learning_rate / (1.0 - beta1.powf(steps));
    let kept = match decays && weight_decay != 0.0 {
        true => old.weight * (1.0 - step.learning_rate * weight_decay),
        false => old.weight,
    };
    Trained { weight: kept - first.clone() / root * size, first, second }
}
