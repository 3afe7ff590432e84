//! The verb `serve`. To be written.

use super::Global;

/// Options of `serve`.
#[derive(Debug, clap::Args)]
pub struct Args {}

pub(super) fn run(_global: &Global, _args: Args) -> anyhow::Result<()> {
    anyhow::bail!("`serve` is not built yet")
}
