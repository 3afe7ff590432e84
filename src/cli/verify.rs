//! The verb `verify`. To be written.

use super::Global;

/// Options of `verify`.
#[derive(Debug, clap::Args)]
pub struct Args {}

pub(super) fn run(_global: &Global, _args: Args) -> anyhow::Result<()> {
    anyhow::bail!("`verify` is not built yet")
}
