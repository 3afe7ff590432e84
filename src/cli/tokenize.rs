//! The verbs `tokenize` and `detokenize`. To be written.

use super::Global;

/// Options of `tokenize` and `detokenize`.
#[derive(Debug, clap::Args)]
pub struct Args {}

pub(super) fn tokenize(_global: &Global, _args: Args) -> anyhow::Result<()> {
    anyhow::bail!("`tokenize` is not built yet")
}

pub(super) fn detokenize(_global: &Global, _args: Args) -> anyhow::Result<()> {
    anyhow::bail!("`detokenize` is not built yet")
}
