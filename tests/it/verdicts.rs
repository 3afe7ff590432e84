//! `thinkery verify`: verdicts side by side, compared, exported, found again; comparators inferred.

use serde_json::{Value, json};
use thinkery::records::{
    Domain, FinishReason, Mode, NewQuestion, NewTrace, QuestionId, Split, TraceId, VerdictRow,
};
use thinkery::store::Store;

use crate::env::TestEnv;

/// Solutions of one question (print the sum of two lines), with the strict and the published verdict.
const SOLUTIONS: [(&str, &str, &str); 5] = [
    ("print(int(input()) + int(input()))", "correct", "correct"),
    ("print(int(input()) - int(input()))", "wrong", "wrong"),
    ("print(int(input()) + int(input()))\nraise SystemExit(3)", "wrong", "correct"),
    ("def f(:", "wrong", "correct"),
    ("", "unreadable", "unreadable"),
];

/// A store with a trace for each solution.
fn filled(env: &TestEnv) -> Store {
    let store = Store::open(&env.data()).unwrap();
    let tests = json!({"inputs": ["2\n3\n", "4\n5\n"], "outputs": ["5", "9"]});
    let question = NewQuestion {
        key: "sum".into(),
        domain: Domain::Code,
        source: "test".into(),
        family: String::new(),
        split: Split::Train,
        problem: "Print the sum.".into(),
        reference: None,
        tests: Some(serde_json::from_value(tests).unwrap()),
        starter_code: None,
    };
    store.add_questions(&[question]).unwrap();
    for (sample, (code, ..)) in SOLUTIONS.iter().enumerate() {
        let fenced = format!("```python\n{code}\n```\n");
        let trace = NewTrace {
            question_id: QuestionId(1),
            sample: u32::try_from(sample).unwrap(),
            model: "teacher".into(),
            endpoint: "http://teacher".into(),
            reasoning: "hm".into(),
            solution: if code.is_empty() { "I do not know.".into() } else { fenced },
            finish_reason: FinishReason::Stop,
            prompt_tokens: 1,
            completion_tokens: 1,
            cost_usd: 0.0,
            attempts: 1,
        };
        store.add_trace(&trace).unwrap();
    }
    store
}

fn exported(env: &TestEnv) -> Vec<Value> {
    let ended = env.run(&["verify", "export"]);
    ended.stdout.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

#[test]
fn modes_judge_side_by_side_and_the_report_counts_what_strict_rules_would_not_keep() {
    let env = TestEnv::new();
    drop(filled(&env));
    let strict = env.run(&["verify", "--json"]).json();
    assert_eq!(
        (&strict["judged"], &strict["correct"], &strict["wrong"]),
        (&json!(5), &json!(1), &json!(3))
    );
    assert_eq!(strict["unresolved"], 0);
    assert_eq!(strict["by_comparator"]["tokens"], 5);
    let upstream = env.run(&["verify", "--mode", "upstream", "--json"]).json();
    assert_eq!((&upstream["judged"], &upstream["correct"]), (&json!(5), &json!(3)));
    assert_eq!(env.run(&["verify", "--mode", "upstream", "--json"]).json()["judged"], 0);
    let report = env.run(&["verify", "report", "--json"]).json();
    assert_eq!(report["modes"]["upstream"]["only_here"], 2);
    assert_eq!(report["modes"]["upstream"]["only_strict"], 0);
    assert_eq!(report["modes"]["strict"]["correct"], 1);
    assert_eq!(report["comparators"]["tokens"]["share"], 1.0);
    let said = env.run(&["verify", "report"]).stdout;
    assert!(
        said.contains("2 of 5 traces that `upstream` keeps would not pass strict rules"),
        "{said}"
    );
    let rows = exported(&env);
    assert_eq!(rows.len(), 10);
    for (index, (code, strict, upstream)) in SOLUTIONS.iter().enumerate() {
        let of = |mode: &str| {
            let wanted = |row: &&Value| row["id"] == index + 1 && row["mode"] == mode;
            rows.iter().find(wanted).unwrap()["verdict"].as_str().unwrap().to_owned()
        };
        assert_eq!(
            (of("strict").as_str(), of("upstream").as_str()),
            (*strict, *upstream),
            "{code}"
        );
    }
    let detail = &rows[2]["detail"];
    for known in
        ["tier", "interpreter", "limits", "comparator", "cpu_ms", "wall_ms", "memory_bytes", "mode"]
    {
        assert!(!detail[known].is_null(), "{known}: {detail}");
    }
    assert_eq!(detail["failed"]["expected"], "5");
    assert_eq!(detail["failed"]["position"], 1);
    assert_eq!(report["ledger"][0]["endpoint"], "http://teacher");
}

#[test]
fn a_verdict_can_be_found_again_and_one_that_changed_is_told() {
    let env = TestEnv::new();
    let store = filled(&env);
    env.run(&["verify", "--json"]).json();
    for id in ["1", "2", "3", "4", "5"] {
        let replayed = env.run(&["verify", "replay", id, "--json"]).json();
        assert_eq!((&replayed["same"], &replayed["differences"]), (&json!(true), &json!([])));
    }
    let row = store.verdict(TraceId(2), Mode::Strict).unwrap().unwrap();
    let lie = VerdictRow { verdict: thinkery::records::Verdict::Correct, ..row };
    store.put_verdicts(&[lie]).unwrap();
    let replayed = env.run(&["verify", "replay", "2", "--json"]).json();
    assert_eq!(replayed["same"], false);
    assert_eq!(replayed["differences"][0], "verdict was correct and is wrong");
    assert!(env.run(&["verify", "replay", "2"]).stdout.starts_with("different: wrong"));
    let none = env.run(&["verify", "replay", "2", "--mode", "lcb"]).error();
    assert!(none.contains("trace 2 has no verdict in mode `lcb`"), "{none}");
    assert!(env.run(&["verify", "replay", "77"]).error().contains("there is no trace `77`"));
}

#[test]
fn verdicts_of_an_older_version_are_found_and_redone() {
    let env = TestEnv::new();
    let store = filled(&env);
    env.run(&["verify", "--json"]).json();
    let row = store.verdict(TraceId(1), Mode::Strict).unwrap().unwrap();
    let older = VerdictRow { version: row.version - 1, ..row.clone() };
    store.put_verdicts(&[older]).unwrap();
    assert_eq!(env.run(&["verify", "--json"]).json()["judged"], 1);
    assert_eq!(store.verdict(TraceId(1), Mode::Strict).unwrap().unwrap().version, row.version);
}

#[test]
fn math_verdicts_of_an_older_version_are_found_and_redone() {
    let env = TestEnv::new();
    let store = Store::open(&env.data()).unwrap();
    let question = NewQuestion {
        key: "sum".into(),
        domain: Domain::Math,
        source: "test".into(),
        family: String::new(),
        split: Split::Train,
        problem: "1 + 1?".into(),
        reference: Some("2".into()),
        tests: None,
        starter_code: None,
    };
    store.add_questions(&[question]).unwrap();
    let trace = NewTrace {
        question_id: QuestionId(1),
        sample: 0,
        model: "teacher".into(),
        endpoint: "http://teacher".into(),
        reasoning: "hm".into(),
        solution: "The final answer is $2$.".into(),
        finish_reason: FinishReason::Stop,
        prompt_tokens: 1,
        completion_tokens: 1,
        cost_usd: 0.0,
        attempts: 1,
    };
    store.add_trace(&trace).unwrap();
    // What version 2 said, which wanted a box.
    let why = thinkery::records::Verdict::Unreadable("the solution has no closed \\boxed{}".into());
    let older = VerdictRow {
        trace_id: TraceId(1),
        mode: Mode::Strict,
        verdict: why,
        verifier: "math".into(),
        version: 2,
        detail: Value::Null,
    };
    store.put_verdicts(&[older]).unwrap();
    let replayed = env.run(&["verify", "replay", "1", "--json"]).json();
    assert_eq!(replayed["same"], false);
    let told = replayed["differences"].to_string();
    assert!(told.contains("verdict was unreadable and is correct"), "{told}");
    assert!(told.contains("version of the verifier was 2 and is 3"), "{told}");
    let again = env.run(&["verify", "--json"]).json();
    assert_eq!((&again["judged"], &again["correct"]), (&json!(1), &json!(1)));
    let row = exported(&env).remove(0);
    assert_eq!(
        (&row["detail"]["outcome"], &row["detail"]["found"]),
        (&json!("equal"), &json!("announced"))
    );
    assert_eq!(env.run(&["verify", "replay", "1", "--json"]).json()["same"], true);
}

#[test]
fn comparators_are_inferred_from_references() {
    let env = TestEnv::new();
    let reference = |text: &str| format!("print({text:?})");
    let row = |id: &str, output: &str, said: [&str; 3]| {
        json!({"id": id, "problem": "?", "tests": {"inputs": [""], "outputs": [output]},
               "solutions": said.map(reference)})
    };
    let rows = [
        (row("plain", "1 2", ["1 2", "1  2", "1 2 "]), "sound", json!("tokens")),
        (row("case", "YES", ["yes", "Yes", "YES"]), "sound", json!("tokens-ci")),
        (row("order", "1 2", ["2 1", "1 2", "2 1"]), "sound", json!("tokens-unordered")),
        (row("broken", "1", ["2", "2", "2"]), "broken", Value::Null),
        (row("several", "1", ["1", "2", "3"]), "multi-answer", Value::Null),
    ];
    let input: String = rows.iter().map(|(row, ..)| format!("{row}\n")).collect();
    let file = env.file("in.jsonl", &input);
    let out = env.path().join("out.jsonl");
    let (file, out) = (file.to_str().unwrap(), out.to_str().unwrap());
    let summary = env.run(&["verify", "infer", file, "--out", out, "--json"]).json();
    assert_eq!((&summary["rows"], &summary["rejected"]), (&json!(5), &json!(0)));
    let written = std::fs::read_to_string(out).unwrap();
    for ((_, soundness, comparator), line) in rows.iter().zip(written.lines()) {
        let found: Value = serde_json::from_str(line).unwrap();
        assert_eq!(found["inferred"]["soundness"], *soundness, "{found}");
        assert_eq!(found["tests"]["comparator"], *comparator, "{found}");
    }
}
