//! A model on this machine: tokenizer, template and an engine thread under one name.
//!
//! Blocking, as the engine is. Knows nothing of HTTP; the server asks it for a [`Stream`].

mod stream;

use std::collections::VecDeque;
use std::ops::ControlFlow;
use std::path::Path;
use std::sync::mpsc::RecvTimeoutError;
use std::time::Duration;

use anyhow::{Context, anyhow};

use super::defaults::Defaults;
use super::template::Template;
use super::tokenizer::{END_OF_TEXT, IM_END, Tokenizer};
use super::{Answer, Model, Request};
use crate::engine::worker::{self, Worker};
use crate::engine::{self, Device, Room, Sampling, WeightType, dummy};
use crate::hint::Hinted;

pub use stream::{Piece, Stream};

/// How long the oldest of many answers is waited for before the others are looked at. Shorter than
/// a decode step of any model worth asking in parallel.
const POLL: Duration = Duration::from_millis(2);

/// Why a model does not take a request.
#[derive(Debug, thiserror::Error)]
pub enum Refused {
    /// The conversation does not fit.
    #[error("the conversation has {tokens} tokens, but the model's context is {limit} tokens")]
    TooLong {
        /// Tokens of the conversation.
        tokens: usize,
        /// What the model takes, of which one must remain for the answer.
        limit: usize,
    },
    /// The template does not take the conversation.
    #[error("{0:#}")]
    BadConversation(anyhow::Error),
    /// Too many requests are waiting.
    #[error("too many requests are waiting")]
    Busy,
    /// The engine's thread has ended.
    #[error("the engine has stopped")]
    Stopped,
}

/// Where and how a model is loaded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Place {
    /// The device it runs on.
    pub device: Device,
    /// Tokens of conversation and answer together at most; the model's own limit if not given.
    pub max_context: Option<usize>,
    /// Threads of the processor that it may use; 0 for all.
    pub threads: usize,
    /// What weights are kept and computed as.
    pub weights: WeightType,
}

impl Place {
    /// All of `device`, with the model's own limit.
    pub fn on(device: Device) -> Self {
        Self { device, max_context: None, threads: 0, weights: WeightType::Auto }
    }
}

/// A model on this machine.
pub struct LocalModel {
    name: String,
    tokenizer: Tokenizer,
    template: Template,
    worker: Worker,
    stop_ids: Vec<u32>,
    context: usize,
    defaults: Defaults,
}

impl LocalModel {
    /// Loads the model in `dir` and starts its thread.
    ///
    /// # Errors
    /// If a file of the model is missing or wrong, or the device is not there.
    pub fn open(name: &str, dir: &Path, place: Place) -> anyhow::Result<Self> {
        if dummy::named(dir).is_none() && !dir.is_dir() {
            return Err(Hinted::new(
                format!("there is no model folder `{}`", dir.display()),
                "give the folder that holds config.json, the weights and tokenizer.json",
            )
            .into());
        }
        let (context, weights) = (place.max_context, place.weights);
        let room = Room { context, weights, ..Room::default() };
        let generator = engine::open_generator(place.device, dir, room).map_err(explained)?;
        let tokenizer = Tokenizer::open(dir)?;
        let template = Template::open(dir)?;
        let worker = Worker::start_on(generator, place.threads)
            .context("could not start the engine's thread")?;
        let mut model = Self::over(name, tokenizer, template, worker);
        model.defaults = Defaults::open(dir)?;
        Ok(model)
    }

    /// A model over an engine thread that runs already.
    pub fn over(name: &str, tokenizer: Tokenizer, template: Template, worker: Worker) -> Self {
        let mut stop_ids = worker.info().eos_ids.clone();
        // A folder whose configuration names only one of Qwen's two would never stop at the other.
        let ends = [Some(IM_END), Some(END_OF_TEXT), template.eos()];
        stop_ids.extend(ends.into_iter().flatten().filter_map(|token| tokenizer.id(token)));
        stop_ids.sort_unstable();
        stop_ids.dedup();
        let context = worker.context();
        let (name, defaults) = (name.to_owned(), Defaults::default());
        Self { name, tokenizer, template, worker, stop_ids, context, defaults }
    }

    /// Tokens of conversation and answer together at most.
    pub fn context(&self) -> usize {
        self.context
    }

    /// How its authors sample from it.
    pub fn defaults(&self) -> &Defaults {
        &self.defaults
    }

    /// The tokenizer.
    pub fn tokenizer(&self) -> &Tokenizer {
        &self.tokenizer
    }

    /// How busy its engine is.
    pub fn load(&self) -> worker::Load {
        self.worker.load()
    }

    /// The engine's counters, to be read on after the model is gone.
    pub fn meter(&self) -> worker::Meter {
        self.worker.meter()
    }

    /// Begins to answer. `stop` are texts at which the answer ends; they are not part of it.
    ///
    /// # Errors
    /// [`Refused`].
    pub fn stream(&self, request: &Request, stop: &[String]) -> Result<Stream<'_>, Refused> {
        let prompt = self.prompt(request)?;
        let prompt_tokens = prompt.len();
        let job = self.job(request, prompt);
        let events = self.worker.try_submit(job).map_err(|refused| match refused {
            worker::Refused::Full => Refused::Busy,
            worker::Refused::TooLong { tokens, limit, .. } => Refused::TooLong { tokens, limit },
            worker::Refused::BadRequest(why) => Refused::BadConversation(anyhow!(why)),
            worker::Refused::Draining | worker::Refused::Dead(_) => Refused::Stopped,
        })?;
        Ok(Stream::new(&self.tokenizer, events, prompt_tokens, stop))
    }

    /// The ids of the conversation, if they leave room for an answer.
    ///
    /// # Errors
    /// [`Refused::TooLong`] and [`Refused::BadConversation`].
    pub fn prompt(&self, request: &Request) -> Result<Vec<u32>, Refused> {
        let prompt = self.template.prompt(&self.tokenizer, &request.messages);
        let prompt = prompt.map_err(Refused::BadConversation)?;
        if prompt.len() >= self.context {
            return Err(Refused::TooLong { tokens: prompt.len(), limit: self.context });
        }
        Ok(prompt)
    }

    fn job(&self, request: &Request, prompt: Vec<u32>) -> worker::Request {
        let room = self.context - prompt.len();
        let sampling = Sampling {
            temperature: request.temperature,
            top_p: request.top_p,
            seed: request.seed,
            max_tokens: room.min(request.max_tokens as usize),
            stop_ids: self.stop_ids.clone(),
            ..Sampling::default()
        };
        worker::Request { prompt, sampling }
    }

    /// As [`LocalModel::stream`], but waits for room in the queue.
    fn submit(&self, request: &Request) -> anyhow::Result<Stream<'_>> {
        let prompt = self.prompt(request)?;
        let prompt_tokens = prompt.len();
        let events = self.worker.submit(self.job(request, prompt))?;
        Ok(Stream::new(&self.tokenizer, events, prompt_tokens, &[]))
    }
}

impl Model for LocalModel {
    fn name(&self) -> &str {
        &self.name
    }

    fn answer_many(
        &self,
        requests: &[Request],
        in_flight: usize,
        sink: &mut dyn FnMut(usize, anyhow::Result<Answer>) -> ControlFlow<()>,
    ) -> anyhow::Result<()> {
        let mut waiting = requests.iter().enumerate();
        let mut running: VecDeque<(usize, Stream<'_>)> = VecDeque::new();
        loop {
            while running.len() < in_flight.max(1) {
                let Some((index, request)) = waiting.next() else { break };
                match self.submit(request) {
                    Ok(stream) => running.push_back((index, stream)),
                    Err(error) if is_final(&error) => return Err(error),
                    Err(error) => {
                        if sink(index, Err(error)).is_break() {
                            return Ok(());
                        }
                    }
                }
            }
            let Some((_, oldest)) = running.front_mut() else { return Ok(()) };
            oldest.wait(POLL);
            for _ in 0..running.len() {
                let Some((index, mut stream)) = running.pop_front() else { break };
                match stream.poll() {
                    None => running.push_back((index, stream)),
                    Some(answer) => {
                        if sink(index, answer).is_break() {
                            return Ok(());
                        }
                    }
                }
            }
        }
    }
}

/// An engine's error with what the user can do about it.
pub fn explained(error: engine::Error) -> anyhow::Error {
    let Some(hint) = error.hint() else { return anyhow!(error) };
    // The whole chain on one line: the hint replaces the typed error.
    let message = format!("{:#}", anyhow!(error));
    Hinted::new(message, hint).into()
}

/// Whether every other request would fail too.
fn is_final(error: &anyhow::Error) -> bool {
    error.downcast_ref::<worker::Refused>().is_some_and(worker::Refused::is_final)
}

/// What a wait for the next event came to.
fn is_late(error: RecvTimeoutError) -> bool {
    match error {
        RecvTimeoutError::Timeout => true,
        RecvTimeoutError::Disconnected => false,
    }
}

#[cfg(test)]
pub(crate) mod tests;
