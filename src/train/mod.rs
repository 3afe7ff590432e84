//! Fine-tunes a model on a dataset.
//!
//! Knows token ids and no text: examples come from `dataset`, the arithmetic is `engine`'s. Each arm
//! of a dataset is a run of its own, with the same seed, the same number of steps and the same
//! weights to begin with, so that only the data differ.

mod arms;
mod batches;
mod certificate;
mod check;
mod config;
mod curve;
mod events;
mod fit;
mod identity;
mod memory;
mod resume;
mod save;
mod schedule;
mod step;
mod utilisation;
mod weigh;

use std::path::{Path, PathBuf};
use std::time::Instant;

use anyhow::{Context as _, ensure};
use serde::{Deserialize, Serialize};

use crate::dataset::encode;
use crate::dataset::shards::Shards;
use crate::engine::{self, Device, Weights};
use crate::hint::Hinted;
use crate::records::{Arm, Dataset, Run};
use crate::stage;
use crate::store::Store;

pub use crate::engine::footprint::Shape;
pub use crate::engine::{Keep, Lora, Offload, Precision, Shard, StateLayout, Training};
pub use batches::{Orders, Walk, permutation};
pub use check::{cutoff, sound};
pub use config::{Config, LossNormalisation, Method, NonFinite, Packing};
pub use fit::{Observer, Task, fit, steps};
pub use memory::{Memory, checkpoint_bytes, finished_bytes, on_processor};
pub use schedule::{Plan, Schedule};

/// Name of the model before any training, in the score table.
pub const UNTRAINED: &str = "untrained";

/// What one run came to.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RunSummary {
    /// Name of the run.
    pub name: String,
    /// Steps done in all.
    pub steps: u64,
    /// Examples it was trained on.
    pub examples: u64,
    /// Tokens of one pass.
    pub tokens: u64,
    /// Tokens of one pass that have a loss.
    pub trained_tokens: u64,
    /// Loss of the last step, in nats per trained token.
    pub loss: f64,
    /// Folder of the finished model, relative to the data folder.
    pub model: String,
}

/// What the stage came to.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Summary {
    /// One entry per arm.
    pub runs: Vec<RunSummary>,
    /// Wall time of this call.
    pub seconds: f64,
}

/// Trains every arm that is not finished yet, side by side where there are processors for it.
///
/// # Errors
/// If a dataset or model is missing or cannot be used, or a run fails or is stopped.
pub fn run(cx: &stage::Context, config: &Config) -> anyhow::Result<Summary> {
    let began = Instant::now();
    let model = model_folder(&cx.store, config);
    sound(config, &model)?;
    ensure_weights(&model, config)?;
    let arms = prepare(cx, config, &model)?;
    let runs = arms::train(cx, config, &model, arms)?;
    Ok(Summary { runs, seconds: began.elapsed().as_secs_f64() })
}

/// Where the model to begin with lies.
pub fn model_folder(store: &Store, config: &Config) -> PathBuf {
    let named = store.dir().join("models").join(&config.model);
    if named.is_dir() { named } else { PathBuf::from(&config.model) }
}

/// Draws the weights of a model that has a configuration but none yet: this is `untrained`.
///
/// # Errors
/// If there is no configuration, or the weights cannot be written.
pub fn ensure_weights(model: &Path, config: &Config) -> anyhow::Result<()> {
    let has = |name: &str| model.join(name).is_file();
    if has("model.safetensors") || has("model.safetensors.index.json") {
        return Ok(());
    }
    if engine::dummy::named(model).is_some() {
        return Err(Hinted::new(
            format!(
                "`{}` is only a shape: what is trained from it would be of no use",
                model.display()
            ),
            "`serve`, `logits` and `evaluate` take it, to measure speed; give a model's folder",
        )
        .into());
    }
    let path = model.join("config.json");
    if !path.is_file() {
        return Err(Hinted::new(
            format!("there is no model in `{}`", model.display()),
            "give a folder in Hugging Face layout: config.json, tokenizer and weights",
        )
        .into());
    }
    let text = std::fs::read_to_string(&path)
        .with_context(|| format!("could not read `{}`", path.display()))?;
    let shape = serde_json::from_str(&text)
        .with_context(|| format!("could not read `{}`", path.display()))?;
    // Always drawn on the processor: the same seed gives the same model on every device.
    let weights = Weights::Random { config: &shape, seed: config.seed };
    let trainer = engine::open_trainer(&[Device::Cpu], weights, &Training::from(config.adam()))
        .map_err(explained)?;
    let unfinished = tempfile::Builder::new()
        .prefix(".weights-")
        .tempdir_in(model)
        .with_context(|| format!("could not write into `{}`", model.display()))?;
    trainer.snapshot()?.save_model(unfinished.path())?;
    // The index last: with it the weights are there.
    let mut names: Vec<_> = std::fs::read_dir(unfinished.path())?.collect::<Result<_, _>>()?;
    names.sort_by_key(|entry| entry.file_name().to_string_lossy().ends_with(".index.json"));
    for entry in names {
        let path = model.join(entry.file_name());
        std::fs::rename(entry.path(), &path)
            .with_context(|| format!("could not write `{}`", path.display()))?;
    }
    Ok(())
}

/// An engine's error with what the user can do about it.
fn explained(error: engine::Error) -> anyhow::Error {
    match error.hint() {
        Some(hint) => Hinted::new(error.to_string(), hint).into(),
        None => error.into(),
    }
}

/// Puts a run of the store back to its checkpoint after `step` steps: later checkpoints are deleted,
/// and whoever trains it next makes their steps again.
///
/// # Errors
/// If it has no such checkpoint, or something cannot be deleted or written.
pub fn go_back(store: &Store, run: &Run, step: u64) -> anyhow::Result<()> {
    let out = store.absolute(&run.path);
    let gone = resume::go_back(&out, step)?;
    events::went_back(&out, step, &gone)?;
    store.drop_checkpoints_after(run.id, step)?;
    Ok(())
}

/// The newest dataset of `arm` that `config` means: by its name, or one build of it by its hash.
///
/// # Errors
/// If there is none.
pub fn dataset_of(datasets: &[Dataset], config: &Config, arm: Arm) -> anyhow::Result<Dataset> {
    let named = |dataset: &Dataset| {
        let name = &config.dataset;
        name.is_empty() || dataset.name == *name || dataset.hash == *name
    };
    let found = datasets.iter().find(|dataset| dataset.arm == arm && named(dataset));
    found.cloned().with_context(|| {
        Hinted::new(
            format!("there is no {} dataset `{}`", arm.name(), config.dataset),
            "build it first: thinkery dataset build",
        )
    })
}

/// The newest dataset of each arm, encoded.
fn prepare(
    cx: &stage::Context,
    config: &Config,
    model: &Path,
) -> anyhow::Result<Vec<(Dataset, Shards)>> {
    let datasets = cx.store.datasets()?;
    let mut arms = Vec::new();
    for arm in &config.arms {
        cx.stop_requested()?;
        let dataset = dataset_of(&datasets, config, *arm)?;
        cx.progress.set(0, 0, format!("encoding the {} examples", arm.name()));
        let encoding = config.encoding(cutoff(config, model)?);
        let note = format!("encoding the {} examples", arm.name());
        let progress = |done: u64, total: u64| cx.progress.set(done, total, note.clone());
        let shards = encode::of_dataset(&cx.store, &dataset, (model, &encoding), &progress)?;
        arms.push((dataset, shards));
    }
    ensure!(!arms.is_empty(), "`train.arms` is empty");
    Ok(arms)
}

#[cfg(test)]
mod tests;
