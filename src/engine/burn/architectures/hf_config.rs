//! Hugging Face's `config.json`, in the dialects of transformers 4 and 5.
//!
//! Version 4 writes `rope_theta`, `rope_scaling` and `torch_dtype`; version 5 `rope_parameters`,
//! `dtype` and `layer_types`. Both are read; version 4 is written, because version 5 and older
//! servers read it too. The type of the numbers is the tensors' own business: files say it.

use safetensors::Dtype;
use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::Architecture;
use super::rope::{self, HfRope};
use crate::burn::decoder::DecoderConfig;
use crate::burn::parameters::Extras;

/// Sizes above this are a damaged file: ten times the largest of any published model, and small
/// enough that their products stay far below 2^63.
const SIZE_MAX: usize = 1 << 22;

/// Layers above this are a damaged file; Llama 3.1 405B has 126.
const LAYERS_MAX: usize = 1 << 12;

/// Positions above this are a damaged file.
const CONTEXT_MAX: usize = 1 << 30;

/// Layers before the first that slides, where a file does not say; transformers' default.
const WINDOW_LAYERS: usize = 28;

/// What `config.json` says, as far as a decoder needs it.
#[derive(Debug, Clone, Deserialize)]
pub(crate) struct HfConfig {
    pub(crate) architectures: Option<Vec<String>>,
    pub(crate) model_type: Option<String>,
    vocab_size: usize,
    hidden_size: usize,
    intermediate_size: usize,
    num_hidden_layers: usize,
    num_attention_heads: usize,
    num_key_value_heads: Option<usize>,
    head_dim: Option<usize>,
    max_position_embeddings: usize,
    hidden_act: Option<String>,
    rms_norm_eps: Option<f64>,
    tie_word_embeddings: Option<bool>,
    pub(crate) attention_bias: Option<bool>,
    pub(crate) mlp_bias: Option<bool>,
    use_sliding_window: Option<bool>,
    sliding_window: Option<usize>,
    max_window_layers: Option<usize>,
    layer_types: Option<Vec<String>>,
    initializer_range: Option<f64>,
    rope_theta: Option<f64>,
    rope_scaling: Option<HfRope>,
    rope_parameters: Option<HfRope>,
    quantization_config: Option<Value>,
}

impl HfConfig {
    /// Reads a `config.json`.
    pub(crate) fn parse(value: &Value) -> Result<Self, String> {
        serde_json::from_value(value.clone()).map_err(|error| format!("`config.json`: {error}"))
    }

    /// The decoder of an architecture with these extras; `Err` says what it cannot do.
    pub(super) fn decoder(
        &self,
        architecture: &'static Architecture,
        extras: Extras,
    ) -> Result<DecoderConfig, String> {
        self.check_sizes()?;
        self.check_kind()?;
        let heads = self.num_attention_heads;
        let kv_heads = self.num_key_value_heads.unwrap_or(heads);
        if kv_heads == 0 || !heads.is_multiple_of(kv_heads) {
            return Err(format!(
                "`config.json`: {heads} attention heads cannot share {kv_heads} key-value heads"
            ));
        }
        let head_size =
            self.head_dim.or(architecture.head_size).unwrap_or(self.hidden_size / heads);
        if head_size == 0 || !head_size.is_multiple_of(2) {
            return Err(format!("`config.json`: head size {head_size} is not even"));
        }
        let stated = self.max_position_embeddings;
        let nested = self.rope_scaling.as_ref().or(self.rope_parameters.as_ref());
        // Version 4's `rope_scaling` may stand beside version 5's base.
        let theta = self.rope_parameters.as_ref().and_then(|rope| rope.rope_theta);
        let rope = rope::read(theta.or(self.rope_theta), nested, stated)?;
        Ok(DecoderConfig {
            architecture,
            vocabulary: self.vocab_size,
            context: rope::context(stated, &rope.scaling),
            hidden: self.hidden_size,
            feed_forward: self.intermediate_size,
            layers: self.num_hidden_layers,
            heads,
            kv_heads,
            head_size,
            norm_epsilon: self.rms_norm_eps.unwrap_or(1e-6),
            rope,
            extras,
            tied: self.tie_word_embeddings.unwrap_or(false),
            initializer_range: self.initializer_range.unwrap_or(0.02),
        })
    }

    fn check_sizes(&self) -> Result<(), String> {
        let sizes = [
            ("vocab_size", self.vocab_size, SIZE_MAX),
            ("hidden_size", self.hidden_size, SIZE_MAX),
            ("intermediate_size", self.intermediate_size, SIZE_MAX),
            ("num_hidden_layers", self.num_hidden_layers, LAYERS_MAX),
            ("num_attention_heads", self.num_attention_heads, LAYERS_MAX),
            ("head_dim", self.head_dim.unwrap_or(2), LAYERS_MAX),
            ("max_position_embeddings", self.max_position_embeddings, CONTEXT_MAX),
        ];
        match sizes.into_iter().find(|(_, size, most)| *size == 0 || size > most) {
            Some((name, size, most)) => {
                Err(format!("`config.json`: `{name}` is {size}; it must be between 1 and {most}"))
            }
            None => Ok(()),
        }
    }

    /// Refuses what the decoder would compute wrongly.
    fn check_kind(&self) -> Result<(), String> {
        let activation = self.hidden_act.as_deref().unwrap_or("silu");
        if activation != "silu" {
            return Err(format!(
                "`config.json`: activation `{activation}` is not supported, only `silu`"
            ));
        }
        let epsilon = self.rms_norm_eps.unwrap_or(1e-6);
        if !(epsilon.is_finite() && epsilon >= 0.0) {
            return Err(format!("`config.json`: `rms_norm_eps` is {epsilon}"));
        }
        if let Some(how) = self.quantization_config.as_ref().filter(|how| !how.is_null()) {
            let method = how["quant_method"].as_str().unwrap_or("an unnamed method");
            return Err(format!(
                "`config.json`: the weights are quantised with `{method}`; f32, f16 and bf16 can \
                 be read"
            ));
        }
        if self.slides() {
            return Err("`config.json`: sliding-window attention is not supported".to_owned());
        }
        Ok(())
    }

    /// Whether some layer sees less than the whole context. Most Qwen files name a window and do
    /// not use it.
    fn slides(&self) -> bool {
        let whole = self.sliding_window.is_none_or(|window| window >= self.max_position_embeddings);
        match &self.layer_types {
            Some(types) => types.iter().any(|kind| match kind.as_str() {
                "full_attention" => false,
                "sliding_attention" => !(whole && self.sliding_window.is_some()),
                _ => true,
            }),
            None => {
                let from = self.max_window_layers.unwrap_or(WINDOW_LAYERS);
                self.use_sliding_window.unwrap_or(false) && !whole && from < self.num_hidden_layers
            }
        }
    }
}

/// `config.json` in the dialect of version 4, keeping what the model came with.
pub(crate) fn written(original: &Value, config: &DecoderConfig, dtype: Dtype) -> Value {
    let mut fields = original.as_object().cloned().unwrap_or_else(Map::new);
    // Version 5 keeps YaRN's stated context, which is not the one we work with.
    let stated = fields.get("max_position_embeddings").cloned();
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
        "max_position_embeddings": stated.unwrap_or_else(|| json!(config.context)),
        "hidden_act": "silu",
        "rms_norm_eps": config.norm_epsilon,
        "rope_theta": config.rope.theta,
        "rope_scaling": rope::written(&config.rope.scaling),
        "tie_word_embeddings": config.tied,
        "torch_dtype": if dtype == Dtype::BF16 { "bfloat16" } else { "float32" },
        "use_cache": true,
    });
    fields.extend(known.as_object().cloned().unwrap_or_default());
    if config.architecture.slides {
        fields.insert("use_sliding_window".to_owned(), json!(false));
    }
    if config.head_size * config.heads != config.hidden || config.architecture.head_size.is_some() {
        fields.insert("head_dim".to_owned(), json!(config.head_size));
    }
    Value::Object(fields)
}
