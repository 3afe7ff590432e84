//! Models on disk, in Hugging Face layout: what a folder holds, read and written.
//!
//! Everything is checked against the configuration before any tensor is read: names, shapes,
//! types, and that each file is as long as its header says.

use std::path::Path;

use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use safetensors::Dtype;
use serde_json::{Value, json};

use super::architectures::{self, HfConfig};
use super::decoder::DecoderConfig;
use super::files::{self, Bits};
use super::parameters::{FileTensor, Start, file_tensors, parameters};
use super::shards::{INDEX, Shards, WEIGHTS, check, read_json};
use super::source::Source;
use crate::dummy;
use crate::{Error, ModelInfo, Result, memory};

const CONFIG: &str = "config.json";
const GENERATION_CONFIG: &str = "generation_config.json";

/// A model on the host: its configuration and its parameters in the order of `parameters`.
pub(crate) struct Model {
    pub(crate) config: DecoderConfig,
    pub(crate) info: ModelInfo,
    /// `config.json` and `generation_config.json` as they came, to be written again.
    pub(crate) original: Value,
    pub(crate) generation: Value,
    pub(crate) values: Vec<Vec<f32>>,
}

impl Model {
    /// Reads a folder, or draws the dummy that is named instead of one; all values as f32.
    pub(crate) fn load(dir: &Path) -> Result<Self> {
        let (mut model, source) = Self::open(dir)?;
        memory::require(model.info.parameters * size_of::<f32>() as u64)?;
        model.values = source.values(&model.config).map_err(|why| bad(dir, why))?;
        Ok(model)
    }

    /// The same without the values, and where they come from.
    pub(crate) fn open(dir: &Path) -> Result<(Self, Source)> {
        if let Some(dummy) = dummy::named(dir) {
            let dummy = dummy?;
            let model = Self::empty(&dummy.config, Value::Null);
            return Ok((model.map_err(|why| bad(dir, why))?, Source::Drawn(dummy)));
        }
        let original = read_json(dir, CONFIG)?;
        let generation = match dir.join(GENERATION_CONFIG).exists() {
            true => read_json(dir, GENERATION_CONFIG)?,
            false => Value::Null,
        };
        let model = Self::empty(&original, generation).map_err(|why| bad(dir, why))?;
        let shards = Shards::open(dir)?;
        let found = shards.parse().map_err(|why| bad(dir, why))?;
        check(&file_tensors(&model.config), model.config.tied, &found)
            .map_err(|why| bad(dir, why))?;
        drop(found);
        Ok((model, Source::Files(shards)))
    }

    /// Whether a folder holds a model that we know, whole or without any weights yet.
    pub(crate) fn check(dir: &Path) -> Result<()> {
        let is_there = |name: &str| dir.join(name).exists();
        if dummy::named(dir).is_some() || is_there(WEIGHTS) || is_there(INDEX) {
            return Self::open(dir).map(drop);
        }
        let original = read_json(dir, CONFIG)?;
        Self::empty(&original, Value::Null).map(drop).map_err(|why| bad(dir, why))
    }

    /// Random weights for a configuration: linear weights and embedding normal with
    /// `initializer_range`, biases 0, norms 1, as transformers draws them.
    pub(crate) fn random(config: &Value, seed: u64) -> Result<Self> {
        let bad = |why| bad(Path::new(CONFIG), why);
        let mut model = Self::empty(config, Value::Null).map_err(bad)?;
        memory::require(model.info.parameters * size_of::<f32>() as u64)?;
        model.values = allocate(&model.config);
        let mut random = ChaCha8Rng::seed_from_u64(seed);
        for tensor in file_tensors(&model.config) {
            let target = &mut model.values[tensor.parameter][tensor.elements.clone()];
            match tensor.role.start() {
                Start::One => target.fill(1.0),
                Start::Zero => target.fill(0.0),
                Start::Random => {
                    target.fill_with(|| normal(&mut random, model.config.initializer_range));
                }
            }
        }
        Ok(model)
    }

    /// A configuration without its weights.
    pub(crate) fn empty(original: &Value, generation: Value) -> Result<Self, String> {
        let hf = HfConfig::parse(original)?;
        let config = architectures::decoder(&hf)?;
        let sizes = parameters(&config);
        let info = ModelInfo {
            vocabulary: config.vocabulary,
            context: config.context,
            parameters: sizes.iter().map(|parameter| parameter.length() as u64).sum(),
            eos_ids: eos_ids(&generation).or_else(|| eos_ids(original)).unwrap_or_default(),
        };
        Ok(Self { config, info, original: original.clone(), generation, values: Vec::new() })
    }

    /// Writes `config.json`, `generation_config.json` and the weights in files of at most
    /// `file_bytes`, with an index of them. Each file is there whole or not at all, the index last.
    /// Weights come from `bits`, tensor by tensor.
    pub(crate) fn save<'a>(
        &self,
        dir: &Path,
        file_bytes: usize,
        bits: impl Fn(&FileTensor) -> Bits<'a>,
    ) -> Result<()> {
        files::create_dir(dir)?;
        let named = |tensor: FileTensor| files::NamedTensor {
            bits: bits(&tensor),
            name: tensor.name,
            shape: tensor.shape,
        };
        let tensors: Vec<files::NamedTensor<'_>> =
            file_tensors(&self.config).into_iter().map(named).collect();
        let bytes: usize = tensors.iter().map(|tensor| tensor.bits.bytes()).sum();
        let dtype = tensors.first().map_or(Dtype::F32, |tensor| tensor.bits.dtype());
        let (shards, mut map) = (in_files(tensors, file_bytes), serde_json::Map::new());
        for (at, tensors) in shards.iter().enumerate() {
            let name = match shards.len() {
                1 => WEIGHTS.to_owned(),
                files => format!("model-{:05}-of-{files:05}.safetensors", at + 1),
            };
            files::write_safetensors(&dir.join(&name), tensors, &[("format", "pt")])?;
            map.extend(tensors.iter().map(|tensor| (tensor.name.clone(), json!(name))));
        }
        let config = architectures::written(&self.original, &self.config, dtype);
        files::write_json(&dir.join(CONFIG), &config)?;
        files::write_json(&dir.join(GENERATION_CONFIG), &self.generation_config())?;
        let index = json!({"metadata": {"total_size": bytes}, "weight_map": map});
        files::write_json(&dir.join(INDEX), &index)
    }

    /// The weights that are here, as f32.
    #[cfg(test)]
    pub(crate) fn bits(&self, tensor: &FileTensor) -> Bits<'_> {
        Bits::F32(&self.values[tensor.parameter][tensor.elements.clone()])
    }

    /// The one that the model came with, or at least the ids that end an answer.
    fn generation_config(&self) -> Value {
        if self.generation.is_object() {
            return self.generation.clone();
        }
        let mut fields = serde_json::Map::new();
        for key in ["bos_token_id", "pad_token_id"] {
            if let Some(id) = self.original.get(key).filter(|id| !id.is_null()) {
                fields.insert(key.to_owned(), id.clone());
            }
        }
        fields.insert("eos_token_id".to_owned(), json!(self.info.eos_ids));
        Value::Object(fields)
    }
}

/// Bytes of a file of weights, as transformers cuts them.
pub(crate) const FILE_BYTES: usize = 5_000_000_000;

/// Tensors in order, as many in a file as it may have; at least one.
fn in_files(tensors: Vec<files::NamedTensor<'_>>, most: usize) -> Vec<Vec<files::NamedTensor<'_>>> {
    let (mut all, mut bytes) = (Vec::new(), 0);
    for tensor in tensors {
        let own = tensor.bits.bytes();
        if all.is_empty() || bytes + own > most {
            (bytes, _) = (0, all.push(Vec::new()));
        }
        bytes += own;
        if let Some(last) = all.last_mut() {
            last.push(tensor);
        }
    }
    all
}

fn allocate(config: &DecoderConfig) -> Vec<Vec<f32>> {
    parameters(config).iter().map(|parameter| vec![0.0; parameter.length()]).collect()
}

/// A normal number by Box and Muller.
fn normal(random: &mut ChaCha8Rng, deviation: f64) -> f32 {
    let radius = (-2.0 * (1.0 - random.random::<f64>()).ln()).sqrt();
    let angle = std::f64::consts::TAU * random.random::<f64>();
    (deviation * radius * angle.cos()) as f32
}

fn eos_ids(config: &Value) -> Option<Vec<u32>> {
    let id = |value: &Value| value.as_u64().and_then(|id| u32::try_from(id).ok());
    let value = config.get("eos_token_id")?;
    match value.as_array() {
        Some(ids) => Some(ids.iter().filter_map(id).collect()),
        None => id(value).map(|id| vec![id]),
    }
}

pub(crate) fn convert(data: &[u8], dtype: Dtype, target: &mut [f32]) -> Result<(), String> {
    let halves = || data.chunks_exact(2).map(|bytes| [bytes[0], bytes[1]]);
    if dtype == Dtype::F32 {
        for (value, b) in target.iter_mut().zip(data.chunks_exact(4)) {
            *value = f32::from_le_bytes([b[0], b[1], b[2], b[3]]);
        }
    } else if dtype == Dtype::F16 {
        let values = halves().map(half::f16::from_le_bytes);
        target.iter_mut().zip(values).for_each(|(target, value)| *target = value.to_f32());
    } else if dtype == Dtype::BF16 {
        let values = halves().map(half::bf16::from_le_bytes);
        target.iter_mut().zip(values).for_each(|(target, value)| *target = value.to_f32());
    } else {
        return Err(format!("tensors of type {dtype:?} cannot be read"));
    }
    Ok(())
}

pub(crate) fn bad(dir: &Path, message: impl Into<String>) -> Error {
    Error::BadModel { path: dir.display().to_string(), message: message.into() }
}
