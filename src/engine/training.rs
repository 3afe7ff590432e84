//! What a trainer is asked for and what it gives: the seam between the train stage and the engine.
//!
//! Names are those of the recipe's `[train]` section; how they are computed is `burn::trainer`.

use std::fmt;
use std::path::Path;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use super::{ModelInfo, Result, Sequence};

/// Constants of AdamW (decoupled weight decay; biases and norms are never decayed).
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Adam {
    /// Decay of the first moment.
    pub beta1: f64,
    /// Decay of the second moment.
    pub beta2: f64,
    /// Added to the root of the second moment, after bias correction.
    pub epsilon: f64,
    /// Weight decay per step, relative to the learning rate.
    pub weight_decay: f64,
}

impl Default for Adam {
    /// PyTorch's, without decay: what OpenThinker was trained with.
    fn default() -> Self {
        Self { beta1: 0.9, beta2: 0.999, epsilon: 1e-8, weight_decay: 0.0 }
    }
}

/// Where a trainer's weights come from.
#[derive(Debug, Clone, Copy)]
pub enum Weights<'a> {
    /// A model in Hugging Face layout.
    Folder(&'a Path),
    /// Random ones for this Hugging Face `config.json`; same seed, same weights.
    Random {
        /// The configuration.
        config: &'a serde_json::Value,
        /// The seed.
        seed: u64,
    },
}

/// A choice that is written as a word in recipes and on the command line.
macro_rules! words {
    ($type:ident, $what:literal, $($variant:ident = $word:literal),+) => {
        impl $type {
            /// Every one of them.
            pub const ALL: &'static [Self] = &[$(Self::$variant),+];

            /// Its word in a recipe.
            pub fn name(self) -> &'static str {
                match self {
                    $(Self::$variant => $word),+
                }
            }
        }

        impl fmt::Display for $type {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(self.name())
            }
        }

        impl FromStr for $type {
            type Err = String;

            fn from_str(text: &str) -> Result<Self, String> {
                let known = Self::ALL.iter().find(|choice| choice.name() == text);
                known.copied().ok_or_else(|| {
                    let names: Vec<&str> = Self::ALL.iter().map(|choice| choice.name()).collect();
                    format!("`{text}` is no {}; expected one of {}", $what, names.join(", "))
                })
            }
        }
    };
}

/// What is kept of every trained number between steps.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
pub enum StateLayout {
    /// f32 master and moments, bf16 gradient.
    A,
    /// f32 throughout.
    #[default]
    #[serde(rename = "A+")]
    APlus,
    /// f32 master, bf16 moments and gradient.
    #[serde(rename = "A'")]
    APrime,
    /// bf16 weight and the 16 bits that it lacks, f32 moments, bf16 gradient.
    #[serde(rename = "DX")]
    Dx,
    /// bf16 weight and the 16 bits that it lacks, bf16 moments, f32 gradient.
    #[serde(rename = "D+")]
    DPlus,
    /// The same with a bf16 gradient.
    D,
    /// bf16 throughout; the weight rounded stochastically.
    B,
}

words!(
    StateLayout,
    "layout of the optimizer's state",
    A = "A",
    APlus = "A+",
    APrime = "A'",
    Dx = "DX",
    DPlus = "D+",
    D = "D",
    B = "B"
);

/// What the ranks divide among themselves.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Shard {
    /// Nothing: every rank has it all.
    None,
    /// The optimizer's state (ZeRO-1).
    Optimizer,
    /// Gradients, too (ZeRO-2).
    Gradients,
    /// Weights, too (ZeRO-3).
    #[default]
    Parameters,
}

words!(
    Shard,
    "way to shard",
    None = "none",
    Optimizer = "optimizer",
    Gradients = "gradients",
    Parameters = "parameters"
);

/// What of the forward pass is kept for the backward pass; the rest is computed again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Keep {
    /// The input of every layer.
    #[default]
    Inputs,
    /// Everything of the first half of every layer.
    Attention,
    /// Everything.
    All,
}

words!(Keep, "thing to keep", Inputs = "inputs", Attention = "attention", All = "all");

/// What lies in the host's memory instead of the device's.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Offload {
    /// Nothing.
    #[default]
    None,
    /// The optimizer's state.
    Optimizer,
    /// What is kept of the forward pass.
    Activations,
}

words!(
    Offload,
    "thing to offload",
    None = "none",
    Optimizer = "optimizer",
    Activations = "activations"
);

/// What weights are rounded to before they are computed with.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Precision {
    /// Not at all.
    #[default]
    F32,
    /// bf16, ties away from zero. The processor computes with them in f32.
    Bf16,
}

words!(Precision, "precision", F32 = "f32", Bf16 = "bf16");

/// Low-rank adapters in the place of whole weights (Hu et al. 2021, arXiv 2106.09685).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Lora {
    /// Rows of one factor, columns of the other.
    pub rank: usize,
    /// The product is scaled by `alpha / rank`.
    pub alpha: f64,
    /// Which weights: `q_proj`, `k_proj`, `v_proj`, `o_proj`, `gate_proj`, `up_proj`, `down_proj`.
    pub targets: Vec<String>,
}

/// How a model is trained. The default is one in f32 that keeps layer inputs only.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Training {
    /// The optimizer's constants.
    pub adam: Adam,
    /// What is kept of every number.
    pub state: StateLayout,
    /// What ranks divide.
    pub shard: Shard,
    /// What is kept of a forward pass.
    pub keep: Keep,
    /// What lies on the host.
    pub offload: Offload,
    /// What is computed with.
    pub precision: Precision,
    /// Rows of logits that exist at a time; chosen by the vocabulary if not given.
    pub logits_chunk: Option<usize>,
    /// Adapters; whole weights if not given.
    pub lora: Option<Lora>,
    /// Of stochastic rounding, and of new adapters.
    pub seed: u64,
}

impl From<Adam> for Training {
    fn from(adam: Adam) -> Self {
        Self { adam, ..Self::default() }
    }
}

/// A sequence and what its loss counts.
#[derive(Debug, Clone, Copy)]
pub struct Weighted<'a> {
    /// The tokens.
    pub sequence: &'a Sequence,
    /// The step's loss has `weight` times the sum of its tokens' cross entropies in it.
    pub weight: f64,
}

/// A model that learns, on one rank or several.
pub trait Trainer {
    /// What the model is.
    fn info(&self) -> &ModelInfo;

    /// How many ranks there are.
    fn ranks(&self) -> usize;

    /// Runs one micro-batch per rank forward and backward and adds the gradients of the weighted
    /// losses. A micro-batch is a pack of sequences that do not see each other; it may be empty.
    /// Gives the summed loss of each sequence in nats, not weighted, rank by rank.
    ///
    /// # Errors
    /// [`Error::NotFinite`](super::Error::NotFinite) if a loss is no number; the gradients are then
    /// to be discarded. [`Error::BadInput`](super::Error::BadInput) if a sequence does not fit.
    fn accumulate(&mut self, ranks: &[Vec<Weighted<'_>>]) -> Result<Vec<Vec<f64>>>;

    /// Clips the gradients to the global L2 norm `max_norm` (0 = off) over all ranks, updates the
    /// weights, clears the gradients, and returns the norm before clipping.
    ///
    /// # Errors
    /// [`Error::NotFinite`](super::Error::NotFinite) if the norm is no number; nothing was updated.
    fn apply(&mut self, learning_rate: f64, max_norm: f64) -> Result<f64>;

    /// Forgets the accumulated gradients.
    fn discard(&mut self);

    /// A copy of model and state on the host, independent of ranks, to be saved while training goes
    /// on.
    ///
    /// # Errors
    /// [`Error::OutOfMemory`](super::Error::OutOfMemory) if the host has no room for it.
    fn snapshot(&self) -> Result<Box<dyn Snapshot>>;

    /// Reads the state from `dir`, whatever the number of ranks that wrote it.
    ///
    /// # Errors
    /// If a file is missing or does not fit the model.
    fn load_state(&mut self, dir: &Path) -> Result<()>;

    /// The accumulated gradients under the names of the model's files, to compare with a reference.
    fn gradients(&self) -> Vec<(String, Vec<f32>)>;

    /// The weights under the names of the model's files.
    fn weights(&self) -> Vec<(String, Vec<f32>)>;

    /// The most memory that it took: of the device, or on the processor of what this process has
    /// allocated since the trainer was opened.
    fn peak_memory_bytes(&self) -> u64;

    /// What it takes by kind, as measured.
    fn memory(&self) -> Memory;
}

/// Bytes that training takes, of all ranks together, by kind.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Memory {
    /// Weights between passes.
    pub weights: u64,
    /// Added gradients.
    pub gradients: u64,
    /// Moments.
    pub optimizer: u64,
    /// What is kept of a forward pass.
    pub activations: u64,
    /// What a layer needs beside these while it is run backward, its gradients included.
    pub working_set: u64,
    /// What the head needs beside its weight, the gradients of both included.
    pub logits: u64,
    /// The weights of a layer that is run.
    pub gathered: u64,
}

/// A model and its state at one moment.
pub trait Snapshot: Send {
    /// Writes the exact weights into `dir`: `config.json`, `generation_config.json`, safetensors of at
    /// most 5 GB each, and their index. Tokenizer files are the caller's.
    ///
    /// # Errors
    /// If a file cannot be written.
    fn save_model(&self, dir: &Path) -> Result<()>;

    /// The same with the numbers that are computed with: bf16 where that is the precision.
    ///
    /// # Errors
    /// If a file cannot be written.
    fn export(&self, dir: &Path) -> Result<()>;

    /// Writes the optimizer's state into `dir`; with the model's files it is all that a resumed run
    /// needs to be bit for bit the same.
    ///
    /// # Errors
    /// If a file cannot be written.
    fn save_state(&self, dir: &Path) -> Result<()>;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_choice_has_one_word_everywhere() {
        for layout in StateLayout::ALL {
            let json = serde_json::to_value(layout).unwrap();
            assert_eq!(
                (json.as_str().unwrap(), layout.name().parse()),
                (layout.name(), Ok(*layout))
            );
        }
        for shard in Shard::ALL {
            assert_eq!(serde_json::to_value(shard).unwrap(), shard.name());
        }
        for keep in Keep::ALL {
            assert_eq!(serde_json::to_value(keep).unwrap(), keep.name());
        }
        for offload in Offload::ALL {
            assert_eq!(serde_json::to_value(offload).unwrap(), offload.name());
        }
        for precision in Precision::ALL {
            assert_eq!(serde_json::to_value(precision).unwrap(), precision.name());
        }
        let why = "E".parse::<StateLayout>().unwrap_err();
        assert!(why.contains("`E` is no layout") && why.contains("DX, D+"), "{why}");
    }
}
