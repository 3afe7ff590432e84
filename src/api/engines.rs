//! Models in memory: where they are, what they do; load and unload.

use axum::Json as Answer;
use axum::extract::State;
use axum::http::StatusCode;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::error::{Error, ErrorBody, Result};
use super::extract::Json;
use super::{AppState, Page};
use crate::serve;

/// A model in memory, or on its way there.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct LoadedModel {
    /// What to call it in a chat request.
    pub name: String,
    /// Whether it is still being loaded; then nothing else is known.
    pub loading: bool,
    /// Tokens of conversation and answer at most.
    pub context: u64,
    /// Numbers in it.
    pub parameters: u64,
    /// Its copies, which share the requests.
    pub copies: Vec<ModelCopy>,
}

/// One copy of a model and what it does.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct ModelCopy {
    /// Where it is: `cpu`, `cuda:0`; several if it is split over ranks.
    pub devices: Vec<String>,
    /// Bytes of its weights.
    pub weight_bytes: u64,
    /// Bytes of its cache of keys and values.
    pub cache_bytes: u64,
    /// Tokens that fit the cache.
    pub cache_tokens: u64,
    /// Tokens of the cache that conversations hold.
    pub cache_tokens_used: u64,
    /// Answers that are being made.
    pub running: u64,
    /// Requests that wait.
    pub waiting: u64,
    /// Tokens of prompts taken in since it was loaded.
    pub prompt_tokens: u64,
    /// Tokens generated since it was loaded; their growth is the speed.
    pub generated_tokens: u64,
    /// Why it has ended for good, if it has.
    pub dead: Option<String>,
    /// Seconds since its last step, while there is work.
    pub step_age_seconds: Option<f64>,
}

/// Which model.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct ModelName {
    /// A name from `/models`.
    pub model: String,
}

impl From<serve::Loaded> for LoadedModel {
    fn from(model: serve::Loaded) -> Self {
        let serve::Loaded { name, context, parameters, copies } = model;
        Self {
            name,
            loading: copies.is_empty(),
            context: context as u64,
            parameters,
            copies: copies.into_iter().map(ModelCopy::from).collect(),
        }
    }
}

impl From<serve::Copied> for ModelCopy {
    fn from(copy: serve::Copied) -> Self {
        Self {
            devices: copy.devices,
            weight_bytes: copy.weight_bytes,
            cache_bytes: copy.cache_bytes,
            cache_tokens: copy.cache_tokens as u64,
            cache_tokens_used: copy.cache_tokens_used as u64,
            running: copy.running as u64,
            waiting: copy.waiting as u64,
            prompt_tokens: copy.prompt_tokens,
            generated_tokens: copy.generated_tokens,
            dead: copy.dead,
            step_age_seconds: copy.step_age.map(|age| age.as_secs_f64()),
        }
    }
}

pub(super) fn routes() -> OpenApiRouter<AppState> {
    OpenApiRouter::new().routes(routes!(list_loaded)).routes(routes!(load)).routes(routes!(unload))
}

/// Models in memory and on their way there, by name.
#[utoipa::path(get, path = "/models/loaded", tag = "models",
    responses((status = OK, body = Page<LoadedModel>), (status = "default", body = ErrorBody)))]
async fn list_loaded(State(state): State<AppState>) -> Answer<Page<LoadedModel>> {
    Answer(Page::whole(state.models().in_memory()))
}

/// Loads a model, which else happens when it is first asked; answers when it is there. Another that
/// was not asked for longest may have to go.
#[utoipa::path(post, path = "/models/load", tag = "models", request_body = ModelName,
    responses((status = OK, body = LoadedModel), (status = "default", body = ErrorBody)))]
async fn load(
    State(state): State<AppState>,
    Json(asked): Json<ModelName>,
) -> Result<Answer<LoadedModel>> {
    let load = move |models: &serve::Models| Ok(models.load_named(&asked.model)?);
    Ok(Answer(state.tell_models(load).await?.into()))
}

/// Takes a model out of memory. Answers that are being written keep it until they end; the next
/// request for it loads it again.
#[utoipa::path(post, path = "/models/unload", tag = "models", request_body = ModelName,
    responses((status = NO_CONTENT), (status = "default", body = ErrorBody)))]
async fn unload(State(state): State<AppState>, Json(asked): Json<ModelName>) -> Result<StatusCode> {
    let name = asked.model.clone();
    match state.tell_models(move |models| Ok(models.unload_named(&name))).await? {
        true => Ok(StatusCode::NO_CONTENT),
        false => Err(Error::Conflict(format!("the model `{}` is not loaded", asked.model))),
    }
}

impl From<serve::Error> for Error {
    fn from(error: serve::Error) -> Self {
        if matches!(error, serve::Error::NoModel(_)) {
            Self::NotFound(error.to_string())
        } else if matches!(error, serve::Error::BadModel { .. }) {
            Self::Conflict(error.to_string())
        } else {
            Self::Internal(error.into())
        }
    }
}
