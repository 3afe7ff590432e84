//! `thinkery train` from outside: killed, stopped and resumed runs end bit for bit the same.

use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};

use crate::env::TestEnv;
use crate::openai::tiny_model;

/// Longer than any run here takes.
const PATIENCE: Duration = Duration::from_secs(60);

/// Examples as token ids, of several lengths.
fn examples(env: &TestEnv) -> String {
    let row = |n: u64| {
        let ids: Vec<u64> = (0..6 + n % 5).map(|at| 3 + (n * 7 + at * 3) % 200).collect();
        let mut labels: Vec<i64> = ids.iter().map(|id| *id as i64).collect();
        labels[..2].fill(-100);
        json!({ "input_ids": ids, "labels": labels }).to_string() + "\n"
    };
    let rows: String = (0..50).map(row).collect();
    env.file("rows.jsonl", &rows).to_str().unwrap().to_owned()
}

fn arguments<'a>(model: &'a str, examples: &'a str, out: &'a str) -> Vec<&'a str> {
    let mut arguments = vec!["train", "--json", "--model", model, "--examples", examples];
    arguments.extend(["--out", out]);
    for set in [
        "train.steps=300",
        "train.global_batch=4",
        "train.device_batch=2",
        "train.learning_rate=1e-3",
        "train.save_every=7",
    ] {
        arguments.extend(["--set", set]);
    }
    arguments
}

/// What a step decided; how long it took is left out.
fn curve(out: &Path) -> Vec<Value> {
    let text = fs::read_to_string(out.join("steps.jsonl")).unwrap_or_default();
    let decided = |line: &str| {
        let step: Value = serde_json::from_str(line).ok()?;
        let names = ["step", "epoch", "loss", "grad_norm", "learning_rate", "tokens"];
        Some(names.iter().map(|name| step[*name].clone()).collect())
    };
    text.lines().map_while(decided).collect()
}

#[test]
fn a_run_that_was_killed_or_stopped_ends_as_if_it_had_not_been() {
    let env = TestEnv::new();
    let Some(model) = tiny_model(env.path()) else { return };
    let model = model.to_str().unwrap();
    let examples = examples(&env);
    let straight = env.path().join("straight");
    let result = env.run(&arguments(model, &examples, straight.to_str().unwrap())).json();
    assert_eq!(result["steps"], 300);
    let expected = curve(&straight);
    assert_eq!(expected.len(), 300);
    assert_eq!(expected[0][4], 0.0, "the first step of a warm-up has no learning rate");
    let weights = |out: &Path| fs::read(out.join("final/model.safetensors")).unwrap();
    for (name, signal) in [("killed", Signal::KILL), ("stopped", Signal::TERM)] {
        let out = env.path().join(name);
        let arguments = arguments(model, &examples, out.to_str().unwrap());
        let mut running = env.start(&arguments);
        let began = Instant::now();
        while curve(&out).len() < 20 && running.0.try_wait().unwrap().is_none() {
            assert!(began.elapsed() < PATIENCE, "no step was made");
            std::thread::yield_now();
        }
        let _ = kill_process(Pid::from_child(&running.0), signal);
        running.0.wait().unwrap();
        let result = env.run(&arguments).json();
        assert_eq!(result["steps"], 300, "{name}");
        assert_eq!(curve(&out), expected, "{name}");
        assert!(weights(&out) == weights(&straight), "{name}: other weights");
    }
}

#[test]
fn bad_rows_and_settings_are_named() {
    let env = TestEnv::new();
    let Some(model) = tiny_model(env.path()) else { return };
    let model = model.to_str().unwrap();
    let rows = env.file("bad.jsonl", "{\"input_ids\":[5],\"labels\":[5]}\n{\"text\":\"hi\"}\n");
    let rows = rows.to_str().unwrap();
    let train = ["train", "--model", model, "--examples", rows, "--out", "out"];
    let error = env.run(&train).error();
    assert!(error.contains("row 2: has neither `conversations`"), "{error}");
    let error = env.run(&[&train[..], &["--set", "train.learning_rat=1"]].concat()).error();
    assert!(error.contains("did you mean `train.learning_rate`?"), "{error}");
    let error = env.run(&[&train[..4], &["nothing.jsonl", "--out", "out"]].concat()).error();
    assert!(error.contains("there is no file `nothing.jsonl`\nhint: "), "{error}");
    assert!(!env.path().join("out/checkpoint-0").exists());
}
