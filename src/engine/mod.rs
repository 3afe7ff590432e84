//! Token ids in, token ids out: generating and training. Knows no text and imports nothing of ours.
//!
//! The contract between the rest of the house and the engine: [`Generator`] and [`Trainer`] are
//! implemented in `engine::burn`, the only folder that names burn. [`open_generator`] and
//! [`open_trainer`] choose the backend at run time; built without one they say so.

pub mod compare;
pub mod dummy;
pub mod fake;
pub mod sampler;
pub mod worker;

#[cfg(feature = "cpu")]
mod memory;

#[cfg(feature = "cpu")]
mod burn;
#[cfg(not(feature = "cpu"))]
#[path = "none.rs"]
mod burn;
#[cfg(feature = "cuda")]
#[path = "burn/cuda.rs"]
mod cuda;
#[cfg(all(feature = "cpu", not(feature = "cuda")))]
#[path = "burn/no_cuda.rs"]
mod cuda;

use std::fmt;
use std::path::Path;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// What can go wrong in the engine.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// This binary has no engine for the device.
    #[error("this binary was built without the `{feature}` engine")]
    NoBackend {
        /// The cargo feature that would bring it.
        feature: &'static str,
    },
    /// There is no such device on this machine.
    #[error("there is no device `{device}`: {why}")]
    NoDevice {
        /// What was asked for.
        device: String,
        /// What is missing.
        why: String,
    },
    /// The model's files are not right.
    #[error("could not load the model in `{path}`: {message}")]
    BadModel {
        /// The folder.
        path: String,
        /// Which file or tensor, and what is wrong with it.
        message: String,
    },
    /// The input does not fit the model.
    #[error("{0}")]
    BadInput(String),
    /// Loss or gradient is no number.
    #[error("{what} is not finite")]
    NotFinite {
        /// `loss` or `gradient norm`.
        what: &'static str,
    },
    /// Not enough memory.
    #[error("needs {needed_bytes} bytes of memory, {free_bytes} are free")]
    OutOfMemory {
        /// What it would take.
        needed_bytes: u64,
        /// What there is.
        free_bytes: u64,
    },
    /// A file could not be read or written.
    #[error("could not use `{path}`")]
    Io {
        /// The file.
        path: String,
        /// Why.
        #[source]
        source: std::io::Error,
    },
}

impl Error {
    /// What the user can do about it.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::NoBackend { feature } => {
                Some(format!("build with `--features {feature}`, or choose another device"))
            }
            Self::NoDevice { .. } => Some(
                "`thinkery doctor` shows what this machine has; `--device cpu` always works".into(),
            ),
            Self::BadModel { .. } => {
                Some("check that the folder is complete; copy or download the model again".into())
            }
            Self::OutOfMemory { .. } => {
                Some("shorten the context, or choose a smaller model or a larger device".into())
            }
            Self::BadInput(_) | Self::NotFinite { .. } | Self::Io { .. } => None,
        }
    }
}

/// Result of the engine.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Where a model runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Device {
    /// This machine's processor.
    Cpu,
    /// An NVIDIA GPU by its number.
    Cuda(usize),
}

impl fmt::Display for Device {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Cpu => f.write_str("cpu"),
            Self::Cuda(index) => write!(f, "cuda:{index}"),
        }
    }
}

impl FromStr for Device {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let number = text.strip_prefix("cuda:").and_then(|index| index.parse().ok());
        match (text, number) {
            ("cpu", _) => Ok(Self::Cpu),
            (_, Some(index)) => Ok(Self::Cuda(index)),
            _ => Err(format!("`{text}` is no device; expected `cpu` or `cuda:0`")),
        }
    }
}

/// What a model is, as far as callers care.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ModelInfo {
    /// Rows of the embedding; ids are below this.
    pub vocabulary: usize,
    /// Positions the model was made for.
    pub context: usize,
    /// Trainable numbers in it.
    pub parameters: u64,
    /// Ids that end an answer (`eos_token_id` of `generation_config.json`, else of `config.json`).
    pub eos_ids: Vec<u32>,
}

/// How the next token is chosen.
#[derive(Debug, Clone, PartialEq)]
pub struct Sampling {
    /// 0 is greedy.
    pub temperature: f32,
    /// Probability mass to sample from; 1 is all.
    pub top_p: f32,
    /// The random numbers come from seed and position, never from the batch.
    pub seed: u64,
    /// Tokens to generate at most.
    pub max_tokens: usize,
    /// Ids that end the answer; they are not part of it.
    pub stop_ids: Vec<u32>,
}

/// Why a sequence ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum FinishReason {
    /// At a stop id.
    Stop,
    /// At `max_tokens` or at the end of the context.
    Length,
}

impl FinishReason {
    /// OpenAI's word for it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Stop => "stop",
            Self::Length => "length",
        }
    }
}

/// A sequence that a [`Generator`] is working on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Slot(pub usize);

/// A loaded model that computes logits. One owner; not shared between threads.
pub trait Generator: Send {
    /// What the model is.
    fn info(&self) -> &ModelInfo;

    /// How many sequences it can hold at a time.
    fn slots(&self) -> usize;

    /// Runs whole prompts into free slots and gives the logits `[vocabulary]` after the last token
    /// of each.
    ///
    /// # Errors
    /// If an id is outside the vocabulary or a prompt is longer than the context.
    fn prefill(&mut self, prompts: &[(Slot, &[u32])]) -> Result<Vec<Vec<f32>>>;

    /// Appends one token to each slot and gives the logits `[vocabulary]` after it.
    ///
    /// # Errors
    /// If a slot is empty or full.
    fn decode(&mut self, tokens: &[(Slot, u32)]) -> Result<Vec<Vec<f32>>>;

    /// Empties a slot.
    fn release(&mut self, slot: Slot);

    /// Logits `[tokens, vocabulary]`, row-major, of one sequence from its beginning.
    ///
    /// # Errors
    /// If an id is outside the vocabulary or there are more than the context.
    fn logits(&mut self, ids: &[u32]) -> Result<Vec<f32>>;
}

/// One training sequence. `labels` has the length of `input_ids`; position `t` predicts
/// `labels[t + 1]`, and [`IGNORE`] is not trained on (Hugging Face's convention).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sequence {
    /// Token ids.
    pub input_ids: Vec<u32>,
    /// Targets or [`IGNORE`].
    pub labels: Vec<i64>,
}

/// The label of a token that is not trained on.
pub const IGNORE: i64 = -100;

impl Sequence {
    /// How many of its tokens have a loss: labels after the first that are not [`IGNORE`].
    pub fn trained_tokens(&self) -> usize {
        self.labels.iter().skip(1).filter(|label| **label != IGNORE).count()
    }
}

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

/// A model that learns.
pub trait Trainer {
    /// What the model is.
    fn info(&self) -> &ModelInfo;

    /// Runs the sequences forward and backward, adds the gradients of `sum of losses / divisor`, and
    /// returns the sum of the losses in nats.
    ///
    /// # Errors
    /// [`Error::NotFinite`] if the loss is no number; the gradients are then to be discarded.
    fn accumulate(&mut self, micro_batch: &[Sequence], divisor: f64) -> Result<f64>;

    /// Clips the gradients to the global L2 norm `max_norm` (0 = off), updates the weights, clears
    /// the gradients, and returns the norm before clipping.
    ///
    /// # Errors
    /// [`Error::NotFinite`] if the norm is no number; nothing was updated.
    fn apply(&mut self, learning_rate: f64, max_norm: f64) -> Result<f64>;

    /// Forgets the accumulated gradients.
    fn discard(&mut self);

    /// Writes `config.json`, `generation_config.json` and `model.safetensors` into `dir`. Tokenizer
    /// files are the caller's.
    ///
    /// # Errors
    /// If a file cannot be written.
    fn save_model(&self, dir: &Path) -> Result<()>;

    /// Writes the optimizer's state into `dir`; with the model's files it is all that a resumed run
    /// needs to be bit for bit the same.
    ///
    /// # Errors
    /// If a file cannot be written.
    fn save_state(&self, dir: &Path) -> Result<()>;

    /// Reads the optimizer's state from `dir`.
    ///
    /// # Errors
    /// If a file is missing or does not fit the model.
    fn load_state(&mut self, dir: &Path) -> Result<()>;

    /// The accumulated gradients under the names of the model's files, to compare with a reference.
    fn gradients(&self) -> Vec<(String, Vec<f32>)>;

    /// The weights under the names of the model's files.
    fn weights(&self) -> Vec<(String, Vec<f32>)>;

    /// Peak memory of the device, or of the process on the processor.
    fn peak_memory_bytes(&self) -> u64;
}

/// What the engine found on this machine, for `doctor`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Facts {
    /// Engines compiled in: `cpu`, `cuda`.
    pub backends: Vec<&'static str>,
    /// Version of the NVIDIA driver's CUDA, e.g. `13.0`, if libcuda is there.
    pub cuda_driver: Option<String>,
    /// GPUs by number, with their names.
    pub gpus: Vec<String>,
    /// The NVRTC library found.
    pub nvrtc: Option<String>,
    /// The NCCL library found.
    pub nccl: Option<String>,
}

/// Whether this binary can use a device on this machine. Loads nothing.
///
/// # Errors
/// [`Error::NoBackend`] and [`Error::NoDevice`], saying what is missing.
pub fn ensure_device(device: Device) -> Result<()> {
    burn::ensure_device(device)
}

/// Opens a model in Hugging Face layout to generate with.
///
/// # Errors
/// [`Error::NoBackend`] and [`Error::NoDevice`] if the device is not there, [`Error::BadModel`]
/// naming the file or tensor that is wrong.
pub fn open_generator(device: Device, dir: &Path) -> Result<Box<dyn Generator>> {
    burn::open_generator(device, dir)
}

/// Opens a model to train.
///
/// # Errors
/// As [`open_generator`].
pub fn open_trainer(device: Device, weights: Weights<'_>, adam: Adam) -> Result<Box<dyn Trainer>> {
    burn::open_trainer(device, weights, adam)
}

/// What there is on this machine. Opens nothing that is not there, and never panics.
pub fn facts() -> Facts {
    burn::facts()
}
