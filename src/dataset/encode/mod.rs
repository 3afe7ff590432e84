//! Turns conversations into token ids with a loss mask.
//!
//! How a conversation is written is `chat::template`'s business; here are the mask and what happens
//! to examples that are too long. Follows LLaMA-Factory of February 2025
//! (`data/processors/supervised.py`, `infer_seqlen`), which trained OpenThinker.

mod shown;

use std::collections::HashSet;
use std::fs;
use std::path::Path;

use anyhow::{Context, bail, ensure};
use rayon::prelude::*;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use tracing::warn;

use super::conversation::conversation;
use super::shards::{Shards, Writer, hex};
use crate::chat::template::{Template, Turn};
use crate::chat::tokenizer::{self, Tokenizer};
use crate::chat::{Message, Role};
use crate::engine::{IGNORE, Sequence};
use crate::hint::Hinted;
use crate::records::{Dataset, TraceId};
use crate::store::{Store, TraceFilter};

pub use crate::chat::template::TemplateName;
pub use shown::{Shown, Token, row_of_dataset};

/// A chat template beside the tokenizer, where it is a file of its own.
const JINJA: &str = "chat_template.jinja";

/// What happens to examples that are longer than `cutoff_len`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Truncation {
    /// Question and answer are both cut at their end, as LLaMA-Factory does; the end token is lost.
    LlamaFactory,
    /// They are left out.
    Drop,
    /// The first one is an error.
    Error,
}

/// How conversations become tokens.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Encoding {
    /// How a conversation is written.
    pub template: TemplateName,
    /// Tokens at most.
    pub cutoff_len: usize,
    /// What happens to longer ones.
    pub truncation: Truncation,
    /// Whether the row's own system prompt is used; else the template's.
    pub train_on_system: bool,
    /// Whether only the last turn is trained on.
    pub mask_history: bool,
    /// Whether the questions are trained on as well.
    pub train_on_prompt: bool,
}

/// What became of a conversation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Encoded {
    /// An example, and whether it was cut.
    Kept {
        /// Its tokens.
        sequence: Sequence,
        /// Whether some are missing.
        truncated: bool,
    },
    /// Too long, and longer ones are left out.
    Dropped,
    /// No questions with answers: left out with a warning, as LLaMA-Factory does. Says why.
    Odd(String),
}

/// What is wrong if the tokenizer in `model` has ids that a vocabulary of `rows` has no row for.
pub fn ids_beyond(model: &Path, rows: u64) -> Option<String> {
    let largest = tokenizer::largest_id(model)?;
    (u64::from(largest) >= rows).then(|| {
        format!(
            "the tokenizer has the id {largest} but the model's vocabulary has {rows} rows: it is \
             not this model's"
        )
    })
}

/// Encodes conversations for one model.
pub struct Encoder {
    tokenizer: Tokenizer,
    template: Template,
    encoding: Encoding,
}

impl Encoder {
    /// An encoder for the model in `dir`.
    ///
    /// # Errors
    /// If its tokenizer or template cannot be read.
    pub fn open(dir: &Path, encoding: &Encoding) -> anyhow::Result<Self> {
        let tokenizer = Tokenizer::open(dir)?;
        let template = Template::named(encoding.template, dir)?;
        Ok(Self { tokenizer, template, encoding: encoding.clone() })
    }

    /// Encodes one conversation that ends with the model's answer.
    ///
    /// # Errors
    /// If the template refuses it, or it is too long and that is an error.
    pub fn encode(&self, messages: &[Message]) -> anyhow::Result<Encoded> {
        let system = self.encoding.train_on_system;
        let messages: Vec<Message> = messages
            .iter()
            .filter(|message| system || message.role != Role::System)
            .cloned()
            .collect();
        if let Some(why) = odd(&messages) {
            return Ok(Encoded::Odd(why));
        }
        let turns = self.template.turns(&self.tokenizer, &messages)?;
        let tokens = turns.iter().map(|turn| turn.prompt.len() + turn.answer.len()).sum::<usize>();
        let limit = self.encoding.cutoff_len;
        if tokens > limit {
            match self.encoding.truncation {
                Truncation::LlamaFactory => {}
                Truncation::Drop => return Ok(Encoded::Dropped),
                Truncation::Error => bail!(Hinted::new(
                    format!("has {tokens} tokens but `train.cutoff_len` is {limit}"),
                    "raise train.cutoff_len, or set train.truncation to llama_factory or drop",
                )),
            }
        }
        let sequence = assemble(&turns, &self.encoding);
        let truncated = sequence.input_ids.len() < tokens;
        Ok(Encoded::Kept { sequence, truncated })
    }
}

/// Why these are not an optional system message, then user and assistant in turn; none if they are.
fn odd(messages: &[Message]) -> Option<String> {
    let skip = usize::from(messages.first().is_some_and(|first| first.role == Role::System));
    let turns = &messages[skip..];
    if turns.iter().all(|message| message.role != Role::Assistant) {
        return Some("has no turn of the assistant".to_owned());
    }
    for (index, message) in turns.iter().enumerate() {
        let expected = if index % 2 == 0 { Role::User } else { Role::Assistant };
        if message.role != expected {
            return Some(format!("turn {} is not by the {}", index + 1, expected.name()));
        }
    }
    (turns.len() % 2 == 1).then(|| "ends without an answer".to_owned())
}

/// Puts turns together until `cutoff_len` is reached, with labels where there is a loss.
fn assemble(turns: &[Turn], encoding: &Encoding) -> Sequence {
    let mut pieces: Vec<Sequence> = Vec::new();
    let mut tokens = 0;
    // With a masked history the last turn matters most and gets its room first.
    let order: Vec<usize> = if encoding.mask_history {
        (0..turns.len()).rev().collect()
    } else {
        (0..turns.len()).collect()
    };
    for index in order {
        let left = encoding.cutoff_len.saturating_sub(tokens);
        if left == 0 {
            break;
        }
        let turn = &turns[index];
        let (prompt, answer) = fit(turn.prompt.len(), turn.answer.len(), left);
        tokens += prompt + answer;
        let trained = !encoding.mask_history || index + 1 == turns.len();
        let ids = [&turn.prompt[..prompt], &turn.answer[..answer]].concat();
        let label = |(position, id): (usize, &u32)| {
            let wanted = if position < prompt { encoding.train_on_prompt } else { trained };
            if wanted { i64::from(*id) } else { IGNORE }
        };
        let labels = ids.iter().enumerate().map(label).collect();
        pieces.push(Sequence { input_ids: ids, labels });
    }
    if encoding.mask_history {
        pieces.reverse();
    }
    Sequence {
        input_ids: pieces.iter().flat_map(|piece| piece.input_ids.clone()).collect(),
        labels: pieces.iter().flat_map(|piece| piece.labels.clone()).collect(),
    }
}

/// How many tokens of a question and its answer fit into `room`: LLaMA-Factory's `infer_seqlen`,
/// jumps included.
fn fit(prompt: usize, answer: usize, room: usize) -> (usize, usize) {
    let most = if answer * 2 < room {
        room
    } else if prompt * 2 < room {
        room - prompt
    } else {
        // The published code multiplies by a float; up to 2^53 the integer division is the same.
        room * answer / (prompt + answer)
    };
    let answer = most.min(answer);
    (room.saturating_sub(answer).min(prompt), answer)
}

/// The examples of a dataset as shards, for the model in `model`: made once, then opened. They lie
/// in the dataset's folder.
///
/// # Errors
/// If the tokenizer cannot be read, an example cannot be encoded, or a file cannot be written.
pub fn of_dataset(
    store: &Store,
    dataset: &Dataset,
    (model, encoding): (&Path, &Encoding),
    progress: Progress<'_>,
) -> anyhow::Result<Shards> {
    let source = source(&dataset.hash, model, encoding)?;
    let dir = store.absolute(&dataset.path).join(format!("shards-{}", &source[..8]));
    if let Some(shards) = Shards::open(&dir, &source)? {
        return Ok(shards);
    }
    let encoder = Encoder::open(model, encoding)?;
    let wanted: HashSet<TraceId> = store.dataset_traces(dataset.id)?.into_iter().collect();
    let mut batches =
        Batches::new(&encoder, Writer::new(&dir, &source)?, wanted.len() as u64, progress);
    let mut row = 0;
    // In the order in which the dataset's own files have them.
    store.each_example(&TraceFilter::default(), |example| -> anyhow::Result<()> {
        if !wanted.contains(&example.trace.id) {
            return Ok(());
        }
        row += 1;
        batches
            .push(row, conversation(&example))
            .with_context(|| format!("could not encode the dataset `{}`", dataset.name))
    })?;
    let missing = wanted.len() as i64 - row;
    ensure!(missing == 0, "{missing} traces of the dataset `{}` are gone", dataset.name);
    let writer = batches
        .end()
        .with_context(|| format!("could not encode the dataset `{}`", dataset.name))?;
    writer.finish()
}

/// Who is told how many of how many rows are encoded.
pub type Progress<'a> = &'a dyn Fn(u64, u64);

/// Conversations that are encoded side by side and written in their order.
struct Batches<'a> {
    encoder: &'a Encoder,
    writer: Writer,
    waiting: Vec<(i64, Vec<Message>)>,
    /// Bytes of text in them.
    bytes: usize,
    done: u64,
    total: u64,
    progress: Progress<'a>,
}

/// Text that is encoded at a time: enough for all processors, little in memory.
const BATCH_BYTES: usize = 8 << 20;

impl<'a> Batches<'a> {
    fn new(encoder: &'a Encoder, writer: Writer, total: u64, progress: Progress<'a>) -> Self {
        Self { encoder, writer, waiting: Vec::new(), bytes: 0, done: 0, total, progress }
    }

    fn push(&mut self, row: i64, messages: Vec<Message>) -> anyhow::Result<()> {
        self.bytes += messages.iter().map(|message| message.content.len()).sum::<usize>();
        self.waiting.push((row, messages));
        if self.bytes >= BATCH_BYTES { self.flush() } else { Ok(()) }
    }

    fn flush(&mut self) -> anyhow::Result<()> {
        let waiting = std::mem::take(&mut self.waiting);
        self.bytes = 0;
        let encoded: Vec<anyhow::Result<Encoded>> =
            waiting.par_iter().map(|(_, messages)| self.encoder.encode(messages)).collect();
        self.done += waiting.len() as u64;
        for ((row, _), encoded) in waiting.into_iter().zip(encoded) {
            match encoded.with_context(|| format!("row {row}"))? {
                Encoded::Kept { sequence, truncated } => {
                    self.writer.push(row, &sequence, truncated)?;
                }
                Encoded::Dropped => self.writer.drop_example(),
                Encoded::Odd(why) => {
                    warn!(row, "row {row} is left out: {why}");
                    self.writer.drop_odd();
                }
            }
        }
        (self.progress)(self.done, self.total);
        Ok(())
    }

    fn end(mut self) -> anyhow::Result<Writer> {
        self.flush()?;
        Ok(self.writer)
    }
}

/// Hash of what decides the shards: the content by its hash, the tokenizer and how it is encoded.
pub(super) fn source(content: &str, model: &Path, encoding: &Encoding) -> anyhow::Result<String> {
    let mut hasher = Sha256::new();
    hasher.update(content);
    hasher.update(serde_json::to_vec(encoding)?);
    for name in ["tokenizer.json", "tokenizer_config.json", "vocab.json", "merges.txt", JINJA] {
        let path = model.join(name);
        if path.is_file() {
            hasher.update(
                fs::read(&path).with_context(|| format!("could not read `{}`", path.display()))?,
            );
        }
    }
    Ok(hex(&hasher.finalize()))
}

#[cfg(test)]
mod tests;
