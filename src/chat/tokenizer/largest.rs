//! The largest id of a tokenizer, from its files alone: to open one takes ten times as long.

use std::collections::HashMap;
use std::fs;
use std::path::Path;

use serde::Deserialize;
use serde::de::{DeserializeOwned, IgnoredAny};

/// What of `tokenizer.json` has ids.
#[derive(Deserialize)]
struct File {
    model: Model,
    #[serde(default)]
    added_tokens: Vec<Added>,
}

#[derive(Deserialize)]
struct Model {
    vocab: Vocabulary,
}

/// Ids by token, or tokens in the order of their ids.
#[derive(Deserialize)]
#[serde(untagged)]
enum Vocabulary {
    Named(HashMap<String, u32>),
    Listed(Vec<IgnoredAny>),
}

#[derive(Deserialize)]
struct Added {
    id: u32,
}

impl Vocabulary {
    fn largest(&self) -> Option<u32> {
        match self {
            Self::Named(ids) => ids.values().copied().max(),
            Self::Listed(tokens) => u32::try_from(tokens.len()).ok()?.checked_sub(1),
        }
    }
}

/// The largest id that the tokenizer in `dir` can give; none if there is no tokenizer or it cannot be
/// read, which is told when it is opened.
pub fn largest_id(dir: &Path) -> Option<u32> {
    match read::<File>(&dir.join("tokenizer.json")) {
        Some(File { model, added_tokens }) => {
            added_tokens.iter().map(|token| token.id).chain(model.vocab.largest()).max()
        }
        None => read::<Vocabulary>(&dir.join("vocab.json"))?.largest(),
    }
}

fn read<T: DeserializeOwned>(path: &Path) -> Option<T> {
    serde_json::from_slice(&fs::read(path).ok()?).ok()
}

#[cfg(test)]
mod tests {
    use super::largest_id;

    #[track_caller]
    fn check(name: &str, text: &str, expected: Option<u32>) {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join(name), text).unwrap();
        assert_eq!(largest_id(dir.path()), expected, "{text}");
    }

    #[test]
    fn the_largest_id_is_in_the_files() {
        check("tokenizer.json", r#"{"model":{"vocab":{"a":0,"b":7}}}"#, Some(7));
        let added =
            r#"{"model":{"type":"BPE","vocab":{"a":0}},"added_tokens":[{"id":9,"content":"x"}]}"#;
        check("tokenizer.json", added, Some(9));
        check("tokenizer.json", r#"{"model":{"vocab":[["a",-1.5],["b",-2]]}}"#, Some(1));
        check("vocab.json", r#"{"a":0,"b":3}"#, Some(3));
        check("tokenizer.json", "{}", None);
        check("other.json", "{}", None);
    }
}
