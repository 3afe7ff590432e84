//! The hidden verb `sandboxed`: limits this process, then becomes a program. Only
//! `sandbox::process` calls it.

use std::ffi::OsString;
use std::path::PathBuf;

use super::{Global, foreground};
use crate::sandbox::{Confinement, Sandbox, become_program};

/// Options of `sandboxed`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// User and group to become
    #[arg(long)]
    uid: Option<u32>,
    /// Address space in bytes
    #[arg(long)]
    memory_bytes: u64,
    /// Processes and threads
    #[arg(long)]
    processes: u64,
    /// The program to become
    program: PathBuf,
    /// Its arguments
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    arguments: Vec<OsString>,
}

pub(super) fn run(_global: &Global, args: Args) -> anyhow::Result<()> {
    let Args { uid, memory_bytes, processes, program, arguments } = args;
    let confinement = Confinement { uid, memory_bytes, processes };
    match become_program(&confinement, &program, &arguments)? {}
}

/// The sandbox of this process: our own executable is the launcher, and `python3` is looked for on
/// the user's search path.
pub(super) fn sandbox() -> anyhow::Result<Sandbox> {
    let launch = foreground::launch()?;
    Ok(Sandbox::new(launch.exe, launch.search_path))
}
