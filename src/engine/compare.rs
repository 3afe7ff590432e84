//! Runs the same small model on two devices and says how far apart they are, and how fast.
//!
//! The processor is the reference: its results are held to PyTorch's by `tests/it/golden.rs`.

use std::path::Path;
use std::time::Instant;

use serde::Serialize;
use serde_json::json;

use super::{
    Adam, BLOCK_TOKENS, Device, Generator, IGNORE, Piece, Result, Room, Sequence, Trainer,
    Training, Weighted, Weights, open_generator, open_trainer,
};

/// Optimizer steps that are compared.
const STEPS: usize = 10;

/// Decode steps that are timed.
const DECODE_STEPS: u32 = 50;

/// Sequences that are decoded together.
pub const SEQUENCES: usize = 32;

/// What a device does with the model.
#[derive(Debug, Clone, Serialize)]
pub struct Measured {
    /// Which device.
    pub device: String,
    /// From opening the model to the first finished step and answer: kernels are compiled and tuned.
    pub warm_up_seconds: f64,
    /// Tokens trained per second, forward and backward and update.
    pub train_tokens_per_second: f64,
    /// Tokens generated per second by [`SEQUENCES`] sequences together.
    pub decode_tokens_per_second: f64,
    /// Most memory of the device.
    pub peak_memory_bytes: u64,
}

/// How far a device is from the processor, each relative to the processor's.
#[derive(Debug, Clone, Serialize)]
pub struct Comparison {
    /// Logits of one sequence.
    pub logits: f64,
    /// Loss of the first batch.
    pub loss: f64,
    /// All gradients of the first batch as one vector.
    pub gradients: f64,
    /// Change of all weights over ten steps as one vector.
    pub ten_steps: f64,
    /// Largest difference of a loss over ten steps.
    pub ten_losses: f64,
    /// The device.
    pub measured: Measured,
    /// The processor.
    pub reference: Measured,
}

/// Compares a device with the processor.
///
/// # Errors
/// If a device is not there or cannot run the model.
pub fn compare(device: Device) -> Result<Comparison> {
    let dir = tempfile::tempdir()
        .map_err(|source| super::Error::Io { path: "a temporary folder".to_owned(), source })?;
    let weights = Weights::Random { config: &config(), seed: 1 };
    open_trainer(&[Device::Cpu], weights, &Training::from(ADAM))?
        .snapshot()?
        .save_model(dir.path())?;
    let (reference, right) = run(Device::Cpu, dir.path())?;
    let (measured, left) = run(device, dir.path())?;
    let loss = |index: usize| (left.losses[index] / right.losses[index] - 1.0).abs();
    Ok(Comparison {
        logits: apart(&left.logits, &right.logits),
        loss: loss(0),
        gradients: apart(&left.gradients, &right.gradients),
        ten_steps: apart(&left.changes, &right.changes),
        ten_losses: (0..STEPS).map(loss).fold(0.0, f64::max),
        measured,
        reference,
    })
}

/// What is compared.
struct Results {
    logits: Vec<f32>,
    losses: Vec<f64>,
    gradients: Vec<f32>,
    changes: Vec<f32>,
}

const ADAM: Adam = Adam { beta1: 0.9, beta2: 0.999, epsilon: 1e-8, weight_decay: 0.01 };

/// About the size of the rehearsal's model.
pub(crate) fn config() -> serde_json::Value {
    json!({
        "architectures": ["Qwen2ForCausalLM"], "hidden_act": "silu", "vocab_size": 512,
        "hidden_size": 128, "intermediate_size": 384, "num_hidden_layers": 4,
        "num_attention_heads": 4, "num_key_value_heads": 2, "max_position_embeddings": 512,
        "rms_norm_eps": 1e-6, "rope_theta": 10000.0, "tie_word_embeddings": true,
        "initializer_range": 0.05,
    })
}

/// Sequences of 60 to 200 tokens that follow a rule, a third of each not trained on.
fn batch(step: usize) -> Vec<Sequence> {
    let one = |number: usize| {
        let length = 60 + number * 140 / 15;
        let id = |at: usize| ((at * (7 + number % 5) + step * 31 + number) % 512) as u32;
        let input_ids: Vec<u32> = (0..length).map(id).collect();
        let label = |(at, id): (usize, &u32)| if at < length / 3 { IGNORE } else { i64::from(*id) };
        Sequence { labels: input_ids.iter().enumerate().map(label).collect(), input_ids }
    };
    (0..16).map(one).collect()
}

fn run(device: Device, dir: &Path) -> Result<(Measured, Results)> {
    let start = Instant::now();
    let mut trainer = open_trainer(&[device], Weights::Folder(dir), &Training::from(ADAM))?;
    let before = flat(trainer.weights());
    let mut losses = vec![accumulate(&mut *trainer, 0)?];
    let gradients = flat(trainer.gradients());
    trainer.apply(1e-3, 1.0)?;
    let mut generator = open_generator(device, dir, Room::default())?;
    let ids: Vec<u32> = (0..150).map(|at| at * 3 % 512).collect();
    let logits = generator.logits(&ids)?;
    let mut together = Batch::new(SEQUENCES, 64 + DECODE_STEPS as usize);
    let prompts = vec![ids[..50].to_vec(); SEQUENCES];
    together.step(&mut *generator, &prompts)?;
    let mut decode = |token: u32| together.step(&mut *generator, &vec![vec![token]; SEQUENCES]);
    decode(0)?;
    let warm_up_seconds = start.elapsed().as_secs_f64();

    let start = Instant::now();
    let mut tokens = 0;
    for step in 1..STEPS {
        losses.push(accumulate(&mut *trainer, step)?);
        trainer.apply(1e-3, 1.0)?;
        tokens += batch(step).iter().map(|sequence| sequence.input_ids.len()).sum::<usize>();
    }
    let after = flat(trainer.weights());
    let train_seconds = start.elapsed().as_secs_f64();
    let start = Instant::now();
    for token in 1..=DECODE_STEPS {
        decode(token)?;
    }
    let decode_seconds = start.elapsed().as_secs_f64();
    let changes = after.iter().zip(&before).map(|(after, before)| after - before).collect();
    let measured = Measured {
        device: device.to_string(),
        warm_up_seconds,
        train_tokens_per_second: tokens as f64 / train_seconds,
        decode_tokens_per_second: SEQUENCES as f64 * f64::from(DECODE_STEPS) / decode_seconds,
        peak_memory_bytes: trainer.peak_memory_bytes(),
    };
    Ok((measured, Results { logits, losses, gradients, changes }))
}

/// Sequences that grow together, each in blocks of its own: what a scheduler does, without one.
pub struct Batch {
    tables: Vec<Vec<u32>>,
    length: usize,
}

impl Batch {
    /// Room for `sequences` of `length` tokens.
    pub fn new(sequences: usize, length: usize) -> Self {
        let blocks = length.div_ceil(BLOCK_TOKENS) as u32;
        let table = |at: u32| (at * blocks..(at + 1) * blocks).collect();
        Self { tables: (0..sequences as u32).map(table).collect(), length: 0 }
    }

    /// Appends as many tokens to each sequence, and gives the logits after the last of each.
    ///
    /// # Errors
    /// If there is no room for them.
    pub fn step(
        &mut self,
        generator: &mut dyn Generator,
        tokens: &[Vec<u32>],
    ) -> Result<Vec<Vec<f32>>> {
        let piece = |(tokens, blocks)| {
            let tokens: &Vec<u32> = tokens;
            let last = tokens.len() - 1..tokens.len();
            Piece { tokens, start: self.length, blocks, logits: last }
        };
        let tables = self.tables.iter().map(Vec::as_slice);
        let pieces: Vec<Piece<'_>> = tokens.iter().zip(tables).map(piece).collect();
        let logits = generator.step(&pieces)?;
        self.length += tokens.first().map_or(0, Vec::len);
        Ok(logits)
    }
}

/// The mean loss of a step's batch.
fn accumulate(trainer: &mut dyn Trainer, step: usize) -> Result<f64> {
    let batch = batch(step);
    let divisor = batch.iter().map(Sequence::trained_tokens).sum::<usize>() as f64;
    let pack = batch.iter().map(|sequence| Weighted { sequence, weight: 1.0 / divisor }).collect();
    Ok(trainer.accumulate(&[pack])?.concat().iter().sum::<f64>() / divisor)
}

fn flat(tensors: Vec<(String, Vec<f32>)>) -> Vec<f32> {
    tensors.into_iter().flat_map(|(_, values)| values).collect()
}

/// The length of the difference, relative to the reference's length.
pub(crate) fn apart(left: &[f32], right: &[f32]) -> f64 {
    let squares = |values: &mut dyn Iterator<Item = f64>| values.map(|v| v * v).sum::<f64>();
    let pairs = left.iter().zip(right);
    let difference = squares(&mut pairs.map(|(l, r)| f64::from(*l) - f64::from(*r)));
    (difference / squares(&mut right.iter().map(|r| f64::from(*r))).max(1e-30)).sqrt()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_processor_agrees_with_itself() {
        let compared = match compare(Device::Cpu) {
            Err(super::super::Error::NoBackend { .. }) => return,
            compared => compared.unwrap(),
        };
        let errors = [compared.logits, compared.loss, compared.gradients, compared.ten_steps];
        assert_eq!(errors, [0.0; 4]);
    }
}
