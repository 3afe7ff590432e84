//! The verb `logits`. To be written.

use super::Global;

/// Options of `logits`.
#[derive(Debug, clap::Args)]
pub struct Args {}

pub(super) fn run(_global: &Global, _args: Args) -> anyhow::Result<()> {
    anyhow::bail!("`logits` is not built yet")
}
