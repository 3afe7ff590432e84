//! Answers that mean harm: each costs little and is never `Equal`.

use std::time::Duration;

use rustix::time::{ClockId, clock_gettime};

use super::super::{Outcome, Policy, compare, extract};

/// Ten times what an optimised build may take: tests run without optimisation.
const TIME_MAX: Duration = Duration::from_millis(400);

/// Of this thread: a busy machine is no reason to fail.
fn processor_time() -> Duration {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    Duration::new(time.tv_sec.unsigned_abs(), u32::try_from(time.tv_nsec).unwrap())
}

#[track_caller]
fn check(reference: &str, answer: &str) {
    let begin = processor_time();
    let found = extract(reference).zip(extract(answer));
    let outcome = found.map(|(a, b)| compare(&a, &b, &Policy::default()).decision.outcome);
    let taken = processor_time() - begin;
    let shown: String = reference.chars().take(60).collect();
    assert_ne!(outcome, Some(Outcome::Equal), "{shown}");
    assert!(taken < TIME_MAX, "{shown} took {taken:?}");
}

#[test]
fn numbers_that_nobody_can_write_down_are_not_written_down() {
    for (reference, answer) in [
        ("9^{9^{9^{9^9}}}", "9^{9^{9^{9^9}}}+1"),
        ("10^{10^{10}}", "5"),
        ("1000000!", "5"),
        ("100000!", "99999!"),
        (r"\frac{1}{2004!}", r"\frac{1}{2006!}"),
        (r"\sum_{k=1}^{1000000} k", "5"),
        (r"\sum_{k=1}^{500} \frac{1}{k}", "6.79"),
        (r"\binom{100000}{50000}", "5"),
        (r"e^{e^{e^{e}}}", "5"),
        (r"\pi+e^{-10000}", r"\pi"),
        (r"\sin(10^{50})", "0"),
        ("1e999999999", "1"),
        ("2^{1000000}", "2^{1000001}"),
        (r"\sqrt[999]{2}", "1"),
        (r"\cos(\frac{\pi}{97})^{60}", "1"),
        (r"(1+\sqrt2+\sqrt3+\sqrt5+\sqrt7)^{40}", "5"),
        (r"(a+b+c+d+e+f+g+h)^{60}", r"(a+b+c+d+e+f+g+h)^{61}"),
    ] {
        check(reference, answer);
    }
}

#[test]
fn nesting_and_length_have_limits() {
    for (piece, middle, end) in [
        ("(", "1", ")"),
        (r"\frac{1}{", "2", "}"),
        (r"\sqrt{", "2", "}"),
        ("2^{", "2", "}"),
        ("|", "1", "|"),
        ("[", "1", "]"),
        (r"\left(", "1", ""),
        (r"\begin{pmatrix}", "1", ""),
        ("x^", "2", ""),
        ("1/", "2", ""),
        ("a_", "1", ""),
        ("-", "5", ""),
        ("", "5", "!"),
        ("", "5", "%"),
        ("", "A", r"\cup B"),
        (r"\sin ", "x", ""),
    ] {
        for times in [200, 3_000] {
            check(&format!("{}{middle}{}", piece.repeat(times), end.repeat(times)), "7");
        }
    }
}

#[test]
fn a_megabyte_of_garbage_is_no_answer() {
    for piece in
        ["x", "$", r"\boxed{", "1,", "(1,2),", "$a$ and ", "the answer is ", "**", "9", "é", "\\"]
    {
        check(&piece.repeat((1 << 20) / piece.len()), "7");
    }
}

#[test]
fn many_items_are_matched_or_given_up() {
    let list = |item: &dyn Fn(u32) -> String| {
        let items: Vec<String> = (0..250).map(item).collect();
        format!(r"\{{{}\}}", items.join(","))
    };
    let roots = list(&|n| format!(r"\sqrt{{{n}}}"));
    let others = list(&|n| format!(r"\sqrt{{{}}}", 250 - n));
    check(&roots, &others);
}
