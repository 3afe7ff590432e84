//! The hidden verb `sandboxed`: locks this process in, then becomes a program. Only the sandbox
//! calls it.

use std::ffi::OsString;

use anyhow::Context;

use super::{Global, foreground};
use crate::sandbox::{Plan, Sandbox, Tier, enter};

/// Options of `sandboxed`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// What to do, as the sandbox writes it
    plan: String,
    /// Words for the program
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    rest: Vec<OsString>,
}

pub(super) fn run(_global: &Global, args: &Args) -> anyhow::Result<()> {
    enter(&Plan::read(&args.plan)?, &args.rest)
}

/// The sandbox of this process: our own executable is the launcher, and `python3` is looked for on
/// the user's search path. For tests, `THINKERY_SANDBOX_TIER` names the only tier to use.
pub(super) fn sandbox() -> anyhow::Result<Sandbox> {
    let launch = foreground::launch()?;
    let mut sandbox = Sandbox::new(launch.exe, launch.search_path);
    if launch.allow_unsandboxed {
        sandbox = sandbox.or_unsandboxed();
    }
    let Ok(name) = std::env::var("THINKERY_SANDBOX_TIER") else { return Ok(sandbox) };
    let tiers = [Tier::T0, Tier::T1, Tier::T2, Tier::T3];
    let tier = tiers.into_iter().find(|tier| tier.name() == name);
    let tier = tier.with_context(|| format!("`{name}` in THINKERY_SANDBOX_TIER is no tier"))?;
    Ok(sandbox.only(tier))
}
