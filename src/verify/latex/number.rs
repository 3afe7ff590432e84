//! How numbers are written: thousands in groups, powers of ten, bases, fractions beside a whole.

use num_bigint::BigInt;
use num_rational::BigRational;
use num_traits::{One, Signed, Zero};

use super::tree::Node;

/// The number that `text` begins with: how many bytes it takes, and its digits without grouping
/// (`1234.5e3`). `commas` says whether a comma may group digits; in brackets it separates items.
pub(crate) fn literal(text: &str, commas: bool) -> (usize, String) {
    let (mut length, mut digits) = grouped(text, commas);
    let rest = &text[length..];
    if let Some(fraction) = rest.strip_prefix('.') {
        let count = fraction.bytes().take_while(u8::is_ascii_digit).count();
        // "5." ends a sentence; "0.\overline{3}" goes on.
        let goes_on = fraction.starts_with(r"\overline")
            || fraction.starts_with(r"\dot{")
            || fraction.starts_with(r"\bar")
            || fraction.starts_with('(');
        if count > 0 || goes_on {
            digits.push('.');
            digits.push_str(&fraction[..count]);
            length += 1 + count;
        }
    }
    if let Some((taken, exponent)) = exponent(&text[length..]) {
        digits.push_str(&exponent);
        length += taken;
    }
    (length, digits)
}

/// `e-5` directly behind digits.
fn exponent(text: &str) -> Option<(usize, String)> {
    let rest = text.strip_prefix(['e', 'E'])?;
    let (sign, rest) = match rest.strip_prefix(['+', '-']) {
        Some(digits) => (&rest[..1], digits),
        None => ("", rest),
    };
    let count = rest.bytes().take_while(u8::is_ascii_digit).count();
    let ends = !rest[count..].starts_with(|next: char| next.is_ascii_alphabetic() || next == '.');
    ((1..=9).contains(&count) && ends)
        .then(|| (1 + sign.len() + count, format!("e{sign}{}", &rest[..count])))
}

/// Digits, with thousands separated by commas, thin spaces or spaces in groups of three.
fn grouped(text: &str, commas: bool) -> (usize, String) {
    let first = text.bytes().take_while(u8::is_ascii_digit).count();
    let mut digits = text[..first].to_owned();
    let plain = (first, digits.clone());
    if first == 0 || first > 3 || (first > 1 && text.starts_with('0')) || text.starts_with("0,") {
        return plain;
    }
    let mut at = first;
    while let Some((width, strong)) = separator(&text[at..]) {
        let group = &text[at + width..];
        let count = group.bytes().take_while(u8::is_ascii_digit).count();
        if !strong && !commas {
            break;
        }
        if count != 3 {
            // `1,2,345` is a list, and so is all of it.
            return if strong || count == 0 { (at, digits) } else { plain };
        }
        digits.push_str(&group[..3]);
        at += width + 3;
    }
    (at, digits)
}

/// What separates groups of digits: its length, and whether it can be nothing else.
fn separator(text: &str) -> Option<(usize, bool)> {
    for strong in [
        r"{,}", r",\!", r"\,", r"\!", r"{\,}", " {,} ", r"\ ", r"{ }", "~", r"\;", r"\:", " {, }",
        "{, }",
    ] {
        if let Some(rest) = text.strip_prefix(strong) {
            let spaces = rest.len() - rest.trim_start_matches([' ', '~']).len();
            return Some((strong.len() + spaces, true));
        }
    }
    // Twice escaped, as in JSON.
    for strong in [r",\\!", r"\\,"] {
        if text.starts_with(strong) {
            return Some((strong.len(), true));
        }
    }
    if text.starts_with(',') {
        return Some((1, false));
    }
    let spaced = text.strip_prefix(' ')?;
    let count = spaced.bytes().take_while(u8::is_ascii_digit).count();
    // "12 345.5", but not "12 345/7": that is a whole number beside a fraction.
    let rest = &spaced[count..];
    (count == 3 && !rest.trim_start().starts_with('/')).then_some((1, true))
}

/// The number whose digits in base `radix` are those of `value`.
pub(super) fn in_base(value: &BigRational, radix: &BigRational) -> Option<BigRational> {
    let radix: u32 = u32::try_from(radix.to_integer()).ok().filter(|r| (2..=36).contains(r))?;
    if !value.is_integer() {
        return None;
    }
    let digits = value.to_integer().abs().to_string();
    let read = BigInt::parse_bytes(digits.as_bytes(), radix)?;
    let read = BigRational::from_integer(read);
    Some(if value.is_negative() { -read } else { read })
}

/// A whole number beside a proper fraction is their sum.
pub(super) fn mixed(whole: &BigRational, above: &Node, below: &Node) -> Option<Node> {
    let (Node::Number { value: above, places: None }, Node::Number { value: below, places: None }) =
        (above, below)
    else {
        return None;
    };
    let proper = whole.is_integer()
        && !whole.is_negative()
        && above.is_integer()
        && below.is_integer()
        && above.is_positive()
        && below > above;
    proper.then(|| Node::exact(whole + above / below))
}

/// a / b, computed if both are numbers.
pub(super) fn quotient(above: Node, below: Node) -> Node {
    match (&above, &below) {
        (Node::Number { value: a, places: None }, Node::Number { value: b, places: None })
            if !b.is_zero() =>
        {
            Node::exact(if b.is_one() { a.clone() } else { a / b })
        }
        _ => Node::Quotient(Box::new(above), Box::new(below)),
    }
}

/// `2,74` is written with a decimal comma where it is no group of thousands.
pub(crate) fn decimal_comma(text: &str) -> Option<String> {
    let core = text.split(['$', '€']).map(str::trim).find(|part| !part.is_empty()).unwrap_or(text);
    let (whole, rest) = core.split_once(',')?;
    let digits = |part: &str| !part.is_empty() && part.bytes().all(|b| b.is_ascii_digit());
    let grouped = rest.len() == 3 && !whole.starts_with('0') && whole.len() <= 3;
    let fits = digits(whole.trim_start_matches('-')) && digits(rest) && !grouped;
    fits.then(|| format!("{whole}.{rest}"))
}
