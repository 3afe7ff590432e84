//! Rotary position embedding in the form of GPT-NeoX and Qwen: halves, not pairs.
//!
//! Frequencies, products and cosines are f32 as in transformers, which computes them so whatever
//! the model's type is.

use burn::tensor::{Device, Tensor, TensorData};

/// Cosines and sines of all positions that were asked for so far.
#[derive(Clone)]
pub(crate) struct Tables {
    inverse_frequencies: Vec<f32>,
}

/// Cosines and sines `[t, head size / 2]` of the rows of a batch.
#[derive(Clone)]
pub(crate) struct Rotary {
    pub(crate) cos: Tensor<2>,
    pub(crate) sin: Tensor<2>,
}

impl Tables {
    /// For heads of this size and this base.
    pub(crate) fn new(head_size: usize, theta: f64) -> Self {
        let exponent = |index: usize| (2 * index) as f32 / head_size as f32;
        let inverse_frequencies =
            (0..head_size / 2).map(|index| 1.0 / (theta as f32).powf(exponent(index))).collect();
        Self { inverse_frequencies }
    }

    /// The rows for these positions.
    pub(crate) fn at(&self, positions: &[usize], device: &Device) -> Rotary {
        let half = self.inverse_frequencies.len();
        let angles = || {
            positions.iter().flat_map(|position| {
                self.inverse_frequencies.iter().map(move |inverse| *position as f32 * inverse)
            })
        };
        let tensor = |values: Vec<f32>| {
            Tensor::from_data(TensorData::new(values, [positions.len(), half]), device)
        };
        Rotary {
            cos: tensor(angles().map(f32::cos).collect()),
            sin: tensor(angles().map(f32::sin).collect()),
        }
    }
}
