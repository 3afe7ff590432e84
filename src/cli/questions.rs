//! The verb `questions`. To be written.

use super::Global;

/// Options of `questions`.
#[derive(Debug, clap::Args)]
pub struct Args {}

pub(super) fn run(_global: &Global, _args: Args) -> anyhow::Result<()> {
    anyhow::bail!("`questions` is not built yet")
}
