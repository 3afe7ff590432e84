//! The verb `job`: the inside of a job's process. Started by `up` and `run`, not by people.

use super::{Global, foreground};
use crate::jobs;
use crate::records::JobId;
use crate::store::Store;

/// Options of `job`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Row of the job
    #[arg(required_unless_present = "tied_to")]
    id: Option<i64>,
    /// Become the command after `--`, and end when this process ends
    #[arg(long, value_name = "PID", requires = "command")]
    tied_to: Option<u32>,
    /// The command to become, without the program's name
    #[arg(last = true)]
    command: Vec<String>,
}

pub(super) fn run(global: &Global, args: &Args) -> anyhow::Result<()> {
    let launch = foreground::launch()?;
    match (args.tied_to, args.id) {
        (Some(parent), _) => Err(jobs::tie(&launch.exe, parent, &args.command)),
        (None, Some(id)) => {
            let store = Store::open(&global.data_dir())?;
            jobs::work(&store, JobId(id), &launch)
        }
        (None, None) => anyhow::bail!("`job` needs the row of a job"),
    }
}
