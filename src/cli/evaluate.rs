//! The verb `evaluate`. To be written.

use super::Global;

/// Options of `evaluate`.
#[derive(Debug, clap::Args)]
pub struct Args {}

pub(super) fn run(_global: &Global, _args: Args) -> anyhow::Result<()> {
    anyhow::bail!("`evaluate` is not built yet")
}
