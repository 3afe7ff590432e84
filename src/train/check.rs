//! What is wrong between settings, model and examples: all at once, before anything is loaded.

use std::path::Path;

use anyhow::Context;
use serde_json::Value;

use super::config::Config;
use super::fit::Task;
use crate::dataset::encode;
use crate::engine;
use crate::hint::Hinted;

const CONFIG: &str = "config.json";

/// Makes sure that settings are sound, fit the model in `dir`, which need not have weights yet, and
/// can be followed on this machine. Nothing is loaded for that.
///
/// # Errors
/// Naming everything that is wrong.
pub fn sound(config: &Config, dir: &Path) -> anyhow::Result<()> {
    let mut hint = "`thinkery plan` shows every setting with its value".to_owned();
    let mut problems = config.problems();
    let mut engine = |checked: engine::Result<()>| {
        checked.err().map(|error| {
            hint = error.hint().unwrap_or_else(|| hint.clone());
            format!("{:#}", anyhow::Error::from(error))
        })
    };
    let mut devices = config.devices().unwrap_or_default();
    devices.dedup();
    let mut found: Vec<String> =
        devices.into_iter().filter_map(|device| engine(engine::ensure_device(device))).collect();
    if !dir.join(CONFIG).is_file() && engine::dummy::named(dir).is_none() {
        problems.push(format!("there is no model in `{}`", dir.display()));
        hint =
            "give a folder in Hugging Face layout: config.json, tokenizer and weights".to_owned();
    } else if let Ok(model) = model(dir) {
        found.extend(engine(engine::check_model(dir)));
        problems.extend(positions(config, &model));
        let rows = number(&model, "vocab_size");
        problems.extend(rows.and_then(|rows| encode::ids_beyond(dir, rows)));
    }
    problems.extend(found);
    if problems.is_empty() { Ok(()) } else { Err(Hinted::new(problems.join("; "), hint).into()) }
}

/// Makes sure that a run can begin.
///
/// # Errors
/// Naming everything that is wrong.
pub(super) fn ready(task: &Task<'_>) -> anyhow::Result<()> {
    let mut problems = task.config.problems();
    let model = model(task.model)?;
    problems.extend(positions(task.config, &model));
    let counts = task.shards.counts();
    let mut hint = "`thinkery plan` shows every setting with its value";
    if task.shards.is_empty() {
        problems.push(format!("there is no example to train on: {}", counts.told()));
        hint = "give conversations with answers, and a train.cutoff_len that leaves room for them";
    } else if counts.trained_tokens == 0 {
        problems.push(format!(
            "none of the {} examples has a token that is trained on: no turn of the assistant is left",
            counts.examples
        ));
        hint = "give conversations with answers, and a train.cutoff_len that leaves room for them";
    }
    problems.extend(vocabulary(task, &model));
    problems.extend(length(task, &model));
    if problems.is_empty() {
        return Ok(());
    }
    Err(Hinted::new(problems.join("; "), hint).into())
}

/// Tokens of the longest example: as set, or as many as the model has positions where nobody has set
/// it.
///
/// # Errors
/// If the model's configuration cannot be read.
pub fn cutoff(config: &Config, dir: &Path) -> anyhow::Result<u32> {
    let positions = number(&model(dir)?, "max_position_embeddings").unwrap_or(u64::MAX);
    let default = Config::default().cutoff_len;
    let fewer = u32::try_from(positions).unwrap_or(u32::MAX).min(config.cutoff_len);
    Ok(if config.cutoff_len == default { fewer } else { config.cutoff_len })
}

fn model(dir: &Path) -> anyhow::Result<Value> {
    let path = dir.join(CONFIG);
    let text = std::fs::read_to_string(&path)
        .with_context(|| format!("could not read `{}`", path.display()))?;
    serde_json::from_str(&text).with_context(|| format!("could not read `{}`", path.display()))
}

fn number(model: &Value, name: &str) -> Option<u64> {
    model[name].as_u64()
}

/// A cutoff beyond the model's positions, unless it is the one that nobody has set.
fn positions(config: &Config, model: &Value) -> Option<String> {
    let positions = number(model, "max_position_embeddings")?;
    let cutoff = config.cutoff_len;
    let is_set = cutoff != Config::default().cutoff_len;
    (is_set && u64::from(cutoff) > positions).then(|| {
        format!("`train.cutoff_len` is {cutoff} but the model was made for {positions} positions")
    })
}

/// An id that the model has no row for.
fn vocabulary(task: &Task<'_>, model: &Value) -> Option<String> {
    let rows = number(model, "vocab_size")?;
    let largest = task.shards.counts().largest_id;
    (u64::from(largest) >= rows).then(|| {
        format!(
            "the examples have the id {largest} but the model's vocabulary has {rows} rows: the \
             tokenizer is not the model's"
        )
    })
}

/// An example that is longer than the model.
fn length(task: &Task<'_>, model: &Value) -> Option<String> {
    let positions = number(model, "max_position_embeddings")? as usize;
    let longest = (0..task.shards.len()).max_by_key(|at| task.shards.tokens(*at))?;
    let tokens = task.shards.tokens(longest);
    (tokens > positions).then(|| {
        format!(
            "example {} has {tokens} tokens but the model was made for {positions} positions",
            task.shards.id(longest)
        )
    })
}
