//! What bad input gets: one line, a hint, exit code 1, and nothing half-written.

use std::collections::BTreeMap;
use std::path::Path;

use safetensors::SafeTensors;
use serde_json::{Value, json};
use thinkery::records::JobState;
use thinkery::store::Store;

use crate::distill::{KEY, Server, questions_file};
use crate::env::{Ended, TestEnv};
use crate::openai::tiny_model;

/// One line that says all of `said`, and a hint that begins so.
#[track_caller]
fn check(ended: &Ended, said: &[&str], hint: &str) {
    let error = ended.error();
    let lines: Vec<&str> = error.lines().collect();
    let [message, hinted] = lines[..] else { panic!("not one line and a hint: {error}") };
    assert!(said.iter().all(|said| message.contains(said)), "{said:?} in {message}");
    assert!(hinted.starts_with(&format!("hint: {hint}")), "{hinted}");
}

fn store(env: &TestEnv) -> Store {
    let store = Store::open(&env.data()).unwrap();
    assert_eq!(store.integrity_check().unwrap(), "ok");
    store
}

#[test]
fn bad_rows_are_told_by_number_and_reason_and_the_rest_is_imported() {
    let env = TestEnv::new();
    let rows = concat!(
        "{\"problem\":\"What is 1 + 1?\",\"domain\":\"math\",\"reference\":\"2\"}\n",
        "nonsense\n",
        "{\"problem\":\"Prove it.\",\"domain\":\"math\"}\n",
        "\n",
        "{\"problem\":\"Sort.\",\"domain\":\"code\",\"tests\":{\"inputs\":[\"1\"],\"outputs\":[]}}\n",
        "{\"problem\":\"Why?\",\"domain\":\"alchemy\"}\n",
        "{\"problem\":\"Who am I?\",\"domain\":\"puzzle\"}\n",
    );
    let file = env.file("rows.jsonl", rows).display().to_string();
    let ended = env.run(&["questions", "import", "jsonl", &file, "--json"]);
    let summary: Value = serde_json::from_str(ended.stdout.trim()).unwrap();
    assert_eq!((&summary["imported"], &summary["rejected"]), (&json!(2), &json!(4)));
    let told: Vec<(u64, &str)> = summary["rejections"]
        .as_array()
        .unwrap()
        .iter()
        .map(|one| (one["row"].as_u64().unwrap(), one["why"].as_str().unwrap()))
        .collect();
    for ((row, why), (expected, word)) in
        told.iter().zip([(2, "not JSON"), (3, "without an answer"), (5, "outputs"), (6, "alchemy")])
    {
        assert!(*row == expected && why.contains(word), "row {row}: {why}");
    }
    let text = env.run(&["questions", "import", "jsonl", &file]);
    assert_eq!(text.stdout.trim(), "0 imported, 2 already there, 4 rejected");
    assert!(text.stderr.contains("row 3: a math question without an answer"), "{text:#?}");
    let said = "error: 4 of 6 rows were rejected, the first is row 2: not JSON";
    for ended in [ended, text] {
        assert_eq!(ended.code, Some(1));
        assert!(ended.stderr.contains(said) && ended.stderr.contains("hint: "), "{ended:#?}");
    }
    assert_eq!(store(&env).counts().unwrap().questions.total, 2);
}

#[test]
fn a_file_without_a_question_is_an_error() {
    let env = TestEnv::new();
    let file = env.file("one.jsonl", "{\"problem\":\"Prove it.\",\"domain\":\"math\"}\n");
    let file = file.display().to_string();
    let importing = ["questions", "import", "jsonl", &file];
    check(&env.run(&importing), &["row 1: a math question without an answer"], "a row is");
    let endpoint = ["distill", &file, "--endpoint", "http://127.0.0.1:9", "--model", "m"];
    check(&env.run(&endpoint), &["row 1: a math question without an answer"], "a row is");
    let empty = env.file("empty.jsonl", "").display().to_string();
    let importing = ["questions", "import", "jsonl", &empty];
    check(&env.run(&importing), &["there is no question in it"], "a row is");
    let absent = ["questions", "import", "jsonl", "absent.jsonl"];
    check(&env.run(&absent), &["absent.jsonl", "No such file"], "check that the file exists");
    assert_eq!(store(&env).counts().unwrap().questions.total, 0);
}

/// A recipe that asks `endpoint` some questions, quick to give up.
fn asking(env: &TestEnv, endpoint: &str) -> String {
    let file = questions_file(env, 12);
    let recipe = format!(
        "[questions]\nsource = \"jsonl\"\npath = \"{file}\"\n\n[distill]\nendpoint = \"{endpoint}\"\n\
         model = \"m\"\nbackoff_ms = 1\n"
    );
    env.file("asking.toml", &recipe).display().to_string()
}

#[test]
fn an_endpoint_that_is_down_is_named() {
    let env = TestEnv::new();
    // Bound and dropped: nobody listens there now.
    let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let recipe = asking(&env, &format!("http://{free}/v1"));
    let said = ["`distill` failed (job 2)", &format!("could not distill from `http://{free}/v1`")];
    check(&env.run(&["run", &recipe]), &said, "check that the endpoint runs");
    let states: Vec<JobState> =
        store(&env).jobs(9, None).unwrap().into_iter().map(|job| job.state).collect();
    assert_eq!(states[states.len() - 2..], [JobState::Failed, JobState::Done]);
    assert!(states[..states.len() - 2].iter().all(|state| *state == JobState::Cancelled));
}

#[test]
fn a_wrong_key_is_said_after_one_request_and_nowhere_repeated() {
    let env = TestEnv::new();
    let body = format!(r#"{{\"error\": {{\"message\": \"wrong key {KEY}\"}}}}"#);
    let server = Server::start(&format!(r#"[{{"from": 1, "status": 401, "body": "{body}"}}]"#));
    let recipe = asking(&env, &format!("http://{}/v1", server.address));
    let mut command = env.command(&["run", &recipe]);
    let ended = Ended::of(command.env("THINKERY_TEACHER_KEY", KEY).output().unwrap());
    check(&ended, &["does not accept the key (status 401)"], "set the key in THINKERY_TEACHER_KEY");
    assert!(!ended.stderr.contains(KEY), "{}", ended.stderr);
    assert_eq!(store(&env).trace_counts().unwrap().traces, 0);
    for entry in std::fs::read_dir(env.data().join("logs")).unwrap().flatten() {
        assert!(!std::fs::read_to_string(entry.path()).unwrap().contains(KEY), "{entry:?}");
    }
}

#[test]
fn an_empty_account_pauses_a_recipe_and_the_rest_is_asked_when_it_is_paid() {
    let env = TestEnv::new();
    let server = Server::start(r#"[{"from": 5, "until": 40, "status": 402}]"#);
    let recipe = asking(&env, &format!("http://{}/v1", server.address));
    let set = "--set=distill.in_flight=1";
    let said = ["`distill` is paused (job 2): ", "out of money (status 402)"];
    check(&env.run(&["run", &recipe, set, "--until=distill"]), &said, "top up the account");
    assert_eq!(store(&env).trace_counts().unwrap().traces, 4, "what was paid for is kept");
    drop(server);
    let paid = Server::start("[]");
    let recipe = asking(&env, &format!("http://{}/v1", paid.address));
    let result = env.run(&["run", &recipe, set, "--until=distill", "--json"]).json();
    assert_eq!(result["stages"]["distill"]["counts"]["requested"], 8);
    assert_eq!(store(&env).trace_counts().unwrap().traces, 12);
}

#[test]
fn without_python_programs_wait_for_it() {
    let env = TestEnv::new();
    let few = [
        "run",
        "rehearsal",
        "--until=verify",
        "--json",
        "--set=questions.rehearsal.math=12",
        "--set=questions.rehearsal.held_out_per_family=1",
        "--set=questions.rehearsal.code=6",
        "--set=questions.rehearsal.puzzle=1",
        "--set=questions.rehearsal.science=1",
    ];
    let mut command = env.command(&few);
    let ended = Ended::of(command.env("PATH", env.path()).output().unwrap());
    check(&ended, &["`verify` failed (job 3)", "could not find python3"], "install Python 3");
    let counts = store(&env).counts().unwrap();
    assert_eq!(
        (counts.traces.total, counts.verdicts.unchecked),
        (20, 0),
        "nothing is waved through"
    );
    env.run(&few).json();
    let counts = store(&env).counts().unwrap();
    assert_eq!(counts.verdicts.total, 20);
}

/// Splits the weights of the model in `dir` over two files, of which only the first is there.
fn lose_a_shard(dir: &Path) {
    let whole = dir.join("model.safetensors");
    let bytes = std::fs::read(&whole).unwrap();
    let names = SafeTensors::deserialize(&bytes).unwrap();
    let shard = |number: usize| format!("model-0000{}-of-00002.safetensors", 1 + number % 2);
    let map: BTreeMap<&str, String> =
        names.names().into_iter().enumerate().map(|(n, name)| (name, shard(n))).collect();
    std::fs::rename(&whole, dir.join(shard(0))).unwrap();
    let index = json!({ "metadata": { "total_size": bytes.len() }, "weight_map": map });
    std::fs::write(dir.join("model.safetensors.index.json"), index.to_string()).unwrap();
}

#[test]
fn a_model_folder_with_a_missing_shard_names_it_whoever_asks() {
    let env = TestEnv::new();
    let Some(model) = tiny_model(env.path()) else { return };
    lose_a_shard(&model);
    let model = model.to_str().unwrap();
    env.file("ids.json", "[1, 2]");
    env.file("rows.jsonl", "{\"input_ids\":[5,6],\"labels\":[5,6]}\n");
    env.file(
        "problems.jsonl",
        "{\"problem\":\"What is 1 + 1?\",\"domain\":\"math\",\"reference\":\"2\"}\n",
    );
    for args in [
        &["serve", model, "--listen", "127.0.0.1:0"][..],
        &["logits", "--model", model, "--ids", "ids.json", "--out", "l.safetensors"],
        &["train", "--model", model, "--examples", "rows.jsonl", "--out", "out"],
        &["evaluate", "--model", model, "--benchmark", "problems.jsonl", "--out", "e.json"],
    ] {
        let ended = env.run(args);
        check(&ended, &["model-00002-of-00002.safetensors"], "check that the folder is complete");
    }
    for name in ["l.safetensors", "e.json", "out/steps.jsonl", "out/final"] {
        assert!(!env.path().join(name).exists(), "{name}");
    }
}

#[test]
fn a_recipe_for_a_device_that_is_not_there_begins_nothing() {
    let env = TestEnv::new();
    let ended = env.run(&["run", "rehearsal", "--device", "cuda:31"]);
    assert_eq!(ended.code, Some(1));
    // Without CUDA in the binary, without a driver, or with fewer GPUs: each says its own.
    check(&ended, &["`train` cannot run: ", "cuda"], "");
    assert!(!env.data().join("thinkery.db").exists(), "nothing was begun");
}

#[test]
fn a_server_that_could_answer_nothing_is_not_started() {
    let env = TestEnv::new();
    for (flag, value, limit) in [
        ("--max-context", "0", "2.."),
        ("--max-context", "1", "2.."),
        ("--step-timeout", "0", "1.."),
        ("--max-requests", "0", "1..=100000"),
        ("--replicas", "0", "1..=64"),
    ] {
        let ended = env.run(&["serve", "parrot:", "--listen", "127.0.0.1:0", flag, value]);
        assert_eq!(ended.code, Some(2), "{flag} {value}");
        let said = [flag, &format!("{value} is not in {limit}")[..]];
        assert!(said.iter().all(|said| ended.stderr.contains(said)), "{}", ended.stderr);
    }
}
