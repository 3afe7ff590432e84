//! The sections of a recipe: one per stage, each with its stage's `Config`.

use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::Expected;
use crate::{dataset, distill, evaluate, questions, serve, train, verify};

/// A section: what its settings are by default, and whether settings make a `Config`.
pub(super) struct Section {
    /// Its name: the stage's, or `expected`.
    pub(super) name: &'static str,
    /// Every setting with its default.
    pub(super) default: fn() -> serde_json::Result<Value>,
    /// The settings as the stage reads them, or why it cannot.
    pub(super) read: fn(Value) -> serde_json::Result<Value>,
    /// Every rule between settings that is broken.
    pub(super) problems: fn(&Value) -> Vec<String>,
}

impl Section {
    const fn of<C: Settings>(name: &'static str) -> Self {
        Self {
            name,
            default: || serde_json::to_value(C::default()),
            read: |value| serde_json::from_value::<C>(value).and_then(serde_json::to_value),
            problems: |value| match serde_json::from_value::<C>(value.clone()) {
                Ok(config) => config.problems(),
                Err(error) => vec![error.to_string()],
            },
        }
    }
}

/// A stage's `Config`.
trait Settings: Default + Serialize + DeserializeOwned {
    /// Every rule between its settings that is broken.
    fn problems(&self) -> Vec<String> {
        Vec::new()
    }
}

/// Every section, in the order of the pipeline.
pub(super) static SECTIONS: &[Section] = &[
    Section::of::<questions::Config>("questions"),
    Section::of::<distill::Config>("distill"),
    Section::of::<verify::Config>("verify"),
    Section::of::<dataset::Config>("dataset"),
    Section::of::<train::Config>("train"),
    Section::of::<evaluate::Config>("evaluate"),
    Section::of::<serve::Config>("serve"),
    Section::of::<Expected>(EXPECTED),
];

/// The section that is no stage.
pub(super) const EXPECTED: &str = "expected";

impl Settings for questions::Config {}
impl Settings for distill::Config {}
impl Settings for verify::Config {
    fn problems(&self) -> Vec<String> {
        Self::problems(self)
    }
}
impl Settings for dataset::Config {}
impl Settings for train::Config {
    fn problems(&self) -> Vec<String> {
        Self::problems(self)
    }
}
impl Settings for evaluate::Config {
    fn problems(&self) -> Vec<String> {
        Self::problems(self)
    }
}
impl Settings for serve::Config {}
impl Settings for Expected {
    fn problems(&self) -> Vec<String> {
        Self::problems(self)
    }
}
