//! The verb `distill`. To be written.

use super::Global;

/// Options of `distill`.
#[derive(Debug, clap::Args)]
pub struct Args {}

pub(super) fn run(_global: &Global, _args: Args) -> anyhow::Result<()> {
    anyhow::bail!("`distill` is not built yet")
}
