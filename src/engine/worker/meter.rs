//! What a worker is doing and has done, and who may come in.

use std::ops::AddAssign;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use super::{QUEUE_MAX, Refused};

/// Upper bounds of the histogram of tokens per step; a last bucket is for all above.
pub const STEP_TOKENS_BOUNDS: [u64; 10] = [1, 2, 4, 8, 16, 32, 64, 128, 256, 512];

/// How busy a worker is and what it has done since its start.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Load {
    /// Sequences that are worked on.
    pub running: usize,
    /// Requests that were not begun, and sequences that had to give way.
    pub waiting: usize,
    /// Tokens of prompts taken in.
    pub prompt_tokens: u64,
    /// Tokens generated.
    pub generated_tokens: u64,
    /// Blocks of the cache.
    pub blocks: usize,
    /// Those that sequences hold.
    pub blocks_used: usize,
    /// Tokens looked up among the beginnings that the cache holds.
    pub prefix_queries: u64,
    /// Those that were there.
    pub prefix_hits: u64,
    /// Times that a sequence had to give way and is computed again.
    pub preemptions: u64,
    /// Requests that ended because nobody listens any more.
    pub cancelled: u64,
    /// Steps.
    pub steps: u64,
    /// Tokens computed in all steps.
    pub step_tokens: u64,
    /// Steps with at most as many tokens as [`STEP_TOKENS_BOUNDS`] says, and with more.
    pub steps_of: [u64; STEP_TOKENS_BOUNDS.len() + 1],
}

impl AddAssign for Load {
    fn add_assign(&mut self, other: Self) {
        self.running += other.running;
        self.waiting += other.waiting;
        self.prompt_tokens += other.prompt_tokens;
        self.generated_tokens += other.generated_tokens;
        self.blocks += other.blocks;
        self.blocks_used += other.blocks_used;
        self.prefix_queries += other.prefix_queries;
        self.prefix_hits += other.prefix_hits;
        self.preemptions += other.preemptions;
        self.cancelled += other.cancelled;
        self.steps += other.steps;
        self.step_tokens += other.step_tokens;
        for (sum, steps) in self.steps_of.iter_mut().zip(other.steps_of) {
            *sum += steps;
        }
    }
}

/// Whether a worker does its work.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Health {
    /// Why it has ended for good, if it has.
    pub dead: Option<String>,
    /// How long ago it finished a step or got something to do after a rest; nothing while it has
    /// nothing to do.
    pub step_age: Option<Duration>,
    /// Whether it takes no more requests.
    pub draining: bool,
}

/// What both sides of a worker see.
#[derive(Debug)]
pub(super) struct Counters {
    load: Mutex<Load>,
    /// Requests that were handed over and not begun.
    queued: Mutex<usize>,
    queue_moved: Condvar,
    /// Requests that were handed over and did not end.
    unfinished: AtomicUsize,
    draining: AtomicBool,
    dead: Mutex<Option<String>>,
    start: Instant,
    /// Milliseconds after `start` of the last step or of the first request after a rest.
    moved_at: AtomicU64,
}

impl Counters {
    pub(super) fn new(blocks: usize) -> Self {
        Self {
            load: Mutex::new(Load { blocks, ..Load::default() }),
            queued: Mutex::new(0),
            queue_moved: Condvar::new(),
            unfinished: AtomicUsize::new(0),
            draining: AtomicBool::new(false),
            dead: Mutex::new(None),
            start: Instant::now(),
            moved_at: AtomicU64::new(0),
        }
    }

    /// Takes a place in the queue, or says at once that there is none.
    pub(super) fn try_enter(&self) -> Result<(), Refused> {
        self.is_open()?;
        let mut queued = lock(&self.queued);
        if *queued >= QUEUE_MAX {
            return Err(Refused::Full);
        }
        *queued += 1;
        drop(queued);
        self.entered();
        Ok(())
    }

    /// Waits for a place in the queue.
    pub(super) fn enter(&self) -> Result<(), Refused> {
        let mut queued = lock(&self.queued);
        loop {
            self.is_open()?;
            if *queued < QUEUE_MAX {
                break;
            }
            queued = self.queue_moved.wait(queued).unwrap_or_else(PoisonError::into_inner);
        }
        *queued += 1;
        drop(queued);
        self.entered();
        Ok(())
    }

    fn entered(&self) {
        if self.unfinished.fetch_add(1, Ordering::AcqRel) == 0 {
            self.moved();
        }
    }

    pub(super) fn is_open(&self) -> Result<(), Refused> {
        if let Some(why) = lock(&self.dead).clone() {
            return Err(Refused::Dead(why));
        }
        match self.draining.load(Ordering::Acquire) {
            true => Err(Refused::Draining),
            false => Ok(()),
        }
    }

    /// A request has left the queue.
    pub(super) fn left_queue(&self) {
        *lock(&self.queued) -= 1;
        self.queue_moved.notify_one();
    }

    /// A request has ended.
    pub(super) fn ended(&self) {
        self.unfinished.fetch_sub(1, Ordering::AcqRel);
    }

    /// Something has moved.
    pub(super) fn moved(&self) {
        self.moved_at.store(self.start.elapsed().as_millis() as u64, Ordering::Release);
    }

    pub(super) fn update(&self, change: impl FnOnce(&mut Load)) {
        change(&mut lock(&self.load));
    }

    /// The worker has ended; the first reason stays.
    pub(super) fn die(&self, why: &str) {
        lock(&self.dead).get_or_insert_with(|| why.to_owned());
        self.wake_all();
    }

    pub(super) fn drain(&self) {
        self.draining.store(true, Ordering::Release);
        self.wake_all();
    }

    /// Wakes whoever waits for a place in the queue, and whoever is just about to.
    fn wake_all(&self) {
        drop(lock(&self.queued));
        self.queue_moved.notify_all();
    }

    pub(super) fn unfinished(&self) -> usize {
        self.unfinished.load(Ordering::Acquire)
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // Numbers are replaced whole: a panic elsewhere leaves nothing half-written.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Reads a worker's counters, also after its end.
#[derive(Debug, Clone)]
pub struct Meter(pub(super) Arc<Counters>);

impl Meter {
    /// How busy the worker is and what it has done.
    pub fn load(&self) -> Load {
        let mut load = *lock(&self.0.load);
        load.waiting += *lock(&self.0.queued);
        load
    }

    /// Whether the worker does its work.
    pub fn health(&self) -> Health {
        let now = self.0.start.elapsed();
        let moved_at = Duration::from_millis(self.0.moved_at.load(Ordering::Acquire));
        let busy = self.0.unfinished() > 0;
        Health {
            dead: lock(&self.0.dead).clone(),
            step_age: busy.then(|| now.saturating_sub(moved_at)),
            draining: self.0.draining.load(Ordering::Acquire),
        }
    }

    /// Whether thread, handles and other meters are gone, so that nothing counts any more.
    pub fn is_final(&self) -> bool {
        Arc::strong_count(&self.0) == 1
    }
}
