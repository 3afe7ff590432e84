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

/// Fifty examples as token ids, of several lengths.
pub(crate) fn examples(env: &TestEnv) -> String {
    let row = |n: u64| {
        let ids: Vec<u64> = (0..6 + n % 5).map(|at| 3 + (n * 7 + at * 3) % 200).collect();
        let mut labels: Vec<i64> = ids.iter().map(|id| *id as i64).collect();
        labels[..2].fill(-100);
        json!({ "input_ids": ids, "labels": labels }).to_string() + "\n"
    };
    let rows: String = (0..50).map(row).collect();
    env.file("rows.jsonl", &rows).to_str().unwrap().to_owned()
}

/// Settings that all runs here begin with; later ones take their place.
pub(crate) fn arguments<'a>(model: &'a str, examples: &'a str, out: &'a str) -> Vec<&'a str> {
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
pub(crate) fn curve(out: &Path) -> Vec<Vec<Value>> {
    let text = fs::read_to_string(out.join("steps.jsonl")).unwrap_or_default();
    let decided = |line: &str| {
        let step: Value = serde_json::from_str(line).ok()?;
        let names = ["step", "epoch", "loss", "grad_norm", "learning_rate", "tokens"];
        Some(names.iter().map(|name| step[*name].clone()).collect())
    };
    text.lines().map_while(decided).collect()
}

/// Starts a run, and ends it when so many steps are in its curve.
pub(crate) fn end_after(
    env: &TestEnv,
    arguments: &[&str],
    (out, steps): (&Path, usize),
    signal: Signal,
) {
    let mut running = env.start(arguments);
    let began = Instant::now();
    while curve(out).len() < steps && running.0.try_wait().unwrap().is_none() {
        assert!(began.elapsed() < PATIENCE, "no step was made");
        std::thread::yield_now();
    }
    let _ = kill_process(Pid::from_child(&running.0), signal);
    running.0.wait().unwrap();
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
        end_after(&env, &arguments, (&out, 20), signal);
        let result = env.run(&arguments).json();
        assert_eq!(result["steps"], 300, "{name}");
        assert_eq!(curve(&out), expected, "{name}");
        assert!(weights(&out) == weights(&straight), "{name}: other weights");
    }
}

/// Runs to the end with more settings, and gives its curve.
fn run(env: &TestEnv, arguments: &[&str], sets: &[&str]) -> Value {
    let sets: Vec<&str> = sets.iter().flat_map(|set| ["--set", *set]).collect();
    env.run(&[arguments, &sets].concat()).json()
}

#[test]
fn killed_at_any_moment_it_ends_the_same() {
    let env = TestEnv::new();
    let Some(model) = tiny_model(env.path()) else { return };
    let model = model.to_str().unwrap();
    let examples = examples(&env);
    let straight = env.path().join("straight");
    // A checkpoint after every step: most of the time one is being written.
    let sets = ["train.steps=60", "train.save_every=1"];
    run(&env, &arguments(model, &examples, straight.to_str().unwrap()), &sets);
    let out = env.path().join("killed");
    let killed = arguments(model, &examples, out.to_str().unwrap());
    let with_sets = [&killed[..], &sets.map(|set| ["--set", set]).concat()].concat();
    for steps in [1, 2, 9, 23, 40] {
        end_after(&env, &with_sets, (&out, steps), Signal::KILL);
    }
    env.run(&with_sets).json();
    assert_eq!(curve(&out), curve(&straight));
    let file = |out: &Path, name: &str| fs::read(out.join(name)).unwrap();
    for name in ["final/model.safetensors", "checkpoint-60/state/optimizer.safetensors"] {
        assert!(file(&out, name) == file(&straight, name), "{name} differs");
    }
    let left = fs::read_dir(&out).unwrap().map(|entry| entry.unwrap().file_name());
    let hidden: Vec<_> = left.filter(|name| name.to_string_lossy().starts_with('.')).collect();
    assert!(hidden.is_empty(), "{hidden:?}");
    let events = fs::read_to_string(out.join("events.jsonl")).unwrap();
    assert!(events.contains("\"kind\":\"resumed\""), "{events}");
}

#[test]
fn a_run_has_a_certificate_and_a_table_of_its_steps() {
    let env = TestEnv::new();
    let Some(model) = tiny_model(env.path()) else { return };
    let examples = examples(&env);
    let out = env.path().join("out");
    let arguments = arguments(model.to_str().unwrap(), &examples, out.to_str().unwrap());
    run(&env, &arguments, &["train.steps=4"]);
    let read = |name: &str| fs::read_to_string(out.join(name)).unwrap();
    let certificate: Value = serde_json::from_str(&read("certificate.json")).unwrap();
    assert_eq!(certificate["agrees"], true, "{certificate}");
    assert_eq!(certificate["steps"].as_array().unwrap().len(), 2);
    assert!(certificate["loss_difference"].as_f64().unwrap() < 1e-5, "{certificate}");
    assert_eq!(read("steps.csv").lines().count(), 5);
    let events = read("events.jsonl");
    let events: Vec<Value> = events.lines().map(|l| serde_json::from_str(l).unwrap()).collect();
    let kinds: Vec<&str> = events.iter().map(|event| event["kind"].as_str().unwrap()).collect();
    assert_eq!(kinds, ["began", "certified"]);
    let said = events[0]["message"].as_str().unwrap();
    assert!(said.starts_with("50 examples of 400 tokens, of which 300 are trained on"), "{said}");
    // One rank waits for nobody; several say how little they do.
    let step =
        |text: &str| -> Value { serde_json::from_str(text.lines().next().unwrap()).unwrap() };
    assert_eq!(step(&read("steps.jsonl"))["balance"], Value::Null);
    let two = env.path().join("two");
    let arguments = self::arguments(model.to_str().unwrap(), &examples, two.to_str().unwrap());
    run(&env, &arguments, &["train.steps=2", "train.ranks=2", "train.packing=step"]);
    let curve = fs::read_to_string(two.join("steps.jsonl")).unwrap();
    let balance = step(&curve)["balance"].as_f64().unwrap();
    assert!((0.5..=1.0).contains(&balance), "{balance}");
}

/// What decides speed and memory alone changes no more than the last bits.
#[test]
fn packing_and_batches_do_not_change_the_loss() {
    let env = TestEnv::new();
    let Some(model) = tiny_model(env.path()) else { return };
    let examples = examples(&env);
    let rows: [&[&str]; 15] = [
        &["packing=none", "device_batch=1"],
        &["packing=none", "device_batch=4"],
        &["packing=step", "cutoff_len=24"],
        &["packing=step"],
        &["packing=none", "device_batch=1", "ranks=2"],
        &["packing=none", "device_batch=1", "ranks=4"],
        &["packing=none", "device_batch=1", "ranks=8"],
        &["packing=step", "ranks=2"],
        &["packing=step", "ranks=4"],
        &["packing=step", "ranks=8"],
        &["packing=step", "logits_chunk=3"],
        &["packing=step", "keep=all"],
        &["packing=step", "ranks=4", "keep=attention", "shard=gradients"],
        &["packing=step", "ranks=2", "shard=none"],
        &["packing=none", "ranks=4", "shard=none", "keep=all", "logits_chunk=3"],
    ];
    let mut curves = Vec::new();
    for (number, sets) in rows.iter().enumerate() {
        let out = env.path().join(format!("out-{number}"));
        let arguments = arguments(model.to_str().unwrap(), &examples, out.to_str().unwrap());
        let sets = sets.iter().chain(&["steps=12", "global_batch=8"]);
        let sets: Vec<String> = sets.map(|set| format!("train.{set}")).collect();
        run(&env, &arguments, &sets.iter().map(String::as_str).collect::<Vec<_>>());
        curves.push(curve(&out));
    }
    let mut far = Vec::new();
    for (sets, other) in rows.iter().zip(&curves) {
        let pairs =
            curves[0].iter().zip(other).flat_map(|(a, b)| [2, 3].map(|at| (&a[at], &b[at])));
        let pairs = pairs.map(|(a, b)| (a.as_f64().unwrap(), b.as_f64().unwrap()));
        far.push((pairs.map(|(a, b)| (b / a - 1.0).abs()).fold(0.0, f64::max), sets));
    }
    assert!(far.iter().all(|(apart, _)| *apart <= 1e-6), "{far:#?}");
}

#[test]
fn a_run_in_groups_sees_what_the_original_saw() {
    let env = TestEnv::new();
    let Some(model) = tiny_model(env.path()) else { return };
    let examples = examples(&env);
    let out = env.path().join("out");
    let arguments = arguments(model.to_str().unwrap(), &examples, out.to_str().unwrap());
    // Three ranks that accumulate two: 17 rounds an epoch, of which 8 steps come.
    let epochs = ["train.global_batch=6", "train.loss_normalisation=per_group:2"];
    let arguments: Vec<&str> = arguments
        .into_iter()
        .map(|a| if a == "train.steps=300" { "train.epochs=2" } else { a })
        .collect();
    let result = run(&env, &arguments, &epochs);
    assert_eq!(result["steps"], 16);
    let last = curve(&out)[15][1].as_f64().unwrap();
    assert!((last - 32.0 / 17.0).abs() < 1e-9, "{last}");
}

#[test]
fn everything_that_is_wrong_is_said_before_anything_is_loaded() {
    let env = TestEnv::new();
    let Some(model) = tiny_model(env.path()) else { return };
    let model = model.to_str().unwrap();
    let examples = examples(&env);
    let train = |examples: &str, sets: &[&str]| {
        let sets: Vec<&str> = sets.iter().flat_map(|set| ["--set", *set]).collect();
        let train = ["train", "--model", model, "--examples", examples, "--out", "out"];
        env.run(&[&train[..], &sets].concat()).error()
    };
    let sets = [
        "train.learning_rate=0",
        "train.packing=none",
        "train.device_batch=3",
        "train.global_batch=4",
        "train.cutoff_len=100000",
        "train.state=Z",
    ];
    let error = train(&examples, &sets);
    assert!(error.contains("unknown variant `Z`"), "{error}");
    let error = train(&examples, &sets[..5]);
    assert!(error.contains("`train.learning_rate` is 0 but must be above 0; "), "{error}");
    assert!(error.contains("`train.device_batch` 3 on 1 rank does not divide"), "{error}");
    assert!(error.contains("`train.cutoff_len` is 100000 but the model was made for"), "{error}");
    let elsewhere = train(&examples, &[&sets[..1], &["train.device=cuda:31"]].concat());
    assert!(
        elsewhere.contains("`train.learning_rate` is 0") && elsewhere.contains("cuda"),
        "{elsewhere}"
    );
    let foreign = env.file("foreign.jsonl", "{\"input_ids\":[5,99999],\"labels\":[5,6]}\n");
    let error = train(foreign.to_str().unwrap(), &[]);
    assert!(error.contains("the examples have the id 99999 but the model's vocabulary"), "{error}");
    let question = "{\"messages\":[{\"role\":\"user\",\"content\":\"hi\"}]}\n";
    let questions = env.file("questions.jsonl", question);
    let error = train(questions.to_str().unwrap(), &[]);
    assert!(error.contains("there is no example to train on"), "{error}");
    assert!(!env.path().join("out").exists());
}

/// A copy of the model in `from` whose `name` is changed.
fn changed(from: &Path, name: &str, change: impl FnOnce(&mut Value)) -> String {
    let to = from.with_file_name(format!("changed-{name}"));
    fs::create_dir_all(&to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        fs::copy(entry.path(), to.join(entry.file_name())).unwrap();
    }
    let path = to.join(name);
    let mut value = serde_json::from_str(&fs::read_to_string(&path).unwrap()).unwrap();
    change(&mut value);
    fs::write(&path, value.to_string()).unwrap();
    to.to_str().unwrap().to_owned()
}

#[test]
fn a_model_that_is_none_of_ours_is_refused_beside_all_else_that_is_wrong() {
    let env = TestEnv::new();
    let Some(model) = tiny_model(env.path()) else { return };
    // Not even looked at: what is wrong with the model is known before.
    let train = |model: &str| {
        let train = ["train", "--model", model, "--examples", "nothing.jsonl", "--out", "out"];
        env.run(&[&train[..], &["--set", "train.learning_rate=0"]].concat()).error()
    };
    let gpt2 = changed(&model, "config.json", |config| {
        config["architectures"] = json!(["GPT2LMHeadModel"]);
        config["max_position_embeddings"] = json!(64);
        config["vocab_size"] = json!(100);
    });
    let error = train(&gpt2);
    for said in [
        "`train.learning_rate` is 0",
        "asks for architecture `GPT2LMHeadModel`; known: Qwen2ForCausalLM",
        "but the model's vocabulary has 100 rows: it is not this model's",
    ] {
        assert!(error.contains(said), "{said} in {error}");
    }
    let error = train("nowhere");
    let both = "`train.learning_rate` is 0 but must be above 0; there is no model in `nowhere`";
    assert!(error.contains(both) && error.contains("hint: give a folder in Hugging"), "{error}");
    let wide = changed(&model, "config.json", |config| config["hidden_size"] = json!(32));
    let error = train(&wide);
    assert!(error.contains("`train.learning_rate` is 0") && error.contains("32"), "{error}");
    assert!(error.contains("hint: check that the folder is complete"), "{error}");
    assert!(!env.path().join("out").exists() && !env.data().join("shards").exists());
}

#[test]
fn a_run_goes_back_to_a_checkpoint_and_ends_the_same() {
    let env = TestEnv::new();
    let Some(model) = tiny_model(env.path()) else { return };
    let examples = examples(&env);
    let out = env.path().join("out");
    let arguments = arguments(model.to_str().unwrap(), &examples, out.to_str().unwrap());
    let sets = ["train.steps=30", "train.save_every=5", "train.keep_checkpoints=0"];
    run(&env, &arguments, &sets);
    let weights = || fs::read(out.join("final/model.safetensors")).unwrap();
    let (first, steps) = (weights(), curve(&out));
    fs::remove_dir_all(out.join("final")).unwrap();
    let back = [&sets[..], &["train.resume_from=10"]].concat();
    run(&env, &arguments, &back);
    assert!(weights() == first && curve(&out) == steps, "the same steps once more");
    let events = fs::read_to_string(out.join("events.jsonl")).unwrap();
    let said = "went back to the checkpoint after 10 steps; the steps after it are made again, and \
                the checkpoints after 15, 20, 25, 30 were deleted";
    assert!(events.contains(said) && events.contains("goes on after 10 steps"), "{events}");
    let nowhere = [&sets[..], &["train.resume_from=12"]].concat();
    let nowhere: Vec<&str> = nowhere.iter().flat_map(|set| ["--set", *set]).collect();
    let error = env.run(&[&arguments[..], &nowhere].concat()).error();
    assert!(error.contains("there is no checkpoint after 12 steps in"), "{error}");
    assert!(
        error.contains("hint: there are checkpoints after 5, 10, 15, 20, 25, 30 steps"),
        "{error}"
    );
}

#[test]
fn a_changed_recipe_is_not_resumed_but_another_number_of_examples_at_a_time_is() {
    let env = TestEnv::new();
    let Some(model) = tiny_model(env.path()) else { return };
    let examples = examples(&env);
    let arguments = arguments(model.to_str().unwrap(), &examples, "out");
    run(&env, &arguments, &["train.steps=3"]);
    let changed = [&arguments[..], &["--set", "train.steps=4", "--set", "train.seed=1"]].concat();
    let error = env.run(&changed).error();
    assert!(
        error.contains("`train.seed` was `42` and is `1`; `train.steps` was `3` and"),
        "{error}"
    );
    run(&env, &arguments, &["train.steps=3", "train.device_batch=4", "train.save_every=1"]);
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
