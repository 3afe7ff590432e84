//! The verb `sandboxed`. To be written.

use super::Global;

/// Options of `sandboxed`.
#[derive(Debug, clap::Args)]
pub struct Args {}

pub(super) fn run(_global: &Global, _args: Args) -> anyhow::Result<()> {
    anyhow::bail!("`sandboxed` is not built yet")
}
