//! The verb `openapi`: prints the API's description, which is kept in `web/openapi.json`.

use super::Global;
use crate::api;

/// Options of `openapi`.
#[derive(Debug, clap::Args)]
pub struct Args {}

#[expect(clippy::print_stdout, reason = "this is where results reach people")]
pub(super) fn run(_global: &Global, _args: Args) -> anyhow::Result<()> {
    print!("{}", api::openapi());
    Ok(())
}
