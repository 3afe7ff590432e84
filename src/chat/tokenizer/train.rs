//! Makes byte-level BPE tokenizers with Qwen2's rules from texts.
//!
//! Same texts in any order, same tokenizer: pairs are merged by count, ties by id.

use anyhow::{Context, anyhow, ensure};
use tokenizers::models::bpe::{BPE, BpeTrainer};
use tokenizers::normalizers::unicode::NFC;
use tokenizers::pre_tokenizers::PreTokenizerWrapper;
use tokenizers::pre_tokenizers::byte_level::ByteLevel;
use tokenizers::pre_tokenizers::sequence::Sequence;
use tokenizers::pre_tokenizers::split::{Split, SplitPattern};
use tokenizers::{AddedToken, Model, ModelWrapper, SplitDelimiterBehavior, Tokenizer};

/// How Qwen2 cuts text before merging (`tokenizer.json` of Qwen2.5): words with one leading
/// character, digits one by one, punctuation, line ends, blanks.
const PATTERN: &str = concat!(
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|",
    r"\s*[\r\n]+|\s+(?!\S)|\s+"
);

/// Every byte is a token of its own, so that any text can be written.
const BYTES: usize = 256;

/// What a new vocabulary consists of.
#[derive(Debug, Clone, Copy)]
pub struct Vocabulary<'a> {
    /// Tokens in all: special ones, words, bytes and merges.
    pub size: usize,
    /// Special tokens; they get the first ids and are never read from text.
    pub specials: &'a [&'a str],
    /// Strings that are one token wherever they stand in a text, e.g. the tags around a thought.
    pub words: &'a [&'a str],
}

/// Trains a tokenizer on `texts`.
pub(super) fn train<T: AsRef<str> + Send>(
    texts: impl Iterator<Item = T> + Send,
    vocabulary: &Vocabulary<'_>,
) -> anyhow::Result<Tokenizer> {
    let fixed = vocabulary.specials.len() + vocabulary.words.len() + BYTES;
    ensure!(
        vocabulary.size >= fixed,
        "a vocabulary of {} tokens is too small: bytes and special tokens alone are {fixed}",
        vocabulary.size
    );
    let special = |text: &&str| AddedToken::from(*text, true);
    let mut bpe = BPE::default();
    let mut trainer = BpeTrainer::builder()
        .vocab_size(vocabulary.size - vocabulary.words.len())
        .min_frequency(2)
        .show_progress(false)
        .initial_alphabet(ByteLevel::alphabet().into_iter().collect())
        .special_tokens(vocabulary.specials.iter().map(special).collect())
        .build();
    let mut tokenizer = with_rules(ModelWrapper::BPE(BPE::default()))?;
    // Words are cut out of the texts before pairs are counted: no merge will ever need them.
    let words = words(vocabulary.words);
    tokenizer.add_tokens(&words);
    count(&tokenizer, &mut trainer, texts)?;
    tokenizers::Trainer::train(&trainer, &mut bpe)
        .map_err(|error| anyhow!(error))
        .context("could not train the tokenizer")?;
    let mut tokenizer = with_rules(ModelWrapper::BPE(bpe))?;
    tokenizer.add_special_tokens(&vocabulary.specials.iter().map(special).collect::<Vec<_>>());
    tokenizer.add_tokens(&words);
    Ok(tokenizer)
}

/// Counts the words of `texts` as `tokenizer` cuts them.
fn count<T: AsRef<str> + Send>(
    tokenizer: &Tokenizer,
    trainer: &mut BpeTrainer,
    texts: impl Iterator<Item = T> + Send,
) -> anyhow::Result<()> {
    use tokenizers::{OffsetReferential, OffsetType, PreTokenizer};
    let cut = |text: &str| {
        let mut cut = tokenizer
            .get_added_vocabulary()
            .extract_and_normalize(tokenizer.get_normalizer(), text);
        if let Some(rules) = tokenizer.get_pre_tokenizer() {
            rules.pre_tokenize(&mut cut)?;
        }
        let parts = cut.get_splits(OffsetReferential::Original, OffsetType::Byte);
        let free = parts.into_iter().filter(|(_, _, tokens)| tokens.is_none());
        Ok(free.map(|(part, _, _)| part.to_owned()).collect())
    };
    tokenizers::Trainer::feed(trainer, texts, cut)
        .map_err(|error| anyhow!(error))
        .context("could not count the words of the texts")
}

fn words(words: &[&str]) -> Vec<AddedToken> {
    words.iter().map(|text| AddedToken::from(*text, false).normalized(false)).collect()
}

/// A tokenizer with Qwen2's rules around `model`.
pub(super) fn with_rules(model: ModelWrapper) -> anyhow::Result<Tokenizer> {
    let split =
        Split::new(SplitPattern::Regex(PATTERN.into()), SplitDelimiterBehavior::Isolated, false)
            .map_err(|error| anyhow!(error))
            .context("could not compile Qwen's pattern")?;
    let bytes = ByteLevel::new(false, false, false);
    let rules: Vec<PreTokenizerWrapper> = vec![split.into(), bytes.into()];
    debug_assert!(model.get_vocab_size() < u32::MAX as usize);
    let mut tokenizer = Tokenizer::new(model);
    tokenizer
        .with_normalizer(Some(NFC))
        .with_pre_tokenizer(Some(Sequence::new(rules)))
        .with_post_processor(Some(bytes))
        .with_decoder(Some(bytes));
    Ok(tokenizer)
}
