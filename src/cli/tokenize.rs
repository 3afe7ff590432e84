//! The verbs `tokenize` and `detokenize`: lines from standard input, ids as a JSON list per line.
//!
//! As the model sees them: special tokens written in a line are special, none is added.

use std::io::{BufRead, Write};
use std::path::PathBuf;

use anyhow::Context;

use super::Global;
use crate::chat::tokenizer::Tokenizer;

/// Options of `tokenize` and `detokenize`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The model's folder
    #[arg(long, value_name = "DIR")]
    model: PathBuf,
}

pub(super) fn tokenize(_global: &Global, args: Args) -> anyhow::Result<()> {
    let Args { model } = args;
    let tokenizer = Tokenizer::open(&model)?;
    each_line(|line| Ok(serde_json::to_string(&tokenizer.encode_template(line)?)?))
}

/// With `--json` each text is a JSON string, so that line breaks in it survive.
pub(super) fn detokenize(global: &Global, args: Args) -> anyhow::Result<()> {
    let Args { model } = args;
    let tokenizer = Tokenizer::open(&model)?;
    each_line(|line| {
        let text = tokenizer.decode(&ids(line)?, true)?;
        Ok(if global.json { serde_json::to_string(&text)? } else { text })
    })
}

/// A JSON list of ids, or ids with blanks between them.
fn ids(line: &str) -> anyhow::Result<Vec<u32>> {
    if line.trim_start().starts_with('[') {
        return serde_json::from_str(line).context("a line is not a JSON list of token ids");
    }
    let id = |word: &str| word.parse().with_context(|| format!("`{word}` is no token id"));
    line.split_whitespace().map(id).collect()
}

/// Writes what `turn` makes of each line of standard input.
fn each_line(mut turn: impl FnMut(&str) -> anyhow::Result<String>) -> anyhow::Result<()> {
    let mut out = std::io::BufWriter::new(std::io::stdout().lock());
    for (index, line) in std::io::stdin().lock().lines().enumerate() {
        let line = line.context("could not read standard input as UTF-8")?;
        let turned = turn(&line).with_context(|| format!("line {}", index + 1))?;
        match writeln!(out, "{turned}") {
            // Whoever reads has read enough.
            Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => return Ok(()),
            written => written.context("could not write the result")?,
        }
    }
    match out.flush() {
        Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => Ok(()),
        flushed => flushed.context("could not write the result"),
    }
}
