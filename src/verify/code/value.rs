//! Compares what a function returned with what it should have returned: by structure, as data.
//!
//! The harness tags values by type (`["i", "12"]`, `["l", […]]`), so that an object that claims to equal
//! everything is only an object. Types count: `True` is not 1; but a tuple is a list and 2.0 is 2.

use serde_json::Value;

use super::compare::{Comparison, decimal, whole};
use super::json::Json;

/// Returned by a function that did not do its work: no data, and never will be.
const NO_DATA: [&str; 7] = [
    "generator",
    "coroutine",
    "async_generator",
    "function",
    "method",
    "builtin_function_or_method",
    "type",
];

/// The type of `tagged`, if it is a generator, a function or the like.
pub(super) fn no_data(tagged: &Value) -> Option<&str> {
    let (tag, name) = parts(tagged)?;
    name.as_str().filter(|name| tag == "o" && NO_DATA.contains(name))
}

/// Whether a returned value is the `expected` one.
pub(super) fn same_value(tagged: &Value, expected: &Json, how: &Comparison) -> bool {
    if !how.is_unordered() {
        return same(tagged, expected, how);
    }
    match (parts(tagged), expected) {
        (Some(("l" | "t" | "u", Value::Array(given))), Json::List(expected)) => {
            same_bag(given, expected, how)
        }
        _ => same(tagged, expected, how),
    }
}

fn same(tagged: &Value, expected: &Json, how: &Comparison) -> bool {
    let Some((tag, content)) = parts(tagged) else { return false };
    match (tag, expected) {
        ("n", Json::Null) => true,
        ("b", Json::Bool(expected)) => content.as_bool() == Some(*expected),
        ("i", Json::Number(expected)) => {
            let Some(given) = content.as_str().map(str::as_bytes) else { return false };
            match whole(expected.as_bytes()) {
                Some(expected) => whole(given) == Some(expected),
                None => decimal(given).is_some() && decimal(given) == decimal(expected.as_bytes()),
            }
        }
        ("f", Json::Number(expected)) => {
            let given = content.as_str().and_then(|given| decimal(given.as_bytes()));
            let expected = decimal(expected.as_bytes());
            matches!((given, expected), (Some(a), Some(b)) if how.close(a, b))
        }
        ("s", Json::Text(expected)) => {
            let Some(given) = content.as_str() else { return false };
            given == expected || how.folds_case() && given.to_lowercase() == expected.to_lowercase()
        }
        ("l" | "t", Json::List(expected)) => {
            let Some(given) = content.as_array() else { return false };
            given.len() == expected.len()
                && given.iter().zip(expected).all(|(given, expected)| same(given, expected, how))
        }
        // JSON has no sets: a set answers a list whose order nobody can mean.
        ("u", Json::List(expected)) => {
            content.as_array().is_some_and(|given| same_bag(given, expected, how))
        }
        ("d", Json::Map(expected)) => {
            let Some(given) = content.as_array() else { return false };
            given.len() == expected.len()
                && given.iter().all(|pair| {
                    let expected = pair.get(0).and_then(key).and_then(|key| expected.get(&key));
                    matches!((pair.get(1), expected), (Some(a), Some(b)) if same(a, b, how))
                })
        }
        _ => false,
    }
}

/// Items that are matched one by one; more are sorted first, so that a large set stays quick.
const MATCHED_MAX: usize = 200;

/// The same items in any order, as often.
fn same_bag(given: &[Value], expected: &[Json], how: &Comparison) -> bool {
    if given.len() != expected.len() {
        return false;
    }
    if given.len() > MATCHED_MAX {
        let mut ours: Vec<(String, &Json)> =
            expected.iter().map(|expected| (spelled(expected), expected)).collect();
        let mut theirs: Vec<(String, &Value)> =
            given.iter().map(|given| (spelled_tagged(given), given)).collect();
        ours.sort_by(|a, b| a.0.cmp(&b.0));
        theirs.sort_by(|a, b| a.0.cmp(&b.0));
        return theirs
            .iter()
            .zip(&ours)
            .all(|((_, given), (_, expected))| same(given, expected, how));
    }
    let mut left: Vec<&Json> = expected.iter().collect();
    given.iter().all(|given| {
        let found = left.iter().position(|expected| same(given, expected, how));
        found.map(|at| left.swap_remove(at)).is_some()
    })
}

/// A value in one spelling, to sort by: equal values have equal spellings but for rounding.
fn spelled(value: &Json) -> String {
    match value {
        Json::Null => "n".into(),
        Json::Bool(value) => format!("b{value}"),
        Json::Number(text) => number(text),
        Json::Text(text) => format!("s{text}"),
        Json::List(items) => format!("l{:?}", items.iter().map(spelled).collect::<Vec<_>>()),
        Json::Map(map) => {
            let pairs = map.iter().map(|(key, value)| format!("{key}:{}", spelled(value)));
            format!("d{:?}", pairs.collect::<Vec<_>>())
        }
    }
}

fn spelled_tagged(tagged: &Value) -> String {
    let Some((tag, content)) = parts(tagged) else { return String::new() };
    let list = || content.as_array().map(Vec::as_slice).unwrap_or_default();
    match tag {
        "b" => format!("b{}", content.as_bool().unwrap_or_default()),
        "i" | "f" => number(content.as_str().unwrap_or_default()),
        "s" => format!("s{}", content.as_str().unwrap_or_default()),
        "l" | "t" => format!("l{:?}", list().iter().map(spelled_tagged).collect::<Vec<_>>()),
        "d" => {
            let pair = |pair: &Value| {
                let key = pair.get(0).and_then(key).unwrap_or_default();
                format!("{key}:{}", pair.get(1).map(spelled_tagged).unwrap_or_default())
            };
            let mut pairs: Vec<String> = list().iter().map(pair).collect();
            pairs.sort();
            format!("d{pairs:?}")
        }
        other => other.to_owned(),
    }
}

fn number(text: &str) -> String {
    match (whole(text.as_bytes()), decimal(text.as_bytes())) {
        (Some((negative, digits)), _) => {
            format!("i{}{}", if negative { "-" } else { "" }, String::from_utf8_lossy(digits))
        }
        (None, Some(value)) if value.fract() == 0.0 && value.abs() < 1e15 => {
            number(&format!("{value:.0}"))
        }
        (None, Some(value)) => format!("f{value:.9e}"),
        (None, None) => text.to_owned(),
    }
}

/// Tag and content of a tagged value.
pub(super) fn parts(tagged: &Value) -> Option<(&str, &Value)> {
    let tag = tagged.get(0)?.as_str()?;
    Some((tag, tagged.get(1).unwrap_or(&Value::Null)))
}

/// A dictionary's key as JSON writes it.
fn key(tagged: &Value) -> Option<String> {
    match parts(tagged)? {
        ("s" | "i" | "f", text) => text.as_str().map(str::to_owned),
        ("b", value) => value.as_bool().map(|value| value.to_string()),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::super::compare::Comparison;
    use super::super::json::Json;
    use super::same_value;
    use crate::records::{Comparator, Tolerance};

    #[track_caller]
    fn check_by(comparator: Comparator, given: &Value, expected: &str, same: bool) {
        let how = Comparison { comparator, tolerance: Tolerance::default() };
        let json = Json::parse(expected).unwrap();
        assert_eq!(same_value(given, &json, &how), same, "{given} against {expected}");
    }

    #[track_caller]
    fn check(given: &Value, expected: &str, same: bool) {
        check_by(Comparator::CallJson, given, expected, same);
    }

    #[test]
    fn values_are_compared_with_their_types() {
        check(&json!(["i", "3"]), "3", true);
        check(&json!(["i", "3"]), "3.0", true);
        check(&json!(["f", "3.0"]), "3", true);
        check(&json!(["f", "0.30000000000000004"]), "0.3", true);
        check(&json!(["b", true]), "1", false);
        check(&json!(["i", "1"]), "true", false);
        check(&json!(["b", true]), "true", true);
        check(&json!(["s", "3"]), "3", false);
        check(&json!(["n"]), "null", true);
        check(&json!(["n"]), "0", false);
        check(&json!(["o", "Cheat"]), "3", false);
        check(&json!(["f", "nan"]), "0", false);
    }

    #[test]
    fn whole_numbers_of_any_size_are_exact() {
        let big = "123456789012345678901234567890";
        check(&json!(["i", big]), big, true);
        check(&json!(["i", big]), "123456789012345678901234567891", false);
        check(&json!(["i", "18446744073709551617"]), "18446744073709551616", false);
        check(&json!(["i", "9007199254740993"]), "9007199254740993", true);
    }

    #[test]
    fn containers_are_compared_item_by_item() {
        let one_two = json!([["i", "1"], ["i", "2"]]);
        check(&json!(["t", one_two]), "[1, 2]", true);
        check(&json!(["l", one_two]), "[2, 1]", false);
        check(&json!(["u", one_two]), "[2, 1]", true);
        check(&json!(["l", one_two]), "[1]", false);
        check(&json!(["d", [[["i", "1"], ["s", "a"]]]]), r#"{"1": "a"}"#, true);
        check(&json!(["d", [[["s", "b"], ["s", "a"]]]]), r#"{"1": "a"}"#, false);
    }

    #[test]
    fn a_large_set_is_compared_quickly() {
        let all: Vec<u32> = (0..100_000).collect();
        let given: Vec<Value> = all.iter().rev().map(|n| json!(["i", n.to_string()])).collect();
        let expected = serde_json::to_string(&all).unwrap();
        check(&json!(["u", given]), &expected, true);
        let mut other = given;
        other[5] = json!(["i", "100001"]);
        check(&json!(["u", other]), &expected, false);
    }

    #[test]
    fn order_and_case_are_forgiven_only_if_asked_for() {
        let one_two = json!(["l", [["i", "1"], ["i", "2"], ["i", "2"]]]);
        check_by(Comparator::TokensUnordered, &one_two, "[2, 1, 2]", true);
        check_by(Comparator::TokensUnordered, &one_two, "[1, 1, 2]", false);
        check_by(Comparator::TokensCi, &json!(["s", "Yes"]), "\"YES\"", true);
        check_by(Comparator::CallJson, &json!(["s", "Yes"]), "\"YES\"", false);
    }
}
