//! Which answers say the same; what hostile answers cost; what holds of every answer.

mod hostile;
mod pairs;
mod properties;

use super::{Outcome, Policy, compare, extract};

/// What is expected of a pair.
#[derive(Debug, Clone, Copy)]
enum Expected {
    Equal,
    Different,
    /// Not `Equal`.
    Open,
}

use Expected::{Different, Equal, Open};

fn outcome(reference: &str, answer: &str, policy: &Policy) -> Outcome {
    let (Some(reference), Some(answer)) = (extract(reference), extract(answer)) else {
        panic!("nothing in {reference} or {answer}");
    };
    compare(&reference, &answer, policy).decision.outcome
}

/// Checks a pair both ways round.
#[track_caller]
fn check(reference: &str, answer: &str, expected: Expected, policy: &Policy) {
    for (a, b) in [(reference, answer), (answer, reference)] {
        let found = outcome(a, b, policy);
        let fits = match expected {
            Equal => found == Outcome::Equal,
            Different => found == Outcome::Different,
            Open => found != Outcome::Equal,
        };
        assert!(fits, "{b} against {a}: {found:?}, not {expected:?}");
    }
}

#[track_caller]
fn check_all(rows: &[(&str, &str, Expected)]) {
    for (reference, answer, expected) in rows {
        check(reference, answer, *expected, &Policy::default());
    }
}

#[test]
fn what_is_written_differently_is_the_same_number() {
    check_all(&[
        ("5", "5", Equal),
        ("007", "7", Equal),
        ("+5", "5", Equal),
        ("-0", "0", Equal),
        ("−5", "-5", Equal),
        ("0.5", r"\frac{1}{2}", Equal),
        (".5", "1/2", Equal),
        ("2/4", "1/2", Equal),
        ("-1/2", r"-\frac{1}{2}", Equal),
        ("-1/2", r"\frac{-1}{2}", Equal),
        (r"\frac{1}{-2}", "-0.5", Equal),
        (r"\frac12", r"\dfrac{1}{2}", Equal),
        (r"\tfrac{3}4", "0.75", Equal),
        ("5.0", "5", Equal),
        (r"3\frac{1}{2}", "3.5", Equal),
        ("3 1/2", "7/2", Equal),
        (r"-3\frac{1}{2}", "-3.5", Equal),
        ("1/0", "1/0", Equal),
        ("1,234,567", "1234567", Equal),
        ("1{,}234", "1234", Equal),
        (r"1\,234", "1234", Equal),
        (r"1,\!234", "1234", Equal),
        ("12 345.5", "12345.5", Equal),
        (r"1.5 \times 10^{3}", "1500", Equal),
        (r"2 \cdot 10^{-2}", "0.02", Equal),
        ("1e3", "1000", Equal),
        (r"50\%", "0.5", Equal),
        ("50%", r"50\%", Equal),
        (r"5\text{ cm}", "5", Equal),
        (r"5 \text{ cm}", r"5\mathrm{cm}", Equal),
        (r"90^\circ", "90", Equal),
        (r"90^{\circ}", r"90^\circ", Equal),
        (r"\$12.50", "12.5", Equal),
        ("$5$", "5", Equal),
        (r"\(5\)", "5", Equal),
        ("x = 5", "5", Equal),
        ("**73**", "73", Equal),
        ("5.", "5", Equal),
        (r"\left( 1, 2 \right)", "(1,2)", Equal),
        ("(1/2, 3)", "(0.5, 3)", Equal),
        (r"\{1, 2\}", r"\{2, 1\}", Equal),
        ("1, 2", "2, 1", Equal),
        (r"\text{Yes}", "yes", Equal),
        ("(B)", "B", Equal),
        (r"\text{(B)}", "B", Equal),
        (r"\sqrt{2}", r"\sqrt{ 2 }", Equal),
    ]);
}

#[test]
fn different_numbers_are_different() {
    check_all(&[
        ("5", "-5", Different),
        (
            "100000000000000000000000000000000000001",
            "100000000000000000000000000000000000000",
            Different,
        ),
        ("0.333", "1/3", Different),
        ("0.333", "1/3", Different),
        (r"\frac{1}{2}", r"\frac{2}{1}", Different),
        (r"3\frac{1}{2}", "1.5", Different),
        ("1,23", "123", Different),
        (r"5\text{ cm}", r"5\text{ m}", Different),
        ("(1, 2)", "(2, 1)", Different),
        ("(1, 2)", "[1, 2]", Different),
        ("(1, 2)", "(1, 2, 3)", Different),
        (r"\{1, 1, 2\}", r"\{1, 2, 2\}", Different),
        ("B", "C", Different),
        ("x", "X", Different),
        (r"\sqrt{2}", "2", Different),
        ("1/0", "2/0", Open),
        ("1e999999999", "1", Open),
    ]);
}

#[test]
fn roots_and_constants_are_compared_by_value() {
    check_all(&[
        (r"\frac{\sqrt{2}}{2}", r"\frac{1}{\sqrt{2}}", Equal),
        (r"\sqrt{\frac12}", r"\frac{\sqrt2}{2}", Equal),
        (r"\sqrt{12}", r"2\sqrt3", Equal),
        (r"\sqrt{5+2\sqrt{6}}", r"\sqrt2+\sqrt3", Equal),
        (r"\sqrt[3]{2+\sqrt5}", r"\frac{1+\sqrt5}{2}", Equal),
        (r"\cos\frac{\pi}{5}", r"\frac{1+\sqrt5}{4}", Equal),
        (r"\sin 15^\circ", r"\frac{\sqrt6-\sqrt2}{4}", Equal),
        (r"\sin 30^\circ", "0.5", Equal),
        (r"\tan 60^\circ", r"\sqrt{3}", Equal),
        (r"e^{i\pi}", "-1", Equal),
        (r"e^{i \pi}+1", "0", Equal),
        (r"180^\circ", r"\pi", Equal),
        (r"\frac{\pi}{2}", r"90^\circ", Equal),
        (r"\cos\frac{\pi}{7}\cos\frac{2\pi}{7}\cos\frac{3\pi}{7}", r"\frac18", Equal),
        (r"\ln 8", r"3\ln 2", Equal),
        (r"\log_2 8", "3", Equal),
        (r"\log_{10} 100", "2", Equal),
        (r"\ln e^5", "5", Equal),
        (r"\frac{\ln 8}{\ln 2}", "3", Equal),
        (r"2^{\frac{1}{2}}", r"\sqrt2", Equal),
        ("8^{1/3}", "2", Equal),
        (r"\sqrt[3]{-8}", "-2", Equal),
        (r"\sqrt{-4}", "2i", Equal),
        ("(1+i)^2", "2i", Equal),
        (r"\frac{1}{i}", "-i", Equal),
        ("|{-5}|", "5", Equal),
        ("5!", "120", Equal),
        (r"\binom{5}{2}", "10", Equal),
        (r"{5 \choose 2}", "10", Equal),
        (r"\frac{10!}{8!}", "90", Equal),
        (r"\lfloor 3.7 \rfloor", "3", Equal),
        (r"\lceil \frac72 \rceil", "4", Equal),
    ]);
}

#[test]
fn decimals_stand_for_what_they_round_with_six_places() {
    check_all(&[
        (r"0.\overline{3}", r"\frac13", Equal),
        (r"0.\dot{3}", r"\frac13", Equal),
        ("0.(3)", "1/3", Equal),
        (r"0.1\overline{6}", "1/6", Equal),
        ("1.5e3", "1500", Equal),
        (r"1\ 000\ 000", "1000000", Equal),
        ("1 000", "1000", Equal),
        ("0.333333", "1/3", Equal),
        ("1.414214", r"\sqrt2", Equal),
        ("0.8333333333333334", "5/6", Equal),
        ("3.14", r"\pi", Different),
        ("3.1416", r"\pi", Different),
        ("1.414", r"\sqrt2", Different),
        ("0.3333", "1/3", Different),
        ("0.333334", "1/3", Different),
        ("0.000000", r"\frac{1}{10^9}", Different),
        ("1.0000000001", "1", Different),
    ]);
}

#[test]
fn bases_and_large_powers_are_exact() {
    check_all(&[
        ("204_5", "204_5", Equal),
        ("10_2", "2", Equal),
        ("204_5", "204", Different),
        ("1112112_3", "1112122_3", Different),
        ("101_2", "101_3", Different),
        (r"2^{100} \bmod 7", "2", Equal),
        ("2^{1000000}", "4^{500000}", Equal),
        ("2^{1000000}", "2^{1000001}", Different),
        (r"\frac{2^{1000000}+1}{2^{999999}}", "2", Different),
        (r"\frac{1}{2004!}", r"\frac{1}{2006!}", Different),
        (r"\frac{1}{2^{99}}", r"\frac{1}{2^{98}}", Different),
        ("10^{-100}", "0", Different),
        (r"4\sqrt2", "4", Different),
        (r"1\sqrt{19}", "1", Different),
        ("9^{9^9}", "9^{9^9}", Equal),
        ("9^{9^{9^9}}", "9^{9^{9^8}}", Open),
        ("100000!", "5", Open),
    ]);
}

#[test]
fn functions_are_compared_as_functions() {
    check_all(&[
        ("x^2-1", "(x-1)(x+1)", Equal),
        (r"\frac{x+2}{7}", r"\frac{x}{7}+\frac27", Equal),
        ("(a+b)^3", "a^3+3a^2b+3ab^2+b^3", Equal),
        ("(a+b)^3", "a^3+b^3", Different),
        (r"\frac{x^2-1}{x-1}", "x+1", Equal),
        ("xy", "yx", Equal),
        ("2ab", "2ba", Equal),
        (r"\tan^2 y+1", r"\sec^2 y", Equal),
        (r"\sin 2x", r"2\sin x\cos x", Equal),
        (r"\cos 2x", r"1-2\sin^2 x", Equal),
        (r"\sin(a+b)", r"\sin a\cos b+\cos a\sin b", Equal),
        ("2^{n+1}", r"2\cdot 2^n", Equal),
        ("4^n", "2^{2n}", Equal),
        ("(-1)^{n+1}", "-(-1)^n", Equal),
        (r"\frac{(n+1)!}{n!}", "n+1", Equal),
        (r"\frac{n(n-1)}{2}", r"\binom{n}{2}", Equal),
        (r"\sqrt{x^2+2x+1}", "|x+1|", Equal),
        (r"\sqrt{x^2}", "x", Open),
        (r"\ln x^2", r"2\ln x", Open),
        (r"\frac{1}{\sqrt{x}}", r"\frac{\sqrt x}{x}", Equal),
        ("x^{2/3}", r"\sqrt[3]{x^2}", Equal),
        ("2n+1", "2n-1", Different),
        ("2n+1", "2k+1", Equal),
        ("(x+y+z)^{50}", "(z+x+y)^{50}", Equal),
        ("x+2n+1", "x+1", Different),
        ("n", "k", Different),
        ("a^{-1}", r"\frac1a", Equal),
        ("e^{x+y}", "e^x e^y", Equal),
        (r"\frac{a-b}{c}", r"-\frac{b-a}{c}", Equal),
        ("3(x-2)^2+5", "3x^2-12x+17", Equal),
        ("f(x)", "f(y)", Open),
        ("x_1+x_2", "x_2+x_1", Equal),
        ("x_1", "x_2", Different),
    ]);
}

#[test]
fn relations_say_what_they_solve_to() {
    check_all(&[
        ("x=5", "y=5", Equal),
        ("x>5", r"(5,\infty)", Equal),
        (r"x \geq 5", r"[5,\infty)", Equal),
        ("x>5", r"[5,\infty)", Different),
        ("x>5", "x<5", Different),
        ("x>5", "5<x", Equal),
        ("-x>-1", "x<1", Equal),
        (r"x<1 \text{ or } x>3", r"(-\infty,1)\cup(3,\infty)", Equal),
        (r"-2\le x\le 7", "[-2,7]", Equal),
        ("-2<x<7", "x>-2 and x<7", Equal),
        (r"x\in[-2,7]", "[-2,7]", Equal),
        ("|x|<3", "(-3,3)", Equal),
        (r"|x-1|\ge 2", r"(-\infty,-1]\cup[3,\infty)", Equal),
        ("x^2<4", "(-2,2)", Equal),
        ("x^2-2>0", r"(-\infty,-\sqrt2)\cup(\sqrt2,\infty)", Equal),
        (r"\mathbb{R}\setminus\{3\}", r"(-\infty,3)\cup(3,\infty)", Equal),
        (r"x\neq 3", r"\mathbb{R}\setminus\{3\}", Equal),
        (r"\{x \mid x>2\}", r"(2,\infty)", Equal),
        (r"\mathbb{R}", r"(-\infty,\infty)", Equal),
        (r"\emptyset", r"\text{no solution}", Equal),
        (r"\{\}", r"\varnothing", Equal),
        (r"\emptyset", "0", Different),
        ("2x+4y-3=0", r"y=-\frac12x+\frac34", Equal),
        ("x^2/4+y^2/3=1", "x^2/16+y^2/12=1/4", Equal),
        ("x+y=0", "2x-y=0", Different),
        ("x+y=1", "x+y=2", Different),
        ("a+3z=0", "0", Different),
        ("y=2x+1", "2x-y+1=0", Equal),
        ("y=2x+1", "2x+1", Equal),
        ("7=11a+c", "11a+c", Different),
        ("f(x)=x^2", "x^2", Equal),
        (r"[1,2]\cup[2,3]", "[1,3]", Equal),
        (r"(-\infty,0)\cup(0,\infty)", r"x\ne0", Equal),
        ("[0,1)", "(0,1)", Different),
        ("[0,9)", "[0,1)", Different),
    ]);
}

#[test]
fn lists_tuples_and_matrices_are_matched() {
    check_all(&[
        (r"1\pm\sqrt{19}", r"1+\sqrt{19}, 1-\sqrt{19}", Equal),
        (r"\{1\pm\sqrt5,-2\}", r"\{-2, 1+\sqrt5, 1-\sqrt5\}", Equal),
        (r"\pm 2021", "2021", Different),
        (r"\pm 2021", "-2021, 2021", Equal),
        ("x=2 or x=3", r"\{2,3\}", Equal),
        ("2 and 3", "3, 2", Equal),
        ("(1,2),(3,4)", "(3,4),(1,2)", Equal),
        ("(1,2),(3,4)", "(2,1),(3,4)", Different),
        ("(x,y)=(1,2)", "(1,2)", Equal),
        ("x=1,y=2", "y=2,x=1", Equal),
        ("x=1,y=2", "y=1,x=2", Different),
        (r"1,2,\ldots,10", "1,2,3,4,5,6,7,8,9,10", Equal),
        (r"1,2,\ldots", "1,2", Different),
        ("5", "3, 4, 5", Different),
        ("5", "1, 2, 3, 4, 5", Different),
        (r"\{5\}", "5", Equal),
        ("(3,1)", "1,3", Different),
        ("(1,3)", "1,3", Equal),
        ("(3,1)", r"\{1,3\}", Different),
        (r"\begin{pmatrix}1\\2\\3\end{pmatrix}", "(1,2,3)", Equal),
        (r"\begin{pmatrix}1&2\\3&4\end{pmatrix}", r"\begin{bmatrix}1&2\\3&4\end{bmatrix}", Equal),
        (
            r"\begin{pmatrix}1&2\\3&4\end{pmatrix}",
            r"\begin{pmatrix}1&2\\3&5\end{pmatrix}",
            Different,
        ),
        (r"\langle 1,2\rangle", "(1,2)", Equal),
        ("(2, 3)", r"\left(2, \frac{6}{2}\right)", Equal),
    ]);
}

#[test]
fn ratios_congruences_units_and_choices_are_read() {
    check_all(&[
        ("7:32", "7/32", Equal),
        ("1:2:3", "2:4:6", Equal),
        ("1:2:3", "1:2:4", Different),
        ("12:00", "1:00", Different),
        ("12:00", "12:00", Equal),
        (r"x\equiv 3\pmod 7", r"3 \pmod{7}", Equal),
        (r"x\equiv 3\pmod 7", r"x \equiv 10 \pmod 7", Equal),
        (r"x\equiv 3 \pmod{7}", "7k+3", Equal),
        (r"x\equiv 3\pmod 7", r"x\equiv 3\pmod 8", Different),
        ("5 m", "5 km", Different),
        (r"5\text{ m}", r"500\text{ cm}", Equal),
        ("1 hour", "60 minutes", Equal),
        (r"5\text{ kg}", r"5\text{ m}", Different),
        ("15 cm^2", r"15\mbox{ cm}^2", Equal),
        ("28", "28 apples", Equal),
        (r"28\%", "0.28", Equal),
        ("0.28", "28", Different),
        ("28", "0.28", Different),
        (r"28\%", "28 percent", Equal),
        ("(B) 5", "B", Equal),
        (r"\text{(C)}\ 12", "C", Equal),
        ("B.", "B", Equal),
        ("A", "B", Different),
        (r"\textbf{(A)}", "A", Equal),
        (r"\text{Evelyn}", "Evelyn", Equal),
        (r"\text{Evelyn}", "Briana", Different),
        ("ACB", "ABC", Open),
        ("AB", "CD", Different),
        (r"\text{odd}", "odd", Equal),
        (r"10\sqrt{3} \text{ meters}", r"10\sqrt3", Equal),
        (r"x=\frac{\pi}{4}+k\pi", r"\frac{\pi}{4}+n\pi", Equal),
        (r"\frac{\pi}{4}+k\pi, k\in\mathbb{Z}", r"x=\frac\pi4+k\pi", Equal),
        (r"72 \text{ degrees}", r"72^\circ", Equal),
        ("60 mph", "60", Equal),
        (r"\$1,000", "1000", Equal),
        ("3/4 cup", "0.75", Equal),
    ]);
}

#[test]
fn answers_are_found_in_prose() {
    check_all(&[
        ("5", "the number five", Different),
        ("5", "the answer is 5", Equal),
        (r"\boxed{5", "5", Equal),
        ("The answer is **73**.", "73", Equal),
        ("So the answer is (B).", "B", Equal),
        (r"\boxed{\text{(B) } 5}", "B", Equal),
        ("4", "Hence $x = 4$.", Equal),
        ("5", "5x", Different),
        ("x+1", "x+2", Different),
        ("x=5", "x = 5 for all y", Open),
    ]);
}

#[test]
fn what_is_equal_by_convention_only_can_be_refused() {
    for (reference, answer) in [
        ("28\\%", "28"),
        ("5\\text{ cm}", "5"),
        ("90^\\circ", "90"),
        ("0.333333", "1/3"),
        ("\\text{Yes}", "\\text{yes}"),
    ] {
        check(reference, answer, Equal, &Policy::default());
        check(reference, answer, Open, &Policy::exact());
    }
    check("28\\%", "0.28", Equal, &Policy::exact());
    let coarse = Policy { rounded_places: Some(2), ..Policy::default() };
    check("1/3", "0.33", Equal, &coarse);
    check("1/3", "0.34", Different, &coarse);
    check("1/3", "0.3", Different, &coarse);
}

#[test]
fn nothing_is_taken_from_a_thought() {
    assert_eq!(extract("<think>is it \\boxed{4}?</think> It is \\boxed{5}.").as_deref(), Some("5"));
    assert_eq!(extract("<think>is it \\boxed{4}?"), None);
    assert_eq!(extract("  $ $ "), None);
    assert_eq!(extract(""), None);
}

#[test]
fn boxes_that_are_joined_are_one_answer() {
    for (text, expected) in [
        (r"\boxed{1} and \boxed{2}", "1, 2"),
        (r"\(\boxed{1}\) or \(\boxed{-2}\).", "1, -2"),
        (r"\boxed{4}, no, \boxed{5}", "5"),
        (r"\boxed{4}. Wait, that is wrong. \boxed{5}", "5"),
        (r"\boxed{5}. So \boxed{5}", "5"),
        (r"\boxed{4} no no no \boxed{5}", "5"),
        (r"\boxed{}", r"\boxed{}"),
    ] {
        assert_eq!(extract(text).as_deref(), Some(expected), "in {text}");
    }
}
