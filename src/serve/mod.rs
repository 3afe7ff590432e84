//! The OpenAI-compatible server: `/v1/chat/completions` and `/v1/models`.
//!
//! Translates and nothing else: conversations are rendered and answered by `chat::local`. Follows
//! OpenAI's API reference; the thought travels as `reasoning_content`, as DeepSeek and SGLang have
//! it. A parameter that would change the answer and is not supported is refused by name, never
//! ignored.

mod chat_completions;
mod error;
mod listen;
pub mod metrics;
mod models;
mod rehearsal;
mod stream;
mod wire;

use std::sync::Arc;

use axum::Router;
use axum::extract::{DefaultBodyLimit, Path, Request, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};

pub use chat_completions::answer;
pub use error::Error;
pub use listen::listen;
pub use models::{Card, Models, Offer};
pub use rehearsal::{Config, Summary, run};

/// Longest body that is read: a context of 32k tokens is far below a megabyte.
const BODY_BYTES_MAX: usize = 2 << 20;

/// Decides whether a bearer key is good. May block.
pub type KeyCheck = Arc<dyn Fn(&str) -> bool + Send + Sync>;

#[derive(Clone)]
struct Server {
    models: Arc<Models>,
    check: Option<KeyCheck>,
}

/// Everything under `/v1`. With a `check` every request needs a bearer key that passes it.
pub fn router(models: Arc<Models>, check: Option<KeyCheck>) -> Router {
    let server = Server { models, check };
    Router::new()
        .route("/v1/chat/completions", post(chat_completions::create))
        .route("/v1/models", get(list_models))
        .route("/v1/models/{id}", get(one_model))
        .route("/v1/{*rest}", axum::routing::any(no_route))
        .method_not_allowed_fallback(no_method)
        .layer(DefaultBodyLimit::max(BODY_BYTES_MAX))
        .layer(middleware::from_fn_with_state(server.clone(), guard))
        .with_state(server)
}

/// The server alone: [`router`], `/health`, `/metrics` and `/version`.
pub fn standalone(models: Arc<Models>, check: Option<KeyCheck>) -> Router {
    let version = || async { axum::Json(serde_json::json!({ "version": VERSION })) };
    let health = {
        let models = Arc::clone(&models);
        move || async move { health(&models) }
    };
    let metrics = {
        let models = Arc::clone(&models);
        move || async move { ([(header::CONTENT_TYPE, METRICS_TYPE)], metrics::text(&models)) }
    };
    router(models, check)
        .route("/health", get(health))
        .route("/metrics", get(metrics))
        .route("/version", get(version))
        .fallback(no_route)
}

/// How Prometheus knows its text format.
pub const METRICS_TYPE: &str = "text/plain; version=0.0.4";

const VERSION: &str = env!("CARGO_PKG_VERSION");

/// 200 while every loaded engine can take requests.
fn health(models: &Models) -> Response {
    let load = models.load();
    let body = axum::Json(serde_json::json!({
        "status": "ok", "running": load.running, "waiting": load.waiting,
        "generated_tokens": load.generated_tokens,
    }));
    (StatusCode::OK, body).into_response()
}

async fn guard(State(server): State<Server>, request: Request, next: Next) -> Response {
    match authorize(&server, request.headers()).await {
        Ok(()) => next.run(request).await,
        Err(error) => error.into_response(),
    }
}

async fn authorize(server: &Server, headers: &HeaderMap) -> Result<(), Error> {
    let Some(check) = server.check.clone() else { return Ok(()) };
    let header = headers.get(header::AUTHORIZATION).and_then(|value| value.to_str().ok());
    let key = header.and_then(|header| {
        let (scheme, key) = header.split_once(' ')?;
        scheme.eq_ignore_ascii_case("bearer").then(|| key.trim().to_owned())
    });
    let Some(key) = key else { return Err(Error::NoKey) };
    let good = tokio::task::spawn_blocking(move || check(&key)).await;
    if good.map_err(|error| Error::Internal(error.into()))? { Ok(()) } else { Err(Error::BadKey) }
}

async fn list_models(State(server): State<Server>) -> Result<Response, Error> {
    let cards = blocking(move || server.models.cards()).await?;
    let data: Vec<serde_json::Value> = cards.iter().map(wire::model).collect();
    Ok(axum::Json(serde_json::json!({ "object": "list", "data": data })).into_response())
}

async fn one_model(
    State(server): State<Server>,
    Path(id): Path<String>,
) -> Result<Response, Error> {
    let cards = blocking(move || server.models.cards()).await?;
    let card = cards.iter().find(|card| card.name == id).ok_or(Error::NoModel(id))?;
    Ok(axum::Json(wire::model(card)).into_response())
}

async fn no_route(request: Request) -> Error {
    Error::NoRoute(format!("{} {}", request.method(), request.uri().path()))
}

async fn no_method(request: Request) -> Error {
    Error::NoMethod(format!("{} {}", request.method(), request.uri().path()))
}

/// Runs `work` on a thread that may block.
async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, Error> + Send + 'static,
) -> Result<T, Error> {
    let done = tokio::task::spawn_blocking(work).await;
    done.map_err(|error| Error::Internal(error.into()))?
}

#[cfg(test)]
mod tests;
