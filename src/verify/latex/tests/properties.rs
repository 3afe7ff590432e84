//! What holds of every answer.

use proptest::prelude::*;

use super::super::{Outcome, Policy, compare, decide, extract, read};

/// Pieces that answers are made of.
const PIECES: &[&str] = &[
    "1",
    "2",
    "17",
    "0.5",
    "x",
    "y",
    "n",
    "+",
    "-",
    "*",
    "/",
    "^",
    "_",
    "(",
    ")",
    "[",
    "]",
    "{",
    "}",
    r"\{",
    r"\}",
    "|",
    ",",
    ";",
    ":",
    "=",
    "<",
    r"\le ",
    "!",
    "%",
    r"\%",
    "$",
    "&",
    r"\\",
    r"\frac",
    r"\sqrt",
    r"\pi ",
    r"\sin ",
    r"\ln ",
    r"\left(",
    r"\right)",
    r"\text{",
    r"\boxed{",
    r"\cup ",
    r"\infty ",
    r"\pm ",
    r"\in ",
    r"\begin{pmatrix}",
    r"\end{pmatrix}",
    r"^\circ",
    " ",
    "é",
    "∞",
    "±",
    "²",
    r"\sum_{k=1}^{5}",
    r"\log_",
    r"\pmod{7}",
    "abc",
    "cm",
    " and ",
    " or ",
    r"\overline{3}",
    "...",
    r"\{x \mid x>",
    "A",
    "AB",
    "e",
    "i",
];

fn soup() -> impl Strategy<Value = String> {
    prop::collection::vec(prop::sample::select(PIECES), 1..24).prop_map(|pieces| pieces.concat())
}

/// An expression that is well formed, with variables x and y.
fn expression() -> impl Strategy<Value = String> {
    let leaf = prop_oneof![
        (1..30_i32).prop_map(|n| n.to_string()),
        Just("x".to_owned()),
        Just("y".to_owned()),
        Just(r"\pi".to_owned()),
    ];
    leaf.prop_recursive(3, 12, 2, |inner| {
        prop_oneof![
            (inner.clone(), inner.clone()).prop_map(|(a, b)| format!("({a} + {b})")),
            (inner.clone(), inner.clone()).prop_map(|(a, b)| format!("({a} - {b})")),
            (inner.clone(), inner.clone()).prop_map(|(a, b)| format!(r"({a}) \cdot ({b})")),
            (inner.clone(), inner.clone()).prop_map(|(a, b)| format!(r"\frac{{{a}}}{{{b}}}")),
            (inner.clone(), 2..4_u8).prop_map(|(a, n)| format!("({a})^{{{n}}}")),
            inner.prop_map(|a| format!(r"\sqrt{{{a}}}")),
        ]
    })
}

fn outcome(a: &str, b: &str) -> Outcome {
    compare(a, b, &Policy::default()).decision.outcome
}

proptest! {
    #[test]
    fn nothing_that_is_written_makes_it_panic(text in soup(), other in soup()) {
        if let (Some(a), Some(b)) = (extract(&text), extract(&other)) {
            let straight = outcome(&a, &b);
            prop_assert_eq!(straight, outcome(&b, &a), "{} and {} are not symmetric", a, b);
        }
    }

    #[test]
    fn any_text_can_be_looked_at(text in "\\PC{0,80}") {
        if let Some(found) = extract(&text) {
            prop_assert_eq!(outcome(&found, &found), Outcome::Equal);
        }
    }

    #[test]
    fn every_answer_equals_itself(text in soup()) {
        if let Ok(node) = read(&text) {
            let again = read(&text).unwrap();
            let decision = decide(&node, &again, &Policy::default());
            prop_assert_eq!(decision.outcome, Outcome::Equal, "{}", node);
        }
    }

    #[test]
    fn spelling_does_not_matter(text in expression()) {
        let spelled = text
            .replace('(', r" \left( ")
            .replace(')', r" \right) ")
            .replace(r"\frac", r"\dfrac")
            .replace(r"\cdot", r"\times")
            .replace('+', "  +\\, ");
        prop_assert_eq!(outcome(&text, &spelled), Outcome::Equal, "{} and {}", text, spelled);
    }

    #[test]
    fn adding_nothing_changes_nothing_and_adding_one_does(text in expression()) {
        let (zero, one) = (format!("{text} + y - y"), format!("{text} + 1"));
        // A division by zero has no value that could be compared.
        if outcome(&text, &zero) != Outcome::Unknown {
            prop_assert_eq!(outcome(&text, &zero), Outcome::Equal, "{}", text);
        }
        prop_assert_ne!(outcome(&text, &one), Outcome::Equal, "{}", text);
    }

    #[test]
    fn canonical_forms_stay_what_they_are(a in -999..999_i64, b in 1..99_i64, c in 1..50_i64) {
        let text = format!(r"\frac{{{a} + \sqrt{{{c}}}}}{{{b}}}");
        let split = format!(r"\frac{{{a}}}{{{b}}} + \frac{{\sqrt{{{c}}}}}{{{b}}}");
        let node = read(&text).unwrap();
        let printed = read(&node.to_string()).unwrap();
        prop_assert_eq!(outcome(&text, &split), Outcome::Equal);
        prop_assert_eq!(decide(&node, &printed, &Policy::default()).outcome, Outcome::Equal);
    }
}
