//! The verb `teacher`. To be written.

use super::Global;

/// Options of `teacher`.
#[derive(Debug, clap::Args)]
pub struct Args {}

pub(super) fn run(_global: &Global, _args: Args) -> anyhow::Result<()> {
    anyhow::bail!("`teacher` is not built yet")
}
