//! How a model's authors sample from it: `generation_config.json`.
//!
//! Used where a request does not say; `do_sample` is not looked at, as vLLM does not: whoever wants
//! the best token asks for temperature 0. The ids that end an answer are the engine's to read.

use std::path::Path;

use anyhow::{Context, ensure};
use serde::{Deserialize, Serialize};

use super::tokenizer::read_json;
use crate::engine::dummy;

/// Sampling that a request may leave out. What the file leaves out is none.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Defaults {
    /// 0 is greedy.
    pub temperature: Option<f32>,
    /// Probability mass to sample from.
    pub top_p: Option<f32>,
    /// Tokens to sample from; 0 or -1 is all.
    pub top_k: Option<i64>,
    /// Smallest probability relative to the best.
    pub min_p: Option<f32>,
    /// Divides the logits of what was said.
    pub repetition_penalty: Option<f32>,
    /// Tokens to generate at most.
    pub max_new_tokens: Option<u32>,
}

impl Defaults {
    /// Those of the model in `dir`; none where it says nothing.
    ///
    /// # Errors
    /// If the file cannot be read, or says what cannot be.
    pub fn open(dir: &Path) -> anyhow::Result<Self> {
        if dummy::named(dir).is_some() {
            return Ok(Self::default());
        }
        let file = dir.join("generation_config.json");
        let Some(value) = read_json(&file)? else { return Ok(Self::default()) };
        let read = || -> anyhow::Result<Self> {
            let defaults: Self = serde_json::from_value(value)?;
            defaults.check()?;
            Ok(defaults)
        };
        read().with_context(|| format!("could not use `{}`", file.display()))
    }

    fn check(&self) -> anyhow::Result<()> {
        let bounds = [
            ("temperature", self.temperature, 0.0, f32::MAX),
            ("top_p", self.top_p, 0.0, 1.0),
            ("min_p", self.min_p, 0.0, 1.0),
            ("repetition_penalty", self.repetition_penalty, f32::MIN_POSITIVE, f32::MAX),
        ];
        for (name, value, low, high) in bounds {
            let Some(value) = value else { continue };
            ensure!(
                (low..=high).contains(&value),
                "`{name}` is {value}; it must be between {low} and {high}"
            );
        }
        let top_k = self.top_k.unwrap_or(0);
        ensure!(top_k >= -1, "`top_k` is {top_k}; it must be -1 (all) or above");
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::Defaults;

    #[track_caller]
    fn check(text: &str) -> anyhow::Result<Defaults> {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("generation_config.json"), text).unwrap();
        Defaults::open(dir.path())
    }

    #[test]
    fn qwens_file_is_understood() {
        let text = r#"{"bos_token_id": 151643, "do_sample": true, "eos_token_id": [151645, 151643],
            "repetition_penalty": 1.05, "temperature": 0.7, "top_p": 0.8, "top_k": 20,
            "transformers_version": "4.37.0"}"#;
        let expected = Defaults {
            temperature: Some(0.7),
            top_p: Some(0.8),
            top_k: Some(20),
            repetition_penalty: Some(1.05),
            ..Defaults::default()
        };
        assert_eq!(check(text).unwrap(), expected);
    }

    #[test]
    fn a_model_that_says_nothing_has_no_defaults() {
        assert_eq!(check(r#"{"eos_token_id": 2, "top_k": null}"#).unwrap(), Defaults::default());
        let empty = tempfile::tempdir().unwrap();
        assert_eq!(Defaults::open(empty.path()).unwrap(), Defaults::default());
    }

    #[test]
    fn what_cannot_be_is_named() {
        for (text, said) in [
            (r#"{"top_p": 1.5}"#, "`top_p` is 1.5; it must be between 0 and 1"),
            (r#"{"temperature": -1}"#, "`temperature` is -1"),
            (r#"{"repetition_penalty": 0}"#, "`repetition_penalty` is 0"),
            (r#"{"top_k": -2}"#, "`top_k` is -2"),
            (r#"{"temperature": "hot"}"#, "invalid type"),
        ] {
            let error = format!("{:#}", check(text).unwrap_err());
            assert!(error.contains(said) && error.contains("generation_config.json"), "{error}");
        }
    }
}
