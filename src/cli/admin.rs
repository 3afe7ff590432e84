//! The verb `admin`. To be written.

use super::Global;

/// Options of `admin`.
#[derive(Debug, clap::Args)]
pub struct Args {}

pub(super) fn run(_global: &Global, _args: Args) -> anyhow::Result<()> {
    anyhow::bail!("`admin` is not built yet")
}
