//! One optimizer step: micro-batches forward and backward, then the update.

use std::fmt;

use crate::dataset::pack::Spread;
use crate::dataset::shards::Shards;
use crate::engine::{self, Sequence, Trainer, Weighted};
use crate::hint::Hinted;
use crate::stage::Stopped;

/// How many example ids an error names.
const IDS_NAMED: usize = 8;

/// What one step is given.
#[derive(Debug, Clone, Copy)]
pub(super) struct Order<'a> {
    /// Where the examples are.
    pub(super) shards: &'a Shards,
    /// Positions of the step's examples.
    pub(super) batch: &'a [usize],
    /// What each one's loss counts.
    pub(super) weights: &'a [f64],
    /// Where and when each one runs, by its place in `batch`.
    pub(super) spread: &'a Spread,
    /// The learning rate of this step.
    pub(super) learning_rate: f64,
    /// Norm to clip to; 0 = off.
    pub(super) max_grad_norm: f64,
}

/// What came of it.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Outcome {
    /// The weighted loss, before the update.
    pub(super) loss: f64,
    /// Global norm before clipping.
    pub(super) grad_norm: f64,
}

/// An error of the engine with the examples that it is about.
#[derive(Debug)]
pub(super) struct Troubled {
    /// Their ids.
    pub(super) ids: Vec<i64>,
    /// What the engine says.
    pub(super) cause: engine::Error,
}

impl fmt::Display for Troubled {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.cause.fmt(f)
    }
}

impl std::error::Error for Troubled {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        self.cause.source()
    }
}

/// Runs one step. A request to stop ends it between micro-batches, before anything was updated.
///
/// # Errors
/// [`Stopped`]; or [`Troubled`] where the engine cannot, naming the examples.
pub(super) fn run(
    trainer: &mut dyn Trainer,
    order: Order<'_>,
    stop: &dyn Fn() -> bool,
) -> anyhow::Result<Outcome> {
    // By place, not by round: the sum is the same however the examples are spread.
    let mut losses = vec![0.0; order.batch.len()];
    for round in &order.spread.rounds {
        if stop() {
            return Err(Stopped.into());
        }
        accumulate(trainer, &order, round, &mut losses)?;
    }
    let grad_norm = trainer
        .apply(order.learning_rate, order.max_grad_norm)
        .map_err(|error| explain(error, order.shards, order.batch))?;
    let loss = losses.iter().zip(order.weights).map(|(loss, weight)| loss * weight).sum();
    Ok(Outcome { loss, grad_norm })
}

/// Runs a micro-batch on every rank and notes the loss of each example.
fn accumulate(
    trainer: &mut dyn Trainer,
    order: &Order<'_>,
    round: &[Vec<usize>],
    losses: &mut [f64],
) -> anyhow::Result<()> {
    let read = |places: &Vec<usize>| -> anyhow::Result<Vec<Sequence>> {
        places.iter().map(|place| order.shards.get(order.batch[*place])).collect()
    };
    let sequences: Vec<Vec<Sequence>> = round.iter().map(read).collect::<anyhow::Result<_>>()?;
    let ranks: Vec<Vec<Weighted<'_>>> = sequences
        .iter()
        .zip(round)
        .map(|(sequences, places)| {
            let pairs = sequences.iter().zip(places);
            pairs.map(|(sequence, at)| Weighted { sequence, weight: order.weights[*at] }).collect()
        })
        .collect();
    let found = trainer.accumulate(&ranks).map_err(|error| {
        let positions: Vec<usize> = round.iter().flatten().map(|at| order.batch[*at]).collect();
        explain(error, order.shards, &positions)
    })?;
    for (place, loss) in round.iter().flatten().zip(found.iter().flatten()) {
        losses[*place] = *loss;
    }
    Ok(())
}

/// Names the examples that an error of the engine is about.
fn explain(cause: engine::Error, shards: &Shards, positions: &[usize]) -> anyhow::Error {
    let hint = match &cause {
        engine::Error::NotFinite { .. } => Some(
            "look at these examples; lower train.learning_rate, or set train.non_finite to skip"
                .to_owned(),
        ),
        engine::Error::OutOfMemory { .. } => Some(
            "lower train.cutoff_len or train.device_batch, set train.keep to inputs, or offload"
                .to_owned(),
        ),
        engine::Error::NoBackend { .. }
        | engine::Error::NoDevice { .. }
        | engine::Error::BadModel { .. }
        | engine::Error::BadInput(_)
        | engine::Error::CannotSplit { .. }
        | engine::Error::Io { .. } => cause.hint(),
    };
    let ids: Vec<i64> = positions.iter().map(|at| shards.id(*at)).collect();
    let what = format!("could not train on {}", named(&ids));
    let error = anyhow::Error::new(Troubled { ids, cause });
    match hint {
        Some(hint) => error.context(Hinted::new(what, hint)),
        None => error.context(what),
    }
}

/// The first few of these examples.
pub(super) fn named(ids: &[i64]) -> String {
    let mut words: Vec<String> = ids.iter().take(IDS_NAMED).map(i64::to_string).collect();
    if ids.len() > IDS_NAMED {
        words.push(format!("{} more", ids.len() - IDS_NAMED));
    }
    let word = if ids.len() == 1 { "example" } else { "examples" };
    format!("{word} {}", words.join(", "))
}
