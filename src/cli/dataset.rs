//! The verb `dataset`. To be written.

use super::Global;

/// Options of `dataset`.
#[derive(Debug, clap::Args)]
pub struct Args {}

pub(super) fn run(_global: &Global, _args: Args) -> anyhow::Result<()> {
    anyhow::bail!("`dataset` is not built yet")
}
