//! The stage: starts the server, asks it one question over HTTP as any client would, and keeps the
//! answer. Proof that what was trained can be talked to.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context as _, anyhow, ensure};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use tokio::net::TcpListener;

use super::{Models, Offer, router};
use crate::chat::local::Place;
use crate::chat::prompt::{Asked, user_prompt};
use crate::engine::Device;
use crate::hint::Hinted;
use crate::records::{Domain, RunState, Split};
use crate::stage;
use crate::store::QuestionFilter;

/// How long the answer is waited for: a long one of a large model on a processor.
const PATIENCE: Duration = Duration::from_secs(600);

/// How often a wait looks whether somebody wants the stage to end.
const POLL: Duration = Duration::from_millis(100);

/// Configuration of the stage.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// Where the model runs: `cpu` or `cuda:0`.
    pub device: String,
    /// Name of the run whose final model is served.
    pub model: String,
    /// What it is asked; empty: the first held-out question of mathematics.
    pub question: String,
    /// Tokens of the answer at most. Ours.
    pub max_tokens: u32,
    /// 0 is greedy. Ours: one answer, always the same.
    pub temperature: f64,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            device: "cpu".into(),
            model: "verified".into(),
            question: String::new(),
            max_tokens: 512,
            temperature: 0.0,
        }
    }
}

/// What was asked and answered.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Summary {
    /// The model's name.
    pub model: String,
    /// The question.
    pub question: String,
    /// What it thought.
    pub reasoning: String,
    /// What it answered.
    pub answer: String,
    /// `stop` or `length`.
    pub finish_reason: String,
    /// Tokens of the prompt.
    pub prompt_tokens: u64,
    /// Tokens of the answer.
    pub completion_tokens: u64,
    /// From the request to the end of the answer.
    pub seconds: f64,
}

/// Serves the model of a finished run and asks it one question.
///
/// # Errors
/// If there is no such run, its model cannot be loaded, or somebody asked us to stop.
pub fn run(cx: &stage::Context, config: &Config) -> anyhow::Result<Summary> {
    let device: Device = config.device.parse().map_err(|why: String| anyhow!(why))?;
    let run = cx.store.run_named(&config.model)?.filter(|run| run.state == RunState::Done);
    let run = run.ok_or_else(|| {
        Hinted::new(
            format!("there is no finished run `{}` to serve", config.model),
            "train it first, or name another with `serve.model`",
        )
    })?;
    let dir = cx.store.absolute(&run.path).join("final");
    let models = Arc::new(Models::new(Place::on(device)));
    models.offer(Offer { name: run.name.clone(), dir, created: 0 });
    let question = question(cx, config)?;
    cx.progress.set(0, 1, format!("loading `{}`", run.name));
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()
        .context("could not start the server's threads")?;
    let address = runtime.block_on(start(models))?;
    cx.progress.set(0, 1, format!("asking `{}`", run.name));
    let begin = Instant::now();
    let answer = ask(cx, address, config, &question);
    runtime.shutdown_background();
    let answer = answer?;
    cx.progress.set(1, 1, "answered");
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let choice = &answer["choices"][0];
    Ok(Summary {
        model: text(&answer["model"]),
        question,
        reasoning: text(&choice["message"]["reasoning_content"]),
        answer: text(&choice["message"]["content"]),
        finish_reason: text(&choice["finish_reason"]),
        prompt_tokens: answer["usage"]["prompt_tokens"].as_u64().unwrap_or(0),
        completion_tokens: answer["usage"]["completion_tokens"].as_u64().unwrap_or(0),
        seconds: begin.elapsed().as_secs_f64(),
    })
}

async fn start(models: Arc<Models>) -> anyhow::Result<SocketAddr> {
    let listener = TcpListener::bind("127.0.0.1:0").await.context("could not open a port")?;
    let address = listener.local_addr()?;
    tokio::spawn(async move { axum::serve(listener, router(models, None)).await });
    Ok(address)
}

fn question(cx: &stage::Context, config: &Config) -> anyhow::Result<String> {
    if !config.question.is_empty() {
        return Ok(config.question.clone());
    }
    let filter = QuestionFilter {
        split: Some(Split::HeldOut),
        domain: Some(Domain::Math),
        ..QuestionFilter::default()
    };
    let held_out = cx.store.questions(&filter)?;
    let first = held_out.first().ok_or_else(|| {
        Hinted::new(
            "there is no held-out question of mathematics to ask",
            "import questions first, or give one with `serve.question`",
        )
    })?;
    Ok(user_prompt(Asked::Math, &first.problem))
}

/// One request over a connection of its own.
fn ask(
    cx: &stage::Context,
    address: SocketAddr,
    config: &Config,
    question: &str,
) -> anyhow::Result<Value> {
    let body = serde_json::json!({
        "model": config.model, "temperature": config.temperature, "seed": 0,
        "max_tokens": config.max_tokens, "messages": [{ "role": "user", "content": question }],
    })
    .to_string();
    let mut stream = TcpStream::connect(address).context("could not reach the server")?;
    stream.set_read_timeout(Some(POLL))?;
    let head = format!(
        "POST /v1/chat/completions HTTP/1.1\r\nhost: {address}\r\nconnection: close\r\n\
         content-type: application/json\r\ncontent-length: {}\r\n\r\n",
        body.len()
    );
    stream.write_all(head.as_bytes()).and_then(|()| stream.write_all(body.as_bytes()))?;
    let reply = read_to_end(cx, &mut stream)?;
    let (head, body) = reply.split_once("\r\n\r\n").context("the server sent half an answer")?;
    let status = head.lines().next().unwrap_or_default();
    let answer: Value = serde_json::from_str(body).context("the server sent no JSON")?;
    if let Some(message) = answer["error"]["message"].as_str() {
        return Err(anyhow!("{message}").context(format!("the server refused ({status})")));
    }
    ensure!(status.contains(" 200 "), "the server answered `{status}`");
    Ok(answer)
}

fn read_to_end(cx: &stage::Context, stream: &mut TcpStream) -> anyhow::Result<String> {
    use std::io::ErrorKind::{TimedOut, WouldBlock};
    let begin = Instant::now();
    let mut reply = Vec::new();
    let mut buffer = [0; 16_384];
    loop {
        cx.stop_requested()?;
        ensure!(begin.elapsed() < PATIENCE, "no answer within {} s", PATIENCE.as_secs());
        match stream.read(&mut buffer) {
            Ok(0) => return String::from_utf8(reply).context("the answer is no text"),
            Ok(length) => reply.extend_from_slice(&buffer[..length]),
            Err(error) if matches!(error.kind(), TimedOut | WouldBlock) => {}
            Err(error) => return Err(error).context("could not read the answer"),
        }
    }
}
