//! Text of a growing sequence of tokens, piece by piece.
//!
//! A character may be spread over several tokens: it is given out when it is complete. All pieces
//! together are what decoding the whole sequence gives.

use super::Tokenizer;

/// Stands for bytes that are no character, or not one yet.
const REPLACEMENT: char = '\u{FFFD}';

/// Tokens that are decoded together at most. A character has four bytes, so only a model that writes
/// nothing but broken bytes gets here; then they are given out as they are.
const WINDOW: usize = 256;

/// Decodes one sequence as it grows.
#[derive(Debug, Default)]
pub struct Detokenizer {
    /// Tokens that are decoded together with the next ones: those whose text is not complete, and
    /// before them the last complete group, for decoders that look back.
    window: Vec<u32>,
    /// How many of them are complete.
    complete: usize,
    /// Bytes of the window's text that were given out.
    given: usize,
    /// Whether special tokens are part of the text.
    specials: bool,
}

impl Detokenizer {
    /// One that shows special tokens, or leaves them out as the default does.
    pub fn new(specials: bool) -> Self {
        Self { specials, ..Self::default() }
    }

    /// Takes the next token and gives the text that is certain now; often one word, sometimes
    /// nothing.
    ///
    /// # Errors
    /// If the id is not in the vocabulary.
    pub fn push(&mut self, tokenizer: &Tokenizer, id: u32) -> anyhow::Result<String> {
        self.window.push(id);
        let text = tokenizer.decode(&self.window, self.specials)?;
        let certain = match text.strip_suffix(REPLACEMENT) {
            Some(before) if self.window.len() < WINDOW => before.len(),
            Some(_) | None => text.len(),
        };
        let piece = text.get(self.given..certain).unwrap_or_default().to_owned();
        self.given = self.given.max(certain);
        if certain == text.len() {
            self.window.drain(..self.complete);
            self.complete = self.window.len();
            self.given = tokenizer.decode(&self.window, self.specials)?.len();
        }
        Ok(piece)
    }

    /// What is left when no more tokens come. A character that was cut in two is no text and left
    /// out; bytes that never are one are given as they are decoded.
    ///
    /// # Errors
    /// Never after a successful [`Detokenizer::push`].
    pub fn finish(&mut self, tokenizer: &Tokenizer) -> anyhow::Result<String> {
        let text = tokenizer.decode(&self.window, self.specials)?;
        let is_cut = tokenizer.is_cut(&self.window);
        let end = match text.strip_suffix(REPLACEMENT) {
            Some(before) if is_cut => before.len(),
            Some(_) | None => text.len(),
        };
        let piece = text.get(self.given..end).unwrap_or_default().to_owned();
        self.given = text.len();
        Ok(piece)
    }
}
