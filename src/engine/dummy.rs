//! Models that are nothing but a shape: `dummy:qwen2.5-7b` instead of a folder.
//!
//! Random weights of the shape of a published model, for speed and soak tests without its files.
//! `dummy:NAME` draws numbers that bf16 can hold, as published weights are; `dummy:NAME:f32` uses
//! all of f32. Shapes are those of the models' `config.json` on Hugging Face (2025).

use std::path::Path;

use serde_json::{Value, json};

use crate::{Error, Result};

/// What a path begins with that names a dummy.
const PREFIX: &str = "dummy:";

/// A model that is drawn.
#[derive(Debug, Clone, PartialEq)]
pub struct Dummy {
    /// As asked for, e.g. `dummy:qwen2.5-7b`.
    pub name: String,
    /// `config.json` of the model it looks like.
    pub config: Value,
    /// Whether its numbers are those of bf16.
    pub bf16: bool,
}

/// The dummy that a path names; none if it names a folder.
pub fn named(path: &Path) -> Option<Result<Dummy>> {
    let name = path.to_str()?;
    let asked = name.strip_prefix(PREFIX)?;
    let (shape, kind) = asked.split_once(':').unwrap_or((asked, "bf16"));
    let found = SHAPES.iter().find(|known| known.name.eq_ignore_ascii_case(shape));
    Some(match (found, kind) {
        (Some(shape), "bf16" | "f32") => {
            Ok(Dummy { name: name.to_owned(), config: shape.config(), bf16: kind == "bf16" })
        }
        (Some(_), _) => {
            Err(bad(name, format!("`{kind}` is no type of its numbers; known: bf16, f32")))
        }
        (None, _) => {
            let known: Vec<&str> = SHAPES.iter().map(|shape| shape.name).collect();
            Err(bad(name, format!("`{shape}` is no known shape; known: {}", known.join(", "))))
        }
    })
}

fn bad(name: &str, message: String) -> Error {
    Error::BadModel { path: name.to_owned(), message }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Family {
    Qwen2,
    Llama,
    Qwen3,
}

struct Shape {
    name: &'static str,
    family: Family,
    layers: u32,
    hidden: u32,
    feed_forward: u32,
    heads: u32,
    kv_heads: u32,
    head_size: u32,
    vocabulary: u32,
    tied: bool,
}

/// Every shape that can be drawn.
const SHAPES: &[Shape] = &[
    shape("tiny", Family::Qwen2, [2, 64, 192, 512], [4, 2, 16], true),
    shape("qwen2.5-0.5b", Family::Qwen2, [24, 896, 4864, 151_936], [14, 2, 64], true),
    shape("qwen2.5-1.5b", Family::Qwen2, [28, 1536, 8960, 151_936], [12, 2, 128], true),
    shape("qwen2.5-3b", Family::Qwen2, [36, 2048, 11_008, 151_936], [16, 2, 128], true),
    shape("qwen2.5-7b", Family::Qwen2, [28, 3584, 18_944, 152_064], [28, 4, 128], false),
    shape("qwen2.5-14b", Family::Qwen2, [48, 5120, 13_824, 152_064], [40, 8, 128], false),
    shape("qwen2.5-32b", Family::Qwen2, [64, 5120, 27_648, 152_064], [40, 8, 128], false),
    shape("qwen2.5-72b", Family::Qwen2, [80, 8192, 29_568, 152_064], [64, 8, 128], false),
    shape("llama-3.2-1b", Family::Llama, [16, 2048, 8192, 128_256], [32, 8, 64], true),
    shape("llama-3.2-3b", Family::Llama, [28, 3072, 8192, 128_256], [24, 8, 128], true),
    shape("llama-3.1-8b", Family::Llama, [32, 4096, 14_336, 128_256], [32, 8, 128], false),
    shape("llama-3.1-70b", Family::Llama, [80, 8192, 28_672, 128_256], [64, 8, 128], false),
    shape("qwen3-0.6b", Family::Qwen3, [28, 1024, 3072, 151_936], [16, 8, 128], true),
    shape("qwen3-1.7b", Family::Qwen3, [28, 2048, 6144, 151_936], [16, 8, 128], true),
    shape("qwen3-4b", Family::Qwen3, [36, 2560, 9728, 151_936], [32, 8, 128], true),
    shape("qwen3-8b", Family::Qwen3, [36, 4096, 12_288, 151_936], [32, 8, 128], false),
    shape("qwen3-14b", Family::Qwen3, [40, 5120, 17_408, 151_936], [40, 8, 128], false),
    shape("qwen3-32b", Family::Qwen3, [64, 5120, 25_600, 151_936], [64, 8, 128], false),
];

/// `trunk` is layers, hidden size, feed-forward size and vocabulary; `attention` is heads,
/// key-value heads and head size. `tied` says whether the head is the embedding.
const fn shape(
    name: &'static str,
    family: Family,
    trunk: [u32; 4],
    attention: [u32; 3],
    tied: bool,
) -> Shape {
    let ([layers, hidden, feed_forward, vocabulary], [heads, kv_heads, head_size]) =
        (trunk, attention);
    Shape {
        name,
        family,
        layers,
        hidden,
        feed_forward,
        heads,
        kv_heads,
        head_size,
        vocabulary,
        tied,
    }
}

impl Shape {
    fn config(&self) -> Value {
        let mut config = json!({
            "vocab_size": self.vocabulary,
            "hidden_size": self.hidden,
            "intermediate_size": self.feed_forward,
            "num_hidden_layers": self.layers,
            "num_attention_heads": self.heads,
            "num_key_value_heads": self.kv_heads,
            "head_dim": self.head_size,
            "hidden_act": "silu",
            "tie_word_embeddings": self.tied,
            "initializer_range": 0.02,
            "torch_dtype": "bfloat16",
        });
        let family = match self.family {
            Family::Qwen2 => json!({
                "architectures": ["Qwen2ForCausalLM"], "model_type": "qwen2",
                "max_position_embeddings": 32_768, "rms_norm_eps": 1e-6, "rope_theta": 1e6,
            }),
            Family::Qwen3 => json!({
                "architectures": ["Qwen3ForCausalLM"], "model_type": "qwen3",
                "max_position_embeddings": 40_960, "rms_norm_eps": 1e-6, "rope_theta": 1e6,
            }),
            Family::Llama => json!({
                "architectures": ["LlamaForCausalLM"], "model_type": "llama",
                "max_position_embeddings": 131_072, "rms_norm_eps": 1e-5, "rope_theta": 5e5,
                "rope_scaling": {
                    // The small ones of 3.2 are stretched further than 3.1's.
                    "rope_type": "llama3", "factor": if self.tied { 32.0 } else { 8.0 },
                    "low_freq_factor": 1.0, "high_freq_factor": 4.0,
                    "original_max_position_embeddings": 8192,
                },
            }),
        };
        if let (Some(fields), Value::Object(family)) = (config.as_object_mut(), family) {
            fields.extend(family);
        }
        config
    }
}
