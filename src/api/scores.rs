//! The score table.

use axum::Json as Answer;
use axum::extract::State;
use serde::Serialize;
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::error::{ErrorBody, Result};
use super::{AppState, Page};
use crate::records;

/// A cell of the score table.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub(super) struct Score {
    /// Name of the model.
    pub model: String,
    /// Name of the benchmark, or `benchmark/family` for one family of it.
    pub benchmark: String,
    /// Mean accuracy in percent.
    pub mean: f64,
    /// Standard error of that mean in percentage points.
    pub standard_error: f64,
    /// Number of problems.
    pub n: u64,
}

impl From<records::Score> for Score {
    fn from(score: records::Score) -> Self {
        let records::Score { model, benchmark, mean, standard_error, n } = score;
        Self { model, benchmark, mean, standard_error, n }
    }
}

pub(super) fn routes() -> OpenApiRouter<AppState> {
    OpenApiRouter::new().routes(routes!(list_scores))
}

/// The whole score table, by benchmark and model.
#[utoipa::path(get, path = "/scores", tag = "evaluations",
    responses((status = OK, body = Page<Score>), (status = "default", body = ErrorBody)))]
async fn list_scores(State(state): State<AppState>) -> Result<Answer<Page<Score>>> {
    let scores = state.store(|store| store.scores()).await?;
    Ok(Answer(Page::whole(scores)))
}
