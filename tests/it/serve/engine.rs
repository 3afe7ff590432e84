//! Failures of the engine, of shutting down, and of what must not be mixed up.

use std::io::Read;
use std::net::TcpStream;
use std::time::{Duration, Instant};

use rustix::process::Signal;
use serde_json::{Value, json};

use super::client::{CHAT, COMPLETIONS, Reply, Server, chat, endless, read_to, with};

#[test]
fn f17_logits_that_are_no_numbers_end_one_answer_and_no_other() {
    let server = Server::new("poison=~,step-ms=2", &[]);
    let other = |stream| chat("a long and healthy answer", &json!({ "stream": stream }));
    let mut beside = server.open(CHAT, &other(true));
    let reply = server.post(CHAT, &chat("bad ~ luck", &json!({})));
    assert_eq!((reply.status, &reply.json()["error"]["type"]), (500, &json!("server_error")));
    let streamed = server.post(CHAT, &chat("bad ~ luck", &json!({ "stream": true })));
    let last = streamed.events().pop().unwrap();
    assert!(last["error"]["message"].as_str().unwrap().contains("not finite"), "{last}");
    assert_eq!(Reply::read(&mut beside).text(), "a long and healthy answer");
    assert_eq!(server.get("/health").status, 200);
    server.until_idle();
    // A bias that forbids everything is no different.
    let all: serde_json::Map<String, Value> =
        (0..259).map(|id: u32| (id.to_string(), json!(-100))).collect();
    let forbidden = server.post(CHAT, &chat("x", &json!({ "logit_bias": all, "max_tokens": 3 })));
    assert_eq!(forbidden.status, 200, "-100 is much, but not infinite");
}

/// A server whose engine ends in the middle of several answers.
fn ends(options: &str) {
    let mut server = Server::new(options, &[]);
    let mut streams: Vec<TcpStream> =
        (0..5).map(|at| server.open(CHAT, &endless(&json!({ "stream": at % 2 == 0 })))).collect();
    for stream in &mut streams {
        let reply = Reply::read(stream);
        let error = match reply.status {
            200 => reply.events().pop().unwrap(),
            _ => reply.json(),
        };
        assert_eq!(error["error"]["type"], "server_error", "{reply:?}");
    }
    let health = server.get("/health");
    assert_eq!(health.status, 503);
    assert!(health.json()["status"].as_str().unwrap().len() > 10, "{health:?}");
    assert_eq!(server.post(CHAT, &chat("x", &json!({}))).status, 503);
    assert_eq!(server.ended(), Some(1), "whoever watches it starts it again");
    assert!(server.log().contains("engine 0 of `parrot` has stopped"), "{}", server.log());
}

#[test]
fn f18_a_lost_device_fails_what_is_running_and_the_process_ends() {
    ends("dies-after=30,step-ms=2");
}

#[test]
fn f18_an_engine_that_panics_fails_what_is_running_and_the_process_ends() {
    ends("panics-after=30,step-ms=2");
}

#[test]
fn f18_one_dead_copy_of_several_is_named() {
    let flags = ["--device", "cpu,cpu,cpu"];
    let mut server = Server::new("dies-after=20,step-ms=1", &flags);
    assert_eq!(server.get("/health").status, 200);
    // One request: one copy makes steps and dies; the others never began.
    let reply = server.post(CHAT, &endless(&json!({})));
    assert_eq!(reply.json()["error"]["type"], "server_error", "{reply:?}");
    let health = server.get("/health");
    let status = health.json()["status"].as_str().unwrap().to_owned();
    assert_eq!(health.status, 503, "{health:?}");
    let named = (0..3).filter(|copy| status.contains(&format!("engine {copy} of `parrot`")));
    assert_eq!(named.count(), 1, "{status}");
    assert_eq!(server.ended(), Some(1));
}

#[test]
fn while_the_model_is_loaded_requests_are_told_to_come_back() {
    let mut server = Server::loading("loaded");
    let health = server.get("/health");
    assert_eq!(health.status, 503);
    assert!(health.json()["status"].as_str().unwrap().contains("being loaded"), "{health:?}");
    for stream in [true, false] {
        let refused = server.post(CHAT, &chat("x", &json!({ "stream": stream })));
        assert_eq!(refused.status, 503, "{refused:?}");
        assert!(refused.head.contains("retry-after: 1"), "{refused:?}");
        assert_eq!(refused.json()["error"]["code"], "loading", "{refused:?}");
    }
    assert_eq!(server.get("/version").status, 200, "what needs no model is answered");
    std::fs::write(server.env.path().join("loaded"), "").unwrap();
    server.until("loaded", |server| server.get("/health").status == 200);
    assert_eq!(server.post(CHAT, &chat("and now?", &json!({}))).text(), "and now?");
    server.signal(Signal::TERM);
    assert_eq!(server.ended(), Some(0));
}

#[test]
fn a_signal_while_the_model_is_loaded_ends_the_server() {
    let mut server = Server::loading("never");
    server.signal(Signal::TERM);
    assert_eq!(server.ended(), Some(0));
}

#[test]
fn f19_a_stuck_engine_is_not_healthy() {
    let server = Server::new("hangs-after=5,step-ms=1", &["--step-timeout", "1"]);
    assert_eq!(server.get("/health").status, 200);
    let stuck = server.open(CHAT, &endless(&json!({})));
    server.until("unhealthy", |server| server.get("/health").status == 503);
    let health = server.get("/health");
    assert!(health.head.contains("retry-after"), "{health:?}");
    assert!(health.json()["last_step_age_seconds"].as_f64().unwrap() > 1.0, "{health:?}");
    assert!(server.metric("engine_last_step_age_seconds") > 1.0);
    drop(stuck);
}

#[test]
fn f20_the_first_signal_lets_answers_finish_and_refuses_new_ones() {
    let mut server = Server::new("step-ms=10", &["--shutdown-timeout", "60"]);
    let more = json!({ "ignore_eos": true, "max_tokens": 150 });
    let mut whole = server.open(CHAT, &chat("on and on", &more));
    let mut streamed = server.open(CHAT, &chat("on and on", &with(more, &json!({"stream": true}))));
    read_to(&mut streamed, "\"content\":\"n\"");
    server.until("two", |server| server.metric("vllm:num_requests_running") == 2.0);
    server.signal(Signal::TERM);
    server.until("draining", |server| server.get("/health").status == 503);
    let refused = server.post(CHAT, &chat("x", &json!({})));
    assert_eq!((refused.status, &refused.json()["error"]["code"]), (503, &json!("shutting_down")));
    assert!(refused.head.contains("retry-after"), "{refused:?}");
    assert_eq!(Reply::read(&mut whole).json()["choices"][0]["finish_reason"], "length");
    let mut rest = String::new();
    streamed.read_to_string(&mut rest).unwrap();
    assert!(rest.contains("\"finish_reason\":\"length\"") && rest.contains("data: [DONE]"));
    assert_eq!(server.ended(), Some(0));
    assert!(TcpStream::connect(&server.address).is_err(), "the port is free");
}

/// How a stream ends that the server does not let finish.
fn is_cut(mut server: Server, signals: usize) {
    let mut streamed = server.open(CHAT, &endless(&json!({ "stream": true })));
    let mut whole = server.open(CHAT, &endless(&json!({})));
    read_to(&mut streamed, "\"content\":\"n\"");
    server.until("two", |server| server.metric("vllm:num_requests_running") == 2.0);
    let begin = Instant::now();
    server.signal(Signal::TERM);
    if signals == 2 {
        server.until("draining", |server| server.get("/health").status == 503);
        server.signal(Signal::TERM);
    }
    let mut rest = String::new();
    streamed.read_to_string(&mut rest).unwrap();
    let events = rest.split("data: ").collect::<Vec<_>>();
    assert!(events[events.len() - 1].starts_with("[DONE]"), "{rest}");
    assert!(events[events.len() - 2].contains("\"error\""), "{rest}");
    assert_eq!(Reply::read(&mut whole).status, 503);
    assert_eq!(server.ended(), Some(0));
    assert!(begin.elapsed() < Duration::from_secs(10));
}

#[test]
fn f20_the_second_signal_or_the_end_of_patience_ends_answers_with_an_error() {
    is_cut(Server::new("step-ms=10", &["--shutdown-timeout", "600"]), 2);
    is_cut(Server::new("step-ms=10", &["--shutdown-timeout", "0"]), 1);
}

#[test]
fn f21_silence_before_the_first_token_is_broken_by_comments() {
    // The first step takes longer than the 15 s after which proxies are told that we live.
    let server = Server::new("hangs-after=0", &[]);
    let mut stream = server.open(CHAT, &endless(&json!({ "stream": true })));
    let begin = Instant::now();
    read_to(&mut stream, "\n: ping\n\n");
    assert!(begin.elapsed() > Duration::from_secs(14));
}

#[test]
fn f24_beginnings_that_are_shared_are_not_mixed_up() {
    // What is said is found in the cache only: a block of somebody else's would be heard.
    let server = Server::new("step-ms=0,blocks=256", &[]);
    let common = "a common beginning that fills several blocks of the cache ".repeat(3);
    // The same beginning, the same end after another beginning, and others where one letter of the
    // first, the second, … block is another.
    let ends = (0..24).map(|at| format!("{common}{at} {}", at * at));
    let beginnings = (0..24).map(|at| format!("{at}{common}"));
    let letters = (0..24).map(|at| {
        let mut bytes = common.clone().into_bytes();
        bytes[at * 7] = b'#';
        String::from_utf8(bytes).unwrap()
    });
    let texts: Vec<String> = ends.chain(beginnings).chain(letters).collect();
    for round in 0..3 {
        // Some go away while others that begin alike are read.
        let gone: Vec<TcpStream> = (0..round * 4)
            .map(|_| server.open(CHAT, &endless(&json!({ "stream": true }))))
            .collect();
        let mut streams: Vec<TcpStream> =
            texts.iter().map(|text| server.open(CHAT, &chat(text, &json!({})))).collect();
        drop(gone);
        for (text, stream) in texts.iter().zip(&mut streams) {
            assert_eq!(Reply::read(stream).text(), *text);
        }
    }
    assert!(server.metric("vllm:prefix_cache_hits") > 0.0);
    server.until_idle();
}

#[test]
fn f25_an_answer_does_not_depend_on_what_was_answered_before_or_beside() {
    // So unsure that the seed decides.
    let server = Server::new("step-ms=0,sure=2,blocks=40", &[]);
    let ask = |seed: u64, stream: bool| {
        let more = json!({ "temperature": 1, "seed": seed, "max_tokens": 40, "ignore_eos": true,
            "stream": stream });
        chat("who am I", &more)
    };
    let alone: Vec<String> =
        (0..6).map(|seed| server.post(CHAT, &ask(seed, false)).text()).collect();
    assert_ne!(alone[0], alone[1]);
    // Together, in a cache that has not room for all, beside some that go away.
    for _ in 0..3 {
        let gone: Vec<TcpStream> =
            (0..4).map(|_| server.open(CHAT, &endless(&json!({ "stream": true })))).collect();
        let mut streams: Vec<TcpStream> =
            (0..6).map(|seed| server.open(CHAT, &ask(seed, seed % 2 == 0))).collect();
        drop(gone);
        for (stream, alone) in streams.iter_mut().zip(&alone) {
            assert_eq!(Reply::read(stream).text(), *alone);
        }
    }
}

#[test]
fn f26_hundreds_of_requests_of_all_kinds_leave_nothing_behind() {
    let server = Server::new("step-ms=0,blocks=128", &["--max-requests", "64"]);
    let round = |number: usize| {
        for at in 0..number {
            let text = format!("{at} {}", "x".repeat(at * 7 % 300));
            match at % 5 {
                0 => drop(server.open(CHAT, &endless(&json!({ "stream": true })))),
                1 => assert_eq!(server.post(CHAT, &json!({ "messages": at })).status, 400),
                2 => assert_eq!(
                    server.post(CHAT, &chat(&text, &json!({ "stop": "xxx" }))).status,
                    200
                ),
                3 => {
                    let more = json!({ "prompt": [text, "b"], "n": 2, "max_tokens": 5 });
                    assert_eq!(server.post(COMPLETIONS, &more).status, 200);
                }
                _ => assert_eq!(server.post(CHAT, &chat(&text, &json!({}))).text(), text),
            }
        }
        server.until_idle();
    };
    round(100);
    let (memory, open) = (server.memory_mib(), server.open_files());
    round(300);
    let later = server.memory_mib();
    assert!(later < memory + 24, "{memory} MiB grew to {later}");
    round(300);
    let last = server.memory_mib();
    assert!(last <= later + 6, "{memory} and {later} MiB went on growing to {last}");
    server.until("closed", |server| server.open_files() <= open + 2);
}

#[test]
fn replicas_share_the_requests_and_give_the_same_answers() {
    let server = Server::new("step-ms=5", &["--device", "cpu,cpu", "--replicas", "2"]);
    // Each begins otherwise: the same ones would go where they are known.
    let text = |number: usize| format!("{number} is yours");
    let mut streams: Vec<TcpStream> =
        (10..50).map(|number| server.open(CHAT, &chat(&text(number), &json!({})))).collect();
    for (stream, number) in streams.iter_mut().zip(10..) {
        assert_eq!(Reply::read(stream).text(), text(number));
    }
    let text = server.get("/metrics").body;
    let samples: Vec<f64> = text
        .lines()
        .filter(|line| line.starts_with("vllm:prompt_tokens_total{"))
        .map(|line| line.rsplit(' ').next().unwrap().parse().unwrap())
        .collect();
    assert_eq!(samples.len(), 4, "{text}");
    let all: f64 = samples.iter().sum();
    assert!(samples.iter().all(|tokens| *tokens > all / 8.0), "{samples:?}");
}
