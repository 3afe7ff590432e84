//! Keys for `/v1`: shown once, stored hashed.

use axum::Json as Answer;
use axum::extract::State;
use axum::http::StatusCode;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::access;
use super::error::{Error, ErrorBody, Result};
use super::extract::{Json, Path};
use super::{AppState, Page};
use crate::store::ApiToken;

/// A key's name at most; it is shown in a table.
const NAME_BYTES_MAX: usize = 100;

/// A key, without the key.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Key {
    /// Its id.
    pub id: i64,
    /// What its owner calls it.
    pub name: String,
    /// Its last four characters.
    pub last4: String,
    /// Unix seconds.
    pub created_at: i64,
    /// Unix seconds.
    pub last_used_at: Option<i64>,
}

impl From<ApiToken> for Key {
    fn from(token: ApiToken) -> Self {
        let ApiToken { id, name, last4, created_at, last_used_at } = token;
        Self { id, name, last4, created_at, last_used_at }
    }
}

/// A key to be made.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct NewKey {
    /// What its owner calls it.
    pub name: String,
}

/// A key that was just made.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct ShownKey {
    /// Its id.
    pub id: i64,
    /// What its owner calls it.
    pub name: String,
    /// The key itself, `tk_…`; shown this once.
    pub key: String,
}

pub(super) fn routes() -> OpenApiRouter<AppState> {
    OpenApiRouter::new().routes(routes!(list_keys, add_key)).routes(routes!(drop_key))
}

/// Every key, oldest first.
#[utoipa::path(get, path = "/keys", tag = "keys",
    responses((status = OK, body = Page<Key>), (status = "default", body = ErrorBody)))]
async fn list_keys(State(state): State<AppState>) -> Result<Answer<Page<Key>>> {
    let keys = state.store(|store| store.api_tokens()).await?;
    Ok(Answer(Page::whole(keys)))
}

/// Makes a key and shows it, this once.
#[utoipa::path(post, path = "/keys", tag = "keys", request_body = NewKey,
    responses((status = CREATED, body = ShownKey), (status = "default", body = ErrorBody)))]
async fn add_key(
    State(state): State<AppState>,
    Json(new): Json<NewKey>,
) -> Result<(StatusCode, Answer<ShownKey>)> {
    let name = new.name.trim().to_owned();
    if name.is_empty() || name.len() > NAME_BYTES_MAX {
        let message = format!("a key's name has 1 to {NAME_BYTES_MAX} bytes");
        return Err(Error::Invalid(message));
    }
    let called = name.clone();
    let (id, key) = state.work(move |store| access::add_key(store, &called)).await?;
    Ok((StatusCode::CREATED, Answer(ShownKey { id, name, key })))
}

/// Revokes a key, at once.
#[utoipa::path(delete, path = "/keys/{id}", tag = "keys", params(("id" = i64, Path)),
    responses((status = NO_CONTENT), (status = "default", body = ErrorBody)))]
async fn drop_key(State(state): State<AppState>, Path(id): Path<i64>) -> Result<StatusCode> {
    if state.store(move |store| store.drop_api_token(id)).await? {
        Ok(StatusCode::NO_CONTENT)
    } else {
        Err(Error::NotFound(format!("there is no key `{id}`")))
    }
}
