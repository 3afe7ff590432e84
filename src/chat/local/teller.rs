//! One answer while it is being generated: tokens become text, up to the first stop text.

use super::settings::Settings;
use crate::chat::tokenizer::{Detokenizer, Tokenizer};

/// Turns the tokens of one answer into text.
#[derive(Debug)]
pub struct Teller {
    detokenizer: Detokenizer,
    stops: Stops,
    min_tokens: usize,
    tokens: usize,
}

/// What a token has added to the answer.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Told {
    /// Text that is certainly part of it; often less than the token's, while a character or a stop
    /// text may be incomplete.
    pub text: String,
    /// The stop text that has ended it.
    pub stop: Option<String>,
}

impl Teller {
    /// For one answer with these settings.
    pub fn new(settings: &Settings) -> Self {
        Self {
            detokenizer: Detokenizer::new(settings.show_specials),
            stops: Stops::new(&settings.stop, settings.include_stop),
            min_tokens: settings.sampling.min_tokens,
            tokens: 0,
        }
    }

    /// Tokens so far.
    pub fn tokens(&self) -> usize {
        self.tokens
    }

    /// Takes the next token.
    ///
    /// # Errors
    /// If the id is not in the vocabulary.
    pub fn push(&mut self, tokenizer: &Tokenizer, id: u32) -> anyhow::Result<Told> {
        self.tokens += 1;
        let text = self.detokenizer.push(tokenizer, id)?;
        // Text before the least length ends nothing, as an id does not.
        match self.tokens < self.min_tokens {
            true => Ok(Told { text, stop: None }),
            false => Ok(self.stops.push(&text)),
        }
    }

    /// What is left when no more tokens come.
    ///
    /// # Errors
    /// Never after a successful [`Teller::push`].
    pub fn finish(&mut self, tokenizer: &Tokenizer) -> anyhow::Result<Told> {
        let rest = self.detokenizer.finish(tokenizer)?;
        let mut told = self.stops.push(&rest);
        if told.stop.is_none() {
            told.text += &self.stops.finish();
        }
        Ok(told)
    }
}

/// Finds stop texts in text that comes in pieces.
#[derive(Debug)]
struct Stops {
    stops: Vec<String>,
    include: bool,
    /// The longest end of the text that may be the beginning of a stop text.
    held: String,
}

impl Stops {
    fn new(stops: &[String], include: bool) -> Self {
        let stops = stops.iter().filter(|stop| !stop.is_empty()).cloned().collect();
        Self { stops, include, held: String::new() }
    }

    /// The text that is certainly part of the answer, and the stop text if one was reached: of
    /// several the one that begins first, and of those the longest.
    fn push(&mut self, text: &str) -> Told {
        if self.stops.is_empty() {
            return Told { text: text.to_owned(), stop: None };
        }
        self.held += text;
        let found = self.stops.iter().filter_map(|stop| Some((self.held.find(stop)?, stop)));
        let first = found.min_by_key(|(at, stop)| (*at, usize::MAX - stop.len()));
        if let Some((at, stop)) = first {
            let end = if self.include { at + stop.len() } else { at };
            let stop = Some(stop.clone());
            self.held.truncate(end);
            return Told { text: std::mem::take(&mut self.held), stop };
        }
        let begins = |at: &usize| self.stops.iter().any(|stop| stop.starts_with(&self.held[*at..]));
        let open = self.held.char_indices().map(|(at, _)| at).find(begins);
        let certain = open.unwrap_or(self.held.len());
        Told { text: self.held.drain(..certain).collect(), stop: None }
    }

    fn finish(&mut self) -> String {
        std::mem::take(&mut self.held)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::chat::tokenizer::{SPECIALS, Vocabulary};
    use crate::engine::Sampling;

    fn tell(pieces: &[&str], stops: &[&str], include: bool) -> (String, Option<String>) {
        let stops: Vec<String> = stops.iter().map(|stop| (*stop).into()).collect();
        let mut stops = Stops::new(&stops, include);
        let mut text = String::new();
        for piece in pieces {
            let told = stops.push(piece);
            text += &told.text;
            if told.stop.is_some() {
                return (text, told.stop);
            }
        }
        text += &stops.finish();
        (text, None)
    }

    #[track_caller]
    fn check(stops: &[&str], pieces: &[&str], expected: &str, stop: Option<&str>) {
        assert_eq!(tell(pieces, stops, false), (expected.into(), stop.map(str::to_owned)));
        let included = format!("{expected}{}", stop.unwrap_or_default());
        assert_eq!(tell(pieces, stops, true), (included, stop.map(str::to_owned)));
    }

    #[test]
    fn a_stop_over_several_pieces_is_found_and_left_out() {
        check(&["XYZ"], &["a X", "Y", "Z b"], "a ", Some("XYZ"));
        check(&["\n\n", "é!"], &["naïv", "é", "!"], "naïv", Some("é!"));
    }

    #[test]
    fn the_earliest_of_several_ends_the_answer_and_of_those_the_longest() {
        check(&["c", "b"], &["abc"], "a", Some("b"));
        check(&["b", "bc"], &["abc"], "a", Some("bc"));
    }

    #[test]
    fn what_only_began_like_a_stop_is_given_out() {
        check(&["XYZ"], &["a X", "Y b", " XX"], "a XY b XX", None);
        check(&["aab"], &["a", "a", "a", "b"], "a", Some("aab"));
        check(&[], &["a", "b"], "ab", None);
    }

    fn bytes() -> Tokenizer {
        let vocabulary = Vocabulary { size: 264, specials: &SPECIALS, words: &["~a~", "~b~"] };
        Tokenizer::train(["a"].iter(), &vocabulary).unwrap()
    }

    #[test]
    fn before_the_least_length_no_text_ends_the_answer() {
        let tokenizer = bytes();
        let sampling = Sampling { min_tokens: 4, ..Sampling::default() };
        let settings = Settings { sampling, stop: vec!["b".into()], ..Settings::default() };
        let mut teller = Teller::new(&settings);
        let mut text = String::new();
        for id in tokenizer.encode("abcdbe").unwrap() {
            let told = teller.push(&tokenizer, id).unwrap();
            text += &told.text;
            if told.stop.is_some() {
                break;
            }
        }
        assert_eq!((text.as_str(), teller.tokens()), ("abcd", 5));
    }

    proptest! {
        #[test]
        fn a_stop_is_found_wherever_the_tokens_end(
            before in "[aX😀 ]{0,6}", after in "[aXYZ😀]{0,6}", stop in "[XY😀]{1,3}",
        ) {
            let tokenizer = bytes();
            let whole = format!("{before}{stop}{after}");
            let settings = Settings { stop: vec![stop.clone()], ..Settings::default() };
            let mut teller = Teller::new(&settings);
            let mut text = String::new();
            let mut stopped = false;
            for id in tokenizer.encode(&whole).unwrap() {
                let told = teller.push(&tokenizer, id).unwrap();
                text += &told.text;
                stopped = told.stop.is_some();
                if stopped {
                    break;
                }
            }
            prop_assert!(stopped);
            prop_assert_eq!(&text, whole.split(&stop).next().unwrap());
        }
    }
}
