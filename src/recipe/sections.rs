//! The sections of a recipe: one per stage, each with its stage's `Config`.

use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::records::JobKind;

/// A section: what its settings are by default, and whether settings make a `Config`.
pub(super) struct Section {
    /// The stage.
    pub(super) kind: JobKind,
    /// Every setting with its default.
    pub(super) default: fn() -> serde_json::Result<Value>,
    /// The settings as the stage reads them, or why it cannot.
    pub(super) read: fn(Value) -> serde_json::Result<Value>,
}

impl Section {
    const fn of<C: Default + Serialize + DeserializeOwned>(kind: JobKind) -> Self {
        Self {
            kind,
            default: || serde_json::to_value(C::default()),
            read: |value| serde_json::from_value::<C>(value).and_then(serde_json::to_value),
        }
    }
}

/// Every section, in the order of the pipeline.
pub(super) static SECTIONS: &[Section] = &[];
