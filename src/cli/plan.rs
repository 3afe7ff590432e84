//! The verb `plan`. To be written.

use super::Global;

/// Options of `plan`.
#[derive(Debug, clap::Args)]
pub struct Args {}

pub(super) fn run(_global: &Global, _args: Args) -> anyhow::Result<()> {
    anyhow::bail!("`plan` is not built yet")
}
