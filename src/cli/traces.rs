//! The verb `traces`. To be written.

use super::Global;

/// Options of `traces`.
#[derive(Debug, clap::Args)]
pub struct Args {}

pub(super) fn run(_global: &Global, _args: Args) -> anyhow::Result<()> {
    anyhow::bail!("`traces` is not built yet")
}
