//! One example of a dataset as its model will see it: token by token, with what is trained on.

use std::path::Path;

use serde::Serialize;

use super::{Encoded, Encoder, Encoding};
use crate::chat::tokenizer::Tokenizer;
use crate::dataset::conversation::conversation;
use crate::engine::{IGNORE, Sequence};
use crate::hint::Hinted;
use crate::records::Dataset;
use crate::store::Store;

/// An example as tokens. What training would leave out has none.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Shown {
    /// Its row in the dataset, from 1.
    pub row: u64,
    /// Rows of the dataset.
    pub rows: u64,
    /// Tokens in order.
    pub tokens: Vec<Token>,
    /// How many of them have a loss.
    pub trained_tokens: u64,
    /// Whether tokens are missing because it was cut to `train.cutoff_len`.
    pub truncated: bool,
    /// Why training leaves it out; none if it does not.
    pub left_out: Option<String>,
}

/// A token of an example.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Token {
    /// Its id.
    pub id: u32,
    /// Its text; bytes that are no text alone stand as `<0xE2>`.
    pub text: String,
    /// Whether the model is trained to say it.
    pub trained: bool,
}

/// Row `row` of `dataset`, from 1, encoded for the model in `model` exactly as for training.
///
/// # Errors
/// If there is no such row, the tokenizer cannot be read, or the row cannot be encoded.
pub fn row_of_dataset(
    store: &Store,
    dataset: &Dataset,
    (model, encoding): (&Path, &Encoding),
    row: u64,
) -> anyhow::Result<Shown> {
    let traces = store.dataset_traces(dataset.id)?;
    let rows = traces.len() as u64;
    let at = row.checked_sub(1).and_then(|at| usize::try_from(at).ok());
    let Some(trace) = at.and_then(|at| traces.get(at)) else {
        let (name, arm) = (&dataset.name, dataset.arm.name());
        return Err(Hinted::new(
            format!("the {arm} dataset `{name}` has no row {row}"),
            format!("give a row from 1 to {rows}"),
        )
        .into());
    };
    let messages = conversation(&store.example(*trace)?);
    let encoder = Encoder::open(model, encoding)?;
    Ok(shown(&encoder, encoder.encode(&messages)?, (row, rows)))
}

/// What became of a row, for people.
fn shown(encoder: &Encoder, encoded: Encoded, (row, rows): (u64, u64)) -> Shown {
    let none = Sequence { input_ids: Vec::new(), labels: Vec::new() };
    let (sequence, truncated, left_out) = match encoded {
        Encoded::Kept { sequence, truncated } => (sequence, truncated, None),
        Encoded::Dropped => {
            let limit = encoder.encoding.cutoff_len;
            (none, false, Some(format!("is longer than train.cutoff_len, {limit} tokens")))
        }
        Encoded::Odd(why) => (none, false, Some(why)),
    };
    let trained_tokens = sequence.trained_tokens() as u64;
    // Nothing stands before the first token that could foretell it.
    let pairs = sequence.input_ids.iter().zip(&sequence.labels).enumerate();
    let tokens = pairs.map(|(at, (id, label))| Token {
        id: *id,
        text: text(&encoder.tokenizer, *id),
        trained: at > 0 && *label != IGNORE,
    });
    Shown { row, rows, tokens: tokens.collect(), trained_tokens, truncated, left_out }
}

/// What token `id` looks like alone.
fn text(tokenizer: &Tokenizer, id: u32) -> String {
    let mut text = String::new();
    for chunk in tokenizer.bytes(id).utf8_chunks() {
        text.push_str(chunk.valid());
        for byte in chunk.invalid() {
            text.push_str(&format!("<0x{byte:02X}>"));
        }
    }
    text
}
