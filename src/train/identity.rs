//! What makes a run this run: settings, examples and the model begun with.
//!
//! Kept with every checkpoint, so that a run that would go on as another one can say what is
//! different. What only decides where and in which order it is computed may change: that is no more
//! than the last bits.

use std::collections::BTreeMap;
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::Path;

use anyhow::Context;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use sha2::{Digest, Sha256};

use super::config::{Config, LossNormalisation};

/// Settings that do not decide what comes out.
const FREE: [&str; 15] = [
    "arms",
    "dataset",
    "model",
    "save_every",
    "keep_checkpoints",
    "resume_from",
    "certificate_steps",
    "device",
    "ranks",
    "packing",
    "keep",
    "shard",
    "offload",
    "logits_chunk",
    "device_batch",
];

/// Files of a model that decide what is trained. Shards are named in the index with their sizes, which
/// is enough to tell two models apart.
const FILES: [&str; 4] =
    ["config.json", "tokenizer.json", "model.safetensors", "model.safetensors.index.json"];

/// Of a larger file only some blocks are read.
const WHOLE_FILE_BYTES: u64 = 64 << 20;

/// How many, …
const BLOCKS: u64 = 256;

/// … of so many bytes.
const BLOCK_BYTES: u64 = 64 << 10;

/// What makes a run this run.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct Identity {
    /// Settings that decide what comes out.
    pub(super) settings: BTreeMap<String, Value>,
    /// Hash of the examples.
    pub(super) examples: String,
    /// Hash of the model begun with.
    pub(super) model: String,
}

impl Identity {
    /// Of a run with these settings and examples that begins with the model in `dir`.
    ///
    /// # Errors
    /// If a file of the model cannot be read.
    pub(super) fn of(config: &Config, examples: &str, dir: &Path) -> anyhow::Result<Self> {
        let per_micro = config.loss_normalisation == LossNormalisation::PerMicro;
        let is_free = |name: &str| FREE.contains(&name) && !(per_micro && name == "device_batch");
        let settings = serde_json::to_value(config)?;
        let settings = settings.as_object().cloned().unwrap_or_default();
        let settings = settings.into_iter().filter(|(name, _)| !is_free(name)).collect();
        Ok(Self { settings, examples: examples.to_owned(), model: model(dir)? })
    }

    /// One hash for all of it.
    ///
    /// # Errors
    /// Never, for settings that were read.
    pub(super) fn hash(&self) -> anyhow::Result<String> {
        Ok(hex(&Sha256::digest(serde_json::to_vec(self)?)))
    }

    /// What is different in `other`, one sentence per difference, as `train.name was … and is …`.
    pub(super) fn differences(&self, other: &Self) -> Vec<String> {
        let names = self.settings.keys().chain(other.settings.keys());
        let mut names: Vec<&String> = names.collect();
        names.sort();
        names.dedup();
        let word = |value: Option<&Value>| {
            value.map_or_else(|| "not set".to_owned(), |value| format!("`{value}`"))
        };
        let mut differences: Vec<String> = names
            .into_iter()
            .filter(|name| self.settings.get(*name) != other.settings.get(*name))
            .map(|name| {
                let (was, is) = (self.settings.get(name), other.settings.get(name));
                format!("`train.{name}` was {} and is {}", word(was), word(is))
            })
            .collect();
        if self.examples != other.examples {
            differences.push("the examples are others".to_owned());
        }
        if self.model != other.model {
            differences.push("the model to begin with is another".to_owned());
        }
        differences
    }
}

/// Hash of the model in `dir`.
fn model(dir: &Path) -> anyhow::Result<String> {
    let mut hasher = Sha256::new();
    for name in FILES {
        let path = dir.join(name);
        if path.is_file() {
            hasher.update(name);
            digest(&path, &mut hasher)
                .with_context(|| format!("could not read `{}`", path.display()))?;
        }
    }
    Ok(hex(&hasher.finalize()))
}

/// Takes a file in, or evenly spaced blocks of a large one: any training moves every block.
fn digest(path: &Path, hasher: &mut Sha256) -> std::io::Result<()> {
    let mut file = File::open(path)?;
    let bytes = file.metadata()?.len();
    hasher.update(bytes.to_le_bytes());
    if bytes <= WHOLE_FILE_BYTES {
        std::io::copy(&mut file, hasher)?;
        return Ok(());
    }
    let mut block = vec![0; BLOCK_BYTES as usize];
    for number in 0..BLOCKS {
        file.read_exact_at(&mut block, (bytes - BLOCK_BYTES) * number / (BLOCKS - 1))?;
        hasher.update(&block);
    }
    Ok(())
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::Identity;
    use crate::train::config::{Config, LossNormalisation};

    fn identity(config: &Config, examples: &str) -> Identity {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("config.json"), "{}").unwrap();
        Identity::of(config, examples, dir.path()).unwrap()
    }

    #[test]
    fn every_difference_is_named() {
        let before = identity(&Config::default(), "a");
        let config = Config { learning_rate: 2e-5, steps: Some(7), ..Config::default() };
        let differences = before.differences(&identity(&config, "b"));
        assert_eq!(
            differences,
            [
                "`train.learning_rate` was `0.00001` and is `0.00002`",
                "`train.steps` was not set and is `7`",
                "the examples are others"
            ]
        );
        assert!(before.differences(&before).is_empty());
    }

    #[test]
    fn where_it_is_computed_may_change() {
        let config = Config::default();
        let elsewhere = Config {
            ranks: 8,
            device: "cuda:0".into(),
            device_batch: 4,
            save_every: 7,
            ..Config::default()
        };
        assert_eq!(identity(&config, "a"), identity(&elsewhere, "a"));
        let per_micro = LossNormalisation::PerMicro;
        let [one, four] = [1, 4].map(|device_batch| {
            let config =
                Config { loss_normalisation: per_micro, device_batch, ..Config::default() };
            identity(&config, "a")
        });
        assert_eq!(one.differences(&four), ["`train.device_batch` was `1` and is `4`"]);
    }

    #[test]
    fn another_block_of_a_large_model_is_another_model() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("model.safetensors");
        let file = std::fs::File::create(&path).unwrap();
        file.set_len(super::WHOLE_FILE_BYTES + 1).unwrap();
        let config = Config::default();
        let before = Identity::of(&config, "a", dir.path()).unwrap();
        std::os::unix::fs::FileExt::write_all_at(&file, &[1; 1 << 20], 30 << 20).unwrap();
        assert_ne!(before, Identity::of(&config, "a", dir.path()).unwrap());
    }
}
