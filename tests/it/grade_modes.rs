//! `thinkery grade code` by other rules: comparators of problems, layouts of sets, published harnesses,
//! and tests that make no sense.

use serde_json::{Value, json};

use crate::env::TestEnv;

/// Correct programs, each with its own way to read and write, and whether published harnesses accept it.
const IDIOMS: &str = include_str!("idioms.jsonl");

fn fenced(code: &str) -> String {
    format!("```python\n{code}\n```\n")
}

fn graded(mode: &str, rows: &[Value]) -> Vec<Value> {
    let input: String = rows.iter().map(|row| format!("{row}\n")).collect();
    let ended = TestEnv::new().run_with(&["grade", "code", "--mode", mode], &input);
    assert_eq!(ended.code, Some(0), "{ended:#?}");
    ended.stdout.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

/// Grades each solution by its tests and compares the verdict.
#[track_caller]
fn check(mode: &str, rows: &[(&str, Value, &str)]) -> Vec<Value> {
    let lines: Vec<Value> = rows
        .iter()
        .map(|(code, tests, _)| json!({"solution": fenced(code), "tests": tests}))
        .collect();
    let graded = graded(mode, &lines);
    for ((code, _, verdict), graded) in rows.iter().zip(&graded) {
        assert_eq!(graded["verdict"], *verdict, "{mode}: {graded}\nof {code}");
    }
    graded
}

fn one(input: impl Into<Value>, output: impl Into<Value>) -> Value {
    json!({"inputs": [input.into()], "outputs": [output.into()]})
}

fn with(mut tests: Value, more: &Value) -> Value {
    tests.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    tests
}

#[test]
fn published_harnesses_fail_programs_that_are_right() {
    let idioms: Vec<Value> =
        IDIOMS.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let row = |idiom: &Value| {
        let tests = json!({"inputs": ["3\n1 2 3\n", "2\n7 8\n"], "outputs": ["6", "15"]});
        json!({"solution": fenced(idiom["code"].as_str().unwrap()), "tests": tests})
    };
    let rows: Vec<Value> = idioms.iter().map(row).collect();
    for (mode, column, failures) in [
        ("strict", None, 0),
        ("upstream", None, 0),
        ("lcb", Some("lcb"), 11),
        ("evalchemy-lcb", Some("evalchemy"), 12),
    ] {
        let mut failed = 0;
        for (idiom, graded) in idioms.iter().zip(graded(mode, &rows)) {
            let accepted = column.is_none_or(|column| idiom[column] == true);
            assert_eq!(graded["verdict"] == "correct", accepted, "{mode}: {idiom}\n{graded}");
            failed += usize::from(!accepted);
        }
        assert_eq!((idioms.len(), failed), (27, failures), "{mode}");
    }
}

#[test]
fn every_problem_is_compared_in_its_own_way() {
    let by = |tests, comparator: &str| with(tests, &json!({"comparator": comparator}));
    let sum = "import sys\ni, e, o = [open(p).read().split() for p in sys.argv[1:]]\n\
               print(1 if sum(map(int, o)) == int(i[0]) else 0)";
    let checked =
        |checker| with(one("5", "1 4"), &json!({"comparator": "checker", "checker": checker}));
    let rows = [
        ("print('a b ')", by(one("", "a b"), "exact-trim"), "correct"),
        ("print('a  b')", by(one("", "a b"), "exact-trim"), "wrong"),
        ("print('Yes')", by(one("", "YES"), "tokens-ci"), "correct"),
        ("print('Yes')", one("", "YES"), "wrong"),
        ("print('b\\na')", by(one("", "a\nb"), "lines-unordered"), "correct"),
        ("print('a')", by(one("", "a\na"), "lines-unordered"), "wrong"),
        ("print(2, 1, 1)", by(one("", "1 1 2"), "tokens-unordered"), "correct"),
        ("print(2, 2, 1)", by(one("", "1 1 2"), "tokens-unordered"), "wrong"),
        ("print(3.1419)", by(one("", "3.1415"), "float(0.001,0)"), "correct"),
        ("print(3.1419)", one("", "3.1415"), "wrong"),
        ("print(10**17 + 1)", one("", "100000000000000000"), "wrong"),
        ("print(2, 3)", checked(sum), "correct"),
        ("print(2, 4)", checked(sum), "wrong"),
        ("print(2, 3)", checked("raise ValueError"), "unchecked"),
        ("1 / 0", checked(sum), "wrong"),
    ];
    let graded = check("strict", &rows);
    assert_eq!(graded[0]["comparator"], "exact-trim");
    assert_eq!(graded[1]["failed"]["position"], 1);
    assert_eq!(graded[11]["comparator"], "checker");
    assert_eq!(graded[14]["outcome"], "runtime_error");
}

#[test]
fn a_checker_never_meets_what_it_checks() {
    // The program leaves a checker of its own and looks for what it should say.
    let program = "import os\nopen('checker.py', 'w').write('print(1)')\n\
                   open('output.txt', 'w').write('4')\nprint(os.path.exists('expected.txt'))";
    let checker = "import sys\nprint(int(open(sys.argv[3]).read().strip() == 'False'))";
    let tests = with(one("", "4"), &json!({"checker": checker}));
    check("strict", &[(program, tests, "correct")]);
}

#[test]
fn numbers_keep_every_digit_on_the_way() {
    let line = |output: &str| {
        let solution = Value::from(fenced("def f(n):\n    return n * n"));
        format!(
            r#"{{"solution": {solution}, "tests": {{"inputs": [[12345678901234567890]], "outputs": [{output}], "fn_name": "f"}}}}"#
        )
    };
    let square = "152415787532388367501905199875019052100";
    let input = [line(square), line("152415787532388367501905199875019052101")].join("\n");
    let ended = TestEnv::new().run_with(&["grade", "code"], &input);
    let verdicts: Vec<Value> = ended
        .stdout
        .lines()
        .map(|line| serde_json::from_str::<Value>(line).unwrap()["verdict"].take())
        .collect();
    assert_eq!(verdicts, ["correct", "wrong"], "{ended:#?}");
}

#[test]
fn tests_come_in_the_layout_of_their_set() {
    let echo = "print(input())";
    let group = |n: &str| json!({"input": [n], "output": [n]});
    let contests = json!({"public_tests": group("1"), "private_tests": group("2"), "generated_tests": group("3")});
    let called = json!([{"input": "[1, 2]\n3", "output": "6", "testtype": "functional"}]);
    let live = json!({
        "public_test_cases": "[]", "private_test_cases": called.to_string(),
        "metadata": "{\"func_name\": \"add\"}",
    });
    let forces = json!({"official_tests": [{"input": "7\n", "output": "7\n"}], "time_limit": 2.0});
    let method = "class Solution:\n    def add(self, a, b):\n        return sum(a) + b";
    let rows = [
        (echo, json!(one("5", "5").to_string()), "correct"),
        (echo, contests, "correct"),
        (method, live, "correct"),
        (echo, forces, "correct"),
        (echo, json!([{"input": "1", "output": "2"}]), "wrong"),
    ];
    let graded = check("strict", &rows);
    assert_eq!(graded[1]["tests"].as_array().unwrap().len(), 3);
    assert_eq!(graded[3]["limits"]["cpu_ms"], 2000);
}

#[test]
fn tests_that_make_no_sense_are_nobodys_wrong_answer() {
    let deep = format!("{}{}", "[".repeat(100_000), "]".repeat(100_000));
    let solution = Value::from(fenced("print(1)\ndef f(*a): return 1"));
    let canary = TestEnv::new();
    let touch = format!("__import__('os').system('touch {}/x')", canary.path().display());
    let cases = [
        ("\"these are no tests\"".to_owned(), "neither JSON nor compressed"),
        ("\"gASVCgAAAAAAAACMBXBvc2l4lIwGc3lzdGVtlJOUjAJpZJSFlFKULg==\"".into(), "could not"),
        ("17".into(), "neither an object"),
        (one("", Value::Null).to_string(), "no expected output"),
        (json!({"inputs": ["", ""], "outputs": ["1"]}).to_string(), "2 inputs but 1 outputs"),
        (json!({"inputs": [], "outputs": []}).to_string(), "there are no tests"),
        (with(one("", "1"), &json!({"fn_name": touch})).to_string(), "cannot be the name"),
        (with(one("", "1"), &json!({"fn_name": "__import__"})).to_string(), "cannot be the name"),
        (with(one("", "1"), &json!({"comparator": "vibes"})).to_string(), "is no comparator"),
        (format!(r#"{{"inputs": [{deep}], "outputs": [1], "fn_name": "f"}}"#), "nested too deep"),
        (r#"{"inputs": ["\ud800"], "outputs": ["1"]}"#.into(), "test 1"),
    ];
    let line = |(tests, _): &(String, &str)| {
        format!("{{\"id\": 7, \"solution\": {solution}, \"tests\": {tests}}}\n")
    };
    let input: String = cases.iter().map(line).collect();
    let ended = TestEnv::new().run_with(&["grade", "code"], &input);
    assert_eq!(ended.code, Some(0), "{ended:#?}");
    let lines: Vec<Value> =
        ended.stdout.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(lines.len(), cases.len());
    for ((tests, why), graded) in cases.iter().zip(&lines) {
        assert_eq!(
            (&graded["verdict"], &graded["id"]),
            (&json!("unchecked"), &json!(7)),
            "{graded}"
        );
        let found = graded["why"].as_str().unwrap();
        assert!(found.contains(why), "{found}, not {why}, of {}", &tests[..tests.len().min(200)]);
    }
    assert!(!canary.path().join("x").exists());
}

#[test]
fn a_program_cannot_reach_or_redefine_what_it_is_compared_with() {
    let equal = "class E(list):\n    def __eq__(self, other): return True\n    def __ne__(self, other): return False\n\
                 def f(a):\n    return E([99])";
    let frames = "import sys, gc\ndef f(a):\n    frame = sys._getframe()\n    while frame:\n        \
                  for value in list(frame.f_locals.values()):\n            if value == [1, 2, 12345]: return value\n        \
                  frame = frame.f_back\n    for value in gc.get_objects():\n        \
                  if type(value) is list and value == [1, 2, 12345]: return value\n    return 0";
    let tests = || with(one(json!([1]), json!([1, 2, 12345])), &json!({"fn_name": "f"}));
    for mode in ["strict", "upstream", "lcb", "evalchemy-lcb"] {
        check(mode, &[(equal, tests(), "wrong"), (frames, tests(), "wrong")]);
    }
}
