//! `thinkery grade`: answers and programs from files, and the sandbox under programs that mean harm.

use serde_json::{Value, json};

use crate::env::TestEnv;

fn lines(env: &TestEnv, args: &[&str], input: &str) -> Vec<Value> {
    let ended = env.run_with(args, input);
    assert_eq!(ended.code, Some(0), "{ended:#?}");
    ended.stdout.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

fn fenced(code: &str) -> String {
    format!("Here it is.\n```python\n{code}\n```\n")
}

/// A program that reads standard input, with one test.
fn program(code: &str, input: &str, output: &str) -> Value {
    json!({"solution": fenced(code), "tests": {"inputs": [input], "outputs": [output]}})
}

/// Grades `rows`, each with the outcome that is expected.
#[track_caller]
fn check(mode: &str, rows: &[(Value, &str)]) {
    let input: String = rows.iter().map(|(row, _)| format!("{row}\n")).collect();
    let graded = lines(&TestEnv::new(), &["grade", "code", "--mode", mode], &input);
    assert_eq!(graded.len(), rows.len());
    for ((row, expected), graded) in rows.iter().zip(&graded) {
        assert_eq!(graded["outcome"], json!(expected), "{graded}\nof {}", row["solution"]);
    }
}

#[test]
fn math_is_graded_line_by_line() {
    let input = [
        r#"{"id": 1, "reference": "5", "answer": "\\boxed{5}"}"#,
        r#"{"id": "b", "reference": "\\boxed{\\frac{1}{2}}", "answer": "0.5"}"#,
        r#"{"id": 3, "reference": "1,234", "answer": "1233"}"#,
        "this is no JSON",
        r#"{"id": 5, "reference": "5"}"#,
        r#"{"id": 6, "reference": "5", "answer": ""}"#,
        r#"{"id": 7, "reference": 5, "answer": 5.0}"#,
    ];
    let graded = lines(&TestEnv::new(), &["grade", "math"], &input.join("\n"));
    let seen: Vec<(Value, &str)> =
        graded.iter().map(|g| (g["id"].clone(), g["verdict"].as_str().unwrap())).collect();
    let expected = [
        (json!(1), "correct"),
        (json!("b"), "correct"),
        (json!(3), "wrong"),
        (json!(null), "unreadable"),
        (json!(5), "unreadable"),
        (json!(6), "unreadable"),
        (json!(7), "correct"),
    ];
    assert_eq!(seen, expected);
    assert_eq!(graded[1]["reference_parsed"], "1/2");
    assert_eq!(graded[2]["why"], "`1233` is not `1234`");
}

#[test]
fn what_is_neither_proved_nor_refuted_is_unchecked() {
    let rows = [
        (r"9^{9^{9^9}}", r"9^{9^{9^9}}+1", "wrong"),
        (r"\pi", r"\pi+e^{-10000}", "unchecked"),
        (r"\frac{1}{2004!}", r"\frac{1}{2006!}", "wrong"),
        (r"\sqrt{5+2\sqrt{6}}", r"So $\boxed{\sqrt2+\sqrt3}$.", "correct"),
        (r"$x<1$ or $x>3$", r"(-\infty,1)\cup(3,\infty)", "correct"),
        ("", "5", "unchecked"),
        ("5", "<think>is it \\boxed{5}?", "unreadable"),
    ];
    let line = |(reference, answer, _): &(&str, &str, &str)| {
        format!("{}\n", json!({"reference": reference, "answer": answer}))
    };
    let input: String = rows.iter().map(line).collect();
    let graded = lines(&TestEnv::new(), &["grade", "math"], &input);
    for ((reference, answer, expected), graded) in rows.iter().zip(&graded) {
        assert_eq!(graded["verdict"], *expected, "{answer} against {reference}: {graded}");
        let explained = !graded["why"].as_str().unwrap().is_empty();
        assert_eq!(explained, *expected != "correct", "{graded}");
    }
}

#[test]
fn where_an_answer_was_found_is_told() {
    let rows = [
        (r"so \boxed{5}", "box"),
        ("The final answer is $5$.", "announced"),
        ("**5**", "bold"),
        ("5", "alone"),
        ("We add three numbers and get 5 of them", "nothing"),
    ];
    let line = |answer: &str| format!("{}\n", json!({"reference": "5", "answer": answer}));
    let input: String = rows.iter().map(|(answer, _)| line(answer)).collect();
    let graded = lines(&TestEnv::new(), &["grade", "math"], &input);
    for ((answer, found), graded) in rows.iter().zip(&graded) {
        assert_eq!(
            (&graded["verdict"], &graded["found"]),
            (&json!("correct"), &json!(found)),
            "{answer}"
        );
    }
}

#[test]
fn graders_of_published_scores_can_be_chosen() {
    // Reference, answer and what each grader says.
    let rows = [
        ("0.25", r"\boxed{\frac14}", ["correct", "wrong", "unchecked", "correct"]),
        ("B", "Not A. The answer is (B).", ["correct", "wrong", "correct", "correct"]),
        ("1/3", "0.333333", ["correct", "wrong", "unchecked", "correct"]),
        (r"9^{9^{9^9}}", "5^{5^{5^{5^5}}}", ["unchecked", "wrong", "unchecked", "wrong"]),
    ];
    let env = TestEnv::new();
    for (at, grader) in ["engine", "hendrycks_math", "gpqa", "math_verify"].iter().enumerate() {
        for (reference, answer, expected) in rows {
            let row = json!({"reference": reference, "answer": answer}).to_string();
            let graded = lines(&env, &["grade", "math", "--grader", grader], &row);
            assert_eq!(graded[0]["verdict"], expected[at], "{grader} on {answer}: {graded:?}");
        }
    }
}

#[test]
fn conventions_of_math_answers_can_be_refused() {
    let env = TestEnv::new();
    for (reference, answer, arguments, expected) in [
        (r"28\%", "28", vec![], "correct"),
        (r"28\%", "28", vec!["--exact"], "wrong"),
        ("1/3", "0.33", vec![], "wrong"),
        ("1/3", "0.33", vec!["--decimals", "2"], "correct"),
        ("1/3", "0.333333", vec!["--exact"], "wrong"),
    ] {
        let row = json!({"reference": reference, "answer": answer}).to_string();
        let graded = lines(&env, &[vec!["grade", "math"], arguments].concat(), &row);
        assert_eq!(graded[0]["verdict"], expected, "{answer} against {reference}");
    }
}

#[test]
fn programs_that_are_right_pass() {
    let two = "2\n3\n";
    let right = |code| (program(code, two, "5"), "passed");
    check(
        "strict",
        &[
            right("print(int(input()) + int(input()))"),
            right("import sys\nprint(sum(map(int, sys.stdin)))"),
            right(
                "import sys\ninput = sys.stdin.buffer.readline\nprint(int(input()) + int(input()))",
            ),
            right("print(sum(map(int, open(0).read().split())))"),
            right("import os\nos.write(1, b'%d' % sum(map(int, os.read(0, 99).split())))"),
            right("import sys\nsys.stdout.buffer.write(b'5')"),
            right("if __name__=='__main__':\n  print(5)\n  exit()"),
            right("import atexit\natexit.register(print, 5)"),
            right("from __future__ import annotations\nprint(5)"),
            right("import os\nprint(5, flush=True)\nos._exit(0)"),
            right("n = 0\ndef f():\n  global n\n  n = 5\nf()\nprint(n)"),
            right("import threading\nt = threading.Thread(target=print, args=(5,))\nt.start()"),
        ],
    );
}

#[test]
fn programs_that_fail_say_how() {
    let failing = |code, outcome| {
        let mut row = program(code, "", "1");
        row["limits"] = json!({"cpu_ms": 1000, "wall_ms": 30_000, "memory_bytes": 128 << 20});
        (row, outcome)
    };
    let mut sleeping = program("import time\ntime.sleep(60)", "", "1");
    sleeping["limits"] = json!({"wall_ms": 300});
    check(
        "strict",
        &[
            failing("print(2)", "wrong_answer"),
            failing("pass", "wrong_answer"),
            failing("1 / 0", "runtime_error"),
            failing("print(1)\nexit(3)", "runtime_error"),
            failing("def f(:", "compile_error"),
            failing("while True: pass", "time_limit"),
            failing("x = 9 ** 9 ** 9", "time_limit"),
            (sleeping, "time_limit"),
            failing("x = bytearray(10 ** 11)", "memory_limit"),
            failing("x = []\nwhile True: x.append(bytearray(10 ** 7))", "memory_limit"),
            failing("while True: print('x' * 10 ** 6)", "output_limit"),
            failing("import os\nos.abort()", "runtime_error"),
            failing("import os\nos.kill(os.getppid(), 9)\nprint(2)", "wrong_answer"),
            (json!({"solution": "prose", "tests": {"inputs": [""], "outputs": [""]}}), "no_code"),
        ],
    );
}

#[test]
fn functions_are_called_and_compared_by_value() {
    let call = |code: &str, outputs: Value| {
        let tests = json!({"inputs": [[1, 2], [3, 4]], "outputs": outputs, "fn_name": "add"});
        json!({"solution": fenced(code), "tests": tests})
    };
    let add = "def add(a, b):\n    return a + b";
    let method =
        "class Solution:\n    def add(self, a: int, b: int) -> List[int]:\n        return a + b";
    let cheat =
        "class E:\n    def __eq__(self, other): return True\ndef add(a, b):\n    return E()";
    check(
        "strict",
        &[
            (call(add, json!([3, 7])), "passed"),
            (call(method, json!([3, 7])), "passed"),
            (call(add, json!([[3], [7]])), "passed"),
            (call("def add(a, b): return (a, b)", json!([[1, 2], [3, 4]])), "passed"),
            (call("def add(a, b): return a", json!([[1, 2], [3, 4]])), "wrong_answer"),
            (call("def add(a, b): return True", json!([1, 1])), "wrong_answer"),
            (call(cheat, json!([3, 7])), "wrong_answer"),
            (call("def add(a, b): raise ValueError", json!([3, 7])), "runtime_error"),
            (call("def other(a, b): return 3", json!([3, 7])), "runtime_error"),
            (call("import sys\nsys.exit(0)", json!([3, 7])), "runtime_error"),
        ],
    );
}

#[test]
fn tests_after_the_first_failure_are_not_run() {
    let tests = json!({"inputs": ["1", "2", "3"], "outputs": ["1", "0", "3"]});
    let row = json!({"id": 1, "solution": fenced("print(input())"), "tests": tests});
    let graded = lines(&TestEnv::new(), &["grade", "code"], &row.to_string());
    assert_eq!(graded[0]["first_failed"], 1);
    assert_eq!(graded[0]["tests"].as_array().unwrap().len(), 2);
    assert_eq!(graded[0]["verdict"], "wrong");
}

#[test]
fn a_test_near_its_limit_is_run_again_alone_and_told_if_it_differs() {
    let env = TestEnv::new();
    let burn = "import os, time\nwhile time.process_time() < 0.19: pass\n";
    let row = |last: &str| {
        let tests = json!({"inputs": [""], "outputs": ["1"]});
        let limits = json!({"cpu_ms": 200});
        json!({"solution": fenced(&format!("{burn}{last}")), "tests": tests, "limits": limits})
    };
    let rows = [row("print(1)"), row("print(os.urandom(8).hex())")];
    let input: String = rows.iter().map(|row| format!("{row}\n")).collect();
    let graded = lines(&env, &["grade", "code"], &input);
    assert_eq!(graded[0]["verdict"], "correct", "{}", graded[0]);
    assert_eq!((&graded[0]["repeated"], &graded[0]["flaky"]), (&json!(1), &json!(0)));
    assert_eq!((&graded[1]["repeated"], &graded[1]["flaky"]), (&json!(1), &json!(1)));
    let test = &graded[1]["tests"][0];
    assert_eq!((&test["repeated"], &test["flaky"]), (&json!(true), &json!(true)));
    assert_eq!(graded[0]["tests"][0]["flaky"], Value::Null, "said only where it is so");
}

#[test]
fn a_program_finds_nothing_of_its_host() {
    let env = TestEnv::new();
    let canary = env.file("canary", "secret");
    let code = format!(
        "import os\n\
         print(*[name for name in ('PATH', 'THINKERY_DATA_DIR', 'USER') if name in os.environ])\n\
         print(*os.listdir('.'))\n\
         try: open({:?}, 'a').write('x')\n\
         except OSError: print('refused')",
        canary.display().to_string()
    );
    // Without root a program keeps its user's rights to files: that needs the whole sandbox.
    if rustix::process::geteuid().is_root() {
        check("strict", &[(program(&code, "", "refused"), "passed")]);
        assert_eq!(std::fs::read_to_string(canary).unwrap(), "secret");
    }
}

#[test]
fn nothing_outlives_a_program_and_nothing_is_handed_on() {
    let mark = format!("thinkery-test-{}", std::process::id());
    let daemon = format!(
        "import os, time\nif os.fork() == 0:\n  os.setsid()\n  if os.fork(): os._exit(0)\n  \
         os.execv('/bin/sh', ['{mark}', '-c', 'sleep 60; true'])\ntime.sleep(0.2)\nprint(1)"
    );
    let bomb = "import os\nwhile True: os.fork()";
    let memory = "import os\nprint(os.path.exists('a'))\nopen('a', 'w').write('x')";
    let mut remembering = program(memory, "", "False");
    remembering["tests"] = json!({"inputs": ["", ""], "outputs": ["False", "False"]});
    check(
        "strict",
        &[
            (program(&daemon, "", "1"), "passed"),
            (program(bomb, "", "1"), "runtime_error"),
            (remembering, "passed"),
        ],
    );
    for entry in std::fs::read_dir("/proc").unwrap().flatten() {
        let words = std::fs::read(entry.path().join("cmdline")).unwrap_or_default();
        assert!(!words.starts_with(mark.as_bytes()), "{:?} is still there", entry.path());
    }
}

#[test]
fn the_published_decision_can_be_reproduced() {
    let mut slow = program("while True: pass", "", "1");
    slow["limits"] = json!({"cpu_ms": 1000});
    let call = json!({"inputs": [[1]], "outputs": [2], "fn_name": "f"});
    let raising = json!({"solution": fenced("def f(a): return 1 / 0"), "tests": call});
    let rows = [
        (slow, "correct", "wrong"),
        (program("def f(:", "", "1"), "correct", "wrong"),
        (raising, "correct", "wrong"),
        (program("print(1)\nexit(3)", "", "1"), "correct", "wrong"),
        (program("print('2\\n1')", "", "1\n2"), "correct", "wrong"),
        (program("print(12)", "", "1 2"), "correct", "wrong"),
        (program("print('0.50000')", "", "0.5"), "wrong", "correct"),
        (program("print(2)", "", "1"), "wrong", "wrong"),
        (program("1 / 0", "", "1"), "wrong", "wrong"),
    ];
    let input: String = rows.iter().map(|(row, ..)| format!("{row}\n")).collect();
    let env = TestEnv::new();
    let upstream = lines(&env, &["grade", "code", "--mode", "upstream"], &input);
    let strict = lines(&env, &["grade", "code", "--mode", "strict"], &input);
    for (index, (row, theirs, ours)) in rows.iter().enumerate() {
        assert_eq!(upstream[index]["verdict"], *theirs, "upstream on {}", row["solution"]);
        assert_eq!(strict[index]["verdict"], *ours, "strict on {}", row["solution"]);
    }
}

#[test]
fn without_python_there_is_advice() {
    let env = TestEnv::new();
    let row = program("print(1)", "", "1").to_string();
    let file = env.file("row.jsonl", &row);
    let mut command = env.command(&["grade", "code"]);
    command.env("PATH", env.path()).stdin(std::fs::File::open(file).unwrap());
    let output = command.output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(said.contains("error: could not find python3"), "{said}");
    assert!(said.contains("hint: install Python 3.9 or newer"), "{said}");
}
