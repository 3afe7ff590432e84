//! `verify export` and `verify replay`: every verdict with all that is needed to find it again, and
//! finding one again.

use std::io::{BufWriter, Write};

use serde_json::json;

use super::super::Global;
use super::super::grade::GradeMode;
use super::super::sandboxed::sandbox;
use crate::hint::Hinted;
use crate::records::{Mode, TraceId, VerdictRow};
use crate::store::Store;
use crate::verify::{Tools, replay};

/// Options of `verify export`.
#[derive(Debug, clap::Args)]
pub(super) struct ExportArgs {
    /// Only verdicts by these rules
    #[arg(long, value_enum)]
    mode: Option<GradeMode>,
}

/// Options of `verify replay`.
#[derive(Debug, clap::Args)]
pub(super) struct ReplayArgs {
    /// The trace, as `verify export` numbers it
    id: i64,
    /// By whose rules
    #[arg(long, value_enum, default_value = "strict")]
    mode: GradeMode,
}

fn line(row: &VerdictRow) -> serde_json::Value {
    json!({
        "id": row.trace_id,
        "mode": row.mode,
        "verdict": row.verdict.name(),
        "why": row.verdict.why(),
        "verifier": row.verifier,
        "version": row.version,
        "detail": row.detail,
    })
}

pub(super) fn export(global: &Global, args: &ExportArgs) -> anyhow::Result<()> {
    let store = Store::open(&global.data_dir())?;
    let mut out = BufWriter::new(std::io::stdout().lock());
    let written = store.each_verdict(args.mode.map(Mode::from), |row| -> anyhow::Result<()> {
        Ok(writeln!(out, "{}", line(&row))?)
    });
    let is_pipe = |error: &anyhow::Error| {
        let kind = error.downcast_ref::<std::io::Error>().map(std::io::Error::kind);
        kind == Some(std::io::ErrorKind::BrokenPipe)
    };
    match written.and_then(|()| Ok(out.flush()?)) {
        // Whoever reads with `head` has enough.
        Err(error) if is_pipe(&error) => Ok(()),
        written => written,
    }
}

#[expect(clippy::print_stdout, reason = "the result of the verb")]
pub(super) fn run(global: &Global, args: &ReplayArgs) -> anyhow::Result<()> {
    let store = Store::open(&global.data_dir())?;
    let (id, mode) = (TraceId(args.id), Mode::from(args.mode));
    let none = || {
        let message = format!("trace {id} has no verdict in mode `{}`", mode.name());
        Hinted::new(message, "run `thinkery verify` first")
    };
    // Said before anything is run: whether there is such a trace, and a verdict on it.
    store.asked_and_answered(id)?;
    store.verdict(id, mode)?.ok_or_else(none)?;
    let replayed = replay(&store, id, mode, &Tools::new(sandbox()?))?;
    let before = replayed.before.as_ref().ok_or_else(none)?;
    let same = replayed.is_same();
    if global.json {
        let (before, after) = (line(before), line(&replayed.after));
        let differences = &replayed.differences;
        println!(
            "{}",
            json!({"id": id, "mode": mode, "same": same, "differences": differences,
            "before": before, "after": after})
        );
        return Ok(());
    }
    let verdict = &replayed.after.verdict;
    println!("{}: {} {}", if same { "same" } else { "different" }, verdict.name(), verdict.why());
    for difference in &replayed.differences {
        println!("  {difference}");
    }
    Ok(())
}
