//! The shape of a model: where it is written.

use std::path::Path;

use serde_json::{Value, json};

pub(super) use crate::train::Shape;

/// The model that `train.model` names: a folder with a `config.json`, or a published one.
pub(super) fn of_model(model: &str) -> Option<Shape> {
    if let Some(config) = config_json(model) {
        return Shape::parse(&config).ok().filter(|shape| shape.parameters() > 0);
    }
    let name = model.rsplit('/').next().unwrap_or(model).to_lowercase();
    let name = name.strip_prefix("dummy:").unwrap_or(&name);
    let name = name.strip_suffix("-instruct").unwrap_or(name);
    let (_, published) = QWEN.iter().find(|(known, _)| *known == name)?;
    Shape::parse(&qwen(*published)).ok()
}

/// The `config.json` of a model that is a folder.
pub(super) fn config_json(model: &str) -> Option<Value> {
    let text = std::fs::read_to_string(Path::new(model).join("config.json")).ok()?;
    serde_json::from_str(&text).ok()
}

/// Numbers in the feed-forward part of a layer.
pub(super) fn mlp(shape: &Shape) -> u64 {
    3 * shape.hidden * shape.feed_forward
}

/// Queries, keys and values of a token.
pub(super) fn qkv(shape: &Shape) -> u64 {
    shape.query + 2 * shape.key
}

/// Qwen2.5 models, which the published recipes begin with: hidden size, feed-forward size, layers, heads
/// and heads of the keys (`config.json` on Hugging Face).
const QWEN: [(&str, [u64; 5]); 7] = [
    ("qwen2.5-0.5b", [896, 4_864, 24, 14, 2]),
    ("qwen2.5-1.5b", [1_536, 8_960, 28, 12, 2]),
    ("qwen2.5-3b", [2_048, 11_008, 36, 16, 2]),
    ("qwen2.5-7b", [3_584, 18_944, 28, 28, 4]),
    ("qwen2.5-14b", [5_120, 13_824, 48, 40, 8]),
    ("qwen2.5-32b", [5_120, 27_648, 64, 40, 8]),
    ("qwen2.5-72b", [8_192, 29_568, 80, 64, 8]),
];

fn qwen([hidden, feed_forward, layers, heads, key_heads]: [u64; 5]) -> Value {
    let small = hidden <= 2_048;
    json!({
        "model_type": "qwen2", "hidden_size": hidden, "intermediate_size": feed_forward,
        "num_hidden_layers": layers, "num_attention_heads": heads,
        "num_key_value_heads": key_heads, "tie_word_embeddings": small,
        "vocab_size": if small { 151_936 } else { 152_064 },
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::of_model;

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
            assert_eq!(of_model(model).unwrap().parameters(), parameters, "{model}");
        }
        assert_eq!(of_model("my-model"), None);
    }

    #[test]
    fn the_floor_of_the_7b_model_is_that_of_the_literature() {
        let flops = of_model("Qwen2.5-7B").unwrap().operations(1.0, 9_600.0);
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
        let read = of_model(dir.path().to_str().unwrap());
        assert_eq!(read, of_model("Qwen2.5-0.5B"));
    }
}
