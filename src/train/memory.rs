//! What a run on the processor will take of its memory, before it begins.

use std::path::Path;

use anyhow::{Context, anyhow};
use serde_json::Value;

use super::Config;
pub use crate::engine::Memory;
use crate::engine::Training;
use crate::engine::footprint::{self, Load, Shape};
pub use footprint::{checkpoint as checkpoint_bytes, finished as finished_bytes};

/// What all ranks of a run on the processor take together, and the most that there is of it at once,
/// in bytes. A micro-batch is counted as full.
///
/// # Errors
/// The field of the model's `config.json` that is missing or no number.
pub fn on_processor(config: &Config, model: &Value) -> Result<(Memory, u64), String> {
    let shape = Shape::parse(model)?;
    let tokens = u64::from(config.cutoff_len).min(positions(model));
    let ranks = u64::from(config.ranks);
    let load = Load { ranks, tokens, trained: tokens, longest: tokens, computed_bytes: 4 };
    let memory = footprint::predict(&shape, &config.training(), &load);
    Ok((memory, footprint::peak(&memory)))
}

/// Bytes of the weights and of the state of a checkpoint of the model in a folder.
///
/// # Errors
/// If its `config.json` cannot be read.
pub(super) fn checkpoint(model: &Path, training: &Training) -> anyhow::Result<[u64; 2]> {
    Ok(footprint::checkpoint(&shape(model)?, training))
}

/// The shape of the model in a folder.
///
/// # Errors
/// If its `config.json` cannot be read.
pub(super) fn shape(model: &Path) -> anyhow::Result<Shape> {
    let path = model.join("config.json");
    let text = std::fs::read_to_string(&path);
    let named = || format!("could not read `{}`", path.display());
    let config: Value = serde_json::from_str(&text.with_context(named)?).with_context(named)?;
    Shape::parse(&config).map_err(|why| anyhow!("`{}`: {why}", path.display()))
}

fn positions(model: &Value) -> u64 {
    model.get("max_position_embeddings").and_then(Value::as_u64).unwrap_or(u64::MAX)
}
