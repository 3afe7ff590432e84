//! The verb `completions`: a completion script on standard output.

use clap::CommandFactory;
use clap_complete::Shell;

use super::{Cli, Global};

/// Options of `completions`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The shell
    shell: Shell,
}

pub(super) fn run(_global: &Global, args: &Args) -> anyhow::Result<()> {
    // Written to memory first: a closed pipe is no panic then.
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut Cli::command(), "thinkery", &mut script);
    std::io::Write::write_all(&mut std::io::stdout(), &script)?;
    Ok(())
}
