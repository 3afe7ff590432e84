//! Models that can be talked to, and the chat.
//!
//! The chat speaks exactly what `/v1/chat/completions` speaks, but for the session of the panel: no
//! key ever reaches a browser's scripts.

use axum::Json as Answer;
use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::Uri;
use axum::response::Response;
use serde::{Deserialize, Serialize};
use tower::ServiceExt;
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::error::{ErrorBody, Result};
use super::{AppState, Page};
use crate::records;
use crate::store::{self, Store};

/// A local model that can be talked to.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub(super) struct Model {
    /// What to call it in a chat request.
    pub name: String,
    /// The run that made it.
    pub run_id: i64,
    /// Whether it answers where no model is named.
    pub served: bool,
    /// Its folder, relative to the data folder or absolute.
    pub path: String,
    /// RFC 3339, UTC.
    pub created_at: String,
}

/// A conversation to be continued; the fields of OpenAI's chat completions.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
pub(super) struct ChatRequest {
    /// A name from `/models`; the served one if not given.
    pub model: Option<String>,
    /// The conversation so far; ends with a user's turn.
    pub messages: Vec<ChatMessage>,
    /// Whether to send the answer as it is made: `data:` lines of chunks, then `data: [DONE]`.
    #[serde(default)]
    pub stream: bool,
    /// 0 is greedy; 0.7 if not given.
    pub temperature: Option<f32>,
    /// Probability mass to sample from; 1 if not given.
    pub top_p: Option<f32>,
    /// Tokens to generate at most.
    pub max_tokens: Option<u32>,
    /// Same request and seed, same answer.
    pub seed: Option<u64>,
}

/// One turn of a conversation.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
pub(super) struct ChatMessage {
    /// `system`, `user` or `assistant`.
    pub role: String,
    /// What is said.
    pub content: String,
}

/// One chunk of a streamed answer, OpenAI's `chat.completion.chunk`.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
pub(super) struct ChatChunk {
    /// Id of the answer.
    pub id: String,
    /// Which model answers.
    pub model: String,
    /// Always one.
    pub choices: Vec<ChatChoice>,
    /// Tokens used; in the last chunk.
    pub usage: Option<ChatUsage>,
}

/// The one choice of a chunk.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
pub(super) struct ChatChoice {
    /// Always 0.
    pub index: u32,
    /// What is new.
    pub delta: ChatDelta,
    /// `stop` or `length`, in the last chunk.
    pub finish_reason: Option<String>,
}

/// What is new in a chunk.
#[derive(Debug, Default, Serialize, Deserialize, ToSchema)]
pub(super) struct ChatDelta {
    /// In the first chunk.
    pub role: Option<String>,
    /// More of the answer.
    pub content: Option<String>,
    /// More of the thought.
    pub reasoning_content: Option<String>,
}

/// Tokens used.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
pub(super) struct ChatUsage {
    /// Tokens of the prompt.
    pub prompt_tokens: u64,
    /// Tokens generated.
    pub completion_tokens: u64,
    /// Both.
    pub total_tokens: u64,
}

pub(super) fn routes() -> OpenApiRouter<AppState> {
    OpenApiRouter::new().routes(routes!(list_models)).routes(routes!(chat))
}

/// Models that can be talked to: of finished runs, the served one first, then newest first.
#[utoipa::path(get, path = "/models", tag = "models",
    responses((status = OK, body = Page<Model>), (status = "default", body = ErrorBody)))]
async fn list_models(State(state): State<AppState>) -> Result<Answer<Page<Model>>> {
    Ok(Answer(Page::whole(state.store(all).await?)))
}

/// Continues a conversation. Same body and same stream as `/v1/chat/completions`; closing the
/// connection stops the model.
#[utoipa::path(post, path = "/chat", tag = "models", request_body = ChatRequest,
    responses(
        (status = OK, body = ChatChunk, content_type = "text/event-stream"),
        (status = "default", body = ErrorBody)))]
async fn chat(State(state): State<AppState>, mut request: Request<Body>) -> Response {
    *request.uri_mut() = Uri::from_static("/v1/chat/completions");
    forward(&state, request).await
}

/// Lets `/v1` answer `request`.
pub(super) async fn forward(state: &AppState, request: Request<Body>) -> Response {
    match state.v1().oneshot(request).await {
        Ok(response) => response,
        Err(never) => match never {},
    }
}

/// Every model that can be talked to, the served one first, then newest first.
pub(super) fn all(store: &Store) -> store::Result<Vec<Model>> {
    let model = |(index, model): (usize, records::Model)| Model {
        name: model.name,
        run_id: model.run_id.0,
        served: index == 0,
        path: model.path,
        created_at: model.created_at,
    };
    Ok(store.models()?.into_iter().enumerate().map(model).collect())
}
