//! Datasets.

use axum::Json as Answer;
use axum::extract::State;
use serde::Serialize;
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::error::{ErrorBody, Result};
use super::{AppState, Page};
use crate::records;

/// A dataset: immutable.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub(super) struct Dataset {
    /// Its id.
    pub id: i64,
    /// For people, e.g. `rehearsal`.
    pub name: String,
    /// `verified` or `unverified`: which traces it admits.
    pub arm: String,
    /// SHA-256 over its configuration and the content of its examples, hex.
    pub hash: String,
    /// How many examples it has.
    pub rows: u64,
    /// Folder of its files, relative to the data folder.
    pub path: String,
    /// RFC 3339, UTC.
    pub created_at: String,
}

impl From<records::Dataset> for Dataset {
    fn from(dataset: records::Dataset) -> Self {
        Self {
            id: dataset.id.0,
            name: dataset.name,
            arm: dataset.arm.name().to_owned(),
            hash: dataset.hash,
            rows: dataset.rows,
            path: dataset.path,
            created_at: dataset.created_at,
        }
    }
}

pub(super) fn routes() -> OpenApiRouter<AppState> {
    OpenApiRouter::new().routes(routes!(list_datasets))
}

/// Every dataset, newest first.
#[utoipa::path(get, path = "/datasets", tag = "datasets",
    responses((status = OK, body = Page<Dataset>), (status = "default", body = ErrorBody)))]
async fn list_datasets(State(state): State<AppState>) -> Result<Answer<Page<Dataset>>> {
    let datasets = state.store(|store| store.datasets()).await?;
    Ok(Answer(Page::whole(datasets)))
}
