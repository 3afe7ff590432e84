//! One answer while it is being generated, for whoever may block: tokens become text, text becomes
//! thought and solution.

use std::sync::mpsc::{RecvTimeoutError, TryRecvError};
use std::time::Duration;

use anyhow::{anyhow, bail};

use super::settings::Settings;
use super::teller::{Teller, Told};
use crate::chat::Answer;
use crate::chat::thought::{Part, Splitter, joined};
use crate::chat::tokenizer::Tokenizer;
use crate::engine::FinishReason;
use crate::engine::worker::{Event, Events};

/// One answer while it is being generated. Dropping it cancels.
pub struct Stream<'a> {
    tokenizer: &'a Tokenizer,
    events: Events,
    /// An event that [`Stream::wait`] has taken.
    next: Option<Event>,
    teller: Teller,
    splitter: Splitter,
    /// The text so far, tags included.
    text: String,
    parts: Vec<Part>,
    prompt_tokens: usize,
}

impl<'a> Stream<'a> {
    /// `prompt` is how many tokens it has, and whether it opens the model's thought.
    pub(super) fn new(
        tokenizer: &'a Tokenizer,
        events: Events,
        settings: &Settings,
        prompt: (usize, bool),
    ) -> Self {
        let (prompt_tokens, in_thought) = prompt;
        Self {
            tokenizer,
            events,
            next: None,
            teller: Teller::new(settings),
            splitter: Splitter::opened(in_thought),
            text: String::new(),
            parts: Vec::new(),
            prompt_tokens,
        }
    }

    /// Waits at most `timeout` for something to poll.
    pub(super) fn wait(&mut self, timeout: Duration) {
        if self.next.is_none() {
            self.next = match self.events.recv_timeout(timeout) {
                Ok(event) => Some(event),
                Err(RecvTimeoutError::Timeout) => None,
                Err(RecvTimeoutError::Disconnected) => {
                    Some(Event::Failed("the engine has stopped".into()))
                }
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
                Ok(Some(reason)) => return Some(Ok(self.answer(reason))),
                Ok(None) => {}
                Err(error) => return Some(Err(error)),
            }
        }
    }

    fn answer(&mut self, finish_reason: FinishReason) -> Answer {
        self.parts.extend(self.splitter.finish());
        let (reasoning, solution) = joined(std::mem::take(&mut self.parts));
        Answer {
            text: std::mem::take(&mut self.text),
            reasoning,
            solution,
            finish_reason,
            prompt_tokens: self.prompt_tokens as u64,
            completion_tokens: self.teller.tokens() as u64,
        }
    }

    /// Takes an event; why the answer ended, if it did.
    fn take(&mut self, event: Event) -> anyhow::Result<Option<FinishReason>> {
        let (told, reason) = match event {
            Event::Prompt(_) => return Ok(None),
            Event::Token(token) => (self.teller.push(self.tokenizer, token.id)?, None),
            Event::Finished { reason, .. } => (self.teller.finish(self.tokenizer)?, Some(reason)),
            Event::Failed(why) => bail!("{why}"),
        };
        let Told { text, stop } = told;
        self.text += &text;
        self.parts.extend(self.splitter.push(&text));
        Ok(if stop.is_some() { Some(FinishReason::Stop) } else { reason })
    }
}
