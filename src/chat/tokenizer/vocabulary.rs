//! Byte-level BPE tokenizers from `vocab.json` and `merges.txt`, for folders that have no
//! `tokenizer.json`; and the one of models that are nothing but a shape.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{BufRead, BufReader};
use std::path::Path;

use anyhow::{Context, anyhow, bail, ensure};
use serde_json::Value;
use tokenizers::models::bpe::{BPE, Merges, Vocab};
use tokenizers::pre_tokenizers::byte_level::ByteLevel;
use tokenizers::{AddedToken, ModelWrapper, Tokenizer};

use super::train::with_rules;
use super::{SPECIALS, read_json};

/// Reads `vocab.json` and `merges.txt` with the rules that `tokenizer_config.json` names, Qwen's
/// where it names none, and the added tokens of its neighbours under the ids listed there.
pub(super) fn from_merges(dir: &Path) -> anyhow::Result<Tokenizer> {
    let config = read_json(&dir.join("tokenizer_config.json"))?.unwrap_or_default();
    let file = dir.join("vocab.json");
    let named = read_json(&file)?.unwrap_or_default();
    let mut vocab: BTreeMap<String, u32> = serde_json::from_value(named)
        .with_context(|| format!("could not read the vocabulary `{}`", file.display()))?;
    let mut owners: BTreeMap<u32, String> = BTreeMap::new();
    let added = added_tokens(dir, &config)?;
    for (id, token) in &added {
        // Into the vocabulary itself: the crate would number them on its own.
        let before = vocab.insert(token.content.clone(), *id);
        let content = &token.content;
        ensure!(
            before.is_none_or(|before| before == *id),
            "the added token `{content}` has id {id}, but in `{}` it has another",
            file.display()
        );
    }
    for (token, id) in &vocab {
        if let Some(other) = owners.insert(*id, token.clone()) {
            bail!("the tokens `{other}` and `{token}` in `{}` have one id, {id}", dir.display());
        }
    }
    let vocab: Vocab = vocab.into_iter().collect();
    let bpe = BPE::builder()
        .vocab_and_merges(vocab, merges(&dir.join("merges.txt"))?)
        .build()
        .map_err(|error| anyhow!(error))
        .with_context(|| format!("could not read the vocabulary in `{}`", dir.display()))?;
    let mut tokenizer = with_family(ModelWrapper::BPE(bpe), &config)?;
    let added: Vec<AddedToken> = added.into_values().collect();
    tokenizer.add_tokens(&added);
    Ok(tokenizer)
}

/// Pairs to merge, the most urgent first. The first line may say which version wrote them.
fn merges(file: &Path) -> anyhow::Result<Merges> {
    let path = file.display();
    let lines = File::open(file).with_context(|| format!("could not read `{path}`"))?;
    let mut merges = Merges::new();
    for (number, line) in BufReader::new(lines).lines().enumerate() {
        let line = line.with_context(|| format!("could not read `{path}`"))?;
        if line.is_empty() || line.starts_with("#version") {
            continue;
        }
        match line.split_once(' ') {
            Some((left, right)) => merges.push((left.to_owned(), right.to_owned())),
            None => bail!("line {} of `{path}` is no pair of tokens: `{line}`", number + 1),
        }
    }
    Ok(merges)
}

/// The rules of the family that the configuration names.
fn with_family(model: ModelWrapper, config: &Value) -> anyhow::Result<Tokenizer> {
    let class = config["tokenizer_class"].as_str().unwrap_or("Qwen2Tokenizer");
    match class.strip_suffix("Fast").unwrap_or(class) {
        "Qwen2Tokenizer" => with_rules(model),
        "GPT2Tokenizer" => {
            let space = config["add_prefix_space"].as_bool().unwrap_or(false);
            let bytes = ByteLevel::new(space, true, true);
            let mut tokenizer = Tokenizer::new(model);
            tokenizer.with_pre_tokenizer(Some(bytes)).with_decoder(Some(bytes));
            Ok(tokenizer)
        }
        _ => bail!(
            "`{class}` in `tokenizer_config.json` needs a tokenizer.json; vocab.json and merges.txt \
             can be read for Qwen2Tokenizer and GPT2Tokenizer"
        ),
    }
}

/// Added tokens by id: `added_tokens_decoder` of `tokenizer_config.json`, else `added_tokens.json`,
/// whose tokens are special if `special_tokens_map.json` names them or is not there.
fn added_tokens(dir: &Path, config: &Value) -> anyhow::Result<BTreeMap<u32, AddedToken>> {
    if let Some(listed) = config["added_tokens_decoder"].as_object() {
        let one = |(id, token): (&String, &Value)| -> anyhow::Result<(u32, AddedToken)> {
            let wrong = || format!("`added_tokens_decoder` of `tokenizer_config.json`: `{id}`");
            let id = id.parse().with_context(wrong)?;
            let content = token["content"].as_str().with_context(wrong)?;
            let flag = |name: &str, default| token[name].as_bool().unwrap_or(default);
            let special = flag("special", false);
            let token = AddedToken::from(content, special)
                .lstrip(flag("lstrip", false))
                .rstrip(flag("rstrip", false))
                .single_word(flag("single_word", false))
                .normalized(flag("normalized", !special));
            Ok((id, token))
        };
        return listed.iter().map(one).collect();
    }
    let Some(listed) = read_json(&dir.join("added_tokens.json"))? else {
        return Ok(BTreeMap::new());
    };
    let listed: BTreeMap<String, u32> =
        serde_json::from_value(listed).context("could not read `added_tokens.json`")?;
    let map = read_json(&dir.join("special_tokens_map.json"))?;
    let special = |token: &str| map.as_ref().is_none_or(|map| names(map, token));
    let token = |text: String| AddedToken::from(text.as_str(), special(&text)).normalized(false);
    Ok(listed.into_iter().map(|(text, id)| (id, token(text))).collect())
}

/// Whether a special token's name, somewhere in `special_tokens_map.json`, stands for `token`.
fn names(map: &Value, token: &str) -> bool {
    match map {
        Value::String(text) => text == token,
        Value::Array(items) => items.iter().any(|item| names(item, token)),
        Value::Object(fields) => fields.values().any(|value| names(value, token)),
        Value::Null | Value::Bool(_) | Value::Number(_) => false,
    }
}

/// The tokenizer of a model without files, with as many tokens as the model has rows: every byte,
/// the special tokens, and made-up words of four letters and a blank, which no text is encoded to.
pub(super) fn dummy(vocabulary: usize) -> anyhow::Result<Tokenizer> {
    let mut vocab: Vocab = SPECIALS.iter().map(|text| (*text).to_owned()).zip(0..).collect();
    let mut letters: Vec<char> = ByteLevel::alphabet().into_iter().collect();
    letters.sort_unstable();
    for letter in letters {
        let id = u32::try_from(vocab.len())?;
        vocab.insert(letter.to_string(), id);
    }
    while vocab.len() < vocabulary {
        let id = u32::try_from(vocab.len())?;
        vocab.insert(word(id), id);
    }
    let bpe = BPE::builder()
        .vocab_and_merges(vocab, Merges::new())
        .build()
        .map_err(|error| anyhow!(error))
        .context("could not make the tokenizer of a dummy")?;
    let mut tokenizer = with_rules(ModelWrapper::BPE(bpe))?;
    let specials: Vec<AddedToken> =
        SPECIALS.iter().map(|text| AddedToken::from(*text, true)).collect();
    tokenizer.add_special_tokens(&specials);
    Ok(tokenizer)
}

/// A word of four letters after a blank (`Ġ` to a byte-level tokenizer), another for every id below
/// 26^4.
fn word(id: u32) -> String {
    let letter = |place: u32| char::from(b'a' + (id / 26_u32.pow(place) % 26) as u8);
    std::iter::once('Ġ').chain((0..4).rev().map(letter)).collect()
}
