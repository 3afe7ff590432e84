//! `thinkery grade code` on lines that no program is to blame for: too long, broken, or with more tests
//! than anybody reads. Each gets an outcome of its own, and the lines after it are graded.

use serde_json::{Value, json};

use crate::env::TestEnv;

/// Longer than what is read as a whole.
const LONG: usize = 1_100_000;

/// What a line must get: verdict, a part of why, and its id.
type Expected = (&'static str, &'static str, Value);

/// Grades `lines` as bytes, each followed by a good one, which must come out right.
#[track_caller]
fn check(lines: &[(Vec<u8>, Expected)]) {
    let good = "{\"id\": \"good\", \"solution\": \"```python\\nprint(input())\\n```\", \
                \"tests\": {\"inputs\": [\"1\"], \"outputs\": [\"1\"]}}\n";
    let mut input = Vec::new();
    for (line, _) in lines {
        input.extend_from_slice(line);
        input.push(b'\n');
        input.extend_from_slice(good.as_bytes());
    }
    let ended = TestEnv::new().run_with_bytes(&["grade", "code"], &input);
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    let graded: Vec<Value> =
        ended.stdout.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(graded.len(), 2 * lines.len());
    for ((_, (verdict, why, id)), pair) in lines.iter().zip(graded.chunks(2)) {
        let said = pair[0]["why"].as_str().unwrap();
        assert_eq!((&pair[0]["verdict"], &pair[0]["id"]), (&json!(verdict), id), "{said}");
        assert!(said.contains(why), "{said}, not {why}");
        assert_eq!((&pair[1]["id"], &pair[1]["verdict"]), (&json!("good"), &json!("correct")));
    }
}

/// A line with a solution that is padded to the length `padded` and these tests.
fn line(padded: usize, tests: &str) -> Vec<u8> {
    let solution = format!("```python\nprint(2)\n```\n{}", "x".repeat(padded));
    format!("{{\"id\": 7, \"solution\": {}, \"tests\": {tests}}}", json!(solution)).into()
}

#[test]
fn broken_lines_say_so_whether_they_are_short_or_long() {
    let wrong = r#"{"inputs": ["1"], "outputs": ["1"]}"#;
    let deep = format!(
        r#"{{"inputs": [{}{}], "outputs": ["1"]}}"#,
        "[".repeat(200_000),
        "]".repeat(200_000)
    );
    for padded in [0, LONG] {
        let mut no_text = line(padded, wrong);
        let at = no_text.len() - wrong.len() - 4;
        no_text[at] = 0xFF;
        let mut ends = line(padded, wrong);
        ends.truncate(ends.len() - 3);
        check(&[
            (line(padded, wrong), ("wrong", "test 1 of 1", json!(7))),
            (no_text, ("unreadable", "could not read the line", json!(7))),
            (ends, ("unreadable", "could not read the line", json!(7))),
            (line(padded, "17"), ("unchecked", "neither an object", json!(7))),
            (line(padded, "\"no tests\""), ("unchecked", "neither JSON nor compressed", json!(7))),
            (
                line(padded, "{\"inputs\": 1, \"outputs\": []}"),
                ("unchecked", "the tests", json!(7)),
            ),
            (line(padded, "{\"inputs\": [\"1\"]}"), ("unchecked", "`outputs`", json!(7))),
            (line(padded, &deep), ("unchecked", "nested too deep", json!(7))),
        ]);
    }
}

#[test]
fn a_line_of_many_tests_is_graded_as_it_comes() {
    let many = |first: usize| {
        let list = |from: usize| {
            let one = |number: usize| format!("\"{number}\\n\"");
            (from..from + 100_000).map(one).collect::<Vec<_>>().join(",")
        };
        format!("{{\"inputs\": [{}], \"outputs\": [{}]}}", list(0), list(first))
    };
    let graded = |tests: &str| {
        let ended = TestEnv::new().run_with_bytes(&["grade", "code"], &line(0, tests));
        serde_json::from_str::<Value>(ended.stdout.trim()).unwrap()
    };
    let wrong = graded(&many(5));
    assert_eq!((&wrong["tests_total"], &wrong["first_failed"]), (&json!(100_000), &json!(0)));
    let later = graded(&many(2));
    assert_eq!((&later["tests_total"], &later["first_failed"]), (&json!(100_000), &json!(1)));
    assert_eq!(later["failed"]["expected"], "3\n");
}
