//! Takes the missing samples: models answer on threads of their own, this thread grades and stores.

use std::ops::ControlFlow;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, Sender};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context as _, anyhow};

use super::target::Target;
use super::{Config, Means, Problem};
use crate::chat::answer::{last_boxed, last_code_block};
use crate::chat::local::{LocalModel, Place};
use crate::chat::remote::{Endpoint, Remote};
use crate::chat::{Answer, Message, Model, Request};
use crate::engine::{Device, FinishReason};
use crate::records::{Domain, Sample, Verdict};
use crate::stage;
use crate::verify::{Attempt, Tools, verifier};

/// How often samples are stored. A crash loses no more than this.
const STORE_INTERVAL: Duration = Duration::from_millis(500);

/// How often the wait for an answer looks whether somebody wants the stage to end.
const POLL: Duration = Duration::from_millis(50);

/// What was taken this time.
#[derive(Debug, Default)]
pub(super) struct Taken {
    pub(super) sampled: u64,
    pub(super) tokens: u64,
}

/// What a thread says: an answer by target and place in its work, or that it has ended.
enum Said {
    Answer(usize, usize, anyhow::Result<Answer>),
    Ended(anyhow::Result<()>),
}

/// Takes every missing sample of `targets`.
pub(super) fn take(
    cx: &stage::Context,
    config: &Config,
    means: &Means<'_>,
    targets: &[Target],
) -> anyhow::Result<Taken> {
    let work = work(config, targets)?;
    let total: u64 = targets.iter().map(|target| target.kept + target.missing.len() as u64).sum();
    let kept: u64 = targets.iter().map(|target| target.kept).sum();
    let mut taken = Taken::default();
    cx.progress.set(kept, total.max(1), "asking");
    if work.is_empty() {
        return Ok(taken);
    }
    let (said, heard) = mpsc::channel();
    let threads = start(config, means.key, work, &said)?;
    drop(said);
    let mut store = Keeper::new(cx, targets);
    let result = listen(cx, threads, &heard, &mut |target, place, answer| {
        let target_of = &targets[target];
        let (problem, number) = &target_of.missing[place];
        let sample = sample(target_of, problem, *number, &answer, means.tools)?;
        taken.sampled += 1;
        taken.tokens += answer.completion_tokens;
        cx.progress.set(kept + taken.sampled, total, format!("asking `{}`", target_of.name));
        store.add(target, sample)
    });
    // What is graded is kept, whatever ended the stage.
    store.flush()?;
    result?;
    Ok(taken)
}

/// The requests of one model.
struct Work {
    target: usize,
    name: String,
    dir: Option<std::path::PathBuf>,
    requests: Vec<Request>,
}

fn work(config: &Config, targets: &[Target]) -> anyhow::Result<Vec<Work>> {
    let request = |target: &Target, problem: &Problem, sample: u32| Request {
        messages: vec![Message::user(problem.asked())],
        temperature: config.temperature as f32,
        top_p: config.top_p as f32,
        max_tokens: config.max_tokens,
        seed: target.protocol.sample_seed(&problem.id, sample),
    };
    let with_work = targets.iter().enumerate().filter(|(_, target)| !target.missing.is_empty());
    Ok(with_work
        .map(|(index, target)| {
            let missing = target.missing.iter();
            Work {
                target: index,
                name: target.name.clone(),
                dir: target.dir.clone(),
                requests: missing.map(|(problem, n)| request(target, problem, *n)).collect(),
            }
        })
        .collect())
}

/// Starts as many threads as may work side by side; each takes the next model until none is left.
/// They end by themselves when nobody listens.
fn start(
    config: &Config,
    key: Option<&str>,
    work: Vec<Work>,
    said: &Sender<Said>,
) -> anyhow::Result<usize> {
    let device: Device = config.device.parse().map_err(|why: String| anyhow!(why))?;
    let most = match device {
        Device::Cpu => std::thread::available_parallelism().map_or(1, usize::from),
        // Models of any size: one at a time has the whole memory.
        Device::Cuda(_) => 1,
    };
    let threads = work.len().min(most).max(1);
    // Side by side, models share the processor instead of fighting over it.
    let place =
        Place { threads: (most / threads).max(1), weights: config.weights, ..Place::on(device) };
    let next = Arc::new(AtomicUsize::new(0));
    let work = Arc::new(Mutex::new(work.into_iter().map(Some).collect::<Vec<_>>()));
    for _ in 0..threads {
        let (next, work, said) = (Arc::clone(&next), Arc::clone(&work), said.clone());
        let (config, key) = (config.clone(), key.map(str::to_owned));
        let body = move || loop {
            let index = next.fetch_add(1, Ordering::Relaxed);
            let mut list = work.lock().unwrap_or_else(PoisonError::into_inner);
            let Some(one) = list.get_mut(index).and_then(Option::take) else {
                drop(list);
                // Nobody listens any more: nothing to say.
                drop(said.send(Said::Ended(Ok(()))));
                return;
            };
            drop(list);
            if let Err(error) = ask(&config, place, key.as_deref(), &one, &said) {
                let error = error.context(format!("could not evaluate `{}`", one.name));
                drop(said.send(Said::Ended(Err(error))));
                return;
            }
        };
        std::thread::Builder::new()
            .name("evaluate".to_owned())
            .spawn(body)
            .context("could not start a thread")?;
    }
    Ok(threads)
}

/// Opens one model and asks it everything.
fn ask(
    config: &Config,
    place: Place,
    key: Option<&str>,
    work: &Work,
    said: &Sender<Said>,
) -> anyhow::Result<()> {
    let model: Box<dyn Model> = match &work.dir {
        Some(dir) => Box::new(LocalModel::open(&work.name, dir, place)?),
        None => {
            let key = key.map(str::to_owned);
            Box::new(Remote::new(Endpoint::new(&config.endpoint, &work.name, key))?)
        }
    };
    let mut sink = |place, answer| match said.send(Said::Answer(work.target, place, answer)) {
        Ok(()) => ControlFlow::Continue(()),
        Err(_) => ControlFlow::Break(()),
    };
    model.answer_many(&work.requests, config.in_flight as usize, &mut sink)
}

/// Hands every answer on until all `threads` have ended.
fn listen(
    cx: &stage::Context,
    mut threads: usize,
    heard: &Receiver<Said>,
    take: &mut dyn FnMut(usize, usize, Answer) -> anyhow::Result<()>,
) -> anyhow::Result<()> {
    while threads > 0 {
        cx.stop_requested()?;
        match heard.recv_timeout(POLL) {
            Ok(Said::Answer(target, place, answer)) => take(target, place, answer?)?,
            Ok(Said::Ended(result)) => {
                result?;
                threads -= 1;
            }
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => return Err(anyhow!("a model's thread died")),
        }
    }
    Ok(())
}

/// Grades one answer.
fn sample(
    target: &Target,
    problem: &Problem,
    number: u32,
    answer: &Answer,
    tools: &Tools,
) -> anyhow::Result<Sample> {
    let question = &problem.question;
    let truncated = answer.finish_reason == FinishReason::Length;
    let attempt = Attempt { solution: &answer.solution, truncated };
    let judgement = verifier(question, tools.mode)
        .verify(question, &attempt, tools)
        .with_context(|| format!("could not grade an answer to problem `{}`", problem.id))?;
    let extracted = match question.domain {
        Domain::Code => last_code_block(&answer.solution),
        Domain::Math | Domain::Biology | Domain::Chemistry | Domain::Physics | Domain::Puzzle => {
            last_boxed(&answer.solution)
        }
    };
    Ok(Sample {
        model: target.name.clone(),
        benchmark: target.benchmark.clone(),
        problem: problem.id.clone(),
        family: question.family.clone(),
        sample: number,
        text: answer.text.clone(),
        answer: extracted.map(str::to_owned),
        correct: judgement.verdict == Verdict::Correct,
        tokens: answer.completion_tokens,
        finish_reason: answer.finish_reason.name().to_owned(),
    })
}

/// Stores samples twice a second, one transaction per model.
struct Keeper<'a> {
    cx: &'a stage::Context,
    targets: &'a [Target],
    waiting: Vec<Vec<Sample>>,
    stored: Instant,
}

impl<'a> Keeper<'a> {
    fn new(cx: &'a stage::Context, targets: &'a [Target]) -> Self {
        let waiting = targets.iter().map(|_| Vec::new()).collect();
        Self { cx, targets, waiting, stored: Instant::now() }
    }

    fn add(&mut self, target: usize, sample: Sample) -> anyhow::Result<()> {
        self.waiting[target].push(sample);
        if self.stored.elapsed() >= STORE_INTERVAL { self.flush() } else { Ok(()) }
    }

    fn flush(&mut self) -> anyhow::Result<()> {
        for (target, samples) in self.targets.iter().zip(&mut self.waiting) {
            if !samples.is_empty() {
                self.cx.store.add_samples(&target.protocol_hash, samples)?;
                samples.clear();
            }
        }
        self.stored = Instant::now();
        Ok(())
    }
}
