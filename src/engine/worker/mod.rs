//! One thread that owns a [`Generator`] and serves many requests at a time.
//!
//! Before each step the [scheduler](crate::scheduler) says which tokens of which sequences are
//! computed; afterwards the [sampler](crate::sampler) chooses the next token of each that has
//! come to its end, and every sequence leaves the moment it is done. Requests arrive on a bounded
//! channel; events leave on a channel of their own. Whoever drops it has cancelled.

mod answer;
mod job;
mod meter;
mod route;
mod run;

use std::sync::Arc;
use std::sync::mpsc::{self, SyncSender};
use std::thread;

use self::job::Job;
use self::meter::Counters;
use self::run::Loop;
use super::sampler::Score;
use super::scheduler::Limits;
use super::{FinishReason, Generator, Held, LOGPROBS_MAX, ModelInfo, SAMPLES_MAX, Sampling};

pub use self::answer::{EVENTS_MAX, Events};
pub use self::meter::{Health, Load, Meter, STEP_TOKENS_BOUNDS};
pub use self::route::Router;

/// Requests that may wait to be begun; more is a sign that the client should slow down.
pub const QUEUE_MAX: usize = 1024;

/// Sequences worked on at a time: beyond it a step's time grows as fast as its tokens.
const SEQUENCES_MAX: usize = 64;

/// Tokens computed in a step. Sequences wait for the prompts of others no longer than this takes.
const STEP_TOKENS_MAX: usize = 512;

/// Rows of logits in a step beyond one for each sequence, for prompts whose every token is scored.
const PROMPT_ROWS_MAX: usize = 64;

/// How much the worker does at a time.
const LIMITS: Limits = Limits {
    step_tokens: STEP_TOKENS_MAX,
    sequences: SEQUENCES_MAX,
    logit_rows: SEQUENCES_MAX + PROMPT_ROWS_MAX,
};

/// What is asked.
#[derive(Debug, Clone)]
pub struct Request {
    /// The prompt's ids.
    pub prompt: Vec<u32>,
    /// How to go on from it.
    pub sampling: Sampling,
}

/// A token of an answer.
#[derive(Debug, Clone, PartialEq)]
pub struct Token {
    /// Of which of the request's answers.
    pub sample: u32,
    /// The token.
    pub id: u32,
    /// What the model thought of it, if that was asked for.
    pub score: Option<Score>,
}

/// What comes back.
#[derive(Debug, Clone, PartialEq)]
pub enum Event {
    /// What the model thought of the prompt's tokens, all but the first; comes first if asked for.
    Prompt(Vec<Score>),
    /// The next token.
    Token(Token),
    /// The end of one answer; after the last nothing comes.
    Finished {
        /// Which.
        sample: u32,
        /// Why.
        reason: FinishReason,
    },
    /// The end of all, because the request cannot be served; says why.
    Failed(String),
}

/// Why a request was not taken.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// [`QUEUE_MAX`] requests are waiting.
    #[error("{QUEUE_MAX} requests are already waiting")]
    Full,
    /// The prompt leaves no room for an answer, now or ever.
    #[error(
        "the prompt has {tokens} tokens, but {what} takes {limit} with at least one of the answer"
    )]
    TooLong {
        /// Tokens of the prompt.
        tokens: usize,
        /// Tokens of prompt and answer at most.
        limit: usize,
        /// What limits them.
        what: &'static str,
    },
    /// The request makes no sense for this model.
    #[error("{0}")]
    BadRequest(String),
    /// The worker takes no more requests.
    #[error("the engine is shutting down")]
    Draining,
    /// The worker has ended after an error.
    #[error("the engine has stopped: {0}")]
    Dead(String),
}

impl Refused {
    /// Whether every other request would be refused too.
    pub fn is_final(&self) -> bool {
        match self {
            Self::Draining | Self::Dead(_) => true,
            Self::Full | Self::TooLong { .. } | Self::BadRequest(_) => false,
        }
    }
}

/// What the thread is told.
enum Command {
    Add(Box<Job>),
    /// End every request.
    Abort,
}

/// A handle to the thread. Clones share it; it ends when the last is gone and nothing is running.
#[derive(Debug, Clone)]
pub struct Worker {
    info: Arc<ModelInfo>,
    held: Held,
    /// Tokens of prompt and answer at most, and what limits them.
    limit: (usize, &'static str),
    commands: SyncSender<Command>,
    counters: Arc<Counters>,
}

impl std::fmt::Debug for Command {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Add(_) => f.write_str("Add"),
            Self::Abort => f.write_str("Abort"),
        }
    }
}

impl Worker {
    /// Starts the thread.
    ///
    /// # Errors
    /// If the system has no thread left.
    pub fn start(generator: Box<dyn Generator>) -> std::io::Result<Self> {
        Self::start_on(generator, 0)
    }

    /// Starts the thread; its kernels use `threads` of the processor, 0 for all. Models that work
    /// side by side are faster on one each than on all together.
    ///
    /// # Errors
    /// If the system has no thread left.
    pub fn start_on(generator: Box<dyn Generator>, threads: usize) -> std::io::Result<Self> {
        let pool = match threads {
            0 => None,
            _ => {
                let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build();
                Some(pool.map_err(std::io::Error::other)?)
            }
        };
        // Every request holds a place in the queue, so that sending never waits; an abort may.
        let (commands, inbox) = mpsc::sync_channel(QUEUE_MAX + 1);
        let info = Arc::new(generator.info().clone());
        let (context, cache, held) = (info.context, generator.cache(), generator.held());
        let limit = match context <= cache.tokens() {
            true => (context, "the model's context"),
            false => (cache.tokens(), "the cache"),
        };
        let counters = Arc::new(Counters::new(cache.blocks));
        let shared = Arc::clone(&counters);
        thread::Builder::new().name("engine".to_owned()).spawn(move || {
            let work = Loop::new(generator, inbox, shared, LIMITS);
            match pool {
                Some(pool) => pool.install(|| work.run()),
                None => work.run(),
            }
        })?;
        Ok(Self { info, held, limit, commands, counters })
    }

    /// What the model is.
    pub fn info(&self) -> &ModelInfo {
        &self.info
    }

    /// What the model keeps in memory.
    pub fn held(&self) -> Held {
        self.held
    }

    /// Tokens of prompt and answer together at most.
    pub fn context(&self) -> usize {
        self.limit.0
    }

    /// Whether it takes requests.
    pub fn is_open(&self) -> bool {
        self.counters.is_open().is_ok()
    }

    /// How busy it is.
    pub fn load(&self) -> Load {
        self.meter().load()
    }

    /// Its counters, to be read on after it is gone.
    pub fn meter(&self) -> Meter {
        Meter(Arc::clone(&self.counters))
    }

    /// Hands a request over, or says at once that there is no room.
    ///
    /// # Errors
    /// [`Refused`].
    pub fn try_submit(&self, request: Request) -> Result<Events, Refused> {
        self.check(&request)?;
        self.counters.try_enter()?;
        self.send(request, None)
    }

    /// As [`Worker::try_submit`]; `notify` is called on the engine's thread after each event and at
    /// the end, and must not wait.
    ///
    /// # Errors
    /// [`Refused`].
    pub fn try_submit_with(
        &self,
        request: Request,
        notify: Box<dyn Fn() + Send>,
    ) -> Result<Events, Refused> {
        self.check(&request)?;
        self.counters.try_enter()?;
        self.send(request, Some(notify))
    }

    /// Hands a request over, waiting for room in the queue.
    ///
    /// # Errors
    /// [`Refused`], but never [`Refused::Full`].
    pub fn submit(&self, request: Request) -> Result<Events, Refused> {
        self.check(&request)?;
        self.counters.enter()?;
        self.send(request, None)
    }

    /// Takes no more requests; those that are here go on to their end.
    pub fn drain(&self) {
        self.counters.drain();
    }

    /// Ends every request that is here; their readers are told.
    ///
    /// # Errors
    /// If the thread has ended already.
    pub fn abort(&self) -> Result<(), Refused> {
        self.commands.send(Command::Abort).map_err(|_| self.ended())
    }

    /// Requests that are here and did not end.
    pub fn unfinished(&self) -> usize {
        self.counters.unfinished()
    }

    fn send(
        &self,
        request: Request,
        notify: Option<Box<dyn Fn() + Send>>,
    ) -> Result<Events, Refused> {
        let (outlet, events) = answer::channel(notify);
        let job = Box::new(Job::new(request, outlet, &self.info, self.limit.0));
        match self.commands.send(Command::Add(job)) {
            Ok(()) => Ok(events),
            Err(_) => {
                self.counters.left_queue();
                self.counters.ended();
                Err(self.ended())
            }
        }
    }

    fn ended(&self) -> Refused {
        let why = self.meter().health().dead;
        Refused::Dead(why.unwrap_or_else(|| "its thread has ended".to_owned()))
    }

    /// Why a request can never be served.
    fn check(&self, request: &Request) -> Result<(), Refused> {
        let Request { prompt, sampling } = request;
        let bad = |why: String| Err(Refused::BadRequest(why));
        if prompt.is_empty() {
            return bad("the prompt is empty".to_owned());
        }
        let (limit, what) = self.limit;
        let needed = prompt.len() + usize::from(sampling.max_tokens > 0);
        if needed > limit {
            return Err(Refused::TooLong { tokens: prompt.len(), limit, what });
        }
        let vocabulary = self.info.vocabulary;
        if let Some(id) = prompt.iter().find(|id| **id as usize >= vocabulary) {
            return bad(format!("id {id} is outside the vocabulary of {vocabulary}"));
        }
        if !(1..=SAMPLES_MAX).contains(&sampling.n) {
            return bad(format!(
                "{} answers were asked for; 1 to {SAMPLES_MAX} are given",
                sampling.n
            ));
        }
        let logprobs = sampling.logprobs.max(sampling.prompt_logprobs).unwrap_or(0);
        if logprobs > LOGPROBS_MAX {
            return bad(format!(
                "{logprobs} logprobs were asked for; at most {LOGPROBS_MAX} are given"
            ));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
