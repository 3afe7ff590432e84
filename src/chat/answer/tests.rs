//! What counts as an answer.

use rustix::time::{ClockId, clock_gettime};

use super::{last_boxed, last_code_block};

#[track_caller]
fn boxed(text: &str, expected: Option<&str>) {
    assert_eq!(last_boxed(text), expected, "in {text}");
}

#[track_caller]
fn code(text: &str, expected: Option<&str>) {
    assert_eq!(last_code_block(text), expected, "in {text}");
}

#[test]
fn the_last_box_counts() {
    boxed(r"first \boxed{1}, no: \boxed{2}", Some("2"));
    boxed(r"$\boxed{ 2 }$", Some("2"));
    boxed(r"\boxed {3}", Some("3"));
    boxed(r"\fbox{4}", Some("4"));
    boxed("nothing", None);
}

#[test]
fn braces_balance() {
    boxed(r"\boxed{\frac{1}{2}}.", Some(r"\frac{1}{2}"));
    boxed(r"\boxed{\{1, 2\}} and }", Some(r"\{1, 2\}"));
    boxed(r"\boxed{\boxed{7}}", Some("7"));
}

#[test]
fn a_box_without_content_or_end_is_no_answer() {
    boxed(r"\boxed{}", None);
    boxed(r"\boxed{5} then \boxed{", Some("5"));
    boxed(r"\boxed{5} then \boxed{}", Some("5"));
    boxed(r"\boxed 5", None);
}

#[test]
fn the_last_block_counts() {
    code("```python\nprint(1)\n```\ntext\n```py\nprint(2)\n```", Some("print(2)\n"));
    code("```python3\nprint(1)\n```\n", Some("print(1)\n"));
    code("~~~\nprint(1)\n~~~", Some("print(1)\n"));
    code("   ```c++\nx\n   ```", Some("x\n"));
    code("no code", None);
    code("```\n\n```", None);
}

#[test]
fn a_longer_fence_holds_a_shorter_one() {
    code("````md\n```\nx\n```\n````\n", Some("```\nx\n```\n"));
}

#[test]
fn an_unclosed_block_counts_only_if_it_is_the_only_one() {
    code("```python\nprint(1)\n", Some("print(1)\n"));
    code("```python\nprint(1)\n```\n```python\nprint(2", Some("print(1)\n"));
}

#[test]
fn garbage_takes_no_time() {
    // Processor time: a busy machine is no reason to fail.
    let seconds = || clock_gettime(ClockId::ThreadCPUTime).tv_sec;
    let start = seconds();
    let megabyte = 1 << 20;
    assert_eq!(last_boxed(&r"\boxed{".repeat(megabyte / 7)), None);
    assert_eq!(last_code_block(&"`".repeat(megabyte)), None);
    assert_eq!(last_code_block(&"```x\n".repeat(megabyte / 5)).map(|_| ()), Some(()));
    assert!(seconds() - start < 5, "took {} s", seconds() - start);
}
