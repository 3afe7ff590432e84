//! The verb `verify`: judges every trace that has no verdict yet; and what people do about verdicts.

mod calibrate;
mod review;

use super::grade::GradeMode;
use super::{Global, foreground};
use crate::jobs::Kind;
use crate::verify::{Config, Summary};

/// Options of `verify`.
#[derive(Debug, clap::Args)]
#[command(args_conflicts_with_subcommands = true)]
pub struct Args {
    #[command(subcommand)]
    what: Option<What>,
    /// How programs are judged
    #[arg(long, value_enum, default_value = "strict")]
    mode: GradeMode,
}

#[derive(Debug, clap::Subcommand)]
enum What {
    /// Compare engine and judge with rows that people have labelled
    Calibrate(calibrate::Args),
    /// List the traces that a person should look at, or decide about them
    Review(review::Args),
}

pub(super) fn run(global: &Global, args: Args) -> anyhow::Result<()> {
    let Args { what, mode } = args;
    match what {
        None => judge(global, mode),
        Some(What::Calibrate(args)) => calibrate::run(global, args),
        Some(What::Review(args)) => review::run(global, &args),
    }
}

fn judge(global: &Global, mode: GradeMode) -> anyhow::Result<()> {
    let config = Config { mode: mode.into(), ..Config::default() };
    let summary = foreground::run(global, Kind::Verify, &config)?;
    show(global, &summary)
}

#[expect(clippy::print_stdout, reason = "the result of the verb")]
fn show(global: &Global, summary: &serde_json::Value) -> anyhow::Result<()> {
    if global.json {
        println!("{summary}");
        return Ok(());
    }
    let summary: Summary = serde_json::from_value(summary.clone())?;
    println!("{:<10} {:>8} {:>8} {:>9} {:>10}", "", "correct", "wrong", "unchecked", "unreadable");
    let rows = summary.by_domain.iter().map(|(domain, counts)| (domain.as_str(), counts));
    for (name, counts) in rows.chain([("total", &summary.counts)]) {
        println!(
            "{name:<10} {:>8} {:>8} {:>9} {:>10}",
            counts.correct, counts.wrong, counts.unchecked, counts.unreadable
        );
    }
    println!("{} traces judged in {:.1} s", summary.judged, summary.seconds);
    Ok(())
}
