//! Compares what a program said with what it should have said.
//!
//! Tokens, so that blanks and line ends do not matter; whole numbers exactly, others within a
//! millionth. Never sets, never the first element only: `verification.md` lists what such rules let
//! through. `upstream` has the published rules.

use serde_json::Value;

/// Largest difference between decimals, absolute or relative, as contest checkers allow.
const TOLERANCE: f64 = 1e-6;

/// Text of a test's input or output: strings as they are, lists line by line.
pub(super) fn text(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Array(lines) => lines.iter().map(text).collect::<Vec<_>>().join("\n"),
        Value::Null => String::new(),
        Value::Bool(_) | Value::Number(_) | Value::Object(_) => value.to_string(),
    }
}

/// Whether the tokens of `given` are those of `expected`. Else the first difference, for people.
pub(super) fn same_tokens(given: &[u8], expected: &str) -> Result<(), String> {
    let Ok(given) = std::str::from_utf8(given) else { return Err("output is not UTF-8".into()) };
    let mut ours = expected.split_ascii_whitespace();
    let mut theirs = given.split_ascii_whitespace();
    let mut position = 0_usize;
    loop {
        position += 1;
        match (ours.next(), theirs.next()) {
            (None, None) => return Ok(()),
            (Some(expected), None) => {
                return Err(format!("output ends before token {position}, `{}`", short(expected)));
            }
            (None, Some(given)) => {
                return Err(format!("output goes on with token {position}, `{}`", short(given)));
            }
            (Some(expected), Some(given)) if same_token(given, expected) => {}
            (Some(expected), Some(given)) => {
                let (given, expected) = (short(given), short(expected));
                return Err(format!("token {position} is `{given}`, expected `{expected}`"));
            }
        }
    }
}

fn short(token: &str) -> String {
    token.chars().take(40).collect()
}

fn same_token(given: &str, expected: &str) -> bool {
    if given == expected {
        return true;
    }
    match (whole(given), whole(expected)) {
        (Some(given), Some(expected)) => given == expected,
        _ => matches!((decimal(given), decimal(expected)), (Some(a), Some(b)) if close(a, b)),
    }
}

/// Sign and digits of a whole number, without leading zeros.
fn whole(token: &str) -> Option<(bool, &str)> {
    let digits = token.strip_prefix(['-', '+']).unwrap_or(token);
    if digits.is_empty() || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let digits = digits.trim_start_matches('0');
    Some((token.starts_with('-') && !digits.is_empty(), digits))
}

fn decimal(token: &str) -> Option<f64> {
    // Rust reads `inf` and `nan` as numbers; here they are words.
    let numeric =
        token.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'+' | b'-' | b'.' | b'e' | b'E'));
    if numeric { token.parse().ok().filter(|value: &f64| value.is_finite()) } else { None }
}

fn close(given: f64, expected: f64) -> bool {
    (given - expected).abs() <= TOLERANCE.max(TOLERANCE * expected.abs())
}

/// Whether a returned value, tagged by type as the harness writes it, is the `expected` one. Types
/// count: `True` is not 1, but a tuple is a list and 2.0 is 2.
pub(super) fn same_value(tagged: &Value, expected: &Value) -> bool {
    let Some((tag, content)) = parts(tagged) else { return false };
    match (tag, expected) {
        ("n", Value::Null) => true,
        ("b", Value::Bool(expected)) => content.as_bool() == Some(*expected),
        ("i", Value::Number(expected)) => {
            let Some(given) = content.as_str() else { return false };
            let written = expected.to_string();
            match whole(&written) {
                Some(expected) => whole(given) == Some(expected),
                // A whole number beyond 64 bits is kept as a float; nothing is lost that JSON had.
                None => given.parse::<f64>().ok() == expected.as_f64(),
            }
        }
        ("f", Value::Number(expected)) => {
            let given = content.as_str().and_then(decimal);
            matches!((given, expected.as_f64()), (Some(a), Some(b)) if close(a, b))
        }
        ("s", Value::String(expected)) => content.as_str() == Some(expected),
        ("l" | "t", Value::Array(expected)) => {
            let Some(given) = content.as_array() else { return false };
            given.len() == expected.len()
                && given.iter().zip(expected).all(|(given, expected)| same_value(given, expected))
        }
        // JSON has no sets: a set answers a list whose order nobody can mean.
        ("u", Value::Array(expected)) => {
            let Some(given) = content.as_array() else { return false };
            let mut left: Vec<&Value> = expected.iter().collect();
            given.len() == expected.len()
                && given.iter().all(|given| {
                    let found = left.iter().position(|expected| same_value(given, expected));
                    found.map(|at| left.swap_remove(at)).is_some()
                })
        }
        ("d", Value::Object(expected)) => {
            let Some(given) = content.as_array() else { return false };
            given.len() == expected.len()
                && given.iter().all(|pair| {
                    let key = pair.get(0).and_then(key);
                    let expected = key.and_then(|key| expected.get(&key));
                    matches!((pair.get(1), expected), (Some(a), Some(b)) if same_value(a, b))
                })
        }
        _ => false,
    }
}

fn parts(tagged: &Value) -> Option<(&str, &Value)> {
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
    use serde_json::json;

    use super::{same_tokens, same_value};

    #[track_caller]
    fn text(given: &str, expected: &str, same: bool) {
        assert_eq!(same_tokens(given.as_bytes(), expected).is_ok(), same, "{given:?} {expected:?}");
    }

    #[track_caller]
    fn value(given: &serde_json::Value, expected: &serde_json::Value, same: bool) {
        assert_eq!(same_value(given, expected), same, "{given} against {expected}");
    }

    #[test]
    fn blanks_do_not_matter_and_order_does() {
        text("1 2 \n3 \r\n", "1 2\n3", true);
        text("2 1", "1 2", false);
        text("12", "1 2", false);
        text("0\n1", "1\n0\n1\n1", false);
        text("3", "3\n3\n3", false);
        text("Yes", "YES", false);
    }

    #[test]
    fn whole_numbers_are_exact_and_decimals_close() {
        text("100000000000000001", "100000000000000000", false);
        text("007", "7", true);
        text("-0", "0", true);
        text("0.50000", "0.5", true);
        text("0.3333333333", "0.33333333333333", true);
        text("1e-05", "0.00001", true);
        text("1.0", "1", true);
        text("0.5001", "0.5", false);
        text("nan", "NaN", false);
        text("inf", "1e999", false);
    }

    #[test]
    fn bytes_that_are_no_text_are_wrong() {
        assert!(same_tokens(b"\xff\xfe", "1").is_err());
    }

    #[test]
    fn values_are_compared_with_their_types() {
        value(&json!(["i", "3"]), &json!(3), true);
        value(&json!(["i", "3"]), &json!(3.0), true);
        value(&json!(["f", "3.0"]), &json!(3), true);
        value(&json!(["f", "0.30000000000000004"]), &json!(0.3), true);
        value(&json!(["b", true]), &json!(1), false);
        value(&json!(["b", true]), &json!(true), true);
        value(&json!(["s", "3"]), &json!(3), false);
        value(&json!(["n"]), &json!(null), true);
        value(&json!(["o", "Cheat"]), &json!(3), false);
        value(&json!(["f", "nan"]), &json!(0), false);
    }

    #[test]
    fn containers_are_compared_item_by_item() {
        let one_two = json!([["i", "1"], ["i", "2"]]);
        value(&json!(["t", one_two]), &json!([1, 2]), true);
        value(&json!(["l", one_two]), &json!([2, 1]), false);
        value(&json!(["u", one_two]), &json!([2, 1]), true);
        value(&json!(["l", one_two]), &json!([1]), false);
        value(&json!(["d", [[["i", "1"], ["s", "a"]]]]), &json!({"1": "a"}), true);
        value(&json!(["d", [[["s", "b"], ["s", "a"]]]]), &json!({"1": "a"}), false);
    }
}
