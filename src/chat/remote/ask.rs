//! Many requests at once: a bounded number in flight, one queue for first tries and retries.
//!
//! Everything happens on the calling thread, in a runtime that nobody else sees. Replies that
//! arrived together are handed over together, so that a caller can keep them in one commit.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::time::Duration;

use anyhow::Context as _;
use futures_util::future::{BoxFuture, FutureExt};
use futures_util::stream::{FuturesUnordered, StreamExt};
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use tokio::time::Instant;

use super::error::{Error, Kind, Retry};
use super::exchange::{Ending, Received, client, exchange, judge};
use super::{Endpoint, Reply, wire};
use crate::chat::Request;

/// Longest wait between two attempts that we choose ourselves.
const BACKOFF_MAX: Duration = Duration::from_secs(60);

/// Requests given up in a row before the endpoint counts as down: a wrong model name or a dead
/// server is noticed, a few questions it cannot answer are not.
const GIVEN_UP_MAX: u32 = 20;

/// How often the caller is asked whether to go on while nothing happens.
const TICK: Duration = Duration::from_millis(50);

/// How long replies under way, which are paid for, are waited for once there is no point in asking
/// more.
const DRAIN: Duration = Duration::from_secs(5);

/// What to ask next.
#[derive(Debug)]
pub enum Next {
    /// This request, with the caller's number for it.
    Ask(usize, Box<Request>),
    /// Nothing before another reply is there.
    Wait,
    /// Nothing any more.
    Done,
}

/// Who wants to know.
pub trait Caller {
    /// The next request; called only when it can be sent at once.
    fn next(&mut self) -> Next;

    /// Replies as they came, called before any of them is parsed.
    ///
    /// # Errors
    /// If they cannot be kept; then nothing more is asked.
    fn received(&mut self, replies: &[Received]) -> anyhow::Result<()>;

    /// A request has its answer after so many attempts.
    ///
    /// # Errors
    /// If it cannot be kept; then nothing more is asked.
    fn answered(&mut self, index: usize, attempts: u32, reply: Reply) -> anyhow::Result<()>;

    /// A request was given up after so many attempts.
    ///
    /// # Errors
    /// If that cannot be kept; then nothing more is asked.
    fn failed(&mut self, index: usize, attempts: u32, error: Error) -> anyhow::Result<()>;

    /// Called after each round of replies, and at least every 50 ms; `false` ends everything.
    ///
    /// # Errors
    /// If what came cannot be kept; then nothing more is asked.
    fn go_on(&mut self) -> anyhow::Result<bool>;
}

/// How asking ended.
#[derive(Debug)]
pub enum Outcome {
    /// Every request was answered or given up.
    Done,
    /// The caller wanted no more.
    Stopped,
    /// The account is the problem; no request can succeed.
    Account(Error),
    /// The endpoint does not work.
    Down(Error),
}

/// A request that is under way or waits for its next attempt.
struct Job {
    index: usize,
    attempt: u32,
    body: Vec<u8>,
}

/// Waits for its time: the earliest first, and first come first among equals.
struct Waiting(Instant, u64, Job);

impl PartialEq for Waiting {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other).is_eq()
    }
}

impl Eq for Waiting {}

impl PartialOrd for Waiting {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Waiting {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        (self.0, self.1).cmp(&(other.0, other.1))
    }
}

type Flight = BoxFuture<'static, (Job, u16, Vec<u8>, Ending)>;

struct Asking<'a> {
    endpoint: &'a Endpoint,
    url: &'a reqwest::Url,
    client: reqwest::Client,
    flying: FuturesUnordered<Flight>,
    waiting: BinaryHeap<Reverse<Waiting>>,
    /// Nothing is sent before this: the endpoint asked everybody to wait.
    pause_until: Instant,
    /// The caller has nothing more to ask.
    exhausted: bool,
    /// Requests given up since the last answer.
    given_up: u32,
    /// Why nothing more is sent, and until when replies are waited for.
    closing: Option<(Outcome, Instant)>,
    counter: u64,
    rng: ChaCha8Rng,
}

/// Asks everything that `caller` wants asked.
pub(super) fn run(
    endpoint: &Endpoint,
    url: &reqwest::Url,
    caller: &mut dyn Caller,
) -> anyhow::Result<Outcome> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("could not start a runtime for requests")?;
    let client = client(endpoint, url)?;
    let outcome = runtime.block_on(async {
        let mut asking = Asking {
            endpoint,
            url,
            client,
            flying: FuturesUnordered::new(),
            waiting: BinaryHeap::new(),
            pause_until: Instant::now(),
            exhausted: false,
            given_up: 0,
            closing: None,
            counter: 0,
            rng: ChaCha8Rng::seed_from_u64(0),
        };
        asking.all(caller).await
    });
    // Looking up a name may still block a thread of the runtime; nobody waits for it.
    runtime.shutdown_background();
    outcome
}

impl Asking<'_> {
    async fn all(&mut self, caller: &mut dyn Caller) -> anyhow::Result<Outcome> {
        loop {
            if !caller.go_on()? {
                return Ok(Outcome::Stopped);
            }
            self.launch(caller);
            let idle = self.flying.is_empty();
            if let Some((_, until)) = &self.closing
                && (idle || Instant::now() >= *until)
                && let Some((outcome, _)) = self.closing.take()
            {
                return Ok(outcome);
            }
            if idle && self.waiting.is_empty() && self.exhausted {
                return Ok(Outcome::Done);
            }
            let nap = self.nap();
            let landed = tokio::select! {
                landed = self.flying.next(), if !idle => landed,
                () = tokio::time::sleep(nap) => None,
            };
            if let Some(landed) = landed {
                self.take(landed, caller)?;
            }
        }
    }

    /// How long nothing needs doing unless a reply comes.
    fn nap(&self) -> Duration {
        let now = Instant::now();
        let due = self.waiting.peek().map_or(now + TICK, |waiting| waiting.0.0);
        due.max(self.pause_until)
            .saturating_duration_since(now)
            .clamp(Duration::from_millis(1), TICK)
    }

    /// Sends as much as may be under way now: due retries first, then what is new.
    fn launch(&mut self, caller: &mut dyn Caller) {
        let now = Instant::now();
        if self.closing.is_some() || now < self.pause_until {
            return;
        }
        while self.flying.len() < self.endpoint.in_flight.max(1) {
            let due = self.waiting.peek().is_some_and(|waiting| waiting.0.0 <= now);
            if let Some(Reverse(Waiting(_, _, job))) = due.then(|| self.waiting.pop()).flatten() {
                self.send(job);
                continue;
            }
            if self.exhausted {
                return;
            }
            match caller.next() {
                Next::Ask(index, request) => {
                    let body = wire::body(self.endpoint, &request);
                    self.send(Job { index, attempt: 1, body });
                }
                Next::Wait => return,
                Next::Done => self.exhausted = true,
            }
        }
    }

    fn send(&mut self, job: Job) {
        let (client, url) = (self.client.clone(), self.url.clone());
        let (body, key) = (job.body.clone(), self.endpoint.key.clone());
        let flight = exchange(client, url, body, key);
        self.flying.push(flight.map(|(status, body, ending)| (job, status, body, ending)).boxed());
    }

    /// Takes in `first` and everything else that has arrived by now.
    fn take(
        &mut self,
        first: (Job, u16, Vec<u8>, Ending),
        caller: &mut dyn Caller,
    ) -> anyhow::Result<()> {
        let mut landed = vec![first];
        while let Some(Some(more)) = self.flying.next().now_or_never() {
            landed.push(more);
        }
        let mut replies = Vec::with_capacity(landed.len());
        let mut rest = Vec::with_capacity(landed.len());
        for (job, status, body, ending) in landed {
            replies.push(Received { index: job.index, attempt: job.attempt, status, body });
            rest.push((job, ending));
        }
        caller.received(&replies)?;
        for (received, (job, ending)) in replies.iter().zip(rest) {
            match judge(received, ending) {
                Ok(reply) => {
                    self.given_up = 0;
                    caller.answered(job.index, job.attempt, reply)?;
                }
                Err(error) => self.failed(job, error, caller)?,
            }
        }
        Ok(())
    }

    fn failed(&mut self, job: Job, error: Error, caller: &mut dyn Caller) -> anyhow::Result<()> {
        if error.is_account() {
            let outcome = Outcome::Account(error);
            self.closing.get_or_insert((outcome, Instant::now() + DRAIN));
            return Ok(());
        }
        if let Retry::After(wait) = error.retry
            && job.attempt < self.endpoint.attempts_max
        {
            self.retry(job, wait, error.kind);
            return Ok(());
        }
        self.given_up += 1;
        // Whoever gets no connection once has waited through every backoff for it.
        if error.kind == Kind::Connect || self.given_up >= GIVEN_UP_MAX {
            let outcome = Outcome::Down(error.clone());
            self.closing.get_or_insert((outcome, Instant::now()));
        }
        caller.failed(job.index, job.attempt, error)
    }

    /// Puts `job` back into the queue, after what the endpoint asks for and a random part of what
    /// has doubled with every attempt.
    fn retry(&mut self, job: Job, wait: Duration, kind: Kind) {
        let now = Instant::now();
        let doubled = self.endpoint.backoff.saturating_mul(1 << (job.attempt - 1).min(16));
        let jitter = doubled.min(BACKOFF_MAX).mul_f64(self.rng.random_range(0.5..1.0));
        if kind == Kind::Busy && !wait.is_zero() {
            self.pause_until = self.pause_until.max(now + wait);
        }
        // An endpoint that names a time knows better than we do; the jitter spreads the rush.
        let due = if wait.is_zero() { now + jitter } else { now + wait + jitter / 8 };
        self.counter += 1;
        let next = Job { attempt: job.attempt + 1, ..job };
        self.waiting.push(Reverse(Waiting(due, self.counter, next)));
    }
}
