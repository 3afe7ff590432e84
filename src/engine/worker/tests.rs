//! The worker over the fake generator.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, Sender};
use std::time::{Duration, Instant};

use super::*;
use crate::fake::Fake;
use crate::{CacheShape, Piece};

const PATIENCE: Duration = Duration::from_secs(20);

fn worker(sequences: usize) -> Worker {
    Worker::start(Box::new(Fake::new(50, 64, sequences))).unwrap()
}

/// One whose answers depend on every token, with this many blocks.
fn narrow(blocks: usize, context: usize) -> Worker {
    let shape = CacheShape { block_size: 16, blocks };
    Worker::start(Box::new(Fake::with_cache(50, context, shape).with_memory())).unwrap()
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

/// Waits until something is so.
#[track_caller]
fn until(what: &str, mut is_so: impl FnMut() -> bool) {
    let start = Instant::now();
    while !is_so() {
        assert!(start.elapsed() < PATIENCE, "never: {what}");
        thread::yield_now();
    }
}

/// A generator that takes a step when it is told to.
struct Gated {
    inner: Fake,
    began: Sender<()>,
    go: Receiver<()>,
}

impl Generator for Gated {
    fn info(&self) -> &ModelInfo {
        self.inner.info()
    }

    fn cache(&self) -> CacheShape {
        self.inner.cache()
    }

    fn step(&mut self, pieces: &[Piece<'_>]) -> crate::Result<Vec<Vec<f32>>> {
        // Nobody has to listen; and once nobody holds the gate it stands open.
        let _ = self.began.send(());
        let _ = self.go.recv();
        self.inner.step(pieces)
    }

    fn logits(&mut self, ids: &[u32]) -> crate::Result<Vec<f32>> {
        self.inner.logits(ids)
    }
}

/// A worker that stands before its first step, where steps are heard of, and the gate.
fn gated(sequences: usize) -> (Worker, Receiver<()>, Sender<()>) {
    let (began, steps) = mpsc::channel();
    let (gate, go) = mpsc::channel();
    let inner = Fake::new(50, 64, sequences);
    (Worker::start(Box::new(Gated { inner, began, go })).unwrap(), steps, gate)
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
fn the_models_own_ids_end_an_answer_unless_they_are_ignored() {
    let worker = worker(1);
    // 24 + 25 + 1 is 0 of 50.
    let mut asked = request(&[24, 25], 3, &[]);
    check(&worker, asked.clone(), &[0, 26, 27], finished(FinishReason::Length));
    asked.sampling.ignore_eos = false;
    check(&worker, asked.clone(), &[], finished(FinishReason::Stop));
    asked.sampling.min_tokens = 1;
    let (tokens, end) = collect(&worker.submit(asked).unwrap());
    assert!(!tokens.is_empty() && tokens[0] != 0, "{tokens:?} {end:?}");
}

#[test]
fn a_request_that_cannot_be_served_is_refused_with_the_reason() {
    let worker = worker(1);
    let many = |change: fn(&mut Sampling)| {
        let mut request = request(&[1], 3, &[]);
        change(&mut request.sampling);
        request
    };
    for (request, why) in [
        (request(&[], 3, &[]), "the prompt is empty"),
        (request(&[50], 3, &[]), "id 50 is outside the vocabulary of 50"),
        (request(&[1; 64], 3, &[]), "has 64 tokens, but the model's context takes 64"),
        (many(|sampling| sampling.n = 0), "0 answers were asked for"),
        (many(|sampling| sampling.n = 129), "129 answers were asked for"),
        (many(|sampling| sampling.logprobs = Some(21)), "21 logprobs were asked for; at most 20"),
        (many(|sampling| sampling.prompt_logprobs = Some(21)), "at most 20"),
    ] {
        let refused = worker.try_submit(request).unwrap_err();
        assert!(refused.to_string().contains(why) && !refused.is_final(), "{refused}");
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
    until("all have ended", || worker.unfinished() == 0);
    let load = worker.load();
    assert_eq!((load.waiting, load.blocks_used, load.blocks), (0, 0, 12));
    assert_eq!(load.generated_tokens, (0..200).map(|id| 1 + id % 20).sum::<u64>());
    assert_eq!(load.prompt_tokens, 400);
    assert_eq!(load.steps_of.iter().sum::<u64>(), load.steps);
}

#[test]
fn a_prompt_beyond_the_cache_is_refused_and_an_answer_ends_with_the_cache() {
    let worker = narrow(8, 1000);
    assert_eq!(worker.context(), 128);
    let refused = worker.try_submit(request(&[1; 129], 5, &[])).unwrap_err();
    let expected = Refused::TooLong { tokens: 129, limit: 128, what: "the cache" };
    assert_eq!(refused, expected);
    let long = worker.submit(request(&[1; 100], 500, &[])).unwrap();
    let others: Vec<Events> =
        (2..6).map(|id| worker.submit(request(&[id; 20], 30, &[])).unwrap()).collect();
    let (tokens, end) = collect(&long);
    assert_eq!((tokens.len(), end), (28, finished(FinishReason::Length)));
    assert!(others.iter().all(|other| collect(other).0.len() == 30));
}

#[test]
fn sixty_four_ragged_requests_over_a_tiny_cache_give_what_they_give_alone() {
    let asked = |id: usize| {
        let mut request = request(&vec![id as u32 % 50; 1 + id * 7 % 60], 10 + id * 13 % 50, &[]);
        request.sampling = Sampling { temperature: 1.0, seed: id as u64, ..request.sampling };
        request
    };
    let (wide, tiny) = (narrow(1000, 128), narrow(9, 128));
    let alone: Vec<_> = (0..64).map(|id| collect(&wide.submit(asked(id)).unwrap())).collect();
    let together: Vec<Events> = (0..64).map(|id| tiny.submit(asked(id)).unwrap()).collect();
    for (id, (events, alone)) in together.iter().zip(&alone).enumerate() {
        assert_eq!(&collect(events), alone, "request {id}");
    }
    assert_eq!(wide.load().preemptions, 0);
    assert!(tiny.load().preemptions > 0);
}

#[test]
fn answers_to_one_prompt_share_its_blocks_and_differ() {
    let worker = narrow(100, 256);
    let mut asked = request(&[7; 100], 8, &[]);
    asked.sampling.temperature = 1.5;
    asked.sampling.n = 5;
    let events = worker.submit(asked.clone()).unwrap();
    let mut answers = vec![Vec::new(); 5];
    let mut ends = 0;
    while ends < 5 {
        match events.recv_timeout(PATIENCE).unwrap() {
            Event::Token(token) => answers[token.sample as usize].push(token.id),
            Event::Finished { reason, .. } => {
                assert_eq!(reason, FinishReason::Length);
                ends += 1;
            }
            other @ (Event::Prompt(_) | Event::Failed(_)) => panic!("{other:?}"),
        }
    }
    assert!(answers.iter().all(|answer| answer.len() == 8));
    assert!(answers[1..].iter().any(|answer| *answer != answers[0]));
    // Six whole blocks of the prompt, for each answer but the first.
    assert_eq!(worker.load().prefix_hits, 4 * 96);
    asked.sampling.n = 1;
    assert_eq!(collect(&worker.submit(asked).unwrap()).0, answers[0], "the first one's alone");
    until("all have ended", || worker.load().blocks_used == 0);
}

#[test]
fn logprobs_come_with_tokens_and_those_of_the_prompt_before() {
    let worker = worker(2);
    let mut asked = request(&[1, 2, 4, 9], 2, &[]);
    asked.sampling.logprobs = Some(3);
    asked.sampling.prompt_logprobs = Some(1);
    let events = worker.submit(asked.clone()).unwrap();
    let Event::Prompt(scores) = events.recv_timeout(PATIENCE).unwrap() else { panic!() };
    // After 1, 2 the fake expects 4; then it expects 7, not 9.
    let likely: Vec<bool> = scores.iter().map(|score| score.chosen.logprob > -1e-3).collect();
    assert_eq!(likely, [true, true, false]);
    assert_eq!(scores[2].top[0].id, 7);
    let Event::Token(token) = events.recv_timeout(PATIENCE).unwrap() else { panic!() };
    let score = token.score.unwrap();
    assert_eq!((token.id, score.chosen.id, score.top.len()), (14, 14, 3));
    asked.sampling.max_tokens = 0;
    let events = worker.submit(asked).unwrap();
    assert!(
        matches!(events.recv_timeout(PATIENCE).unwrap(), Event::Prompt(again) if again == scores)
    );
    assert_eq!(events.recv_timeout(PATIENCE).unwrap(), finished(FinishReason::Length));
}

#[test]
fn a_dropped_reader_frees_its_blocks_within_a_step() {
    let (worker, steps, gate) = gated(4);
    let answer = worker.submit(request(&[1; 40], 20, &[])).unwrap();
    steps.recv_timeout(PATIENCE).unwrap();
    gate.send(()).unwrap();
    steps.recv_timeout(PATIENCE).unwrap();
    assert_eq!(worker.load().blocks_used, 3);
    let waiting = worker.submit(request(&[2; 40], 20, &[])).unwrap();
    drop((answer, waiting));
    // The step that is under way ends, and no other begins.
    gate.send(()).unwrap();
    until("nothing is left", || worker.unfinished() == 0);
    let load = worker.load();
    assert_eq!((load.blocks_used, load.running, load.waiting, load.cancelled), (0, 0, 0, 2));
    assert!(steps.try_recv().is_err(), "a step was taken for nobody");
}

#[test]
fn a_reader_that_falls_behind_is_cut_off_and_others_are_not() {
    let worker = Worker::start(Box::new(Fake::new(50, 10_000, 2))).unwrap();
    let slow = worker.submit(request(&[1, 2], 9000, &[])).unwrap();
    let (tokens, _) = collect(&worker.submit(request(&[3, 4], 3000, &[])).unwrap());
    assert_eq!(tokens.len(), 3000);
    until("the slow one is cut off", || worker.unfinished() == 0);
    let (tokens, end) = collect(&slow);
    assert_eq!(tokens.len(), EVENTS_MAX);
    assert_eq!(end, Event::Failed("the reader is 4096 tokens behind".to_owned()));
}

#[test]
fn the_queue_is_bounded_whoever_comes_at_once() {
    let (worker, _steps, gate) = gated(100);
    let accepted: Vec<Events> = thread::scope(|scope| {
        let one = || {
            let submit = || worker.try_submit(request(&[1, 2], 1, &[]));
            (0..200).map(|_| submit()).collect::<Vec<_>>()
        };
        let threads: Vec<_> = (0..8).map(|_| scope.spawn(one)).collect();
        let results = threads.into_iter().flat_map(|thread| thread.join().unwrap());
        let mut accepted = Vec::new();
        for result in results {
            match result {
                Ok(events) => accepted.push(events),
                Err(refused) => assert_eq!(refused, Refused::Full),
            }
        }
        accepted
    });
    // Those of the first step have left the queue.
    assert!((QUEUE_MAX..=QUEUE_MAX + 64).contains(&accepted.len()), "{}", accepted.len());
    assert!(worker.load().waiting <= QUEUE_MAX);
    drop(gate);
    for events in &accepted {
        assert_eq!(collect(events), (vec![4], finished(FinishReason::Length)));
    }
    until("all have ended", || worker.unfinished() == 0);
    check(&worker, request(&[1, 2], 1, &[]), &[4], finished(FinishReason::Length));
}

#[test]
fn logits_that_are_no_numbers_fail_their_request_alone() {
    let fake = Fake::new(50, 64, 4).poisoned_by(49);
    let worker = Worker::start(Box::new(fake)).unwrap();
    let good = worker.submit(request(&[1, 2], 30, &[])).unwrap();
    let (tokens, end) = collect(&worker.submit(request(&[49; 20], 5, &[])).unwrap());
    assert_eq!((tokens, end), (vec![], Event::Failed("logit is not finite".to_owned())));
    assert_eq!(collect(&good).0.len(), 30);
    until("all have ended", || worker.load().blocks_used == 0);
    assert!(worker.meter().health().dead.is_none());
}

#[test]
fn a_lost_device_fails_what_is_in_flight_and_says_so_from_then_on() {
    let fake = Fake::new(50, 64, 4).failing_after(3);
    let worker = Worker::start(Box::new(fake)).unwrap();
    let answers = [1, 2].map(|id| worker.submit(request(&[id], 50, &[])).unwrap());
    for answer in &answers {
        assert_eq!(collect(answer).1, Event::Failed("the device is lost".to_owned()));
    }
    let dead = Refused::Dead("the device is lost".to_owned());
    until("it is dead", || worker.meter().health().dead.is_some());
    assert_eq!(worker.try_submit(request(&[1], 1, &[])).unwrap_err(), dead);
    assert_eq!(worker.submit(request(&[1], 1, &[])).unwrap_err(), dead);
    until("all have ended", || worker.unfinished() == 0 && worker.load().blocks_used == 0);
}

#[test]
fn a_panic_is_heard_of_too() {
    struct Panics(Fake);
    impl Generator for Panics {
        fn info(&self) -> &ModelInfo {
            self.0.info()
        }
        fn cache(&self) -> CacheShape {
            self.0.cache()
        }
        fn step(&mut self, _pieces: &[Piece<'_>]) -> crate::Result<Vec<Vec<f32>>> {
            panic!("a bug of the model")
        }
        fn logits(&mut self, ids: &[u32]) -> crate::Result<Vec<f32>> {
            self.0.logits(ids)
        }
    }
    let worker = Worker::start(Box::new(Panics(Fake::new(50, 64, 1)))).unwrap();
    let events = worker.submit(request(&[1], 1, &[])).unwrap();
    assert!(events.recv_timeout(PATIENCE).is_err());
    until("it is dead", || worker.meter().health().dead.is_some());
    assert!(worker.try_submit(request(&[1], 1, &[])).unwrap_err().is_final());
}

#[test]
fn draining_finishes_what_is_there_and_takes_no_more() {
    let (worker, steps, gate) = gated(2);
    let answer = worker.submit(request(&[1, 2], 3, &[])).unwrap();
    steps.recv_timeout(PATIENCE).unwrap();
    worker.drain();
    assert_eq!(worker.try_submit(request(&[1], 1, &[])).unwrap_err(), Refused::Draining);
    assert!(worker.meter().health().draining);
    drop(gate);
    assert_eq!(collect(&answer), (vec![4, 7, 12], finished(FinishReason::Length)));
    until("nothing is left", || worker.unfinished() == 0);
}

#[test]
fn an_abort_tells_every_reader() {
    let (worker, steps, gate) = gated(2);
    let answers = [1, 2, 3].map(|id| worker.submit(request(&[id], 50, &[])).unwrap());
    steps.recv_timeout(PATIENCE).unwrap();
    worker.abort().unwrap();
    drop(gate);
    for answer in &answers {
        assert_eq!(collect(answer).1, Event::Failed("the engine is shutting down".to_owned()));
    }
    until("nothing is left", || worker.unfinished() == 0);
    assert_eq!(worker.load().blocks_used, 0);
}

#[test]
fn the_age_of_the_last_step_counts_only_while_there_is_work() {
    let (worker, steps, gate) = gated(2);
    assert_eq!(worker.meter().health().step_age, None);
    let answer = worker.submit(request(&[1, 2], 2, &[])).unwrap();
    steps.recv_timeout(PATIENCE).unwrap();
    let age = || worker.meter().health().step_age.unwrap();
    until("it grows", || age() > Duration::from_millis(30));
    gate.send(()).unwrap();
    steps.recv_timeout(PATIENCE).unwrap();
    assert!(age() < Duration::from_millis(30_000));
    drop(gate);
    collect(&answer);
    until("it rests", || worker.meter().health().step_age.is_none());
}

#[test]
fn who_does_not_block_is_notified_of_every_event_and_of_the_end() {
    let worker = worker(1);
    let count = Arc::new(AtomicUsize::new(0));
    let shared = Arc::clone(&count);
    let notify = Box::new(move || {
        shared.fetch_add(1, Ordering::Relaxed);
    });
    let events = worker.try_submit_with(request(&[1, 2], 3, &[]), notify).unwrap();
    until("five calls", || count.load(Ordering::Relaxed) == 5);
    assert_eq!(collect(&events), (vec![4, 7, 12], finished(FinishReason::Length)));
    assert!(events.try_recv().is_err());
}
