//! Examples from somebody's JSONL file: ShareGPT rows, `messages` rows, or token ids taken as they
//! are.

use std::fs::File;
use std::io::{BufRead, BufReader};
use std::path::Path;

use anyhow::{Context, bail, ensure};
use serde::Deserialize;

use super::encode::{Encoded, Encoder, Encoding};
use super::shards::{Counts, Shards};
use crate::chat::{Message, Role};
use crate::engine::Sequence;
use crate::hint::Hinted;

/// How many bad rows an error names.
const BAD_ROWS_NAMED: usize = 10;

/// One line of the file. Other columns are somebody else's.
#[derive(Debug, Deserialize)]
struct Row {
    system: Option<String>,
    conversations: Option<Vec<ShareGpt>>,
    messages: Option<Vec<Plain>>,
    input_ids: Option<Vec<u32>>,
    labels: Option<Vec<i64>>,
}

#[derive(Debug, Deserialize)]
struct ShareGpt {
    from: String,
    value: String,
}

#[derive(Debug, Deserialize)]
struct Plain {
    role: String,
    content: String,
}

/// Reads the examples in `file` for the model in `model`; ids are row numbers from 1. Nothing is
/// trained on while a row is bad: all bad ones are named.
///
/// # Errors
/// If the file cannot be read, is empty, or has bad rows.
pub fn of_file(file: &Path, model: &Path, encoding: &Encoding) -> anyhow::Result<Shards> {
    let named = || format!("could not read the examples `{}`", file.display());
    let reader = BufReader::new(File::open(file).with_context(named)?);
    let mut encoder = None;
    let mut examples = Vec::new();
    let mut counts = Counts::default();
    let mut bad = Vec::new();
    for (line, row) in reader.lines().enumerate() {
        let line = line + 1;
        let text = row.with_context(named)?;
        if text.trim().is_empty() {
            continue;
        }
        match example(&text, || open(&mut encoder, model, encoding)) {
            Ok(Encoded::Kept { sequence, truncated }) => {
                counts.examples += 1;
                counts.tokens += sequence.input_ids.len() as u64;
                counts.trained_tokens += sequence.trained_tokens() as u64;
                counts.truncated += u64::from(truncated);
                examples.push((line as i64, sequence));
            }
            Ok(Encoded::Dropped) => counts.dropped += 1,
            Err(Bad::Row(why)) => bad.push(format!("row {line}: {why:#}")),
            Err(Bad::Model(error)) => return Err(error),
        }
    }
    if !bad.is_empty() {
        let more = bad.len().saturating_sub(BAD_ROWS_NAMED);
        bad.truncate(BAD_ROWS_NAMED);
        let more = if more > 0 { format!("; and {more} more") } else { String::new() };
        bail!(Hinted::new(
            format!("`{}` has bad rows: {}{more}", file.display(), bad.join("; ")),
            "a row is {\"conversations\": […]}, {\"messages\": […]} or {\"input_ids\": […], \
             \"labels\": […]}; correct these or leave them out",
        ));
    }
    Ok(Shards::from_memory(examples, counts))
}

/// Why there is no example: the row's fault, or the model's.
enum Bad {
    Row(anyhow::Error),
    Model(anyhow::Error),
}

/// The encoder, opened when the first text needs it: token ids need no tokenizer.
fn open<'a>(
    encoder: &'a mut Option<Encoder>,
    model: &Path,
    encoding: &Encoding,
) -> anyhow::Result<&'a Encoder> {
    if encoder.is_none() {
        *encoder = Some(Encoder::open(model, encoding)?);
    }
    encoder.as_ref().context("the encoder was just opened")
}

fn example<'a>(
    text: &str,
    encoder: impl FnOnce() -> anyhow::Result<&'a Encoder>,
) -> Result<Encoded, Bad> {
    let row: Row = serde_json::from_str(text).map_err(|error| Bad::Row(error.into()))?;
    if let Some(input_ids) = row.input_ids {
        let sequence = tokens(input_ids, row.labels).map_err(Bad::Row)?;
        return Ok(Encoded::Kept { sequence, truncated: false });
    }
    let messages = messages(row).map_err(Bad::Row)?;
    let encoder = encoder().map_err(Bad::Model)?;
    encoder.encode(&messages).map_err(Bad::Row)
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

fn messages(row: Row) -> anyhow::Result<Vec<Message>> {
    let turns: Vec<(String, String)> = match (row.conversations, row.messages) {
        (Some(turns), _) => turns.into_iter().map(|turn| (turn.from, turn.value)).collect(),
        (None, Some(turns)) => turns.into_iter().map(|turn| (turn.role, turn.content)).collect(),
        (None, None) => bail!("has neither `conversations` nor `messages` nor `input_ids`"),
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
            _ => bail!("has a turn by `{speaker}`; expected user or assistant"),
        };
        messages.push(Message { role, content });
    }
    Ok(messages)
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::of_file;
    use crate::chat::template::TemplateName;
    use crate::dataset::base::{Base, make};
    use crate::dataset::encode::{Encoding, Truncation};
    use crate::dataset::shards::Shards;
    use crate::engine::IGNORE;

    fn read(dir: &Path, rows: &str) -> anyhow::Result<Shards> {
        let file = dir.join("rows.jsonl");
        std::fs::write(&file, rows).unwrap();
        let encoding = Encoding {
            template: TemplateName::Qwen25Openthinker,
            cutoff_len: 1_000,
            truncation: Truncation::Error,
            train_on_system: false,
            mask_history: false,
            train_on_prompt: false,
        };
        of_file(&file, &dir.join("model"), &encoding)
    }

    #[test]
    fn token_ids_are_taken_as_they_are() {
        let dir = tempfile::tempdir().unwrap();
        let rows =
            "{\"input_ids\":[5,6,7],\"labels\":[-100,6,7]}\n\n{\"input_ids\":[1],\"labels\":[1]}";
        let shards = read(dir.path(), rows).unwrap();
        assert_eq!((shards.len(), shards.id(0), shards.id(1)), (2, 1, 3));
        let first = shards.get(0).unwrap();
        assert_eq!((first.input_ids, first.labels), (vec![5, 6, 7], vec![IGNORE, 6, 7]));
    }

    #[test]
    fn sharegpt_and_messages_are_the_same_example() {
        let dir = tempfile::tempdir().unwrap();
        let base = Base { vocabulary: 280, ..Base::default() };
        make(&dir.path().join("model"), &base, &["hello there".to_owned()]).unwrap();
        let rows = r#"{"system":"be brief","conversations":[{"from":"user","value":"hi"},{"from":"assistant","value":"ho"}]}
{"messages":[{"role":"user","content":"hi"},{"role":"assistant","content":"ho"}],"extra":1}"#;
        let shards = read(dir.path(), rows).unwrap();
        assert_eq!(shards.get(0).unwrap(), shards.get(1).unwrap());
        // "h", "o" and the end token.
        assert_eq!(shards.trained_tokens(0), 3);
    }

    #[test]
    fn bad_rows_are_named_by_number() {
        let dir = tempfile::tempdir().unwrap();
        let rows =
            "{\"input_ids\":[5],\"labels\":[5]}\n{\"input_ids\":[5,6],\"labels\":[5]}\nnonsense";
        let error = read(dir.path(), rows).unwrap_err().to_string();
        assert!(error.contains("row 2: has 2 input ids but 1 labels"), "{error}");
        assert!(error.contains("row 3: expected"), "{error}");
    }
}
