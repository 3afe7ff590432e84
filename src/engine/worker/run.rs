//! The thread's own loop.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, TryRecvError};

use rayon::prelude::*;

use super::job::{Choice, Chosen, Job, Next};
use super::meter::{Counters, STEP_TOKENS_BOUNDS};
use super::{Command, Event};
use crate::blocks::Blocks;
use crate::scheduler::{Limits, Scheduler, Work};
use crate::sequence::{Order, Sequence};
use crate::{Generator, Piece};

/// Logits from which on it is worth to choose on several threads.
const PARALLEL_LOGITS: usize = 1 << 16;

/// The thread's own state.
pub(super) struct Loop {
    generator: Box<dyn Generator>,
    inbox: Receiver<Command>,
    scheduler: Scheduler,
    jobs: BTreeMap<u64, Job>,
    /// Requests so far.
    arrivals: u64,
    reporter: Reporter,
}

/// Tells the others; also that the thread has ended, however it does.
struct Reporter(Arc<Counters>);

impl Drop for Reporter {
    fn drop(&mut self) {
        self.0.die("its thread has ended");
    }
}

impl Loop {
    pub(super) fn new(
        generator: Box<dyn Generator>,
        inbox: Receiver<Command>,
        counters: Arc<Counters>,
        limits: Limits,
    ) -> Self {
        let shape = generator.cache();
        let scheduler = Scheduler::new(limits, Blocks::new(shape.block_size, shape.blocks));
        let reporter = Reporter(counters);
        Self { generator, inbox, scheduler, jobs: BTreeMap::new(), arrivals: 0, reporter }
    }

    pub(super) fn run(mut self) {
        while self.receive() {
            self.drop_cancelled();
            if let Err(error) = self.step() {
                self.reporter.0.die(&error.to_string());
                self.end_all(&error.to_string());
                self.report(0);
                return;
            }
        }
    }

    /// Takes what has arrived, waiting only if there is nothing to do; false at the very end.
    fn receive(&mut self) -> bool {
        if self.jobs.is_empty() {
            match self.inbox.recv() {
                Ok(command) => self.obey(command),
                Err(_) => return false,
            }
        }
        loop {
            match self.inbox.try_recv() {
                Ok(command) => self.obey(command),
                Err(TryRecvError::Empty | TryRecvError::Disconnected) => return true,
            }
        }
    }

    fn obey(&mut self, command: Command) {
        match command {
            Command::Add(job) => self.add(*job),
            Command::Abort => {
                self.end_all("the engine is shutting down");
                self.report(0);
            }
        }
    }

    fn add(&mut self, job: Job) {
        let request = self.arrivals;
        self.arrivals += 1;
        if job.is_empty() {
            job.finish_all();
            self.reporter.0.left_queue();
            self.reporter.0.ended();
            return;
        }
        let scored = job.request.sampling.prompt_logprobs.is_some();
        let order = Order { request, sample: 0 };
        self.scheduler.add(Sequence::new(order, job.request.prompt.clone(), scored));
        self.jobs.insert(request, job);
    }

    /// Lets requests go whose reader is gone or too far behind.
    fn drop_cancelled(&mut self) {
        let cancelled = self.jobs.iter().filter(|(_, job)| job.outlet.is_cancelled());
        let cancelled: BTreeSet<u64> = cancelled.map(|(request, _)| *request).collect();
        if cancelled.is_empty() {
            return;
        }
        self.reporter.0.update(|load| load.cancelled += cancelled.len() as u64);
        self.scheduler.remove(|order| cancelled.contains(&order.request));
        cancelled.iter().for_each(|request| self.forget(*request));
        if self.jobs.is_empty() {
            self.report(0);
        }
    }

    fn end_all(&mut self, why: &str) {
        self.scheduler.remove(|_| true);
        for request in self.jobs.keys().copied().collect::<Vec<u64>>() {
            self.jobs[&request].outlet.send(Event::Failed(why.to_owned()));
            self.forget(request);
        }
    }

    fn forget(&mut self, request: u64) {
        let job = self.jobs.remove(&request).expect("a request ends once");
        if !job.begun {
            self.reporter.0.left_queue();
        }
        self.reporter.0.ended();
    }

    /// Computes what the scheduler wants, and chooses what follows.
    fn step(&mut self) -> crate::Result<()> {
        let plan = self.scheduler.schedule();
        if plan.is_empty() {
            assert!(self.jobs.is_empty(), "the scheduler has nothing to do but requests wait");
            return Ok(());
        }
        let begun = self.begin(&plan);
        let pieces: Vec<Piece<'_>> =
            plan.iter().map(|work| piece(work, self.scheduler.get(work.order))).collect();
        let tokens: usize = pieces.iter().map(|piece| piece.tokens.len()).sum();
        let rows = self.generator.step(&pieces)?;
        self.scheduler.computed();
        let chosen = self.choose(&plan, rows);
        let mut generated = 0;
        for (work, chosen) in plan.iter().zip(chosen) {
            if let Some(chosen) = chosen {
                generated += u64::from(self.advance(work.order, chosen));
            }
        }
        self.reporter.0.update(|load| {
            load.prompt_tokens += begun;
            load.generated_tokens += generated;
        });
        self.report(tokens as u64);
        Ok(())
    }

    /// Notes the requests that are begun; gives the tokens of their prompts.
    fn begin(&mut self, plan: &[Work]) -> u64 {
        let mut tokens = 0;
        for work in plan {
            let job = self.jobs.get_mut(&work.order.request).expect("work belongs to a request");
            if !job.begun {
                job.begun = true;
                tokens += job.request.prompt.len() as u64;
                self.reporter.0.left_queue();
            }
        }
        tokens
    }

    /// Chooses from the rows of each piece of work that has some.
    fn choose(&mut self, plan: &[Work], rows: Vec<Vec<f32>>) -> Vec<Option<Chosen>> {
        let logits: usize = rows.iter().map(Vec::len).sum();
        let mut rows = rows.into_iter();
        let mut taken = Vec::with_capacity(plan.len());
        for work in plan {
            let rows: Vec<Vec<f32>> = rows.by_ref().take(work.logits.len()).collect();
            let job = self.jobs.get_mut(&work.order.request).expect("work belongs to a request");
            taken.push((!rows.is_empty()).then(|| {
                let sampler = job.samplers.remove(&work.order.sample);
                (sampler.expect("an answer that goes on has a sampler"), rows)
            }));
        }
        let choices: Vec<Option<Choice<'_>>> = plan
            .iter()
            .zip(taken)
            .map(|(work, taken)| {
                let job = &self.jobs[&work.order.request];
                taken.map(|taken| job.choice(work, self.scheduler.get(work.order), taken))
            })
            .collect();
        let choose = |choice: Option<Choice<'_>>| choice.map(Choice::choose);
        match logits >= PARALLEL_LOGITS && plan.len() > 1 {
            true => choices.into_par_iter().map(choose).collect(),
            false => choices.into_iter().map(choose).collect(),
        }
    }

    /// Goes on with what was chosen; true if it is a token of the answer.
    fn advance(&mut self, order: Order, chosen: Chosen) -> bool {
        // Another answer of the request may have failed in this very step.
        let Some(job) = self.jobs.get_mut(&order.request) else { return false };
        job.samplers.insert(order.sample, chosen.sampler.clone());
        let Some(next) = job.take(order.sample, chosen) else { return false };
        let begins = order.sample == 0 && self.scheduler.get(order).generated().is_empty();
        if begins && !matches!(next, Next::Fails) && job.request.sampling.max_tokens > 0 {
            for sample in job.fork() {
                let prompt = job.request.prompt.clone();
                self.scheduler.add(Sequence::new(Order { sample, ..order }, prompt, false));
            }
        }
        match next {
            Next::Goes(token) => {
                self.scheduler.append(order, token);
                true
            }
            Next::Ends(with_token) => {
                job.samplers.remove(&order.sample);
                job.going -= 1;
                let is_last = job.going == 0;
                self.scheduler.remove(|other| other == order);
                if is_last {
                    self.forget(order.request);
                }
                with_token
            }
            Next::Fails => {
                self.scheduler.distrust(order);
                self.scheduler.remove(|other| other.request == order.request);
                self.forget(order.request);
                false
            }
        }
    }

    /// Publishes what is going on.
    fn report(&self, tokens: u64) {
        let (scheduler, counts) = (&self.scheduler, self.scheduler.counts());
        // Requests that were not begun are counted where they wait.
        let unbegun = self.jobs.values().filter(|job| !job.begun).count();
        self.reporter.0.update(|load| {
            load.running = scheduler.running();
            load.waiting = scheduler.waiting() - unbegun;
            load.blocks_used = scheduler.blocks().count() - scheduler.blocks().available();
            load.prefix_queries = counts.prefix_queries;
            load.prefix_hits = counts.prefix_hits;
            load.preemptions = counts.preemptions;
            if tokens > 0 {
                load.steps += 1;
                load.step_tokens += tokens;
                let bucket = STEP_TOKENS_BOUNDS.partition_point(|bound| *bound < tokens);
                load.steps_of[bucket] += 1;
            }
        });
        self.reporter.0.moved();
    }
}

fn piece<'a>(work: &Work, sequence: &'a Sequence) -> Piece<'a> {
    let start = work.positions.start;
    Piece {
        tokens: &sequence.tokens()[work.positions.clone()],
        start,
        blocks: sequence.blocks(),
        logits: work.logits.start - start..work.logits.end - start,
    }
}
