//! One optimizer step: micro-batches forward and backward, then the update.

use crate::dataset::pack::{Limits, group};
use crate::dataset::shards::Shards;
use crate::engine::{self, Sequence, Trainer, Weighted};
use crate::hint::Hinted;
use crate::stage::Stopped;

/// Tokens of one micro-batch at most, padding included: 16 examples of 4,096 tokens. One longer
/// example runs alone.
const MICRO_BATCH_TOKENS: usize = 65_536;

/// How many example ids an error names.
const IDS_NAMED: usize = 8;

/// What one step is given.
#[derive(Debug, Clone, Copy)]
pub(super) struct Order<'a> {
    /// Where the examples are.
    pub(super) shards: &'a Shards,
    /// Positions of the step's examples.
    pub(super) batch: &'a [usize],
    /// Examples that run at a time.
    pub(super) device_batch: usize,
    /// The learning rate of this step.
    pub(super) learning_rate: f64,
    /// Norm to clip to; 0 = off.
    pub(super) max_grad_norm: f64,
}

/// What came of it.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Outcome {
    /// Mean over the trained tokens, before the update.
    pub(super) loss: f64,
    /// Global norm before clipping.
    pub(super) grad_norm: f64,
    /// Tokens in the step.
    pub(super) tokens: u64,
    /// Of these with a loss.
    pub(super) trained_tokens: u64,
}

/// Runs one step. A request to stop ends it between micro-batches, before anything was updated.
///
/// # Errors
/// [`Stopped`]; or the loss or the gradient is no number, which names the examples.
pub(super) fn run(
    trainer: &mut dyn Trainer,
    order: Order<'_>,
    stop: &dyn Fn() -> bool,
) -> anyhow::Result<Outcome> {
    let lengths: Vec<usize> = order.batch.iter().map(|at| order.shards.tokens(*at)).collect();
    let tokens = lengths.iter().sum::<usize>() as u64;
    let trained: usize = order.batch.iter().map(|at| order.shards.trained_tokens(*at)).sum();
    if trained == 0 {
        let message = format!("{} have no token with a loss", named(order.shards, order.batch));
        return Err(Hinted::new(message, "raise train.cutoff_len, or leave them out").into());
    }
    let limits = Limits { examples: order.device_batch, tokens: MICRO_BATCH_TOKENS };
    let mut loss = 0.0;
    for group in group(&lengths, limits) {
        if stop() {
            return Err(Stopped.into());
        }
        let positions: Vec<usize> = group.iter().map(|at| order.batch[*at]).collect();
        let micro_batch: Vec<Sequence> =
            positions.iter().map(|at| order.shards.get(*at)).collect::<anyhow::Result<_>>()?;
        let weight = 1.0 / trained as f64;
        let pack = micro_batch.iter().map(|sequence| Weighted { sequence, weight }).collect();
        let losses = trainer
            .accumulate(&[pack])
            .map_err(|error| explain(error, order.shards, &positions))?;
        loss += losses.concat().iter().sum::<f64>();
    }
    let grad_norm = trainer
        .apply(order.learning_rate, order.max_grad_norm)
        .map_err(|error| explain(error, order.shards, order.batch))?;
    let loss = loss / trained as f64;
    Ok(Outcome { loss, grad_norm, tokens, trained_tokens: trained as u64 })
}

/// Names the examples that an error of the engine is about.
fn explain(error: engine::Error, shards: &Shards, positions: &[usize]) -> anyhow::Error {
    let what = format!("could not train on {}", named(shards, positions));
    let hint = error.hint();
    let error = anyhow::Error::new(error);
    match hint {
        Some(hint) => error.context(Hinted::new(what, hint)),
        None => error.context(what),
    }
}

fn named(shards: &Shards, positions: &[usize]) -> String {
    let mut ids: Vec<String> =
        positions.iter().take(IDS_NAMED).map(|at| shards.id(*at).to_string()).collect();
    if positions.len() > IDS_NAMED {
        ids.push(format!("{} more", positions.len() - IDS_NAMED));
    }
    let word = if positions.len() == 1 { "example" } else { "examples" };
    format!("{word} {}", ids.join(", "))
}
