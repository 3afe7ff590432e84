//! Code as evalchemy's harness for LiveCodeBench decides: the one behind OpenThinker's scores.
//!
//! It executes the program inside itself with standard input and output that are text alone, and compares
//! outputs as trimmed text: twelve of 27 ways in common use to read and write fail.

use serde_json::Value;

use super::super::json::Json;
use super::{facade, openthoughts, python};

/// The facade behind which a program reads standard input.
const STDIN: &str = include_str!("evalchemy_stdin.py");

/// The facade behind which a function is called.
const CALL: &str = include_str!("evalchemy_call.py");

/// The code it takes from an answer.
pub(in super::super) fn last_code_block(text: &str) -> Option<&str> {
    let code = openthoughts::last_code_block(text)?;
    let code = code.split_once("</code>").map_or(code, |(before, _)| before);
    Some(code.split_once("```").map_or(code, |(before, _)| before))
}

/// The program that reads standard input, behind the facade.
pub(in super::super) fn program(source: &str) -> String {
    facade(STDIN, source, "")
}

/// The program whose function is called, behind the facade. Which one is not asked: it is the word
/// before the first parenthesis of the text.
pub(in super::super) fn module(source: &str) -> String {
    let head = source.split('(').next().unwrap_or_default();
    facade(CALL, source, head.split_whitespace().last().unwrap_or_default())
}

/// Trimmed text; a dash at the end of what is expected is cut off.
pub(in super::super) fn same_text(given: &str, expected: &str) -> bool {
    let expected = expected.trim();
    let expected = expected.strip_suffix('-').map_or(expected, str::trim_end);
    given.trim() == expected
}

/// What Python's `==` says.
pub(in super::super) fn same_value(given: &Value, expected: &Json) -> bool {
    python::equal(given, expected, 0)
}

#[cfg(test)]
mod tests {
    use super::{last_code_block, module, same_text};

    #[test]
    fn trimmed_text_and_nothing_else() {
        for (given, expected, same) in [
            ("5\n", " 5", true),
            ("1 2 \n3", "1 2\n3", false),
            ("0.50", "0.5", false),
            ("3", "3 -", true),
            ("3 -", "3 -", false),
        ] {
            assert_eq!(same_text(given, expected), same, "{given} for {expected}");
        }
    }

    #[test]
    fn the_function_is_the_word_before_the_first_parenthesis() {
        let named = |source: &str| module(source).lines().nth(1).map(str::to_owned);
        assert_eq!(named("def add(a, b):\n  return a + b").unwrap(), "NAME = \"add\"");
        assert_eq!(named("@lru_cache(None)\ndef f(a): pass").unwrap(), "NAME = \"@lru_cache\"");
        assert_eq!(named("").unwrap(), "NAME = \"\"");
    }

    #[test]
    fn marks_of_code_are_cut_off() {
        assert_eq!(last_code_block("```python\na</code>b\n```"), Some("a"));
        assert_eq!(last_code_block("```python3\na\n```"), None);
    }
}
