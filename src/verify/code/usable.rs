//! Whether tests can be used at all: whatever is wrong with them is no program's fault.

use super::compare::Comparison;
use super::json::{is_shallow, text};
use crate::records::{Comparator, Tests};

/// Longest input or expected output of one test in bytes. OpenThoughts' largest are about 5 MB.
const VALUE_BYTES_MAX: usize = 64 << 20;

/// Longest name of a function.
const NAME_BYTES_MAX: usize = 200;

/// Python's words that cannot name a function.
const KEYWORDS: [&str; 35] = [
    "False", "None", "True", "and", "as", "assert", "async", "await", "break", "class", "continue",
    "def", "del", "elif", "else", "except", "finally", "for", "from", "global", "if", "import",
    "in", "is", "lambda", "nonlocal", "not", "or", "pass", "raise", "return", "try", "while",
    "with", "yield",
];

/// Why `tests` cannot be used, if they cannot.
pub(super) fn why_not(tests: &Tests) -> Option<String> {
    if tests.inputs.is_empty() {
        return Some("there are no tests".into());
    }
    if tests.inputs.len() != tests.outputs.len() {
        let (inputs, outputs) = (tests.inputs.len(), tests.outputs.len());
        return Some(format!("the tests have {inputs} inputs but {outputs} outputs"));
    }
    if let Some(name) = tests.function()
        && !is_function_name(name)
    {
        let name: String = name.chars().take(40).collect();
        return Some(format!("`{name}` cannot be the name of a function"));
    }
    let comparator = Comparison::of(tests).comparator;
    if tests.function().is_none() && comparator == Comparator::CallJson {
        return Some("the comparator is `call-json`, but there is no `fn_name`".into());
    }
    if tests.function().is_some() && comparator == Comparator::Checker {
        return Some("a checker compares printed output, but the tests call a function".into());
    }
    let pairs = tests.inputs.iter().zip(tests.outputs.iter()).enumerate();
    pairs.into_iter().find_map(|(index, (input, output))| {
        let why = value(input, "input").or_else(|| value(output, "expected output"));
        let nothing = tests.function().is_none() && output == "null";
        let why = why.or_else(|| nothing.then(|| "has no expected output".into()))?;
        Some(format!("test {} {why}", index + 1))
    })
}

fn value(json: &str, what: &str) -> Option<String> {
    if json.len() > VALUE_BYTES_MAX {
        let bytes = json.len();
        return Some(format!("has an {what} of {bytes} bytes, more than {VALUE_BYTES_MAX}"));
    }
    // Half of a pair of surrogates is the one text that JSON can write and nobody can print.
    if json.starts_with('"')
        && json.contains("\\u")
        && let Err(why) = text(json)
    {
        return Some(format!("has an {what} that is no text: {why}"));
    }
    let plain = !json.starts_with(['[', '{']);
    (!plain && !is_shallow(json)).then(|| format!("has an {what} that is nested too deep"))
}

/// Whether Python could have a function of that name, and not one of its own.
fn is_function_name(name: &str) -> bool {
    let mut letters = name.chars();
    let begins = |letter: char| letter.is_alphabetic() || letter == '_';
    name.len() <= NAME_BYTES_MAX
        && letters.next().is_some_and(begins)
        && letters.all(|letter| letter.is_alphanumeric() || letter == '_')
        && !name.starts_with("__")
        && !KEYWORDS.contains(&name)
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::why_not;
    use crate::records::Tests;

    #[track_caller]
    fn check(tests: Value, why: Option<&str>) {
        let text = tests.to_string();
        let tests: Tests = serde_json::from_value(tests).unwrap();
        let found = why_not(&tests);
        match why {
            None => assert_eq!(found, None, "{text}"),
            Some(why) => assert!(found.as_deref().is_some_and(|f| f.contains(why)), "{found:?}"),
        }
    }

    #[test]
    fn tests_that_can_be_used() {
        check(json!({"inputs": ["1"], "outputs": ["1"]}), None);
        check(json!({"inputs": [null], "outputs": [""]}), None);
        check(json!({"inputs": [[1]], "outputs": [null], "fn_name": "größer_2"}), None);
    }

    #[test]
    fn tests_that_cannot_be_used_say_why() {
        check(json!({"inputs": [], "outputs": []}), Some("there are no tests"));
        check(json!({"inputs": ["1"], "outputs": []}), Some("1 inputs but 0 outputs"));
        check(json!({"inputs": ["1"], "outputs": [null]}), Some("test 1 has no expected output"));
        check(
            json!({"inputs": ["1"], "outputs": ["1"], "comparator": "call-json"}),
            Some("no `fn_name`"),
        );
    }

    #[test]
    fn a_function_name_is_a_name_and_no_code() {
        let long = "f".repeat(201);
        for name in [
            "__import__('os').system('id')",
            "__import__",
            "f(1)",
            "a.b",
            "a b",
            "lambda",
            "1f",
            "f\n",
            "f;import os",
            long.as_str(),
        ] {
            let tests = json!({"inputs": [[1]], "outputs": [1], "fn_name": name});
            check(tests, Some("cannot be the name of a function"));
        }
    }

    #[test]
    fn depth_has_a_limit() {
        let deep = format!("{}{}", "[".repeat(100_000), "]".repeat(100_000));
        let text = format!(r#"{{"inputs": ["", {deep}], "outputs": ["", ""]}}"#);
        let tests: Tests = serde_json::from_str(&text).unwrap();
        assert_eq!(why_not(&tests).unwrap(), "test 2 has an input that is nested too deep");
    }
}
