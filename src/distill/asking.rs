//! Between the endpoint and the store: what is asked next, and where the answers go.

use std::time::{Duration, Instant};

use super::dead::fingerprint;
use super::{Config, Summary, label, request};
use crate::chat::remote::{Budget, Caller, Error, Next, Received, Reply as Parsed, Retry};
use crate::records::{DeadLetter, FinishReason, NewTrace, QuestionId, Reply};
use crate::stage::Context;
use crate::store::WorkItem;

/// Bytes per token of a prompt, for what a request may cost at most.
const BYTES_PER_TOKEN: f64 = 4.0;

/// Traces per commit. Replies are committed as they come, so a crash loses none of these.
const TRACES_PER_COMMIT: usize = 64;

/// Traces of slow teachers are committed this often, so that the panel sees them come.
const FLUSH_INTERVAL: Duration = Duration::from_secs(1);

/// Prices are per million tokens.
const PER_MILLION: f64 = 1e-6;

/// One run of asking.
pub(super) struct Asking<'a> {
    cx: &'a Context,
    config: &'a Config,
    work: Vec<WorkItem>,
    next: usize,
    budget: Budget,
    /// What judges had cost when that was looked up last.
    judges: f64,
    /// Traces of replies that are kept already.
    traces: Vec<NewTrace>,
    /// What was refused since the last answer: perhaps the fault is not the question's.
    doubtful: Vec<DeadLetter>,
    /// What was refused by an endpoint that answered others afterwards.
    dead: Vec<DeadLetter>,
    flushed: Instant,
    summary: Summary,
    stopped_early: bool,
    last_error: Option<Error>,
}

impl<'a> Asking<'a> {
    /// Is about to ask for `work`, after `teachers` and `judges` cost so many dollars.
    pub(super) fn new(
        cx: &'a Context,
        config: &'a Config,
        work: Vec<WorkItem>,
        (teachers, judges): (f64, f64),
    ) -> Self {
        let longest = work.iter().map(|item| item.question.problem.len()).max().unwrap_or(0);
        let prompt = longest as f64 / BYTES_PER_TOKEN * config.price_prompt;
        let completion = f64::from(config.max_tokens) * config.price_completion;
        let each_max = (prompt + completion) * PER_MILLION;
        let budget = Budget::new(config.budget_usd, teachers + judges, each_max);
        let summary = Summary { requested: work.len() as u64, ..Summary::default() };
        Self {
            cx,
            config,
            work,
            next: 0,
            budget,
            judges,
            traces: Vec::new(),
            doubtful: Vec::new(),
            dead: Vec::new(),
            flushed: Instant::now(),
            summary,
            stopped_early: false,
            last_error: None,
        }
    }

    /// Counts what an earlier run left: traces that were made of its replies, and requests that
    /// were refused then and are not sent now.
    pub(super) fn count_earlier(&mut self, recovered: &[NewTrace], refused: u64) {
        self.summary.requested += recovered.len() as u64 + refused;
        self.summary.dead_letter += refused;
        for trace in recovered {
            self.summary.count(trace);
        }
    }

    /// Whether anything is to be asked.
    pub(super) fn has_work(&self) -> bool {
        !self.work.is_empty()
    }

    /// Whether the budget ended it.
    pub(super) fn stopped_early(&self) -> bool {
        self.stopped_early
    }

    /// What was done, and the last reason why a request was given up.
    pub(super) fn into_summary(self) -> (Summary, Option<Error>) {
        (self.summary, self.last_error)
    }

    /// Keeps the traces that are parsed.
    pub(super) fn flush(&mut self) -> anyhow::Result<()> {
        if !self.traces.is_empty() {
            self.cx.store.add_traces(&self.traces)?;
            self.traces.clear();
        }
        if !self.dead.is_empty() {
            self.cx.store.add_dead_letters(&self.dead)?;
            self.dead.clear();
        }
        self.flushed = Instant::now();
        Ok(())
    }

    /// Keeps what was refused last, unless nothing was answered at all: then it is the endpoint.
    pub(super) fn bury(&mut self) -> anyhow::Result<()> {
        if self.summary.succeeded > 0 {
            self.dead.append(&mut self.doubtful);
        }
        self.flush()
    }

    fn report(&self) {
        let Summary { requested, succeeded, failed, dead_letter, retries, .. } = self.summary;
        let over = failed + dead_letter;
        let mut note = "asking the teacher".to_owned();
        if retries > 0 {
            note += &format!(", {retries} retries");
        }
        if over > 0 {
            note += &format!(", {over} given up");
        }
        self.cx.progress.set(succeeded + over, requested, note);
    }
}

impl Caller for Asking<'_> {
    fn next(&mut self) -> Next {
        let Some(item) = self.work.get(self.next) else { return Next::Done };
        if !self.budget.reserve() {
            if !self.budget.is_idle() {
                return Next::Wait;
            }
            self.stopped_early = true;
            return Next::Done;
        }
        let index = self.next;
        self.next += 1;
        Next::Ask(index, Box::new(request(self.config, &item.question, item.sample)))
    }

    fn received(&mut self, replies: &[Received]) -> anyhow::Result<()> {
        let reply = |received: &Received| {
            let item = &self.work[received.index];
            Reply {
                question_id: item.question.id,
                sample: item.sample,
                model: self.config.model.clone(),
                attempt: received.attempt,
                status: received.status,
                body: received.body.clone(),
            }
        };
        self.summary.attempts += replies.len() as u64;
        self.summary.retries += replies.iter().filter(|reply| reply.attempt > 1).count() as u64;
        // A reply that never came has no bytes to keep.
        let kept: Vec<Reply> = replies.iter().filter(|r| r.status > 0).map(reply).collect();
        if !kept.is_empty() {
            self.cx.store.add_replies(&kept)?;
        }
        Ok(())
    }

    fn answered(&mut self, index: usize, attempts: u32, reply: Parsed) -> anyhow::Result<()> {
        let item = &self.work[index];
        let trace = trace(self.config, (item.question.id, item.sample), attempts, reply);
        self.budget.settle(trace.cost_usd);
        self.summary.count(&trace);
        self.dead.append(&mut self.doubtful);
        self.traces.push(trace);
        if self.traces.len() >= TRACES_PER_COMMIT { self.flush() } else { Ok(()) }
    }

    fn failed(&mut self, index: usize, _: u32, error: Error) -> anyhow::Result<()> {
        self.budget.settle(0.0);
        match error.retry {
            Retry::Never => {
                self.summary.dead_letter += 1;
                let WorkItem { question, sample } = &self.work[index];
                self.doubtful.push(DeadLetter {
                    question_id: question.id,
                    sample: *sample,
                    model: self.config.model.clone(),
                    request: fingerprint(self.config, question, *sample),
                    why: error.message.clone(),
                });
            }
            Retry::After(_) => self.summary.failed += 1,
        }
        tracing::warn!("a request was given up: {error}");
        self.last_error = Some(error);
        Ok(())
    }

    fn go_on(&mut self) -> anyhow::Result<bool> {
        self.report();
        if self.flushed.elapsed() >= FLUSH_INTERVAL {
            self.flush()?;
            // A judge at work spends of the same money.
            let judges = self.cx.store.judges_cost_usd()?;
            self.budget.spend(judges - self.judges);
            self.judges = judges;
        }
        Ok(!self.cx.stop.is_requested())
    }
}

impl Summary {
    /// Counts a trace that is there now.
    fn count(&mut self, trace: &NewTrace) {
        self.succeeded += 1;
        self.truncated += u64::from(trace.finish_reason == FinishReason::Length);
        self.prompt_tokens += trace.prompt_tokens;
        self.completion_tokens += trace.completion_tokens;
        self.cost_usd += trace.cost_usd;
    }
}

/// The trace that a parsed reply is.
pub(super) fn trace(
    config: &Config,
    (question_id, sample): (QuestionId, u32),
    attempts: u32,
    reply: Parsed,
) -> NewTrace {
    let listed = reply.prompt_tokens as f64 * config.price_prompt
        + reply.completion_tokens as f64 * config.price_completion;
    NewTrace {
        question_id,
        sample,
        model: config.model.clone(),
        endpoint: label(config),
        reasoning: reply.reasoning,
        solution: reply.solution,
        finish_reason: FinishReason::from_name(&reply.finish_reason),
        prompt_tokens: reply.prompt_tokens,
        completion_tokens: reply.completion_tokens,
        // What the endpoint says it charged is truer than a list of prices.
        cost_usd: reply.cost_usd.unwrap_or(listed * PER_MILLION),
        attempts,
    }
}
