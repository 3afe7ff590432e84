//! How much of what its GPUs could do a step does: model FLOPs utilisation (Chowdhery et al. 2022,
//! PaLM, appendix B).

use std::collections::BTreeSet;

use crate::engine::footprint::Shape;
use crate::engine::roofline::Limits;
use crate::engine::{self, Device};

/// What utilisation is counted with.
#[derive(Debug, Clone, Copy)]
pub(super) struct Utilisation {
    shape: Shape,
    /// Dense bf16 operations per second of all GPUs together; none on a processor, or on a GPU that is
    /// not known.
    peak: Option<f64>,
}

impl Utilisation {
    /// Of a model on devices that may be named more than once.
    pub(super) fn new(shape: Shape, devices: &[Device]) -> Self {
        let names = match devices.contains(&Device::Cpu) {
            true => Vec::new(),
            false => engine::facts().gpus,
        };
        Self { shape, peak: peak(devices, &names) }
    }

    /// The part of the peak that a step over sequences of these lengths reached, from 0 to 1.
    pub(super) fn of(&self, lengths: &[usize], seconds: f64) -> Option<f64> {
        let (tokens, squares) = lengths.iter().fold((0.0, 0.0), |(tokens, squares), length| {
            let length = *length as f64;
            (tokens + length, squares + length * length)
        });
        let done = self.shape.operations(tokens, squares) / seconds.max(1e-9);
        self.peak.map(|peak| done / peak)
    }
}

/// Ranks that share a GPU share its peak. None if any device is none of these GPUs, or not known.
fn peak(devices: &[Device], names: &[String]) -> Option<f64> {
    let index = |device: &Device| match device {
        Device::Cuda(index) => Some(*index),
        Device::Cpu => None,
    };
    let own: BTreeSet<usize> = devices.iter().map(index).collect::<Option<_>>()?;
    let limits = |index: usize| names.get(index).and_then(|name| Limits::of(name));
    own.into_iter().map(|index| Some(limits(index)?.operations_per_second)).sum()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn the_peak_is_that_of_the_gpus_however_many_ranks_share_them() {
        let names = ["NVIDIA H100 80GB HBM3", "NVIDIA H100 80GB HBM3", "a new one"];
        let names = names.map(str::to_owned);
        for (devices, expected) in [
            (vec![Device::Cuda(0)], Some(989e12)),
            (vec![Device::Cuda(0), Device::Cuda(1)], Some(2.0 * 989e12)),
            (vec![Device::Cuda(1); 8], Some(989e12)),
            (vec![Device::Cuda(0), Device::Cuda(2)], None),
            (vec![Device::Cuda(3)], None),
            (vec![Device::Cpu], None),
        ] {
            assert_eq!(peak(&devices, &names), expected, "{devices:?}");
        }
    }

    #[test]
    fn a_7b_model_at_two_fifths_of_eight_h100s_takes_what_the_plan_says() {
        let config = json!({
            "model_type": "qwen2", "vocab_size": 152_064, "hidden_size": 3584,
            "intermediate_size": 18_944, "num_hidden_layers": 28, "num_attention_heads": 28,
            "num_key_value_heads": 4,
        });
        let shape = Shape::parse(&config).unwrap();
        let counted = Utilisation { shape, peak: Some(8.0 * 989e12) };
        // 48.2 GFLOP a token where the mean pair is 9,600 tokens apart.
        let seconds = 96.0 * 9_600.0 * 48.2e9 / (0.4 * 8.0 * 989e12);
        let reached = counted.of(&[9_600; 96], seconds).unwrap();
        assert!((reached - 0.4).abs() < 0.001, "{reached}");
        assert_eq!(Utilisation { peak: None, ..counted }.of(&[10], 1.0), None);
    }
}
