//! What this machine has, put together from what each module can see.

use crate::engine;
use crate::recipe::Machine;

/// This machine, as far as a plan depends on it.
pub(super) fn here() -> anyhow::Result<Machine> {
    Ok(Machine { gpus: engine::facts().gpus.len(), ..Machine::here() })
}
