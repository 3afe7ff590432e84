//! `thinkery evaluate` from outside: a file of problems, a model with random weights, a report.

use serde_json::Value;

use crate::env::TestEnv;
use crate::openai::tiny_model;

const PROBLEMS: &str = r#"{"id": "a", "problem": "What is 2 + 2?", "domain": "math", "reference": "4"}
{"id": "b", "problem": "What is 3 + 3?", "domain": "math", "reference": "6"}
"#;

#[test]
fn an_evaluation_keeps_every_sample_and_resumes() {
    let env = TestEnv::new();
    let Some(model) = tiny_model(env.path()) else { return };
    let problems = env.file("mine.jsonl", PROBLEMS);
    let out = env.path().join("report.json");
    let (model, problems) = (model.to_str().unwrap(), problems.to_str().unwrap());
    let run = |samples: &str| -> Value {
        let mut args = vec!["--json", "evaluate", "--model", model, "--benchmark", problems];
        args.extend(["--samples", samples, "--max-tokens", "20", "--out", out.to_str().unwrap()]);
        let printed = env.run(&args).json();
        let written: Value = serde_json::from_str(&std::fs::read_to_string(&out).unwrap()).unwrap();
        assert_eq!(printed, written);
        written
    };
    let first = run("2");
    assert_eq!((&first["model"], &first["benchmark"]), (&"tiny".into(), &"mine".into()));
    assert_eq!((&first["n"], &first["protocol"]["samples"]), (&2.into(), &2.into()));
    assert_eq!(first["mean"], 0.0, "random weights solve nothing");
    let sample = &first["problems"][0]["samples"][1];
    assert!(sample["text"].is_string() && sample["tokens"].as_u64().unwrap() <= 20, "{sample}");
    assert_eq!(sample["correct"], false);
    let more = run("3");
    for problem in 0..2 {
        let samples = |report: &Value| report["problems"][problem]["samples"].clone();
        assert_eq!(samples(&more).as_array().unwrap().len(), 3);
        assert_eq!(samples(&more)[0], samples(&first)[0], "what was there stays");
    }
}

#[test]
fn a_benchmark_that_is_not_there_is_one_line_and_a_hint() {
    let env = TestEnv::new();
    let Some(model) = tiny_model(env.path()) else { return };
    let model = model.to_str().unwrap();
    let error = env.run(&["evaluate", "--model", model, "--benchmark", "aime99"]).error();
    assert!(error.contains("`aime99` is neither a benchmark nor a file"), "{error}");
    assert!(error.contains("hint: benchmarks are rehearsal"), "{error}");
}
