//! Trains one model on one set of examples, from wherever it was left.

use std::path::Path;
use std::time::Instant;

use anyhow::{Context, ensure};
use sha2::{Digest, Sha256};
use tracing::warn;

use super::batches::Walk;
use super::config::{Config, NonFinite};
use super::curve::{self, Curve};
use super::schedule::Plan;
use super::{explained, resume, step};
use crate::dataset::shards::Shards;
use crate::engine::{self, Device, Trainer, Training, Weights};
use crate::hint::Hinted;
use crate::records::Step;
use crate::stage::Stopped;

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
}

impl Task<'_> {
    /// How it walks through its examples.
    pub fn walk(&self) -> Walk {
        Walk {
            examples: self.shards.len(),
            batch: self.config.global_batch as usize,
            shuffle: self.config.shuffle,
            seed: self.config.seed,
        }
    }

    /// Its schedule.
    pub fn plan(&self) -> Plan {
        self.config.schedule(self.walk().steps_per_epoch())
    }

    /// Hash of all that decides the weights that come out: settings, examples and the model begun
    /// with. How often it is saved and which arms there are do not matter.
    ///
    /// # Errors
    /// If a file of the model cannot be read.
    pub fn hash(&self) -> anyhow::Result<String> {
        let mut config = self.config.clone();
        let defaults = Config::default();
        config.arms.clear();
        config.dataset.clear();
        config.model.clear();
        config.save_every = defaults.save_every;
        config.keep_checkpoints = defaults.keep_checkpoints;
        let mut hasher = Sha256::new();
        hasher.update(serde_json::to_vec(&config)?);
        hasher.update(self.shards.hash());
        for name in ["config.json", "tokenizer.json", "model.safetensors", INDEX] {
            let path = self.model.join(name);
            if path.is_file() {
                hasher.update(name);
                let mut file = std::fs::File::open(&path)
                    .with_context(|| format!("could not open `{}`", path.display()))?;
                std::io::copy(&mut file, &mut hasher)
                    .with_context(|| format!("could not read `{}`", path.display()))?;
            }
        }
        Ok(hasher.finalize().iter().map(|byte| format!("{byte:02x}")).collect())
    }
}

/// Its shards are named by their sizes, which is enough to tell two models apart.
const INDEX: &str = "model.safetensors.index.json";

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
    let problems = task.config.problems();
    ensure!(problems.is_empty(), "{}", problems.join("; "));
    if task.shards.is_empty() {
        let message = "there is no example to train on";
        return Err(Hinted::new(message, "look at the counts of the dataset").into());
    }
    std::fs::create_dir_all(task.out)
        .with_context(|| format!("could not make the folder `{}`", task.out.display()))?;
    let run = task.hash()?;
    let (mut trainer, first) = open(&task, &run)?;
    observer.began(first)?;
    let mut fitting = Fitting {
        curve: Curve::open(task.out, first)?,
        done: first,
        saved: first,
        order: (u64::MAX, Vec::new()),
        run,
        task,
    };
    let plan = task.plan();
    while fitting.done < plan.steps {
        let ended =
            if stop() { Err(Stopped.into()) } else { fitting.step(trainer.as_mut(), &plan, stop) };
        match ended {
            Ok(Some(step)) => observer.stepped(&step)?,
            Ok(None) => {}
            Err(error) if error.is::<Stopped>() => {
                fitting.save(trainer.as_ref(), observer)?;
                return Err(error);
            }
            Err(error) => {
                return Err(error.context(format!("could not finish step {}", fitting.done)));
            }
        }
        let every = task.config.save_every;
        if every > 0 && fitting.done.is_multiple_of(every) {
            fitting.save(trainer.as_ref(), observer)?;
        }
    }
    fitting.save(trainer.as_ref(), observer)?;
    resume::save_final(trainer.as_ref(), task.model, task.out)
}

/// The trainer at its newest checkpoint, or at the model it begins with; and the next step.
fn open(task: &Task<'_>, run: &str) -> anyhow::Result<(Box<dyn Trainer>, u64)> {
    let device: Device = task.config.device.parse().map_err(anyhow::Error::msg)?;
    let training = Training::from(task.config.adam());
    match resume::newest(task.out, run)? {
        Some((dir, progress)) => {
            let weights = Weights::Folder(&dir);
            let mut trainer =
                engine::open_trainer(&[device], weights, &training).map_err(explained)?;
            resume::load_state(trainer.as_mut(), &dir)?;
            Ok((trainer, progress.step))
        }
        None => {
            let weights = Weights::Folder(task.model);
            Ok((engine::open_trainer(&[device], weights, &training).map_err(explained)?, 0))
        }
    }
}

/// A run in progress.
struct Fitting<'a> {
    task: Task<'a>,
    curve: Curve,
    /// Hash of the run.
    run: String,
    /// Steps done.
    done: u64,
    /// Steps in the newest checkpoint.
    saved: u64,
    /// The order of an epoch, with its number.
    order: (u64, Vec<usize>),
}

impl Fitting<'_> {
    /// Does the next step; none if it was skipped.
    fn step(
        &mut self,
        trainer: &mut dyn Trainer,
        plan: &Plan,
        stop: &dyn Fn() -> bool,
    ) -> anyhow::Result<Option<Step>> {
        let began = Instant::now();
        let walk = self.task.walk();
        let number = self.done;
        let epoch = walk.epoch(number);
        if self.order.0 != epoch {
            self.order = (epoch, walk.order(epoch));
        }
        let order = step::Order {
            shards: self.task.shards,
            batch: walk.batch(number, &self.order.1),
            device_batch: self.task.config.device_batch as usize,
            learning_rate: plan.rate(number),
            max_grad_norm: self.task.config.max_grad_norm,
        };
        let outcome = match step::run(trainer, order, stop) {
            Err(error) if self.skips(&error) => {
                trainer.discard();
                self.done += 1;
                warn!(step = number, "skipped step {number}: {error:#}");
                return Ok(None);
            }
            outcome => outcome?,
        };
        let seconds = began.elapsed().as_secs_f64();
        let step = Step {
            step: number,
            epoch: (number + 1) as f64 / walk.steps_per_epoch() as f64,
            loss: outcome.loss,
            grad_norm: outcome.grad_norm,
            learning_rate: order.learning_rate,
            tokens: outcome.tokens,
            trained_tokens: outcome.trained_tokens,
            tokens_per_second: outcome.tokens as f64 / seconds.max(1e-9),
            mfu: None,
            seconds,
            peak_memory_bytes: trainer.peak_memory_bytes(),
        };
        self.curve.push(&step)?;
        self.done += 1;
        Ok(Some(step))
    }

    fn skips(&self, error: &anyhow::Error) -> bool {
        let not_finite = matches!(error.downcast_ref(), Some(engine::Error::NotFinite { .. }));
        not_finite && self.task.config.non_finite == NonFinite::Skip
    }

    /// Writes a checkpoint unless the newest one is this one.
    fn save(&mut self, trainer: &dyn Trainer, observer: &mut dyn Observer) -> anyhow::Result<()> {
        let Task { model, out, config, .. } = self.task;
        if self.saved == self.done && resume::folder(out, self.done).is_dir() {
            return Ok(());
        }
        let progress = resume::Progress { step: self.done, run: self.run.clone() };
        resume::save(trainer, model, out, &progress)?;
        self.saved = self.done;
        let gone = resume::prune(out, config.keep_checkpoints)?;
        observer.saved(self.done, &gone)
    }
}

/// The curve written so far.
///
/// # Errors
/// If it cannot be read.
pub fn steps(out: &Path) -> anyhow::Result<Vec<Step>> {
    curve::read(out)
}
