//! One answer while it is being generated: tokens become text, text becomes thought and solution.

use std::sync::mpsc::TryRecvError;
use std::time::Duration;

use anyhow::{anyhow, bail};

use super::is_late;
use crate::chat::Answer;
use crate::chat::thought::{Part, Splitter, joined};
use crate::chat::tokenizer::{Detokenizer, Tokenizer};
use crate::engine::FinishReason;
use crate::engine::worker::{Event, Events};

/// What comes next.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Piece {
    /// More of the answer; may be empty while a character or a tag is incomplete.
    Parts(Vec<Part>),
    /// The end, with what was held back until then.
    End(Vec<Part>, FinishReason),
}

/// One answer while it is being generated. Dropping it cancels.
pub struct Stream<'a> {
    tokenizer: &'a Tokenizer,
    events: Events,
    /// An event that [`Stream::wait`] has taken.
    next: Option<Event>,
    detokenizer: Detokenizer,
    stops: Stops,
    splitter: Splitter,
    /// The text so far, tags included.
    text: String,
    parts: Vec<Part>,
    prompt_tokens: usize,
    completion_tokens: usize,
}

impl<'a> Stream<'a> {
    pub(super) fn new(
        tokenizer: &'a Tokenizer,
        events: Events,
        prompt_tokens: usize,
        stop: &[String],
    ) -> Self {
        Self {
            tokenizer,
            events,
            next: None,
            detokenizer: Detokenizer::default(),
            stops: Stops::new(stop),
            splitter: Splitter::default(),
            text: String::new(),
            parts: Vec::new(),
            prompt_tokens,
            completion_tokens: 0,
        }
    }

    /// Tokens of the prompt.
    pub fn prompt_tokens(&self) -> usize {
        self.prompt_tokens
    }

    /// Tokens generated so far.
    pub fn completion_tokens(&self) -> usize {
        self.completion_tokens
    }

    /// Waits for the next piece.
    ///
    /// # Errors
    /// If the engine failed or has stopped.
    pub fn next_piece(&mut self) -> anyhow::Result<Piece> {
        let event = match self.next.take() {
            Some(event) => event,
            None => self.events.recv().map_err(|_| anyhow!("the engine has stopped"))?,
        };
        self.take(event)
    }

    /// Waits at most `timeout` for something to poll.
    pub(super) fn wait(&mut self, timeout: Duration) {
        if self.next.is_none() {
            self.next = match self.events.recv_timeout(timeout) {
                Ok(event) => Some(event),
                Err(error) if is_late(error) => None,
                Err(_) => Some(Event::Failed("the engine has stopped".into())),
            };
        }
    }

    /// Takes everything that has come; the answer, if that was the end.
    pub(super) fn poll(&mut self) -> Option<anyhow::Result<Answer>> {
        loop {
            let event = match self.next.take().map_or_else(|| self.events.try_recv(), Ok) {
                Ok(event) => event,
                Err(TryRecvError::Empty) => return None,
                Err(TryRecvError::Disconnected) => {
                    return Some(Err(anyhow!("the engine has stopped")));
                }
            };
            match self.take(event) {
                Ok(Piece::Parts(parts)) => self.parts.extend(parts),
                Ok(Piece::End(parts, reason)) => {
                    self.parts.extend(parts);
                    return Some(Ok(self.answer(reason)));
                }
                Err(error) => return Some(Err(error)),
            }
        }
    }

    fn answer(&mut self, finish_reason: FinishReason) -> Answer {
        let (reasoning, solution) = joined(std::mem::take(&mut self.parts));
        Answer {
            text: std::mem::take(&mut self.text),
            reasoning,
            solution,
            finish_reason,
            prompt_tokens: self.prompt_tokens as u64,
            completion_tokens: self.completion_tokens as u64,
        }
    }

    fn take(&mut self, event: Event) -> anyhow::Result<Piece> {
        match event {
            Event::Prompt(_) => Ok(Piece::Parts(Vec::new())),
            Event::Token(token) => {
                self.completion_tokens += 1;
                let text = self.detokenizer.push(self.tokenizer, token.id)?;
                let (text, stopped) = self.stops.push(&text);
                let mut parts = self.split(&text);
                if !stopped {
                    return Ok(Piece::Parts(parts));
                }
                parts.extend(self.splitter.finish());
                Ok(Piece::End(parts, FinishReason::Stop))
            }
            Event::Finished { reason, .. } => {
                let rest = self.detokenizer.finish(self.tokenizer)?;
                let (text, stopped) = self.stops.push(&rest);
                let mut parts = self.split(&text);
                if !stopped {
                    let held = self.stops.finish();
                    parts.extend(self.split(&held));
                }
                parts.extend(self.splitter.finish());
                Ok(Piece::End(parts, if stopped { FinishReason::Stop } else { reason }))
            }
            Event::Failed(why) => bail!("{why}"),
        }
    }

    fn split(&mut self, text: &str) -> Vec<Part> {
        self.text += text;
        self.splitter.push(text)
    }
}

/// Finds stop texts in text that comes in pieces.
#[derive(Debug)]
struct Stops {
    stops: Vec<String>,
    /// The longest end of the text that may be the beginning of a stop text.
    held: String,
}

impl Stops {
    fn new(stops: &[String]) -> Self {
        let stops = stops.iter().filter(|stop| !stop.is_empty()).cloned().collect();
        Self { stops, held: String::new() }
    }

    /// The text that is certainly before any stop text, and whether one was reached.
    fn push(&mut self, text: &str) -> (String, bool) {
        if self.stops.is_empty() {
            return (text.to_owned(), false);
        }
        self.held += text;
        let first = self.stops.iter().filter_map(|stop| self.held.find(stop.as_str())).min();
        if let Some(at) = first {
            self.held.truncate(at);
            return (std::mem::take(&mut self.held), true);
        }
        let begins = |at: &usize| self.stops.iter().any(|stop| stop.starts_with(&self.held[*at..]));
        let open = self.held.char_indices().map(|(at, _)| at).find(begins);
        let certain = open.unwrap_or(self.held.len());
        (self.held.drain(..certain).collect(), false)
    }

    fn finish(&mut self) -> String {
        std::mem::take(&mut self.held)
    }
}

#[cfg(test)]
mod tests {
    use super::Stops;

    #[track_caller]
    fn check(stops: &[&str], pieces: &[&str], expected: &str, stopped: bool) {
        let stops: Vec<String> = stops.iter().map(|stop| (*stop).into()).collect();
        let mut stops = Stops::new(&stops);
        let mut text = String::new();
        for piece in pieces {
            let (more, end) = stops.push(piece);
            text += &more;
            if end {
                assert!(stopped, "stopped after {text:?}");
                assert_eq!(text, expected);
                return;
            }
        }
        text += &stops.finish();
        assert!(!stopped, "did not stop");
        assert_eq!(text, expected);
    }

    #[test]
    fn a_stop_over_several_pieces_is_found_and_left_out() {
        check(&["XYZ"], &["a X", "Y", "Z b"], "a ", true);
        check(&["\n\n", "é!"], &["naïv", "é", "!"], "naïv", true);
    }

    #[test]
    fn the_earliest_of_several_ends_the_answer() {
        check(&["c", "b"], &["abc"], "a", true);
    }

    #[test]
    fn what_only_began_like_a_stop_is_given_out() {
        check(&["XYZ"], &["a X", "Y b", " XX"], "a XY b XX", false);
        check(&[], &["a", "b"], "ab", false);
    }
}
