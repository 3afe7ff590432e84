//! The hidden verb `sandboxed`: locks this process in, then becomes a program. Only the sandbox
//! calls it.

use std::ffi::OsString;

use anyhow::Context;
use clap::ValueEnum;

use super::{Global, foreground};
use crate::sandbox::{Layer, Plan, Sandbox, Tier, enter};

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
/// the user's search path. For tests, `THINKERY_SANDBOX_TIER` names the only tier to use, and
/// `THINKERY_SANDBOX_WITHOUT` layers to leave out, which the probes then find missing.
pub(super) fn sandbox() -> anyhow::Result<Sandbox> {
    let launch = foreground::launch()?;
    let mut sandbox = Sandbox::new(launch.exe, launch.search_path);
    if launch.allow_unsandboxed {
        sandbox = sandbox.or_unsandboxed();
    }
    if let Ok(name) = std::env::var("THINKERY_SANDBOX_TIER") {
        let tier = Tier::ALL.into_iter().find(|tier| tier.name() == name);
        let tier = tier.with_context(|| format!("`{name}` in THINKERY_SANDBOX_TIER is no tier"))?;
        sandbox = sandbox.only(tier);
    }
    if let Ok(names) = std::env::var("THINKERY_SANDBOX_WITHOUT") {
        let layer = |name: &str| Layer::from_str(name, true).map_err(anyhow::Error::msg);
        let layers: Vec<Layer> = names.split(',').map(layer).collect::<anyhow::Result<_>>()?;
        sandbox = sandbox.without(&layers);
    }
    Ok(sandbox)
}
