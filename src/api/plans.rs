//! What a recipe would do and take, before anything begins: every setting of training with its meaning,
//! every problem, and the memory of each GPU.

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
use crate::recipe::{self, Machine, Plan, Recipe};

/// GPUs that can be planned for at most: more than any machine has.
const GPUS_MAX: u32 = 1_024;

/// What to plan.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct PlanWanted {
    /// Values by path, e.g. `{"train.steps": 100}`; as `--set` on the command line.
    #[serde(default)]
    pub set: BTreeMap<String, serde_json::Value>,
    /// Plan for this many GPUs instead of those of this machine.
    pub gpus: Option<u32>,
    /// Memory of one GPU, in bytes.
    pub gpu_memory_bytes: Option<u64>,
}

/// What a recipe would do.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Planned {
    /// Every setting of training; empty if the recipe does not train or has problems.
    pub settings: Vec<Setting>,
    /// What is wrong with it, all at once.
    pub problems: Vec<String>,
    /// What it would take; null if there are problems.
    pub forecast: Option<Forecast>,
    /// GPUs that it was planned for.
    pub gpus: u64,
    /// Memory of one, in bytes; null if unknown.
    pub gpu_memory_bytes: Option<u64>,
}

/// A setting of training.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Setting {
    /// As `[train]` names it.
    pub name: String,
    /// What it is; null if it is not set.
    pub value: serde_json::Value,
    /// Who says so: recipe, --set, default or derived.
    pub origin: String,
    /// What it means, with unit, default and origin.
    pub about: String,
}

/// What a plan would take. Null where it cannot be known.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Forecast {
    /// Trainable numbers of the model.
    pub parameters: Option<u64>,
    /// Tokens trained on, over all epochs.
    pub tokens: Option<u64>,
    /// Optimizer steps of one run.
    pub steps: Option<u64>,
    /// Hours of training on H100s.
    pub hours: Option<f64>,
    /// What the GPUs cost for that long, in US dollars.
    pub cost_usd: Option<f64>,
    /// What the memory of one GPU is for; empty if unknown.
    pub device: Vec<Share>,
    /// The sum, in bytes.
    pub device_bytes: Option<u64>,
    /// What a process can have of one GPU, in bytes.
    pub usable_bytes: Option<u64>,
    /// Memory of the machine, in bytes.
    pub host_bytes: Option<u64>,
    /// Checkpoints and the finished model, in bytes.
    pub disk_bytes: Option<u64>,
    /// Whether it fits.
    pub fits: Option<bool>,
    /// What to know, or to change.
    pub advice: Vec<String>,
    /// What other layouts of the optimizer's state would take.
    pub table: Vec<StateRow>,
}

/// A part of a GPU's memory.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Share {
    /// What it is for.
    pub name: String,
    /// Its bytes.
    pub bytes: u64,
}

/// What a layout of the optimizer's state takes.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct StateRow {
    /// As `train.state` names it.
    pub state: String,
    /// For each way of keeping the forward pass.
    pub ways: Vec<Way>,
}

/// A way of keeping the forward pass.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Way {
    /// What is kept.
    pub name: String,
    /// Bytes of one GPU.
    pub bytes: u64,
    /// Whether it fits.
    pub fits: bool,
}

impl From<recipe::Forecast> for Forecast {
    fn from(forecast: recipe::Forecast) -> Self {
        let recipe::Memory { device_bytes, usable_bytes, host_bytes, disk_bytes } = forecast.memory;
        let row = |row: recipe::Row| StateRow {
            state: row.state.to_owned(),
            ways: row.ways.iter().map(Way::from).collect(),
        };
        Self {
            parameters: forecast.parameters,
            tokens: forecast.tokens,
            steps: forecast.steps,
            hours: forecast.hours,
            cost_usd: forecast.cost_usd,
            device: device_bytes.as_ref().map(shares).unwrap_or_default(),
            device_bytes: device_bytes.map(|device| device.total),
            usable_bytes,
            host_bytes,
            disk_bytes,
            fits: forecast.fits,
            advice: forecast.advice,
            table: forecast.table.into_iter().map(row).collect(),
        }
    }
}

impl From<&recipe::Way> for Way {
    fn from(way: &recipe::Way) -> Self {
        Self { name: way.name.to_owned(), bytes: way.bytes, fits: way.fits }
    }
}

fn shares(device: &recipe::DeviceBytes) -> Vec<Share> {
    device.parts().map(|(name, bytes)| Share { name: name.to_owned(), bytes }).into()
}

fn settings(plan: &Plan) -> Vec<Setting> {
    let about = recipe::train_settings();
    let Some(train) = plan.stages.get("train") else { return Vec::new() };
    let one = |(name, about): (String, String)| Setting {
        value: train.get(&name).cloned().unwrap_or_default(),
        origin: (plan.origins.get(&format!("train.{name}")))
            .map_or("default", |origin| origin.name())
            .to_owned(),
        about,
        name,
    };
    about.into_iter().map(one).collect()
}

pub(super) fn routes() -> OpenApiRouter<AppState> {
    OpenApiRouter::new().routes(routes!(plan_recipe))
}

/// What a recipe would do and take. Begins nothing.
#[utoipa::path(post, path = "/recipes/{name}/plan", tag = "jobs", params(("name" = String, Path)),
    request_body = PlanWanted,
    responses((status = OK, body = Planned), (status = "default", body = ErrorBody)))]
async fn plan_recipe(
    State(state): State<AppState>,
    Path(name): Path<String>,
    Json(wanted): Json<PlanWanted>,
) -> Result<Answer<Planned>> {
    ensure_built_in(&name)?;
    let here = state.machine();
    let gpus = wanted.gpus.map_or(here.gpus, |gpus| gpus as usize);
    if gpus > GPUS_MAX as usize {
        return Err(Error::Invalid(format!("{gpus} GPUs cannot be planned for; {GPUS_MAX} can")));
    }
    let gpu_memory_bytes = wanted.gpu_memory_bytes.or(here.gpu_memory_bytes);
    let machine = Machine { gpus, gpu_memory_bytes, ..here.clone() };
    let resolved = Recipe::load(&name, &written(&wanted.set))?.resolve(&machine);
    let (settings, problems, forecast) = match resolved {
        Ok(plan) => (settings(&plan), Vec::new(), Some(plan.forecast(&machine).into())),
        Err(all) => (Vec::new(), all.problems.iter().map(ToString::to_string).collect(), None),
    };
    Ok(Answer(Planned { settings, problems, forecast, gpus: gpus as u64, gpu_memory_bytes }))
}
