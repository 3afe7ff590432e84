//! The verb `questions`: import them from a file or a built-in source.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use super::{Global, foreground};
use crate::hint::Hinted;
use crate::jobs::Kind;
use crate::questions::{Config, Summary, jsonl, rehearsal};

/// Rejected rows shown to people; `--json` has up to a thousand.
const REJECTIONS_SHOWN: usize = 20;

/// Options of `questions`.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, clap::Subcommand)]
enum Verb {
    /// Import questions into the store; those already there are left alone
    Import {
        #[command(subcommand)]
        source: Import,
    },
}

#[derive(Debug, clap::Subcommand)]
enum Import {
    /// One question per line of a JSONL file
    Jsonl {
        /// The file
        file: PathBuf,
        /// Columns that are called differently: `problem=question,reference=answer`
        #[arg(long, value_name = "FIELD=COLUMN", value_delimiter = ',', value_parser = pair)]
        map: Vec<(String, String)>,
        /// What the questions are filed under, instead of the row's `source` or the file's stem
        #[arg(long, value_name = "NAME")]
        source: Option<String>,
    },
    /// Generated questions with exact answers, for trying the whole road
    Rehearsal {
        /// Decides which questions are drawn and which are held out
        #[arg(long, default_value_t = rehearsal::Config::default().seed)]
        seed: u64,
    },
}

/// `problem=question`, where the field is one of ours.
fn pair(text: &str) -> Result<(String, String), String> {
    let (field, column) = text.split_once('=').ok_or("write it as field=column")?;
    if jsonl::FIELDS.contains(&field) && !column.is_empty() {
        return Ok((field.to_owned(), column.to_owned()));
    }
    Err(format!("`{field}` is no field; fields are {}", jsonl::FIELDS.join(", ")))
}

pub(super) fn run(global: &Global, args: Args) -> anyhow::Result<()> {
    let Verb::Import { source } = args.verb;
    let config = match source {
        Import::Jsonl { file, map, source } => {
            Config { source_name: source, map: BTreeMap::from_iter(map), ..from_file(&file)? }
        }
        Import::Rehearsal { seed } => Config {
            rehearsal: rehearsal::Config { seed, ..rehearsal::Config::default() },
            ..Config::default()
        },
    };
    let summary = foreground::run(global, Kind::Questions, &config)?;
    show(global, &summary)?;
    let summary = serde_json::from_value(summary)?;
    ensure_some(&summary)?;
    ensure_all(&summary)
}

/// What was good is imported by now; whoever scripts an import must not overlook what was not.
fn ensure_all(summary: &Summary) -> anyhow::Result<()> {
    let Some(first) = summary.rejections.first() else { return Ok(()) };
    let rows = summary.imported + summary.duplicates + summary.rejected;
    let message = format!(
        "{} of {rows} rows were rejected, the first is row {}: {}",
        summary.rejected, first.row, first.why
    );
    let hint = "the others are imported; correct these and import the file again";
    Err(Hinted::new(message, hint).into())
}

/// A file without a single question is a mistake, not an import.
pub(super) fn ensure_some(summary: &Summary) -> anyhow::Result<()> {
    if summary.imported + summary.duplicates > 0 {
        return Ok(());
    }
    let message = match summary.rejections.first() {
        Some(first) => format!(
            "none of the {} rows is a question; row {}: {}",
            summary.rejected, first.row, first.why
        ),
        None => "there is no question in it".into(),
    };
    let hint = "a row is {\"problem\": …, \"domain\": …} with `reference` or, for code, `tests`; --map \
                names other columns";
    Err(Hinted::new(message, hint).into())
}

/// An import of the JSONL file at `path`.
pub(super) fn from_file(path: &Path) -> anyhow::Result<Config> {
    let path = Some(std::path::absolute(path)?);
    Ok(Config { source: "jsonl".into(), path, ..Config::default() })
}

#[expect(clippy::print_stdout, reason = "the result of the verb")]
fn show(global: &Global, summary: &serde_json::Value) -> anyhow::Result<()> {
    if global.json {
        println!("{summary}");
        return Ok(());
    }
    let summary: Summary = serde_json::from_value(summary.clone())?;
    println!(
        "{} imported, {} already there, {} rejected",
        summary.imported, summary.duplicates, summary.rejected
    );
    report_rejected(&summary);
    Ok(())
}

/// Says which rows were rejected and why.
#[expect(clippy::print_stderr, reason = "what went wrong, beside the result")]
pub(super) fn report_rejected(summary: &Summary) {
    for rejected in summary.rejections.iter().take(REJECTIONS_SHOWN) {
        eprintln!("row {}: {}", rejected.row, rejected.why);
    }
    let more = summary.rejected.saturating_sub(REJECTIONS_SHOWN as u64);
    if more > 0 {
        eprintln!("and {more} more; --json lists them");
    }
}
