//! What is asked again and again: the same seed, the same answer.

use std::collections::BTreeSet;
use std::net::TcpStream;

use serde_json::{Value, json};

use super::client::{CHAT, Reply, Server, chat};

/// Requests at a time.
const TOGETHER: usize = 32;

/// One of the requests: other words, another length, sampled so that only the seed decides.
fn request(number: usize) -> Value {
    let words = "and again ".repeat(number % 5);
    let more = json!({
        "seed": number, "temperature": 1.3, "max_tokens": 20 + number % 7 * 5, "ignore_eos": true,
        "n": 1 + number % 3 / 2, "logprobs": true, "return_token_ids": true,
        "repetition_penalty": 1.1,
    });
    chat(&format!("What is {} + {number}? {words}", number % 4), &more)
}

/// What was answered: ids, texts and logarithms of probabilities, bit by bit.
fn answers(reply: &Reply) -> Value {
    assert_eq!(reply.status, 200, "{reply:?}");
    reply.json()["choices"].clone()
}

fn together(server: &Server) -> Vec<Value> {
    let mut streams: Vec<TcpStream> =
        (0..TOGETHER).map(|number| server.open(CHAT, &request(number))).collect();
    streams.iter_mut().map(|stream| answers(&Reply::read(stream))).collect()
}

/// Asks a server of `model`, one whose cache is `small`, and one after a restart.
fn says_the_same(model: &str, small: (&str, &[&str])) {
    let server = Server::of(model, &[], &[]);
    let alone: Vec<Value> =
        (0..TOGETHER).map(|number| answers(&server.post(CHAT, &request(number)))).collect();
    let distinct: BTreeSet<String> =
        alone.iter().map(|choices| choices[0]["token_ids"].to_string()).collect();
    assert_eq!(distinct.len(), TOGETHER, "every seed says something else");
    let steps = server.metric("engine_steps_total");
    assert_eq!(together(&server), alone, "together");
    let fewer = server.metric("engine_steps_total") - steps;
    assert!(fewer < steps * 0.75, "{steps} steps alone, {fewer} together: they were batched");
    drop(server);
    let small = Server::of(small.0, small.1, &[]);
    assert_eq!(together(&small), alone, "after giving way");
    assert!(small.metric("vllm:num_preemptions_total") > 0.0);
    drop(small);
    let copies = Server::of(model, &["--replicas", "2"], &[]);
    assert_eq!(together(&copies), alone, "by two copies, after a restart");
}

#[test]
fn the_same_seed_says_the_same_alone_in_a_batch_after_giving_way_and_after_a_restart() {
    // So unsure that the seed decides; the small one has room for three answers at most.
    let parrot = "parrot:sure=2,step-ms=2";
    says_the_same(parrot, (&format!("{parrot},blocks=24"), &[]));
}
