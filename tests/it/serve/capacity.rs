//! Failures of memory and queues.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use rustix::process::Signal;
use serde_json::{Value, json};

use super::client::{CHAT, COMPLETIONS, Reply, Server, chat, endless, half_close, read_to, with};

#[test]
fn f01_what_can_never_fit_is_refused_and_what_grows_too_large_ends() {
    // A cache of 128 tokens for a model of 4096.
    let server = Server::new("blocks=8,step-ms=1", &[]);
    let refused = server.post(COMPLETIONS, &json!({ "prompt": "x".repeat(129) }));
    let error = &refused.json()["error"];
    assert_eq!((refused.status, &error["code"]), (400, &json!("context_length_exceeded")));
    let message = error["message"].as_str().unwrap();
    assert!(message.contains("129") && message.contains("128"), "{message}");
    let growing = server.post(CHAT, &endless(&json!({}))).json();
    assert_eq!(growing["choices"][0]["finish_reason"], "length");
    assert_eq!(growing["usage"]["total_tokens"], 128);
    assert_eq!(server.post(CHAT, &chat("still there?", &json!({}))).text(), "still there?");
}

/// What `number` requests of many lengths are answered, all sent before the first is read.
fn flood(server: &Server, number: usize, more: &Value) -> Vec<(String, Reply)> {
    let text = |at: usize| format!("{at} {}", "words ".repeat(at % 7));
    let streams: Vec<(String, TcpStream)> = (0..number)
        .map(|at| {
            let more = with(json!({ "stream": at % 2 == 0 }), more);
            (text(at), server.open(CHAT, &chat(&text(at), &more)))
        })
        .collect();
    streams.into_iter().map(|(text, mut stream)| (text, Reply::read(&mut stream))).collect()
}

#[test]
fn f02_and_f05_a_cache_too_small_for_all_preempts_and_everyone_gets_their_answer() {
    // Three fit when they begin and one when it ends.
    let server = Server::new("blocks=16,step-ms=0", &["--max-requests", "64"]);
    let more = json!({ "ignore_eos": true, "max_tokens": 120 });
    for (asked, reply) in flood(&server, 64, &more) {
        // The end that is ignored is a token without text.
        let again = asked.chars().map(Some).chain([None]).cycle();
        let expected: String = again.take(120).flatten().collect();
        let answer = reply.text();
        assert!(answer == expected, "{asked:?} was answered {answer:?}");
    }
    assert!(server.metric("vllm:num_preemptions_total") > 0.0);
    server.until_idle();
}

#[test]
fn f03_an_abort_while_another_prompt_is_read_harms_nobody() {
    let mut server = Server::new("context=65536,blocks=8192,step-ms=1", &[]);
    let mut first = server.open(CHAT, &endless(&json!({ "stream": true })));
    read_to(&mut first, "\"content\":\"o\"");
    let long = json!({ "prompt": "x".repeat(40_000), "max_tokens": 2 });
    let mut second = server.open(COMPLETIONS, &long);
    drop(first);
    for _ in 0..20 {
        assert_eq!(server.post(CHAT, &chat("and me?", &json!({}))).text(), "and me?");
    }
    assert_eq!(Reply::read(&mut second).status, 200);
    server.until_idle();
    server.signal(Signal::TERM);
    assert_eq!(server.ended(), Some(0));
}

#[test]
fn f04_f06_and_f07_every_request_of_a_flood_is_answered_or_refused_at_once() {
    let server = Server::new("step-ms=20", &["--max-requests", "96"]);
    // They hold every place for as long as they like.
    let holders: Vec<TcpStream> = (0..96)
        .map(|_| {
            let mut stream = server.open(CHAT, &endless(&json!({ "stream": true })));
            read_to(&mut stream, "\"role\"");
            stream
        })
        .collect();
    let before = server.memory_mib();
    for _ in 0..8 {
        for (_, reply) in flood(&server, 500, &json!({})) {
            assert_eq!(reply.status, 429, "{reply:?}");
            assert!(reply.head.contains("retry-after: 1"), "{}", reply.head);
            assert_eq!(reply.json()["error"]["code"], "queue_full");
        }
        assert!(server.metric("http_requests_running") <= 96.0);
    }
    let grown = server.memory_mib().saturating_sub(before);
    assert!(grown < 64, "4000 refused requests left {grown} MiB");
    assert_eq!(server.metric("requests_rejected_total"), 4000.0);
    drop(holders);
    server.until_idle();
    let answered = flood(&server, 96, &json!({}));
    assert!(answered.iter().all(|(asked, reply)| reply.text() == *asked));
}

/// Sends a request over a connection that stays open; how long it takes to be refused.
fn refused(connection: &mut BufReader<TcpStream>, request: &[u8]) -> Duration {
    let begin = Instant::now();
    connection.get_mut().write_all(request).unwrap();
    let (mut line, mut length) = (String::new(), 0);
    connection.read_line(&mut line).unwrap();
    assert!(line.starts_with("HTTP/1.1 429 "), "{line}");
    while line != "\r\n" {
        line.clear();
        connection.read_line(&mut line).unwrap();
        if let Some(bytes) = line.to_lowercase().strip_prefix("content-length:") {
            length = bytes.trim().parse().unwrap();
        }
    }
    connection.read_exact(&mut vec![0; length]).unwrap();
    begin.elapsed()
}

/// Eight clients at once, each with so many requests; the times until they were refused, sorted.
fn burst(server: &Server, number: usize) -> Vec<Duration> {
    let body = chat("no room for this", &json!({})).to_string();
    let head = "host: h\r\ncontent-type: application/json\r\n";
    let length = body.len();
    let request = format!("POST {CHAT} HTTP/1.1\r\n{head}content-length: {length}\r\n\r\n{body}");
    let client = || {
        let mut connection = BufReader::new(server.connect());
        let times = (0..number).map(|_| refused(&mut connection, request.as_bytes()));
        times.collect::<Vec<Duration>>()
    };
    let mut times = std::thread::scope(|scope| {
        let clients: Vec<_> = (0..8).map(|_| scope.spawn(client)).collect();
        clients.into_iter().flat_map(|client| client.join().unwrap()).collect::<Vec<_>>()
    });
    times.sort();
    times
}

#[test]
fn f06_and_f07_a_burst_is_refused_at_once_and_leaves_no_memory() {
    let server = Server::new("step-ms=20", &["--max-requests", "8"]);
    let holders: Vec<TcpStream> = (0..8)
        .map(|_| {
            let mut stream = server.open(CHAT, &endless(&json!({ "stream": true })));
            read_to(&mut stream, "\"role\"");
            stream
        })
        .collect();
    // A machine with other work makes it slower, never faster: one burst in time is enough.
    let late: Vec<Duration> = (0..5).map(|_| burst(&server, 125)[990]).collect();
    let best = late.iter().min().unwrap();
    assert!(*best < Duration::from_millis(50), "the slowest of a hundred waited {late:?}");
    let before = server.memory_mib();
    assert_eq!(burst(&server, 2_500).len(), 20_000);
    let grown = server.memory_mib().saturating_sub(before);
    assert!(grown < 16, "20000 refused requests left {grown} MiB");
    assert_eq!(server.metric("http_requests_running"), 8.0);
    assert_eq!(server.metric("requests_rejected_total"), 25_000.0);
    drop(holders);
    server.until_idle();
}

#[test]
fn f08_a_client_that_goes_away_frees_its_blocks() {
    let server = Server::new("step-ms=2,blocks=1024", &[]);
    let running = |number: f64| {
        server.until("running", |server| server.metric("vllm:num_requests_running") >= number);
    };
    for stream in [true, false] {
        // Closed: with data unread the peer is sent a reset.
        let gone = server.open(CHAT, &endless(&json!({ "stream": stream })));
        running(1.0);
        drop(gone);
        server.until_idle();
        // Closed halfway: nobody who does that waits for a language model.
        let half = server.open(CHAT, &endless(&json!({ "stream": stream })));
        running(1.0);
        half_close(&half);
        server.until_idle();
    }
    // Several answers, and several prompts, go together.
    let many = json!({ "prompt": ["a", "b"], "n": 3, "max_tokens": 4000, "ignore_eos": true });
    let gone = server.open(COMPLETIONS, &many);
    running(6.0);
    drop(gone);
    server.until_idle();
    assert!(server.metric("requests_cancelled_total") >= 6.0);
}

#[test]
fn f08_a_client_that_goes_away_while_it_waits_is_never_begun() {
    // One sequence at a time fits.
    let server = Server::new("step-ms=2,context=512,blocks=32", &["--max-requests", "300"]);
    let first = server.open(CHAT, &endless(&json!({ "stream": true })));
    let waiting: Vec<TcpStream> =
        (0..200).map(|_| server.open(CHAT, &endless(&json!({})))).collect();
    server.until("queued", |server| server.metric("http_requests_running") >= 201.0);
    drop(waiting);
    drop(first);
    server.until_idle();
    server.until("gone", |server| server.metric("http_requests_running") == 0.0);
}

#[test]
fn f09_a_reader_that_does_not_read_is_cut_and_nobody_else_notices() {
    let server = Server::new("context=131072,blocks=16384,step-ms=0", &[]);
    let slow = server.open(
        CHAT,
        &endless(&json!({ "stream": true, "logprobs": true,
        "top_logprobs": 20 })),
    );
    for _ in 0..20 {
        assert_eq!(server.post(CHAT, &chat("and me?", &json!({}))).text(), "and me?");
    }
    server.until_idle();
    assert_eq!(server.metric("requests_cancelled_total"), 1.0);
    assert!(server.metric("vllm:generation_tokens_total") < 100_000.0, "it was not let finish");
    drop(slow);
}

#[test]
fn a_reader_that_reads_slowly_gets_all_of_it() {
    let server = Server::new("step-ms=0", &[]);
    let more = with(json!({ "stream": true }), &json!({ "max_tokens": 500, "ignore_eos": true }));
    let mut stream = server.open(CHAT, &chat("bit by bit ", &more));
    let mut bytes = Vec::new();
    let mut few = [0; 7];
    loop {
        match stream.read(&mut few).unwrap() {
            0 => break,
            length => bytes.extend_from_slice(&few[..length]),
        }
    }
    let reply = Reply::parse(&String::from_utf8(bytes).unwrap());
    // Every twelfth token is the end that is ignored.
    assert_eq!(reply.text().len(), 500 - 41);
}
