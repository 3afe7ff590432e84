//! The verb `doctor`. To be written.

use super::Global;

/// Options of `doctor`.
#[derive(Debug, clap::Args)]
pub struct Args {}

pub(super) fn run(_global: &Global, _args: Args) -> anyhow::Result<()> {
    anyhow::bail!("`doctor` is not built yet")
}
