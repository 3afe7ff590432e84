//! The shape of a model, as far as bytes and operations depend on it.

use std::path::Path;

use serde_json::Value;

/// The shape of a decoder.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Shape {
    pub(super) hidden: u64,
    pub(super) feed_forward: u64,
    pub(super) layers: u64,
    pub(super) heads: u64,
    pub(super) key_heads: u64,
    pub(super) head: u64,
    pub(super) vocabulary: u64,
    pub(super) tied: bool,
    /// Whether queries, keys and values have biases.
    pub(super) biases: bool,
    /// Whether queries and keys have norms.
    pub(super) norms: bool,
}

impl Shape {
    const fn qwen([hidden, feed_forward, layers]: [u64; 3], [heads, key_heads]: [u64; 2]) -> Self {
        let small = hidden <= 2_048;
        Self {
            hidden,
            feed_forward,
            layers,
            heads,
            key_heads,
            head: hidden / heads,
            vocabulary: if small { 151_936 } else { 152_064 },
            tied: small,
            biases: true,
            norms: false,
        }
    }

    /// Numbers in the matrices of a layer.
    pub(super) fn layer(&self) -> u64 {
        self.qkv() * self.hidden + self.heads * self.head * self.hidden + self.mlp()
    }

    /// Numbers in the feed-forward part of a layer.
    pub(super) fn mlp(&self) -> u64 {
        3 * self.hidden * self.feed_forward
    }

    /// Queries, keys and values of a token.
    pub(super) fn qkv(&self) -> u64 {
        (self.heads + 2 * self.key_heads) * self.head
    }

    /// Numbers in the output layer, or the embedding.
    pub(super) fn table(&self) -> u64 {
        self.vocabulary * self.hidden
    }

    /// Trainable numbers.
    pub(super) fn parameters(&self) -> u64 {
        let bias = if self.biases { self.qkv() } else { 0 };
        let norms = if self.norms { 2 * self.head } else { 0 };
        let layer = self.layer() + bias + norms + 2 * self.hidden;
        let tables = if self.tied { 1 } else { 2 };
        self.layers * layer + tables * self.table() + self.hidden
    }

    /// Useful operations of forward and backward per token: 6 per number it is multiplied with, and
    /// causal attention over `attended` tokens.
    pub(super) fn flops_per_token(&self, attended: f64) -> f64 {
        let linear = 6 * (self.layers * self.layer() + self.table());
        linear as f64 + 6.0 * (self.layers * self.heads * self.head) as f64 * attended
    }

    /// What a `config.json` says.
    fn of_config(config: &Value) -> Option<Self> {
        let number = |key: &str| config.get(key).and_then(Value::as_u64).filter(|n| *n > 0);
        let (hidden, heads) = (number("hidden_size")?, number("num_attention_heads")?);
        let family = config.get("model_type").and_then(Value::as_str).unwrap_or_default();
        Some(Self {
            hidden,
            feed_forward: number("intermediate_size")?,
            layers: number("num_hidden_layers")?,
            heads,
            key_heads: number("num_key_value_heads").unwrap_or(heads),
            head: number("head_dim").unwrap_or(hidden / heads),
            vocabulary: number("vocab_size")?,
            tied: config.get("tie_word_embeddings").and_then(Value::as_bool).unwrap_or(false),
            biases: family == "qwen2",
            norms: family == "qwen3",
        })
    }

    /// The model that `train.model` names: a folder with a `config.json`, or a published one.
    pub(super) fn of_model(model: &str) -> Option<Self> {
        if let Some(config) = config_json(model) {
            return Self::of_config(&config);
        }
        let name = model.rsplit('/').next().unwrap_or(model).to_lowercase();
        let name = name.strip_prefix("dummy:").unwrap_or(&name);
        let name = name.strip_suffix("-instruct").unwrap_or(name);
        QWEN.iter().find(|(known, _)| *known == name).map(|(_, shape)| *shape)
    }
}

/// The `config.json` of a model that is a folder.
pub(super) fn config_json(model: &str) -> Option<Value> {
    let text = std::fs::read_to_string(Path::new(model).join("config.json")).ok()?;
    serde_json::from_str(&text).ok()
}

/// Shapes of Qwen2.5, which the published recipes begin with (`config.json` on Hugging Face).
const QWEN: [(&str, Shape); 7] = [
    ("qwen2.5-0.5b", Shape::qwen([896, 4_864, 24], [14, 2])),
    ("qwen2.5-1.5b", Shape::qwen([1_536, 8_960, 28], [12, 2])),
    ("qwen2.5-3b", Shape::qwen([2_048, 11_008, 36], [16, 2])),
    ("qwen2.5-7b", Shape::qwen([3_584, 18_944, 28], [28, 4])),
    ("qwen2.5-14b", Shape::qwen([5_120, 13_824, 48], [40, 8])),
    ("qwen2.5-32b", Shape::qwen([5_120, 27_648, 64], [40, 8])),
    ("qwen2.5-72b", Shape::qwen([8_192, 29_568, 80], [64, 8])),
];

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::Shape;

    #[test]
    fn published_models_have_as_many_parameters_as_hugging_face_counts() {
        let models = [
            ("Qwen/Qwen2.5-0.5B", 494_032_768),
            ("Qwen/Qwen2.5-1.5B-Instruct", 1_543_714_304),
            ("Qwen/Qwen2.5-3B", 3_085_938_688),
            ("Qwen/Qwen2.5-7B-Instruct", 7_615_616_512),
            ("dummy:qwen2.5-14b", 14_770_033_664),
            ("Qwen/Qwen2.5-32B-Instruct", 32_763_876_352),
        ];
        for (model, parameters) in models {
            assert_eq!(Shape::of_model(model).unwrap().parameters(), parameters, "{model}");
        }
        assert_eq!(Shape::of_model("my-model"), None);
    }

    #[test]
    fn the_floor_of_the_7b_model_is_that_of_the_literature() {
        let flops = Shape::of_model("Qwen2.5-7B").unwrap().flops_per_token(9_600.0);
        assert!((flops / 1e9 - 48.2).abs() < 0.1, "{flops}");
    }

    #[test]
    fn a_folder_is_read() {
        let dir = tempfile::tempdir().unwrap();
        let config = json!({
            "model_type": "qwen2", "hidden_size": 896, "intermediate_size": 4864,
            "num_hidden_layers": 24, "num_attention_heads": 14, "num_key_value_heads": 2,
            "vocab_size": 151_936, "tie_word_embeddings": true,
        });
        std::fs::write(dir.path().join("config.json"), config.to_string()).unwrap();
        let read = Shape::of_model(dir.path().to_str().unwrap());
        assert_eq!(read, Shape::of_model("Qwen2.5-0.5B"));
    }
}
