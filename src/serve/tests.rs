//! Tests of the server over a parrot: real sockets, raw HTTP, so that nothing is hidden. What breaks
//! servers is tested on the real binary, in `tests/it/serve`.

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tokio::net::TcpListener;

use super::{KeyCheck, Models, Offer, standalone};
use crate::chat::local::{LocalModel, Place};
use crate::engine::Device;
use crate::store::{NewRun, Store};

const PATIENCE: Duration = Duration::from_secs(20);

struct Server {
    address: SocketAddr,
    models: Arc<Models>,
    _runtime: tokio::runtime::Runtime,
}

/// A server of the model `fake`, a parrot with this context.
fn server(context: usize, check: Option<KeyCheck>) -> Server {
    over(&format!("parrot:step-ms=0,context={context}"), check)
}

/// A server of the model `fake`, which is this parrot.
fn over(parrot: &str, check: Option<KeyCheck>) -> Server {
    let place = Place::on(Device::Cpu);
    let models = Arc::new(Models::new(place));
    let offer = Offer { name: "fake".into(), dir: parrot.into(), created: 7 };
    let model = LocalModel::open("fake", std::path::Path::new(parrot), place).unwrap();
    models.add_loaded(offer, model);
    let router = standalone(Arc::clone(&models), check);
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let listener = runtime.block_on(TcpListener::bind("127.0.0.1:0")).unwrap();
    let address = listener.local_addr().unwrap();
    runtime.spawn(async move { axum::serve(listener, router).await });
    Server { address, models, _runtime: runtime }
}

impl Server {
    fn open(&self, method: &str, path: &str, headers: &str, body: &[u8]) -> TcpStream {
        let mut stream = TcpStream::connect(self.address).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        let head = format!(
            "{method} {path} HTTP/1.1\r\nhost: h\r\nconnection: close\r\n{headers}\
             content-length: {}\r\n\r\n",
            body.len()
        );
        stream.write_all(head.as_bytes()).unwrap();
        stream.write_all(body).unwrap();
        stream
    }

    fn send(&self, method: &str, path: &str, headers: &str, body: &[u8]) -> (u16, String, String) {
        let mut reply = String::new();
        self.open(method, path, headers, body).read_to_string(&mut reply).unwrap();
        let (head, body) = reply.split_once("\r\n\r\n").unwrap();
        let status = head.split(' ').nth(1).unwrap().parse().unwrap();
        (status, head.to_lowercase(), body.to_owned())
    }

    fn chat(&self, body: &Value) -> (u16, Value) {
        let json = "content-type: application/json\r\n";
        let path = "/v1/chat/completions";
        let (status, _, body) = self.send("POST", path, json, body.to_string().as_bytes());
        (status, serde_json::from_str(&body).unwrap())
    }

    /// The `data:` lines of a streamed answer.
    fn streamed(&self, body: &Value) -> Vec<String> {
        let json = "content-type: application/json\r\n";
        let path = "/v1/chat/completions";
        let (status, head, body) = self.send("POST", path, json, body.to_string().as_bytes());
        assert_eq!(status, 200, "{body}");
        assert!(head.contains("content-type: text/event-stream"), "{head}");
        body.lines().filter_map(|line| line.strip_prefix("data: ")).map(str::to_owned).collect()
    }
}

fn question(more: &Value) -> Value {
    let mut body = json!({
        "model": "fake", "messages": [{ "role": "user", "content": "why is that so?" }], "max_tokens": 12,
        "temperature": 0,
    });
    for (key, value) in more.as_object().unwrap() {
        body[key] = value.clone();
    }
    body
}

#[test]
fn a_question_gets_an_answer_in_openais_shape() {
    let server = server(128, None);
    let (status, answer) = server.chat(&question(&json!({})));
    assert_eq!(status, 200, "{answer}");
    assert_eq!(answer["object"], "chat.completion");
    assert_eq!(answer["model"], "fake");
    assert!(answer["id"].as_str().unwrap().starts_with("chatcmpl-"));
    let choice = &answer["choices"][0];
    assert_eq!(choice["message"]["role"], "assistant");
    assert_eq!(choice["message"]["content"], "why is that ");
    assert_eq!(choice["finish_reason"], "length");
    assert_eq!(answer["usage"]["completion_tokens"], 12);
    let total = answer["usage"]["prompt_tokens"].as_u64().unwrap() + 12;
    assert_eq!(answer["usage"]["total_tokens"], total);
}

#[test]
fn a_stream_says_what_the_whole_answer_says() {
    let server = server(128, None);
    let (_, whole) = server.chat(&question(&json!({})));
    let options = json!({ "stream": true, "stream_options": { "include_usage": true } });
    let mut lines = server.streamed(&question(&options));
    assert_eq!(lines.pop().unwrap(), "[DONE]");
    let chunks: Vec<Value> = lines.iter().map(|line| serde_json::from_str(line).unwrap()).collect();
    let (usage, chunks) = chunks.split_last().unwrap();
    assert_eq!(usage["choices"], json!([]));
    assert_eq!(usage["usage"], whole["usage"]);
    assert_eq!(chunks[0]["choices"][0]["delta"]["role"], "assistant");
    let last = chunks.last().unwrap();
    assert_eq!(last["choices"][0]["delta"], json!({}));
    assert_eq!(last["choices"][0]["finish_reason"], "length");
    let text = |field: &str| -> String {
        let deltas = chunks.iter().map(|chunk| &chunk["choices"][0]["delta"][field]);
        deltas.filter_map(Value::as_str).collect()
    };
    assert_eq!(text("content"), whole["choices"][0]["message"]["content"]);
    assert!(chunks.iter().all(|chunk| chunk["id"] == chunks[0]["id"]));
    assert!(chunks.iter().all(|chunk| chunk["object"] == "chat.completion.chunk"));
}

#[test]
fn a_stop_text_ends_the_answer() {
    let server = server(128, None);
    let (_, whole) = server.chat(&question(&json!({})));
    assert_eq!(whole["choices"][0]["stop_reason"], Value::Null);
    for (include, expected) in [(false, "why "), (true, "why is")] {
        let more = json!({ "stop": ["so", "is"], "include_stop_str_in_output": include });
        let (_, cut) = server.chat(&question(&more));
        let choice = &cut["choices"][0];
        assert_eq!(choice["message"]["content"], expected);
        assert_eq!(choice["finish_reason"], "stop");
        assert_eq!(choice["stop_reason"], "is");
    }
}

#[track_caller]
fn check_refused(more: &Value, status: u16, param: &str, code: &str) {
    let server = server(64, None);
    let (found, body) = server.chat(&question(more));
    let error = &body["error"];
    assert_eq!((found, &error["param"], &error["code"]), (status, &json!(param), &json!(code)));
    assert!(!error["message"].as_str().unwrap().is_empty());
    assert_eq!(error["type"], "invalid_request_error");
}

#[test]
fn what_cannot_be_is_refused_by_name() {
    let bad = |more: Value, param: &str| check_refused(&more, 400, param, "invalid_value");
    bad(json!({ "messages": [] }), "messages");
    bad(json!({ "messages": "why?" }), "messages");
    bad(json!({ "messages": ["why?"] }), "messages[0]");
    bad(json!({ "messages": [{ "role": "robot", "content": "x" }] }), "messages[0].role");
    bad(json!({ "messages": [{ "role": "user", "content": 4 }] }), "messages[0].content");
    bad(json!({ "temperature": 2.5 }), "temperature");
    bad(json!({ "temperature": "hot" }), "temperature");
    bad(json!({ "top_p": 0 }), "top_p");
    bad(json!({ "max_tokens": 0 }), "max_tokens");
    bad(json!({ "max_tokens": -1 }), "max_tokens");
    bad(json!({ "max_completion_tokens": 1.5 }), "max_completion_tokens");
    bad(json!({ "stop": vec!["a"; 17] }), "stop");
    bad(json!({ "stop": [""] }), "stop");
    bad(json!({ "n": 0 }), "n");
    bad(json!({ "n": 129 }), "n");
    bad(json!({ "logprobs": true, "top_logprobs": 21 }), "top_logprobs");
    bad(json!({ "top_logprobs": 2 }), "top_logprobs");
    bad(json!({ "logit_bias": { "foo": 0 } }), "logit_bias.foo");
    bad(json!({ "logit_bias": { "1": 101 } }), "logit_bias.1");
    bad(json!({ "logit_bias": { "300": 1 } }), "logit_bias");
    bad(json!({ "stop_token_ids": [300] }), "stop_token_ids");
    bad(json!({ "stop_token_ids": [-1] }), "stop_token_ids[0]");
    bad(json!({ "min_p": 1.5 }), "min_p");
    bad(json!({ "top_k": -2 }), "top_k");
    bad(json!({ "repetition_penalty": 0 }), "repetition_penalty");
    bad(json!({ "presence_penalty": 2.1 }), "presence_penalty");
    bad(json!({ "min_tokens": 13 }), "min_tokens");
    bad(json!({ "continue_final_message": true }), "continue_final_message");
    bad(json!({ "seed": "x" }), "seed");
    bad(json!({ "stream": "yes" }), "stream");
    bad(json!({ "stream_options": { "include_usage": true } }), "stream_options");
    bad(json!({ "model": 7 }), "model");
}

#[test]
fn what_is_not_supported_is_refused_by_name() {
    let refused = |more: Value, param: &str| {
        check_refused(&more, 400, param, "unsupported_parameter");
    };
    refused(json!({ "best_of": 2 }), "best_of");
    refused(json!({ "guided_json": {} }), "guided_json");
    let image = json!([{ "role": "user", "content": [{ "type": "image_url" }] }]);
    refused(json!({ "messages": image }), "messages[0].content");
    refused(json!({ "tools": [{ "type": "function" }] }), "tools");
    refused(json!({ "response_format": { "type": "json_object" } }), "response_format");
    check_refused(&json!({ "temprature": 1 }), 400, "temprature", "unknown_parameter");
}

#[test]
fn what_changes_nothing_is_taken() {
    let server = server(128, None);
    let neutral = json!({
        "n": 1, "logprobs": false, "tools": [], "user": "me", "frequency_penalty": 0,
        "response_format": { "type": "text" }, "metadata": { "a": "b" }, "stop": null,
        "seed": -5, "max_tokens": null, "max_completion_tokens": 3, "store": false,
        "messages": [
            { "role": "developer", "content": "Be brief." },
            { "role": "user", "content": [{ "type": "text", "text": "why?" }] },
        ],
    });
    let (status, answer) = server.chat(&question(&neutral));
    assert_eq!(status, 200, "{answer}");
    assert_eq!(answer["usage"]["completion_tokens"], 3);
}

#[test]
fn a_conversation_beyond_the_context_names_tokens_and_limit() {
    let long = json!({ "messages": [{ "role": "user", "content": "x".repeat(80) }] });
    check_refused(&long, 400, "messages", "context_length_exceeded");
    let server = server(64, None);
    let (_, body) = server.chat(&question(&long));
    let message = body["error"]["message"].as_str().unwrap();
    assert!(message.contains("64 tokens"), "{message}");
}

#[test]
fn an_unknown_model_is_not_found() {
    check_refused(&json!({ "model": "gpt-5" }), 404, "model", "model_not_found");
}

#[test]
fn without_a_name_the_first_model_answers() {
    let server = server(128, None);
    let mut body = question(&json!({}));
    body.as_object_mut().unwrap().remove("model");
    assert_eq!(server.chat(&body).1["model"], "fake");
}

#[test]
fn bodies_that_are_no_json_objects_are_refused() {
    let server = server(64, None);
    let json = "content-type: application/json\r\n";
    for body in ["", "{", "null", "42", "[]", "\"why\"", "{\"messages\": [\"\\ud800\"]}"] {
        let (status, _, reply) = server.send("POST", "/v1/chat/completions", json, body.as_bytes());
        assert_eq!(status, 400, "{body}: {reply}");
        assert!(reply.contains("\"error\""), "{reply}");
    }
    let bytes = b"\xff\xfe{}";
    assert_eq!(server.send("POST", "/v1/chat/completions", json, bytes).0, 400);
    let deep = "[".repeat(100_000);
    assert_eq!(server.send("POST", "/v1/chat/completions", json, deep.as_bytes()).0, 400);
    let text = "content-type: text/plain\r\n";
    assert_eq!(server.send("POST", "/v1/chat/completions", text, b"{}").0, 415);
}

#[test]
fn a_body_without_end_is_refused_at_its_length() {
    let server = server(64, None);
    let mut stream = TcpStream::connect(server.address).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    let head = "POST /v1/chat/completions HTTP/1.1\r\nhost: h\r\n\
                content-type: application/json\r\ncontent-length: 100000000\r\n\r\n";
    stream.write_all(head.as_bytes()).unwrap();
    let mut reply = [0; 12];
    stream.read_exact(&mut reply).unwrap();
    assert_eq!(&reply, b"HTTP/1.1 413");
}

#[test]
fn who_sends_a_body_that_nobody_reads_gets_the_answer() {
    let json = "content-type: application/json\r\n";
    let text = "content-type: text/plain\r\n";
    let body = vec![b' '; 40 << 20];
    let open = server(64, None);
    assert_eq!(open.send("POST", "/v1/chat/completions", json, &body).0, 413);
    assert_eq!(open.send("POST", "/v1/chat/completions", text, &body).0, 415);
    assert_eq!(open.send("POST", "/v1/models", json, &body).0, 405);
    assert_eq!(open.send("POST", "/v1/nothing", json, &body).0, 404);
    let closed = server(64, Some(Arc::new(|_| false)));
    assert_eq!(closed.send("POST", "/v1/chat/completions", json, &body).0, 401);
}

#[test]
fn models_are_listed_and_found() {
    let server = server(64, None);
    let (status, _, body) = server.send("GET", "/v1/models", "", b"");
    let list: Value = serde_json::from_str(&body).unwrap();
    assert_eq!((status, &list["object"]), (200, &json!("list")));
    let fake = json!({ "id": "fake", "object": "model", "created": 7, "owned_by": "thinkery",
        "max_model_len": 64 });
    assert_eq!(list["data"], json!([fake]));
    let (_, _, body) = server.send("GET", "/v1/models/fake", "", b"");
    assert_eq!(serde_json::from_str::<Value>(&body).unwrap(), fake);
    assert_eq!(server.send("GET", "/v1/models/other", "", b"").0, 404);
}

#[test]
fn unknown_paths_and_methods_answer_in_the_envelope() {
    let server = server(64, None);
    for (method, path, status) in [
        ("GET", "/v1/nothing", 404),
        ("GET", "/nothing", 404),
        ("GET", "/v1/chat/completions", 405),
        ("DELETE", "/v1/models", 405),
    ] {
        let (found, _, body) = server.send(method, path, "", b"");
        assert_eq!(found, status, "{method} {path}: {body}");
        let body: Value = serde_json::from_str(&body).unwrap();
        assert!(body["error"]["message"].is_string(), "{method} {path}");
    }
    assert_eq!(server.send("GET", "/health", "", b"").0, 200);
    assert!(server.send("GET", "/version", "", b"").2.contains("version"));
}

#[test]
fn where_keys_are_required_only_the_right_one_opens() {
    let check: KeyCheck = Arc::new(|key| key == "secret");
    let server = server(64, Some(check));
    for (header, status) in [
        ("", 401),
        ("authorization: Bearer wrong\r\n", 401),
        ("authorization: Bearer secre\r\n", 401),
        ("authorization: secret\r\n", 401),
        ("authorization: Bearer secret\r\n", 200),
        ("Authorization: bearer secret\r\n", 200),
    ] {
        let (found, head, body) = server.send("GET", "/v1/models", header, b"");
        assert_eq!(found, status, "{header}: {body}");
        if status == 401 {
            assert!(body.contains("invalid_api_key"), "{body}");
            assert!(head.contains("www-authenticate: bearer"), "{head}");
        }
    }
    assert_eq!(server.send("GET", "/health", "", b"").0, 200);
}

#[test]
fn counters_never_fall_when_models_come_and_go() {
    let server = server(128, None);
    // There is room for two: with every question the one asked longest ago goes.
    for name in ["second", "third"] {
        let dir = "parrot:step-ms=0,context=128".into();
        server.models.offer(Offer { name: name.into(), dir, created: 7 });
    }
    let mut before = BTreeMap::new();
    for round in 1..=2 {
        for name in ["fake", "second", "third"] {
            assert_eq!(server.chat(&question(&json!({ "model": name }))).0, 200);
            until_idle(&server.models);
            let counts: BTreeMap<_, _> = server
                .models
                .loads()
                .into_iter()
                .map(|(e, load)| (e, load.generated_tokens))
                .collect();
            assert_eq!(counts[&(name.to_owned(), 0)], 12 * round, "{name}");
            let fell = before.iter().filter(|(engine, count)| counts[*engine] < **count);
            assert_eq!(fell.count(), 0, "{before:?} became {counts:?}");
            before = counts;
        }
    }
    assert_eq!(server.models.health().len(), 2);
    let (_, _, text) = server.send("GET", "/metrics", "", b"");
    for name in ["fake", "second", "third"] {
        for line in [
            format!("vllm:generation_tokens_total{{model_name=\"{name}\",engine=\"0\"}} 24"),
            format!(
                "vllm:request_success_total{{model_name=\"{name}\",finished_reason=\"length\"}} 2"
            ),
        ] {
            assert!(text.lines().any(|found| found == line), "no `{line}` in\n{text}");
        }
    }
}

/// Waits until nothing runs any more.
#[track_caller]
fn until_idle(models: &Models) {
    let begin = Instant::now();
    while models.load().running > 0 || models.load().waiting > 0 {
        assert!(begin.elapsed() < PATIENCE, "still running: {:?}", models.load());
        std::thread::yield_now();
    }
}

#[test]
fn a_client_that_hangs_up_ends_its_answer() {
    // An answer that takes the parrot a minute.
    for stream in [true, false] {
        let server = over("parrot:step-ms=15,context=4096", None);
        let long = json!({ "max_tokens": 4000, "ignore_eos": true, "stream": stream });
        let endless = question(&long);
        let json = "content-type: application/json\r\n";
        let body = endless.to_string();
        let connection = server.open("POST", "/v1/chat/completions", json, body.as_bytes());
        let begin = Instant::now();
        while server.models.load().generated_tokens == 0 {
            assert!(begin.elapsed() < PATIENCE, "never began");
            std::thread::yield_now();
        }
        drop(connection);
        until_idle(&server.models);
        assert_eq!(server.chat(&question(&json!({}))).0, 200, "the next one is answered");
    }
}

#[test]
fn a_burst_is_answered_or_told_to_come_back() {
    let server = server(256, None);
    let body = question(&json!({ "max_tokens": 100 })).to_string();
    let statuses: Vec<u16> = std::thread::scope(|scope| {
        let one = || {
            let json = "content-type: application/json\r\n";
            let (status, head, _) =
                server.send("POST", "/v1/chat/completions", json, body.as_bytes());
            assert!(status != 429 || head.contains("retry-after: 1"), "{head}");
            status
        };
        let threads: Vec<_> = (0..64).map(|_| scope.spawn(one)).collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).collect()
    });
    assert!(statuses.iter().all(|status| matches!(status, 200 | 429)), "{statuses:?}");
    until_idle(&server.models);
}

#[test]
fn the_verified_model_is_what_is_served_and_later_runs_replace_earlier_ones() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path()).unwrap();
    let finished = |name: &str, path: &str| {
        let new = NewRun {
            name: name.into(),
            dataset_id: None,
            config: json!({}),
            hash: path.into(),
            steps_total: 1,
            path: path.into(),
        };
        let run = store.add_run(&new).unwrap();
        store.finish_run(run.id).unwrap();
        let folder = dir.path().join(path).join("final");
        std::fs::create_dir_all(&folder).unwrap();
        std::fs::write(folder.join("config.json"), "{}").unwrap();
    };
    let models = Models::of_store(store.clone(), Device::Cpu);
    assert!(models.cards().unwrap().is_empty());
    finished("unverified", "runs/a");
    let names = || -> Vec<(String, bool)> {
        models.cards().unwrap().into_iter().map(|card| (card.name, card.served)).collect()
    };
    assert_eq!(names(), [("unverified".into(), true)]);
    finished("verified", "runs/b");
    finished("verified", "runs/c");
    finished("other", "runs/d");
    let expected = [("verified", true), ("other", false), ("unverified", false)];
    assert_eq!(names(), expected.map(|(name, served)| (name.to_owned(), served)));
    assert_eq!(store.models().unwrap()[0].path, "runs/c/final");
}
