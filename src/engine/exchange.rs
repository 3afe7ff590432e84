//! Whether several devices compute what one does: what `doctor --collectives` shows.

use serde::Serialize;
use serde_json::json;

use super::{Device, Result, Sequence, Trainer, Training, Weighted, Weights, open_trainer};

/// One way of exchanging, tried.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Exchange {
    /// all-gather, reduce-scatter or all-reduce.
    pub name: &'static str,
    /// Whether every rank got what the processor computes.
    pub agrees: bool,
    /// Bytes per second and device as NCCL's tests count them: what has to cross a device's link at
    /// least, over the time.
    pub bus_bytes_per_second: f64,
}

/// What came of trying.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Exchanges {
    /// Ranks that took part.
    pub ranks: usize,
    /// Each way of exchanging.
    pub each: Vec<Exchange>,
    /// How far the weights after a step over all ranks are from those after the same step on one,
    /// relative to how far they moved.
    pub step_difference: f64,
}

/// How far a step over many ranks may be from one on a single device: f32's rounding, enlarged by the
/// optimizer where a gradient is nearly 0.
pub const STEP_TOLERANCE: f64 = 1e-4;

impl Exchanges {
    /// Whether all is as it should be.
    pub fn agree(&self) -> bool {
        self.each.iter().all(|exchange| exchange.agrees) && self.step_difference <= STEP_TOLERANCE
    }
}

/// What came of `each` exchange, and of a step that the same devices take together.
///
/// # Errors
/// If a device is not there or the devices cannot reach each other.
pub(super) fn with_a_step(devices: &[Device], each: Vec<Exchange>) -> Result<Exchanges> {
    let (before, alone) = step(&devices[..1])?;
    let (_, together) = step(devices)?;
    let distance = |a: &[f32], b: &[f32]| {
        let squares = a.iter().zip(b).map(|(a, b)| f64::from(a - b).powi(2));
        squares.sum::<f64>().sqrt()
    };
    let moved = distance(&alone, &before).max(f64::MIN_POSITIVE);
    let step_difference = distance(&alone, &together) / moved;
    Ok(Exchanges { ranks: devices.len(), each, step_difference })
}

/// All weights of a small model before and after a step over `devices`: eight sequences, dealt out.
fn step(devices: &[Device]) -> Result<(Vec<f32>, Vec<f32>)> {
    let config = json!({
        "model_type": "qwen2", "vocab_size": 96, "hidden_size": 64, "intermediate_size": 128,
        "num_hidden_layers": 2, "num_attention_heads": 4, "num_key_value_heads": 2,
        "max_position_embeddings": 64, "rope_theta": 10_000.0, "rms_norm_eps": 1e-6,
        "tie_word_embeddings": false, "initializer_range": 0.02,
    });
    let weights = Weights::Random { config: &config, seed: 7 };
    let mut trainer = open_trainer(devices, weights, &Training::default())?;
    let sequences: Vec<Sequence> = (0..8).map(sequence).collect();
    let dealt: Vec<Vec<Weighted<'_>>> = (0..devices.len())
        .map(|rank| {
            let own = sequences.iter().skip(rank).step_by(devices.len());
            own.map(|sequence| Weighted { sequence, weight: 1.0 / 64.0 }).collect()
        })
        .collect();
    let all = |trainer: &dyn Trainer| trainer.weights().into_iter().flat_map(|(_, w)| w).collect();
    let before = all(trainer.as_ref());
    trainer.accumulate(&dealt)?;
    trainer.apply(1e-3, 1.0)?;
    Ok((before, all(trainer.as_ref())))
}

fn sequence(number: u32) -> Sequence {
    let input_ids: Vec<u32> = (0..9 + number).map(|at| (at * 31 + number * 17) % 96).collect();
    let labels = input_ids.iter().map(|id| i64::from(*id)).collect();
    Sequence { input_ids, labels }
}

#[cfg(test)]
mod tests {
    use crate::{Device, check_collectives, facts};

    #[test]
    fn ranks_on_the_processor_compute_what_one_does() {
        if facts().backends.is_empty() {
            return;
        }
        for ranks in [2, 4, 8] {
            let tried = check_collectives(&vec![Device::Cpu; ranks]).unwrap();
            assert_eq!((tried.ranks, tried.each.len()), (ranks, 3));
            assert!(tried.agree(), "{tried:?}");
            assert!(tried.each.iter().all(|each| each.bus_bytes_per_second > 0.0), "{tried:?}");
        }
    }
}
