//! What serving costs: 64 streams over HTTP beside the same requests to the engine alone.
//!
//! `scripts/bench-http [MODEL]` runs it. One process, one engine, in turns; clients are threads of
//! the same process, so their work counts as the server's.
#![expect(clippy::print_stdout, reason = "a benchmark prints its result")]

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

use anyhow::{Context, anyhow, ensure};
use serde_json::json;
use thinkery::chat::Message;
use thinkery::chat::local::{LocalModel, Place, Settings};
use thinkery::chat::template::{Arguments, Opening};
use thinkery::engine::worker::Event;
use thinkery::engine::{Device, Sampling};
use thinkery::serve::{Models, Offer, standalone};

const STREAMS: usize = 64;
const TOKENS: usize = 48;
const ROUNDS: usize = 4;

fn main() -> anyhow::Result<()> {
    let name = std::env::var("THINKERY_BENCH_MODEL").unwrap_or_else(|_| "parrot:".to_owned());
    let place = Place::on(Device::Cpu);
    let models = Arc::new(Models::new(place));
    let model = LocalModel::open("bench", Path::new(&name), place)?;
    models.add_loaded(Offer { name: "bench".into(), dir: name.clone().into(), created: 0 }, model);
    let model = models.get(None).map_err(|error| anyhow!("{error}"))?;
    let runtime = tokio::runtime::Runtime::new()?;
    let listener = runtime.block_on(tokio::net::TcpListener::bind("127.0.0.1:0"))?;
    let address = listener.local_addr()?;
    let router = standalone(Arc::clone(&models), None);
    runtime.spawn(async move { axum::serve(listener, router).await });
    let (mut alone, mut served) = (Vec::new(), Vec::new());
    // The first round of each warms up.
    for round in 0..=ROUNDS {
        let speeds = (engine_alone(&model)?, over_http(address)?);
        println!("round {round}: engine {:8.1} tokens/s, HTTP {:8.1} tokens/s", speeds.0, speeds.1);
        if round > 0 {
            alone.push(speeds.0);
            served.push(speeds.1);
        }
    }
    let (alone, served) = (median(alone), median(served));
    println!(
        "{}",
        json!({
            "model": name, "streams": STREAMS, "tokens": TOKENS,
            "engine_tokens_per_second": alone, "http_tokens_per_second": served,
            "ratio": served / alone,
        })
    );
    Ok(())
}

fn question(stream: usize) -> String {
    format!("{stream}: what is {stream} + {stream}, and why is that so?")
}

/// Tokens per second of the engine, whose tokens are only counted.
fn engine_alone(model: &LocalModel) -> anyhow::Result<f64> {
    let settings = Settings {
        sampling: Sampling {
            temperature: 0.0,
            max_tokens: TOKENS,
            ignore_eos: true,
            ..Sampling::default()
        },
        ..Settings::default()
    };
    let begin = Instant::now();
    let mut running = Vec::new();
    for stream in 0..STREAMS {
        let messages = [Message::user(question(stream))];
        let prompt = model.conversation(&messages, Opening::Answer, &Arguments::default())?.ids;
        running.push(model.begin(prompt, &settings, Box::new(|| {}))?);
    }
    let mut tokens = 0;
    for events in running {
        loop {
            match events.recv().context("the engine has stopped")? {
                Event::Token(_) => tokens += 1,
                Event::Finished { .. } => break,
                Event::Prompt(_) => {}
                Event::Failed(why) => return Err(anyhow!(why)),
            }
        }
    }
    ensure!(tokens == STREAMS * TOKENS, "{tokens} tokens came");
    Ok(tokens as f64 / begin.elapsed().as_secs_f64())
}

/// Tokens per second of as many streams over HTTP.
fn over_http(address: SocketAddr) -> anyhow::Result<f64> {
    let begin = Instant::now();
    let ask = |stream| move || one_stream(address, stream);
    let clients: Vec<_> = (0..STREAMS).map(|stream| std::thread::spawn(ask(stream))).collect();
    for client in clients {
        let reply = client.join().map_err(|_| anyhow!("a client panicked"))??;
        ensure!(reply.trim_end().ends_with('0'), "a stream broke off: {reply}");
        let used = format!("\"completion_tokens\":{TOKENS}");
        ensure!(reply.contains(&used) && reply.contains("[DONE]"), "not all came: {reply}");
    }
    Ok((STREAMS * TOKENS) as f64 / begin.elapsed().as_secs_f64())
}

fn one_stream(address: SocketAddr, stream: usize) -> anyhow::Result<String> {
    let body = json!({
        "messages": [{ "role": "user", "content": question(stream) }], "temperature": 0,
        "max_tokens": TOKENS, "ignore_eos": true, "stream": true,
        "stream_options": { "include_usage": true },
    })
    .to_string();
    let mut connection = TcpStream::connect(address)?;
    let head = format!(
        "POST /v1/chat/completions HTTP/1.1\r\nhost: h\r\nconnection: close\r\n\
         content-type: application/json\r\ncontent-length: {}\r\n\r\n",
        body.len()
    );
    connection.write_all(&[head.as_bytes(), body.as_bytes()].concat())?;
    let mut reply = String::new();
    connection.read_to_string(&mut reply)?;
    Ok(reply)
}

fn median(mut numbers: Vec<f64>) -> f64 {
    numbers.sort_by(f64::total_cmp);
    numbers[numbers.len() / 2]
}
