//! A client that shows everything: raw HTTP over sockets of its own, against the real binary.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};

use crate::env::{Running, TestEnv};

/// How long anything may take; only what hangs takes longer.
pub(super) const PATIENCE: Duration = Duration::from_secs(60);

pub(super) const CHAT: &str = "/v1/chat/completions";
pub(super) const COMPLETIONS: &str = "/v1/completions";

/// A server of the real binary, over a parrot.
pub(super) struct Server {
    pub(super) env: TestEnv,
    pub(super) running: Running,
    pub(super) address: String,
}

/// What came back.
#[derive(Debug)]
pub(super) struct Reply {
    pub(super) status: u16,
    pub(super) head: String,
    pub(super) body: String,
}

impl Reply {
    pub(super) fn read(stream: &mut TcpStream) -> Self {
        let mut bytes = Vec::new();
        stream.read_to_end(&mut bytes).unwrap();
        Self::parse(&String::from_utf8(bytes).unwrap())
    }

    pub(super) fn parse(text: &str) -> Self {
        let (head, body) = text.split_once("\r\n\r\n").unwrap_or_else(|| panic!("got {text:?}"));
        let status = head.split(' ').nth(1).unwrap().parse().unwrap();
        let head = head.to_lowercase();
        let body = match head.contains("transfer-encoding: chunked") {
            true => unchunked(body),
            false => body.to_owned(),
        };
        Self { status, head, body }
    }

    pub(super) fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_else(|_| panic!("no JSON: {self:?}"))
    }

    /// The `data:` lines of a stream that ends as it must.
    pub(super) fn events(&self) -> Vec<Value> {
        let data = self.body.lines().filter_map(|line| line.strip_prefix("data: "));
        let mut data: Vec<&str> = data.collect();
        assert_eq!(data.pop(), Some("[DONE]"), "{}", self.body);
        data.into_iter().map(|line| serde_json::from_str(line).unwrap()).collect()
    }

    /// The text of the first choice, whole or streamed.
    #[track_caller]
    pub(super) fn text(&self) -> String {
        assert_eq!(self.status, 200, "{self:?}");
        if !self.head.contains("text/event-stream") {
            let choice = &self.json()["choices"][0];
            let text = choice["message"]["content"].as_str().or(choice["text"].as_str());
            return text.unwrap().to_owned();
        }
        let events = self.events();
        let pieces = events.iter().map(|event| {
            let choice = &event["choices"][0];
            choice["delta"]["content"].as_str().or(choice["text"].as_str()).unwrap_or_default()
        });
        pieces.collect()
    }
}

fn unchunked(body: &str) -> String {
    let (mut rest, mut text) = (body.as_bytes(), Vec::new());
    while let Some(at) = rest.windows(2).position(|two| two == b"\r\n") {
        let size = std::str::from_utf8(&rest[..at]).unwrap();
        let size = usize::from_str_radix(size, 16).unwrap_or_else(|_| panic!("chunk of {size:?}"));
        if size == 0 {
            break;
        }
        text.extend_from_slice(&rest[at + 2..at + 2 + size]);
        rest = &rest[at + 4 + size..];
    }
    String::from_utf8(text).unwrap()
}

impl Server {
    /// Serves `parrot:OPTIONS` with these further flags.
    pub(super) fn new(options: &str, flags: &[&str]) -> Self {
        Self::with(options, flags, &[])
    }

    /// The same with these settings of the environment.
    pub(super) fn with(options: &str, flags: &[&str], settings: &[(&str, &str)]) -> Self {
        Self::of(&format!("parrot:{options}"), flags, settings)
    }

    /// Serves `model`.
    pub(super) fn of(model: &str, flags: &[&str], settings: &[(&str, &str)]) -> Self {
        let env = TestEnv::new();
        let mut command = env.command(&["--json", "serve", model, "--listen", "127.0.0.1:0"]);
        command.args(flags).envs(settings.iter().copied());
        let mut running = env.spawn(command);
        let address = running.address().strip_prefix("http://").unwrap().to_owned();
        Self { env, running, address }
    }

    /// Serves a parrot that is loaded only once there is this file in the test's folder, at an
    /// address that is told before.
    pub(super) fn loading(file: &str) -> Self {
        let env = TestEnv::new();
        let free = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = free.local_addr().unwrap().to_string();
        drop(free);
        let model = format!("parrot:step-ms=0,waits-for={}", env.path().join(file).display());
        let running = env.spawn(env.command(&["--json", "serve", &model, "--listen", &address]));
        let server = Self { env, running, address };
        let begin = Instant::now();
        while TcpStream::connect(&server.address).is_err() {
            assert!(begin.elapsed() < PATIENCE, "it never listened: {}", server.log());
        }
        server
    }

    pub(super) fn connect(&self) -> TcpStream {
        let stream = TcpStream::connect(&self.address).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream
    }

    /// Sends a request and leaves the connection open.
    pub(super) fn open(&self, path: &str, body: &Value) -> TcpStream {
        let mut stream = self.connect();
        let body = body.to_string();
        let head = format!(
            "POST {path} HTTP/1.1\r\nhost: h\r\nconnection: close\r\n\
             content-type: application/json\r\ncontent-length: {}\r\n\r\n",
            body.len()
        );
        stream.write_all(&[head.as_bytes(), body.as_bytes()].concat()).unwrap();
        stream
    }

    pub(super) fn post(&self, path: &str, body: &Value) -> Reply {
        Reply::read(&mut self.open(path, body))
    }

    /// A body that need not be JSON.
    pub(super) fn post_bytes(&self, path: &str, headers: &str, body: &[u8]) -> Reply {
        self.raw(&format!("POST {path} HTTP/1.1\r\n{headers}"), body)
    }

    pub(super) fn get(&self, path: &str) -> Reply {
        self.raw(&format!("GET {path} HTTP/1.1\r\n"), b"")
    }

    /// A request whose head begins so.
    pub(super) fn raw(&self, head: &str, body: &[u8]) -> Reply {
        let mut stream = self.connect();
        let head =
            format!("{head}host: h\r\nconnection: close\r\ncontent-length: {}\r\n\r\n", body.len());
        stream.write_all(&[head.as_bytes(), body].concat()).unwrap();
        Reply::read(&mut stream)
    }

    /// The sum of a metric over all its labels.
    pub(super) fn metric(&self, name: &str) -> f64 {
        let text = self.get("/metrics").body;
        let samples = text.lines().filter(|line| {
            line.strip_prefix(name).is_some_and(|rest| rest.starts_with(['{', ' ']))
        });
        samples.map(|line| line.rsplit(' ').next().unwrap().parse::<f64>().unwrap()).sum()
    }

    /// Asks again and again until `done`.
    #[track_caller]
    pub(super) fn until(&self, what: &str, done: impl Fn(&Self) -> bool) {
        let begin = Instant::now();
        while !done(self) {
            assert!(begin.elapsed() < PATIENCE, "never {what}: {}", self.get("/metrics").body);
        }
    }

    /// Waits until nothing runs or waits and every block is free.
    #[track_caller]
    pub(super) fn until_idle(&self) {
        self.until("idle", |server| {
            ["vllm:num_requests_running", "vllm:num_requests_waiting", "kv_blocks_used"]
                .iter()
                .all(|name| server.metric(name) == 0.0)
        });
    }

    pub(super) fn signal(&self, signal: Signal) {
        kill_process(Pid::from_raw(self.running.pid()).unwrap(), signal).unwrap();
    }

    /// Waits for the process to end; gives its exit code.
    pub(super) fn ended(&mut self) -> Option<i32> {
        self.running.0.wait().unwrap().code()
    }

    /// Memory of the process in MiB.
    pub(super) fn memory_mib(&self) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.running.pid()));
        let status = status.unwrap();
        let line = status.lines().find(|line| line.starts_with("VmRSS:")).unwrap();
        line.split_whitespace().nth(1).unwrap().parse::<u64>().unwrap() / 1024
    }

    /// Files that the process has open.
    pub(super) fn open_files(&self) -> usize {
        std::fs::read_dir(format!("/proc/{}/fd", self.running.pid())).unwrap().count()
    }

    /// What the process has written to standard error.
    pub(super) fn log(&self) -> String {
        std::fs::read_to_string(self.env.path().join("stderr.txt")).unwrap()
    }
}

/// A conversation in which `text` is asked, with these further fields.
pub(super) fn chat(text: &str, more: &Value) -> Value {
    let messages = json!([{ "role": "user", "content": text }]);
    with(json!({ "messages": messages, "temperature": 0 }), more)
}

/// `body` with these further fields.
pub(super) fn with(mut body: Value, more: &Value) -> Value {
    for (key, value) in more.as_object().unwrap() {
        body[key] = value.clone();
    }
    body
}

/// An answer that does not end by itself.
pub(super) fn endless(more: &Value) -> Value {
    chat("on and on ", &with(json!({ "ignore_eos": true, "max_tokens": 100_000 }), more))
}

/// Reads until `mark` has come.
pub(super) fn read_to(stream: &mut TcpStream, mark: &str) -> String {
    let mut bytes = Vec::new();
    let mut one = [0];
    while !bytes.ends_with(mark.as_bytes()) {
        assert_eq!(stream.read(&mut one).unwrap(), 1, "{}", String::from_utf8_lossy(&bytes));
        bytes.push(one[0]);
    }
    String::from_utf8(bytes).unwrap()
}

/// Ends the sending half of a connection.
pub(super) fn half_close(stream: &TcpStream) {
    stream.shutdown(Shutdown::Write).unwrap();
}
