//! Rotary position embedding in the form of GPT-NeoX and Qwen: halves, not pairs.
//!
//! Frequencies, products and cosines are f32 as in transformers, which computes them so whatever
//! the model's type is. Scaled frequencies follow transformers 5.23 (`modeling_rope_utils.py`):
//! "llama3" (Llama 3.1) and "yarn" (Peng et al. 2023, arXiv 2309.00071).

use std::f64::consts::TAU;

use burn::tensor::{Device, Tensor, TensorData};

/// How positions become angles.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Rope {
    /// The base of the frequencies.
    pub(crate) theta: f64,
    pub(crate) scaling: Scaling,
}

/// How the frequencies are stretched for contexts longer than the one trained on.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Scaling {
    /// Not at all.
    None,
    /// Long waves are slowed down by `factor`, short ones are not, those between gradually.
    Llama3 {
        factor: f64,
        low_frequency: f64,
        high_frequency: f64,
        /// The context before stretching.
        original: usize,
    },
    /// As above with a ramp over dimensions instead of wavelengths, and cosines and sines scaled
    /// by `attention`.
    Yarn {
        factor: f64,
        beta_fast: f64,
        beta_slow: f64,
        original: usize,
        attention: f64,
        /// Whether the ends of the ramp are whole dimensions.
        truncate: bool,
    },
}

/// What is known of the angles of every position.
#[derive(Clone)]
pub(crate) struct Tables {
    inverse_frequencies: Vec<f32>,
    /// Cosines and sines are multiplied by it.
    scale: f32,
}

/// Cosines and sines `[t, head size / 2]` of the rows of a batch.
#[derive(Clone)]
pub(crate) struct Rotary {
    pub(crate) cos: Tensor<2>,
    pub(crate) sin: Tensor<2>,
}

impl Tables {
    /// For heads of this size.
    pub(crate) fn new(head_size: usize, rope: &Rope) -> Self {
        let exponent = |index: usize| (2 * index) as f32 / head_size as f32;
        let plain: Vec<f32> = (0..head_size / 2)
            .map(|index| 1.0 / (rope.theta as f32).powf(exponent(index)))
            .collect();
        let (inverse_frequencies, scale) = match &rope.scaling {
            Scaling::None => (plain, 1.0),
            Scaling::Llama3 { .. } => {
                (plain.into_iter().map(|inverse| llama3(inverse, &rope.scaling)).collect(), 1.0)
            }
            Scaling::Yarn { attention, .. } => (yarn(&plain, head_size, rope), *attention as f32),
        };
        Self { inverse_frequencies, scale }
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
            cos: tensor(angles().map(|angle| angle.cos() * self.scale).collect()),
            sin: tensor(angles().map(|angle| angle.sin() * self.scale).collect()),
        }
    }
}

/// One frequency of Llama 3.1. What is f32 in transformers is f32 here.
fn llama3(inverse: f32, scaling: &Scaling) -> f32 {
    let Scaling::Llama3 { factor, low_frequency, high_frequency, original } = scaling else {
        return inverse;
    };
    let (factor, original) = (*factor as f32, *original as f64);
    let wavelength = TAU as f32 / inverse;
    if wavelength < (original / high_frequency) as f32 {
        return inverse;
    }
    if wavelength > (original / low_frequency) as f32 {
        return inverse / factor;
    }
    let smooth = (original as f32 / wavelength - *low_frequency as f32)
        / (high_frequency - low_frequency) as f32;
    (1.0 - smooth) * inverse / factor + smooth * inverse
}

/// The frequencies of YaRN: fast dimensions as they are, slow ones divided by the factor.
fn yarn(plain: &[f32], head_size: usize, rope: &Rope) -> Vec<f32> {
    let Scaling::Yarn { factor, beta_fast, beta_slow, original, truncate, .. } = &rope.scaling
    else {
        return plain.to_vec();
    };
    let size = head_size as f64;
    // The dimension that turns so often over the original context.
    let dimension =
        |turns: f64| size * (*original as f64 / (turns * TAU)).ln() / (2.0 * rope.theta.ln());
    let (low, high) = (dimension(*beta_fast), dimension(*beta_slow));
    let (low, high) = if *truncate { (low.floor(), high.ceil()) } else { (low, high) };
    let (low, high) = (low.max(0.0), high.min(size - 1.0));
    // As transformers avoids a division by zero.
    let width = if high == low { 0.001 } else { high - low };
    let ramp = |index: usize| ((index as f32 - low as f32) / width as f32).clamp(0.0, 1.0);
    plain
        .iter()
        .enumerate()
        .map(|(index, inverse)| {
            // transformers divides by `factor * theta^x`; `inverse / factor` is the same but for
            // the last bit.
            let (kept, slowed) = (1.0 - ramp(index), inverse / *factor as f32);
            slowed * (1.0 - kept) + inverse * kept
        })
        .collect()
}
