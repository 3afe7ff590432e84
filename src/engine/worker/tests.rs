//! The worker over the fake generator.

use std::time::Duration;

use super::*;
use crate::fake::Fake;

const PATIENCE: Duration = Duration::from_secs(10);

fn worker(sequences: usize) -> Worker {
    Worker::start(Box::new(Fake::new(50, 64, sequences))).unwrap()
}

fn request(prompt: &[u32], max_tokens: usize, stop_ids: &[u32]) -> Request {
    let sampling = Sampling {
        temperature: 0.0,
        max_tokens,
        stop_ids: stop_ids.to_vec(),
        ignore_eos: true,
        ..Sampling::default()
    };
    Request { prompt: prompt.to_vec(), sampling }
}

/// All tokens of the first answer and how it ended.
fn collect(events: &Events) -> (Vec<u32>, Event) {
    let mut tokens = Vec::new();
    loop {
        match events.recv_timeout(PATIENCE).unwrap() {
            Event::Token(token) => tokens.push(token.id),
            Event::Prompt(_) => {}
            end @ (Event::Finished { .. } | Event::Failed(_)) => return (tokens, end),
        }
    }
}

fn finished(reason: FinishReason) -> Event {
    Event::Finished { sample: 0, reason }
}

#[track_caller]
fn check(worker: &Worker, request: Request, tokens: &[u32], end: Event) {
    assert_eq!(collect(&worker.submit(request).unwrap()), (tokens.to_vec(), end));
}

#[test]
fn requests_end_at_stop_ids_at_their_limit_and_at_the_end_of_the_context() {
    let worker = worker(2);
    let length = || finished(FinishReason::Length);
    check(&worker, request(&[1, 2], 3, &[]), &[4, 7, 12], length());
    check(&worker, request(&[1, 2], 9, &[12]), &[4, 7], finished(FinishReason::Stop));
    check(&worker, request(&[1, 2], 0, &[]), &[], length());
    let (tokens, end) = collect(&worker.submit(request(&[1; 60], 100, &[])).unwrap());
    assert_eq!((tokens.len(), end), (4, length()));
}

#[test]
fn a_request_that_cannot_be_served_is_refused_with_the_reason() {
    let worker = worker(1);
    for (prompt, why) in [
        (&[][..], "the prompt is empty"),
        (&[50], "id 50 is outside the vocabulary of 50"),
        (&[1; 64], "the prompt has 64 tokens, but the model's context takes 64"),
    ] {
        let refused = worker.try_submit(request(prompt, 3, &[])).unwrap_err().to_string();
        assert!(refused.contains(why), "{refused}");
    }
    check(&worker, request(&[1, 2], 1, &[]), &[4], finished(FinishReason::Length));
}

#[test]
fn many_requests_over_few_blocks_all_get_their_own_answer() {
    let worker = worker(3);
    let answers: Vec<_> = (0..200)
        .map(|id| worker.submit(request(&[id % 50, id % 7], 1 + id as usize % 20, &[])).unwrap())
        .collect();
    for (id, answer) in answers.iter().enumerate() {
        let (tokens, _) = collect(answer);
        assert_eq!(tokens.len(), 1 + id % 20);
        assert_eq!(tokens[0] as usize, (id % 50 + id % 7 + 1) % 50);
    }
    assert_eq!(worker.load().waiting, 0);
}

#[test]
fn a_dropped_reader_cancels() {
    let worker = worker(1);
    drop(worker.submit(request(&[1, 2], 1_000_000, &[])).unwrap());
    check(&worker, request(&[1, 2], 1, &[]), &[4], finished(FinishReason::Length));
}
