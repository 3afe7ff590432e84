//! The verb `completions`. To be written.

use super::Global;

/// Options of `completions`.
#[derive(Debug, clap::Args)]
pub struct Args {}

pub(super) fn run(_global: &Global, _args: Args) -> anyhow::Result<()> {
    anyhow::bail!("`completions` is not built yet")
}
