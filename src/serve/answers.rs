//! The answers to one request while they are generated: events of the engine become text, in the
//! task that sends it.
//!
//! A request may have several prompts and several answers to each. Dropping them cancels.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::mpsc::TryRecvError;
use std::time::Instant;

use tokio::sync::Notify;

use super::Error;
use super::meters::{Ended, Meters};
use crate::chat::local::{LocalModel, Settings, Teller, Told};
use crate::engine::FinishReason;
use crate::engine::sampler::Score;
use crate::engine::worker::{Event, Events, Token};

/// Events of one prompt that are taken at a time, so that none starves the others.
const EVENTS_AT_ONCE: usize = 64;

/// Who answers, and since when.
#[derive(Clone)]
pub(super) struct Asking {
    /// The model.
    pub(super) model: Arc<LocalModel>,
    /// What is measured of its answers.
    pub(super) meters: Arc<Meters>,
    /// When the request came.
    pub(super) begun: Instant,
}

/// What has happened to one of the answers.
#[derive(Debug)]
pub(super) enum Happening {
    /// What the model thinks of the tokens of a prompt, all but the first.
    Prompt {
        /// Which prompt.
        prompt: usize,
        /// One for each.
        scores: Vec<Score>,
    },
    /// More of an answer.
    More {
        /// Which answer.
        index: usize,
        /// The token.
        token: Token,
        /// The text that is certain now.
        text: String,
    },
    /// The end of an answer.
    End {
        /// Which answer.
        index: usize,
        /// Text that was held back.
        text: String,
        /// Why it ended.
        reason: FinishReason,
        /// The stop text that ended it.
        stop: Option<String>,
    },
}

/// The answers to one prompt.
struct Run {
    /// None once all have ended.
    events: Option<Events>,
    /// None once it has ended.
    tellers: Vec<Option<Teller>>,
    /// The number of the first.
    first: usize,
}

/// All answers to one request.
pub(super) struct Answers {
    asking: Asking,
    runs: Vec<Run>,
    notify: Arc<Notify>,
    happened: VecDeque<Happening>,
    prompt_tokens: Vec<usize>,
    /// Tokens of each answer, and when the last of them came.
    tokens: Vec<(usize, Instant)>,
    failed: bool,
}

impl Answers {
    /// Lets the model answer every one of `prompts`, `n` times as the settings say.
    pub(super) fn begin(
        asking: Asking,
        prompts: Vec<Vec<u32>>,
        settings: &Settings,
    ) -> Result<Self, Error> {
        let n = settings.sampling.n as usize;
        let mut answers = Self {
            runs: Vec::new(),
            notify: Arc::new(Notify::new()),
            happened: VecDeque::new(),
            prompt_tokens: prompts.iter().map(Vec::len).collect(),
            tokens: vec![(0, asking.begun); n * prompts.len()],
            failed: false,
            asking,
        };
        for (at, prompt) in prompts.into_iter().enumerate() {
            let notify = Arc::clone(&answers.notify);
            let notify = Box::new(move || notify.notify_one());
            let events = answers.asking.model.begin(prompt, settings, notify)?;
            let tellers = (0..n).map(|_| Some(Teller::new(settings))).collect();
            answers.runs.push(Run { events: Some(events), tellers, first: at * n });
        }
        Ok(answers)
    }

    /// Tokens of all prompts.
    pub(super) fn prompt_tokens(&self) -> usize {
        self.prompt_tokens.iter().sum()
    }

    /// Tokens of all answers so far.
    pub(super) fn completion_tokens(&self) -> usize {
        self.tokens.iter().map(|(tokens, _)| tokens).sum()
    }

    /// What happens next; nothing after the last answer has ended.
    ///
    /// Can be dropped and called again at any time.
    pub(super) async fn next(&mut self) -> Result<Option<Happening>, Error> {
        loop {
            if let Some(happening) = self.ready()? {
                return Ok(Some(happening));
            }
            if self.runs.iter().all(|run| run.events.is_none()) {
                return Ok(None);
            }
            self.notify.notified().await;
        }
    }

    /// What has happened already.
    pub(super) fn ready(&mut self) -> Result<Option<Happening>, Error> {
        if self.happened.is_empty() {
            for at in 0..self.runs.len() {
                self.take(at).inspect_err(|_| self.failed = true)?;
            }
        }
        Ok(self.happened.pop_front())
    }

    /// Takes what the engine has said about one prompt.
    fn take(&mut self, at: usize) -> Result<(), Error> {
        for _ in 0..EVENTS_AT_ONCE {
            let Some(events) = &self.runs[at].events else { return Ok(()) };
            match events.try_recv() {
                Ok(Event::Prompt(scores)) => {
                    self.happened.push_back(Happening::Prompt { prompt: at, scores });
                }
                Ok(Event::Token(token)) => self.token(at, token)?,
                Ok(Event::Finished { sample, reason }) => self.finished(at, sample, reason)?,
                Ok(Event::Failed(why)) => return Err(Error::Generation(why)),
                Err(TryRecvError::Empty) => return Ok(()),
                Err(TryRecvError::Disconnected) => return Err(Error::Stopped),
            }
        }
        // There may be more, and nobody will say so again.
        self.notify.notify_one();
        Ok(())
    }

    fn token(&mut self, at: usize, token: Token) -> Result<(), Error> {
        let run = &mut self.runs[at];
        let sample = token.sample as usize;
        let index = run.first + sample;
        // An answer that a stop text has ended may still get tokens.
        let Some(teller) = &mut run.tellers[sample] else { return Ok(()) };
        let told = teller.push(self.asking.model.tokenizer(), token.id);
        let Told { text, stop } = told.map_err(Error::Internal)?;
        self.time(index);
        let ended = stop.is_some();
        self.happened.push_back(Happening::More { index, token, text });
        if ended {
            let (text, reason) = (String::new(), FinishReason::Stop);
            self.happened.push_back(Happening::End { index, text, reason, stop });
            self.close(at, sample, reason);
        }
        Ok(())
    }

    fn finished(&mut self, at: usize, sample: u32, reason: FinishReason) -> Result<(), Error> {
        let run = &mut self.runs[at];
        let (sample, index) = (sample as usize, run.first + sample as usize);
        let Some(teller) = &mut run.tellers[sample] else { return Ok(()) };
        let told = teller.finish(self.asking.model.tokenizer()).map_err(Error::Internal)?;
        let reason = if told.stop.is_some() { FinishReason::Stop } else { reason };
        self.happened.push_back(Happening::End { index, text: told.text, reason, stop: told.stop });
        self.close(at, sample, reason);
        Ok(())
    }

    /// Measures the time of a token.
    fn time(&mut self, index: usize) {
        let now = Instant::now();
        let (tokens, last) = &mut self.tokens[index];
        let meter = match *tokens {
            0 => &self.asking.meters.first_token,
            _ => &self.asking.meters.between_tokens,
        };
        meter.time(now - *last);
        *tokens += 1;
        *last = now;
    }

    /// Ends an answer; with the last one of a prompt its request is over.
    fn close(&mut self, at: usize, sample: usize, reason: FinishReason) {
        let run = &mut self.runs[at];
        run.tellers[sample] = None;
        let meters = &self.asking.meters;
        let (tokens, _) = self.tokens[run.first + sample];
        meters.generated_tokens.observe(tokens as f64);
        let ended = match reason {
            FinishReason::Stop => Ended::Stop,
            FinishReason::Length => Ended::Length,
        };
        meters.end(ended, 1);
        if run.tellers.iter().all(Option::is_none) {
            run.events = None;
            meters.prompt_tokens.observe(self.prompt_tokens[at] as f64);
        }
        if self.runs.iter().all(|run| run.events.is_none()) {
            meters.request.time(self.asking.begun.elapsed());
        }
    }
}

impl Drop for Answers {
    fn drop(&mut self) {
        let open = self.runs.iter().flat_map(|run| &run.tellers).flatten().count() as u64;
        let ended = if self.failed { Ended::Error } else { Ended::Abort };
        self.asking.meters.end(ended, open);
    }
}
