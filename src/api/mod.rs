//! The panel's HTTP API: `/api/v1`, described by OpenAPI.
//!
//! Handlers only translate: extract, call, map. Nothing below this module knows the JSON that goes
//! over the wire.

mod guard;

mod access;
mod limiter;

mod auth;
mod datasets;
mod diff;
mod engines;
mod events;
mod examples;
mod jobs;
mod keys;
mod log;
mod metrics;
mod models;
mod plans;
mod questions;
mod reviews;
mod runs;
mod scores;
mod status;
mod system;
mod traces;
mod ui;
mod verdict;
mod verify;

mod error;
mod extract;
mod state;

use axum::Router;
use axum::extract::{DefaultBodyLimit, Request, State};
use axum::http::header;
use axum::middleware::{from_fn, from_fn_with_state};
use axum::response::{IntoResponse, Response};
use axum::routing::{any, get};
use serde::{Deserialize, Serialize};
use utoipa::{OpenApi, ToSchema};
use utoipa_axum::router::OpenApiRouter;

use error::Error;

use crate::serve;

pub use access::{
    DEFAULT_BASE, add_key, has_password, issue_setup_url, known_base, random_password, set_password,
};
pub use guard::Hosts;
pub use state::{AppState, Parts, SandboxProbe};
pub use status::Gpu;
pub use ui::WEB;
pub use verify::{Probe, RefusedTier, Sandbox};

/// Rows of a page where nobody says how many.
const PAGE_ROWS: u32 = 100;

/// Rows of a page at most: a page of long traces stays below some 20 MB.
const PAGE_ROWS_MAX: u32 = 1_000;

#[derive(OpenApi)]
#[openapi(
    info(
        title = "Thinkery",
        description = "The panel's API. Everything the panel can do goes through here.",
        license(name = "Apache-2.0")
    ),
    servers((url = "/api/v1"))
)]
struct Description;

/// Which page of a list is wanted.
#[derive(Debug, Deserialize, utoipa::IntoParams)]
#[into_params(parameter_in = Query)]
struct Paging {
    /// How many at most, 1 to 1000; 100 if not given.
    pub limit: Option<u32>,
    /// Only those after this one: the `next` of the page before.
    pub after: Option<i64>,
}

impl Paging {
    fn limit(&self) -> u32 {
        limit_of(self.limit)
    }
}

fn limit_of(asked: Option<u32>) -> u32 {
    asked.unwrap_or(PAGE_ROWS).clamp(1, PAGE_ROWS_MAX)
}

/// A page of a list.
#[derive(Debug, Serialize, ToSchema)]
struct Page<T> {
    /// What is on it.
    pub items: Vec<T>,
    /// What to ask for with `after` to get the next page; none on the last.
    pub next: Option<i64>,
}

impl<T> Page<T> {
    /// The page made of `rows`, which were asked for with `limit`; `id` is what comes after.
    fn new<R>(rows: Vec<R>, limit: u32, id: impl Fn(&R) -> i64) -> Self
    where
        T: From<R>,
    {
        let full = rows.len() >= limit as usize;
        let next = rows.last().filter(|_| full).map(id);
        Self { items: rows.into_iter().map(T::from).collect(), next }
    }

    /// A list that is short enough to be one page.
    fn whole<R>(rows: Vec<R>) -> Self
    where
        T: From<R>,
    {
        Self { items: rows.into_iter().map(T::from).collect(), next: None }
    }
}

/// What needs no login.
fn open() -> OpenApiRouter<AppState> {
    OpenApiRouter::with_openapi(Description::openapi())
        .merge(auth::open_routes())
        .merge(system::routes())
}

/// What needs one.
fn closed() -> OpenApiRouter<AppState> {
    OpenApiRouter::new()
        .merge(auth::routes())
        .merge(status::routes())
        .merge(events::routes())
        .merge(jobs::routes())
        .merge(runs::routes())
        .merge(plans::routes())
        .merge(examples::routes())
        .merge(scores::routes())
        .merge(questions::routes())
        .merge(traces::routes())
        .merge(verify::routes())
        .merge(reviews::routes())
        .merge(datasets::routes())
        .merge(models::routes())
        .merge(engines::routes())
        .merge(keys::routes())
}

/// Everything under `/api`, the keyed `/v1`, the probes, and the panel's files, behind the door
/// that every request passes.
pub fn router(state: AppState) -> Router {
    let (closed, _) = closed().split_for_parts();
    let closed = closed.route_layer(from_fn_with_state(state.clone(), guard::session));
    let (open, _) = open().split_for_parts();
    let api = open
        .merge(closed)
        .method_not_allowed_fallback(wrong_method)
        .layer(from_fn(guard::same_site));
    let v1 = Router::new()
        .route("/v1/{*rest}", any(forward))
        .route_layer(from_fn_with_state(state.clone(), guard::key));
    Router::new()
        .nest("/api/v1", api)
        .route("/api/openapi.json", get(description))
        .route("/healthz", get(system::healthz))
        .route("/readyz", get(system::readyz))
        .route("/metrics", get(metrics::get_metrics))
        .merge(v1)
        .fallback(ui::serve)
        .layer(DefaultBodyLimit::max(extract::BODY_BYTES_MAX))
        .layer(from_fn_with_state(state.clone(), guard::door))
        .layer(from_fn(serve::linger))
        .with_state(state)
}

async fn forward(State(state): State<AppState>, request: Request) -> Response {
    models::forward(&state, request).await
}

async fn wrong_method(request: Request) -> Error {
    Error::WrongMethod(request.method().clone())
}

async fn description() -> Response {
    ([(header::CONTENT_TYPE, "application/json")], openapi()).into_response()
}

/// The API's description: OpenAPI 3.1, JSON, ends with a newline.
pub fn openapi() -> String {
    let (_, description) = open().merge(closed()).split_for_parts();
    let mut text = serde_json::to_string_pretty(&description)
        .expect("the description is made of strings and lists");
    text.push('\n');
    text
}
