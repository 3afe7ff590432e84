//! Code as the published verifier of OpenThoughts decides, for comparing counts.
//!
//! Its per-test results are numbers of which all but 0 count as true: time-outs (-1), programs that do
//! not compile (-2) and calls that raise (-3) are stored as correct. The exit status does not count,
//! and outputs are compared as sets where they differ as text. Programs still run in our sandbox:
//! decisions are reproduced, not the lack of limits.

use std::collections::BTreeSet;
use std::sync::LazyLock;

use regex::Regex;
use serde_json::Value;

use super::code::{self, Outcome};
use super::{Attempt, Judgement, Mode, Tools, Verifier, output};
use crate::records::{Domain, NewQuestion};
use crate::sandbox::{Ended, Run};

/// The published decision on programs.
pub(super) struct OpenThoughtsCode;

impl Verifier for OpenThoughtsCode {
    fn name(&self) -> &'static str {
        "code_openthoughts"
    }

    fn version(&self) -> u32 {
        1
    }

    fn modes(&self) -> &'static [Mode] {
        &[Mode::Upstream]
    }

    fn accepts(&self, question: &NewQuestion) -> bool {
        question.domain == Domain::Code
    }

    fn verify(
        &self,
        question: &NewQuestion,
        attempt: &Attempt<'_>,
        tools: &Tools,
    ) -> anyhow::Result<Judgement> {
        code::verify_program(question, attempt, tools)
    }
}

/// A fence of three backticks with a tag of letters only, as published: `python3` opens nothing.
static BLOCK: LazyLock<Regex> =
    LazyLock::new(|| Regex::new(r"(?s)```[a-zA-Z]*\n(.*?)```").expect("the pattern is a constant"));

/// The last code block by the published pattern.
pub(super) fn last_code_block(text: &str) -> Option<&str> {
    BLOCK.captures_iter(text).last()?.get(1).map(|found| found.as_str())
}

/// The published decision on one run: whether it counts as true, and whether the next test is run.
pub(super) fn decide(run: &Run, expected: &Value, called: bool) -> (bool, bool) {
    match &run.ended {
        Ended::CpuTimeLimit | Ended::WallTimeLimit | Ended::CompileError(_) => (true, false),
        Ended::RuntimeError(_) | Ended::MemoryLimit | Ended::Forbidden(_) | Ended::OutputLimit
            if called =>
        {
            (true, false)
        }
        Ended::Normally
        | Ended::RuntimeError(_)
        | Ended::MemoryLimit
        | Ended::OutputLimit
        | Ended::Forbidden(_) => {
            let same = if called { same_value(run, expected) } else { same_text(run, expected) };
            (same, same)
        }
    }
}

fn same_value(run: &Run, expected: &Value) -> bool {
    let Some(given) = &run.value else { return true };
    let first = expected.as_array().and_then(|items| items.first());
    output::same_value(given, expected)
        || first.is_some_and(|first| output::same_value(given, first))
}

fn same_text(run: &Run, expected: &Value) -> bool {
    let given = String::from_utf8_lossy(&run.stdout);
    let expected = output::text(expected);
    given.trim() == expected.trim()
        || characters(&given) == lines(&expected)
        || matches!(
            (rounded_digits(&given), rounded_lines(&expected)),
            (Some(given), Some(expected)) if given == expected
        )
}

/// The set of the sets of characters of each token.
fn characters(text: &str) -> BTreeSet<BTreeSet<String>> {
    text.split_whitespace().map(|token| token.chars().map(String::from).collect()).collect()
}

/// The set of the sets of tokens of each line that is not empty.
fn lines(text: &str) -> BTreeSet<BTreeSet<String>> {
    text.split('\n')
        .filter(|line| !line.is_empty())
        .map(|line| line.split_whitespace().map(str::to_owned).collect())
        .collect()
}

/// [`characters`] as numbers in thousandths, if all of them are digits.
fn rounded_digits(text: &str) -> Option<BTreeSet<BTreeSet<i64>>> {
    let number = |letter: char| letter.to_digit(10).map(|digit| i64::from(digit) * 1000);
    text.split_whitespace().map(|token| token.chars().map(number).collect()).collect()
}

/// [`lines`] as numbers in thousandths, if all of them are numbers.
fn rounded_lines(text: &str) -> Option<BTreeSet<BTreeSet<i64>>> {
    let number = |token: &str| {
        let value: f64 = token.parse().ok().filter(|value: &f64| value.is_finite())?;
        Some((value * 1000.0).round() as i64)
    };
    text.split('\n')
        .filter(|line| !line.is_empty())
        .map(|line| line.split_whitespace().map(number).collect())
        .collect()
}

/// What the published code would call the outcome, for the report.
pub(super) fn outcome(run: &Run, counts: bool) -> Outcome {
    match code::outcome_of(&run.ended) {
        Some(outcome) => outcome,
        None if counts => Outcome::Passed,
        None => Outcome::WrongAnswer,
    }
}
