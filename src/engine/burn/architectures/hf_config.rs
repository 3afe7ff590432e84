//! Hugging Face's `config.json`, in the dialects of transformers 4 and 5.
//!
//! Version 4 writes `rope_theta`, `rope_scaling` and `torch_dtype`; version 5 `rope_parameters`,
//! `dtype` and `layer_types`. Both are read; version 4 is written, because version 5 and older
//! servers read it too.

use serde::Deserialize;
use serde_json::{Map, Value, json};

use crate::burn::decoder::DecoderConfig;

/// What `config.json` says, as far as a decoder needs it.
#[derive(Debug, Clone, Deserialize)]
pub(crate) struct HfConfig {
    pub(crate) architectures: Option<Vec<String>>,
    pub(crate) model_type: Option<String>,
    pub(crate) vocab_size: usize,
    pub(crate) hidden_size: usize,
    pub(crate) intermediate_size: usize,
    pub(crate) num_hidden_layers: usize,
    pub(crate) num_attention_heads: usize,
    pub(crate) num_key_value_heads: Option<usize>,
    pub(crate) head_dim: Option<usize>,
    pub(crate) max_position_embeddings: usize,
    pub(crate) hidden_act: Option<String>,
    pub(crate) rms_norm_eps: Option<f64>,
    pub(crate) tie_word_embeddings: Option<bool>,
    pub(crate) use_sliding_window: Option<bool>,
    pub(crate) layer_types: Option<Vec<String>>,
    pub(crate) initializer_range: Option<f64>,
    rope_theta: Option<f64>,
    rope_scaling: Option<Rope>,
    rope_parameters: Option<Rope>,
}

/// Rotary embedding as version 5 nests it, and version 4's `rope_scaling`.
#[derive(Debug, Clone, Deserialize)]
struct Rope {
    rope_theta: Option<f64>,
    #[serde(alias = "type")]
    rope_type: Option<String>,
}

impl HfConfig {
    /// Reads a `config.json`.
    pub(crate) fn parse(value: &Value) -> Result<Self, String> {
        serde_json::from_value(value.clone()).map_err(|error| format!("`config.json`: {error}"))
    }

    /// The base of the rotary frequencies, of either dialect.
    pub(crate) fn rope_theta(&self) -> Result<f64, String> {
        for rope in [&self.rope_scaling, &self.rope_parameters].into_iter().flatten() {
            let kind = rope.rope_type.as_deref().unwrap_or("default");
            if kind != "default" {
                return Err(format!("`config.json`: rotary scaling `{kind}` is not supported"));
            }
        }
        let nested = self.rope_parameters.as_ref().and_then(|rope| rope.rope_theta);
        Ok(nested.or(self.rope_theta).unwrap_or(10_000.0))
    }
}

/// `config.json` in the dialect of version 4, keeping what the model came with.
pub(crate) fn written(original: &Value, config: &DecoderConfig) -> Value {
    let mut fields = original.as_object().cloned().unwrap_or_else(Map::new);
    for newer in ["rope_parameters", "dtype", "layer_types", "transformers_version"] {
        fields.remove(newer);
    }
    let known = json!({
        "architectures": [config.architecture.class],
        "model_type": config.architecture.model_type,
        "vocab_size": config.vocabulary,
        "hidden_size": config.hidden,
        "intermediate_size": config.feed_forward,
        "num_hidden_layers": config.layers,
        "num_attention_heads": config.heads,
        "num_key_value_heads": config.kv_heads,
        "max_position_embeddings": config.context,
        "hidden_act": "silu",
        "rms_norm_eps": config.norm_epsilon,
        "rope_theta": config.rope_theta,
        "rope_scaling": null,
        "tie_word_embeddings": config.tied,
        "use_sliding_window": false,
        "torch_dtype": "float32",
        "use_cache": true,
    });
    fields.extend(known.as_object().cloned().unwrap_or_default());
    if config.head_size * config.heads != config.hidden {
        fields.insert("head_dim".to_owned(), json!(config.head_size));
    }
    Value::Object(fields)
}
