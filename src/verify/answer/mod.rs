//! Reads a math answer: integers, decimals, fractions, percent, lists of them; anything else is text.
//!
//! Exact: a decimal is a ratio of whole numbers, never a float. The full engine for LaTeX is its own
//! work; this one says `Text` where it does not understand, and text equals only the same text.

use num_bigint::BigInt;
use num_rational::BigRational;
use num_traits::{Signed, Zero};

/// Longest answer that is read; longer ones are text.
const ANSWER_BYTES_MAX: usize = 4096;

/// Largest power of ten that is multiplied out.
const EXPONENT_MAX: u32 = 4096;

/// Deepest nesting of lists and fractions.
const DEPTH_MAX: usize = 16;

/// What an answer says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Answer {
    /// An exact number, with its unit if one is written.
    Number(BigRational, Option<String>),
    /// Several answers in order, with the brackets around them.
    Ordered(char, Vec<Self>, char),
    /// Several answers, in any order.
    Unordered(Vec<Self>),
    /// Anything else, normalised.
    Text(String),
}

impl std::fmt::Display for Answer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let list =
            |items: &[Self]| items.iter().map(Self::to_string).collect::<Vec<_>>().join(", ");
        match self {
            Self::Number(value, None) => write!(f, "{value}"),
            Self::Number(value, Some(unit)) => write!(f, "{value} {unit}"),
            Self::Ordered(open, items, close) => write!(f, "{open}{}{close}", list(items)),
            Self::Unordered(items) => write!(f, "{{{}}}", list(items)),
            Self::Text(text) => f.write_str(text),
        }
    }
}

/// Whether two answers say the same. A unit counts only where both have one.
pub(crate) fn equal(a: &Answer, b: &Answer) -> bool {
    match (a, b) {
        (Answer::Number(a, unit_a), Answer::Number(b, unit_b)) => {
            a == b && (unit_a.is_none() || unit_b.is_none() || unit_a == unit_b)
        }
        (Answer::Ordered(open_a, a, close_a), Answer::Ordered(open_b, b, close_b)) => {
            open_a == open_b
                && close_a == close_b
                && a.len() == b.len()
                && a.iter().zip(b).all(|(a, b)| equal(a, b))
        }
        (Answer::Unordered(a), Answer::Unordered(b)) => equal_in_any_order(a, b),
        (Answer::Text(a), Answer::Text(b)) => a == b,
        (
            Answer::Number(..) | Answer::Ordered(..) | Answer::Unordered(_) | Answer::Text(_),
            Answer::Number(..) | Answer::Ordered(..) | Answer::Unordered(_) | Answer::Text(_),
        ) => false,
    }
}

fn equal_in_any_order(a: &[Answer], b: &[Answer]) -> bool {
    let mut left: Vec<&Answer> = b.iter().collect();
    a.len() == b.len()
        && a.iter().all(|item| {
            let found = left.iter().position(|other| equal(item, other));
            found.map(|at| left.swap_remove(at)).is_some()
        })
}

/// Reads `text`. None if nothing is left after normalising.
pub(crate) fn parse(text: &str) -> Option<Answer> {
    if text.len() > ANSWER_BYTES_MAX {
        return Some(Answer::Text(text.to_owned()));
    }
    let text = normalise(text);
    if text.is_empty() { None } else { Some(read(&text, 0)) }
}

/// Takes away what changes the look only.
fn normalise(text: &str) -> String {
    let mut text = text.replace('\u{2212}', "-");
    for gone in
        [r"\left", r"\right", r"\displaystyle", r"\!", r"\(", r"\)", r"\[", r"\]", r"\$", "$", "**"]
    {
        text = text.replace(gone, "");
    }
    for (from, to) in [
        (r"\dfrac", r"\frac"),
        (r"\tfrac", r"\frac"),
        (r"\cfrac", r"\frac"),
        (r"\mathrm", r"\text"),
        (r"\textbf", r"\text"),
        (r"\textit", r"\text"),
        (r"\mathbf", r"\text"),
        (r"\mbox", r"\text"),
        (r"\%", "%"),
        ("{,}", ","),
        (r"\,", " "),
        (r"\;", " "),
        (r"\:", " "),
        (r"\ ", " "),
        ("~", " "),
        (r"\quad", " "),
        (r"\cdot", r"\times"),
        (r"\lbrace", r"\{"),
        (r"\rbrace", r"\}"),
        (r"^{\circ}", r"\text{degrees}"),
        (r"^\circ", r"\text{degrees}"),
        (r"\degree", r"\text{degrees}"),
        (r"\dollar", ""),
    ] {
        text = text.replace(from, to);
    }
    text.trim().trim_end_matches(['.', ',', ';']).trim().to_owned()
}

fn read(text: &str, depth: usize) -> Answer {
    let text = strip_variable(text.trim());
    if depth >= DEPTH_MAX {
        return Answer::Text(plain(text));
    }
    if let Some(inner) =
        text.strip_prefix(r"\text").filter(|rest| closing(rest) == Some(rest.len() - 1))
    {
        return read(&inner[1..inner.len() - 1], depth + 1);
    }
    if let Some((value, unit)) = number_with_unit(text) {
        return Answer::Number(value, unit);
    }
    if let Some(list) = list(text, depth) {
        return list;
    }
    Answer::Text(plain(text))
}

/// `x = 5` answers with 5.
fn strip_variable(text: &str) -> &str {
    match text.split_once('=') {
        Some((name, value))
            if name.trim().len() == 1
                && name.trim().chars().all(|letter| letter.is_ascii_alphabetic())
                && !value.contains('=') =>
        {
            value.trim()
        }
        Some(_) | None => text,
    }
}

/// A number with an optional unit in `\text{…}`, a percent sign (which divides by 100) or a currency
/// sign.
fn number_with_unit(text: &str) -> Option<(BigRational, Option<String>)> {
    let (body, unit) = match text.find(r"\text{") {
        Some(at) if at > 0 && text.ends_with('}') => {
            let unit = text[at..].replace(r"\text{", " ").replace(['{', '}'], " ");
            (text[..at].trim(), Some(plain(&unit)))
        }
        Some(_) | None => (text, None),
    };
    let unit = unit.filter(|unit| !unit.is_empty());
    if let Some(percent) = body.strip_suffix('%') {
        return Some((number(percent.trim(), 0)? / BigRational::from_integer(100.into()), unit));
    }
    Some((number(body, 0)?, unit))
}

fn number(text: &str, depth: usize) -> Option<BigRational> {
    if depth >= DEPTH_MAX {
        return None;
    }
    let text = text.trim();
    let text = inside(text, '{', '}').unwrap_or(text);
    let text = text.trim();
    if let Some(rest) = text.strip_prefix('-') {
        // Two signs in a row are nobody's way to write a number.
        return if rest.trim_start().starts_with(['-', '+']) {
            None
        } else {
            Some(-number(rest, depth + 1)?)
        };
    }
    if let Some(rest) = text.strip_prefix('+') {
        return if rest.trim_start().starts_with(['-', '+']) {
            None
        } else {
            number(rest, depth + 1)
        };
    }
    if let Some((whole, rest)) = text.split_once(r"\frac") {
        let fraction = latex_fraction(rest, depth)?;
        return mixed(whole.trim(), fraction);
    }
    if let Some((above, below)) = text.split_once('/') {
        let (whole, above) = match above.trim().rsplit_once(' ') {
            Some((whole, above)) if !below.contains('/') => (whole, above),
            Some(_) | None => ("", above),
        };
        return mixed(whole, ratio(number(above, depth + 1)?, &number(below, depth + 1)?)?);
    }
    if let Some((factor, power)) = text.split_once(r"\times") {
        let exponent = power.trim().strip_prefix("10^")?;
        return Some(decimal(factor.trim())? * power_of_ten(exponent)?);
    }
    if let Some((factor, exponent)) = text.split_once(['e', 'E']) {
        return Some(decimal(factor)? * power_of_ten(exponent)?);
    }
    decimal(text)
}

/// `whole` and a fraction beside it: their sum.
fn mixed(whole: &str, fraction: BigRational) -> Option<BigRational> {
    if whole.is_empty() {
        return Some(fraction);
    }
    let whole = digits(whole)?;
    let proper = !fraction.is_negative() && fraction < BigRational::from_integer(1.into());
    proper.then(|| BigRational::from_integer(whole) + fraction)
}

/// What follows `\frac`: `{a}{b}`, `12`, `{a}2`, `1{b}`.
fn latex_fraction(rest: &str, depth: usize) -> Option<BigRational> {
    let (above, rest) = argument(rest.trim_start())?;
    let (below, rest) = argument(rest.trim_start())?;
    if !rest.trim().is_empty() {
        return None;
    }
    ratio(number(above, depth + 1)?, &number(below, depth + 1)?)
}

/// One argument of a LaTeX command: a group or one character.
fn argument(text: &str) -> Option<(&str, &str)> {
    if !text.starts_with('{') {
        let first = text.chars().next()?;
        return Some(text.split_at(first.len_utf8()));
    }
    let close = closing(text)?;
    Some((&text[1..close], &text[close + 1..]))
}

/// Where the group that opens `text` closes.
fn closing(text: &str) -> Option<usize> {
    let mut depth = 0_usize;
    for (at, byte) in text.bytes().enumerate() {
        match byte {
            b'{' | b'(' | b'[' => depth += 1,
            b'}' | b')' | b']' => {
                depth = depth.checked_sub(1)?;
                if depth == 0 {
                    return Some(at);
                }
            }
            _ => {}
        }
    }
    None
}

fn ratio(above: BigRational, below: &BigRational) -> Option<BigRational> {
    if below.is_zero() { None } else { Some(above / below) }
}

fn power_of_ten(exponent: &str) -> Option<BigRational> {
    let exponent = exponent.trim();
    let exponent = inside(exponent, '{', '}').unwrap_or(exponent).trim();
    let exponent: i32 = exponent.parse().ok()?;
    let size = exponent.unsigned_abs();
    if size > EXPONENT_MAX {
        return None;
    }
    let power = BigRational::from_integer(BigInt::from(10).pow(size));
    Some(if exponent < 0 { power.recip() } else { power })
}

fn decimal(text: &str) -> Option<BigRational> {
    let text = text.trim().trim_start_matches(r"\$");
    let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
    if whole.is_empty() && fraction.is_empty() {
        return None;
    }
    if !fraction.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let whole = if whole.is_empty() { BigInt::zero() } else { digits(whole)? };
    let scale = BigInt::from(10).pow(u32::try_from(fraction.len()).ok()?);
    let part: BigInt = if fraction.is_empty() { BigInt::zero() } else { fraction.parse().ok()? };
    Some(BigRational::new(whole * &scale + part, scale))
}

/// Digits, with thousands separated by commas or spaces in groups of three.
fn digits(text: &str) -> Option<BigInt> {
    let groups: Vec<&str> = text.split([',', ' ']).collect();
    let grouped = groups.len() == 1
        || (!groups[0].is_empty()
            && groups[0].len() <= 3
            && groups[1..].iter().all(|group| group.len() == 3));
    let whole = groups.concat();
    let numeric = !whole.is_empty() && whole.bytes().all(|byte| byte.is_ascii_digit());
    if grouped && numeric { whole.parse().ok() } else { None }
}

/// `text` without the pair of brackets around all of it.
fn inside(text: &str, open: char, close: char) -> Option<&str> {
    let inner = text.strip_prefix(open)?.strip_suffix(close)?;
    (closing(text)? + close.len_utf8() == text.len()).then_some(inner)
}

fn list(text: &str, depth: usize) -> Option<Answer> {
    if let Some(inner) = text.strip_prefix(r"\{").and_then(|rest| rest.strip_suffix(r"\}")) {
        return Some(Answer::Unordered(items(inner, depth)));
    }
    let ends = (text.chars().next()?, text.chars().next_back()?);
    if matches!(ends, ('(' | '[', ')' | ']')) && closing(text) == Some(text.len() - 1) {
        let items = items(&text[1..text.len() - 1], depth);
        if items.len() > 1 {
            return Some(Answer::Ordered(ends.0, items, ends.1));
        }
        // A choice in brackets, `(B)`, is the choice.
        let single = items.into_iter().next()?;
        return (ends == ('(', ')')).then_some(single);
    }
    let items = items(text, depth);
    (items.len() > 1).then_some(Answer::Unordered(items))
}

/// The parts of `text` between commas outside of brackets.
fn items(text: &str, depth: usize) -> Vec<Answer> {
    let mut items = Vec::new();
    let (mut nesting, mut start) = (0_i32, 0);
    for (at, byte) in text.bytes().enumerate() {
        match byte {
            b'{' | b'(' | b'[' => nesting += 1,
            b'}' | b')' | b']' => nesting -= 1,
            b',' if nesting == 0 => {
                items.push(read(&text[start..at], depth + 1));
                start = at + 1;
            }
            _ => {}
        }
    }
    items.push(read(&text[start..], depth + 1));
    items
}

/// Text for comparing: no spaces, no `\text`, words in lower case.
fn plain(text: &str) -> String {
    let text = text.replace(r"\text", "");
    let words = text.contains(|letter: char| letter.is_alphabetic()) && !text.contains('\\');
    let ungrouped = if words { text.replace(['{', '}'], "") } else { text };
    let joined: String = ungrouped.split_whitespace().collect();
    // A single letter may be a variable, where case matters; a word is a word.
    let is_word = joined.chars().count() > 1 && joined.chars().all(char::is_alphabetic);
    if is_word { joined.to_lowercase() } else { joined }
}

#[cfg(test)]
mod tests;
