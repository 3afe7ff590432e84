//! The job runner of `thinkery up`: a thread that runs queued jobs in order, one at a time.

use std::sync::{Arc, mpsc};
use std::thread::JoinHandle;

use anyhow::{Context, bail};
use tracing::error;

use super::{Owner, runs};
use crate::recipe::{Machine, Recipe};
use crate::records::{Job, JobId, JobKind, JobState, PlanRow, RunId};
use crate::stage::Stop;
use crate::store::{self, NewJob, Store};
use crate::train;

/// Why a recipe was not started.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// Its jobs are not over yet.
    #[error("the recipe `{recipe}` is at work already")]
    AtWork {
        /// Its name.
        recipe: String,
    },
    /// A run is to go on while something is being trained.
    #[error("job {job} is training, or is going to")]
    Training {
        /// That job.
        job: JobId,
    },
    /// It has problems, or the store refuses.
    #[error(transparent)]
    Other(#[from] anyhow::Error),
}

impl From<store::Error> for StartError {
    fn from(error: store::Error) -> Self {
        Self::Other(error.into())
    }
}

/// The handle. Dropping it stops the running job and ends the thread.
pub struct Runner {
    owner: Arc<Owner>,
    /// Wakes the thread; none once it is told to end.
    wake: Option<mpsc::Sender<()>>,
    stop: Stop,
    thread: Option<JoinHandle<()>>,
}

impl Runner {
    /// Starts the thread.
    ///
    /// # Errors
    /// If there can be no thread.
    pub fn start(owner: Owner) -> anyhow::Result<Self> {
        let owner = Arc::new(owner);
        let stop = Stop::default();
        let (wake, woken) = mpsc::channel();
        let (thread_owner, thread_stop) = (Arc::clone(&owner), stop.clone());
        let thread = std::thread::Builder::new()
            .name("job runner".into())
            .spawn(move || {
                while woken.recv().is_ok() && !thread_stop.is_requested() {
                    if let Err(error) = run_queued(&thread_owner, &thread_stop) {
                        error!("the job runner could not go on: {error:#}");
                    }
                }
            })
            .context("could not start the job runner")?;
        Ok(Self { owner, wake: Some(wake), stop, thread: Some(thread) })
    }

    /// The store of the folder.
    pub fn store(&self) -> &Store {
        self.owner.store()
    }

    /// Resolves a recipe (a name or the path of a file) with `path=value` overrides, and queues
    /// what of it is not done.
    ///
    /// # Errors
    /// [`StartError`]: the recipe is at work already, or has problems (all of them are named).
    pub fn start_recipe(
        &self,
        name: &str,
        sets: &[String],
        machine: &Machine,
    ) -> Result<(PlanRow, Vec<Job>), StartError> {
        let plan = Recipe::load(name, sets)?.resolve(machine).map_err(anyhow::Error::new)?;
        let row = self.owner.store().add_plan(&plan.recipe, &plan.to_json(), &plan.hash())?;
        let jobs = self.owner.store().plan_jobs(row.id)?;
        if jobs.iter().any(|job| !job.state.is_over()) {
            return Err(StartError::AtWork { recipe: name.to_owned() });
        }
        let jobs = self.owner.prepare(row.id, &plan.stages())?;
        self.wake()?;
        Ok((row, jobs))
    }

    /// Cancels a job: one that waits ends at once, one that runs within two seconds (training:
    /// after its checkpoint).
    ///
    /// # Errors
    /// If there is no such job or it is over.
    pub fn cancel(&self, id: JobId) -> anyhow::Result<Job> {
        let store = self.owner.store();
        let moved = store.move_job(id, &[JobState::Queued], JobState::Cancelled)?
            || store.move_job(id, &[JobState::Running], JobState::Stopping)?;
        let job = store.job(id)?;
        if !moved && job.state != JobState::Stopping {
            bail!("job {id} is {} already", job.state.name());
        }
        Ok(job)
    }

    /// Queues a job again that is over, and with it the later ones of its plan.
    ///
    /// # Errors
    /// If there is no such job or it is not over.
    pub fn retry(&self, id: JobId) -> anyhow::Result<Job> {
        let store = self.owner.store();
        let job = store.job(id)?;
        if !job.state.is_over() {
            bail!("job {id} is {}", job.state.name());
        }
        let later = match job.plan_id {
            Some(plan) => store.plan_jobs(plan)?,
            None => Vec::new(),
        };
        let job = store.requeue_job(id)?;
        for later in later.iter().filter(|later| later.id > id && later.state.is_over()) {
            store.requeue_job(later.id)?;
        }
        self.wake()?;
        Ok(job)
    }

    /// Queues a job of its own that goes on with a run: from its newest checkpoint, or from the one after
    /// `from` steps, for which later ones are deleted. It trains on exactly the dataset the run began
    /// with.
    ///
    /// # Errors
    /// [`StartError`]: something is being trained, or there is no such run or checkpoint.
    pub fn resume_run(&self, id: RunId, from: Option<u64>) -> Result<Job, StartError> {
        let store = self.owner.store();
        let open = [JobState::Queued, JobState::Running, JobState::Stopping];
        if let Some(job) = store.jobs_in(&open)?.iter().find(|job| job.kind == JobKind::Train) {
            return Err(StartError::Training { job: job.id });
        }
        let run = store.run(id)?;
        let config = runs::config_to_go_on(store, &run)?;
        if let Some(step) = from {
            train::go_back(store, &run, step)?;
            store.reopen_run(id)?;
        }
        let added = store.add_jobs(&[NewJob { plan_id: None, kind: JobKind::Train, config }])?;
        self.wake()?;
        Ok(added.into_iter().next().context("one job was added")?)
    }

    /// Stops the running job and ends the thread; what waits stays queued.
    pub fn stop(&mut self) {
        self.stop.request();
        self.wake = None;
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            error!("the job runner panicked");
        }
    }

    fn wake(&self) -> anyhow::Result<()> {
        let wake = self.wake.as_ref().context("the job runner was stopped")?;
        wake.send(()).context("the job runner has ended; see the log of `up`")
    }
}

impl Drop for Runner {
    fn drop(&mut self) {
        self.stop();
    }
}

/// Runs what is queued, oldest first, until nothing is. A job that did not finish takes the rest
/// of its plan with it.
fn run_queued(owner: &Owner, stop: &Stop) -> anyhow::Result<()> {
    while !stop.is_requested() {
        let queued = owner.store().jobs_in(&[JobState::Queued])?;
        let Some(first) = queued.first() else { return Ok(()) };
        let batch: Vec<Job> = match first.plan_id {
            Some(plan) => queued.iter().filter(|job| job.plan_id == Some(plan)).cloned().collect(),
            None => vec![first.clone()],
        };
        owner.run_jobs(&batch, stop, &mut |_| {})?;
    }
    Ok(())
}
