//! Stands in for `cuda` in a binary without it.

use burn::tensor::Device;

use crate::{Error, Facts, Result};

/// There is none.
pub(crate) fn open(_index: usize) -> Result<Device> {
    Err(Error::NoBackend { feature: "cuda" })
}

/// There are none.
pub(crate) fn ensure_collectives() -> Result<()> {
    Err(Error::NoBackend { feature: "cuda" })
}

/// Adds nothing.
pub(crate) fn facts(_facts: &mut Facts) {}
