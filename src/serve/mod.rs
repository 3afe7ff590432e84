//! The OpenAI-compatible server: `/v1/chat/completions`, `/v1/completions`, `/v1/models` and what
//! clients of vLLM and llama.cpp look for beside them.
//!
//! Translates and nothing else: conversations are rendered and answered by `chat::local`, whose
//! engine has threads of its own. Follows OpenAI's API reference. A parameter that would change the
//! answer and is not supported is refused by name, never ignored.

mod answers;
mod body;
mod chat_completions;
mod completions;
mod deliver;
mod error;
mod fields;
mod gate;
mod health;
mod linger;
mod listen;
mod meters;
pub mod metrics;
mod models;
mod rehearsal;
mod stall;
mod tokens;
mod wire;

use std::sync::Arc;

use axum::Router;
use axum::extract::{DefaultBodyLimit, Path, Request, State};
use axum::http::{HeaderMap, header};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use axum::routing::{MethodRouter, any, get, post};
use serde_json::json;

pub use chat_completions::answer;
pub use error::Error;
pub use gate::Gate;
pub use linger::linger;
pub use listen::{Serving, listen};
pub use models::{Card, Copied, Engine, Limits, Loaded, Models, Offer, REQUESTS_MAX};
pub use rehearsal::{Config, Summary, run};

/// Decides whether a bearer key is good. May block.
pub type KeyCheck = Arc<dyn Fn(&str) -> bool + Send + Sync>;

#[derive(Clone)]
struct Server {
    models: Arc<Models>,
    check: Option<KeyCheck>,
}

/// What is found both under `/v1` and, as llama.cpp and vLLM have it, without.
fn routes() -> [(&'static str, MethodRouter<Server>); 5] {
    [
        ("/chat/completions", post(chat_completions::create)),
        ("/completions", post(completions::create)),
        ("/models", get(list_models)),
        ("/models/{id}", get(one_model)),
        ("/tokenize", post(tokens::tokenize)),
    ]
}

/// Everything under `/v1`. With a `check` every request needs a bearer key that passes it.
pub fn router(models: Arc<Models>, check: Option<KeyCheck>) -> Router {
    let server = Server { models, check };
    let mut router = Router::new();
    for (path, method) in routes() {
        router = router.route(&format!("/v1{path}"), method);
    }
    let router = router
        .route("/v1/detokenize", post(tokens::detokenize))
        .route("/v1/tokenizer_info", get(tokens::tokenizer_info))
        .route("/v1/{*rest}", any(no_route));
    finish(router, server)
}

/// The server alone: [`router`], the same without `/v1`, `/health`, `/load`, `/metrics`, `/version`
/// and `/openapi.json`. Of these only the requests to models and tokenizers need a key.
pub fn standalone(models: Arc<Models>, check: Option<KeyCheck>) -> Router {
    let server = Server { models: Arc::clone(&models), check: check.clone() };
    let mut aliases = Router::new();
    for (path, method) in routes() {
        aliases = aliases.route(path, method);
    }
    let aliases = aliases
        .route("/detokenize", post(tokens::detokenize))
        .route("/tokenizer_info", get(tokens::tokenizer_info));
    let open = Router::new()
        .route("/health", get(health::health))
        .route("/load", get(health::load))
        .route("/metrics", get(scrape))
        .route("/version", get(version))
        .route("/openapi.json", get(openapi))
        .method_not_allowed_fallback(no_method)
        .with_state(Server { models: Arc::clone(&models), check: None });
    let whole = router(models, check).merge(finish(aliases, server)).merge(open);
    whole.fallback(no_route).layer(middleware::from_fn(linger))
}

fn finish(router: Router<Server>, server: Server) -> Router {
    router
        .method_not_allowed_fallback(no_method)
        .layer(DefaultBodyLimit::disable())
        .layer(middleware::from_fn_with_state(server.clone(), guard))
        .with_state(server)
}

/// How Prometheus knows its text format.
pub const METRICS_TYPE: &str = "text/plain; version=0.0.4";

const VERSION: &str = env!("CARGO_PKG_VERSION");

/// What the server answers, in OpenAPI 3.1; written by hand, held to the routes by a test.
const OPENAPI: &str = include_str!("openapi.json");

async fn scrape(State(server): State<Server>) -> impl IntoResponse {
    ([(header::CONTENT_TYPE, METRICS_TYPE)], metrics::text(&server.models))
}

async fn version() -> impl IntoResponse {
    axum::Json(json!({ "version": VERSION }))
}

async fn openapi() -> impl IntoResponse {
    ([(header::CONTENT_TYPE, "application/json")], OPENAPI)
}

async fn guard(State(server): State<Server>, request: Request, next: Next) -> Response {
    match authorize(&server, request.headers()).await {
        Ok(()) => next.run(request).await,
        Err(error) => server.models.refuse(error).into_response(),
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
    if blocking(move || Ok(check(&key))).await? { Ok(()) } else { Err(Error::BadKey) }
}

async fn list_models(State(server): State<Server>) -> Result<Response, Error> {
    let cards = blocking(move || server.models.cards()).await?;
    let data: Vec<serde_json::Value> = cards.iter().map(wire::model).collect();
    Ok(axum::Json(json!({ "object": "list", "data": data })).into_response())
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
