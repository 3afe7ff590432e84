//! `verify infer`: how each problem's outputs are to be compared, found out from reference solutions.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{BufRead, BufReader, BufWriter, Write};
use std::path::PathBuf;

use anyhow::Context;
use serde::Serialize;
use serde_json::value::{RawValue, to_raw_value};

use super::super::Global;
use super::super::sandboxed::sandbox;
use crate::formats::cases::{self, Row};
use crate::records::Tests;
use crate::verify::{Inferred, Soundness, Tools, infer};

/// Options of `verify infer`.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// One problem per line, with `tests` (or a set's own fields) and at least three `solutions`
    file: PathBuf,
    /// Where to write the same lines with what was found in `tests` and `inferred`
    #[arg(long, value_name = "FILE")]
    out: PathBuf,
}

/// What was found in all.
#[derive(Default, Serialize)]
struct Summary {
    rows: u64,
    /// Lines that are no problem, with the reason of the first.
    rejected: u64,
    first_rejected: Option<String>,
    /// Problems by soundness of their tests.
    soundness: BTreeMap<&'static str, u64>,
    /// Sound ones by comparator.
    comparators: BTreeMap<&'static str, u64>,
}

pub(super) fn run(global: &Global, args: &Args) -> anyhow::Result<()> {
    let tools = Tools::new(sandbox()?);
    let open = |what, error| anyhow::Error::new(error).context(what);
    let file = File::open(&args.file)
        .map_err(|error| open(format!("could not read `{}`", args.file.display()), error))?;
    let made = File::create(&args.out)
        .map_err(|error| open(format!("could not write `{}`", args.out.display()), error))?;
    let (input, mut output) = (BufReader::new(file), BufWriter::new(made));
    let mut summary = Summary::default();
    for line in input.split(b'\n') {
        let line = line.with_context(|| format!("could not read `{}`", args.file.display()))?;
        if line.trim_ascii().is_empty() {
            continue;
        }
        summary.rows += 1;
        match problem(&line) {
            Ok((row, tests, solutions)) => {
                let found = infer(&tests, &solutions, &tools)?;
                summary.count(&found);
                serde_json::to_writer(&mut output, &with(row, tests, &found)?)?;
                output.write_all(b"\n")?;
            }
            Err(why) => {
                summary.rejected += 1;
                let row = summary.rows;
                summary.first_rejected.get_or_insert_with(|| format!("row {row}: {why}"));
            }
        }
    }
    output.flush().with_context(|| format!("could not write `{}`", args.out.display()))?;
    show(global, &summary)
}

fn problem(line: &[u8]) -> Result<(Row, Tests, Vec<String>), String> {
    let row: Row = serde_json::from_slice(line).map_err(|error| error.to_string())?;
    let tests = match row.get("tests") {
        Some(raw) => cases::read(raw.get())?,
        None => cases::of_row(&row)?.ok_or("there are no tests")?,
    };
    let solutions = cases::solutions(&row)?;
    Ok((row, tests, solutions))
}

/// The row with its comparator in the tests, and what was found beside them.
fn with(mut row: Row, mut tests: Tests, found: &Inferred) -> anyhow::Result<Row> {
    if found.comparator.is_some() {
        tests.comparator = found.comparator;
        tests.tolerance = found.tolerance.or(tests.tolerance);
    }
    let raw =
        |value: Result<Box<RawValue>, serde_json::Error>| value.context("could not write a row");
    row.insert("tests".into(), raw(to_raw_value(&tests))?);
    row.insert("inferred".into(), raw(to_raw_value(found))?);
    Ok(row)
}

impl Summary {
    fn count(&mut self, found: &Inferred) {
        *self.soundness.entry(found.soundness.name()).or_default() += 1;
        if let (Soundness::Sound, Some(comparator)) = (found.soundness, found.comparator) {
            *self.comparators.entry(comparator.name()).or_default() += 1;
        }
    }
}

#[expect(clippy::print_stdout, reason = "the result of the verb")]
fn show(global: &Global, summary: &Summary) -> anyhow::Result<()> {
    if global.json {
        println!("{}", serde_json::to_string(summary)?);
        return Ok(());
    }
    println!("{} problems, {} rejected", summary.rows, summary.rejected);
    if let Some(why) = &summary.first_rejected {
        println!("  the first is {why}");
    }
    for (name, count) in summary.soundness.iter().chain(&summary.comparators) {
        println!("{name:<18} {count:>8} {:>5.1} %", *count as f64 / summary.rows as f64 * 100.0);
    }
    Ok(())
}
