//! Code as the published verifier of OpenThoughts decides.
//!
//! Its per-test results are numbers of which all but 0 count as true: time-outs (-1), programs that do
//! not compile (-2) and calls that raise (-3) are stored as correct. The exit status does not count,
//! and outputs are compared as sets where they differ as text.

use std::collections::BTreeSet;
use std::sync::LazyLock;

use regex::Regex;

use super::super::json::Json;
use super::python;
use crate::sandbox::{Ended, Run};

/// A fence of three backticks with a tag of letters only, as published: `python3` opens nothing.
static BLOCK: LazyLock<Regex> =
    LazyLock::new(|| Regex::new(r"(?s)```[a-zA-Z]*\n(.*?)```").expect("the pattern is a constant"));

/// What every program finds imported. `np` is left out where there is no numpy.
const PREAMBLE: &str = "import sys, time, itertools, collections, math, random, heapq, fractions
from itertools import accumulate, product, permutations, combinations
from collections import Counter, OrderedDict, deque, defaultdict, ChainMap
from functools import lru_cache
from math import sqrt, sin, cos, tan, ceil, fabs, floor, gcd, exp, log, log2
from typing import List, Tuple
from heapq import *
try:
    import numpy as np
except ImportError:
    pass
";

/// The last code block by the published pattern.
pub(in super::super) fn last_code_block(text: &str) -> Option<&str> {
    BLOCK.captures_iter(text).last()?.get(1).map(|found| found.as_str())
}

/// The program that reads standard input, as it is executed: what it imports first stays first.
pub(in super::super) fn program(source: &str) -> String {
    let (imports, rest) = split_imports(source);
    format!("{imports}{PREAMBLE}stdin = sys.stdin\nstdout = sys.stdout\n{rest}")
}

/// The program whose function is called.
pub(in super::super) fn module(source: &str) -> String {
    let (imports, rest) = split_imports(source);
    format!("{imports}{PREAMBLE}{rest}")
}

/// What is compiled to see whether a program is Python: all that follows the first imports becomes the
/// body of a function.
pub(in super::super) fn compiled(source: &str) -> String {
    let (imports, rest) = split_imports(source);
    let body: Vec<String> = rest.split('\n').map(|line| format!("\t{line}")).collect();
    format!("{imports}{PREAMBLE}def code():\n{}", body.join("\n"))
}

fn split_imports(source: &str) -> (&str, &str) {
    let mut end = 0;
    for line in source.split_inclusive('\n') {
        if !(line.starts_with("import ") || line.starts_with("from ")) {
            break;
        }
        end += line.len();
    }
    let (imports, rest) = source.split_at(end);
    if imports.is_empty() || imports.ends_with('\n') { (imports, rest) } else { ("", source) }
}

/// What one run counts for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in super::super) enum Counts {
    /// True, and the next test is run.
    True,
    /// True, and the rest is not run.
    TrueAndDone,
    /// False.
    False,
    /// The published harness waits for ever for the process that the program ended.
    Hangs,
}

/// The published decision on a run of a program that reads standard input.
pub(in super::super) fn decide(run: &Run, expected: &str) -> Counts {
    match &run.ended {
        Ended::CpuTimeLimit | Ended::WallTimeLimit => Counts::TrueAndDone,
        Ended::Normally
        | Ended::CompileError(_)
        | Ended::RuntimeError(_)
        | Ended::MemoryLimit
        | Ended::OutputLimit
        | Ended::Forbidden(_) => {
            if same_text(&String::from_utf8_lossy(&run.stdout), expected) {
                Counts::True
            } else {
                Counts::False
            }
        }
    }
}

/// The published decision on a call.
pub(in super::super) fn decide_call(run: &Run, expected: &Json) -> Counts {
    match (&run.ended, &run.value) {
        (Ended::Normally, Some(given)) => {
            let first = match expected {
                Json::List(items) => items.first(),
                Json::Null | Json::Bool(_) | Json::Number(_) | Json::Text(_) | Json::Map(_) => None,
            };
            let same = python::equal(given, expected, 2)
                || first.is_some_and(|first| python::equal(given, first, 2));
            if same { Counts::True } else { Counts::False }
        }
        (Ended::Normally, None) => Counts::Hangs,
        (Ended::RuntimeError(_), _)
            if run.exit_status.is_some() && !run.stderr.contains("Traceback (most recent call") =>
        {
            Counts::Hangs
        }
        (
            Ended::RuntimeError(_)
            | Ended::CompileError(_)
            | Ended::CpuTimeLimit
            | Ended::WallTimeLimit
            | Ended::MemoryLimit
            | Ended::OutputLimit
            | Ended::Forbidden(_),
            _,
        ) => Counts::TrueAndDone,
    }
}

fn same_text(given: &str, expected: &str) -> bool {
    given.trim() == expected.trim()
        || characters(given) == lines(expected)
        || matches!(
            (rounded_digits(given), rounded_lines(expected)),
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

#[cfg(test)]
mod tests {
    use super::{compiled, last_code_block, program, same_text};

    #[test]
    fn the_last_block_by_the_published_pattern() {
        for (text, code) in [
            ("```python\na\n```", Some("a\n")),
            ("```python\na\n```\n```py\nb\n```", Some("b\n")),
            ("```python3\na\n```", None),
            ("```c++\na\n```", None),
            ("```\na\n```", Some("a\n")),
            ("```python\na", None),
            ("~~~\na\n~~~", None),
        ] {
            assert_eq!(last_code_block(text), code, "{text}");
        }
    }

    #[test]
    fn outputs_are_sets_of_characters_where_they_differ() {
        for (given, expected, same) in [
            ("0\n1", "1\n0\n1\n1", true),
            ("12", "1 2", true),
            ("3", "3\n3\n3", true),
            ("2\n1", "1\n2", true),
            ("0.50000", "0.5", false),
            ("1 2 \n3 ", "1 2\n3", false),
            ("2 1", "1 2", false),
            ("4", "5", false),
        ] {
            assert_eq!(same_text(given, expected), same, "{given} for {expected}");
        }
    }

    #[test]
    fn imports_that_come_first_stay_first() {
        let text = program("from __future__ import annotations\nimport os\nprint(1)\nimport re");
        assert!(text.starts_with("from __future__ import annotations\nimport os\nimport sys"));
        assert!(text.ends_with("stdout = sys.stdout\nprint(1)\nimport re"));
        assert!(compiled("import os\nprint(1)").ends_with("def code():\n\tprint(1)"));
        assert!(program("import os").ends_with("stdout = sys.stdout\nimport os"));
    }
}
