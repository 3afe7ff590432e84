//! Training runs and their curves.

use axum::Json as Answer;
use axum::extract::State;
use axum::http::header;
use axum::response::{IntoResponse, Response};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::error::{ErrorBody, Result};
use super::extract::{Json, Path, Query};
use super::jobs::Job;
use super::{AppState, Page};
use crate::jobs;
use crate::records::{self, RunId};
use crate::store::{self, Store};

/// Points of a curve where nobody says how many: more than a screen is wide.
const POINTS: u32 = 2_000;

/// Points of a curve at most.
const POINTS_MAX: u32 = 10_000;

/// How far a run is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub(super) enum RunState {
    /// Has steps left.
    Running,
    /// Its last checkpoint is final.
    Done,
}

impl From<records::RunState> for RunState {
    fn from(state: records::RunState) -> Self {
        match state {
            records::RunState::Running => Self::Running,
            records::RunState::Done => Self::Done,
        }
    }
}

/// One training run.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub(super) struct Run {
    /// Its id.
    pub id: i64,
    /// For people: `verified`, `unverified`, …
    pub name: String,
    /// What it was trained on; none for files given on the command line.
    pub dataset_id: Option<i64>,
    /// How far it is.
    pub state: RunState,
    /// Optimizer steps in total.
    pub steps_total: u64,
    /// Optimizer steps finished.
    pub steps_done: u64,
    /// Loss of the last step, in nats per trained token.
    pub last_loss: Option<f64>,
    /// Tokens per second of the last step.
    pub tokens_per_second: Option<f64>,
    /// Folder of its checkpoints, relative to the data folder or absolute.
    pub path: String,
    /// RFC 3339, UTC.
    pub created_at: String,
}

/// A run with everything we know of it.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct RunDetail {
    /// The run.
    #[serde(flatten)]
    pub run: Run,
    /// The frozen configuration.
    pub config: serde_json::Value,
    /// The command line that makes it once more.
    pub command: String,
    /// The job that makes it, or made it last; none if that is long ago.
    pub job_id: Option<i64>,
    /// Its checkpoints, oldest first.
    pub checkpoints: Vec<Checkpoint>,
    /// What happened in it besides steps, in order.
    pub events: Vec<RunEvent>,
    /// Its first steps beside the plain way: `agrees`, `loss_difference`, …; none if there is none.
    pub certificate: Option<serde_json::Value>,
}

/// What happened in a run besides its steps.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct RunEvent {
    /// When, RFC 3339, UTC.
    pub at: String,
    /// In which step, or before it.
    pub step: u64,
    /// `began`, `resumed`, `went_back`, `certified`, `disagreed`, `non_finite`, `loss_spike`, `zero_tokens`,
    /// `clock_jump`, `out_of_memory` or `save_failed`.
    pub kind: &'static str,
    /// Whether somebody should look at it.
    pub warning: bool,
    /// One line for people.
    pub message: String,
    /// What to do about it.
    pub hint: Option<String>,
    /// Ids of the examples it is about.
    pub examples: Vec<i64>,
}

impl From<records::RunEvent> for RunEvent {
    fn from(event: records::RunEvent) -> Self {
        Self {
            at: event.at,
            step: event.step,
            kind: event.kind.name(),
            warning: event.kind.is_warning(),
            message: event.message,
            hint: event.hint,
            examples: event.examples,
        }
    }
}

/// A complete checkpoint.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Checkpoint {
    /// Steps that are in it.
    pub step: u64,
    /// Its folder, relative to the data folder or absolute.
    pub path: String,
    /// All of its files; null if somebody has deleted them.
    pub bytes: Option<u64>,
    /// Mean loss of the steps since the checkpoint before, in nats.
    pub loss: Option<f64>,
    /// Whether none has a lower loss.
    pub best: bool,
    /// When it was complete, RFC 3339, UTC.
    pub saved_at: Option<String>,
}

/// Where a run goes on.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct ResumeRun {
    /// After this many steps, where there is a checkpoint; later checkpoints are deleted and their steps
    /// made again. From the newest if not given.
    pub from: Option<u64>,
}

/// One optimizer step.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub(super) struct Step {
    /// From 0.
    pub step: u64,
    /// Passes over the data so far.
    pub epoch: f64,
    /// Mean loss over the trained tokens before the update, in nats; null if it was not finite.
    pub loss: Option<f64>,
    /// Global L2 norm of the gradients before clipping; null if it was not finite.
    pub grad_norm: Option<f64>,
    /// The learning rate this step used.
    pub learning_rate: f64,
    /// Tokens in the step.
    pub tokens: u64,
    /// Of these, tokens with a loss.
    pub trained_tokens: u64,
    /// Throughput of this step.
    pub tokens_per_second: f64,
    /// Model FLOP utilisation, where the device's peak is known.
    pub mfu: Option<f64>,
    /// Duration of the step.
    pub seconds: f64,
    /// Peak memory so far.
    pub peak_memory_bytes: u64,
    /// What the ranks have to do on average over what the busiest has; null on one rank.
    pub balance: Option<f64>,
}

impl From<records::Step> for Step {
    fn from(step: records::Step) -> Self {
        Self {
            step: step.step,
            epoch: step.epoch,
            loss: finite(step.loss),
            grad_norm: finite(step.grad_norm),
            learning_rate: step.learning_rate,
            tokens: step.tokens,
            trained_tokens: step.trained_tokens,
            tokens_per_second: step.tokens_per_second,
            mfu: step.mfu,
            seconds: step.seconds,
            peak_memory_bytes: step.peak_memory_bytes,
            balance: step.balance,
        }
    }
}

/// Which part of a curve is wanted.
#[derive(Debug, Deserialize, utoipa::IntoParams)]
#[into_params(parameter_in = Query)]
pub(super) struct StepsWanted {
    /// First step; 0 if not given.
    #[serde(default)]
    pub from: u64,
    /// Points at most, 2 to 10000; 2000 if not given. More steps than that are put into buckets of
    /// which the steps with the lowest and the highest loss stay.
    pub max_points: Option<u32>,
}

/// A run's curve.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Steps {
    /// In order.
    pub items: Vec<Step>,
    /// How many steps `items` stands for.
    pub total: u64,
    /// Whether some steps were left out.
    pub sampled: bool,
}

pub(super) fn routes() -> OpenApiRouter<AppState> {
    OpenApiRouter::new()
        .routes(routes!(list_runs))
        .routes(routes!(get_run))
        .routes(routes!(get_steps))
        .routes(routes!(get_table))
        .routes(routes!(resume_run))
}

/// Training runs, newest first.
#[utoipa::path(get, path = "/runs", tag = "runs",
    responses((status = OK, body = Page<Run>), (status = "default", body = ErrorBody)))]
async fn list_runs(State(state): State<AppState>) -> Result<Answer<Page<Run>>> {
    Ok(Answer(Page::whole(state.store(all).await?)))
}

/// One run with its configuration and checkpoints.
#[utoipa::path(get, path = "/runs/{id}", tag = "runs", params(("id" = i64, Path)),
    responses((status = OK, body = RunDetail), (status = "default", body = ErrorBody)))]
async fn get_run(State(state): State<AppState>, Path(id): Path<i64>) -> Result<Answer<RunDetail>> {
    let detail = state
        .work(move |store| {
            let run = store.run(RunId(id))?;
            let events = store.run_events(&run)?.into_iter().map(RunEvent::from);
            Ok(RunDetail {
                config: run.config.clone(),
                command: jobs::command_of(store, &run)?,
                job_id: jobs::job_of(store, &run)?.map(|job| job.id.0),
                checkpoints: checkpoints(store, &run)?,
                events: events.collect(),
                certificate: store.run_certificate(&run)?,
                run: with_last(store, run)?,
            })
        })
        .await?;
    Ok(Answer(detail))
}

/// A run's whole curve, thinned out where it has more steps than points are wanted.
#[utoipa::path(get, path = "/runs/{id}/steps", tag = "runs",
    params(("id" = i64, Path), StepsWanted),
    responses((status = OK, body = Steps), (status = "default", body = ErrorBody)))]
async fn get_steps(
    State(state): State<AppState>,
    Path(id): Path<i64>,
    Query(wanted): Query<StepsWanted>,
) -> Result<Answer<Steps>> {
    let steps = state
        .store(move |store| {
            store.run(RunId(id))?;
            store.steps(RunId(id), wanted.from)
        })
        .await?;
    let total = steps.len();
    let points = wanted.max_points.unwrap_or(POINTS).clamp(2, POINTS_MAX) as usize;
    let items: Vec<Step> = thin(steps, points).into_iter().map(Step::from).collect();
    Ok(Answer(Steps { sampled: items.len() < total, total: total as u64, items }))
}

/// Every step of a run as a table, comma-separated, for programs that plot.
#[utoipa::path(get, path = "/runs/{id}/steps.csv", tag = "runs", params(("id" = i64, Path)),
    responses(
        (status = OK, body = String, content_type = "text/csv"),
        (status = "default", body = ErrorBody)))]
async fn get_table(State(state): State<AppState>, Path(id): Path<i64>) -> Result<Response> {
    let (run, steps) =
        state.store(move |store| Ok((store.run(RunId(id))?, store.steps(RunId(id), 0)?))).await?;
    let file = format!("attachment; filename=\"{}-{id}-steps.csv\"", run.name);
    let headers = [
        (header::CONTENT_TYPE, "text/csv; charset=utf-8".to_owned()),
        (header::CONTENT_DISPOSITION, file),
    ];
    Ok((headers, records::table(&steps)).into_response())
}

/// Goes on with a run that has stopped, in a job of its own.
#[utoipa::path(post, path = "/runs/{id}/resume", tag = "runs", params(("id" = i64, Path)),
    request_body = ResumeRun,
    responses(
        (status = OK, body = Job),
        (status = CONFLICT, body = ErrorBody, description = "Something is being trained."),
        (status = "default", body = ErrorBody)))]
async fn resume_run(
    State(state): State<AppState>,
    Path(id): Path<i64>,
    Json(wanted): Json<ResumeRun>,
) -> Result<Answer<Job>> {
    let job =
        state.tell_runner(move |runner| Ok(runner.resume_run(RunId(id), wanted.from)?)).await?;
    Ok(Answer(job.into()))
}

/// A run's checkpoints, oldest first, with what lies in their folders.
fn checkpoints(store: &Store, run: &records::Run) -> store::Result<Vec<Checkpoint>> {
    let mut all = Vec::new();
    for checkpoint in store.checkpoints(run.id)? {
        let files = store.checkpoint_files(&checkpoint)?;
        let loss = files.as_ref().and_then(|files| files.loss);
        all.push(Checkpoint {
            step: checkpoint.step,
            path: checkpoint.path,
            bytes: files.as_ref().map(|files| files.bytes),
            loss,
            best: false,
            saved_at: files.map(|files| files.saved_at),
        });
    }
    let by_loss = |a: &&mut Checkpoint, b: &&mut Checkpoint| {
        a.loss.unwrap_or(f64::INFINITY).total_cmp(&b.loss.unwrap_or(f64::INFINITY))
    };
    if let Some(best) = all.iter_mut().filter(|one| one.loss.is_some()).min_by(by_loss) {
        best.best = true;
    }
    Ok(all)
}

/// Every run, newest first.
pub(super) fn all(store: &Store) -> store::Result<Vec<Run>> {
    store.runs()?.into_iter().map(|run| with_last(store, run)).collect()
}

fn with_last(store: &Store, run: records::Run) -> store::Result<Run> {
    let last = store.last_step(run.id)?;
    Ok(Run {
        id: run.id.0,
        name: run.name,
        dataset_id: run.dataset_id.map(|id| id.0),
        state: run.state.into(),
        steps_total: run.steps_total,
        steps_done: last.as_ref().map_or(0, |step| step.step + 1),
        last_loss: last.as_ref().and_then(|step| finite(step.loss)),
        tokens_per_second: last.as_ref().and_then(|step| finite(step.tokens_per_second)),
        path: run.path,
        created_at: run.created_at,
    })
}

/// At most `points` of `steps`, always the same ones: first, last, and of every bucket between the
/// steps with the lowest and the highest loss, so that no spike is lost.
fn thin(steps: Vec<records::Step>, points: usize) -> Vec<records::Step> {
    if steps.len() <= points || points < 4 {
        let last = steps.len().saturating_sub(1);
        let all = steps.len() <= points;
        let kept = steps.into_iter().enumerate().filter(|(at, _)| all || *at == 0 || *at == last);
        return kept.map(|(_, step)| step).collect();
    }
    let last = steps.len() - 1;
    let buckets = (points - 2) / 2;
    let mut kept = vec![false; steps.len()];
    (kept[0], kept[last]) = (true, true);
    let inner = last - 1;
    for bucket in 0..buckets {
        let range = 1 + bucket * inner / buckets..1 + (bucket + 1) * inner / buckets;
        let by_loss = |a: &usize, b: &usize| steps[*a].loss.total_cmp(&steps[*b].loss);
        for at in [range.clone().min_by(by_loss), range.max_by(by_loss)].into_iter().flatten() {
            kept[at] = true;
        }
    }
    let pairs = steps.into_iter().zip(kept);
    pairs.filter(|(_, kept)| *kept).map(|(step, _)| step).collect()
}

fn finite(value: f64) -> Option<f64> {
    value.is_finite().then_some(value)
}

#[cfg(test)]
mod tests {
    use super::thin;
    use crate::records::Step;

    fn step(step: u64, loss: f64) -> Step {
        Step {
            step,
            epoch: 0.0,
            loss,
            grad_norm: 1.0,
            learning_rate: 1e-3,
            tokens: 1,
            trained_tokens: 1,
            tokens_per_second: 1.0,
            mfu: None,
            seconds: 1.0,
            peak_memory_bytes: 1,
            balance: None,
        }
    }

    #[test]
    fn a_thinned_curve_keeps_its_ends_and_spikes() {
        for (steps, points) in [(10_000, 2_000), (2_001, 2_000), (50_000, 100), (5, 4), (9, 2)] {
            let spike = steps / 2;
            let loss = |n| if n == spike { 99.0 } else { 5.0 / (n + 1) as f64 };
            let curve: Vec<Step> = (0..steps).map(|n| step(n, loss(n))).collect();
            let thinned = thin(curve.clone(), points);
            assert!(thinned.len() <= points, "{} of {steps}", thinned.len());
            assert_eq!(thinned[0].step, 0);
            assert_eq!(thinned[thinned.len() - 1].step, steps - 1);
            assert!(thinned.windows(2).all(|pair| pair[0].step < pair[1].step));
            assert!(points < 4 || thinned.iter().any(|step| step.step == spike));
            assert_eq!(thinned, thin(curve, points), "always the same ones");
        }
    }

    #[test]
    fn a_short_curve_stays_whole() {
        let curve: Vec<Step> = (0..100).map(|n| step(n, 1.0)).collect();
        assert_eq!(thin(curve.clone(), 100), curve);
        assert_eq!(thin(Vec::new(), 100), Vec::new());
    }
}
