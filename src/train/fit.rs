//! Trains one model on one set of examples, from wherever it was left.

use std::path::{Path, PathBuf};
use std::time::Instant;

use anyhow::Context;

use super::batches::{Orders, Walk};
use super::config::{Config, NonFinite, Packing};
use super::curve::{self, Curve};
use super::events::{self, Clock, Spikes, event};
use super::identity::Identity;
use super::resume::{self, Progress};
use super::save::{self, Save, Saved, Saver};
use super::schedule::Plan;
use super::utilisation::Utilisation;
use super::weigh::{self, Batch};
use super::{certificate, check, explained, memory, step};
use crate::dataset::pack::{Cost, Limits, Spread, spread};
use crate::dataset::shards::Shards;
use crate::engine::footprint::Shape;
use crate::engine::{self, Trainer, Weights};
use crate::records::{RunEvent, RunEventKind, Step};
use crate::stage::{self, Stopped};

/// What is trained, on what, and where it goes.
#[derive(Debug, Clone, Copy)]
pub struct Task<'a> {
    /// Folder of the model to begin with, weights included.
    pub model: &'a Path,
    /// The examples.
    pub shards: &'a Shards,
    /// Folder for `steps.jsonl`, checkpoints and the finished model.
    pub out: &'a Path,
    /// How.
    pub config: &'a Config,
}

/// Who wants to know how it goes.
pub trait Observer {
    /// The run goes on at step `first`; steps from there on that were seen before are repeated.
    ///
    /// # Errors
    /// If it cannot be kept; the run ends.
    fn began(&mut self, first: u64) -> anyhow::Result<()>;

    /// A step is done.
    ///
    /// # Errors
    /// If it cannot be kept; the run ends.
    fn stepped(&mut self, step: &Step) -> anyhow::Result<()>;

    /// The checkpoint after `step` steps is complete, and those of the steps `gone` were deleted.
    ///
    /// # Errors
    /// If it cannot be kept; the run ends.
    fn saved(&mut self, step: u64, gone: &[u64]) -> anyhow::Result<()>;

    /// Something else happened; it is in `events.jsonl` already.
    ///
    /// # Errors
    /// If it cannot be kept; the run ends.
    fn happened(&mut self, event: &RunEvent) -> anyhow::Result<()>;
}

/// An observer that looks away.
impl Observer for () {
    fn began(&mut self, _first: u64) -> anyhow::Result<()> {
        Ok(())
    }

    fn stepped(&mut self, _step: &Step) -> anyhow::Result<()> {
        Ok(())
    }

    fn saved(&mut self, _step: u64, _gone: &[u64]) -> anyhow::Result<()> {
        Ok(())
    }

    fn happened(&mut self, _event: &RunEvent) -> anyhow::Result<()> {
        Ok(())
    }
}

impl Task<'_> {
    /// How it walks through its examples.
    pub fn walk(&self) -> Walk {
        self.config.walk(self.shards.len())
    }

    /// Its schedule.
    pub fn plan(&self) -> Plan {
        self.config.schedule(self.walk().steps_per_epoch())
    }

    /// What makes it this run.
    ///
    /// # Errors
    /// If a file of the model cannot be read.
    pub(super) fn identity(&self) -> anyhow::Result<Identity> {
        Identity::of(self.config, self.shards.hash(), self.model)
    }
}

/// Trains until the last step is done and `final/` is written. A request to stop writes a
/// checkpoint first. What was finished before is not repeated.
///
/// # Errors
/// [`Stopped`]; a model, example or checkpoint cannot be used; loss or gradient is no number.
pub fn fit(
    task: Task<'_>,
    stop: &dyn Fn() -> bool,
    observer: &mut dyn Observer,
) -> anyhow::Result<()> {
    check::ready(&task)?;
    std::fs::create_dir_all(task.out)
        .with_context(|| format!("could not make the folder `{}`", task.out.display()))?;
    save::sweep(task.out)?;
    let run = task.identity()?;
    if let Some(step) = task.config.resume_from {
        go_back(task.out, step, &run)?;
    }
    let resumed = resume::newest(task.out, &run)?;
    let first = resumed.as_ref().map_or(0, |(_, progress)| progress.step);
    let mut fitting = Fitting::new(task, (run, first), observer)?;
    fitting.begin(first)?;
    let mut trainer = open(&task, resumed.as_ref())?;
    save::rehearse(task.out, memory::checkpoint(task.model, &task.config.training())?)?;
    fitting.all(trainer.as_mut(), stop)?;
    resume::save_final(trainer.snapshot()?.as_ref(), task.model, task.out)
}

/// Puts a run back to its checkpoint after `step` steps, if it is this run's.
fn go_back(out: &Path, step: u64, run: &Identity) -> anyhow::Result<()> {
    let checkpoint = resume::folder(out, step);
    if checkpoint.is_dir() {
        resume::checked(&checkpoint, run)?;
    }
    let gone = resume::go_back(out, step)?;
    events::went_back(out, step, &gone)
}

/// A run from its first step with a trainer of the test's.
#[cfg(test)]
pub(super) fn run_for_test(
    task: Task<'_>,
    trainer: &mut dyn Trainer,
    observer: &mut dyn Observer,
) -> anyhow::Result<()> {
    let mut fitting = Fitting::new(task, (task.identity()?, 0), observer)?;
    fitting.begin(0)?;
    fitting.all(trainer, &|| false)
}

/// The trainer at its newest checkpoint, or at the model it begins with.
fn open(
    task: &Task<'_>,
    resumed: Option<&(PathBuf, Progress)>,
) -> anyhow::Result<Box<dyn Trainer>> {
    let devices = task.config.devices().map_err(anyhow::Error::msg)?;
    let training = task.config.training();
    let folder = resumed.map_or(task.model, |(dir, _)| dir);
    let weights = Weights::Folder(folder);
    let mut trainer = engine::open_trainer(&devices, weights, &training).map_err(explained)?;
    if let Some((dir, _)) = resumed {
        resume::load_state(trainer.as_mut(), dir)?;
    }
    Ok(trainer)
}

/// A run between two steps.
struct Fitting<'a> {
    task: Task<'a>,
    observer: &'a mut dyn Observer,
    /// What makes it this run.
    run: Identity,
    /// Steps done.
    done: u64,
    /// Steps in the newest checkpoint.
    saved: u64,
    /// Sum and number of the losses since then.
    losses: (f64, u64),
    /// Orders of the epochs.
    orders: Orders,
    /// What examples cost.
    cost: Cost,
    utilisation: Utilisation,
    saver: Saver,
    spikes: Spikes,
    clock: Clock,
}

impl<'a> Fitting<'a> {
    /// The run `run`, of which `first` steps are done.
    fn new(
        task: Task<'a>,
        (run, first): (Identity, u64),
        observer: &'a mut dyn Observer,
    ) -> anyhow::Result<Self> {
        observer.began(first)?;
        let shape = memory::shape(task.model)?;
        let devices = task.config.devices().map_err(anyhow::Error::msg)?;
        Ok(Self {
            done: first,
            saved: first,
            losses: (0.0, 0),
            orders: Orders::default(),
            cost: cost(&shape),
            utilisation: Utilisation::new(shape, &devices),
            saver: Saver::default(),
            spikes: Spikes::default(),
            clock: Clock::new(),
            run,
            task,
            observer,
        })
    }

    /// What is to be told and proven before the first step of this process.
    fn begin(&mut self, first: u64) -> anyhow::Result<()> {
        if first > 0 {
            let message = format!("goes on after {first} steps");
            return self.happen(&event(RunEventKind::Resumed, first, message));
        }
        self.happen(&event(RunEventKind::Began, 0, self.task.shards.counts().told()))?;
        if self.task.config.certificate_steps == 0 {
            return Ok(());
        }
        let batch = self.task.walk().batch(0, &mut self.orders);
        let certificate = certificate::certify(&self.task, &batch, self.cost)?;
        certificate::write(self.task.out, &certificate)?;
        let kind = match certificate.agrees {
            Some(false) => RunEventKind::Disagreed,
            Some(true) | None => RunEventKind::Certified,
        };
        self.happen(&event(kind, 0, certificate.told()))
    }

    /// Every step that is left, and the last checkpoint.
    fn all(&mut self, trainer: &mut dyn Trainer, stop: &dyn Fn() -> bool) -> anyhow::Result<()> {
        let plan = self.task.plan();
        let mut curve = Curve::open(self.task.out, self.done)?;
        let every = self.task.config.save_every;
        while self.done < plan.steps {
            let ended = if stop() { Err(Stopped.into()) } else { self.step(trainer, &plan, stop) };
            match ended {
                Ok(Some(step)) => {
                    curve.push(&step)?;
                    self.observer.stepped(&step)?;
                }
                Ok(None) => {}
                Err(error) if error.is::<Stopped>() => {
                    self.save_and_wait(trainer)?;
                    return Err(error);
                }
                Err(error) => {
                    let number = self.done;
                    return Err(error.context(format!("could not finish step {number}")));
                }
            }
            if let Some(saved) = self.saver.done() {
                self.settle(saved)?;
            }
            if every > 0 && self.done.is_multiple_of(every) && self.done < plan.steps {
                self.save(trainer)?;
            }
        }
        self.save_and_wait(trainer)
    }

    /// Does the next step; none if it was left out.
    fn step(
        &mut self,
        trainer: &mut dyn Trainer,
        plan: &Plan,
        stop: &dyn Fn() -> bool,
    ) -> anyhow::Result<Option<Step>> {
        let began = Instant::now();
        let walk = self.task.walk();
        let number = self.done;
        let Task { config, shards, .. } = self.task;
        let batch = walk.batch(number, &mut self.orders);
        let lengths: Vec<usize> = batch.iter().map(|at| shards.tokens(*at)).collect();
        let trained: usize = batch.iter().map(|at| shards.trained_tokens(*at)).sum();
        if trained == 0 {
            self.done += 1;
            self.happen(&zero_tokens(number, batch.iter().map(|at| shards.id(*at)).collect()))?;
            return Ok(None);
        }
        let examples = Batch {
            walk: &walk,
            step: number,
            examples: &batch,
            device_batch: config.device_batch as usize,
        };
        let trained_tokens = |example: usize| shards.trained_tokens(example);
        let normalisation = config.loss_normalisation;
        let ranks = trainer.ranks();
        let spread = self.spread(&lengths, ranks);
        let balance = (ranks > 1).then(|| spread.balance(&lengths, self.cost));
        let order = step::Order {
            shards,
            batch: &batch,
            weights: &weigh::weights(&examples, normalisation, &trained_tokens, &mut self.orders),
            spread: &spread,
            learning_rate: plan.rate(number),
            max_grad_norm: config.max_grad_norm,
        };
        let outcome = match step::run(trainer, order, stop) {
            Ok(outcome) => outcome,
            Err(error) => return self.trouble(trainer, error).map(|()| None),
        };
        let seconds = began.elapsed().as_secs_f64();
        let tokens = lengths.iter().sum::<usize>() as u64;
        let step = Step {
            step: number,
            epoch: walk.epochs_after(number + 1),
            loss: outcome.loss,
            grad_norm: outcome.grad_norm,
            learning_rate: order.learning_rate,
            tokens,
            trained_tokens: trained as u64,
            tokens_per_second: tokens as f64 / seconds.max(1e-9),
            mfu: self.utilisation.of(&lengths, seconds),
            seconds,
            peak_memory_bytes: trainer.peak_memory_bytes(),
            balance,
        };
        self.done += 1;
        self.losses = (self.losses.0 + step.loss, self.losses.1 + 1);
        self.watch(&step, &batch)?;
        Ok(Some(step))
    }

    /// Where and when each example of a step runs.
    fn spread(&self, lengths: &[usize], ranks: usize) -> Spread {
        let config = self.task.config;
        let held = config.device_batch.max(1) as usize;
        match config.packing {
            Packing::Step => {
                let limits = Limits { examples: usize::MAX, tokens: config.cutoff_len as usize };
                spread(lengths, ranks, limits, self.cost)
            }
            Packing::None => Spread::in_order(lengths.len(), ranks, held),
        }
    }

    /// A step that could not be made: noted, and left out if that is what is asked for.
    fn trouble(&mut self, trainer: &mut dyn Trainer, error: anyhow::Error) -> anyhow::Result<()> {
        let Some(troubled) = error.downcast_ref::<step::Troubled>() else { return Err(error) };
        let kind = match troubled.cause {
            engine::Error::NotFinite { .. } => RunEventKind::NonFinite,
            engine::Error::OutOfMemory { .. } => RunEventKind::OutOfMemory,
            engine::Error::NoBackend { .. }
            | engine::Error::NoDevice { .. }
            | engine::Error::BadModel { .. }
            | engine::Error::BadInput(_)
            | engine::Error::CannotSplit { .. }
            | engine::Error::Io { .. } => return Err(error),
        };
        let skips =
            kind == RunEventKind::NonFinite && self.task.config.non_finite == NonFinite::Skip;
        let what = if skips { "the step was left out" } else { "the run ends before the update" };
        let event = RunEvent {
            hint: stage::hint_of(&error),
            examples: troubled.ids.clone(),
            ..event(kind, self.done, format!("{error:#}; {what}"))
        };
        self.happen(&event)?;
        if !skips {
            return Err(error);
        }
        trainer.discard();
        self.done += 1;
        Ok(())
    }

    /// Guards that end nothing.
    fn watch(&mut self, step: &Step, batch: &[usize]) -> anyhow::Result<()> {
        if let Some(mean) = self.spikes.see(step.loss) {
            let message = format!("the loss is {:.4} after a mean of {mean:.4}", step.loss);
            self.happen(&RunEvent {
                hint: Some("look at these examples; lower train.learning_rate".to_owned()),
                examples: batch.iter().map(|at| self.task.shards.id(*at)).collect(),
                ..event(RunEventKind::LossSpike, step.step, message)
            })?;
        }
        if let Some(seconds) = self.clock.jump() {
            let message =
                format!("the clock jumped by {seconds:.0} s; times before and after differ");
            let hint =
                Some("let the machine's clock be kept in step, by NTP for instance".to_owned());
            self.happen(&RunEvent { hint, ..event(RunEventKind::ClockJump, step.step, message) })?;
        }
        Ok(())
    }

    fn happen(&mut self, event: &RunEvent) -> anyhow::Result<()> {
        events::note(self.task.out, event)?;
        self.observer.happened(event)
    }

    /// Begins a checkpoint, after the one before.
    fn save(&mut self, trainer: &dyn Trainer) -> anyhow::Result<()> {
        if let Some(saved) = self.saver.wait() {
            self.settle(saved)?;
        }
        let Task { model, out, config, .. } = self.task;
        let loss = (self.losses.1 > 0).then(|| self.losses.0 / self.losses.1 as f64);
        self.losses = (0.0, 0);
        self.saver.begin(Save {
            snapshot: trainer.snapshot()?,
            model: model.to_owned(),
            out: out.to_owned(),
            progress: Progress { step: self.done, run: self.run.clone(), loss },
            keep: config.keep_checkpoints,
        })
    }

    /// Writes the last checkpoint, unless the newest one is it already.
    fn save_and_wait(&mut self, trainer: &dyn Trainer) -> anyhow::Result<()> {
        if let Some(saved) = self.saver.wait() {
            self.settle(saved)?;
        }
        if self.saved == self.done && resume::folder(self.task.out, self.done).is_dir() {
            return Ok(());
        }
        self.save(trainer)?;
        let Some(Saved { step, result }) = self.saver.wait() else { return Ok(()) };
        let gone = result?;
        self.saved = step;
        self.observer.saved(step, &gone)
    }

    /// Takes note of a checkpoint. One that could not be written does not end the run.
    fn settle(&mut self, Saved { step, result }: Saved) -> anyhow::Result<()> {
        match result {
            Ok(gone) => {
                self.saved = step;
                self.observer.saved(step, &gone)
            }
            Err(error) => {
                let hint = stage::hint_of(&error);
                let message = format!("{error:#}; the run goes on and tries again");
                self.happen(&RunEvent { hint, ..event(RunEventKind::SaveFailed, step, message) })
            }
        }
    }
}

fn zero_tokens(step: u64, examples: Vec<i64>) -> RunEvent {
    let named = step::named(&examples);
    let message = format!("left out: {named} have no token with a loss");
    let hint = Some("raise train.cutoff_len, or leave these examples out".to_owned());
    RunEvent { hint, examples, ..event(RunEventKind::ZeroTokens, step, message) }
}

/// What examples cost with a model of this shape.
fn cost(shape: &Shape) -> Cost {
    let matrices = shape.layers * shape.matrices() + shape.table();
    Cost::of_model(shape.layers, shape.query, matrices)
}

/// The curve written so far.
///
/// # Errors
/// If it cannot be read.
pub fn steps(out: &Path) -> anyhow::Result<Vec<Step>> {
    curve::read(out)
}
