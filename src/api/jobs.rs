//! Jobs: what runs, how far it is, its log; stop it, start it again; and the recipes that make jobs.

use std::collections::BTreeMap;

use axum::Json as Answer;
use axum::extract::State;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::error::{Error, ErrorBody, Result};
use super::extract::{Json, Path, Query};
use super::log::{self, Log};
use super::{AppState, Page, Paging};
use crate::jobs::{Owner, Runner};
use crate::recipe;
use crate::records::{self, JobId, JobKind, PlanId};

/// A stage of the pipeline.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub(super) enum Stage {
    /// Import or make questions.
    Questions,
    /// Ask the teacher.
    Distill,
    /// Judge traces.
    Verify,
    /// Build datasets.
    Dataset,
    /// Fine-tune.
    Train,
    /// Score models.
    Evaluate,
    /// Start the server once and ask it one question.
    Serve,
}

impl From<JobKind> for Stage {
    fn from(kind: JobKind) -> Self {
        match kind {
            JobKind::Questions => Self::Questions,
            JobKind::Distill => Self::Distill,
            JobKind::Verify => Self::Verify,
            JobKind::Dataset => Self::Dataset,
            JobKind::Train => Self::Train,
            JobKind::Evaluate => Self::Evaluate,
            JobKind::Serve => Self::Serve,
        }
    }
}

/// Where a job stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub(super) enum JobState {
    /// Waits for its turn.
    Queued,
    /// Has a process.
    Running,
    /// Was asked to stop and has not yet.
    Stopping,
    /// Finished.
    Done,
    /// Could not; `error` says why.
    Failed,
    /// Stopped on request.
    Cancelled,
    /// Its process vanished; retry goes on where it was.
    Interrupted,
}

impl From<records::JobState> for JobState {
    fn from(state: records::JobState) -> Self {
        match state {
            records::JobState::Queued => Self::Queued,
            records::JobState::Running => Self::Running,
            records::JobState::Stopping => Self::Stopping,
            records::JobState::Done => Self::Done,
            records::JobState::Failed => Self::Failed,
            records::JobState::Cancelled => Self::Cancelled,
            records::JobState::Interrupted => Self::Interrupted,
        }
    }
}

/// How far a job is.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub(super) struct Progress {
    /// Units finished.
    pub done: u64,
    /// Units in all; 0 while unknown.
    pub total: u64,
    /// What is being done, for people.
    pub note: String,
}

/// One stage run.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub(super) struct Job {
    /// Its id.
    pub id: i64,
    /// The recipe run it belongs to; none when started alone.
    pub plan_id: Option<i64>,
    /// The stage it runs.
    pub kind: Stage,
    /// Where it stands.
    pub state: JobState,
    /// How far it is.
    pub progress: Progress,
    /// Process id while it runs.
    pub pid: Option<u32>,
    /// The whole error chain, if it failed.
    pub error: Option<String>,
    /// What to do about it, if it failed.
    pub hint: Option<String>,
    /// The frozen configuration it runs with.
    pub config: serde_json::Value,
    /// What the stage counted, once done.
    pub summary: Option<serde_json::Value>,
    /// RFC 3339, UTC.
    pub created_at: String,
    /// RFC 3339, UTC.
    pub started_at: Option<String>,
    /// RFC 3339, UTC.
    pub finished_at: Option<String>,
}

impl From<records::Job> for Job {
    fn from(job: records::Job) -> Self {
        let records::JobProgress { done, total, note } = job.progress;
        Self {
            id: job.id.0,
            plan_id: job.plan_id.map(|id| id.0),
            kind: job.kind.into(),
            state: job.state.into(),
            progress: Progress { done, total, note },
            pid: job.pid,
            error: job.error,
            hint: job.hint,
            config: job.config,
            summary: job.summary,
            created_at: job.created_at,
            started_at: job.started_at,
            finished_at: job.finished_at,
        }
    }
}

/// Where to begin to read a log.
#[derive(Debug, Deserialize, utoipa::IntoParams)]
#[into_params(parameter_in = Query)]
pub(super) struct LogFrom {
    /// First byte wanted; without it the last 64 KiB.
    pub offset: Option<u64>,
}

/// A recipe that can be started from here.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Recipe {
    /// What to call it.
    pub name: String,
    /// Its first comment: what it does.
    pub description: String,
    /// The recipe itself, TOML with comments.
    pub toml: String,
}

/// How to change a recipe before it runs.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct RunRecipe {
    /// Values by path, e.g. `{"train.steps": 100}`; as `--set` on the command line.
    #[serde(default)]
    pub set: BTreeMap<String, serde_json::Value>,
}

/// A recipe run that was started.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Started {
    /// The plan.
    pub plan_id: i64,
    /// Its jobs, in order.
    pub jobs: Vec<Job>,
}

/// What was asked to stop.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct StopAnswer {
    /// How many jobs were asked to stop or taken out of the queue.
    pub stopped: u64,
}

pub(super) fn routes() -> OpenApiRouter<AppState> {
    OpenApiRouter::new()
        .routes(routes!(list_jobs))
        .routes(routes!(get_job))
        .routes(routes!(get_log))
        .routes(routes!(stop_job))
        .routes(routes!(retry_job))
        .routes(routes!(list_recipes))
        .routes(routes!(run_recipe))
        .routes(routes!(stop_plan))
        .routes(routes!(stop_all))
}

/// Jobs, newest first.
#[utoipa::path(get, path = "/jobs", tag = "jobs", params(Paging),
    responses((status = OK, body = Page<Job>), (status = "default", body = ErrorBody)))]
async fn list_jobs(
    State(state): State<AppState>,
    Query(paging): Query<Paging>,
) -> Result<Answer<Page<Job>>> {
    let (limit, after) = (paging.limit(), paging.after.map(JobId));
    let jobs = state.store(move |store| store.jobs(limit, after)).await?;
    Ok(Answer(Page::new(jobs, limit, |job| job.id.0)))
}

/// One job.
#[utoipa::path(get, path = "/jobs/{id}", tag = "jobs", params(("id" = i64, Path)),
    responses((status = OK, body = Job), (status = "default", body = ErrorBody)))]
async fn get_job(State(state): State<AppState>, Path(id): Path<i64>) -> Result<Answer<Job>> {
    Ok(Answer(state.store(move |store| store.job(JobId(id))).await?.into()))
}

/// A piece of a job's log: the tail, or what follows `offset`.
#[utoipa::path(get, path = "/jobs/{id}/log", tag = "jobs", params(("id" = i64, Path), LogFrom),
    responses((status = OK, body = Log), (status = "default", body = ErrorBody)))]
async fn get_log(
    State(state): State<AppState>,
    Path(id): Path<i64>,
    Query(from): Query<LogFrom>,
) -> Result<Answer<Log>> {
    let log = state
        .work(move |store| {
            // The state first: what a job writes before it is over is in the log after.
            let job = store.job(JobId(id))?;
            log::read(&Owner::log_path(store, job.id), from.offset, job.state.is_over())
        })
        .await?;
    Ok(Answer(log))
}

/// Asks a job to stop. It says `stopping` at once and ends within two seconds, training after
/// writing its checkpoint.
#[utoipa::path(post, path = "/jobs/{id}/stop", tag = "jobs", params(("id" = i64, Path)),
    responses((status = OK, body = Job), (status = "default", body = ErrorBody)))]
async fn stop_job(State(state): State<AppState>, Path(id): Path<i64>) -> Result<Answer<Job>> {
    let job = state
        .tell_runner(move |runner| {
            let job = runner.store().job(JobId(id))?;
            match cancel(runner, job.id)? {
                true => Ok(runner.store().job(job.id)?),
                false => {
                    let message = format!("job {id} is {} already", job.state.name());
                    Err(Error::Conflict(message))
                }
            }
        })
        .await?;
    Ok(Answer(job.into()))
}

/// Queues a job again that is over; it goes on where it was, and the later jobs of its plan follow.
#[utoipa::path(post, path = "/jobs/{id}/retry", tag = "jobs", params(("id" = i64, Path)),
    responses((status = OK, body = Job), (status = "default", body = ErrorBody)))]
async fn retry_job(State(state): State<AppState>, Path(id): Path<i64>) -> Result<Answer<Job>> {
    let job = state
        .tell_runner(move |runner| {
            let job = runner.store().job(JobId(id))?;
            if !job.state.is_over() {
                return Err(Error::Conflict(format!("job {id} is {}", job.state.name())));
            }
            Ok(runner.retry(job.id)?)
        })
        .await?;
    Ok(Answer(job.into()))
}

/// The recipes that can be started.
#[utoipa::path(get, path = "/recipes", tag = "jobs",
    responses((status = OK, body = Page<Recipe>), (status = "default", body = ErrorBody)))]
async fn list_recipes() -> Answer<Page<Recipe>> {
    let one = |(name, toml): &(&str, &str)| Recipe {
        name: (*name).to_owned(),
        description: first_comment(toml),
        toml: (*toml).to_owned(),
    };
    Answer(Page::whole(recipe::BUILT_IN.iter().map(one).collect()))
}

/// Starts every stage of a recipe; again resumes.
#[utoipa::path(post, path = "/recipes/{name}/run", tag = "jobs", params(("name" = String, Path)),
    request_body = RunRecipe,
    responses(
        (status = OK, body = Started),
        (status = CONFLICT, body = ErrorBody, description = "It is at work already."),
        (status = "default", body = ErrorBody)))]
async fn run_recipe(
    State(state): State<AppState>,
    Path(name): Path<String>,
    Json(change): Json<RunRecipe>,
) -> Result<Answer<Started>> {
    ensure_built_in(&name)?;
    let sets = written(&change.set);
    let machine = state.machine().clone();
    let (plan, jobs) = state
        .tell_runner(move |runner| {
            let plan = recipe::Recipe::load(&name, &sets)?;
            // Problems of the recipe are the asker's, not ours.
            plan.resolve(&machine).map_err(|problems| Error::Invalid(problems.to_string()))?;
            Ok(runner.start_recipe(&name, &sets, &machine)?)
        })
        .await?;
    let jobs = jobs.into_iter().map(Job::from).collect();
    Ok(Answer(Started { plan_id: plan.id.0, jobs }))
}

/// Only built-in recipes can be named: over the wire, a name must never become a path.
pub(super) fn ensure_built_in(name: &str) -> Result<()> {
    if recipe::BUILT_IN.iter().any(|(known, _)| *known == name) {
        return Ok(());
    }
    Err(Error::NotFound(format!("there is no recipe `{name}`")))
}

/// Values by path as `--set` takes them. A JSON value is a TOML value, but for `null` and objects, which
/// no setting has.
pub(super) fn written(set: &BTreeMap<String, serde_json::Value>) -> Vec<String> {
    set.iter().map(|(path, value)| format!("{path}={value}")).collect()
}

/// Stops every job of a plan.
#[utoipa::path(post, path = "/plans/{id}/stop", tag = "jobs", params(("id" = i64, Path)),
    responses((status = OK, body = StopAnswer), (status = "default", body = ErrorBody)))]
async fn stop_plan(
    State(state): State<AppState>,
    Path(id): Path<i64>,
) -> Result<Answer<StopAnswer>> {
    let stopped = state
        .tell_runner(move |runner| {
            let jobs = runner.store().plan_jobs(PlanId(id))?;
            if jobs.is_empty() {
                return Err(Error::NotFound(format!("there is no plan `{id}`")));
            }
            stop_each(runner, jobs)
        })
        .await?;
    Ok(Answer(StopAnswer { stopped }))
}

/// Stops every job.
#[utoipa::path(post, path = "/stop", tag = "jobs",
    responses((status = OK, body = StopAnswer), (status = "default", body = ErrorBody)))]
async fn stop_all(State(state): State<AppState>) -> Result<Answer<StopAnswer>> {
    let open = [records::JobState::Queued, records::JobState::Running];
    let stopped =
        state.tell_runner(move |runner| stop_each(runner, runner.store().jobs_in(&open)?)).await?;
    Ok(Answer(StopAnswer { stopped }))
}

/// Stops `jobs`, the last first, so that none begins because the one before it ends.
fn stop_each(runner: &Runner, jobs: Vec<records::Job>) -> Result<u64> {
    let mut stopped = 0;
    for job in jobs.into_iter().rev().filter(|job| !job.state.is_over()) {
        stopped += u64::from(cancel(runner, job.id)?);
    }
    Ok(stopped)
}

/// Asks a job to stop; says whether it was not over already.
fn cancel(runner: &Runner, id: JobId) -> Result<bool> {
    match runner.cancel(id) {
        Ok(_) => Ok(true),
        Err(_) if runner.store().job(id)?.state.is_over() => Ok(false),
        Err(error) => Err(error.into()),
    }
}

/// The comment that a recipe begins with, as one line.
fn first_comment(toml: &str) -> String {
    let lines = toml.lines().map_while(|line| line.strip_prefix('#'));
    lines.map(str::trim).collect::<Vec<_>>().join(" ").trim().to_owned()
}
