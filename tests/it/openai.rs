//! `thinkery serve` from outside: the real binary, a model with random weights, raw HTTP.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};
use thinkery::dataset::base::{Base, make};
use thinkery::engine::{self, Adam, Device, Weights};

use crate::env::TestEnv;

/// Longest context of the model: enough for a question, too little for a page.
const CONTEXT: u32 = 192;

/// Makes a tiny Qwen2 with random weights in `dir`; none if this binary has no engine.
pub(crate) fn tiny_model(dir: &Path) -> Option<PathBuf> {
    if engine::facts().backends.is_empty() {
        return None;
    }
    let model = dir.join("tiny");
    let texts: Vec<String> =
        (0..80).map(|n| format!("What is {n} + {n}? It is {}.", 2 * n)).collect();
    let base = Base {
        vocabulary: 320,
        hidden_size: 16,
        intermediate_size: 32,
        layers: 1,
        heads: 2,
        key_value_heads: 1,
        context: CONTEXT,
        ..Base::default()
    };
    make(&model, &base, &texts).unwrap();
    let config = std::fs::read_to_string(model.join("config.json")).unwrap();
    let config: Value = serde_json::from_str(&config).unwrap();
    let weights = Weights::Random { config: &config, seed: 1 };
    let adam = Adam { beta1: 0.9, beta2: 0.999, epsilon: 1e-8, weight_decay: 0.0 };
    let trainer = engine::open_trainer(&[Device::Cpu], weights, &adam.into()).unwrap();
    trainer.snapshot().unwrap().save_model(&model).unwrap();
    Some(model)
}

/// Status and body of one request over a connection of its own.
pub(crate) fn send(address: &str, method: &str, path: &str, body: Option<&Value>) -> (u16, String) {
    let host = address.strip_prefix("http://").unwrap();
    let mut stream = TcpStream::connect(host).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
    let body = body.map(Value::to_string).unwrap_or_default();
    let head = format!(
        "{method} {path} HTTP/1.1\r\nhost: {host}\r\nconnection: close\r\n\
         content-type: application/json\r\ncontent-length: {}\r\n\r\n{body}",
        body.len()
    );
    stream.write_all(head.as_bytes()).unwrap();
    let mut reply = String::new();
    stream.read_to_string(&mut reply).unwrap();
    let (head, body) = reply.split_once("\r\n\r\n").unwrap();
    (head.split(' ').nth(1).unwrap().parse().unwrap(), body.to_owned())
}

fn question(more: &[(&str, Value)]) -> Value {
    let mut body = json!({
        "model": "tiny", "messages": [{ "role": "user", "content": "What is 2 + 2?" }],
        "max_tokens": 16, "seed": 5,
    });
    for (key, value) in more {
        body[*key] = value.clone();
    }
    body
}

#[test]
fn a_served_model_speaks_openais_protocol() {
    let env = TestEnv::new();
    let Some(model) = tiny_model(env.path()) else { return };
    let model = model.to_str().unwrap();
    let mut server = env.start(&["--json", "serve", model, "--listen", "127.0.0.1:0"]);
    let address = server.address();
    let chat = |body: &Value| send(&address, "POST", "/v1/chat/completions", Some(body));
    let parsed = |body: &str| serde_json::from_str::<Value>(body).unwrap();

    let (status, models) = send(&address, "GET", "/v1/models", None);
    assert_eq!((status, &parsed(&models)["data"][0]["id"]), (200, &json!("tiny")));

    let (status, body) = chat(&question(&[]));
    assert_eq!(status, 200, "{body}");
    let whole = parsed(&body);
    let (_, again) = chat(&question(&[]));
    assert_eq!(whole["choices"], parsed(&again)["choices"], "same seed, same answer");
    let (status, metrics) = send(&address, "GET", "/metrics", None);
    assert_eq!(status, 200);
    for (name, of) in [
        ("vllm:prompt_tokens_total", "prompt_tokens"),
        ("vllm:generation_tokens_total", "completion_tokens"),
    ] {
        let tokens = 2 * whole["usage"][of].as_u64().unwrap();
        let line = format!("{name}{{model_name=\"tiny\",engine=\"0\"}} {tokens}");
        assert!(metrics.lines().any(|found| found == line), "{line} in\n{metrics}");
    }

    let stream = [("stream", json!(true)), ("stream_options", json!({ "include_usage": true }))];
    let (status, events) = chat(&question(&stream));
    assert_eq!(status, 200);
    let data: Vec<&str> = events.lines().filter_map(|line| line.strip_prefix("data: ")).collect();
    assert_eq!(data.last(), Some(&"[DONE]"));
    let chunks: Vec<Value> = data[..data.len() - 1].iter().map(|line| parsed(line)).collect();
    let text: String = chunks
        .iter()
        .filter_map(|chunk| chunk["choices"][0]["delta"]["content"].as_str())
        .collect();
    assert_eq!(text, whole["choices"][0]["message"]["content"].as_str().unwrap());
    assert_eq!(chunks.last().unwrap()["usage"], whole["usage"]);

    let long = json!([{ "role": "user", "content": "12345 ".repeat(60) }]);
    let (status, body) = chat(&question(&[("messages", long)]));
    assert_eq!((status, &parsed(&body)["error"]["code"]), (400, &json!("context_length_exceeded")));
    let (status, body) = chat(&question(&[("model", json!("other"))]));
    assert_eq!((status, &parsed(&body)["error"]["code"]), (404, &json!("model_not_found")));

    let begin = Instant::now();
    kill_process(Pid::from_raw(server.pid()).unwrap(), Signal::TERM).unwrap();
    assert_eq!(server.0.wait().unwrap().code(), Some(0));
    assert!(begin.elapsed() < Duration::from_secs(1), "took {:?} to end", begin.elapsed());
}

#[test]
fn a_folder_that_is_no_whole_model_is_one_line_and_a_hint() {
    let env = TestEnv::new();
    let Some(model) = tiny_model(env.path()) else { return };
    std::fs::remove_file(model.join("model.safetensors")).unwrap();
    let error = env.run(&["serve", model.to_str().unwrap(), "--listen", "127.0.0.1:0"]).error();
    assert!(error.lines().count() == 2 && error.contains("hint: "), "{error}");
    assert!(error.contains("model.safetensors"), "{error}");
    let error = env.run(&["serve", "nowhere", "--listen", "127.0.0.1:0"]).error();
    assert!(error.contains("there is no model folder `nowhere`"), "{error}");
}

#[test]
fn a_port_that_is_taken_is_one_line_and_a_hint() {
    let env = TestEnv::new();
    let Some(model) = tiny_model(env.path()) else { return };
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let error = env.run(&["serve", model.to_str().unwrap(), "--listen", &address]).error();
    assert!(error.contains(&address) && error.contains("hint: another program"), "{error}");
}

#[test]
fn lines_become_ids_and_ids_become_lines() {
    let env = TestEnv::new();
    let Some(model) = tiny_model(env.path()) else { return };
    let model = model.to_str().unwrap();
    let lines = "What is 12 + 7?\n\n<|im_start|>user naïve 😀\n";
    let ids = env.run_with(&["tokenize", "--model", model], lines);
    assert_eq!(ids.code, Some(0), "{ids:#?}");
    let rows: Vec<Vec<u32>> =
        ids.stdout.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(rows.len(), 3);
    assert_eq!(rows[1], [0_u32; 0]);
    assert_eq!(rows[2][0], 1, "`<|im_start|>` is the second special token");
    let text = env.run_with(&["detokenize", "--model", model], &ids.stdout);
    assert_eq!(text.stdout, lines);
}

#[test]
fn logits_have_a_row_per_token() {
    let env = TestEnv::new();
    let Some(model) = tiny_model(env.path()) else { return };
    let ids = env.file("ids.json", "[5, 6, 7]");
    let out = env.path().join("logits.safetensors");
    let (ids, out) = (ids.to_str().unwrap(), out.to_str().unwrap());
    let result = env
        .run(&["--json", "logits", "--model", model.to_str().unwrap(), "--ids", ids, "--out", out])
        .json();
    assert_eq!(result["tokens"], 3);
    let bytes = std::fs::read(out).unwrap();
    let tensors = safetensors::SafeTensors::deserialize(&bytes).unwrap();
    let logits = tensors.tensor("logits").unwrap();
    assert_eq!(logits.shape(), [3, result["vocabulary"].as_u64().unwrap() as usize]);
    let numbers = logits.data().chunks_exact(4);
    assert!(numbers.map(|b| f32::from_le_bytes(b.try_into().unwrap())).all(f32::is_finite));
}
