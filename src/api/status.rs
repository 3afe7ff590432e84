//! Everything the dashboard needs, in one snapshot.

use std::collections::BTreeMap;

use axum::Json as Answer;
use axum::extract::State;
use serde::Serialize;
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::datasets::Dataset;
use super::error::{ErrorBody, Result};
use super::jobs::Stage;
use super::models::Model;
use super::runs::Run;
use super::scores::Score;
use super::{AppState, models, runs};
use crate::records::{self, Job, JobKind, JobState};
use crate::store::{self, Store};

/// Everything the dashboard needs. Events after `last_event_id` bring it up to date.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Status {
    /// Version of the server.
    pub version: String,
    /// The data folder.
    pub data_dir: String,
    /// The newest recipe run, if there was one.
    pub plan: Option<Plan>,
    /// The seven stages in order, as the newest plan stands; `idle` without one.
    pub stages: Vec<StageStatus>,
    /// What is in the store.
    pub counts: Counts,
    /// Every dataset, newest first.
    pub datasets: Vec<Dataset>,
    /// Every training run, newest first.
    pub runs: Vec<Run>,
    /// The score table.
    pub scores: Vec<Score>,
    /// The model that answers on `/v1` and in the chat, if there is one.
    pub served: Option<Model>,
    /// The machine this runs on.
    pub machine: Machine,
    /// The last event that is in this snapshot.
    pub last_event_id: i64,
}

/// A recipe run.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Plan {
    /// Its id.
    pub id: i64,
    /// Name of the recipe.
    pub recipe: String,
    /// Where it stands as a whole.
    pub state: StageState,
    /// RFC 3339, UTC.
    pub created_at: String,
}

/// Where a stage stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub(super) enum StageState {
    /// The plan has no such stage, or there is no plan.
    Idle,
    /// Waits for its turn.
    Queued,
    /// One of its jobs has a process.
    Running,
    /// Was asked to stop and has not yet.
    Stopping,
    /// All its jobs are finished.
    Done,
    /// One of its jobs could not; `error` says why.
    Failed,
    /// Stopped on request.
    Cancelled,
    /// A process vanished; retry goes on where it was.
    Interrupted,
}

/// A stage of the strip.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct StageStatus {
    /// Which.
    pub stage: Stage,
    /// Where it stands.
    pub state: StageState,
    /// Units finished, over all its jobs.
    pub done: u64,
    /// Units in all; 0 while unknown.
    pub total: u64,
    /// What is being done, for people.
    pub note: String,
    /// The job to look at: the one that runs or failed, else the last.
    pub job_id: Option<i64>,
    /// Every job of this stage in the plan, in order.
    pub job_ids: Vec<i64>,
    /// Why it failed, if it did.
    pub error: Option<String>,
    /// What to do about it, if it failed.
    pub hint: Option<String>,
    /// Numbers to show in the strip, by name, e.g. `train` and `held_out` for questions.
    pub counts: BTreeMap<String, f64>,
    /// RFC 3339, UTC.
    pub started_at: Option<String>,
    /// RFC 3339, UTC.
    pub finished_at: Option<String>,
}

/// What is in the store.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Counts {
    /// Questions.
    pub questions: QuestionCounts,
    /// Traces.
    pub traces: TraceCounts,
    /// Verdicts.
    pub verdicts: VerdictCounts,
}

/// How many questions there are.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct QuestionCounts {
    /// All.
    pub total: u64,
    /// May be trained on.
    pub train: u64,
    /// Kept for evaluation.
    pub held_out: u64,
    /// By domain.
    pub domains: BTreeMap<String, u64>,
}

/// How many traces there are.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct TraceCounts {
    /// All.
    pub total: u64,
    /// Cut off by the token limit.
    pub truncated: u64,
    /// What the teachers have cost, in US dollars.
    pub cost_usd: f64,
}

/// How many traces have which verdict.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct VerdictCounts {
    /// All.
    pub total: u64,
    /// Judged correct.
    pub correct: u64,
    /// Judged wrong.
    pub wrong: u64,
    /// No verifier can decide.
    pub unchecked: u64,
    /// No answer found.
    pub unreadable: u64,
}

/// The machine this runs on.
#[derive(Debug, Clone, Default, Serialize, ToSchema)]
pub(super) struct Machine {
    /// Cores this process may use.
    pub cores: u32,
    /// Memory of the machine.
    pub memory_bytes: u64,
    /// GPUs that can be used.
    pub gpus: Vec<Gpu>,
}

/// A GPU.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub struct Gpu {
    /// How we address it, e.g. `cuda:0`.
    pub device: String,
    /// What it is.
    pub name: String,
    /// Its memory, where it is known.
    pub memory_bytes: Option<u64>,
}

pub(super) fn routes() -> OpenApiRouter<AppState> {
    OpenApiRouter::new().routes(routes!(get_status))
}

/// Everything the dashboard needs, in one snapshot.
#[utoipa::path(get, path = "/status", tag = "system",
    responses((status = OK, body = Status), (status = "default", body = ErrorBody)))]
async fn get_status(State(state): State<AppState>) -> Result<Answer<Status>> {
    let machine = Machine {
        cores: u32::try_from(state.machine().cores).unwrap_or(u32::MAX),
        memory_bytes: state.machine().memory_bytes,
        gpus: state.gpus().to_vec(),
    };
    let status = state.store(move |store| look(store, machine)).await?;
    Ok(Answer(status))
}

fn look(store: &Store, machine: Machine) -> store::Result<Status> {
    // The id first: what happens meanwhile may then come twice, but is never missed.
    let (_, last_event_id) = store.event_range()?;
    let plan = store.newest_plan()?;
    let jobs = plan.as_ref().map(|plan| store.plan_jobs(plan.id)).transpose()?.unwrap_or_default();
    let counts = Counts::from(store.counts()?);
    let datasets: Vec<Dataset> = store.datasets()?.into_iter().map(Dataset::from).collect();
    let runs = runs::all(store)?;
    let scores: Vec<Score> = store.scores()?.into_iter().map(Score::from).collect();
    let seen = Seen { counts: &counts, datasets: &datasets, runs: &runs, scores: &scores };
    let stages = JobKind::ALL.into_iter().map(|kind| stage_status(kind, &jobs, &seen)).collect();
    let plan = plan.map(|plan| Plan {
        id: plan.id.0,
        recipe: plan.recipe,
        state: whole_state(&jobs),
        created_at: plan.created_at,
    });
    Ok(Status {
        version: env!("CARGO_PKG_VERSION").into(),
        data_dir: store.dir().display().to_string(),
        served: models::all(store)?.into_iter().find(|model| model.served),
        plan,
        stages,
        counts,
        datasets,
        runs,
        scores,
        machine,
        last_event_id,
    })
}

impl From<records::Counts> for Counts {
    fn from(counts: records::Counts) -> Self {
        let records::Counts { questions, traces, verdicts } = counts;
        let records::QuestionTotals { total, train, held_out, domains } = questions;
        let questions = QuestionCounts { total, train, held_out, domains };
        let records::TraceTotals { total, truncated, cost_usd } = traces;
        let traces = TraceCounts { total, truncated, cost_usd };
        let records::VerdictTotals { total, correct, wrong, unchecked, unreadable } = verdicts;
        let verdicts = VerdictCounts { total, correct, wrong, unchecked, unreadable };
        Self { questions, traces, verdicts }
    }
}

/// What the numbers of the strip are taken from.
struct Seen<'a> {
    counts: &'a Counts,
    datasets: &'a [Dataset],
    runs: &'a [Run],
    scores: &'a [Score],
}

fn stage_status(kind: JobKind, jobs: &[Job], seen: &Seen<'_>) -> StageStatus {
    let jobs: Vec<&Job> = jobs.iter().filter(|job| job.kind == kind).collect();
    let state = state_of(&jobs);
    let shown = jobs.iter().find(|job| StageState::from(job.state) == state).or(jobs.last());
    StageStatus {
        stage: kind.into(),
        state,
        done: jobs.iter().map(|job| job.progress.done).sum(),
        total: jobs.iter().map(|job| job.progress.total).sum(),
        note: shown.map(|job| job.progress.note.clone()).unwrap_or_default(),
        job_id: shown.map(|job| job.id.0),
        job_ids: jobs.iter().map(|job| job.id.0).collect(),
        error: shown.and_then(|job| job.error.clone()),
        hint: shown.and_then(|job| job.hint.clone()),
        counts: numbers(kind, seen),
        started_at: jobs.iter().filter_map(|job| job.started_at.clone()).min(),
        finished_at: if state == StageState::Done {
            jobs.iter().filter_map(|job| job.finished_at.clone()).max()
        } else {
            None
        },
    }
}

fn numbers(kind: JobKind, seen: &Seen<'_>) -> BTreeMap<String, f64> {
    let Seen { counts, datasets, runs, scores } = seen;
    let Counts { questions, traces, verdicts } = counts;
    let rows = |arm: &str| {
        let newest = datasets.iter().find(|dataset| dataset.arm == arm);
        newest.map_or(0.0, |dataset| dataset.rows as f64)
    };
    let pairs: Vec<(&str, f64)> = match kind {
        JobKind::Questions => vec![
            ("questions", questions.total as f64),
            ("train", questions.train as f64),
            ("held_out", questions.held_out as f64),
        ],
        JobKind::Distill => vec![
            ("traces", traces.total as f64),
            ("truncated", traces.truncated as f64),
            ("cost_usd", traces.cost_usd),
        ],
        JobKind::Verify => vec![
            ("correct", verdicts.correct as f64),
            ("wrong", verdicts.wrong as f64),
            ("unchecked", verdicts.unchecked as f64),
            ("unreadable", verdicts.unreadable as f64),
        ],
        JobKind::Dataset => {
            vec![("verified", rows("verified")), ("unverified", rows("unverified"))]
        }
        JobKind::Train => vec![
            ("runs", runs.len() as f64),
            ("steps", runs.iter().map(|run| run.steps_done as f64).sum()),
        ],
        JobKind::Evaluate => {
            let overall = scores.iter().filter(|score| !score.benchmark.contains('/'));
            vec![("scores", overall.count() as f64)]
        }
        JobKind::Serve => Vec::new(),
    };
    pairs.into_iter().map(|(name, value)| (name.to_owned(), value)).collect()
}

/// Where jobs stand together: what goes on first, then what went wrong.
fn state_of(jobs: &[&Job]) -> StageState {
    let any = |state: JobState| jobs.iter().any(|job| job.state == state);
    let order = [
        JobState::Stopping,
        JobState::Running,
        JobState::Queued,
        JobState::Failed,
        JobState::Interrupted,
        JobState::Cancelled,
        JobState::Done,
    ];
    order.into_iter().find(|state| any(*state)).map_or(StageState::Idle, StageState::from)
}

/// Where a plan stands: between two of its jobs it still runs.
fn whole_state(jobs: &[Job]) -> StageState {
    let state = state_of(&jobs.iter().collect::<Vec<_>>());
    let begun = jobs.iter().any(|job| job.state == JobState::Done);
    if state == StageState::Queued && begun { StageState::Running } else { state }
}

impl From<JobState> for StageState {
    fn from(state: JobState) -> Self {
        match state {
            JobState::Queued => Self::Queued,
            JobState::Running => Self::Running,
            JobState::Stopping => Self::Stopping,
            JobState::Done => Self::Done,
            JobState::Failed => Self::Failed,
            JobState::Cancelled => Self::Cancelled,
            JobState::Interrupted => Self::Interrupted,
        }
    }
}
