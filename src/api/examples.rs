//! What a recipe would train on: one example as tokens, with what is trained on and what is not.

use std::collections::BTreeMap;

use axum::Json as Answer;
use axum::extract::State;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::AppState;
use super::error::{Error, ErrorBody, Result};
use super::extract::{Json, Path};
use super::jobs::{ensure_built_in, written};
use crate::jobs;
use crate::recipe::Recipe;

/// Which example to show.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct ExampleWanted {
    /// Values by path, e.g. `{"train.cutoff_len": 100}`; as `--set` on the command line.
    #[serde(default)]
    pub set: BTreeMap<String, serde_json::Value>,
    /// An arm of the dataset: `verified` or `unverified`; the first that is trained on if not given.
    pub arm: Option<String>,
    /// Its row in the dataset, from 1.
    pub row: u64,
}

/// An example as its model will see it.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct TrainExample {
    /// The arm of the dataset it is from.
    pub arm: String,
    /// Its row, from 1.
    pub row: u64,
    /// Rows of the dataset.
    pub rows: u64,
    /// Ids of its tokens; empty if it is left out.
    pub ids: Vec<u32>,
    /// The text of each; bytes that are no text alone stand as `<0xE2>`.
    pub texts: Vec<String>,
    /// For each, whether the model is trained to say it.
    pub trained: Vec<bool>,
    /// How many are.
    pub trained_tokens: u64,
    /// Whether tokens are missing because it was cut to `train.cutoff_len`.
    pub truncated: bool,
    /// Why it is left out; null if it is not.
    pub left_out: Option<String>,
}

pub(super) fn routes() -> OpenApiRouter<AppState> {
    OpenApiRouter::new().routes(routes!(show_example))
}

/// One example of what a recipe would train on, as tokens. Begins nothing.
#[utoipa::path(post, path = "/recipes/{name}/example", tag = "jobs", params(("name" = String, Path)),
    request_body = ExampleWanted,
    responses((status = OK, body = TrainExample), (status = "default", body = ErrorBody)))]
async fn show_example(
    State(state): State<AppState>,
    Path(name): Path<String>,
    Json(wanted): Json<ExampleWanted>,
) -> Result<Answer<TrainExample>> {
    ensure_built_in(&name)?;
    let recipe = Recipe::load(&name, &written(&wanted.set))?;
    let plan = recipe.resolve(state.machine());
    let plan = plan.map_err(|problems| Error::Invalid(problems.to_string()))?;
    let Some(train) = plan.stages.get("train").cloned() else {
        return Err(Error::Invalid(format!("the recipe `{name}` does not train")));
    };
    let ExampleWanted { arm, row, .. } = wanted;
    let (arm, shown) =
        state.work(move |store| jobs::example(store, &train, arm.as_deref(), row)).await?;
    Ok(Answer(TrainExample {
        arm: arm.name().to_owned(),
        row: shown.row,
        rows: shown.rows,
        ids: shown.tokens.iter().map(|token| token.id).collect(),
        trained: shown.tokens.iter().map(|token| token.trained).collect(),
        texts: shown.tokens.into_iter().map(|token| token.text).collect(),
        trained_tokens: shown.trained_tokens,
        truncated: shown.truncated,
        left_out: shown.left_out,
    }))
}
