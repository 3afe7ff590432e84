//! Which answers are the same.

use proptest::prelude::*;

use super::{Answer, equal, parse};

#[track_caller]
fn check(a: &str, b: &str, expected: bool) {
    let (x, y) = (parse(a), parse(b));
    let (Some(x), Some(y)) = (x, y) else { panic!("nothing in {a} or {b}") };
    assert_eq!(equal(&x, &y), expected, "{a} ({x}) against {b} ({y})");
    assert_eq!(equal(&y, &x), expected, "{b} ({y}) against {a} ({x})");
}

#[track_caller]
fn same(a: &str, b: &str) {
    check(a, b, true);
}

#[track_caller]
fn different(a: &str, b: &str) {
    check(a, b, false);
}

#[test]
fn whole_numbers_are_exact() {
    same("5", "5");
    same("007", "7");
    same("+5", "5");
    same("-0", "0");
    same("−5", "-5");
    different("5", "-5");
    different("100000000000000000000000000000000000001", "100000000000000000000000000000000000000");
}

#[test]
fn decimals_and_fractions_are_ratios() {
    same("0.5", r"\frac{1}{2}");
    same(".5", "1/2");
    same("2/4", "1/2");
    same("-1/2", r"-\frac{1}{2}");
    same("-1/2", r"\frac{-1}{2}");
    same(r"\frac{1}{-2}", "-0.5");
    same(r"\frac12", r"\dfrac{1}{2}");
    same(r"\tfrac{3}4", "0.75");
    same("5.0", "5");
    different("0.333", "1/3");
    different("0.33333333333333333333", "1/3");
    different(r"\frac{1}{2}", r"\frac{2}{1}");
}

#[test]
fn a_whole_number_beside_a_fraction_is_added() {
    same(r"3\frac{1}{2}", "3.5");
    same("3 1/2", "7/2");
    same(r"-3\frac{1}{2}", "-3.5");
    different(r"3\frac{1}{2}", "1.5");
}

#[test]
fn division_by_zero_is_no_number() {
    different("1/0", "2/0");
    same("1/0", "1/0");
}

#[test]
fn thousands_are_separated_in_many_ways() {
    same("1,234,567", "1234567");
    same("1{,}234", "1234");
    same(r"1\,234", "1234");
    same(r"1,\!234", "1234");
    same("12 345.5", "12345.5");
    different("1,23", "123");
}

#[test]
fn powers_of_ten_are_multiplied_out() {
    same(r"1.5 \times 10^{3}", "1500");
    same(r"2 \cdot 10^{-2}", "0.02");
    same("1e3", "1000");
    different("1e999999999", "1");
}

#[test]
fn percent_divides_by_a_hundred() {
    same(r"50\%", "0.5");
    same("50%", r"50\%");
    different(r"50\%", "50");
}

#[test]
fn units_count_where_both_have_one() {
    same(r"5\text{ cm}", "5");
    same(r"5 \text{ cm}", r"5\mathrm{cm}");
    same(r"90^\circ", "90");
    same(r"90^{\circ}", r"90^\circ");
    different(r"5\text{ cm}", r"5\text{ m}");
    same(r"\$12.50", "12.5");
}

#[test]
fn dressing_does_not_matter() {
    same("$5$", "5");
    same(r"\(5\)", "5");
    same("x = 5", "5");
    same("**73**", "73");
    same("5.", "5");
    same(r"\left( 1, 2 \right)", "(1,2)");
}

#[test]
fn lists_are_compared_item_by_item() {
    same("(1/2, 3)", r"(0.5, 3)");
    different("(1, 2)", "(2, 1)");
    different("(1, 2)", "[1, 2]");
    different("(1, 2)", "(1, 2, 3)");
    same(r"\{1, 2\}", r"\{2, 1\}");
    different(r"\{1, 1, 2\}", r"\{1, 2, 2\}");
    same("1, 2", "2, 1");
}

#[test]
fn text_is_compared_as_text() {
    same(r"\text{Yes}", "yes");
    same("(B)", "B");
    same(r"\text{(B)}", "B");
    different("B", "C");
    different("x", "X");
    different(r"\sqrt{2}", "2");
    same(r"\sqrt{2}", r"\sqrt{ 2 }");
    different("5", "the answer is 5");
}

#[test]
fn nothing_is_no_answer() {
    assert_eq!(parse("  $ $ "), None);
    assert_eq!(parse(""), None);
}

#[test]
fn nesting_is_bounded() {
    let deep = format!("{}1{}", r"\frac{".repeat(200), "}{2}".repeat(200));
    assert!(matches!(parse(&deep), Some(Answer::Text(_))));
    let brackets = format!("{}1, 2{}", "(".repeat(500), ")".repeat(500));
    assert!(parse(&brackets).is_some());
}

proptest! {
    #[test]
    fn every_text_equals_itself(text in r"[-+0-9a-z\\{}()\[\],./%$^ ]{1,40}") {
        if let Some(answer) = parse(&text) {
            prop_assert!(equal(&answer, &answer));
        }
    }

    #[test]
    fn a_number_survives_printing(above in -10_000_i64..10_000, below in 1_i64..1000) {
        let answer = parse(&format!(r"\frac{{{above}}}{{{below}}}"));
        let printed = answer.as_ref().map(ToString::to_string);
        prop_assert_eq!(printed.as_deref().and_then(parse), answer);
    }
}
