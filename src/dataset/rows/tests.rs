//! Rows in all their forms.

use std::path::Path;

use super::of_file;
use crate::chat::template::TemplateName;
use crate::chat::tokenizer::{END_OF_TEXT, IM_END, IM_START, Tokenizer};
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
    of_file(&file, (&dir.join("model"), &encoding), &dir.join("shards"), &|_, _| {})
}

fn with_model() -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    let base = Base { vocabulary: 280, ..Base::default() };
    make(&dir.path().join("model"), &base, &["hello there".to_owned()]).unwrap();
    dir
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
fn the_same_conversation_in_other_words_is_the_same_example() {
    let dir = with_model();
    let rows = r#"{"system":"be brief","conversations":[{"from":"human","value":"hi"},{"from":"gpt","value":"ho"}]}
{"messages":[{"role":"user","content":"hi"},{"role":"assistant","content":"ho"}],"extra":1}
{"messages":[{"role":"system","content":"be brief"},{"from":"user","value":"hi"},{"role":"assistant","content":"ho"}]}
{"instruction":"hi","input":"","output":"ho"}"#;
    let shards = read(dir.path(), rows).unwrap();
    assert_eq!(shards.len(), 4);
    for other in 1..4 {
        assert_eq!(shards.get(0).unwrap(), shards.get(other).unwrap(), "{other}");
    }
    // "h", "o" and the end token.
    assert_eq!(shards.trained_tokens(0), 3);
}

#[test]
fn odd_conversations_are_left_out_and_counted() {
    let dir = with_model();
    let good = r#"{"messages":[{"role":"user","content":"hi"},{"role":"assistant","content":""}]}"#;
    let rows = format!(
        "{good}\n{}\n{}\n{}\n{good}\n",
        r#"{"messages":[{"role":"user","content":"hi"}]}"#,
        r#"{"messages":[{"role":"user","content":"hi"},{"role":"critic","content":"ho"}]}"#,
        r#"{"conversations":[]}"#,
    );
    let shards = read(dir.path(), &rows).unwrap();
    assert_eq!((shards.len(), shards.id(1), shards.counts().odd), (2, 5, 3));
    // An empty answer is the end token.
    assert_eq!(shards.trained_tokens(0), 1);
}

#[test]
fn what_was_encoded_is_found_again_until_the_file_changes() {
    let dir = with_model();
    let row = |n: u32| {
        format!(
            "{{\"messages\":[{{\"role\":\"user\",\"content\":\"{n}\"}},\
             {{\"role\":\"assistant\",\"content\":\"{n}\"}}]}}\n"
        )
    };
    let rows: String = (0..50).map(row).collect();
    let made = read(dir.path(), &rows).unwrap();
    let folders = || std::fs::read_dir(dir.path().join("shards")).unwrap().count();
    assert_eq!((made.len(), folders()), (50, 1));
    let found = read(dir.path(), &rows).unwrap();
    assert_eq!((found.hash(), folders()), (made.hash(), 1));
    assert_ne!(read(dir.path(), &(rows + &row(50))).unwrap().hash(), made.hash());
    assert_eq!(folders(), 2);
}

#[test]
fn text_of_any_kind_is_trained_on_as_it_is() {
    let dir = with_model();
    for text in ["a\r\nb", "👩‍👩‍👧 und 🦀", "<|im_end|> <|endoftext|>", "\u{fdd0}", " ", "\0"]
    {
        let message = |role| serde_json::json!({ "role": role, "content": text });
        let row = serde_json::json!({ "messages": [message("user"), message("assistant")] });
        let shards = read(dir.path(), &row.to_string()).unwrap();
        let sequence = shards.get(0).unwrap();
        let tokenizer = Tokenizer::open(&dir.path().join("model")).unwrap();
        let answer: Vec<u32> = sequence
            .labels
            .iter()
            .filter(|label| **label != IGNORE)
            .map(|label| *label as u32)
            .collect();
        let (end, said) = answer.split_last().unwrap();
        assert_eq!(Some(*end), tokenizer.id(END_OF_TEXT), "{text:?}");
        assert_eq!(tokenizer.decode(said, true).unwrap(), text);
        let special = [IM_START, IM_END, END_OF_TEXT].map(|token| tokenizer.id(token).unwrap());
        assert!(said.iter().all(|id| !special.contains(id)), "{text:?}");
        let ends = sequence.input_ids.iter().filter(|id| special.contains(id)).count();
        assert_eq!(ends, 6, "{text:?}: three turns begin and end");
    }
}

#[test]
fn bad_rows_are_named_by_number() {
    let dir = tempfile::tempdir().unwrap();
    let rows = "{\"input_ids\":[5],\"labels\":[5]}\n{\"input_ids\":[5,6],\"labels\":[5]}\nnonsense";
    let error = read(dir.path(), rows).unwrap_err().to_string();
    assert!(error.contains("row 2: has 2 input ids but 1 labels"), "{error}");
    assert!(error.contains("row 3: expected"), "{error}");
}
