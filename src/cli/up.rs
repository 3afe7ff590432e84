//! The verb `up`. To be written.

use super::Global;

/// Options of `up`.
#[derive(Debug, clap::Args)]
pub struct Args {}

pub(super) fn run(_global: &Global, _args: Args) -> anyhow::Result<()> {
    anyhow::bail!("`up` is not built yet")
}
