//! Models on disk, in Hugging Face layout: what a folder holds, read and written.
//!
//! Everything is checked against the configuration before any tensor is read: names, shapes,
//! types, and that each file is as long as its header says.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File};
use std::path::Path;

use memmap2::Mmap;
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use safetensors::{Dtype, SafeTensors, tensor::TensorInfo};
use serde_json::{Value, json};

use super::architectures::{self, HfConfig};
use super::decoder::DecoderConfig;
use super::files;
use super::parameters::{FileTensor, Role, file_tensors, parameters};
use crate::{Error, ModelInfo, Result};

const CONFIG: &str = "config.json";
const GENERATION_CONFIG: &str = "generation_config.json";
const WEIGHTS: &str = "model.safetensors";
const INDEX: &str = "model.safetensors.index.json";

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
    /// Reads a folder.
    pub(crate) fn load(dir: &Path) -> Result<Self> {
        let original = read_json(dir, CONFIG)?;
        let generation = match dir.join(GENERATION_CONFIG).exists() {
            true => read_json(dir, GENERATION_CONFIG)?,
            false => Value::Null,
        };
        let mut model = Self::empty(&original, generation).map_err(|why| bad(dir, why))?;
        let shards = Shards::open(dir)?;
        let found = shards.parse(dir)?;
        let tensors = file_tensors(&model.config);
        check_names(&model.config, &tensors, &found).map_err(|why| bad(dir, why))?;
        model.values = allocate(&model.config);
        for tensor in &tensors {
            let (data, dtype) = found[&tensor.name].bytes();
            let target = &mut model.values[tensor.parameter][tensor.elements.clone()];
            convert(data, dtype, target).map_err(|why| bad(dir, why))?;
        }
        Ok(model)
    }

    /// Random weights for a configuration: linear weights and embedding normal with
    /// `initializer_range`, biases 0, norms 1, as transformers draws them.
    pub(crate) fn random(config: &Value, seed: u64) -> Result<Self> {
        let bad = |why| bad(Path::new(CONFIG), why);
        let mut model = Self::empty(config, Value::Null).map_err(bad)?;
        model.values = allocate(&model.config);
        let mut random = ChaCha8Rng::seed_from_u64(seed);
        for tensor in file_tensors(&model.config) {
            let target = &mut model.values[tensor.parameter][tensor.elements.clone()];
            match tensor.role {
                Role::AttentionNorm | Role::FeedForwardNorm | Role::FinalNorm => target.fill(1.0),
                Role::QueryBias | Role::KeyBias | Role::ValueBias => target.fill(0.0),
                Role::Embedding
                | Role::QueryWeight
                | Role::KeyWeight
                | Role::ValueWeight
                | Role::OutputWeight
                | Role::GateWeight
                | Role::UpWeight
                | Role::DownWeight
                | Role::Head => {
                    target.fill_with(|| normal(&mut random, model.config.initializer_range));
                }
            }
        }
        Ok(model)
    }

    fn empty(original: &Value, generation: Value) -> Result<Self, String> {
        let hf = HfConfig::parse(original)?;
        let architecture = architectures::find(&hf)?;
        let config = (architecture.config)(&hf)?;
        let sizes = parameters(&config);
        let info = ModelInfo {
            vocabulary: config.vocabulary,
            context: config.context,
            parameters: sizes.iter().map(|p| (p.shape[0] * p.shape[1]) as u64).sum(),
            eos_ids: eos_ids(&generation).or_else(|| eos_ids(original)).unwrap_or_default(),
        };
        Ok(Self { config, info, original: original.clone(), generation, values: Vec::new() })
    }

    /// Writes `config.json`, `generation_config.json` and `model.safetensors`, each whole or not.
    pub(crate) fn save(&self, dir: &Path) -> Result<()> {
        files::create_dir(dir)?;
        let tensors: Vec<files::NamedTensor<'_>> = file_tensors(&self.config)
            .into_iter()
            .map(|tensor| files::NamedTensor {
                values: &self.values[tensor.parameter][tensor.elements.clone()],
                name: tensor.name,
                shape: tensor.shape,
            })
            .collect();
        files::write_safetensors(&dir.join(WEIGHTS), &tensors, &[("format", "pt")])?;
        let config = architectures::written(&self.original, &self.config);
        files::write_json(&dir.join(CONFIG), &config)?;
        files::write_json(&dir.join(GENERATION_CONFIG), &self.generation_config())
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

fn allocate(config: &DecoderConfig) -> Vec<Vec<f32>> {
    parameters(config).iter().map(|p| vec![0.0; p.shape[0] * p.shape[1]]).collect()
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

/// The mapped weight files of a folder.
struct Shards {
    files: Vec<(String, Mmap)>,
    /// Which file holds which tensor, if an index says so.
    index: Option<BTreeMap<String, String>>,
}

impl Shards {
    fn open(dir: &Path) -> Result<Self> {
        let index = match dir.join(INDEX).exists() {
            true => Some(weight_map(&read_json(dir, INDEX)?).map_err(|why| bad(dir, why))?),
            false => None,
        };
        let names: BTreeSet<String> = match &index {
            Some(map) => map.values().cloned().collect(),
            None => BTreeSet::from([WEIGHTS.to_owned()]),
        };
        let missing = names.iter().find(|name| !dir.join(name).is_file());
        if let Some(name) = missing {
            let why = match index {
                Some(_) => format!("`{INDEX}` names `{name}`, which is not there"),
                None => format!("neither `{WEIGHTS}` nor `{INDEX}` is there"),
            };
            return Err(bad(dir, why));
        }
        let open = |name: String| -> Result<(String, Mmap)> {
            let path = dir.join(&name);
            let file = File::open(&path).map_err(|source| files::io(&path, source))?;
            Ok((name, map(&file).map_err(|source| files::io(&path, source))?))
        };
        let files = names.into_iter().map(open).collect::<Result<_>>()?;
        Ok(Self { files, index })
    }

    /// Every tensor by name; checks that files are whole and that the index tells the truth.
    fn parse(&self, dir: &Path) -> Result<BTreeMap<String, Found<'_>>> {
        let mut found = BTreeMap::new();
        for (file, bytes) in &self.files {
            let whole = |error| bad(dir, format!("`{file}` is broken or cut off: {error}"));
            let (header, metadata) = SafeTensors::read_metadata(bytes).map_err(whole)?;
            for (name, info) in metadata.tensors() {
                let elsewhere = self.index.as_ref().and_then(|index| index.get(&name));
                if elsewhere.is_some_and(|other| other != file) {
                    continue;
                }
                let data = &bytes[8 + header..];
                found.insert(name, Found { info: info.clone(), data });
            }
        }
        for (name, file) in self.index.iter().flatten() {
            if !found.contains_key(name) {
                return Err(bad(
                    dir,
                    format!("`{INDEX}` puts `{name}` in `{file}`, which lacks it"),
                ));
            }
        }
        Ok(found)
    }
}

#[expect(unsafe_code, reason = "a memory map is the only way not to read weights twice")]
fn map(file: &File) -> std::io::Result<Mmap> {
    // SAFETY: the map is read-only and lives for the load; nobody else is meant to write a model
    // in place (we rename), and a file cut off meanwhile ends the process, not memory safety.
    unsafe { Mmap::map(file) }
}

/// A tensor in a mapped file.
struct Found<'a> {
    info: TensorInfo,
    data: &'a [u8],
}

impl Found<'_> {
    fn bytes(&self) -> (&[u8], Dtype) {
        let (start, end) = self.info.data_offsets;
        (&self.data[start..end], self.info.dtype)
    }
}

fn weight_map(index: &Value) -> Result<BTreeMap<String, String>, String> {
    let map = index.get("weight_map").ok_or(format!("`{INDEX}` has no `weight_map`"))?;
    serde_json::from_value(map.clone()).map_err(|error| format!("`{INDEX}`: {error}"))
}

fn check_names(
    config: &DecoderConfig,
    wanted: &[FileTensor],
    found: &BTreeMap<String, Found<'_>>,
) -> Result<(), String> {
    for tensor in wanted {
        let name = &tensor.name;
        let Some(file) = found.get(name) else {
            return Err(format!("tensor `{name}` is missing"));
        };
        if file.info.shape != tensor.shape {
            let (has, wants) = (&file.info.shape, &tensor.shape);
            return Err(format!("tensor `{name}` has shape {has:?} but the config says {wants:?}"));
        }
        if !matches!(file.info.dtype, Dtype::F32 | Dtype::F16 | Dtype::BF16) {
            let dtype = file.info.dtype;
            return Err(format!("tensor `{name}` is {dtype:?}; f32, f16 and bf16 can be read"));
        }
    }
    let names: BTreeSet<&str> = wanted.iter().map(|tensor| tensor.name.as_str()).collect();
    // Some writers keep the tied head as a second copy, and old ones the rotary frequencies.
    let harmless = |name: &str| {
        (config.tied && name == "lm_head.weight") || name.ends_with("rotary_emb.inv_freq")
    };
    match found.keys().find(|name| !names.contains(name.as_str()) && !harmless(name)) {
        Some(name) => Err(format!("tensor `{name}` is not part of the architecture")),
        None => Ok(()),
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

fn read_json(dir: &Path, name: &str) -> Result<Value> {
    let path = dir.join(name);
    let text = match fs::read(&path) {
        Ok(text) => text,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            return Err(bad(dir, format!("`{name}` is not there")));
        }
        Err(source) => return Err(files::io(&path, source)),
    };
    serde_json::from_slice(&text).map_err(|error| bad(dir, format!("`{name}`: {error}")))
}

pub(crate) fn bad(dir: &Path, message: impl Into<String>) -> Error {
    Error::BadModel { path: dir.display().to_string(), message: message.into() }
}
