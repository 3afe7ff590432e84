//! One thread that owns a [`Generator`] and serves many requests at a time.
//!
//! Continuous batching: before each decode step new requests are admitted into free slots, and
//! every sequence leaves the moment it ends. Requests arrive on a bounded channel; tokens leave on
//! a channel of their own. Whoever drops it has cancelled.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::mpsc::{self, Receiver, Sender, SyncSender, TryRecvError, TrySendError};
use std::thread;

use super::{FinishReason, Generator, ModelInfo, Sampling, Slot, sampler};

/// Requests that may wait for a slot; more is a sign that the client should slow down.
pub const QUEUE_MAX: usize = 1024;

/// Prompt tokens that are run before the running sequences get their next token.
const PREFILL_TOKENS_MAX: usize = 2048;

/// What is asked.
#[derive(Debug, Clone)]
pub struct Request {
    /// The prompt's ids.
    pub prompt: Vec<u32>,
    /// How to go on from it.
    pub sampling: Sampling,
}

/// What comes back.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// The next token.
    Token(u32),
    /// The end.
    Finished(FinishReason),
    /// The end, because the request cannot be served; says why.
    Failed(String),
}

/// Why a request was not taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// [`QUEUE_MAX`] requests are waiting.
    #[error("{QUEUE_MAX} requests are already waiting")]
    Full,
    /// The thread has ended.
    #[error("the engine has stopped")]
    Stopped,
}

/// How busy a worker is.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Load {
    /// Sequences being generated.
    pub running: usize,
    /// Requests without a slot.
    pub waiting: usize,
    /// Tokens of prompts taken in since the start.
    pub prompt_tokens: u64,
    /// Tokens generated since the start.
    pub generated_tokens: u64,
}

impl std::ops::AddAssign for Load {
    fn add_assign(&mut self, other: Self) {
        self.running += other.running;
        self.waiting += other.waiting;
        self.prompt_tokens += other.prompt_tokens;
        self.generated_tokens += other.generated_tokens;
    }
}

/// Counters that both sides see.
#[derive(Debug, Default)]
struct Counters {
    running: AtomicUsize,
    /// Sent, but not yet in a slot.
    waiting: AtomicUsize,
    prompt_tokens: AtomicU64,
    generated_tokens: AtomicU64,
}

/// Reads a worker's counters, also after its end.
#[derive(Debug, Clone)]
pub struct Meter(Arc<Counters>);

impl Meter {
    /// How busy the worker is.
    pub fn load(&self) -> Load {
        Load {
            running: self.0.running.load(Ordering::Relaxed),
            waiting: self.0.waiting.load(Ordering::Relaxed),
            prompt_tokens: self.0.prompt_tokens.load(Ordering::Relaxed),
            generated_tokens: self.0.generated_tokens.load(Ordering::Relaxed),
        }
    }

    /// Whether thread, handles and other meters are gone, so that nothing counts any more.
    pub fn is_final(&self) -> bool {
        Arc::strong_count(&self.0) == 1
    }
}

/// A handle to the thread. Clones share it; it ends when the last is gone and nothing is running.
#[derive(Debug, Clone)]
pub struct Worker {
    info: ModelInfo,
    commands: SyncSender<Command>,
    counters: Arc<Counters>,
}

struct Command {
    request: Request,
    events: Sender<Event>,
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
        let (commands, inbox) = mpsc::sync_channel(QUEUE_MAX);
        let info = generator.info().clone();
        let counters = Arc::new(Counters::default());
        let shared = Arc::clone(&counters);
        thread::Builder::new().name("engine".to_owned()).spawn(move || {
            let work = Loop::new(generator, inbox, shared);
            match pool {
                Some(pool) => pool.install(|| work.run()),
                None => work.run(),
            }
        })?;
        Ok(Self { info, commands, counters })
    }

    /// What the model is.
    pub fn info(&self) -> &ModelInfo {
        &self.info
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
    pub fn try_submit(&self, request: Request) -> Result<Receiver<Event>, Refused> {
        let (events, answer) = mpsc::channel();
        self.counters.waiting.fetch_add(1, Ordering::Relaxed);
        let sent = self.commands.try_send(Command { request, events });
        sent.map(|()| answer).map_err(|error| {
            self.counters.waiting.fetch_sub(1, Ordering::Relaxed);
            match error {
                TrySendError::Full(_) => Refused::Full,
                TrySendError::Disconnected(_) => Refused::Stopped,
            }
        })
    }

    /// Hands a request over, waiting for room.
    ///
    /// # Errors
    /// [`Refused::Stopped`].
    pub fn submit(&self, request: Request) -> Result<Receiver<Event>, Refused> {
        let (events, answer) = mpsc::channel();
        self.counters.waiting.fetch_add(1, Ordering::Relaxed);
        let sent = self.commands.send(Command { request, events });
        sent.map(|()| answer).map_err(|_| {
            self.counters.waiting.fetch_sub(1, Ordering::Relaxed);
            Refused::Stopped
        })
    }
}

/// A sequence in a slot.
struct Running {
    slot: Slot,
    request: Request,
    events: Sender<Event>,
    generated: usize,
    /// The token to be decoded next.
    last: u32,
}

/// What became of a sequence after a token.
enum Progress {
    Goes(u32),
    Ends(Event),
    Cancelled,
}

/// The thread's own state.
struct Loop {
    generator: Box<dyn Generator>,
    inbox: Receiver<Command>,
    counters: Arc<Counters>,
    free: Vec<Slot>,
    waiting: VecDeque<Command>,
    running: Vec<Running>,
}

impl Loop {
    fn new(
        generator: Box<dyn Generator>,
        inbox: Receiver<Command>,
        counters: Arc<Counters>,
    ) -> Self {
        let free = (0..generator.slots()).rev().map(Slot).collect();
        let (waiting, running) = (VecDeque::new(), Vec::new());
        Self { generator, inbox, counters, free, waiting, running }
    }

    fn run(mut self) {
        while self.receive() {
            self.admit();
            self.step();
            self.counters.running.store(self.running.len(), Ordering::Relaxed);
        }
    }

    /// Takes what has arrived, waiting only if there is nothing to do; false at the very end.
    fn receive(&mut self) -> bool {
        if self.running.is_empty() && self.waiting.is_empty() {
            match self.inbox.recv() {
                Ok(command) => self.waiting.push_back(command),
                Err(_) => return false,
            }
        }
        // No more than can be admitted: the rest keeps its place in the bounded channel.
        while self.waiting.len() < self.free.len() {
            match self.inbox.try_recv() {
                Ok(command) => self.waiting.push_back(command),
                Err(TryRecvError::Empty | TryRecvError::Disconnected) => break,
            }
        }
        true
    }

    /// Gives waiting requests free slots and runs their prompts.
    fn admit(&mut self) {
        let mut batch: Vec<Running> = Vec::new();
        let mut tokens = 0;
        while !self.free.is_empty() && (batch.is_empty() || tokens < PREFILL_TOKENS_MAX) {
            let Some(Command { request, events }) = self.waiting.pop_front() else { break };
            self.counters.waiting.fetch_sub(1, Ordering::Relaxed);
            if let Some(event) = refusal(&request, self.generator.info()) {
                // A receiver that is gone has cancelled: nothing to tell.
                drop(events.send(event));
                continue;
            }
            tokens += request.prompt.len();
            self.counters.prompt_tokens.fetch_add(request.prompt.len() as u64, Ordering::Relaxed);
            let slot = self.free.pop().expect("the loop runs only while a slot is free");
            batch.push(Running { slot, request, events, generated: 0, last: 0 });
        }
        if batch.is_empty() {
            return;
        }
        let prompts: Vec<(Slot, &[u32])> =
            batch.iter().map(|one| (one.slot, one.request.prompt.as_slice())).collect();
        let logits = self.generator.prefill(&prompts);
        self.advance(batch, logits);
    }

    /// One token for every running sequence.
    fn step(&mut self) {
        if self.running.is_empty() {
            return;
        }
        let batch = std::mem::take(&mut self.running);
        let tokens: Vec<(Slot, u32)> = batch.iter().map(|one| (one.slot, one.last)).collect();
        let logits = self.generator.decode(&tokens);
        self.advance(batch, logits);
    }

    /// Samples from the logits of each; what goes on is running, what ends frees its slot.
    fn advance(&mut self, batch: Vec<Running>, logits: super::Result<Vec<Vec<f32>>>) {
        let logits = match logits {
            Ok(logits) => logits,
            Err(error) => {
                for one in batch {
                    drop(one.events.send(Event::Failed(error.to_string())));
                    self.generator.release(one.slot);
                    self.free.push(one.slot);
                }
                return;
            }
        };
        let context = self.generator.info().context;
        for (mut one, logits) in batch.into_iter().zip(logits) {
            let before = one.generated;
            let progress = progress(&mut one, &logits, context);
            let new = (one.generated - before) as u64;
            self.counters.generated_tokens.fetch_add(new, Ordering::Relaxed);
            match progress {
                Progress::Goes(token) => {
                    one.last = token;
                    self.running.push(one);
                    continue;
                }
                Progress::Ends(event) => drop(one.events.send(event)),
                Progress::Cancelled => {}
            }
            self.generator.release(one.slot);
            self.free.push(one.slot);
        }
    }
}

/// Why a request can never be served, or its end if it asks for nothing.
fn refusal(request: &Request, info: &ModelInfo) -> Option<Event> {
    let (length, context) = (request.prompt.len(), info.context);
    if length == 0 {
        return Some(Event::Failed("the prompt is empty".to_owned()));
    }
    if length > context {
        let why = format!("the prompt has {length} tokens, the model's context is {context}");
        return Some(Event::Failed(why));
    }
    let vocabulary = info.vocabulary;
    if let Some(id) = request.prompt.iter().find(|id| **id as usize >= vocabulary) {
        let why = format!("id {id} is outside the vocabulary of {vocabulary}");
        return Some(Event::Failed(why));
    }
    (request.sampling.max_tokens == 0).then_some(Event::Finished(FinishReason::Length))
}

fn progress(one: &mut Running, logits: &[f32], context: usize) -> Progress {
    let sampling = &one.request.sampling;
    let position = one.request.prompt.len() + one.generated;
    let token = match sampler::sample(logits, sampling, position) {
        Ok(token) => token,
        Err(error) => return Progress::Ends(Event::Failed(error.to_string())),
    };
    if sampling.stop_ids.contains(&token) {
        return Progress::Ends(Event::Finished(FinishReason::Stop));
    }
    one.generated += 1;
    if one.events.send(Event::Token(token)).is_err() {
        return Progress::Cancelled;
    }
    match one.generated == sampling.max_tokens || position + 1 >= context {
        true => Progress::Ends(Event::Finished(FinishReason::Length)),
        false => Progress::Goes(token),
    }
}

#[cfg(test)]
mod tests;
