//! The worker over the fake generator.

use std::sync::mpsc::Receiver;
use std::time::Duration;

use super::*;
use crate::fake::Fake;

const PATIENCE: Duration = Duration::from_secs(10);

fn worker(slots: usize) -> Worker {
    Worker::start(Box::new(Fake::new(50, 64, slots))).unwrap()
}

fn request(prompt: &[u32], max_tokens: usize, stop_ids: &[u32]) -> Request {
    let sampling =
        Sampling { temperature: 0.0, top_p: 1.0, seed: 0, max_tokens, stop_ids: stop_ids.to_vec() };
    Request { prompt: prompt.to_vec(), sampling }
}

/// All tokens and how it ended.
fn collect(events: &Receiver<Event>) -> (Vec<u32>, Event) {
    let mut tokens = Vec::new();
    loop {
        match events.recv_timeout(PATIENCE).unwrap() {
            Event::Token(token) => tokens.push(token),
            end @ (Event::Finished(_) | Event::Failed(_)) => return (tokens, end),
        }
    }
}

#[track_caller]
fn check(worker: &Worker, request: Request, tokens: &[u32], end: Event) {
    assert_eq!(collect(&worker.submit(request).unwrap()), (tokens.to_vec(), end));
}

#[test]
fn requests_end_at_stop_ids_at_their_limit_and_at_the_end_of_the_context() {
    let worker = worker(2);
    let length = Event::Finished(FinishReason::Length);
    check(&worker, request(&[1, 2], 3, &[]), &[4, 7, 12], length.clone());
    check(&worker, request(&[1, 2], 9, &[12]), &[4, 7], Event::Finished(FinishReason::Stop));
    check(&worker, request(&[1, 2], 0, &[]), &[], length.clone());
    let (tokens, end) = collect(&worker.submit(request(&[1; 60], 100, &[])).unwrap());
    assert_eq!((tokens.len(), end), (4, length));
}

#[test]
fn a_request_that_cannot_be_served_fails_alone() {
    let worker = worker(1);
    for prompt in [&[][..], &[50], &[1; 65]] {
        let (tokens, end) = collect(&worker.submit(request(prompt, 3, &[])).unwrap());
        assert!(tokens.is_empty() && matches!(end, Event::Failed(_)), "{prompt:?}: {end:?}");
    }
    check(&worker, request(&[1, 2], 1, &[]), &[4], Event::Finished(FinishReason::Length));
}

#[test]
fn many_requests_over_few_slots_all_get_their_own_answer() {
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
fn a_dropped_receiver_cancels() {
    let worker = worker(1);
    drop(worker.submit(request(&[1, 2], 1_000_000, &[])).unwrap());
    check(&worker, request(&[1, 2], 1, &[]), &[4], Event::Finished(FinishReason::Length));
}
