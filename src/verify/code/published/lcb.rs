//! Code as LiveCodeBench's own harness decides.
//!
//! It makes one function of the program and calls it with a standard input and output of its own making,
//! which some correct programs cannot read from or write to: eleven of 27 ways in common use fail.

use serde_json::Value;

use super::super::json::Json;
use super::{facade, python};

/// The facade behind which a program reads standard input.
const STDIN: &str = include_str!("lcb_stdin.py");

/// The facade behind which a function is called.
const CALL: &str = include_str!("lcb_call.py");

/// Processor time of one test: its harness allows six seconds.
pub(in super::super) const CPU_MS: u64 = 6000;

/// What is between the last two lines that contain three backticks.
pub(in super::super) fn last_code_block(text: &str) -> Option<&str> {
    let mut at = 0;
    let mut fences = Vec::new();
    for line in text.split_inclusive('\n') {
        if line.contains("```") {
            fences.push((at, at + line.len()));
        }
        at += line.len();
    }
    let [.., (_, start), (end, _)] = fences.as_slice() else { return None };
    text.get(*start..*end)
}

/// The program that reads standard input, behind the facade.
pub(in super::super) fn program(source: &str) -> String {
    facade(STDIN, source, "")
}

/// The program whose function `name` is called, behind the facade.
pub(in super::super) fn module(source: &str, name: &str) -> String {
    facade(CALL, source, name)
}

/// Line by line, trimmed; a line that differs counts if all of its words are equal numbers.
pub(in super::super) fn same_text(given: &str, expected: &str) -> bool {
    let lines = |text: &str| -> Vec<String> {
        text.trim().split('\n').map(|line| line.trim().to_owned()).collect()
    };
    let (given, expected) = (lines(given), lines(expected));
    let same = |(given, expected): (&String, &String)| {
        given == expected
            || matches!((decimals(given), decimals(expected)), (Some(a), Some(b)) if a == b)
    };
    given.len() == expected.len() && given.iter().zip(&expected).all(same)
}

/// What Python's `==` says, where an outermost tuple counts as a list.
pub(in super::super) fn same_value(given: &Value, expected: &Json) -> bool {
    python::equal(given, expected, 1)
}

/// A number, exactly: whether it is negative, its digits, and its power of ten.
type Decimal = (bool, String, i64);

fn decimals(line: &str) -> Option<Vec<Decimal>> {
    line.split_whitespace().map(exact).collect()
}

fn exact(word: &str) -> Option<Decimal> {
    let (negative, rest) = match word.as_bytes().first()? {
        b'-' => (true, &word[1..]),
        b'+' => (false, &word[1..]),
        _ => (false, word),
    };
    let (number, power) = match rest.split_once(['e', 'E']) {
        Some((number, power)) => (number, power.parse().ok()?),
        None => (rest, 0_i64),
    };
    let (whole, part) = number.split_once('.').unwrap_or((number, ""));
    let digits = format!("{whole}{part}");
    if digits.is_empty() || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let kept = digits.trim_end_matches('0');
    let zeros = (digits.len() - kept.len()) as i64;
    let kept = kept.trim_start_matches('0').to_owned();
    if kept.is_empty() {
        return Some((false, kept, 0));
    }
    let power = power.checked_sub(part.len() as i64)?.checked_add(zeros)?;
    Some((negative, kept, power))
}

#[cfg(test)]
mod tests {
    use super::{last_code_block, same_text};

    #[test]
    fn the_code_is_between_the_last_two_fences() {
        for (text, code) in [
            ("```python\na\n```", Some("a\n")),
            ("```\na\n```\nx\n```py\nb\n```\n", Some("b\n")),
            ("```python\na", None),
            ("```\na\n```\nunclosed ``` here", Some("unclosed"[..0].as_ref())),
            ("no code", None),
        ] {
            assert_eq!(last_code_block(text), code, "{text}");
        }
    }

    #[test]
    fn lines_count_and_decimals_are_exact() {
        for (given, expected, same) in [
            ("1 2 \n3", "1 2\n3", true),
            ("1 2 3", "1 2\n3", false),
            ("1.0", "1", true),
            ("1e2", "100.00", true),
            ("-0", "0", true),
            ("0.333333", "0.3333333", false),
            ("Yes", "YES", false),
            ("1 x", "1.0 x", false),
            ("100000000000000001", "100000000000000000", false),
            ("", "", true),
        ] {
            assert_eq!(same_text(given, expected), same, "{given} for {expected}");
        }
    }
}
