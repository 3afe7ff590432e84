//! The contract of every verifier, and what the stage keeps.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::time::Duration;

use rustix::time::{ClockId, clock_gettime};

use super::{Attempt, Config, Mode, Tools, VERIFIERS, grade, run, verifier};
use crate::records::{
    Domain, FinishReason, NewQuestion, NewTrace, QuestionId, Split, Tests, Verdict,
};
use crate::sandbox::Sandbox;
use crate::stage;
use crate::store::{Store, TraceFilter};

/// Tools whose sandbox has no Python: nothing here may run a program.
fn tools() -> Tools {
    Tools::new(Sandbox::new(PathBuf::from("no-launcher"), Vec::new()))
}

fn question(domain: Domain) -> NewQuestion {
    NewQuestion {
        key: domain.name().into(),
        domain,
        source: "test".into(),
        family: String::new(),
        split: Split::Train,
        problem: "2 + 3 = ?".into(),
        reference: Some("5".into()),
        tests: Some(Tests {
            inputs: vec!["".into()].into(),
            outputs: vec!["5".into()].into(),
            ..Tests::default()
        }),
        starter_code: None,
    }
}

fn trace(question_id: QuestionId, solution: &str, finish_reason: FinishReason) -> NewTrace {
    NewTrace {
        question_id,
        sample: 0,
        model: "teacher".into(),
        endpoint: "http://teacher".into(),
        reasoning: r"is it \boxed{4}?".into(),
        solution: solution.into(),
        finish_reason,
        prompt_tokens: 1,
        completion_tokens: 1,
        cost_usd: 0.0,
        attempts: 1,
    }
}

/// Of this thread: a busy machine is no reason to fail.
fn processor_time() -> Duration {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    Duration::new(time.tv_sec.unsigned_abs(), u32::try_from(time.tv_nsec).unwrap())
}

#[track_caller]
fn check(domain: Domain, solution: &str, expected: &str) {
    let judgement = grade(&question(domain), solution, &tools()).unwrap();
    assert_eq!(judgement.verdict.name(), expected, "{domain}: {solution}");
}

#[test]
fn names_are_unique_and_versions_begin_at_one() {
    let names: BTreeSet<_> = VERIFIERS.iter().map(|verifier| verifier.name()).collect();
    assert_eq!(names.len(), VERIFIERS.len());
    assert!(VERIFIERS.iter().all(|verifier| verifier.version() >= 1));
}

#[test]
fn every_question_has_a_verifier_in_every_mode() {
    for mode in Mode::ALL {
        let names = Domain::ALL.map(|domain| verifier(&question(domain), mode).name());
        let code = match mode {
            Mode::Strict => "code",
            Mode::Upstream => "code_openthoughts",
            Mode::Lcb => "code_lcb",
            Mode::EvalchemyLcb => "code_evalchemy_lcb",
        };
        assert_eq!(names, ["math", code, "unchecked", "unchecked", "unchecked", "unchecked"]);
    }
}

#[test]
fn an_empty_answer_is_never_correct() {
    Domain::ALL.iter().for_each(|domain| check(*domain, "", "unreadable"));
}

#[test]
fn a_boxed_answer_is_compared_with_the_reference() {
    check(Domain::Math, r"So \boxed{5}.", "correct");
    check(Domain::Math, r"So \boxed{4}, no, \boxed{5}", "correct");
    check(Domain::Math, r"So \boxed{5}, no, \boxed{4}", "wrong");
    check(Domain::Math, "So 5.", "unreadable");
}

/// Verdict and outcome of a math solution; the reference is 5.
#[track_caller]
fn check_math(solution: &str, verdict: &str, outcome: &str) {
    let judgement = grade(&question(Domain::Math), solution, &tools()).unwrap();
    let said = (judgement.verdict.name(), judgement.detail["outcome"].as_str());
    assert_eq!(said, (verdict, Some(outcome)), "{solution}: {judgement:?}");
}

#[test]
fn an_answer_without_a_box_is_found_where_it_is_marked() {
    check_math("We add.\n\nThe final answer is 5.", "correct", "equal");
    check_math("We add. The final answer is $5$. I hope it is correct.", "correct", "equal");
    check_math("We add. **Answer:** 5", "correct", "equal");
    check_math(r"We add two and three to get $2 + 3 = 5$.", "correct", "equal");
    check_math(r"We add two and three, so that \[x = 5\]", "correct", "equal");
    check_math("Adding the numbers gives us **5**", "correct", "equal");
    check_math("5", "correct", "equal");
}

#[test]
fn an_announced_answer_can_be_wrong() {
    check_math(r"So \boxed{4}", "wrong", "different");
    check_math("We add. The final answer is 4.", "wrong", "different");
    check_math("We add. The answer is: $4$", "wrong", "different");
}

#[test]
fn what_may_not_be_the_answer_is_never_called_wrong() {
    check_math("It follows from the equation $x = 4$ that we are done.", "unchecked", "unboxed");
    check_math("We **4** add numbers that are given here: **4**", "unchecked", "unboxed");
    check_math("As shown above, the correct option is C", "unchecked", "unboxed");
    check_math(r"So \boxed{4", "unchecked", "unboxed");
    check_math("We add the 3 apples and then there are 5", "unreadable", "unmarked");
    check_math("I do not know how to solve this.", "unreadable", "unmarked");
    check_math("4", "unreadable", "unmarked");
    check_math("", "unreadable", "no_answer");
}

#[test]
fn nothing_is_taken_from_a_thought() {
    check_math(r"<think>so \boxed{5}</think> I give up on this one.", "unreadable", "unmarked");
    check_math(r"<think>so \boxed{5}", "unreadable", "no_answer");
    check_math(r"<think>so \boxed{4}</think> The final answer is 5.", "correct", "equal");
}

#[test]
fn what_nobody_can_check_is_not_called_correct() {
    check(Domain::Physics, "It falls.", "unchecked");
    check(Domain::Puzzle, r"\boxed{A}", "unchecked");
}

#[test]
fn a_question_without_reference_or_tests_cannot_be_checked() {
    let mut bare = question(Domain::Math);
    bare.reference = None;
    let judgement = grade(&bare, r"\boxed{5}", &tools()).unwrap();
    assert_eq!(judgement.verdict.name(), "unchecked");
    let mut bare = question(Domain::Code);
    bare.tests = None;
    let judgement = grade(&bare, "```\nprint(5)\n```", &tools()).unwrap();
    assert_eq!(judgement.verdict.name(), "unchecked");
}

#[test]
fn what_was_cut_off_is_unreadable_whatever_it_says() {
    for domain in Domain::ALL {
        for verifier in VERIFIERS.iter().filter(|verifier| verifier.accepts(&question(domain))) {
            let attempt = Attempt { solution: r"\boxed{5}", truncated: true };
            let judged = verifier.verify(&question(domain), &attempt, &tools()).unwrap();
            assert_eq!(judged.verdict.name(), "unreadable", "{}", verifier.name());
        }
    }
}

#[test]
fn garbage_is_judged_the_same_twice_within_a_second() {
    let megabyte = 1 << 20;
    for piece in [r"\boxed{", r"\frac{1}{", "(((((", "`", "9", "\u{0}\u{fffd}", "$\\text{", "1,"] {
        let garbage = piece.repeat(megabyte / piece.len());
        for domain in Domain::ALL {
            for text in [garbage.clone(), format!("\\boxed{{{garbage}}}")] {
                let begin = processor_time();
                let first = grade(&question(domain), &text, &tools()).unwrap();
                let taken = processor_time() - begin;
                assert!(taken < Duration::from_secs(1), "{piece} in {domain}: {taken:?}");
                assert_eq!(first, grade(&question(domain), &text, &tools()).unwrap());
                assert_ne!(first.verdict, Verdict::Correct);
            }
        }
    }
}

#[test]
fn the_stage_judges_what_has_no_verdict_and_nothing_twice() {
    let folder = tempfile::tempdir().unwrap();
    let store = Store::open(folder.path()).unwrap();
    let domains = [Domain::Math, Domain::Math, Domain::Puzzle, Domain::Math];
    let questions: Vec<NewQuestion> = domains
        .iter()
        .enumerate()
        .map(|(key, domain)| NewQuestion { key: key.to_string(), ..question(*domain) })
        .collect();
    store.add_questions(&questions).unwrap();
    let answers = [r"\boxed{5}", r"\boxed{6}", "A", r"\boxed{5}"];
    for (row, answer) in answers.iter().enumerate() {
        let finish = if row == 3 { FinishReason::Length } else { FinishReason::Stop };
        store.add_trace(&trace(QuestionId(row as i64 + 1), answer, finish)).unwrap();
    }
    let cx = stage::Context {
        store: store.clone(),
        progress: stage::Progress::silent(),
        stop: stage::Stop::default(),
    };
    let summary = run(&cx, &Config::default(), &tools()).unwrap();
    assert_eq!(summary.judged, 4);
    assert_eq!((summary.counts.correct, summary.counts.wrong), (1, 1));
    assert_eq!((summary.counts.unchecked, summary.counts.unreadable), (1, 1));
    assert_eq!(summary.by_domain["math"].unreadable, 1);
    let again = run(&cx, &Config::default(), &tools()).unwrap();
    assert_eq!(again.judged, 0);
    let mut verdicts = Vec::new();
    let keep = |example: crate::records::Example| {
        verdicts.push(example.verdict.unwrap().name());
        Ok::<_, crate::store::Error>(())
    };
    store.each_example(&TraceFilter::default(), keep).unwrap();
    assert_eq!(verdicts, ["correct", "wrong", "unchecked", "unreadable"]);
}

#[test]
fn a_program_without_python_is_an_error_with_advice() {
    let error = grade(&question(Domain::Code), "```\nprint(5)\n```", &tools()).unwrap_err();
    assert!(error.to_string().starts_with("could not find python3"), "{error}");
    assert!(stage::hint_of(&error).unwrap().contains("apt-get install python3"));
}

#[test]
fn a_stopped_stage_says_so() {
    let folder = tempfile::tempdir().unwrap();
    let store = Store::open(folder.path()).unwrap();
    let stop = stage::Stop::default();
    stop.request();
    let cx = stage::Context { store, progress: stage::Progress::silent(), stop };
    let error = run(&cx, &Config::default(), &tools()).unwrap_err();
    assert!(error.is::<stage::Stopped>());
}
