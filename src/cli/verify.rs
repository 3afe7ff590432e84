//! The verb `verify`: judges every trace that has no verdict yet.

use super::grade::GradeMode;
use super::{Global, foreground};
use crate::jobs::Kind;
use crate::verify::{Config, Summary};

/// Options of `verify`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// How programs are judged
    #[arg(long, value_enum, default_value = "strict")]
    mode: GradeMode,
}

pub(super) fn run(global: &Global, args: Args) -> anyhow::Result<()> {
    let Args { mode } = args;
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
