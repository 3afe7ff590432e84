//! The verb `run`. To be written.

use super::Global;

/// Options of `run`.
#[derive(Debug, clap::Args)]
pub struct Args {}

pub(super) fn run(_global: &Global, _args: Args) -> anyhow::Result<()> {
    anyhow::bail!("`run` is not built yet")
}
