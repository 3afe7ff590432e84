//! A model on this machine: tokenizer, template and engine threads under one name.
//!
//! Knows nothing of HTTP; the server asks it for [`Events`] and tells them with a [`Teller`]. With
//! several devices there is a whole model on each, and the one with the least to do is asked.

mod many;
mod parrot;
mod settings;
mod stream;
mod teller;

use std::path::Path;

use anyhow::{Context, anyhow};

use super::defaults::Defaults;
use super::template::{Arguments, Opening, Prompt, Template};
use super::tokenizer::{END_OF_TEXT, IM_END, Tokenizer};
use super::{Message, Request};
use crate::engine::placement::replicas;
use crate::engine::worker::{self, Events, Router, Worker};
use crate::engine::{self, Device, Generator, Held, Room, Sampling, WeightType, dummy};
use crate::hint::Hinted;

pub use parrot::{PARROT, Parrot};
pub use settings::Settings;
pub use stream::Stream;
pub use teller::{Teller, Told};

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
    /// An id is no token of the model.
    #[error("`{id}` in `{field}` is no token: the model's vocabulary has {vocabulary}")]
    BadId {
        /// Where it stands.
        field: &'static str,
        /// The id.
        id: u32,
        /// Ids are below this.
        vocabulary: usize,
    },
    /// The template does not take the conversation.
    #[error("{0:#}")]
    BadConversation(anyhow::Error),
    /// The request makes no sense for this model.
    #[error("{why}")]
    BadRequest {
        /// Where it stands.
        field: &'static str,
        /// What is wrong.
        why: String,
    },
    /// Too many requests are waiting.
    #[error("too many requests are waiting")]
    Busy,
    /// The engine's thread has ended, or takes no more requests.
    #[error("{0}")]
    Stopped(String),
}

impl Refused {
    fn bad(field: &'static str, why: String) -> Self {
        Self::BadRequest { field, why }
    }
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
    /// Bytes for keys and values; as many as are worth having if not given.
    pub cache_bytes: Option<u64>,
    /// Ranks that each copy of the model is split over.
    pub tensor_parallel: usize,
}

impl Place {
    /// All of `device`, with the model's own limit.
    pub fn on(device: Device) -> Self {
        Self {
            device,
            max_context: None,
            threads: 0,
            weights: WeightType::Auto,
            cache_bytes: None,
            tensor_parallel: 1,
        }
    }
}

/// One copy of a model, and where it is.
#[derive(Debug, Clone)]
pub struct Replica {
    /// The devices that it is on, rank by rank; none where no model is behind it.
    pub devices: Vec<Device>,
    /// What it keeps in memory.
    pub held: Held,
    /// What it does.
    pub meter: worker::Meter,
}

/// A model on this machine.
pub struct LocalModel {
    name: String,
    tokenizer: Tokenizer,
    template: Template,
    /// One for each copy.
    workers: Vec<Worker>,
    /// Of each copy the devices that it is on.
    devices: Vec<Vec<Device>>,
    router: Router,
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
        Self::open_on(name, dir, place, &[place.device])
    }

    /// Loads the model once on each of `devices`, or on each group of them that it is split over;
    /// they share the requests.
    ///
    /// # Errors
    /// As [`LocalModel::open`].
    pub fn open_on(
        name: &str,
        dir: &Path,
        place: Place,
        devices: &[Device],
    ) -> anyhow::Result<Self> {
        if let Some(parrot) = parrot::named(dir) {
            return parrot?.open(name, devices.len(), place.max_context);
        }
        if dummy::named(dir).is_none() && !dir.is_dir() {
            return Err(Hinted::new(
                format!("there is no model folder `{}`", dir.display()),
                "give the folder that holds config.json, the weights and tokenizer.json",
            )
            .into());
        }
        let Place { max_context: context, weights, cache_bytes, .. } = place;
        let room = Room { context, weights, cache_bytes, ..Room::default() };
        let copies = replicas(devices, place.tensor_parallel).map_err(explained)?;
        let mut generators = Vec::new();
        for ranks in &copies {
            generators.push(engine::open_split_generator(ranks, dir, room).map_err(explained)?);
        }
        let tokenizer = Tokenizer::open(dir)?;
        let template = Template::open(dir)?;
        let start = |generator: Box<dyn Generator>| Worker::start_on(generator, place.threads);
        let workers = generators.into_iter().map(start).collect::<Result<_, _>>();
        let workers = workers.context("could not start the engine's thread")?;
        let mut model = Self::over(name, tokenizer, template, workers);
        model.defaults = Defaults::open(dir)?;
        model.devices = copies;
        Ok(model)
    }

    /// A model over engine threads that run already, all of the same model.
    ///
    /// # Panics
    /// Without any.
    pub fn over(
        name: &str,
        tokenizer: Tokenizer,
        template: Template,
        workers: Vec<Worker>,
    ) -> Self {
        let mut stop_ids = workers[0].info().eos_ids.clone();
        // A folder whose configuration names only one of Qwen's two would never stop at the other.
        let ends = [Some(IM_END), Some(END_OF_TEXT), template.eos()];
        stop_ids.extend(ends.into_iter().flatten().filter_map(|token| tokenizer.id(token)));
        stop_ids.sort_unstable();
        stop_ids.dedup();
        let context = workers.iter().map(Worker::context).min().unwrap_or(0);
        let (name, router) = (name.to_owned(), Router::default());
        let (defaults, devices) = (Defaults::default(), vec![Vec::new(); workers.len()]);
        Self { name, tokenizer, template, workers, devices, router, stop_ids, context, defaults }
    }

    /// Tokens of conversation and answer together at most.
    pub fn context(&self) -> usize {
        self.context
    }

    /// How its authors sample from it.
    pub fn defaults(&self) -> &Defaults {
        &self.defaults
    }

    /// Ids are below this; some of them may stand for no token.
    pub fn vocabulary(&self) -> usize {
        self.workers[0].info().vocabulary
    }

    /// The tokenizer.
    pub fn tokenizer(&self) -> &Tokenizer {
        &self.tokenizer
    }

    /// The chat template.
    pub fn template(&self) -> &Template {
        &self.template
    }

    /// The counters of its engines, to be read on after the model is gone.
    pub fn meters(&self) -> Vec<worker::Meter> {
        self.workers.iter().map(Worker::meter).collect()
    }

    /// Numbers in it that training would change.
    pub fn parameters(&self) -> u64 {
        self.workers[0].info().parameters
    }

    /// Its copies.
    pub fn replicas(&self) -> Vec<Replica> {
        let copies = self.workers.iter().zip(&self.devices);
        let copy = |(worker, devices): (&Worker, &Vec<Device>)| Replica {
            devices: devices.clone(),
            held: worker.held(),
            meter: worker.meter(),
        };
        copies.map(copy).collect()
    }

    /// The conversation up to where the model goes on.
    ///
    /// # Errors
    /// [`Refused::BadConversation`].
    pub fn conversation(
        &self,
        messages: &[Message],
        opening: Opening,
        arguments: &Arguments,
    ) -> Result<Prompt, Refused> {
        let prompt = self.template.prompt_with(&self.tokenizer, messages, opening, arguments);
        prompt.map_err(Refused::BadConversation)
    }

    /// The ids of a text as the model sees it: the names of special tokens in it are special
    /// tokens. `begin` puts the token before it that begins a text, if there is one.
    ///
    /// # Errors
    /// [`Refused::BadRequest`] if the tokenizer cannot write it.
    pub fn encode_prompt(&self, text: &str, begin: bool) -> Result<Vec<u32>, Refused> {
        let bad = |error: anyhow::Error| Refused::bad("prompt", format!("{error:#}"));
        let mut ids = self.tokenizer.encode_template(text).map_err(bad)?;
        let first = self.tokenizer.first();
        if let Some(first) = first.filter(|first| begin && ids.first() != Some(first)) {
            ids.insert(0, first);
        }
        Ok(ids)
    }

    /// Whether all of `ids` are in the vocabulary.
    ///
    /// # Errors
    /// [`Refused::BadId`].
    pub fn check_ids(&self, field: &'static str, ids: &[u32]) -> Result<(), Refused> {
        let vocabulary = self.vocabulary();
        match ids.iter().find(|id| **id as usize >= vocabulary) {
            Some(id) => Err(Refused::BadId { field, id: *id, vocabulary }),
            None => Ok(()),
        }
    }

    /// Begins to go on from `prompt`, on the engine that knows its beginning or has the least to do. `notify` is called on its
    /// thread after each event and must not wait.
    ///
    /// # Errors
    /// [`Refused`].
    pub fn begin(
        &self,
        prompt: Vec<u32>,
        settings: &Settings,
        notify: Box<dyn Fn() + Send>,
    ) -> Result<Events, Refused> {
        let request = self.request(prompt, settings)?;
        let worker = self.router.pick(&self.workers, &request.prompt);
        let events = worker.try_submit_with(request, notify);
        Ok(events?)
    }

    /// The engine's request.
    fn request(&self, prompt: Vec<u32>, settings: &Settings) -> Result<worker::Request, Refused> {
        let mut sampling = settings.sampling.clone();
        let (tokens, limit) = (prompt.len(), self.context);
        let room = limit.saturating_sub(tokens);
        if tokens > limit || room == 0 && sampling.max_tokens > 0 {
            return Err(Refused::TooLong { tokens, limit });
        }
        if sampling.min_tokens > sampling.max_tokens {
            let Sampling { min_tokens, max_tokens, .. } = sampling;
            let why = format!("`min_tokens` is {min_tokens}, but `max_tokens` is {max_tokens}");
            return Err(Refused::bad("min_tokens", why));
        }
        sampling.max_tokens = sampling.max_tokens.min(room);
        let biased: Vec<u32> = sampling.logit_bias.iter().map(|(id, _)| *id).collect();
        self.check_ids("logit_bias", &biased)?;
        self.check_ids("stop_token_ids", &sampling.stop_ids)?;
        if !sampling.ignore_eos {
            sampling.stop_ids.extend(&self.stop_ids);
        }
        Ok(worker::Request { prompt, sampling })
    }

    /// Begins to answer, waiting for room in the queue.
    fn submit(&self, request: &Request) -> anyhow::Result<Stream<'_>> {
        let prompt =
            self.conversation(&request.messages, Opening::Answer, &Arguments::default())?;
        let settings = Settings {
            sampling: Sampling {
                temperature: request.temperature,
                top_p: request.top_p,
                seed: request.seed,
                max_tokens: request.max_tokens as usize,
                ..Sampling::default()
            },
            ..Settings::default()
        };
        let prompt_tokens = prompt.ids.len();
        let request = self.request(prompt.ids, &settings)?;
        let events = self.router.pick(&self.workers, &request.prompt).submit(request)?;
        Ok(Stream::new(&self.tokenizer, events, &settings, (prompt_tokens, prompt.in_thought)))
    }
}

impl From<worker::Refused> for Refused {
    fn from(refused: worker::Refused) -> Self {
        match refused {
            worker::Refused::Full => Self::Busy,
            worker::Refused::TooLong { tokens, limit, .. } => Self::TooLong { tokens, limit },
            worker::Refused::BadRequest(why) => Self::bad("prompt", why),
            refused @ (worker::Refused::Draining | worker::Refused::Dead(_)) => {
                Self::Stopped(refused.to_string())
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

#[cfg(test)]
mod tests;
