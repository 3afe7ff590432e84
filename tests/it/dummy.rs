//! Models that are nothing but a shape, through the real binary.

use std::fs;

use serde_json::{Value, json};
use thinkery::records::{Domain, FinishReason, NewQuestion, NewTrace, QuestionId, Split, TraceId};
use thinkery::sandbox::Sandbox;
use thinkery::stage::{Context, Progress, Stop};
use thinkery::store::Store;
use thinkery::verify::{self, Config, Tools, judge};

use crate::env::TestEnv;
use crate::openai::send;

fn logits(env: &TestEnv, model: &str) -> Vec<u8> {
    env.file("ids.json", "[1, 2, 300]");
    let args = ["logits", "--model", model, "--ids", "ids.json", "--out", "l.safetensors"];
    let said = env.run(&[&args[..], &["--json"]].concat()).json();
    assert_eq!((&said["tokens"], &said["vocabulary"]), (&json!(3), &json!(512)));
    fs::read(env.path().join("l.safetensors")).unwrap()
}

#[test]
fn a_dummy_is_the_same_every_time() {
    let env = TestEnv::new();
    let first = logits(&env, "dummy:tiny");
    assert_eq!(logits(&env, "dummy:tiny"), first);
    assert_eq!(logits(&env, "dummy:tiny:bf16"), first);
    assert_ne!(logits(&env, "dummy:tiny:f32"), first, "f32 has numbers that bf16 has not");
}

#[test]
fn a_dummy_is_served_and_evaluated_as_any_model() {
    let env = TestEnv::new();
    let mut server = env.start(&["--json", "serve", "dummy:tiny", "--listen", "127.0.0.1:0"]);
    let address = server.address();
    let body = json!({
        "model": "dummy:tiny", "messages": [{ "role": "user", "content": "What is 2 + 2?" }],
        "max_tokens": 12, "seed": 5, "temperature": 0,
    });
    let (status, answer) = send(&address, "POST", "/v1/chat/completions", Some(&body));
    assert_eq!(status, 200, "{answer}");
    let answer: Value = serde_json::from_str(&answer).unwrap();
    assert_eq!(answer["usage"]["completion_tokens"], 12, "{answer}");
    let problem = r#"{"problem":"What is 1 + 1?","domain":"math","reference":"2"}"#;
    env.file("problems.jsonl", problem);
    let args = ["evaluate", "--model", "dummy:tiny", "--benchmark", "problems.jsonl"];
    let limited = ["--samples=1", "--max-tokens=8", "--out", "e.json", "--json"];
    let ended = env.run(&[&args[..], &limited].concat());
    assert_eq!(ended.code, Some(0), "{ended:#?}");
}

#[test]
fn a_judge_behind_our_own_server_is_asked_in_words_and_noise_is_no_vote() {
    let env = TestEnv::new();
    let store = Store::open(&env.data()).unwrap();
    let question = NewQuestion {
        key: "riddle".into(),
        domain: Domain::Puzzle,
        source: "test".into(),
        family: String::new(),
        split: Split::Train,
        problem: "What has keys and no locks?".into(),
        reference: Some("B".into()),
        tests: None,
        starter_code: None,
    };
    store.add_questions(&[question]).unwrap();
    let trace = NewTrace {
        question_id: QuestionId(1),
        sample: 0,
        model: "teacher".into(),
        endpoint: "e".into(),
        reasoning: "hm".into(),
        solution: "It is B.".into(),
        finish_reason: FinishReason::Stop,
        prompt_tokens: 1,
        completion_tokens: 1,
        cost_usd: 0.0,
        attempts: 1,
    };
    store.add_trace(&trace).unwrap();
    let mut server = env.start(&["--json", "serve", "dummy:tiny", "--listen", "127.0.0.1:0"]);
    let judge = judge::Config {
        endpoint: Some(server.address()),
        endpoint_label: Some("ours".into()),
        model: "dummy:tiny".into(),
        max_tokens: 16,
        ..judge::Config::default()
    };
    let cx = Context { store, progress: Progress::silent(), stop: Stop::default() };
    let tools = Tools::new(Sandbox::new("no-launcher".into(), Vec::new()));
    let config = Config { judge, ..Config::default() };
    // A model of random numbers answers, but never in the form that was asked for.
    let summary = verify::run(&cx, &config, &tools).unwrap();
    let counts = summary.judge.unwrap();
    assert_eq!((counts.abstained, counts.malformed, counts.failed), (1, 3, 0), "{counts:?}");
    assert_eq!(counts.requests, 4, "one request finds out that there are no schemas: {counts:?}");
    let decided = cx.store.decided(TraceId(1)).unwrap().unwrap();
    assert_eq!(decided.verdict, "unchecked");
    assert_eq!(cx.store.ledger().unwrap()[1].judge_replies, 3);
}

#[test]
fn a_dummy_larger_than_the_machine_is_refused_with_the_numbers() {
    let env = TestEnv::new();
    env.file("ids.json", "[1]");
    let refused = |model: &str| {
        let args = ["logits", "--model", model, "--ids", "ids.json", "--out", "l.safetensors"];
        env.run(&args).error()
    };
    // 72.7 billion numbers, of one byte at least.
    let error = refused("dummy:qwen2.5-72b");
    let needed = error.split_once("needs ").unwrap().1.split_once(" bytes of memory, ").unwrap().0;
    assert!(needed.parse::<u64>().unwrap() > 72_706_203_648, "{error}");
    assert!(error.contains(" are free") && error.contains("hint: "), "{error}");
    let error = refused("dummy:qwen9");
    assert!(error.contains("`qwen9` is no known shape; known: tiny, qwen2.5-0.5b"), "{error}");
    let error = refused("dummy:tiny:int8");
    assert!(error.contains("`int8` is no type of its numbers; known: bf16, f32"), "{error}");
}
