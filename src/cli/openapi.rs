//! The verb `openapi`. To be written.

use super::Global;

/// Options of `openapi`.
#[derive(Debug, clap::Args)]
pub struct Args {}

pub(super) fn run(_global: &Global, _args: Args) -> anyhow::Result<()> {
    anyhow::bail!("`openapi` is not built yet")
}
