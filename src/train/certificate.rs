//! A run's certificate: its first steps beside the same ones computed the plain way.
//!
//! The plain way is one rank in f32 that packs, shards, rounds and cuts nothing; what it has in common
//! with the run is the model, the examples and the formulas. A slice of the first step is enough: a
//! fault of ranks, packing, kept activations or chunks shows in its loss, its gradient or what the
//! weights do. Both are thrown away before the run begins.

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::Context;
use serde::{Deserialize, Serialize};

use super::explained;
use super::fit::Task;
use crate::dataset::pack::{Cost, Limits, Spread, spread};
use crate::engine::{
    self, Device, Keep, Precision, Sequence, Shard, StateLayout, Trainer, Training, Weighted,
    Weights,
};

/// The file's name.
pub(crate) const FILE: &str = "certificate.json";

/// Examples of the slice at most: as many as keep four ranks busy.
const EXAMPLES_MAX: usize = 8;

/// Tokens of the slice at most, so that a processor computes it in seconds; one longer example is
/// taken whole.
const TOKENS_MAX: usize = 2_048;

/// Trained numbers of the largest model that is computed twice, on the processor and on a GPU: the
/// plain way takes 16 bytes of each, on one device.
const PARAMETERS_MAX: [u64; 2] = [200_000_000, 2_000_000_000];

/// Relative difference of loss and gradient norm that f32 explains.
const F32_TOLERANCE: f64 = 1e-4;

/// The same for bf16 weights.
const BF16_TOLERANCE: f64 = 3e-2;

/// How far the run and the plain way are apart.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct Certificate {
    /// Whether the differences are within `tolerance`; none if it was not computed.
    pub(super) agrees: Option<bool>,
    /// Why it was not computed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) skipped: Option<String>,
    /// Ids of the examples.
    pub(super) examples: Vec<i64>,
    /// Their tokens.
    pub(super) tokens: u64,
    /// Ranks of the run.
    pub(super) ranks: usize,
    /// Its steps beside the plain ones.
    pub(super) steps: Vec<Compared>,
    /// The largest relative difference of a loss.
    pub(super) loss_difference: f64,
    /// The largest relative difference of a gradient's norm.
    pub(super) grad_norm_difference: f64,
    /// What all weights did together, relative to what they did the plain way.
    pub(super) update_difference: f64,
    /// What loss and norm may differ by.
    pub(super) tolerance: f64,
}

/// A step computed twice.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct Compared {
    /// The run's loss.
    pub(super) loss: f64,
    /// The plain one.
    pub(super) plain_loss: f64,
    /// The run's gradient norm, before clipping.
    pub(super) grad_norm: f64,
    /// The plain one.
    pub(super) plain_grad_norm: f64,
}

impl Certificate {
    /// One line for people.
    pub(super) fn told(&self) -> String {
        match (&self.skipped, self.agrees) {
            (Some(why), _) => format!("the first steps were not computed a second time: {why}"),
            (None, Some(true)) => format!(
                "the first {} steps on {} examples agree with the plain way: loss to {:.1e}, \
                 gradient norm to {:.1e}, update to {:.1e}",
                self.steps.len(),
                self.examples.len(),
                self.loss_difference,
                self.grad_norm_difference,
                self.update_difference
            ),
            (None, _) => format!(
                "the first {} steps differ from the plain way by {:.1e} in the loss and {:.1e} in \
                 the gradient norm, more than {:.0e}",
                self.steps.len(),
                self.loss_difference,
                self.grad_norm_difference,
                self.tolerance
            ),
        }
    }
}

/// What one way came to: loss and norm of each step, and how every weight moved.
struct Way {
    steps: Vec<(f64, f64)>,
    moved: BTreeMap<String, Vec<f32>>,
}

/// Computes the first steps of `task` both ways on a slice of `batch`, the positions of the first
/// step's examples.
///
/// # Errors
/// If a model cannot be opened or an example cannot be used.
pub(super) fn certify(task: &Task<'_>, batch: &[usize], cost: Cost) -> anyhow::Result<Certificate> {
    let devices = task.config.devices().map_err(anyhow::Error::msg)?;
    let training = task.config.training();
    let slice = slice(task, batch);
    let rounded = training.precision != Precision::F32 || training.state != StateLayout::APlus;
    let mut certificate = Certificate {
        agrees: None,
        skipped: None,
        examples: slice.iter().map(|at| task.shards.id(*at)).collect(),
        tokens: slice.iter().map(|at| task.shards.tokens(*at) as u64).sum(),
        ranks: devices.len(),
        steps: Vec::new(),
        loss_difference: 0.0,
        grad_norm_difference: 0.0,
        update_difference: 0.0,
        tolerance: if rounded { BF16_TOLERANCE } else { F32_TOLERANCE },
    };
    if slice.is_empty() {
        certificate.skipped = Some("no example of the first step has a loss".to_owned());
        return Ok(certificate);
    }
    let lengths: Vec<usize> = slice.iter().map(|at| task.shards.tokens(*at)).collect();
    let limits = Limits { examples: usize::MAX, tokens: task.config.cutoff_len as usize };
    let spread = spread(&lengths, devices.len(), limits, cost);
    let Some(run) = go(task, &slice, (&devices, &training), &spread)? else {
        certificate.skipped = Some("the model is too large for one device".to_owned());
        return Ok(certificate);
    };
    let plain = plain(&training);
    let one_by_one = Spread::in_order(slice.len(), 1, 1);
    let Some(plain) = go(task, &slice, (&devices[..1], &plain), &one_by_one)? else {
        certificate.skipped = Some("the model is too large for one device".to_owned());
        return Ok(certificate);
    };
    compare(&mut certificate, &run, &plain);
    Ok(certificate)
}

/// The same training with nothing that saves memory or time: f32 throughout, nothing sharded, nothing
/// computed again, all logits at once.
fn plain(training: &Training) -> Training {
    Training {
        keep: Keep::All,
        shard: Shard::None,
        logits_chunk: Some(usize::MAX),
        adam: training.adam,
        lora: training.lora.clone(),
        seed: training.seed,
        ..Training::default()
    }
}

/// The shortest examples of the batch that have a loss, in its order.
fn slice(task: &Task<'_>, batch: &[usize]) -> Vec<usize> {
    let has_loss = |at: &&usize| task.shards.trained_tokens(**at) > 0;
    let mut shortest: Vec<usize> = batch.iter().filter(has_loss).copied().collect();
    shortest.sort_by_key(|at| task.shards.tokens(*at));
    shortest.truncate(EXAMPLES_MAX);
    let mut tokens = 0;
    let mut taken = 0;
    for at in &shortest {
        tokens += task.shards.tokens(*at);
        if taken > 0 && tokens > TOKENS_MAX {
            break;
        }
        taken += 1;
    }
    shortest.truncate(taken);
    shortest
}

/// Some steps one way; none if the model is too large to be computed twice.
fn go(
    task: &Task<'_>,
    slice: &[usize],
    (devices, training): (&[Device], &Training),
    spread: &Spread,
) -> anyhow::Result<Option<Way>> {
    let weights = Weights::Folder(task.model);
    let mut trainer = engine::open_trainer(devices, weights, training).map_err(explained)?;
    let most = PARAMETERS_MAX[usize::from(devices[0] != Device::Cpu)];
    if trainer.info().parameters > most {
        return Ok(None);
    }
    let before = trainer.weights();
    let sequences: Vec<Sequence> =
        slice.iter().map(|at| task.shards.get(*at)).collect::<anyhow::Result<_>>()?;
    let mut steps = Vec::new();
    for _ in 0..task.config.certificate_steps {
        steps.push(step(trainer.as_mut(), task, &sequences, spread)?);
    }
    let moved = trainer.weights().into_iter().zip(before).map(|((name, now), (_, before))| {
        (name, now.iter().zip(&before).map(|(now, before)| now - before).collect())
    });
    Ok(Some(Way { steps, moved: moved.collect() }))
}

/// One step at the run's highest rate, so that even the first one moves the weights.
fn step(
    trainer: &mut dyn Trainer,
    task: &Task<'_>,
    sequences: &[Sequence],
    spread: &Spread,
) -> anyhow::Result<(f64, f64)> {
    let trained: usize = sequences.iter().map(Sequence::trained_tokens).sum();
    let weight = 1.0 / trained as f64;
    let mut losses = vec![0.0; sequences.len()];
    for round in &spread.rounds {
        let ranks: Vec<Vec<Weighted<'_>>> = round
            .iter()
            .map(|places| {
                let weighted = |at: &usize| Weighted { sequence: &sequences[*at], weight };
                places.iter().map(weighted).collect()
            })
            .collect();
        let found = trainer.accumulate(&ranks).context("could not compute the certificate")?;
        for (place, loss) in round.iter().flatten().zip(found.iter().flatten()) {
            losses[*place] = *loss;
        }
    }
    let config = task.config;
    let norm = trainer
        .apply(config.learning_rate, config.max_grad_norm)
        .context("could not compute the certificate")?;
    Ok((losses.iter().sum::<f64>() * weight, norm))
}

fn compare(certificate: &mut Certificate, run: &Way, plain: &Way) {
    for ((loss, grad_norm), (plain_loss, plain_grad_norm)) in run.steps.iter().zip(&plain.steps) {
        let relative = |a: f64, b: f64| (a - b).abs() / b.abs().max(1e-12);
        let worst = |before: f64, a: f64, b: f64| before.max(relative(a, b));
        let loss_difference = worst(certificate.loss_difference, *loss, *plain_loss);
        certificate.loss_difference = loss_difference;
        certificate.grad_norm_difference =
            worst(certificate.grad_norm_difference, *grad_norm, *plain_grad_norm);
        certificate.steps.push(Compared {
            loss: *loss,
            plain_loss: *plain_loss,
            grad_norm: *grad_norm,
            plain_grad_norm: *plain_grad_norm,
        });
    }
    let (mut apart, mut whole) = (0.0, 0.0);
    for (name, plain) in &plain.moved {
        let Some(run) = run.moved.get(name) else { continue };
        for (run, plain) in run.iter().zip(plain) {
            apart += f64::from(run - plain).powi(2);
            whole += f64::from(*plain).powi(2);
        }
    }
    certificate.update_difference = (apart / f64::max(whole, 1e-300)).sqrt();
    let largest = certificate.loss_difference.max(certificate.grad_norm_difference);
    certificate.agrees = Some(largest <= certificate.tolerance);
}

/// Writes it into `dir`.
///
/// # Errors
/// If it cannot be written.
pub(super) fn write(dir: &Path, certificate: &Certificate) -> anyhow::Result<()> {
    let path = dir.join(FILE);
    let text = serde_json::to_string_pretty(certificate)?;
    std::fs::write(&path, format!("{text}\n"))
        .with_context(|| format!("could not write `{}`", path.display()))
}
