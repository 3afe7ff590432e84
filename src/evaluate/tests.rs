//! Tests of the evaluation: files, means, what is missing.

use std::path::Path;

use super::file::File;
use super::{Benchmark, Config, Mean, Problem, Summary, mean, problems, report, score, target};
use crate::records::{Domain, NewQuestion, Sample, Split};
use crate::sandbox::Sandbox;
use crate::stage::{Context, Progress, Stop};
use crate::store::Store;
use crate::verify::Tools;

fn context() -> (tempfile::TempDir, Context) {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(&dir.path().join("data")).unwrap();
    let cx = Context { store, progress: Progress::silent(), stop: Stop::default() };
    (dir, cx)
}

fn tools() -> Tools {
    Tools::new(Sandbox::new("none".into(), Vec::new()))
}

fn held_out(key: &str, family: &str, domain: Domain) -> NewQuestion {
    NewQuestion {
        key: key.into(),
        domain,
        source: "rehearsal".into(),
        family: family.into(),
        split: Split::HeldOut,
        problem: format!("problem {key}"),
        reference: Some("4".into()),
        tests: None,
        starter_code: None,
    }
}

fn problem(id: &str, family: &str) -> Problem {
    Problem { id: id.into(), question: held_out(id, family, Domain::Math) }
}

#[track_caller]
fn check_mean(scores: &[f64], expected: f64, error: f64) {
    let Mean { mean, standard_error, n } = mean(scores);
    assert!((mean - expected).abs() < 1e-9, "{mean}");
    assert!((standard_error - error).abs() < 1e-9, "{standard_error}");
    assert_eq!(n, scores.len() as u64);
}

#[test]
fn a_mean_has_the_error_of_its_problems() {
    check_mean(&[], 0.0, 0.0);
    check_mean(&[1.0], 100.0, 0.0);
    check_mean(&[0.0, 1.0], 50.0, 50.0);
    check_mean(&[0.5, 0.5, 0.5], 50.0, 0.0);
    // s = 0.5 with divisor 3, over the root of 4.
    check_mean(&[0.0, 0.0, 0.0, 1.0], 25.0, 25.0);
}

#[test]
fn a_file_of_problems_is_a_benchmark() {
    let (dir, cx) = context();
    let path = dir.path().join("mine.jsonl");
    let lines = [
        r#"{"problem": "2 + 2?", "domain": "math", "reference": 4}"#,
        "",
        r#"{"id": "b", "problem": "echo", "domain": "code", "tests": {"inputs": ["1"], "outputs": ["1"]}}"#,
    ];
    std::fs::write(&path, lines.join("\n")).unwrap();
    let file = File::new(&path);
    assert_eq!(file.name(), "mine");
    let problems = file.problems(&cx.store).unwrap();
    assert_eq!(problems.iter().map(|p| p.id.as_str()).collect::<Vec<_>>(), ["0", "b"]);
    assert_eq!(problems[0].question.reference.as_deref(), Some("4"));
    assert!(problems[0].asked().contains(r"\boxed{}"));
}

#[track_caller]
fn check_refused(text: &str, expected: &str) {
    let (dir, cx) = context();
    let path = dir.path().join("mine.jsonl");
    std::fs::write(&path, text).unwrap();
    let error = File::new(&path).problems(&cx.store).unwrap_err();
    assert!(error.to_string().contains(expected), "{error}");
    assert!(crate::hint::of(&error).is_some());
}

#[test]
fn a_line_that_is_no_problem_is_named() {
    let good = r#"{"id": "a", "problem": "2 + 2?", "domain": "math", "reference": "4"}"#;
    check_refused(&format!("{good}\n{{"), "line 2 of");
    check_refused(r#"{"problem": "2 + 2?", "domain": "math"}"#, "neither `reference` nor `tests`");
    check_refused(r#"{"problem": "x", "domain": "alchemy", "reference": "4"}"#, "line 1 of");
    check_refused(&format!("{good}\n{good}"), "repeats the id `a`");
}

#[test]
fn only_what_can_be_graded_is_asked() {
    let (_dir, cx) = context();
    let questions = [
        held_out("1", "sums", Domain::Math),
        held_out("2", "sums", Domain::Math),
        held_out("3", "facts", Domain::Physics),
        NewQuestion { reference: None, ..held_out("4", "sums", Domain::Math) },
        NewQuestion { split: Split::Train, ..held_out("5", "sums", Domain::Math) },
        NewQuestion { source: "other".into(), ..held_out("6", "sums", Domain::Math) },
    ];
    cx.store.add_questions(&questions).unwrap();
    let ids = |config: &Config| {
        let (name, found) = problems(&cx.store, config, &tools()).unwrap();
        assert_eq!(name, "rehearsal");
        found.into_iter().map(|problem| problem.id).collect::<Vec<_>>()
    };
    assert_eq!(ids(&Config::default()), ["1", "2"]);
    assert_eq!(ids(&Config { problems_per_family: 1, ..Config::default() }), ["1"]);
}

#[test]
fn a_benchmark_that_is_not_there_lists_those_that_are() {
    let (_dir, cx) = context();
    let config = Config { benchmark: "aime99".into(), ..Config::default() };
    let error = problems(&cx.store, &config, &tools()).unwrap_err();
    assert!(crate::hint::of(&error).unwrap().contains("rehearsal"), "{error}");
    let error = problems(&cx.store, &Config::default(), &tools()).unwrap_err();
    assert!(error.to_string().contains("no problem that can be graded"), "{error}");
}

/// A folder that looks like a model to everybody who does not open it.
fn model(dir: &Path, weights: &str) -> String {
    let model = dir.join("model");
    std::fs::create_dir_all(&model).unwrap();
    std::fs::write(model.join("model.safetensors"), weights).unwrap();
    model.display().to_string()
}

fn sample(target: &target::Target, problem: &Problem, number: u32, correct: bool) -> Sample {
    Sample {
        model: target.name.clone(),
        benchmark: target.benchmark.clone(),
        problem: problem.id.clone(),
        family: problem.question.family.clone(),
        sample: number,
        text: "text".into(),
        answer: None,
        correct,
        tokens: 3,
        finish_reason: if correct { "stop".into() } else { "length".into() },
    }
}

#[test]
fn only_missing_samples_are_asked_for_until_the_model_changes() {
    let (dir, cx) = context();
    let listed = [problem("a", "f"), problem("b", "g")];
    let model_dir = model(dir.path(), "one");
    let config = Config { models: vec![model_dir], samples: 2, ..Config::default() };
    let targets = |config: &Config| target::targets(&cx, config, "mine", &listed).unwrap();
    let first = &targets(&config)[0];
    let order: Vec<(&str, u32)> = first.missing.iter().map(|(p, n)| (p.id.as_str(), *n)).collect();
    assert_eq!(order, [("a", 0), ("b", 0), ("a", 1), ("b", 1)]);
    let done = [sample(first, &listed[0], 0, true), sample(first, &listed[1], 0, false)];
    cx.store.add_samples(&first.protocol_hash, &done).unwrap();
    assert_eq!((targets(&config)[0].missing.len(), targets(&config)[0].kept), (2, 2));
    let more = Config { samples: 5, ..config.clone() };
    assert_eq!(targets(&more)[0].missing.len(), 8, "more samples keep those that are there");
    let hotter = Config { temperature: 1.0, ..config.clone() };
    assert_eq!(targets(&hotter)[0].missing.len(), 4, "another protocol begins anew");
    model(dir.path(), "two");
    assert_eq!(targets(&config)[0].missing.len(), 4, "another model begins anew");
}

#[test]
fn scores_and_reports_come_from_the_samples() {
    let (dir, cx) = context();
    let listed = [problem("a", "f"), problem("b", "g")];
    let config = Config { models: vec![model(dir.path(), "one")], samples: 2, ..Config::default() };
    let targets = target::targets(&cx, &config, "mine", &listed).unwrap();
    let corrects = [(0, 0, true), (0, 1, true), (1, 0, true), (1, 1, false), (1, 2, true)];
    let samples: Vec<Sample> = corrects
        .iter()
        .map(|(at, number, correct)| sample(&targets[0], &listed[*at], *number, *correct))
        .collect();
    cx.store.add_samples(&targets[0].protocol_hash, &samples).unwrap();
    let (scores, truncated) = score::put(&cx.store, &targets[0]).unwrap();
    assert_eq!(truncated, 1);
    let told: Vec<(&str, f64, f64, u64)> = scores
        .iter()
        .map(|score| (score.benchmark.as_str(), score.mean, score.standard_error, score.n))
        .collect();
    assert_eq!(
        told,
        [("mine", 75.0, 25.0, 2), ("mine/f", 100.0, 0.0, 1), ("mine/g", 50.0, 0.0, 1)]
    );
    assert_eq!(cx.store.scores().unwrap().len(), 3);
    assert_eq!(cx.store.events_after(0, 10).unwrap().len(), 3);
    let summary = Summary {
        benchmark: "mine".into(),
        models: vec![super::Scored {
            name: targets[0].name.clone(),
            protocol: targets[0].protocol_hash.clone(),
            truncated,
        }],
        ..Summary::default()
    };
    let reports = report(&cx.store, &summary, config.protocol()).unwrap();
    assert_eq!((reports[0].mean, reports[0].n), (75.0, 2));
    assert_eq!(reports[0].problems[1].samples.len(), 2);
}

#[test]
fn a_samples_seed_depends_on_nothing_but_problem_and_number() {
    let protocol = Config::default().protocol();
    assert_eq!(protocol.sample_seed("a", 0), protocol.sample_seed("a", 0));
    assert_ne!(protocol.sample_seed("a", 0), protocol.sample_seed("a", 1));
    assert_ne!(protocol.sample_seed("a", 0), protocol.sample_seed("b", 0));
}

#[test]
fn a_model_that_is_not_there_is_named() {
    let (_dir, cx) = context();
    let config = Config { models: vec!["nobody".into()], ..Config::default() };
    let error = target::targets(&cx, &config, "mine", &[problem("a", "f")]).unwrap_err();
    assert!(error.to_string().contains("`nobody`"), "{error}");
    assert!(crate::hint::of(&error).is_some());
}

#[test]
fn numbers_are_written_as_they_were_given() {
    let written = serde_json::to_value(Config::default()).unwrap();
    assert_eq!(written["temperature"].to_string(), "0.7");
    let protocol = serde_json::to_value(Config::default().protocol()).unwrap();
    assert_eq!(protocol["temperature"].to_string(), "0.7");
}

#[test]
fn settings_that_make_no_sense_are_all_named() {
    let config = Config { samples: 0, top_p: 0.0, models: Vec::new(), ..Config::default() };
    assert_eq!(config.problems().len(), 3);
    assert!(Config::default().problems().is_empty());
}
