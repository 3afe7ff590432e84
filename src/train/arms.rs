//! The runs of the stage: one per arm, side by side, kept in the store.

use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, anyhow};

use super::fit::{self, Observer, Task};
use super::{Config, RunSummary};
use crate::dataset::shards::Shards;
use crate::engine::Device;
use crate::records::{Checkpoint, Dataset, Run, RunEvent, RunState, Step};
use crate::stage::{self, Stop, Stopped};
use crate::store::{NewRun, Store};

/// How often steps are passed on to the store and the panel: live to the eye, cheap to store.
const REPORT_INTERVAL: Duration = Duration::from_millis(250);

/// Trains the arms and gives their summaries, in order.
pub(super) fn train(
    cx: &stage::Context,
    config: &Config,
    model: &Path,
    arms: Vec<(Dataset, Shards)>,
) -> anyhow::Result<Vec<RunSummary>> {
    let steps = common_steps(config, &arms);
    // With the number of steps fixed, "three passes" means the same work for every arm.
    let config = Config { steps: Some(steps), ..config.clone() };
    let mut runs = Vec::new();
    for (dataset, shards) in arms {
        runs.push(Arm::new(&cx.store, &config, model, (dataset, shards))?);
    }
    let total = steps * runs.len() as u64;
    let shared = Shared { cx, total, done: AtomicU64::new(0), failed: Stop::default() };
    let devices = config.devices().map_err(anyhow::Error::msg)?;
    let processors = thread::available_parallelism().map_or(1, usize::from);
    if devices == [Device::Cpu] && processors > 1 && runs.len() > 1 {
        side_by_side(&shared, &config, model, &runs, processors / runs.len())?;
    } else {
        for run in &runs {
            run.train(&shared, &config, model)?;
        }
    }
    runs.iter().map(|run| run.summary(&cx.store)).collect()
}

/// Steps of every run: those of the smallest arm's passes, so that no arm sees more than asked for.
fn common_steps(config: &Config, arms: &[(Dataset, Shards)]) -> u64 {
    let steps =
        |shards: &Shards| config.schedule(config.walk(shards.len()).steps_per_epoch()).steps;
    arms.iter().map(|(_, shards)| steps(shards)).min().unwrap_or(1)
}

/// One thread per run, each with its own share of the processors: on two cores two runs of one
/// thread each take as long as one run of two threads, and nothing waits at the end of a product.
fn side_by_side(
    shared: &Shared<'_>,
    config: &Config,
    model: &Path,
    runs: &[Arm],
    threads: usize,
) -> anyhow::Result<()> {
    let train = |run: &Arm| -> anyhow::Result<()> {
        let pool = rayon::ThreadPoolBuilder::new()
            .num_threads(threads.max(1))
            .build()
            .context("could not start threads")?;
        let result = pool.install(|| run.train(shared, config, model));
        if result.is_err() {
            // The others write their checkpoints and end.
            shared.failed.request();
        }
        result
    };
    let results: Vec<anyhow::Result<()>> = thread::scope(|scope| {
        let handles: Vec<_> = runs.iter().map(|run| scope.spawn(|| train(run))).collect();
        handles
            .into_iter()
            .map(|handle| handle.join().unwrap_or_else(|_| Err(anyhow!("a run crashed"))))
            .collect()
    });
    // The failure that made the others stop is the one to report.
    let (stopped, mut others): (Vec<_>, Vec<_>) =
        results.into_iter().filter_map(Result::err).partition(|error| error.is::<Stopped>());
    others.extend(stopped);
    others.into_iter().next().map_or(Ok(()), Err)
}

/// What all runs of the stage share.
struct Shared<'a> {
    cx: &'a stage::Context,
    /// Steps of all runs together.
    total: u64,
    /// Of these done.
    done: AtomicU64,
    /// Set when one of them failed.
    failed: Stop,
}

/// One run.
struct Arm {
    run: Run,
    shards: Shards,
}

impl Arm {
    fn new(
        store: &Store,
        config: &Config,
        model: &Path,
        (dataset, shards): (Dataset, Shards),
    ) -> anyhow::Result<Self> {
        let name = dataset.arm.name().to_owned();
        let task = Task { model, shards: &shards, out: Path::new(""), config };
        let hash = task.identity()?.hash()?;
        let run = store.add_run(&NewRun {
            path: format!("runs/{name}-{}", &hash[..8]),
            name,
            dataset_id: Some(dataset.id),
            config: serde_json::to_value(config)?,
            hash,
            steps_total: task.plan().steps,
        })?;
        Ok(Self { run, shards })
    }

    fn train(&self, shared: &Shared<'_>, config: &Config, model: &Path) -> anyhow::Result<()> {
        let store = &shared.cx.store;
        let out = store.absolute(&self.run.path);
        if self.run.state == RunState::Done && out.join(super::resume::FINAL).is_dir() {
            shared.advance(self.run.steps_total, &self.run.name);
            return Ok(());
        }
        let task = Task { model, shards: &self.shards, out: &out, config };
        let mut recorder = Recorder {
            shared,
            run: &self.run,
            out: &out,
            waiting: Vec::new(),
            told: Instant::now(),
        };
        let stop = || shared.cx.stop.is_requested() || shared.failed.is_requested();
        let ended = fit::fit(task, &stop, &mut recorder);
        recorder.flush()?;
        ended.with_context(|| format!("could not finish the run `{}`", self.run.name))?;
        store.finish_run(self.run.id)?;
        Ok(())
    }

    fn summary(&self, store: &Store) -> anyhow::Result<RunSummary> {
        let last = self.run.steps_total.saturating_sub(1);
        let counts = self.shards.counts();
        Ok(RunSummary {
            name: self.run.name.clone(),
            steps: self.run.steps_total,
            examples: counts.examples,
            tokens: counts.tokens,
            trained_tokens: counts.trained_tokens,
            loss: store.steps(self.run.id, last)?.last().map_or(0.0, |step| step.loss),
            model: format!("{}/{}", self.run.path, super::resume::FINAL),
        })
    }
}

impl Shared<'_> {
    fn advance(&self, steps: u64, note: &str) {
        let done = self.done.fetch_add(steps, Ordering::Relaxed) + steps;
        self.cx.progress.set(done, self.total, note);
    }
}

/// Passes what happens in a run on to the store, a few times a second.
struct Recorder<'a> {
    shared: &'a Shared<'a>,
    run: &'a Run,
    /// Its folder.
    out: &'a Path,
    /// Steps that the store does not have yet.
    waiting: Vec<Step>,
    told: Instant,
}

impl Recorder<'_> {
    fn flush(&mut self) -> anyhow::Result<()> {
        let Some(last) = self.waiting.last() else { return Ok(()) };
        let store = &self.shared.cx.store;
        store.put_steps(self.run.id, &self.waiting)?;
        let event = serde_json::json!({
            "run_id": self.run.id,
            "run": self.run.name,
            "step": last.step,
            "steps_total": self.run.steps_total,
            "loss": last.loss,
            "grad_norm": last.grad_norm,
            "learning_rate": last.learning_rate,
            "tokens_per_second": last.tokens_per_second,
        });
        store.add_event("step", &event)?;
        self.waiting.clear();
        self.told = Instant::now();
        Ok(())
    }
}

impl Observer for Recorder<'_> {
    fn began(&mut self, first: u64) -> anyhow::Result<()> {
        // A killed process may have left steps in the file that the store never got.
        let mut steps = fit::steps(self.out)?;
        steps.retain(|step| step.step < first);
        self.shared.cx.store.drop_steps_from(self.run.id, first)?;
        self.shared.cx.store.put_steps(self.run.id, &steps)?;
        self.shared.cx.store.drop_checkpoints_after(self.run.id, first)?;
        self.shared.advance(first, &self.run.name);
        Ok(())
    }

    fn stepped(&mut self, step: &Step) -> anyhow::Result<()> {
        self.waiting.push(step.clone());
        let note = format!("{}: loss {:.3}", self.run.name, step.loss);
        self.shared.advance(1, &note);
        if self.told.elapsed() >= REPORT_INTERVAL { self.flush() } else { Ok(()) }
    }

    fn saved(&mut self, step: u64, gone: &[u64]) -> anyhow::Result<()> {
        self.flush()?;
        let store = &self.shared.cx.store;
        let path = super::resume::folder(Path::new(&self.run.path), step);
        let path = path.to_string_lossy().into_owned();
        store.add_checkpoint(&Checkpoint { run_id: self.run.id, step, path })?;
        for step in gone {
            store.drop_checkpoint(self.run.id, *step)?;
        }
        Ok(())
    }

    fn happened(&mut self, event: &RunEvent) -> anyhow::Result<()> {
        let mut data = serde_json::to_value(event)?;
        if let Some(data) = data.as_object_mut() {
            data.insert("run_id".into(), serde_json::to_value(self.run.id)?);
            data.insert("run".into(), self.run.name.clone().into());
        }
        self.shared.cx.store.add_event("run_event", &data)?;
        Ok(())
    }
}
