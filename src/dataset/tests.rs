//! The stage from traces to files.

use std::fs;
use std::path::Path;

use super::base::Base;
use super::encode::{Encoding, TemplateName, Truncation, of_dataset, row_of_dataset};
use super::{Config, Summary, export, run};
use crate::formats::Format;
use crate::hint;
use crate::records::{
    Arm, DatasetId, Domain, Example, FinishReason, Mode, NewQuestion, NewTrace, Question,
    QuestionId, Split, Tests, Trace, TraceId, Verdict, VerdictRow,
};
use crate::stage;
use crate::store::{Store, TraceFilter};

fn question(domain: Domain, key: usize) -> NewQuestion {
    let code = domain == Domain::Code;
    NewQuestion {
        key: key.to_string(),
        domain,
        source: "test".into(),
        family: "sums".into(),
        split: Split::Train,
        problem: format!("What is {key} + 3?"),
        reference: (!code).then(|| "5".into()),
        tests: code.then(|| Tests {
            inputs: vec!["2".into()].into(),
            outputs: vec!["5".into()].into(),
            ..Tests::default()
        }),
        starter_code: None,
    }
}

fn trace(question_id: QuestionId) -> NewTrace {
    NewTrace {
        question_id,
        sample: 0,
        model: "teacher".into(),
        endpoint: "http://127.0.0.1:4567/v1".into(),
        reasoning: "2 + 3 = 5".into(),
        solution: r"\boxed{5}".into(),
        finish_reason: FinishReason::Stop,
        prompt_tokens: 7,
        completion_tokens: 9,
        cost_usd: 0.25,
        attempts: 1,
    }
}

/// An example of `domain` with `verdict`.
pub(super) fn example(domain: Domain, verdict: Option<Verdict>) -> Example {
    Example {
        question: Question { id: QuestionId(1), content: question(domain, 0) },
        trace: Trace { id: TraceId(1), content: trace(QuestionId(1)) },
        verdict,
    }
}

/// A store with three math traces (correct, wrong, unreadable), a puzzle and a program.
fn filled(folder: &Path) -> stage::Context {
    filled_in(folder, [0, 1, 2, 3, 4])
}

/// The same, imported and answered in another order.
fn filled_in(folder: &Path, order: [usize; 5]) -> stage::Context {
    let store = Store::open(folder).unwrap();
    let domains = [Domain::Math, Domain::Math, Domain::Math, Domain::Puzzle, Domain::Code];
    let questions = order.map(|key| question(domains[key], key));
    store.add_questions(&questions).unwrap();
    for row in order {
        store.add_trace(&trace(QuestionId(row as i64 + 1))).unwrap();
    }
    stage::Context { store, progress: stage::Progress::silent(), stop: stage::Stop::default() }
}

fn judge(cx: &stage::Context) {
    let verdicts = [
        Verdict::Correct,
        Verdict::Wrong("4".into()),
        Verdict::Unreadable("cut off".into()),
        Verdict::Unchecked("no rule".into()),
        Verdict::Correct,
    ];
    let mut rows = Vec::new();
    let judge = |example: Example| -> anyhow::Result<()> {
        rows.push(VerdictRow {
            trace_id: example.trace.id,
            mode: Mode::Strict,
            verdict: verdicts[example.question.key.parse::<usize>()?].clone(),
            verifier: "math".into(),
            version: 1,
            detail: serde_json::Value::Null,
        });
        Ok(())
    };
    cx.store.each_example(&TraceFilter::default(), judge).unwrap();
    cx.store.put_verdicts(&rows).unwrap();
}

fn build(cx: &stage::Context) -> Summary {
    run(cx, &Config { name: "small".into(), ..Config::default() }).unwrap()
}

#[test]
fn each_arm_has_its_traces() {
    let folder = tempfile::tempdir().unwrap();
    let cx = filled(folder.path());
    judge(&cx);
    let summary = build(&cx);
    let [verified, unverified] = &summary.datasets[..] else { panic!("{summary:?}") };
    assert_eq!((verified.rows, unverified.rows), (3, 5));
    assert_eq!(verified.rejected["wrong"], 1);
    assert_eq!(verified.rejected["unreadable"], 1);
    assert_eq!(verified.admitted["puzzle"], 1);
    assert!(unverified.rejected.is_empty());
    assert_eq!(verified.path, format!("datasets/small-verified-{}", &verified.hash[..8]));
    for name in ["README.md", "data", "metadata", "provenance"] {
        assert!(cx.store.absolute(&verified.path).join(name).exists(), "{name}");
    }
}

#[test]
fn building_the_same_again_does_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let cx = filled(folder.path());
    judge(&cx);
    let first = build(&cx);
    let second = build(&cx);
    assert!(first.datasets.iter().all(|built| !built.existed));
    assert!(second.datasets.iter().all(|built| built.existed));
    assert_eq!(cx.store.datasets().unwrap().len(), 2);
    assert_eq!(fs::read_dir(folder.path().join("datasets")).unwrap().count(), 2);
}

/// Every file below `dir`, sorted.
fn files(dir: &Path) -> Vec<(String, Vec<u8>)> {
    let mut found = Vec::new();
    for entry in fs::read_dir(dir).unwrap().flatten() {
        let path = entry.path();
        if path.is_dir() {
            found.extend(files(&path));
        } else {
            let name = entry.file_name().to_string_lossy().into_owned();
            found.push((name, fs::read(path).unwrap()));
        }
    }
    found.sort();
    found
}

#[test]
fn the_same_traces_make_the_same_bytes_in_whatever_order_they_came() {
    let built = [[0, 1, 2, 3, 4], [3, 0, 4, 2, 1]].map(|order| {
        let folder = tempfile::tempdir().unwrap();
        let cx = filled_in(folder.path(), order);
        judge(&cx);
        let base = Base { vocabulary: 280, ..Base::default() };
        let model = "tiny".to_owned();
        run(&cx, &Config { name: "small".into(), base_model: model, base, ..Config::default() })
            .unwrap();
        let model = folder.path().join("models/tiny");
        let encoding = encoding(1_000, Truncation::Error);
        for dataset in cx.store.datasets().unwrap() {
            of_dataset(&cx.store, &dataset, (&model, &encoding), &|_, _| {}).unwrap();
        }
        [files(&folder.path().join("datasets")), files(&model)].concat()
    });
    let [a, b] = built;
    let names = |files: &[(String, Vec<u8>)]| files.iter().map(|f| f.0.clone()).collect::<Vec<_>>();
    assert_eq!(names(&a), names(&b));
    assert!(names(&a).contains(&"index.bin".to_owned()), "{:?}", names(&a));
    for (a, b) in a.iter().zip(&b) {
        assert!(a == b, "`{}` differs", a.0);
    }
}

fn encoding(cutoff_len: usize, truncation: Truncation) -> Encoding {
    Encoding {
        template: TemplateName::Qwen25Openthinker,
        cutoff_len,
        truncation,
        train_on_system: false,
        mask_history: false,
        train_on_prompt: false,
    }
}

#[test]
fn a_row_is_shown_as_it_is_trained_on() {
    let folder = tempfile::tempdir().unwrap();
    // Answered in another order than the dataset has.
    let cx = filled_in(folder.path(), [3, 0, 4, 2, 1]);
    judge(&cx);
    let base = Base { vocabulary: 280, ..Base::default() };
    run(&cx, &Config { base_model: "tiny".into(), base, ..Config::default() }).unwrap();
    let model = folder.path().join("models/tiny");
    for truncation in [Truncation::Error, Truncation::LlamaFactory] {
        let limit = if truncation == Truncation::Error { 1_000 } else { 20 };
        let encoding = encoding(limit, truncation);
        let with = (model.as_path(), &encoding);
        for dataset in cx.store.datasets().unwrap() {
            let shards = of_dataset(&cx.store, &dataset, with, &|_, _| {}).unwrap();
            for at in 0..shards.len() {
                let row = shards.id(at) as u64;
                let shown = row_of_dataset(&cx.store, &dataset, with, row).unwrap();
                let sequence = shards.get(at).unwrap();
                let ids: Vec<u32> = shown.tokens.iter().map(|token| token.id).collect();
                assert_eq!((ids, shown.rows), (sequence.input_ids, shards.len() as u64));
                let trained = shown.tokens.iter().filter(|token| token.trained).count();
                assert_eq!(trained, shards.trained_tokens(at));
                assert_eq!(shown.trained_tokens, trained as u64);
                assert_eq!(shown.truncated, limit == 20, "{} tokens", shown.tokens.len());
                assert_eq!(shown.left_out, None);
                let text: String = shown.tokens.iter().map(|token| token.text.as_str()).collect();
                assert!(text.starts_with("<|im_start|>system\n"), "{text}");
            }
        }
    }
    let [dataset, ..] = &cx.store.datasets().unwrap()[..] else { panic!("two datasets") };
    let dropped = encoding(20, Truncation::Drop);
    let shown = row_of_dataset(&cx.store, dataset, (&model, &dropped), 1).unwrap();
    let why = "is longer than train.cutoff_len, 20 tokens";
    assert_eq!((shown.tokens.len(), shown.left_out.as_deref()), (0, Some(why)));
    for row in [0, dataset.rows + 1] {
        let error = row_of_dataset(&cx.store, dataset, (&model, &dropped), row).unwrap_err();
        assert!(error.to_string().ends_with(&format!("has no row {row}")), "{error}");
        assert!(hint::of(&error).unwrap().starts_with("give a row from 1 to "), "{error:?}");
    }
}

#[test]
fn traces_without_a_verdict_are_an_error_with_advice() {
    let folder = tempfile::tempdir().unwrap();
    let cx = filled(folder.path());
    let error = run(&cx, &Config::default()).unwrap_err();
    assert_eq!(error.to_string(), "5 traces have no verdict yet");
    assert_eq!(stage::hint_of(&error).unwrap(), "run `thinkery verify` first");
    let unverified = Config { arms: vec![Arm::Unverified], ..Config::default() };
    assert_eq!(run(&cx, &unverified).unwrap().datasets[0].rows, 5);
}

#[test]
fn an_export_has_the_rows_of_its_dataset() {
    let folder = tempfile::tempdir().unwrap();
    let cx = filled(folder.path());
    judge(&cx);
    let built = build(&cx).datasets.remove(0);
    let out = folder.path().join("out");
    export(&cx.store, DatasetId(built.id), Format::Jsonl, &out).unwrap();
    let rows = fs::read_to_string(out.join("data/train-00000-of-00001.jsonl")).unwrap();
    assert_eq!(rows.lines().count(), 3);
    let row: serde_json::Value = serde_json::from_str(rows.lines().next().unwrap()).unwrap();
    assert_eq!(row["conversations"][0]["from"], "user");
    assert_eq!(
        row["conversations"][1]["value"],
        "<|begin_of_thought|>\n\n2 + 3 = 5\n\n<|end_of_thought|>\n\n<|begin_of_solution|>\n\n\
         \\boxed{5}\n\n<|end_of_solution|>"
    );
    let lines = fs::read_to_string(out.join("provenance/train-00000-of-00001.jsonl")).unwrap();
    assert!(lines.contains(r#""endpoint":"http://127.0.0.1/v1""#), "{lines}");
    let error = export(&cx.store, DatasetId(built.id), Format::Jsonl, &out).unwrap_err();
    assert!(error.to_string().ends_with("is not empty"), "{error}");
}

#[test]
fn a_name_that_is_no_folder_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let cx = filled(folder.path());
    for name in ["", "../up", ".hidden", "a b"] {
        let config = Config { name: name.into(), ..Config::default() };
        assert!(run(&cx, &config).is_err(), "{name}");
    }
}
