//! Examples from somebody's JSONL file: ShareGPT rows, `messages` rows, Alpaca rows, or token ids taken
//! as they are.
//!
//! A row that cannot be read is an error: nothing is trained on while there is one, and all of them
//! are named. A conversation that nobody can be trained on is left out with a warning, as
//! LLaMA-Factory does, and counted. Text is encoded once, by all processors, into shards that the
//! next start finds by the hash of file, tokenizer and encoding.

mod seen;

use std::fs::{self, File};
use std::io::{BufRead, BufReader};
use std::path::Path;

use anyhow::{Context, bail, ensure};
use rayon::prelude::*;
use serde::Deserialize;
use tracing::warn;

use super::encode::{Encoded, Encoder, Encoding, Progress, source};
use super::shards::{Counts, Shards, Writer};
use crate::chat::{Message, Role};
use crate::engine::Sequence;
use crate::hint::Hinted;

/// How many bad rows an error names.
const BAD_ROWS_NAMED: usize = 10;

/// Bytes of rows that are encoded at a time: enough for all processors, little in memory.
const BATCH_BYTES: usize = 8 << 20;

/// Bytes of the beginning of a file that tell rows of tokens, which need no shards, from text.
const GLANCE_BYTES: usize = 64 << 10;

/// One line of the file. Other columns are somebody else's.
#[derive(Debug, Deserialize)]
struct Row {
    system: Option<String>,
    conversations: Option<Vec<Turn>>,
    messages: Option<Vec<Turn>>,
    instruction: Option<String>,
    input: Option<String>,
    output: Option<String>,
    history: Option<Vec<(String, String)>>,
    input_ids: Option<Vec<u32>>,
    labels: Option<Vec<i64>>,
}

/// A turn in ShareGPT's words or in OpenAI's.
#[derive(Debug, Deserialize)]
struct Turn {
    #[serde(alias = "role")]
    from: String,
    #[serde(alias = "content")]
    value: Option<String>,
}

/// Reads the examples in `file` for the model in `model`; ids are row numbers from 1. Shards of text
/// lie in `shards`. `progress` is told bytes done and in all.
///
/// # Errors
/// If the file cannot be read, is empty, or has bad rows.
pub fn of_file(
    file: &Path,
    (model, encoding): (&Path, &Encoding),
    shards: &Path,
    progress: Progress<'_>,
) -> anyhow::Result<Shards> {
    let named = || format!("could not read the examples `{}`", file.display());
    let reader = BufReader::new(File::open(file).with_context(named)?);
    let mut lines = reader.lines();
    if of_tokens(file).with_context(named)? {
        let mut reading = Reading::new(file, None, progress)?;
        for line in lines {
            reading.push(line.with_context(named)?)?;
        }
        return reading.into_memory();
    }
    let content = seen::hash(file, shards).with_context(named)?;
    let source = source(&content, model, encoding)?;
    let dir = shards.join(&source[..16]);
    if let Some(shards) = Shards::open(&dir, &source)? {
        return Ok(shards);
    }
    let encoder = Encoder::open(model, encoding)?;
    let mut reading = Reading::new(file, Some((&encoder, Writer::new(&dir, &source)?)), progress)?;
    lines.try_for_each(|line| reading.push(line.with_context(named)?))?;
    reading.into_shards()
}

/// Whether the rows of a file are token ids.
fn of_tokens(file: &Path) -> std::io::Result<bool> {
    use std::io::Read;
    let mut beginning = Vec::new();
    File::open(file)?.take(GLANCE_BYTES as u64).read_to_end(&mut beginning)?;
    let first = beginning.split(|byte| *byte == b'\n').find(|line| !line.is_empty());
    let first = String::from_utf8_lossy(first.unwrap_or_default()).into_owned();
    Ok(first.contains("\"input_ids\""))
}

/// A file that is being read.
struct Reading<'a> {
    file: &'a Path,
    /// For text; rows of tokens need none.
    text: Option<(&'a Encoder, Writer)>,
    examples: Vec<(i64, Sequence)>,
    left_out: Counts,
    /// Lines with their numbers that wait for their turn.
    waiting: Vec<(i64, String)>,
    bytes: usize,
    line: i64,
    bad: Vec<String>,
    done: u64,
    total: u64,
    progress: Progress<'a>,
}

impl<'a> Reading<'a> {
    fn new(
        file: &'a Path,
        text: Option<(&'a Encoder, Writer)>,
        progress: Progress<'a>,
    ) -> anyhow::Result<Self> {
        let total = fs::metadata(file)?.len();
        Ok(Self {
            file,
            text,
            examples: Vec::new(),
            left_out: Counts::default(),
            waiting: Vec::new(),
            bytes: 0,
            line: 0,
            bad: Vec::new(),
            done: 0,
            total,
            progress,
        })
    }

    fn push(&mut self, line: String) -> anyhow::Result<()> {
        self.line += 1;
        self.bytes += line.len() + 1;
        if !line.trim().is_empty() {
            self.waiting.push((self.line, line));
        }
        if self.bytes >= BATCH_BYTES { self.flush() } else { Ok(()) }
    }

    /// Encodes what waits, side by side, and keeps it in its order.
    fn flush(&mut self) -> anyhow::Result<()> {
        let waiting = std::mem::take(&mut self.waiting);
        let encoder = self.text.as_ref().map(|(encoder, _)| *encoder);
        let encoded: Vec<anyhow::Result<Encoded>> =
            waiting.par_iter().map(|(_, line)| example(line, encoder)).collect();
        self.done += std::mem::take(&mut self.bytes) as u64;
        for ((line, _), encoded) in waiting.into_iter().zip(encoded) {
            match encoded {
                Ok(Encoded::Kept { sequence, truncated }) => match &mut self.text {
                    Some((_, writer)) => writer.push(line, &sequence, truncated)?,
                    None => self.examples.push((line, sequence)),
                },
                Ok(Encoded::Dropped) => self.left_out.dropped += 1,
                Ok(Encoded::Odd(why)) => {
                    warn!(line, "row {line} is left out: {why}");
                    self.left_out.odd += 1;
                }
                Err(why) => self.bad.push(format!("row {line}: {why:#}")),
            }
        }
        (self.progress)(self.done.min(self.total), self.total);
        Ok(())
    }

    /// All bad rows at once.
    fn refuse_bad(&mut self) -> anyhow::Result<()> {
        self.flush()?;
        if self.bad.is_empty() {
            return Ok(());
        }
        let more = self.bad.len().saturating_sub(BAD_ROWS_NAMED);
        self.bad.truncate(BAD_ROWS_NAMED);
        let more = if more > 0 { format!("; and {more} more") } else { String::new() };
        bail!(Hinted::new(
            format!("`{}` has bad rows: {}{more}", self.file.display(), self.bad.join("; ")),
            "a row is {\"conversations\": […]}, {\"messages\": […]} or {\"input_ids\": […], \
             \"labels\": […]}; correct these or leave them out",
        ))
    }

    fn into_memory(mut self) -> anyhow::Result<Shards> {
        self.refuse_bad()?;
        Ok(Shards::from_memory(self.examples, self.left_out))
    }

    fn into_shards(mut self) -> anyhow::Result<Shards> {
        self.refuse_bad()?;
        let (_, mut writer) = self.text.context("text has a writer")?;
        writer.left_out(self.left_out);
        writer.finish()
    }
}

fn example(text: &str, encoder: Option<&Encoder>) -> anyhow::Result<Encoded> {
    let row: Row = serde_json::from_str(text)?;
    if let Some(input_ids) = row.input_ids {
        let sequence = tokens(input_ids, row.labels)?;
        return Ok(Encoded::Kept { sequence, truncated: false });
    }
    match messages(row)? {
        Ok(messages) => {
            let encoder = encoder.context(
                "is text, but the file begins with token ids: one file has rows of one kind",
            )?;
            encoder.encode(&messages)
        }
        Err(odd) => Ok(Encoded::Odd(odd)),
    }
}

fn tokens(input_ids: Vec<u32>, labels: Option<Vec<i64>>) -> anyhow::Result<Sequence> {
    let labels = labels.context("has `input_ids` but no `labels`")?;
    ensure!(!input_ids.is_empty(), "has no tokens");
    ensure!(
        labels.len() == input_ids.len(),
        "has {} input ids but {} labels",
        input_ids.len(),
        labels.len()
    );
    let limit = i64::from(i32::MAX);
    ensure!(
        input_ids.iter().all(|id| i64::from(*id) <= limit)
            && labels.iter().all(|label| (-limit..=limit).contains(label)),
        "has an id beyond {limit}"
    );
    Ok(Sequence { input_ids, labels })
}

/// The conversation of a row, or why it is none.
fn messages(row: Row) -> anyhow::Result<Result<Vec<Message>, String>> {
    let turn = |turn: Turn| (turn.from, turn.value.unwrap_or_default());
    let turns: Vec<(String, String)> = match (row.conversations, row.messages) {
        (Some(turns), _) | (None, Some(turns)) => turns.into_iter().map(turn).collect(),
        (None, None) => alpaca(row.instruction, row.input, row.output, row.history)?,
    };
    let mut messages = Vec::new();
    if let Some(system) = row.system.filter(|system| !system.is_empty()) {
        messages.push(Message { role: Role::System, content: system });
    }
    for (speaker, content) in turns {
        let role = match speaker.as_str() {
            "system" => Role::System,
            "user" | "human" => Role::User,
            "assistant" | "gpt" => Role::Assistant,
            _ => {
                return Ok(Err(format!(
                    "has a turn by `{speaker}`; expected user (human) or assistant (gpt)"
                )));
            }
        };
        messages.push(Message { role, content });
    }
    Ok(Ok(messages))
}

/// Alpaca's columns as turns: the input stands below the instruction.
fn alpaca(
    instruction: Option<String>,
    input: Option<String>,
    output: Option<String>,
    history: Option<Vec<(String, String)>>,
) -> anyhow::Result<Vec<(String, String)>> {
    let (Some(instruction), Some(output)) = (instruction, output) else {
        bail!("has neither `conversations` nor `messages` nor `input_ids`");
    };
    let question = match input.filter(|input| !input.is_empty()) {
        Some(input) => format!("{instruction}\n{input}"),
        None => instruction,
    };
    let last = (question, output);
    let turns = history.unwrap_or_default().into_iter().chain([last]);
    let turns = turns.flat_map(|(question, answer)| {
        [("user".to_owned(), question), ("assistant".to_owned(), answer)]
    });
    Ok(turns.collect())
}

#[cfg(test)]
mod tests;
