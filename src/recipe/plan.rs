//! A resolved recipe: a value with its origin for every setting of every stage.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};
use sha2::{Digest, Sha256};

use super::{Forecast, Machine, Origin, Problem, forecast};
use crate::records::JobKind;

/// What a recipe means here. Nothing in it is left open.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Plan {
    /// Name of the recipe.
    pub recipe: String,
    /// Settings by stage; a stage that is not there is not run.
    pub stages: Map<String, Value>,
    /// Where each setting comes from, by its path.
    pub origins: BTreeMap<String, Origin>,
    /// What a forecast assumes of data that do not exist yet.
    pub expected: Option<Expected>,
}

/// The section `[expected]`: what a forecast assumes of data that do not exist yet. Changes nothing
/// of what is done.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Expected {
    /// Examples of the dataset.
    pub examples: u64,
    /// Tokens of an example, on average, prompt included.
    pub tokens_per_example: f64,
}

impl Plan {
    pub(super) fn empty(recipe: &str) -> Self {
        Self {
            recipe: recipe.to_owned(),
            stages: Map::new(),
            origins: BTreeMap::new(),
            expected: None,
        }
    }

    /// Fills in what follows from other settings, and names every rule between settings that is
    /// broken.
    pub(super) fn derive(&mut self, _machine: &Machine) -> Vec<Problem> {
        Vec::new()
    }

    /// What it will take.
    pub fn forecast(&self, machine: &Machine) -> Forecast {
        forecast::forecast(self, machine)
    }

    /// The stages to run, in order, each with its settings.
    pub fn stages(&self) -> Vec<(JobKind, Value)> {
        let one = |kind: JobKind| Some((kind, self.stages.get(kind.name())?.clone()));
        JobKind::ALL.into_iter().filter_map(one).collect()
    }

    /// What is stored: the recipe's name and the settings. Origins do not change what is done.
    pub fn to_json(&self) -> Value {
        json!({ "recipe": self.recipe, "stages": self.stages })
    }

    /// Equal plans, equal hashes.
    pub fn hash(&self) -> String {
        format!("{:x}", Sha256::digest(self.to_json().to_string()))
    }
}
