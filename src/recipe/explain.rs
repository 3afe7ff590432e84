//! What a setting means, in the words of the code that reads it: the documentation of its field.

/// Where the settings of training are documented.
const TRAIN: &str = include_str!("../train/config/mod.rs");

/// What each setting of `[train]` means, with its unit, default and origin, in the order in which
/// the code explains them.
pub fn train_settings() -> Vec<(String, String)> {
    documented(TRAIN, "pub struct Config {")
}

/// The documentation of each public field of the struct that `head` begins in a Rust source.
fn documented(source: &str, head: &str) -> Vec<(String, String)> {
    let mut found = Vec::new();
    let mut words: Vec<&str> = Vec::new();
    let inside = source.lines().skip_while(|line| *line != head).skip(1);
    for line in inside.take_while(|line| *line != "}").map(str::trim) {
        if let Some(said) = line.strip_prefix("///") {
            words.push(said.trim());
        } else if let Some((name, _)) = line.strip_prefix("pub ").and_then(|l| l.split_once(':')) {
            found.push((name.to_owned(), words.join(" ").replace('`', "")));
            words.clear();
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use serde_json::Value;

    use super::train_settings;
    use crate::train::Config;

    #[test]
    fn every_setting_of_training_is_explained() {
        let all = Config {
            steps: Some(1),
            warmup_steps: Some(1),
            resume_from: Some(1),
            ..Config::default()
        };
        let Value::Object(all) = serde_json::to_value(all).unwrap() else { panic!("a table") };
        let explained: BTreeMap<String, String> = train_settings().into_iter().collect();
        for name in all.keys() {
            let known = explained.get(name).is_some_and(|text| !text.is_empty());
            assert!(known, "`{name}` is not explained");
        }
        assert_eq!(all.len(), explained.len());
        assert_eq!(
            explained["weight_decay"],
            "Decoupled weight decay; never on biases and norms. OpenThinker-7B: 0."
        );
    }
}
