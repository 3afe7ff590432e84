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
}

impl Detokenizer {
    /// Takes the next token and gives the text that is certain now; often one word, sometimes
    /// nothing.
    ///
    /// # Errors
    /// If the id is not in the vocabulary.
    pub fn push(&mut self, tokenizer: &Tokenizer, id: u32) -> anyhow::Result<String> {
        self.window.push(id);
        let text = tokenizer.decode(&self.window, false)?;
        let certain = match text.strip_suffix(REPLACEMENT) {
            Some(before) if self.window.len() < WINDOW => before.len(),
            Some(_) | None => text.len(),
        };
        let piece = text.get(self.given..certain).unwrap_or_default().to_owned();
        self.given = self.given.max(certain);
        if certain == text.len() {
            self.window.drain(..self.complete);
            self.complete = self.window.len();
            self.given = tokenizer.decode(&self.window, false)?.len();
        }
        Ok(piece)
    }

    /// What is left when no more tokens come: a character that was cut in two.
    ///
    /// # Errors
    /// Never after a successful [`Detokenizer::push`].
    pub fn finish(&mut self, tokenizer: &Tokenizer) -> anyhow::Result<String> {
        let text = tokenizer.decode(&self.window, false)?;
        let piece = text.get(self.given..).unwrap_or_default().to_owned();
        self.given = text.len();
        Ok(piece)
    }
}
