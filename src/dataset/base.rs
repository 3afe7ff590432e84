//! Makes the folder of a model that begins from nothing: tokenizer and `config.json`, no weights.
//!
//! Small Qwen2 models for trying the road. The tokenizer is a byte-level BPE with Qwen's rules,
//! trained on the texts it will meet; what every example contains (tags, fixed prompts) is one token
//! each, so that a model of a million parameters spends its time on the rest. Weights are drawn by
//! `train` from its seed.

use std::fs;
use std::path::Path;

use anyhow::{Context, ensure};
use serde::{Deserialize, Serialize};
use serde_json::json;
use sha2::{Digest, Sha256};

use super::conversation::TAGS;
use super::shards::hex;
use crate::chat::prompt::{Asked, user_prompt};
use crate::chat::template::{Template, TemplateName};
use crate::chat::tokenizer::{ChatFiles, SPECIALS, Tokenizer, Vocabulary};

/// Says what a folder was made from, so that it is made once.
const RECORD: &str = "base.json";

/// What Qwen's template says when a conversation has no system prompt; a token of its own.
const DEFAULT_SYSTEM: &str = "You are Qwen, created by Alibaba Cloud. You are a helpful assistant.";

/// A Qwen2 model to be made.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Base {
    /// Tokens in the vocabulary.
    pub vocabulary: u32,
    /// Width of the residual stream. Qwen2.5-0.5B: 896.
    pub hidden_size: u32,
    /// Width of the gated feed-forward layer. Qwen2.5-0.5B: 4864.
    pub intermediate_size: u32,
    /// Layers. Qwen2.5-0.5B: 24.
    pub layers: u32,
    /// Query heads; must divide `hidden_size`. Qwen2.5-0.5B: 14.
    pub heads: u32,
    /// Key and value heads; must divide `heads`. Qwen2.5-0.5B: 2.
    pub key_value_heads: u32,
    /// Longest sequence in tokens. Qwen2.5-0.5B: 32768.
    pub context: u32,
    /// Base of the rotary angles. Qwen2.5: 1e6; 1e4 suits short contexts.
    pub rope_theta: f64,
    /// Standard deviation of the weights as they are drawn. Qwen2.5: 0.02, which suits widths of
    /// thousands; a narrow model learns faster from larger ones.
    pub initializer_range: f64,
    /// How conversations are written; decides the token that ends an answer.
    pub template: TemplateName,
}

impl Default for Base {
    fn default() -> Self {
        Self {
            vocabulary: 600,
            hidden_size: 128,
            intermediate_size: 384,
            layers: 6,
            heads: 4,
            key_value_heads: 2,
            context: 1_024,
            rope_theta: 10_000.0,
            initializer_range: 0.02,
            template: TemplateName::Qwen25Openthinker,
        }
    }
}

impl Base {
    /// Everything that is wrong with it, all at once; empty if nothing is.
    pub fn problems(&self) -> Vec<String> {
        let divides = |by: u32, what: u32| by > 0 && what > 0 && what.is_multiple_of(by);
        let mut problems = Vec::new();
        if !divides(self.heads, self.hidden_size) || (self.hidden_size / self.heads) % 2 == 1 {
            problems.push(format!(
                "`heads` is {} but must divide `hidden_size` {} into even parts",
                self.heads, self.hidden_size
            ));
        }
        if !divides(self.key_value_heads, self.heads) {
            problems.push(format!(
                "`key_value_heads` is {} but must divide `heads` {}",
                self.key_value_heads, self.heads
            ));
        }
        if self.layers == 0 || self.intermediate_size == 0 || self.context == 0 {
            problems.push("`layers`, `intermediate_size` and `context` must be above 0".into());
        }
        problems
    }

    /// `config.json` as transformers 4 writes it.
    fn config(&self, vocabulary: usize, eos: Option<u32>) -> serde_json::Value {
        json!({
            "architectures": ["Qwen2ForCausalLM"],
            "attention_dropout": 0.0,
            "bos_token_id": null,
            "eos_token_id": eos,
            "hidden_act": "silu",
            "hidden_size": self.hidden_size,
            "initializer_range": self.initializer_range,
            "intermediate_size": self.intermediate_size,
            "max_position_embeddings": self.context,
            "model_type": "qwen2",
            "num_attention_heads": self.heads,
            "num_hidden_layers": self.layers,
            "num_key_value_heads": self.key_value_heads,
            "rms_norm_eps": 1e-6,
            "rope_theta": self.rope_theta,
            "sliding_window": null,
            "tie_word_embeddings": true,
            "torch_dtype": "float32",
            "use_cache": true,
            "use_sliding_window": false,
            "vocab_size": vocabulary,
        })
    }
}

/// Makes the model folder `dir` unless it was made from the same settings and texts before. Says
/// whether it was made. What was trained from another one stays as it is: runs have copies.
///
/// # Errors
/// If the settings contradict each other or a file cannot be written.
pub fn make(dir: &Path, base: &Base, texts: &[String]) -> anyhow::Result<bool> {
    let problems = base.problems();
    ensure!(problems.is_empty(), "{}", problems.join("; "));
    let record = record(base, texts)?;
    if fs::read_to_string(dir.join(RECORD)).is_ok_and(|found| found == record) {
        return Ok(false);
    }
    let template = Template::built_in(base.template);
    let words = words();
    let vocabulary = Vocabulary {
        size: base.vocabulary as usize,
        specials: &SPECIALS,
        words: &words.iter().map(String::as_str).collect::<Vec<_>>(),
    };
    let tokenizer = Tokenizer::train(texts.iter(), &vocabulary)?;
    let eos = template.eos().context("a built-in template has an end token")?;
    let files = ChatFiles { template: template.jinja(), eos, context: base.context as usize };
    let write = || -> anyhow::Result<()> {
        let parent = dir.parent().context("it has no parent folder")?;
        fs::create_dir_all(parent)?;
        let unfinished = tempfile::Builder::new().prefix(".base-").tempdir_in(parent)?;
        tokenizer.save(unfinished.path(), &files)?;
        let config = base.config(tokenizer.vocabulary(), tokenizer.id(eos));
        let config = serde_json::to_string_pretty(&config)?;
        fs::write(unfinished.path().join("config.json"), format!("{config}\n"))?;
        fs::write(unfinished.path().join(RECORD), &record)?;
        if dir.exists() {
            fs::remove_dir_all(dir)?;
        }
        fs::rename(unfinished.path(), dir)?;
        // It is not there any more under this name; nothing is left to delete.
        let _ = unfinished.keep();
        Ok(())
    };
    write().with_context(|| format!("could not make the model folder `{}`", dir.display()))?;
    Ok(true)
}

/// What stands in every example, word for word.
fn words() -> Vec<String> {
    let mut words: Vec<String> = TAGS.iter().map(|tag| (*tag).to_owned()).collect();
    // The same with the line breaks and role names around them: the longest match wins.
    let [thought, end_thought, solution, end] = TAGS;
    words.push(format!("{thought}\n\n"));
    words.push(format!("\n\n{end_thought}\n\n{solution}\n\n"));
    words.push(format!("\n\n{end}"));
    words.push(format!("system\n{DEFAULT_SYSTEM}"));
    words.push(format!("user\n{}", user_prompt(Asked::Math, "")));
    words.push("assistant\n".to_owned());
    words.push("The answer is \\boxed{".to_owned());
    let code = |fn_name| Asked::Code { fn_name, starter_code: None };
    words.push(DEFAULT_SYSTEM.to_owned());
    words.push(user_prompt(Asked::Math, ""));
    words.push(user_prompt(code(None), ""));
    words.push(user_prompt(code(Some("")), ""));
    words
}

fn record(base: &Base, texts: &[String]) -> anyhow::Result<String> {
    let mut hasher = Sha256::new();
    for text in texts {
        hasher.update((text.len() as u64).to_le_bytes());
        hasher.update(text);
    }
    let record = json!({ "base": base, "texts": hex(&hasher.finalize()) });
    Ok(serde_json::to_string_pretty(&record)?)
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::{Base, make};
    use crate::chat::prompt::{Asked, user_prompt};
    use crate::chat::tokenizer::Tokenizer;

    fn texts() -> Vec<String> {
        (0..200).map(|n| format!("Compute {n} + {}. It is {}.", n + 1, 2 * n + 1)).collect()
    }

    #[test]
    fn the_same_texts_make_the_same_files() {
        let dir = tempfile::tempdir().unwrap();
        let (a, b) = (dir.path().join("a"), dir.path().join("b"));
        let base = Base { vocabulary: 320, ..Base::default() };
        assert!(make(&a, &base, &texts()).unwrap());
        assert!(make(&b, &base, &texts()).unwrap());
        for name in ["tokenizer.json", "tokenizer_config.json", "config.json"] {
            assert_eq!(fs::read(a.join(name)).unwrap(), fs::read(b.join(name)).unwrap(), "{name}");
        }
        assert!(!make(&a, &base, &texts()).unwrap());
        let wider = Base { hidden_size: 256, ..base };
        assert!(make(&a, &wider, &texts()).unwrap());
    }

    #[test]
    fn what_stands_in_every_example_is_one_token() {
        let dir = tempfile::tempdir().unwrap();
        let dir = dir.path().join("model");
        make(&dir, &Base { vocabulary: 320, ..Base::default() }, &texts()).unwrap();
        let tokenizer = Tokenizer::open(&dir).unwrap();
        let length = |text: &str| tokenizer.encode(text).unwrap().len();
        assert_eq!(length(&user_prompt(Asked::Math, "")), 1);
        assert_eq!(length(super::DEFAULT_SYSTEM), 1);
        assert_eq!(length("<|begin_of_thought|>"), 1);
        assert_eq!(length("1234"), 4);
    }

    #[test]
    fn shapes_that_do_not_fit_are_refused() {
        let base = Base { heads: 3, key_value_heads: 2, layers: 0, ..Base::default() };
        assert_eq!(base.problems().len(), 3);
        assert!(Base::default().problems().is_empty());
    }
}
