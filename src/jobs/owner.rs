//! The process that owns a data folder, and how it runs jobs: one at a time, each to its end.

use std::path::{Path, PathBuf};
use std::process::ExitStatus;
use std::time::{Duration, Instant};

use anyhow::Context;
use serde::Serialize;

use super::child::{self, Launch, POLL, Worker};
use super::stages;
use crate::hint::Hinted;
use crate::records::{Job, JobId, JobKind, JobProgress, JobState, PlanId};
use crate::stage::Stop;
use crate::store::{DataLock, NewJob, Store};

/// How often the row is read: what a cancel in the panel takes at most until it is noticed.
const LOOK: Duration = Duration::from_millis(100);

/// How much of a log explains a process that died without a word.
const LOG_TAIL_BYTES: usize = 600;

/// The owner of a data folder. Dropping it lets others have it.
pub struct Owner {
    store: Store,
    launch: Launch,
    _lock: DataLock,
}

/// What somebody watching a job is told, whenever its row may have changed.
pub type Watch<'a> = &'a mut dyn FnMut(&Job);

impl Owner {
    /// Takes the data folder `dir` for this process, and clears up after a previous owner that
    /// died: its jobs are interrupted, and those still working are ended.
    ///
    /// # Errors
    /// If another process has the folder, or the store cannot be opened.
    pub fn open(dir: &Path, launch: Launch) -> anyhow::Result<Self> {
        let lock = DataLock::acquire(dir)?;
        let store = Store::open(dir)?;
        let owner = Self { store, launch, _lock: lock };
        owner.recover()?;
        Ok(owner)
    }

    /// The store of the folder.
    pub fn store(&self) -> &Store {
        &self.store
    }

    /// How this owner starts children.
    pub fn launch(&self) -> &Launch {
        &self.launch
    }

    /// The log of a job.
    pub fn log_path(store: &Store, id: JobId) -> PathBuf {
        store.dir().join("logs").join(format!("job-{id}.log"))
    }

    fn recover(&self) -> anyhow::Result<()> {
        let open = [JobState::Queued, JobState::Running, JobState::Stopping];
        for job in self.store.jobs_in(&open)? {
            if let Some(pid) = job.pid {
                child::kill_survivor(pid, &job)?;
            }
            let why = match job.state == JobState::Queued {
                true => "it was not started before the process that owned the folder ended",
                false => "it ended with the process that owned the folder",
            };
            self.store.set_job_error(
                job.id,
                why,
                Some("start it again: it goes on where it was"),
            )?;
            self.store.move_job(job.id, &open, JobState::Interrupted)?;
        }
        Ok(())
    }

    /// Makes a job of its own, runs it, and gives its last state.
    ///
    /// # Errors
    /// If the store refuses or no process can be started; a stage's own failure is in the job.
    pub fn run_alone(
        &self,
        kind: JobKind,
        config: &impl Serialize,
        stop: &Stop,
        watch: Watch<'_>,
    ) -> anyhow::Result<Job> {
        let config = serde_json::to_value(config).context("could not write the settings")?;
        let added = self.store.add_jobs(&[NewJob { plan_id: None, kind, config }])?;
        let job = added.first().context("one job was added")?;
        self.run_job(job.id, stop, watch)
    }

    /// The summary of a job that is over, or why it has none.
    ///
    /// # Errors
    /// What the stage failed with, or that it was stopped.
    pub fn summary(job: Job) -> anyhow::Result<serde_json::Value> {
        let (name, paused) = (job.kind.name(), is_paused(&job));
        let again = "run the same command again to go on";
        match job.state {
            JobState::Done => job.summary.context("a job that is done has a summary"),
            JobState::Cancelled => {
                Err(Hinted::new(format!("`{name}` was stopped (job {})", job.id), again).into())
            }
            JobState::Interrupted => {
                let why = job.error.unwrap_or_else(|| "its process vanished".into());
                let message = format!("`{name}` was interrupted (job {}): {why}", job.id);
                Err(Hinted::new(message, job.hint.as_deref().unwrap_or(again)).into())
            }
            JobState::Failed | JobState::Queued | JobState::Running | JobState::Stopping => {
                let why = job.error.unwrap_or_else(|| "it left no reason".into());
                let how = if paused { "is paused" } else { "failed" };
                let message = format!("`{name}` {how} (job {}): {why}", job.id);
                Err(match job.hint {
                    Some(hint) => Hinted::new(message, hint).into(),
                    None => anyhow::Error::msg(message),
                })
            }
        }
    }

    /// Runs a queued job to its end and gives its last state. `stop` cancels it, as does anybody
    /// who moves its row to `stopping`.
    ///
    /// # Errors
    /// If the store refuses or no process can be started; a stage's own failure is in the job.
    pub fn run_job(&self, id: JobId, stop: &Stop, watch: Watch<'_>) -> anyhow::Result<Job> {
        if !self.store.move_job(id, &[JobState::Queued], JobState::Running)? {
            return Ok(self.store.job(id)?);
        }
        let job = self.store.job(id)?;
        let log = Self::log_path(&self.store, id);
        let said_before = std::fs::metadata(&log).map_or(0, |facts| facts.len());
        let mut worker = match Worker::start(&self.launch, self.store.dir(), &job, &log) {
            Ok(worker) => worker,
            Err(error) => {
                self.store.set_job_error(id, &format!("{error:#}"), None)?;
                self.store.move_job(id, &[JobState::Running], JobState::Failed)?;
                return Ok(self.store.job(id)?);
            }
        };
        let status = self.follow(&mut worker, &job, stop, watch)?;
        self.conclude(id, status, &LastWords::since(&log, said_before))?;
        let job = self.store.job(id)?;
        watch(&job);
        Ok(job)
    }

    /// Waits for the process, passing on progress and requests to stop.
    fn follow(
        &self,
        worker: &mut Worker,
        job: &Job,
        stop: &Stop,
        watch: Watch<'_>,
    ) -> anyhow::Result<ExitStatus> {
        let mut looked = Instant::now();
        let mut asked: Option<Instant> = None;
        loop {
            if let Some(status) = worker.ended()? {
                return Ok(status);
            }
            if stop.is_requested() && asked.is_none() {
                self.store.move_job(job.id, &[JobState::Running], JobState::Stopping)?;
                looked = Instant::now() - LOOK;
            }
            if looked.elapsed() >= LOOK {
                looked = Instant::now();
                let now = self.store.job(job.id)?;
                watch(&now);
                if now.state == JobState::Stopping && asked.is_none() {
                    asked = Some(Instant::now());
                    worker.terminate()?;
                }
            }
            if asked.is_some_and(|at| at.elapsed() >= child::grace(job.kind)) {
                worker.kill()?;
            }
            std::thread::sleep(POLL);
        }
    }

    /// Gives a job an end whose process left none.
    fn conclude(&self, id: JobId, status: ExitStatus, said: &LastWords) -> anyhow::Result<()> {
        if self.store.move_job(id, &[JobState::Stopping], JobState::Cancelled)? {
            return Ok(());
        }
        if self.store.job(id)?.state != JobState::Running {
            return Ok(());
        }
        let (state, hint) = match status.code() {
            Some(_) => (JobState::Failed, format!("see the log of job {id}")),
            None => (
                JobState::Interrupted,
                "start it again to go on; if memory ran out, make it smaller".to_owned(),
            ),
        };
        let error = match (status.code(), &said.error) {
            (Some(_), Some(error)) => error.clone(),
            _ => format!("its process ended with {status}{}", said.tail),
        };
        self.store.set_job_error(id, &error, Some(said.hint.as_ref().unwrap_or(&hint)))?;
        self.store.move_job(id, &[JobState::Running], state)?;
        Ok(())
    }

    /// Jobs of a plan in order, those to be run queued: rows that are missing are added, rows that
    /// are over are queued again, except those from the beginning that are done and whose inputs
    /// have not changed since.
    ///
    /// # Errors
    /// If the store refuses.
    pub fn prepare(
        &self,
        plan: PlanId,
        stages: &[(JobKind, serde_json::Value)],
    ) -> anyhow::Result<Vec<Job>> {
        let known = self.store.plan_jobs(plan)?;
        let mut jobs = Vec::new();
        let mut fresh = true;
        for (kind, config) in stages {
            let Some(job) = known.iter().find(|job| job.kind == *kind) else {
                fresh = false;
                let new = NewJob { plan_id: Some(plan), kind: *kind, config: config.clone() };
                jobs.extend(self.store.add_jobs(&[new])?);
                continue;
            };
            fresh = fresh && self.has_nothing_to_do(job)?;
            jobs.push(if fresh { job.clone() } else { self.store.requeue_job(job.id)? });
        }
        Ok(jobs)
    }

    fn has_nothing_to_do(&self, job: &Job) -> anyhow::Result<bool> {
        Ok(job.state == JobState::Done
            && job.summary.as_ref().is_some_and(|summary| stages::is_complete(job.kind, summary))
            && job.inputs.as_deref() == Some(&stages::inputs(&self.store, job.kind)?)
            && stages::outputs_exist(&self.store, job.kind)?)
    }

    /// Runs the queued ones of `jobs` in order. After one that did not finish, the rest are
    /// cancelled with a note that says so.
    ///
    /// # Errors
    /// If the store refuses or no process can be started; a stage's own failure is in its job.
    pub fn run_jobs(
        &self,
        jobs: &[Job],
        stop: &Stop,
        watch: Watch<'_>,
    ) -> anyhow::Result<Vec<Job>> {
        let mut over: Vec<Job> = Vec::new();
        let mut broken: Option<Job> = None;
        for job in jobs {
            let job = match &broken {
                Some(broken) => self.skip(job.id, broken)?,
                None => self.run_job(job.id, stop, watch)?,
            };
            if broken.is_none() && (job.state != JobState::Done || is_paused(&job)) {
                broken = Some(job.clone());
            }
            over.push(job);
        }
        Ok(over)
    }

    fn skip(&self, id: JobId, because: &Job) -> anyhow::Result<Job> {
        let state = if is_paused(because) { "paused" } else { because.state.name() };
        let note = format!("not started: `{}` is {state}", because.kind.name());
        if self.store.move_job(id, &[JobState::Queued], JobState::Cancelled)? {
            let progress = JobProgress { done: 0, total: 0, note };
            self.store.set_job_progress(id, &progress)?;
        }
        Ok(self.store.job(id)?)
    }
}

/// Whether a job ended early because there is no more money: the account's, and it failed, or the
/// budget's, and it is done.
pub fn is_paused(job: &Job) -> bool {
    let paused = job.summary.as_ref().and_then(|summary| summary.get("paused"));
    paused.and_then(serde_json::Value::as_bool).unwrap_or(false)
}

/// What a process said before it ended, for the case that it could not write its row.
#[derive(Debug, Default, PartialEq, Eq)]
struct LastWords {
    error: Option<String>,
    hint: Option<String>,
    /// The end of the log, ready to be appended.
    tail: String,
}

impl LastWords {
    /// What `log` has after its first `before` bytes.
    fn since(log: &Path, before: u64) -> Self {
        let text = std::fs::read(log).unwrap_or_default();
        let before = usize::try_from(before).unwrap_or(usize::MAX).min(text.len());
        Self::of(&String::from_utf8_lossy(&text[before..]))
    }

    fn of(log: &str) -> Self {
        let after = |text: &str, mark: &str| {
            let line = text.lines().rev().find_map(|line| line.strip_prefix(mark))?;
            Some(line.to_owned())
        };
        let mut start = log.len().saturating_sub(LOG_TAIL_BYTES);
        while !log.is_char_boundary(start) {
            start += 1;
        }
        let tail = log[start..].trim();
        Self {
            error: after(log, "error: "),
            hint: after(log, "hint: "),
            tail: if tail.is_empty() { String::new() } else { format!(": …{tail}") },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{LastWords, Owner};
    use crate::jobs::{Launch, Secrets};
    use crate::records::{JobKind, JobState};
    use crate::store::{NewJob, Store};

    #[test]
    fn jobs_of_an_owner_that_died_are_interrupted_and_say_so() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(dir.path()).unwrap();
        let new = |kind| NewJob { plan_id: None, kind, config: serde_json::Value::Null };
        let jobs = store.add_jobs(&[new(JobKind::Verify), new(JobKind::Train)]).unwrap();
        store.move_job(jobs[0].id, &[JobState::Queued], JobState::Running).unwrap();
        let launch = Launch {
            exe: "/bin/false".into(),
            search_path: Vec::new(),
            allow_unsandboxed: false,
            secrets: Secrets::default(),
        };
        let owner = Owner::open(dir.path(), launch).unwrap();
        for (job, why) in jobs.iter().zip(["it ended with", "it was not started"]) {
            let job = owner.store().job(job.id).unwrap();
            assert_eq!(job.state, JobState::Interrupted);
            assert!(job.error.unwrap().starts_with(why));
            assert!(job.hint.unwrap().contains("goes on where it was"));
        }
    }

    #[test]
    fn last_words_are_the_last_error_and_its_hint() {
        let said = LastWords::of("error: old\nINFO distill starts\nerror: disk\nhint: free\n");
        assert_eq!((said.error.as_deref(), said.hint.as_deref()), (Some("disk"), Some("free")));
        assert_eq!(LastWords::of(" \n"), LastWords::default());
        assert!(LastWords::of(&"ü".repeat(1_000)).tail.len() < 700);
    }
}
