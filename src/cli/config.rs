//! The verb `config`. To be written.

use super::Global;

/// Options of `config`.
#[derive(Debug, clap::Args)]
pub struct Args {}

pub(super) fn run(_global: &Global, _args: Args) -> anyhow::Result<()> {
    anyhow::bail!("`config` is not built yet")
}
