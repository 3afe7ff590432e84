//! The verb `verify`: judges every trace that has no verdict yet; and what there is to know about verdicts.

mod again;
mod asked;
mod calibrate;
mod infer;
mod report;
mod review;

use super::grade::GradeMode;
use super::{Global, foreground};
use crate::hint::Hinted;
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
    #[command(flatten)]
    judge: asked::JudgeArgs,
}

#[derive(Debug, clap::Subcommand)]
enum What {
    /// Compare what the modes decided: how many traces each keeps that strict rules would not
    Report,
    /// Write verdicts to standard output, one JSON object per line
    Export(again::ExportArgs),
    /// Judge one trace again and say whether the same comes out
    Replay(again::ReplayArgs),
    /// Find out from reference solutions how outputs are to be compared
    Infer(infer::Args),
    /// Compare engine and judge with rows that people have labelled
    Calibrate(calibrate::Args),
    /// List the traces that a person should look at, or decide about them
    Review(review::Args),
}

pub(super) fn run(global: &Global, args: Args) -> anyhow::Result<()> {
    let Args { what, mode, judge } = args;
    match what {
        None => {
            let (mode, judge) = (mode.into(), judge.into());
            verify(global, &Config { mode, judge, ..Config::default() })
        }
        Some(What::Report) => report::run(global),
        Some(What::Export(args)) => again::export(global, &args),
        Some(What::Replay(args)) => again::run(global, &args),
        Some(What::Infer(args)) => infer::run(global, &args),
        Some(What::Calibrate(args)) => calibrate::run(global, args),
        Some(What::Review(args)) => review::run(global, &args),
    }
}

fn verify(global: &Global, config: &Config) -> anyhow::Result<()> {
    if let Some(problem) = config.problems().into_iter().next() {
        return Err(Hinted::new(problem, "see `thinkery help verify`").into());
    }
    let summary = foreground::run(global, Kind::Verify, config)?;
    show(global, &summary)
}

#[expect(clippy::print_stdout, reason = "the result of the verb")]
fn show(global: &Global, summary: &serde_json::Value) -> anyhow::Result<()> {
    if global.json {
        println!("{summary}");
        return Ok(());
    }
    let summary: Summary = serde_json::from_value(summary.clone())?;
    println!(
        "{:<10} {:>8} {:>8} {:>9} {:>10} {:>10}",
        "", "correct", "wrong", "unchecked", "unreadable", "unresolved"
    );
    let rows = summary.by_domain.iter().map(|(domain, counts)| (domain.as_str(), counts));
    for (name, counts) in rows.chain([("total", &summary.counts)]) {
        println!(
            "{name:<10} {:>8} {:>8} {:>9} {:>10} {:>10}",
            counts.correct, counts.wrong, counts.unchecked, counts.unreadable, counts.unresolved
        );
    }
    for (comparator, programs) in &summary.by_comparator {
        println!("{programs} programs compared by `{comparator}`");
    }
    for why in &summary.unresolved_why {
        println!("not judged: {why}");
    }
    if let Some(judge) = &summary.judge {
        println!(
            "the judge calls {} correct and {} wrong, abstains from {}, did not answer {}; {:.4} US \
             dollars",
            judge.correct, judge.wrong, judge.abstained, judge.failed, judge.cost_usd
        );
    }
    if summary.reviews_open > 0 {
        println!("{} traces wait for a person: `thinkery verify review`", summary.reviews_open);
    }
    println!("{} traces judged in {:.1} s", summary.judged, summary.seconds);
    Ok(())
}
