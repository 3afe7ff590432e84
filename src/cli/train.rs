//! The verb `train`. To be written.

use super::Global;

/// Options of `train`.
#[derive(Debug, clap::Args)]
pub struct Args {}

pub(super) fn run(_global: &Global, _args: Args) -> anyhow::Result<()> {
    anyhow::bail!("`train` is not built yet")
}
