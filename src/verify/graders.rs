//! Graders that published scores used, for comparison with the engine.
//!
//! `hendrycks_math`: the string rules of the MATH benchmark as lm-evaluation-harness applies them
//! (evalchemy scores MATH500, AIME24 and AMC23 with them). `gpqa`: the last single letter A to D.
//! Written from their description; both decide on strings and know no mathematics.

use super::latex;

/// A way to grade math answers.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Grader {
    /// The engine: proves what it says.
    #[default]
    Engine,
    /// The string rules of the MATH benchmark.
    HendrycksMath,
    /// The last letter from A to D.
    Gpqa,
    /// What OpenThoughts asks of Math-Verify: six decimals, the first expression that is found,
    /// anything that cannot be decided is wrong. Decided by the engine.
    MathVerify,
}

/// What a string rule compares, and whether both are the same.
pub(super) struct Strings {
    pub(super) reference: Option<String>,
    pub(super) answer: Option<String>,
    pub(super) same: bool,
}

/// The string rules of the MATH benchmark: the last box, spelled uniformly.
pub(super) fn hendrycks_math(reference: &str, answer: &str) -> Strings {
    let spelled = |text: &str| {
        let inner = latex::last_boxes(text);
        let inner = inner.as_deref().unwrap_or(text);
        Some(uniform(inner)).filter(|found| !found.is_empty())
    };
    let (reference, answer) = (spelled(reference), spelled(answer));
    let same = reference.is_some() && reference == answer;
    Strings { reference, answer, same }
}

/// The last letter from A to D that stands alone.
pub(super) fn gpqa(reference: &str, answer: &str) -> Strings {
    let (reference, answer) = (last_letter(reference), last_letter(answer));
    let same = reference.is_some() && reference == answer;
    Strings { reference: reference.map(String::from), answer: answer.map(String::from), same }
}

fn last_letter(text: &str) -> Option<char> {
    let is_word = |letter: char| letter.is_alphanumeric() || letter == '_';
    let mut found = None;
    let mut before = None;
    let mut letters = text.chars().peekable();
    while let Some(letter) = letters.next() {
        let alone = !before.is_some_and(is_word) && !letters.peek().copied().is_some_and(is_word);
        if matches!(letter, 'A'..='D') && alone {
            found = Some(letter);
        }
        before = Some(letter);
    }
    found
}

/// An answer as the MATH benchmark spells it before it compares strings.
fn uniform(text: &str) -> String {
    let mut text = text.replace('\n', "");
    for (from, to) in [
        (r"\!", ""),
        (r"\\", r"\"),
        ("tfrac", "frac"),
        ("dfrac", "frac"),
        (r"\left", ""),
        (r"\right", ""),
        (r"^{\circ}", ""),
        (r"^\circ", ""),
        (r"\$", ""),
    ] {
        text = text.replace(from, to);
    }
    if let Some((value, _unit)) = text.split_once(r"\text{ ") {
        text = value.to_owned();
    }
    for (from, to) in [(r"\%", ""), (" .", " 0."), ("{.", "{0.")] {
        text = text.replace(from, to);
    }
    if text.starts_with('.') {
        text.insert(0, '0');
    }
    // `k = 5` answers with 5.
    if text.matches('=').count() == 1
        && let Some((name, value)) = text.split_once('=')
        && name.len() <= 2
    {
        text = value.to_owned();
    }
    let text = braced_fractions(&braced_roots(&text).replace(' ', ""));
    let text = if text == "0.5" { r"\frac{1}{2}".to_owned() } else { text };
    slashed(&text).unwrap_or(text)
}

/// `\sqrt3` as `\sqrt{3}`.
fn braced_roots(text: &str) -> String {
    let mut parts = text.split(r"\sqrt");
    let mut out = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        out.push_str(r"\sqrt");
        let mut letters = part.chars();
        match letters.next() {
            Some('{') | None => out.push_str(part),
            Some(first) => out.push_str(&format!("{{{first}}}{}", letters.as_str())),
        }
    }
    out
}

/// `\frac12` and `\frac1{72}` with braces around both parts.
fn braced_fractions(text: &str) -> String {
    let mut parts = text.split(r"\frac");
    let mut out = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        out.push_str(r"\frac");
        let mut letters = part.chars();
        match (letters.next(), letters.next()) {
            (Some('{') | None, _) | (_, None) => out.push_str(part),
            (Some(above), Some('{')) => {
                out.push_str(&format!("{{{above}}}{{{}", letters.as_str()));
            }
            (Some(above), Some(below)) => {
                out.push_str(&format!("{{{above}}}{{{below}}}{}", letters.as_str()));
            }
        }
    }
    out
}

/// `3/4` as `\frac{3}{4}`, where both are whole numbers.
fn slashed(text: &str) -> Option<String> {
    let (above, below) = text.split_once('/')?;
    let above: i64 = above.parse().ok()?;
    let below: i64 = below.parse().ok()?;
    (text == format!("{above}/{below}")).then(|| format!(r"\frac{{{above}}}{{{below}}}"))
}

#[cfg(test)]
mod tests {
    //! What the published rules accept, right or wrong.

    use super::{gpqa, hendrycks_math};

    #[track_caller]
    fn check(reference: &str, answer: &str, expected: bool) {
        assert_eq!(hendrycks_math(reference, answer).same, expected, "{answer} for {reference}");
    }

    #[test]
    fn the_string_rules_accept_spelling_variants() {
        check(r"\frac{1}{2}", r"So \boxed{\dfrac12}.", true);
        check(r"\frac{1}{2}", r"\boxed{0.5}", true);
        check("3/4", r"\boxed{\frac{3}{4}}", true);
        check(r"\sqrt{3}", r"\boxed{\sqrt3}", true);
        check("5", r"\boxed{x = 5}", true);
        check("90", r"\boxed{90^\circ}", true);
        check("12", r"\boxed{12\text{ cm}}", true);
        check(".25", r"\boxed{0.25}", true);
        check("50", r"\boxed{50\%}", true);
    }

    #[test]
    fn the_string_rules_know_no_mathematics() {
        check("0.25", r"\boxed{\frac14}", false);
        check("(1,2)", r"\boxed{(1, 2)}", true);
        check("1,2", r"\boxed{2,1}", false);
        check("", "", false);
    }

    #[test]
    fn the_letter_rule_takes_the_last_letter_that_stands_alone() {
        for (answer, expected) in [
            ("The answer is (B).", true),
            ("A or B", true),
            ("B, no: C", false),
            ("ABBA", false),
            ("B_1 is A", false),
            ("", false),
        ] {
            assert_eq!(gpqa("B", answer).same, expected, "{answer}");
        }
    }
}
