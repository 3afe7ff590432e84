//! The inside of a job's process: `thinkery job ID`.

use std::sync::Arc;
use std::time::Instant;

use anyhow::{Context, ensure};
use rustix::process::Signal;
use tracing::{info, warn};

use super::child::{POLL, end_with_parent, grace};
use super::counts::CountsNews;
use super::{Launch, stages};
use crate::hint::Hinted;
use crate::records::{Job, JobId, JobState};
use crate::stage::{self, Progress, Stop, Stopped};
use crate::store::{DataLock, Store};
use crate::{distill, verify};

/// Works on job `id` and leaves its result in the row. Only the owner of the data folder may start
/// it.
///
/// # Errors
/// If the job failed (the row says why as well), was stopped, or nobody may start it here.
pub fn work(store: &Store, id: JobId, launch: &Launch) -> anyhow::Result<()> {
    let owner = DataLock::holder(store.dir()).unwrap_or(0);
    end_with_parent(owner, Signal::TERM).map_err(|_| {
        Hinted::new(
            format!("job {id} can only be started by the process that owns the data folder"),
            "use `thinkery run`, or start it in the panel of `thinkery up`",
        )
    })?;
    store.set_job_pid(id, std::process::id())?;
    let job = store.job(id)?;
    ensure!(
        matches!(job.state, JobState::Running | JobState::Stopping),
        "job {id} is {}, not running",
        job.state.name()
    );
    let stop = Stop::default();
    for signal in [signal_hook::consts::SIGTERM, signal_hook::consts::SIGINT] {
        signal_hook::flag::register(signal, stop.flag())?;
    }
    watch_over(&job, &stop);
    let result = run(store, &job, launch, &stop);
    conclude(store, &job, &stop, result)
}

fn run(
    store: &Store,
    job: &Job,
    launch: &Launch,
    stop: &Stop,
) -> anyhow::Result<(serde_json::Value, String)> {
    info!(job.id = %job.id, "{} starts", job.kind.name());
    let inputs = stages::inputs(store, job.kind)?;
    let (rows, id) = (store.clone(), job.id);
    let news = CountsNews::of(store, job.kind).map(Arc::new);
    let teller = news.clone();
    let progress = Progress::new(move |progress| {
        let noted = rows.set_job_progress(id, progress);
        let told = teller.as_ref().map_or(Ok(()), |news| news.tell(false));
        if let Err(error) = noted.and(told) {
            // The stage's own next write meets the same obstacle and fails the job.
            warn!(job.id = %id, "could not note the progress: {error}");
        }
    });
    let cx = stage::Context { store: store.clone(), progress, stop: stop.clone() };
    let ended = stages::run(&cx, launch, job.kind, job.config.clone());
    if let Some(news) = news {
        news.tell(true)?;
    }
    Ok((ended?, inputs))
}

fn conclude(
    store: &Store,
    job: &Job,
    stop: &Stop,
    result: anyhow::Result<(serde_json::Value, String)>,
) -> anyhow::Result<()> {
    let running = [JobState::Running, JobState::Stopping];
    let name = job.kind.name();
    match result {
        Ok((summary, inputs)) => {
            store.finish_job(job.id, &summary, &inputs).context("could not store the result")?;
            info!(job.id = %job.id, "{name} is done");
            Ok(())
        }
        Err(error) if stop.is_requested() || error.is::<Stopped>() => {
            info!(job.id = %job.id, "{name} stopped: {error:#}");
            // Without a request in the row it was the owner's death or a stranger's signal.
            if !store.move_job(job.id, &[JobState::Stopping], JobState::Cancelled)? {
                store.move_job(job.id, &running, JobState::Interrupted)?;
            }
            Err(error)
        }
        Err(error) => {
            let hint = stage::hint_of(&error);
            store.set_job_error(job.id, &format!("{error:#}"), hint.as_deref())?;
            if let Some(paused) = error.downcast_ref::<distill::Paused>() {
                store.set_job_summary(job.id, &serde_json::to_value(&paused.summary)?)?;
            }
            if let Some(paused) = error.downcast_ref::<verify::Paused>() {
                store.set_job_summary(job.id, &serde_json::to_value(&paused.summary)?)?;
            }
            store.move_job(job.id, &running, JobState::Failed)?;
            Err(error)
        }
    }
}

/// Ends this process group by force when a stop was requested and the stage does not follow. The
/// owner does the same; this is for the case that it died.
fn watch_over(job: &Job, stop: &Stop) {
    let (stop, grace) = (stop.clone(), grace(job.kind));
    let ours = rustix::process::getpgrp() == rustix::process::getpid();
    std::thread::spawn(move || {
        while !stop.is_requested() {
            std::thread::sleep(POLL);
        }
        let since = Instant::now();
        while since.elapsed() < grace {
            std::thread::sleep(POLL);
        }
        if ours {
            // Fails only if there is no such group, and we are in it.
            _ = rustix::process::kill_current_process_group(Signal::KILL);
        }
    });
}
