//! Tests of importing: good rows come in, bad ones are named with their number.

use std::collections::BTreeMap;

use super::{Config, Rejected, Summary, run};
use crate::records::{Domain, Split};
use crate::stage::{Context, Progress, Stop};
use crate::store::{QuestionFilter, Store};

fn context() -> (tempfile::TempDir, Context) {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path()).unwrap();
    (dir, Context { store, progress: Progress::silent(), stop: Stop::default() })
}

/// Imports `rows` as a file called `sheet.jsonl`.
fn import(cx: &Context, rows: &[u8], map: &[(&str, &str)]) -> anyhow::Result<Summary> {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("sheet.jsonl");
    std::fs::write(&path, rows).unwrap();
    let map: BTreeMap<String, String> =
        map.iter().map(|&(field, column)| (field.into(), column.into())).collect();
    run(cx, &Config { source: "jsonl".into(), path: Some(path), map, ..Config::default() })
}

#[track_caller]
fn check_rejected(row: &str, why: &str) {
    let (_dir, cx) = context();
    let good = r#"{"problem": "1 + 1?", "reference": 2}"#;
    let summary = import(&cx, format!("{good}\n{row}\n").as_bytes(), &[]).unwrap();
    assert_eq!((summary.imported, summary.rejected), (1, 1), "{row}");
    assert_eq!(summary.rejections, [Rejected { row: 2, why: why.into() }], "{row}");
}

#[test]
fn the_rehearsal_is_imported_once() {
    let (_dir, cx) = context();
    let first = run(&cx, &Config::default()).unwrap();
    assert_eq!((first.imported, first.duplicates, first.rejected), (5_790, 0, 0));
    let again = run(&cx, &Config::default()).unwrap();
    assert_eq!((again.imported, again.duplicates), (0, 5_790));
    let held_out = QuestionFilter { split: Some(Split::HeldOut), ..QuestionFilter::default() };
    assert_eq!(cx.store.questions(&held_out).unwrap().len(), 150);
}

#[test]
fn rows_become_questions() {
    let (_dir, cx) = context();
    let rows = r#"
{"id": "a", "problem": "1 + 1?", "domain": "math", "reference": "2", "source": "mine"}
{"problem": "Print 1.", "tests": {"inputs": [""], "outputs": ["1"]}, "starter_code": "x"}
{"problem": "Print 2.", "domain": "code", "tests": "{\"inputs\": [[]], \"outputs\": [2], \"fn_name\": \"f\"}"}
{"problem": "What is life?", "domain": "biology"}
"#;
    let summary = import(&cx, rows.as_bytes(), &[]).unwrap();
    assert_eq!((summary.imported, summary.rejected), (4, 0), "{summary:?}");
    let questions = cx.store.questions(&QuestionFilter::default()).unwrap();
    assert_eq!((&*questions[0].key, &*questions[0].source), ("a", "mine"));
    assert_eq!((questions[1].domain, &*questions[1].source), (Domain::Code, "sheet"));
    assert_eq!(questions[2].tests.as_ref().unwrap().fn_name.as_deref(), Some("f"));
    assert_eq!(questions[3].reference, None);
}

#[test]
fn bad_rows_are_named_and_the_rest_is_imported() {
    check_rejected("{\"problem\": ", "not JSON: EOF while parsing a value at line 2 column 0");
    check_rejected("[1]", "not a JSON object");
    check_rejected(r#"{"reference": "2"}"#, "no `problem`");
    check_rejected(r#"{"problem": " ", "reference": "2"}"#, "no `problem`");
    check_rejected(r#"{"problem": ["x"], "reference": "2"}"#, "`problem` is not text");
    check_rejected(r#"{"problem": "x"}"#, "a math question without an answer: no `reference`");
    check_rejected(
        r#"{"problem": "x", "domain": "code", "reference": "2"}"#,
        "a code question without an answer: no `tests`",
    );
    check_rejected(
        r#"{"problem": "x", "domain": "poetry"}"#,
        "`poetry` is no domain; expected math, code, biology, chemistry, physics or puzzle",
    );
    check_rejected(
        r#"{"problem": "x", "tests": {"inputs": [1, 2], "outputs": [1]}}"#,
        "`tests` has 2 inputs but 1 outputs",
    );
    check_rejected(
        r#"{"problem": "x", "tests": {"inputs": [], "outputs": []}}"#,
        "`tests` is empty",
    );
}

#[test]
fn bytes_that_are_no_text_are_named() {
    let (_dir, cx) = context();
    let summary = import(&cx, b"\xff\xfe\n{\"problem\":\"a\",\"reference\":\"b\"}", &[]).unwrap();
    assert_eq!((summary.imported, summary.rejections[0].row), (1, 1));
    assert!(summary.rejections[0].why.starts_with("not UTF-8"), "{summary:?}");
}

#[test]
fn columns_may_have_other_names() {
    let (_dir, cx) = context();
    let row = br#"{"question": "1 + 1?", "answer": 2, "uuid": 7}"#;
    let map = [("problem", "question"), ("reference", "answer"), ("id", "uuid")];
    assert_eq!(import(&cx, row, &map).unwrap().imported, 1);
    let questions = cx.store.questions(&QuestionFilter::default()).unwrap();
    assert_eq!((&*questions[0].key, questions[0].reference.as_deref()), ("7", Some("2")));
    let error = import(&cx, row, &[("answer", "reference")]).unwrap_err();
    assert!(format!("{error:#}").contains("no field `answer`"), "{error:#}");
}

#[test]
fn the_same_text_is_the_same_question() {
    let (_dir, cx) = context();
    let row = "{\"problem\":\"a\",\"reference\":\"b\"}\n".repeat(2);
    let summary = import(&cx, row.as_bytes(), &[]).unwrap();
    assert_eq!((summary.imported, summary.duplicates), (1, 1));
}

#[test]
fn unknown_sources_and_missing_files_are_named() {
    let (_dir, cx) = context();
    let error = run(&cx, &Config { source: "numina".into(), ..Config::default() }).unwrap_err();
    assert_eq!(format!("{error:#}"), "there is no source of questions called `numina`");
    let path = Some("no/such/file.jsonl".into());
    let missing = Config { source: "jsonl".into(), path, ..Config::default() };
    let error = run(&cx, &missing).unwrap_err();
    assert!(format!("{error:#}").starts_with("could not read questions from `no/such/file.jsonl`"));
    assert!(crate::stage::hint_of(&error).is_some());
}
