//! AdamW as PyTorch defines it.
//!
//! Decay is decoupled and skips biases and norms; epsilon is added to the root of the second
//! moment after its bias correction (burn's own optimizer differs in the default epsilon and in
//! clipping each tensor by itself).

use burn::tensor::Tensor;

use crate::Adam;

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

impl Step {
    /// The bias correction of the second moment.
    pub(crate) fn second_correction(&self) -> f64 {
        1.0 - self.adam.beta2.powf(self.number as f64)
    }

    /// The learning rate with the bias correction of the first moment.
    pub(crate) fn size(&self) -> f64 {
        self.learning_rate / (1.0 - self.adam.beta1.powf(self.number as f64))
    }

    /// What decay leaves of a weight.
    pub(crate) fn kept(&self, decays: bool) -> f64 {
        if decays { 1.0 - self.learning_rate * self.adam.weight_decay } else { 1.0 }
    }
}

/// Weight, first and second moment of one parameter.
pub(crate) struct Trained {
    pub(crate) weight: Tensor<2>,
    pub(crate) first: Tensor<2>,
    pub(crate) second: Tensor<2>,
}
