//! Tests of the store: what is added once stays once, and what is stored comes back.

use super::{DataLock, Error, JudgeReply, ReviewFilter, Store, TraceFilter};
use crate::records::{
    Domain, FinishReason, Judgement, Mode, NewQuestion, NewTrace, QuestionId, Reply, ReviewAction,
    ReviewReason, ReviewState, Split, TraceId, Unresolved, Verdict, VerdictRow,
};

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

fn trace(question_id: QuestionId, sample: u32) -> NewTrace {
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

/// A store with one trace per row: what the rules say, and what the judge says.
fn judged(rows: &[(&str, Option<&str>)]) -> (tempfile::TempDir, Store) {
    let (dir, store) = store();
    let questions: Vec<_> = (0..rows.len()).map(|key| question(&key.to_string())).collect();
    store.add_questions(&questions).unwrap();
    for (index, (rule, judge)) in rows.iter().enumerate() {
        let id = index as i64 + 1;
        store.add_trace(&trace(QuestionId(id), 0)).unwrap();
        put_rule(&store, id, rule);
        let judgement = judge.map(|judge| Judgement {
            trace_id: TraceId(id),
            verdict: Verdict::from_parts(judge, "the judge says so".into()).unwrap(),
            verifier: "judge".into(),
            version: 1,
            settings: "s".into(),
            detail: serde_json::json!({}),
        });
        store.put_judgements(judgement.as_slice()).unwrap();
    }
    store.refresh_reviews().unwrap();
    (dir, store)
}

fn put_rule(store: &Store, id: i64, verdict: &str) {
    let row = VerdictRow {
        trace_id: TraceId(id),
        mode: Mode::Strict,
        verdict: Verdict::from_parts(verdict, "the rules say so".into()).unwrap(),
        verifier: "math".into(),
        version: 1,
        detail: serde_json::json!({}),
    };
    store.put_verdicts(&[row]).unwrap();
}

#[track_caller]
fn counts(store: &Store, id: i64, verdict: &str, verifier: &str) {
    let decided = store.decided(TraceId(id)).unwrap().unwrap();
    assert_eq!((decided.verdict.as_str(), decided.verifier.as_str()), (verdict, verifier));
    let example = store.example(TraceId(id)).unwrap();
    assert_eq!(example.verdict.unwrap().name(), verdict);
}

fn open_reviews(store: &Store) -> Vec<(i64, &'static str)> {
    let filter = ReviewFilter { state: Some(ReviewState::Open), reason: None };
    let page = store.reviews_page(filter, TraceId(0), 100).unwrap();
    page.iter().map(|item| (item.review.trace_id.0, item.review.reason.name())).collect()
}

#[test]
fn a_judge_decides_only_what_the_rules_leave_open() {
    let rows = [
        ("unchecked", Some("correct")),
        ("unchecked", Some("wrong")),
        ("unchecked", Some("unchecked")),
        ("correct", Some("wrong")),
        ("wrong", Some("correct")),
        ("correct", Some("unchecked")),
        ("correct", Some("correct")),
        ("unreadable", Some("correct")),
        ("unchecked", None),
    ];
    let (_dir, store) = judged(&rows);
    let expected = [
        ("correct", "judge"),
        ("wrong", "judge"),
        ("unchecked", "judge"),
        ("correct", "math"),
        ("wrong", "math"),
        ("correct", "math"),
        ("correct", "math"),
        ("unreadable", "math"),
        ("unchecked", "math"),
    ];
    for (index, (verdict, verifier)) in expected.iter().enumerate() {
        counts(&store, index as i64 + 1, verdict, verifier);
    }
    assert_eq!(open_reviews(&store), [(3, "abstained"), (4, "disagreement"), (5, "disagreement")]);
    let totals = store.trace_counts().unwrap();
    assert_eq!((totals.correct, totals.wrong, totals.unchecked, totals.unreadable), (4, 2, 2, 1));
}

#[test]
fn a_persons_word_survives_every_later_verdict_until_it_is_taken_back() {
    let (_dir, store) = judged(&[("wrong", Some("correct"))]);
    let review = store.decide_review(TraceId(1), ReviewAction::Accept, "eva", "typo").unwrap();
    assert_eq!((review.state, review.decided_by.as_deref()), (ReviewState::Accepted, Some("eva")));
    counts(&store, 1, "correct", "human");
    put_rule(&store, 1, "unreadable");
    store.refresh_reviews().unwrap();
    counts(&store, 1, "correct", "human");
    store.decide_review(TraceId(1), ReviewAction::Reject, "ida", "").unwrap();
    counts(&store, 1, "wrong", "human");
    store.decide_review(TraceId(1), ReviewAction::Reopen, "ida", "").unwrap();
    counts(&store, 1, "unreadable", "math");
    let log = store.review_log(TraceId(1)).unwrap();
    let pair = |verdict: &str, by: &str| Some((verdict.to_owned(), by.to_owned()));
    let steps: Vec<_> =
        log.iter().map(|e| (e.who.as_str(), e.before.clone(), e.after.clone())).collect();
    assert_eq!(
        steps,
        [
            ("eva", pair("wrong", "math"), pair("correct", "human")),
            ("ida", pair("correct", "human"), pair("wrong", "human")),
            ("ida", pair("wrong", "human"), pair("unreadable", "math")),
        ]
    );
    assert_eq!(log[0].note, "typo");
}

#[test]
fn what_settles_itself_leaves_the_queue_and_what_was_skipped_does_not_come_back() {
    let (_dir, store) = judged(&[("wrong", Some("correct")), ("correct", Some("wrong"))]);
    store.decide_review(TraceId(2), ReviewAction::Skip, "eva", "").unwrap();
    put_rule(&store, 1, "correct");
    store.refresh_reviews().unwrap();
    assert_eq!(open_reviews(&store), []);
    counts(&store, 2, "correct", "math");
    put_rule(&store, 1, "wrong");
    store.refresh_reviews().unwrap();
    assert_eq!(open_reviews(&store), [(1, "disagreement")]);
}

#[test]
fn any_trace_can_be_decided_and_none_that_is_not_there() {
    let (_dir, store) = judged(&[("correct", None)]);
    let review = store.decide_review(TraceId(1), ReviewAction::Reject, "eva", "").unwrap();
    assert_eq!(review.reason, ReviewReason::Asked);
    counts(&store, 1, "wrong", "human");
    let missing = store.decide_review(TraceId(9), ReviewAction::Accept, "eva", "").unwrap_err();
    assert_eq!(missing.to_string(), "there is no trace `9`");
    assert!(store.review_log(TraceId(9)).unwrap().is_empty());
}

#[test]
fn a_judges_reply_is_kept_once_and_comes_back_byte_for_byte() {
    let (_dir, store) = store();
    let reply = |body: &[u8]| JudgeReply {
        key: "k".into(),
        model: "m".into(),
        body: body.to_vec(),
        prompt_tokens: 1,
        completion_tokens: 2,
        cost_usd: 0.5,
        endpoint: "http://judge".into(),
    };
    let bytes = b"{\"a\":\xff\x00}";
    store.add_judge_replies(&[reply(bytes), reply(b"later")]).unwrap();
    assert_eq!(store.judge_reply("k").unwrap().as_deref(), Some(&bytes[..]));
    assert_eq!(store.judge_reply("other").unwrap(), None);
    assert_eq!(store.judges_cost_usd().unwrap(), 0.5);
    let spent = store.ledger().unwrap();
    assert_eq!(
        (spent.len(), spent[0].endpoint.as_str(), spent[0].judges_usd),
        (1, "http://judge", 0.5)
    );
    assert_eq!(store.judge_salt("first").unwrap(), "first");
    assert_eq!(store.judge_salt("second").unwrap(), "first");
}

fn verdict(id: i64, mode: Mode, verdict: Verdict, version: u32) -> VerdictRow {
    let (trace_id, verifier) = (TraceId(id), "code".into());
    let detail = serde_json::json!({"comparator": "tokens", "cpu_ms": 3});
    VerdictRow { trace_id, mode, verdict, verifier, version, detail }
}

#[test]
fn verdicts_of_modes_lie_side_by_side_and_strict_ones_count() {
    let (_dir, store) = judged(&[("wrong", None), ("correct", None)]);
    let upstream = |id, said| verdict(id, Mode::Upstream, said, 1);
    store
        .put_verdicts(&[upstream(1, Verdict::Correct), upstream(2, Verdict::Wrong("x".into()))])
        .unwrap();
    assert_eq!(store.verdict(TraceId(1), Mode::Strict).unwrap().unwrap().verdict.name(), "wrong");
    assert_eq!(
        store.verdict(TraceId(1), Mode::Upstream).unwrap().unwrap().verdict.name(),
        "correct"
    );
    assert_eq!(store.verdict(TraceId(1), Mode::Lcb).unwrap(), None);
    assert_eq!(store.trace_counts().unwrap().correct, 1);
    let names = |mode| {
        let mut names = Vec::new();
        let filter = TraceFilter { mode, ..TraceFilter::default() };
        let keep = |example: crate::records::Example| {
            names.push(example.verdict.map(|verdict| verdict.name()));
            Ok::<_, Error>(())
        };
        store.each_example(&filter, keep).unwrap();
        names
    };
    assert_eq!(names(Mode::Strict), [Some("wrong"), Some("correct")]);
    assert_eq!(names(Mode::Upstream), [Some("correct"), Some("wrong")]);
    assert_eq!(names(Mode::Lcb), [None, None]);
    let count = store.mode_count(Mode::Upstream).unwrap();
    assert_eq!((count.compared, count.only_here, count.only_strict), (2, 1, 1));
    assert_eq!(store.comparator_counts(Mode::Upstream).unwrap()["tokens"], (2, 1));
}

#[test]
fn verdicts_of_older_versions_are_found_and_replaced() {
    let (_dir, store) = judged(&[("correct", None), ("correct", None)]);
    store.put_verdicts(&[verdict(1, Mode::Strict, Verdict::Correct, 2)]).unwrap();
    store.put_verdicts(&[verdict(2, Mode::Strict, Verdict::Correct, 1)]).unwrap();
    let missing = |version, after| {
        let current = [("code", version)];
        store.traces_without_verdict(Mode::Strict, &current, TraceId(after), 10).unwrap()
    };
    assert_eq!(missing(2, 0), [TraceId(2)]);
    assert_eq!(missing(3, 0), [TraceId(1), TraceId(2)]);
    assert_eq!(missing(3, 1), [TraceId(2)]);
    store.put_verdicts(&[verdict(2, Mode::Strict, Verdict::Wrong("x".into()), 2)]).unwrap();
    assert_eq!(missing(2, 0), []);
}

#[test]
fn what_could_not_be_judged_is_kept_until_it_is() {
    let (_dir, store) = judged(&[("correct", None), ("correct", None)]);
    let row = |id| Unresolved { trace_id: TraceId(id), mode: Mode::Lcb, why: "no memory".into() };
    store.put_unresolved(&[row(1), row(2)]).unwrap();
    store.put_unresolved(&[row(1)]).unwrap();
    assert_eq!(store.unresolved(Mode::Lcb).unwrap(), [row(1), row(2)]);
    assert_eq!(store.unresolved(Mode::Strict).unwrap(), []);
    let missing = store.traces_without_verdict(Mode::Lcb, &[("code", 1)], TraceId(0), 10).unwrap();
    assert_eq!(missing.len(), 2);
    store.put_verdicts(&[verdict(1, Mode::Lcb, Verdict::Correct, 1)]).unwrap();
    assert_eq!(store.unresolved(Mode::Lcb).unwrap(), [row(2)]);
    assert_eq!(store.mode_count(Mode::Lcb).unwrap().unresolved, 1);
}
