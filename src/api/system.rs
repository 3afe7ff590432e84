//! The server itself: version and health.

use axum::Json as Answer;
use axum::extract::State;
use axum::http::StatusCode;
use serde::Serialize;
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::AppState;
use super::error::{Error, ErrorBody, Result};
use super::ui;

/// What is running.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Version {
    /// Version of the server.
    pub version: String,
    /// `embedded HASH` or `placeholder`: whether the panel is in this binary.
    pub web: String,
}

/// Whether the server can do its work.
#[derive(Debug, Serialize)]
pub(super) struct Health {
    status: &'static str,
}

pub(super) fn routes() -> OpenApiRouter<AppState> {
    OpenApiRouter::new().routes(routes!(get_version))
}

/// What is running. Needs no login.
#[utoipa::path(get, path = "/version", tag = "system",
    responses((status = OK, body = Version), (status = "default", body = ErrorBody)))]
async fn get_version() -> Answer<Version> {
    Answer(Version { version: env!("CARGO_PKG_VERSION").into(), web: ui::WEB.into() })
}

/// The process lives.
pub(super) async fn healthz() -> Answer<Health> {
    Answer(Health { status: "ok" })
}

/// The store answers and jobs can be run.
pub(super) async fn readyz(State(state): State<AppState>) -> Result<(StatusCode, Answer<Health>)> {
    state.store(|store| store.event_range()).await?;
    if !state.runs_jobs() {
        return Err(Error::Unavailable("the job runner is not there".into()));
    }
    Ok((StatusCode::OK, Answer(Health { status: "ready" })))
}
