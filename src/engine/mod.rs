//! Token ids in, token ids out: generating and training. Knows no text and imports nothing of ours.
//!
//! The contract between the rest of the house and the engine: [`Generator`] and [`Trainer`] are
//! implemented in `engine::burn`, the only folder that names burn. [`open_generator`] and
//! [`open_trainer`] choose the backend at run time; built without one they say so.

mod error;

pub mod blocks;
pub mod scheduler;
pub mod sequence;

mod exchange;
pub mod footprint;
mod training;

pub mod sampler;

pub mod worker;

pub mod placement;

pub mod compare;
pub mod dummy;
pub mod fake;
pub mod gpu;
pub mod parrot;
pub mod roofline;

#[cfg(feature = "cpu")]
mod memory;

#[cfg(feature = "cpu")]
mod burn;
#[cfg(not(feature = "cpu"))]
#[path = "none.rs"]
mod burn;
#[cfg(feature = "cuda")]
#[path = "burn/cuda/mod.rs"]
mod cuda;
#[cfg(all(feature = "cpu", not(feature = "cuda")))]
#[path = "burn/no_cuda.rs"]
mod cuda;

use std::fmt;
use std::ops::Range;
use std::path::Path;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use burn as parts;
pub use error::{Error, Result};
pub use exchange::{Exchange, Exchanges, STEP_TOLERANCE};
pub use training::{
    Adam, Keep, Lora, Memory, Offload, Precision, Shard, Snapshot, StateLayout, Trainer, Training,
    Weighted, Weights,
};

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

/// Memory that a loaded model keeps, in bytes; working memory comes on top.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Held {
    /// Of its parameters.
    pub weight_bytes: u64,
    /// Of its cache.
    pub cache_bytes: u64,
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

/// How the next tokens are chosen, and how many. The default takes the model's own distribution and
/// ends at the model's own ids or at the end of the context.
#[derive(Debug, Clone, PartialEq)]
pub struct Sampling {
    /// 0 is greedy.
    pub temperature: f32,
    /// Probability mass to sample from; 1 is all.
    pub top_p: f32,
    /// How many of the likeliest tokens to sample from; 0 is all.
    pub top_k: usize,
    /// Least probability of a token, relative to the likeliest one's; 0 is none.
    pub min_p: f32,
    /// Taken from the logits of tokens that were generated already.
    pub presence_penalty: f32,
    /// The same for each time that they were generated.
    pub frequency_penalty: f32,
    /// Divides positive and multiplies negative logits of tokens of the prompt or the answer; 1 is
    /// none.
    pub repetition_penalty: f32,
    /// Added to the logits of these tokens.
    pub logit_bias: Vec<(u32, f32)>,
    /// The random numbers come from the seed, the sample's number and the position, never from the
    /// batch.
    pub seed: u64,
    /// Tokens before which no id may end the answer.
    pub min_tokens: usize,
    /// Tokens to generate at most; 0 only takes the prompt in.
    pub max_tokens: usize,
    /// Ids that end the answer besides the model's own; neither are part of it.
    pub stop_ids: Vec<u32>,
    /// Whether the model's own ids do not end the answer.
    pub ignore_eos: bool,
    /// Answers to the same prompt; each its own random numbers.
    pub n: u32,
    /// Whether the logarithm of each token's probability is wanted, and of how many alternatives
    /// (at most [`LOGPROBS_MAX`]).
    pub logprobs: Option<usize>,
    /// The same for the tokens of the prompt, all but the first.
    pub prompt_logprobs: Option<usize>,
}

impl Default for Sampling {
    fn default() -> Self {
        Self {
            temperature: 1.0,
            top_p: 1.0,
            top_k: 0,
            min_p: 0.0,
            presence_penalty: 0.0,
            frequency_penalty: 0.0,
            repetition_penalty: 1.0,
            logit_bias: Vec::new(),
            seed: 0,
            min_tokens: 0,
            max_tokens: usize::MAX,
            stop_ids: Vec::new(),
            ignore_eos: false,
            n: 1,
            logprobs: None,
            prompt_logprobs: None,
        }
    }
}

/// Alternatives whose probability may be asked for, as OpenAI's API has it.
pub const LOGPROBS_MAX: usize = 20;

/// Answers to one prompt at most, as OpenAI's API has it.
pub const SAMPLES_MAX: u32 = 128;

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

/// Tokens in a block of a generator's cache.
pub const BLOCK_TOKENS: usize = 16;

/// How large a generator's cache of keys and values is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct CacheShape {
    /// Tokens in a block.
    pub block_size: usize,
    /// Blocks.
    pub blocks: usize,
}

impl CacheShape {
    /// Tokens that it holds.
    pub fn tokens(self) -> usize {
        self.block_size * self.blocks
    }
}

/// How numbers are kept in a cache.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum CacheType {
    /// As they were computed.
    #[default]
    F32,
    /// Rounded to half as many bytes; on GPUs if they compute with bf16.
    Bf16,
}

/// How much memory a generator may take.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Room {
    /// Tokens of a sequence at most; the model's own limit if not given.
    pub context: Option<usize>,
    /// Bytes of the cache; chosen by what is free if not given.
    pub cache_bytes: Option<u64>,
    /// How numbers are kept in it.
    pub cache_type: CacheType,
    /// What weights are kept and computed as.
    pub weights: WeightType,
}

/// What the weights of a model are kept as while it generates.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum WeightType {
    /// What the files hold: f32, f16 or bf16. Activations are f32: nothing is rounded, but on GPUs where
    /// all is bf16.
    #[default]
    Auto,
    /// All of them f32.
    F32,
    /// All of them bf16. GPUs, and processors that multiply bf16, round activations too.
    Bf16,
    /// Bytes, with a scale for every 32 of a row; activations likewise. Half of bf16's memory.
    Int8,
}

impl WeightType {
    const NAMES: [(Self, &'static str); 4] =
        [(Self::Auto, "auto"), (Self::F32, "f32"), (Self::Bf16, "bf16"), (Self::Int8, "int8")];
}

impl fmt::Display for WeightType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = Self::NAMES.iter().find(|(kind, _)| kind == self);
        f.write_str(name.map_or("", |(_, name)| name))
    }
}

impl FromStr for WeightType {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let known = Self::NAMES.iter().find(|(_, name)| *name == text);
        known.map(|(kind, _)| *kind).ok_or_else(|| {
            format!("`{text}` is no type of weights; expected `auto`, `f32`, `bf16` or `int8`")
        })
    }
}

/// New tokens of one sequence.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Piece<'a> {
    /// The tokens; at least one.
    pub tokens: &'a [u32],
    /// The position of the first. Everything before it was in earlier steps.
    pub start: usize,
    /// The blocks that hold the sequence, in order, this piece included. Blocks that are shared
    /// with other sequences hold only tokens before `start`.
    pub blocks: &'a [u32],
    /// After which of `tokens` logits are wanted.
    pub logits: Range<usize>,
}

/// A loaded model that computes logits. One owner; not shared between threads.
///
/// It remembers nothing of sequences: which blocks of its cache hold them is its caller's business.
pub trait Generator: Send {
    /// What the model is.
    fn info(&self) -> &ModelInfo;

    /// How large its cache is.
    fn cache(&self) -> CacheShape;

    /// What it keeps in memory; nothing where no model is behind it.
    fn held(&self) -> Held {
        Held::default()
    }

    /// Computes the pieces, each of another sequence, writes their keys and values into their
    /// blocks, and gives the rows `[vocabulary]` of logits that they want, piece by piece.
    ///
    /// # Errors
    /// If an id is outside the vocabulary, a piece reaches beyond the context or its blocks, or the
    /// device fails.
    fn step(&mut self, pieces: &[Piece<'_>]) -> Result<Vec<Vec<f32>>>;

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

/// Whether the model in `dir` is one that we know and whole: its configuration and, where there are
/// weights, the name, shape and place of every tensor. Reads none of them. A binary without an
/// engine knows no model and refuses none.
///
/// # Errors
/// [`Error::BadModel`] naming what is wrong, [`Error::Io`] if a file cannot be read.
pub fn check_model(dir: &Path) -> Result<()> {
    burn::check_model(dir)
}

/// Opens a model in Hugging Face layout to generate with.
///
/// # Errors
/// [`Error::NoBackend`] and [`Error::NoDevice`] if the device is not there, [`Error::BadModel`]
/// naming the file or tensor that is wrong, [`Error::OutOfMemory`] before anything is loaded if
/// model and cache do not fit.
pub fn open_generator(device: Device, dir: &Path, room: Room) -> Result<Box<dyn Generator>> {
    burn::open_generator(&[device], dir, room)
}

/// Opens a model split over several devices, one rank on each; the processor may be there as often
/// as wanted. [`placement`] says over which.
///
/// # Errors
/// As [`open_generator`], and [`Error::CannotSplit`] before anything is loaded.
pub fn open_split_generator(
    devices: &[Device],
    dir: &Path,
    room: Room,
) -> Result<Box<dyn Generator>> {
    burn::open_generator(devices, dir, room)
}

/// Opens a model to train, one rank on each device; the processor may be there as often as wanted.
///
/// # Errors
/// As [`open_generator`], and [`Error::BadInput`] if the devices cannot work together or cannot do
/// what `training` asks for.
pub fn open_trainer(
    devices: &[Device],
    weights: Weights<'_>,
    training: &Training,
) -> Result<Box<dyn Trainer>> {
    burn::open_trainer(devices, weights, training)
}

/// Lets devices exchange numbers whose sums are known, and take one step of training together.
///
/// # Errors
/// If a device is not there or the devices cannot reach each other.
pub fn check_collectives(devices: &[Device]) -> Result<Exchanges> {
    exchange::with_a_step(devices, burn::exchange(devices)?)
}

/// What there is on this machine. Opens nothing that is not there, and never panics.
pub fn facts() -> Facts {
    burn::facts()
}
