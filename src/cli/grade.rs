//! The verb `grade`. To be written.

use super::Global;

/// Options of `grade`.
#[derive(Debug, clap::Args)]
pub struct Args {}

pub(super) fn run(_global: &Global, _args: Args) -> anyhow::Result<()> {
    anyhow::bail!("`grade` is not built yet")
}
