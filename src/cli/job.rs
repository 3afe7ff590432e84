//! The verb `job`. To be written.

use super::Global;

/// Options of `job`.
#[derive(Debug, clap::Args)]
pub struct Args {}

pub(super) fn run(_global: &Global, _args: Args) -> anyhow::Result<()> {
    anyhow::bail!("`job` is not built yet")
}
