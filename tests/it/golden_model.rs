//! Model folders for the golden tests: weights by the formula of `scripts/reference_tensors.py`,
//! written in every way that such folders are found.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use safetensors::tensor::{Dtype, SafeTensors, TensorView};
use serde::Deserialize;
use serde_json::{Value, json};

/// What the script wrote down about a model.
#[derive(Deserialize)]
pub(crate) struct Reference {
    /// `config.json` as transformers 5 writes it.
    pub(crate) config: Value,
    seed: u64,
    /// The shape of each tensor in the files.
    tensors: BTreeMap<String, Vec<usize>>,
    pub(crate) prompt_tokens: usize,
    /// The prompt and what follows it greedily.
    pub(crate) ids: Vec<u32>,
    /// What follows, as text.
    pub(crate) text: String,
}

/// A tensor as bytes: what it is called, its type, its shape.
pub(crate) struct Tensor {
    pub(crate) name: String,
    pub(crate) dtype: Dtype,
    pub(crate) shape: Vec<usize>,
    pub(crate) bytes: Vec<u8>,
}

/// The folder of what the script wrote.
pub(crate) fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/it/golden/parity")
}

impl Reference {
    pub(crate) fn read(name: &str) -> Self {
        let text = fs::read_to_string(folder().join(format!("{name}.json"))).unwrap();
        serde_json::from_str(&text).unwrap()
    }

    /// The type that the script rounded the weights to.
    pub(crate) fn dtype(&self) -> Dtype {
        match self.config["dtype"].as_str() {
            Some("bfloat16") => Dtype::BF16,
            Some("float16") => Dtype::F16,
            _ => Dtype::F32,
        }
    }

    /// Its tensors in the type that the script rounded them to.
    pub(crate) fn tensors(&self) -> Vec<Tensor> {
        let dtype = self.dtype();
        let one = |(name, shape): (&String, &Vec<usize>)| Tensor {
            name: name.clone(),
            dtype,
            shape: shape.clone(),
            bytes: formula(name, shape, self.seed).flat_map(|value| bytes(value, dtype)).collect(),
        };
        self.tensors.iter().map(one).collect()
    }

    /// The configuration as transformers 4 writes it.
    pub(crate) fn version_4(&self) -> Value {
        let mut config = self.config.clone();
        let fields = config.as_object_mut().unwrap();
        let mut rope = fields.remove("rope_parameters").unwrap();
        let dtype = fields.remove("dtype").unwrap();
        fields.remove("layer_types");
        let theta = rope.as_object_mut().unwrap().remove("rope_theta").unwrap();
        fields.insert("rope_theta".into(), theta);
        let plain = rope["rope_type"] == "default";
        fields.insert("rope_scaling".into(), if plain { Value::Null } else { rope });
        fields.insert("torch_dtype".into(), dtype);
        config
    }

    /// Writes the folder with the configuration of version 5 and one file of weights.
    pub(crate) fn write(&self, dir: &Path) {
        fs::create_dir_all(dir).unwrap();
        fs::write(dir.join("config.json"), self.config.to_string()).unwrap();
        write_tensors(&dir.join("model.safetensors"), &self.tensors());
    }
}

/// Writes one file of weights.
pub(crate) fn write_tensors(path: &Path, tensors: &[Tensor]) {
    let views = tensors.iter().map(|tensor| {
        let view = TensorView::new(tensor.dtype, tensor.shape.clone(), &tensor.bytes);
        (tensor.name.clone(), view.unwrap())
    });
    let metadata = [("format".to_owned(), "pt".to_owned())].into();
    fs::write(path, safetensors::serialize(views, Some(metadata)).unwrap()).unwrap();
}

/// Writes `tensors` over several files with an index, one after the other in turn.
pub(crate) fn write_shards(dir: &Path, tensors: Vec<Tensor>, count: usize) {
    let name = |number: usize| format!("model-{:05}-of-{count:05}.safetensors", number + 1);
    let mut shards: Vec<Vec<Tensor>> = (0..count).map(|_| Vec::new()).collect();
    let mut map = BTreeMap::new();
    for (number, tensor) in tensors.into_iter().enumerate() {
        map.insert(tensor.name.clone(), name(number % count));
        shards[number % count].push(tensor);
    }
    for (number, shard) in shards.iter().enumerate() {
        write_tensors(&dir.join(name(number)), shard);
    }
    let index = json!({ "metadata": { "total_size": 0 }, "weight_map": map });
    fs::write(dir.join("model.safetensors.index.json"), index.to_string()).unwrap();
}

/// The tensor `logits` of a file.
pub(crate) fn logits(path: &Path) -> Vec<f32> {
    let file = fs::read(path).unwrap();
    let tensors = SafeTensors::deserialize(&file).unwrap();
    let data = tensors.tensor("logits").unwrap();
    data.data().chunks_exact(4).map(|b| f32::from_le_bytes(b.try_into().unwrap())).collect()
}

fn bytes(value: f32, dtype: Dtype) -> Vec<u8> {
    if dtype == Dtype::BF16 {
        half::bf16::from_f32(value).to_le_bytes().to_vec()
    } else if dtype == Dtype::F16 {
        half::f16::from_f32(value).to_le_bytes().to_vec()
    } else {
        value.to_le_bytes().to_vec()
    }
}

/// Uniform numbers from a tensor's name: FNV-1a of the name into SplitMix64.
fn formula(name: &str, shape: &[usize], seed: u64) -> impl Iterator<Item = f32> {
    let state = name.bytes().fold(0xcbf2_9ce4_8422_2325 ^ seed, |state: u64, byte| {
        (state ^ u64::from(byte)).wrapping_mul(0x100_0000_01b3)
    });
    let scale = match shape {
        [_, inputs] => (3.0 / (*inputs as f64).sqrt()) as f32,
        _ => 0.0,
    };
    let (norm, bias) = (name.ends_with("norm.weight"), name.ends_with("bias"));
    let embedding = name == "model.embed_tokens.weight";
    (1..=shape.iter().product::<usize>() as u64).map(move |step| {
        let z = state.wrapping_add(step.wrapping_mul(0x9e37_79b9_7f4a_7c15));
        let z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        let unit = ((z ^ (z >> 31)) >> 40) as f32 / 8_388_608.0 - 1.0;
        match (norm, bias, embedding) {
            (true, _, _) => 1.0 + unit * 0.4,
            (_, true, _) => unit * 0.5,
            (_, _, true) => unit,
            _ => unit * scale,
        }
    })
}
