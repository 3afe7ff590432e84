//! Which of several workers that own the same model takes a request.

use super::Worker;

/// The worker with the least to do among those that take requests: first by requests that did not
/// end, then by blocks of the cache that are held, as a long answer costs more in each step than a
/// short one. Of equals the next in `turn`. If none takes requests it is one that says why.
///
/// # Panics
/// Without any.
pub fn least_busy(workers: &[Worker], turn: usize) -> &Worker {
    let number = workers.len();
    let in_turn = (0..number).map(|at| &workers[(turn % number + at) % number]);
    let busy = |worker: &&Worker| {
        let blocks = worker.meter().load().blocks_used;
        (!worker.is_open(), worker.unfinished(), blocks)
    };
    in_turn.min_by_key(busy).expect("a model has a worker")
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::super::{Event, Events, Request};
    use super::*;
    use crate::fake::Fake;
    use crate::{FinishReason, Sampling};

    fn worker(fake: Fake) -> Worker {
        Worker::start(Box::new(fake)).unwrap()
    }

    fn fake() -> Fake {
        Fake::new(50, 4096, 4).with_memory()
    }

    fn request(number: usize, tokens: usize) -> Request {
        let sampling = Sampling {
            seed: number as u64,
            max_tokens: tokens,
            ignore_eos: true,
            ..Sampling::default()
        };
        Request { prompt: vec![1, number as u32 % 50, 7], sampling }
    }

    fn tokens(events: &Events) -> Vec<u32> {
        let mut tokens = Vec::new();
        loop {
            match events.recv_timeout(Duration::from_secs(60)).unwrap() {
                Event::Token(token) => tokens.push(token.id),
                Event::Finished { reason, .. } => {
                    assert_eq!(reason, FinishReason::Length);
                    return tokens;
                }
                Event::Prompt(_) => {}
                Event::Failed(why) => panic!("{why}"),
            }
        }
    }

    #[test]
    fn requests_that_come_together_are_spread_evenly() {
        let workers: Vec<Worker> = (0..4).map(|_| worker(fake())).collect();
        let events: Vec<Events> = (0..32)
            .map(|number| least_busy(&workers, number).submit(request(number, 500)).unwrap())
            .collect();
        assert!(events.iter().all(|events| tokens(events).len() == 500));
        let shares: Vec<u64> =
            workers.iter().map(|worker| worker.load().prompt_tokens / 3).collect();
        assert_eq!(shares.iter().sum::<u64>(), 32);
        assert!(shares.iter().all(|share| (5..=11).contains(share)), "{shares:?}");
    }

    #[test]
    fn one_after_the_other_they_go_round() {
        let workers: Vec<Worker> = (0..3).map(|_| worker(fake())).collect();
        for number in 0..12 {
            tokens(&least_busy(&workers, number).submit(request(number, 5)).unwrap());
            // The last event is sent before the request is counted as ended, and its blocks as free.
            let busy = |worker: &Worker| worker.unfinished() > 0 || worker.load().blocks_used > 0;
            while workers.iter().any(busy) {
                std::thread::yield_now();
            }
        }
        let generated = |worker: &Worker| worker.load().prompt_tokens;
        assert_eq!(workers.iter().map(generated).collect::<Vec<u64>>(), [12; 3]);
    }

    #[test]
    fn the_same_request_and_seed_give_the_same_tokens_on_every_worker() {
        let workers: Vec<Worker> = (0..3).map(|_| worker(fake())).collect();
        let answers: Vec<Vec<u32>> = (0..6)
            .map(|turn| tokens(&least_busy(&workers, turn).submit(request(3, 60)).unwrap()))
            .collect();
        assert!(answers.iter().all(|answer| *answer == answers[0]), "{answers:?}");
        assert!(workers.iter().all(|worker| worker.load().prompt_tokens > 0));
    }

    #[test]
    fn a_worker_that_is_dead_or_draining_gets_nothing_while_others_live() {
        let workers = [worker(fake().failing_after(0)), worker(fake()), worker(fake())];
        let lost = workers[0].submit(request(0, 5)).unwrap();
        assert!(matches!(lost.recv(), Ok(Event::Failed(_))));
        while workers[0].meter().health().dead.is_none() {
            std::thread::yield_now();
        }
        workers[1].drain();
        for turn in 0..6 {
            assert_eq!(
                tokens(&least_busy(&workers, turn).submit(request(turn, 5)).unwrap()).len(),
                5
            );
        }
        workers[2].drain();
        assert!(least_busy(&workers, 0).submit(request(0, 5)).unwrap_err().is_final());
    }
}
