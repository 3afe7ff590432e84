//! The verb `teacher`: the rehearsal teacher, alone.

use std::net::SocketAddr;
use std::path::PathBuf;

use anyhow::Context as _;

use super::Global;
use crate::teacher::{Config, Faults, Teacher};

/// Options of `teacher`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Where to listen; port 0 picks a free one
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:8643")]
    listen: SocketAddr,
    /// A script of faults, for tests: a JSON list of rules
    #[arg(long, value_name = "SCRIPT.json")]
    faults: Option<PathBuf>,
    /// Decides which traces are wrong, broken off or refused first
    #[arg(long, default_value_t = 42)]
    seed: u64,
}

pub(super) fn run(global: &Global, args: &Args) -> anyhow::Result<()> {
    let faults = match &args.faults {
        Some(path) => Faults::read(path)?,
        None => Faults::default(),
    };
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("could not start the teacher's runtime")?;
    runtime.block_on(async {
        // The signals are caught before anybody is told that we listen.
        let stop = stop_signal()?;
        let config = Config { seed: args.seed, faults };
        let teacher = Teacher::bind(args.listen, config).await?;
        say_ready(global, teacher.address()?);
        teacher.serve(stop).await
    })
}

/// Resolves at SIGTERM or SIGINT.
fn stop_signal() -> anyhow::Result<impl Future<Output = ()> + Send + 'static> {
    use tokio::signal::unix::{SignalKind, signal};
    let catch = |kind| signal(kind).context("could not catch signals");
    let (mut terminate, mut interrupt) =
        (catch(SignalKind::terminate())?, catch(SignalKind::interrupt())?);
    Ok(async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
    })
}

#[expect(clippy::print_stdout, reason = "the line that scripts wait for")]
fn say_ready(global: &Global, address: SocketAddr) {
    if global.json {
        println!("{}", serde_json::json!({"listening": format!("http://{address}")}));
    } else {
        println!("listening on http://{address}");
    }
}
