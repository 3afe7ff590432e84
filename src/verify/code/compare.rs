//! Compares what a program printed with what it should have printed, by the problem's comparator.
//!
//! Never sets, never the first element only: multiplicity counts in every rule. Output is bytes; what is
//! no text differs. `published` has the rules of other harnesses.

use std::cmp::Ordering;

use crate::records::{Comparator, Tests, Tolerance};

/// How outputs are compared.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Comparison {
    pub(crate) comparator: Comparator,
    pub(crate) tolerance: Tolerance,
}

impl Comparison {
    /// What the tests ask for.
    pub(crate) fn of(tests: &Tests) -> Self {
        Self { comparator: tests.comparator(), tolerance: tests.tolerance.unwrap_or_default() }
    }

    /// Whether letters of either case are the same.
    pub(super) fn folds_case(&self) -> bool {
        self.comparator == Comparator::TokensCi
    }

    /// Whether order does not count.
    pub(super) fn is_unordered(&self) -> bool {
        matches!(self.comparator, Comparator::LinesUnordered | Comparator::TokensUnordered)
    }

    /// Whether `given` is within the tolerance of `expected`.
    pub(super) fn close(&self, given: f64, expected: f64) -> bool {
        let Tolerance { abs, rel } = self.tolerance;
        (given - expected).abs() <= abs.max(rel * expected.abs())
    }
}

/// Where two outputs differ first.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Difference {
    /// The token, or the line for rules that go by line, from 1.
    pub(crate) position: u64,
    /// For people.
    pub(crate) why: String,
}

/// Whether `given` is `expected` by a rule that needs no program. Else the first difference.
pub(crate) fn same_text(given: &[u8], expected: &str, how: &Comparison) -> Result<(), Difference> {
    match how.comparator {
        Comparator::ExactTrim => same_lines(given, expected),
        Comparator::Tokens | Comparator::TokensCi | Comparator::Float => {
            same_sequence("token", tokens(given), tokens(expected.as_bytes()), |given, expected| {
                same_token(given, expected, how)
            })
        }
        Comparator::TokensUnordered => {
            let (given, expected) = (sorted(tokens(given)), sorted(tokens(expected.as_bytes())));
            same_sequence("sorted token", given, expected, |given, expected| {
                same_token(given, expected, how)
            })
        }
        Comparator::LinesUnordered => unordered_lines(given, expected, how),
        // A checker is run and a call is compared as data: neither is asked for here.
        Comparator::Checker | Comparator::CallJson => Err(Difference {
            position: 0,
            why: format!("`{}` does not compare text", how.comparator.name()),
        }),
    }
}

fn tokens(text: &[u8]) -> impl Iterator<Item = &[u8]> {
    text.split(u8::is_ascii_whitespace).filter(|token| !token.is_empty())
}

fn same_sequence<'a>(
    what: &str,
    given: impl IntoIterator<Item = &'a [u8]>,
    expected: impl IntoIterator<Item = &'a [u8]>,
    same: impl Fn(&[u8], &[u8]) -> bool,
) -> Result<(), Difference> {
    let (mut given, mut expected) = (given.into_iter(), expected.into_iter());
    let mut position = 0;
    loop {
        position += 1;
        let why = match (given.next(), expected.next()) {
            (None, None) => return Ok(()),
            (None, Some(expected)) => {
                format!("output ends before {what} {position}, `{}`", short(expected))
            }
            (Some(given), None) => {
                format!("output goes on with {what} {position}, `{}`", short(given))
            }
            (Some(given), Some(expected)) if same(given, expected) => continue,
            (Some(given), Some(expected)) => {
                let (given, expected) = (short(given), short(expected));
                format!("{what} {position} is `{given}`, expected `{expected}`")
            }
        };
        return Err(Difference { position, why });
    }
}

fn short(token: &[u8]) -> String {
    String::from_utf8_lossy(&token[..token.len().min(200)]).chars().take(40).collect()
}

fn same_token(given: &[u8], expected: &[u8], how: &Comparison) -> bool {
    if given == expected || how.folds_case() && fold(given) == fold(expected) {
        return true;
    }
    match (whole(given), whole(expected)) {
        // A stated tolerance of one or more is meant for whole numbers too.
        (Some(_), Some(_)) if how.comparator == Comparator::Float && how.tolerance.abs >= 1.0 => {
            matches!((decimal(given), decimal(expected)), (Some(a), Some(b)) if how.close(a, b))
        }
        (Some(given), Some(expected)) => given == expected,
        _ => matches!((decimal(given), decimal(expected)), (Some(a), Some(b)) if how.close(a, b)),
    }
}

fn fold(token: &[u8]) -> String {
    String::from_utf8_lossy(token).to_lowercase()
}

/// Sign and digits of a whole number, without leading zeros.
pub(super) fn whole(token: &[u8]) -> Option<(bool, &[u8])> {
    let (negative, digits) = match token {
        [b'-', digits @ ..] => (true, digits),
        [b'+', digits @ ..] | digits => (false, digits),
    };
    if digits.is_empty() || !digits.iter().all(u8::is_ascii_digit) {
        return None;
    }
    let zeros = digits.iter().take_while(|digit| **digit == b'0').count();
    let digits = &digits[zeros..];
    Some((negative && !digits.is_empty(), digits))
}

/// A finite number. Rust reads `inf` and `nan` as numbers; here they are words.
pub(super) fn decimal(token: &[u8]) -> Option<f64> {
    let numeric =
        token.iter().all(|byte| matches!(byte, b'0'..=b'9' | b'+' | b'-' | b'.' | b'e' | b'E'));
    if !numeric {
        return None;
    }
    std::str::from_utf8(token).ok()?.parse().ok().filter(|value: &f64| value.is_finite())
}

/// Lines without blanks and carriage returns at their ends, without empty ones at the end.
fn trimmed_lines(text: &[u8]) -> Vec<&[u8]> {
    let mut lines: Vec<&[u8]> =
        text.split(|byte| *byte == b'\n').map(<[u8]>::trim_ascii_end).collect();
    while lines.last().is_some_and(|line| line.is_empty()) {
        lines.pop();
    }
    lines
}

fn same_lines(given: &[u8], expected: &str) -> Result<(), Difference> {
    let (given, expected) = (trimmed_lines(given), trimmed_lines(expected.as_bytes()));
    same_sequence("line", given, expected, |given, expected| given == expected)
}

/// Sorts so that tokens that are the same number stand at the same place.
fn sorted<'a>(tokens: impl Iterator<Item = &'a [u8]>) -> Vec<&'a [u8]> {
    let mut tokens: Vec<&[u8]> = tokens.collect();
    tokens.sort_by(|a, b| order(a, b));
    tokens
}

/// Numbers by value, then texts. Whole numbers are told apart at any size.
fn order(a: &[u8], b: &[u8]) -> Ordering {
    match (decimal(a), decimal(b)) {
        (Some(x), Some(y)) => x.total_cmp(&y).then_with(|| match (whole(a), whole(b)) {
            (Some((_, x)), Some((_, y))) => x.len().cmp(&y.len()).then_with(|| x.cmp(y)),
            _ => Ordering::Equal,
        }),
        (Some(_), None) => Ordering::Less,
        (None, Some(_)) => Ordering::Greater,
        (None, None) => a.cmp(b),
    }
}

fn unordered_lines(given: &[u8], expected: &str, how: &Comparison) -> Result<(), Difference> {
    let lines = |text| {
        let mut lines: Vec<Vec<&[u8]>> = trimmed_lines(text)
            .into_iter()
            .map(|line| tokens(line).collect::<Vec<_>>())
            .filter(|line| !line.is_empty())
            .collect();
        lines.sort_by(|a, b| {
            let pairs = a.iter().zip(b).map(|(a, b)| order(a, b));
            pairs.fold(Ordering::Equal, Ordering::then).then(a.len().cmp(&b.len()))
        });
        lines
    };
    let (given, expected) = (lines(given), lines(expected.as_bytes()));
    if given.len() != expected.len() {
        let why = format!("output has {} lines, expected {}", given.len(), expected.len());
        return Err(Difference { position: given.len().min(expected.len()) as u64 + 1, why });
    }
    for (index, (given, expected)) in given.iter().zip(&expected).enumerate() {
        let same = given.len() == expected.len()
            && given.iter().zip(expected).all(|(given, expected)| same_token(given, expected, how));
        if !same {
            let position = index as u64 + 1;
            let (given, expected) = (short(&given.join(&b' ')), short(&expected.join(&b' ')));
            let why = format!("sorted line {position} is `{given}`, expected `{expected}`");
            return Err(Difference { position, why });
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::{Comparison, same_text};
    use crate::records::{Comparator, Tolerance};
    use Comparator::{ExactTrim, Float, LinesUnordered, Tokens, TokensCi, TokensUnordered};

    #[track_caller]
    fn check(comparator: Comparator, given: &str, expected: &str, same: bool) {
        let how = Comparison { comparator, tolerance: Tolerance::default() };
        let found = same_text(given.as_bytes(), expected, &how);
        assert_eq!(found.is_ok(), same, "{comparator:?}: {given:?} for {expected:?}: {found:?}");
    }

    #[test]
    fn blanks_do_not_matter_and_order_does() {
        check(Tokens, "1 2 \n3 \r\n", "1 2\n3", true);
        check(Tokens, "2 1", "1 2", false);
        check(Tokens, "12", "1 2", false);
        check(Tokens, "0\n1", "1\n0\n1\n1", false);
        check(Tokens, "3", "3\n3\n3", false);
        check(Tokens, "Yes", "YES", false);
        check(Tokens, "", "", true);
        check(Tokens, "", "1", false);
    }

    #[test]
    fn whole_numbers_are_exact_and_decimals_close() {
        check(Tokens, "100000000000000001", "100000000000000000", false);
        check(Tokens, "007", "7", true);
        check(Tokens, "-0", "0", true);
        check(Tokens, "+5", "5", true);
        check(Tokens, "0.50000", "0.5", true);
        check(Tokens, "0.3333333333", "0.33333333333333", true);
        check(Tokens, "1e-05", "0.00001", true);
        check(Tokens, "1.0", "1", true);
        check(Tokens, "-0.0", "0", true);
        check(Tokens, "0.5001", "0.5", false);
        check(Tokens, "nan", "NaN", false);
        check(Tokens, "nan", "nan", true);
        check(Tokens, "inf", "1e999", false);
    }

    #[test]
    fn letters_of_either_case_are_the_same_only_if_asked_for() {
        check(TokensCi, "Yes\nno", "YES\nNO", true);
        check(TokensCi, "Ja", "YES", false);
        check(TokensCi, "yes 0.50", "YES 0.5", true);
    }

    #[test]
    fn exact_lines_forgive_blanks_at_the_end_alone() {
        check(ExactTrim, "1 2  \r\n3\n\n", "1 2\n3", true);
        check(ExactTrim, "1  2", "1 2", false);
        check(ExactTrim, " 1", "1", false);
        check(ExactTrim, "1\n\n2", "1\n2", false);
        check(ExactTrim, "1.0", "1", false);
    }

    #[test]
    fn without_order_how_often_still_counts() {
        check(TokensUnordered, "3 1 2", "1 2\n3", true);
        check(TokensUnordered, "0 1", "1 0 1 1", false);
        check(TokensUnordered, "1 1 2", "1 2 2", false);
        check(TokensUnordered, "b 10 9 a", "9 10 a b", true);
        check(TokensUnordered, "100000000000000001 5", "5 100000000000000000", false);
        check(LinesUnordered, "b 1\na 2\n", "a 2\nb 1", true);
        check(LinesUnordered, "1 b\n2 a", "a 2\nb 1", false);
        check(LinesUnordered, "1\n1\n2", "1\n2\n2", false);
        check(LinesUnordered, "10 0.50\n9 x", "9 x\n10 0.5", true);
        check(LinesUnordered, "1", "1\n1", false);
    }

    #[test]
    fn a_stated_tolerance_is_absolute_or_relative() {
        let check = |abs, rel, given: &str, expected: &str, same| {
            let how = Comparison { comparator: Float, tolerance: Tolerance { abs, rel } };
            let found = same_text(given.as_bytes(), expected, &how).is_ok();
            assert_eq!(found, same, "{given} for {expected} within {abs} or {rel}");
        };
        check(1e-3, 0.0, "3.1415", "3.1419", true);
        check(1e-3, 0.0, "3141.5", "3141.9", false);
        check(0.0, 1e-3, "3141.5", "3141.9", true);
        check(1e-3, 1e-3, "7", "8", false);
        check(1.0, 0.0, "7", "8", true);
        check(1.0, 0.0, "nan", "8", false);
    }

    #[test]
    fn bytes_that_are_no_text_are_wrong_and_the_place_is_told() {
        let how = Comparison { comparator: Tokens, tolerance: Tolerance::default() };
        let found = same_text(b"1\n2 \xff\xfe", "1\n2 3", &how).unwrap_err();
        assert_eq!(found.position, 3);
        assert!(found.why.starts_with("token 3 is `"), "{}", found.why);
        assert!(same_text("\u{feff}1".as_bytes(), "1", &how).is_err());
        assert!(same_text(b"1\0", "1", &how).is_err());
    }
}
