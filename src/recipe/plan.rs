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
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Expected {
    /// Examples of the dataset.
    pub examples: u64,
    /// Tokens of an example, on average, prompt included.
    pub tokens_per_example: f64,
    /// The part of its GPUs' peak that training reaches with useful work. Published runs of such length
    /// reach 0.3 to 0.4.
    pub utilisation: f64,
    /// What an hour of one GPU costs, in US dollars; 0 = unknown.
    pub usd_per_gpu_hour: f64,
}

impl Default for Expected {
    fn default() -> Self {
        Self { examples: 0, tokens_per_example: 0.0, utilisation: 0.4, usd_per_gpu_hour: 0.0 }
    }
}

impl Expected {
    /// Every rule that is broken.
    pub(super) fn problems(&self) -> Vec<String> {
        let within = |name: &str, value: f64, max: f64| {
            (!(0.0..=max).contains(&value))
                .then(|| format!("`expected.{name}` is {value} but must be from 0 to {max}"))
        };
        let utilisation = (self.utilisation == 0.0)
            .then(|| "`expected.utilisation` is 0: nothing would ever end".to_owned());
        let checks = [
            within("tokens_per_example", self.tokens_per_example, 1e9),
            within("utilisation", self.utilisation, 1.0),
            within("usd_per_gpu_hour", self.usd_per_gpu_hour, 1e6),
            utilisation,
        ];
        checks.into_iter().flatten().collect()
    }
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
    /// broken. What is kept of a forward pass on GPUs is the most that fits, unless somebody says.
    pub(super) fn derive(&mut self, machine: &Machine) -> Vec<Problem> {
        let Some(train) = self.stages.get_mut("train") else { return Vec::new() };
        for (name, value) in forecast::fastest(train, machine).unwrap_or_default() {
            let path = format!("train.{name}");
            if train.get(name).is_some() && self.origins.get(&path) == Some(&Origin::Default) {
                train[name] = value.into();
                self.origins.insert(path, Origin::Derived);
            }
        }
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
