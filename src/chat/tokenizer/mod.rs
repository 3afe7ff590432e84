//! Text to token ids and back, over the `tokenizers` crate.
//!
//! Text is never trusted: `<|im_end|>` typed by a user is encoded as the characters it consists of.
//! Only [`Tokenizer::encode_template`] reads special tokens, and only `chat::template` and the
//! `tokenize` verb call it. No tokens are ever added on our own: a beginning-of-text token, where a
//! model wants one, is in its chat template.

mod bytes;
mod largest;
mod stream;
mod train;
mod vocabulary;

use std::path::Path;

use anyhow::{Context, anyhow, ensure};
use serde_json::Value;
use tokenizers::AddedToken;

use crate::engine::dummy;
use crate::hint::Hinted;

pub use largest::largest_id;
pub use stream::Detokenizer;
pub use train::Vocabulary;

/// Ends a text; also the padding token.
pub const END_OF_TEXT: &str = "<|endoftext|>";

/// Opens a turn.
pub const IM_START: &str = "<|im_start|>";

/// Ends a turn.
pub const IM_END: &str = "<|im_end|>";

/// The special tokens of our own vocabularies, in the order of their ids.
pub const SPECIALS: [&str; 3] = [END_OF_TEXT, IM_START, IM_END];

/// Files that make up a tokenizer in Hugging Face layout. A model has some of them.
const FILES: [&str; 7] = [
    "tokenizer.json",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "added_tokens.json",
    "vocab.json",
    "merges.txt",
    "chat_template.jinja",
];

/// A noncharacter put into special tokens that stand in untrusted text, so that they survive
/// a template as text. Taken out again before encoding.
const MARK: char = '\u{FDD0}';

/// Turns text into token ids and back.
pub struct Tokenizer {
    /// Set to read special tokens in text as text.
    inner: tokenizers::Tokenizer,
    /// Special tokens, longest first, so that the longest match wins.
    specials: Vec<(String, u32)>,
}

impl Tokenizer {
    /// Opens the tokenizer of the model in `dir`: `tokenizer.json`, else `vocab.json` and
    /// `merges.txt` with Qwen's or GPT-2's rules. A dummy (`engine::dummy`) has one of bytes.
    ///
    /// # Errors
    /// If there is none, or a file cannot be read.
    pub fn open(dir: &Path) -> anyhow::Result<Self> {
        if let Some(dummy) = dummy::named(dir) {
            let rows = dummy?.config["vocab_size"].as_u64().unwrap_or(0);
            return Ok(Self::new(vocabulary::dummy(rows as usize)?));
        }
        let file = dir.join("tokenizer.json");
        if file.is_file() {
            let inner = tokenizers::Tokenizer::from_file(&file)
                .map_err(|error| anyhow!(error))
                .with_context(|| format!("could not read the tokenizer `{}`", file.display()))?;
            return Ok(Self::new(inner));
        }
        if dir.join("vocab.json").is_file() && dir.join("merges.txt").is_file() {
            return Ok(Self::new(vocabulary::from_merges(dir)?));
        }
        Err(Hinted::new(
            format!("there is no tokenizer in `{}`", dir.display()),
            "a model folder needs tokenizer.json (or vocab.json and merges.txt) beside its weights",
        )
        .into())
    }

    /// Trains a byte-level BPE on `texts` with Qwen's rules (NFC, digits one by one).
    ///
    /// # Errors
    /// If the vocabulary is too small for the bytes and tokens it must hold.
    pub fn train<T: AsRef<str> + Send>(
        texts: impl Iterator<Item = T> + Send,
        vocabulary: &Vocabulary<'_>,
    ) -> anyhow::Result<Self> {
        Ok(Self::new(train::train(texts, vocabulary)?))
    }

    fn new(mut inner: tokenizers::Tokenizer) -> Self {
        // Truncation and padding of the file are somebody's training settings, not the tokenizer's.
        let _ = inner.with_truncation(None);
        inner.with_padding(None);
        inner.set_encode_special_tokens(true);
        let mut specials: Vec<(String, u32)> = inner
            .get_added_tokens_decoder()
            .into_iter()
            .filter(|(_, token)| token.special)
            .map(|(id, token)| (token.content, id))
            .collect();
        specials.sort_by(|a, b| b.0.len().cmp(&a.0.len()).then_with(|| a.1.cmp(&b.1)));
        Self { inner, specials }
    }

    /// Ids of `text`; special tokens in it are ordinary text.
    ///
    /// # Errors
    /// If the tokenizer has no token for a part of the text (byte-level ones always have).
    pub fn encode(&self, text: &str) -> anyhow::Result<Vec<u32>> {
        if text.is_empty() {
            return Ok(Vec::new());
        }
        let encoding = self
            .inner
            .encode_fast(text, false)
            .map_err(|error| anyhow!(error))
            .context("could not tokenize the text")?;
        Ok(encoding.get_ids().to_vec())
    }

    /// As [`Tokenizer::encode`], with what the model's tokenizer puts around every text: a
    /// beginning-of-text token for Llama, nothing for Qwen. For prompts that no template wrote.
    ///
    /// # Errors
    /// As [`Tokenizer::encode`].
    pub fn encode_completion(&self, text: &str) -> anyhow::Result<Vec<u32>> {
        let encoding = self
            .inner
            .encode_fast(text, true)
            .map_err(|error| anyhow!(error))
            .context("could not tokenize the text")?;
        Ok(encoding.get_ids().to_vec())
    }

    /// Ids of `text`, where special tokens are special unless [`Tokenizer::defuse`] marked them.
    ///
    /// # Errors
    /// As [`Tokenizer::encode`].
    pub fn encode_template(&self, text: &str) -> anyhow::Result<Vec<u32>> {
        let mut ids = Vec::new();
        let mut rest = text;
        while !rest.is_empty() {
            let Some((at, token, id)) = self.first_special(rest) else { break };
            ids.extend(self.encode_unmarked(&rest[..at])?);
            ids.push(id);
            rest = &rest[at + token.len()..];
        }
        ids.extend(self.encode_unmarked(rest)?);
        Ok(ids)
    }

    fn encode_unmarked(&self, text: &str) -> anyhow::Result<Vec<u32>> {
        if text.contains(MARK) { self.encode(&text.replace(MARK, "")) } else { self.encode(text) }
    }

    /// The leftmost special token in `text`; of several at one place the longest.
    fn first_special<'a>(&'a self, text: &str) -> Option<(usize, &'a str, u32)> {
        self.specials
            .iter()
            .filter_map(|(token, id)| text.find(token.as_str()).map(|at| (at, token.as_str(), *id)))
            .min_by_key(|(at, token, _)| (*at, usize::MAX - token.len()))
    }

    /// `text` with a mark in every special token, so that a template can carry it as text.
    pub fn defuse(&self, text: &str) -> String {
        let mut safe = text.replace(MARK, "");
        for (token, _) in &self.specials {
            if !safe.contains(token.as_str()) {
                continue;
            }
            let first = token.chars().next().map_or(0, char::len_utf8);
            safe = safe.replace(token, &format!("{}{MARK}{}", &token[..first], &token[first..]));
        }
        safe
    }

    /// The text of `ids`; special tokens are left out unless `specials` is set.
    ///
    /// # Errors
    /// If an id is not in the vocabulary.
    pub fn decode(&self, ids: &[u32], specials: bool) -> anyhow::Result<String> {
        self.inner
            .decode(ids, !specials)
            .map_err(|error| anyhow!(error))
            .context("could not turn token ids into text")
    }

    /// The id of the token that a text of its own begins with, where the tokenizer's files say that
    /// there is one (Llama has, Qwen has not).
    pub fn first(&self) -> Option<u32> {
        self.encode_completion("").ok()?.first().copied()
    }

    /// The id of one token.
    pub fn id(&self, token: &str) -> Option<u32> {
        self.inner.token_to_id(token)
    }

    /// One more than the highest id. A model's own vocabulary may be padded beyond it.
    pub fn vocabulary(&self) -> usize {
        self.inner.get_vocab(true).into_values().max().map_or(0, |id| id as usize + 1)
    }

    /// Writes `tokenizer.json`, `tokenizer_config.json` and `special_tokens_map.json` into `dir`.
    /// `eos` ends an answer; `context` is the longest sequence the model takes.
    ///
    /// # Errors
    /// If `eos` is no token, or a file cannot be written.
    pub fn save(&self, dir: &Path, chat: &ChatFiles<'_>) -> anyhow::Result<()> {
        ensure!(self.id(chat.eos).is_some(), "`{}` is no token of this tokenizer", chat.eos);
        let json = self
            .inner
            .to_string(true)
            .map_err(|error| anyhow!(error))
            .context("could not write the tokenizer as JSON")?;
        write(&dir.join("tokenizer.json"), &json)?;
        let config = serde_json::to_string_pretty(&self.config(chat))?;
        write(&dir.join("tokenizer_config.json"), &format!("{config}\n"))?;
        let map = serde_json::json!({ "eos_token": chat.eos, "pad_token": END_OF_TEXT });
        let map = serde_json::to_string_pretty(&map)?;
        write(&dir.join("special_tokens_map.json"), &format!("{map}\n"))
    }

    /// What `tokenizer_config.json` says, as transformers writes it.
    fn config(&self, chat: &ChatFiles<'_>) -> Value {
        let mut added: Vec<(u32, AddedToken)> =
            self.inner.get_added_tokens_decoder().into_iter().collect();
        added.sort_by_key(|(id, _)| *id);
        let added: serde_json::Map<String, Value> = added
            .into_iter()
            .map(|(id, token)| {
                let token = serde_json::json!({
                    "content": token.content, "lstrip": token.lstrip,
                    "normalized": token.normalized, "rstrip": token.rstrip,
                    "single_word": token.single_word, "special": token.special,
                });
                (id.to_string(), token)
            })
            .collect();
        serde_json::json!({
            "add_bos_token": false, "add_prefix_space": false, "added_tokens_decoder": added,
            "bos_token": null, "chat_template": chat.template,
            "clean_up_tokenization_spaces": false, "eos_token": chat.eos, "errors": "replace",
            "model_max_length": chat.context, "pad_token": END_OF_TEXT,
            "split_special_tokens": false, "tokenizer_class": "PreTrainedTokenizerFast",
            "unk_token": null,
        })
    }
}

/// What [`Tokenizer::save`] writes beside the vocabulary.
#[derive(Debug, Clone, Copy)]
pub struct ChatFiles<'a> {
    /// The chat template, Jinja as transformers reads it.
    pub template: &'a str,
    /// The token that ends an answer.
    pub eos: &'a str,
    /// Positions the model was made for.
    pub context: usize,
}

/// Copies the tokenizer's files from one model folder to another.
///
/// # Errors
/// If there are none, or one cannot be copied.
pub fn copy_files(from: &Path, to: &Path) -> anyhow::Result<()> {
    let mut copied = 0;
    for name in FILES {
        let file = from.join(name);
        if file.is_file() {
            std::fs::copy(&file, to.join(name)).with_context(|| {
                format!("could not copy `{}` to `{}`", file.display(), to.display())
            })?;
            copied += 1;
        }
    }
    ensure!(copied > 0, "there is no tokenizer in `{}`", from.display());
    Ok(())
}

/// The JSON in `file`; none if there is no such file.
pub(crate) fn read_json(file: &Path) -> anyhow::Result<Option<Value>> {
    if !file.is_file() {
        return Ok(None);
    }
    let text = std::fs::read_to_string(file)
        .with_context(|| format!("could not read `{}`", file.display()))?;
    let value = serde_json::from_str(&text)
        .with_context(|| format!("could not read `{}`", file.display()))?;
    Ok(Some(value))
}

fn write(file: &Path, text: &str) -> anyhow::Result<()> {
    std::fs::write(file, text).with_context(|| format!("could not write `{}`", file.display()))
}

#[cfg(test)]
mod tests;
