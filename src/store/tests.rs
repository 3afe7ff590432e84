//! Tests of the store: what is added once stays once, and what is stored comes back.

use super::{DataLock, Error, Store, TraceFilter};
use crate::records::{Domain, FinishReason, NewQuestion, NewTrace, Reply, Split};

fn store() -> (tempfile::TempDir, Store) {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path()).unwrap();
    (dir, store)
}

fn question(key: &str) -> NewQuestion {
    NewQuestion {
        key: key.into(),
        domain: Domain::Math,
        source: "test".into(),
        family: String::new(),
        split: Split::Train,
        problem: format!("what is {key}?"),
        reference: Some(key.into()),
        tests: None,
        starter_code: None,
    }
}

fn trace(question_id: crate::records::QuestionId, sample: u32) -> NewTrace {
    NewTrace {
        question_id,
        sample,
        model: "m".into(),
        endpoint: "e".into(),
        reasoning: "r".into(),
        solution: "s".into(),
        finish_reason: FinishReason::Stop,
        prompt_tokens: 1,
        completion_tokens: 2,
        cost_usd: 0.0,
        attempts: 1,
    }
}

#[test]
fn a_folder_that_we_make_is_our_users_alone() {
    use std::os::unix::fs::PermissionsExt;

    let dir = tempfile::tempdir().unwrap();
    let made = dir.path().join("deep/data");
    Store::open(&made).unwrap();
    let mode = std::fs::metadata(&made).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o700);
}

#[test]
fn a_question_is_added_once() {
    let (_dir, store) = store();
    assert_eq!(store.add_questions(&[question("1"), question("2"), question("1")]).unwrap(), 2);
    assert_eq!(store.add_questions(&[question("2")]).unwrap(), 0);
}

#[test]
fn missing_traces_are_the_work_list() {
    let (_dir, store) = store();
    store.add_questions(&[question("1"), question("2")]).unwrap();
    let work = store.missing_traces("m", 2, None).unwrap();
    assert_eq!(work.len(), 4);
    let first = trace(work[0].question.id, 0);
    assert!(store.add_trace(&first).unwrap());
    assert!(!store.add_trace(&first).unwrap(), "a trace is never added twice");
    assert_eq!(store.missing_traces("m", 2, None).unwrap().len(), 3);
    assert_eq!(store.missing_traces("another", 1, None).unwrap().len(), 2);
    let mut seen = 0;
    store
        .each_example(&TraceFilter::default(), |example| {
            seen += 1;
            assert_eq!(example.trace.solution, "s");
            assert_eq!(example.question.id, example.trace.question_id);
            assert_eq!(example.verdict, None);
            Ok::<_, Error>(())
        })
        .unwrap();
    assert_eq!(seen, 1);
}

#[test]
fn a_reply_without_a_trace_is_found_again() {
    let (_dir, store) = store();
    store.add_questions(&[question("1")]).unwrap();
    let id = store.missing_traces("m", 1, None).unwrap()[0].question.id;
    let reply = Reply {
        question_id: id,
        sample: 0,
        model: "m".into(),
        attempt: 1,
        status: 200,
        body: b"{}".to_vec(),
    };
    store.add_reply(&reply).unwrap();
    store.add_reply(&Reply { status: 500, ..reply.clone() }).unwrap();
    assert_eq!(store.unparsed_replies("m").unwrap(), [reply]);
    assert_eq!(store.unparsed_replies("another").unwrap(), []);
    store.add_trace(&trace(id, 0)).unwrap();
    assert_eq!(store.unparsed_replies("m").unwrap(), []);
}

#[test]
fn a_folder_has_one_owner() {
    let dir = tempfile::tempdir().unwrap();
    let lock = DataLock::acquire(dir.path()).unwrap();
    let Err(Error::Locked { pid, .. }) = DataLock::acquire(dir.path()) else {
        panic!("two owners");
    };
    assert_eq!(pid, std::process::id());
    drop(lock);
    DataLock::acquire(dir.path()).unwrap();
}

#[test]
fn a_newer_schema_is_refused() {
    let (dir, store) = store();
    store.lock().pragma_update(None, "user_version", 999).unwrap();
    drop(store);
    assert!(matches!(Store::open(dir.path()), Err(Error::Newer { found: 999, .. })));
}

#[test]
fn a_full_disk_is_named_with_its_remedy_and_nothing_is_kept() {
    let (_dir, store) = store();
    store.lock().pragma_update(None, "max_page_count", 60).unwrap();
    let many: Vec<_> = (0..5_000).map(|key| question(&key.to_string())).collect();
    let error = store.add_questions(&many).unwrap_err();
    assert!(matches!(error, Error::DiskFull { .. }), "{error}");
    assert!(error.hint().unwrap().starts_with("free some space"));
    assert_eq!(store.counts().unwrap().questions.total, 0);
    assert_eq!(store.add_questions(&[question("1")]).unwrap(), 1, "and there is room for less");
}
