//! Which of several workers that own the same model takes a request.
//!
//! A prompt goes where its beginning was computed before, as it need not be computed again there;
//! else, or if that one is much busier than another, to the one with the least to do.

use std::collections::{HashMap, VecDeque};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::{Mutex, PoisonError};

use super::Worker;
use crate::BLOCK_TOKENS;

/// Blocks of a prompt that are looked at: beginnings that long are worth the way, and reading longer
/// ones would take long.
const BLOCKS_MAX: usize = 2048;

/// A worker is much busier than another if it has more than twice as many requests and these more.
const MUCH: usize = 4;

/// What is known of a worker when a request comes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Standing {
    /// Whether it takes requests.
    is_open: bool,
    /// Requests that did not end.
    unfinished: usize,
    /// Blocks of its cache that are held: a long answer costs more in each step than a short one.
    blocks_used: usize,
    /// Blocks of the prompt's beginning that it has computed.
    known: usize,
}

/// The worker for a prompt of so many full blocks. Of equals the next in `turn`; if none takes
/// requests it is one that says why.
///
/// A beginning counts if it is half of the prompt: what all prompts share, like instructions of a few
/// lines, shall not send all of them to one worker.
fn choose(standings: &[Standing], blocks: usize, turn: usize) -> usize {
    let number = standings.len();
    let open = || standings.iter().filter(|standing| standing.is_open);
    let least = open().map(|standing| standing.unfinished).min().unwrap_or(0);
    let knows = |standing: &Standing| match standing.unfinished <= 2 * least + MUCH {
        true if 2 * standing.known >= blocks => standing.known,
        _ => 0,
    };
    let in_turn = (0..number).map(|at| (turn % number + at) % number);
    let order = |at: &usize| {
        let standing = &standings[*at];
        let known = std::cmp::Reverse(knows(standing));
        (!standing.is_open, known, standing.unfinished, standing.blocks_used)
    };
    in_turn.min_by_key(order).expect("a model has a worker")
}

/// Sends requests to workers of one model, and remembers which beginnings it sent where.
#[derive(Debug, Default)]
pub struct Router {
    known: Mutex<Known>,
}

#[derive(Debug, Default)]
struct Known {
    /// Requests so far.
    turn: usize,
    /// Of each worker.
    beginnings: Vec<Beginnings>,
}

/// What a worker was given last, block by block: as many as its cache has, of which it forgets the
/// oldest first.
#[derive(Debug, Default)]
struct Beginnings {
    /// How often each is in `order`.
    counts: HashMap<u64, u32>,
    order: VecDeque<u64>,
}

impl Beginnings {
    /// How many of these in a row it knows from the first on.
    fn known(&self, blocks: &[u64]) -> usize {
        blocks.iter().take_while(|block| self.counts.contains_key(block)).count()
    }

    fn note(&mut self, blocks: &[u64], most: usize) {
        for block in blocks {
            *self.counts.entry(*block).or_default() += 1;
            self.order.push_back(*block);
        }
        while self.order.len() > most {
            let Some(oldest) = self.order.pop_front() else { return };
            match self.counts.get_mut(&oldest) {
                Some(count) if *count > 1 => *count -= 1,
                _ => {
                    self.counts.remove(&oldest);
                }
            }
        }
    }
}

impl Router {
    /// The worker that this prompt goes to.
    ///
    /// # Panics
    /// Without any worker.
    pub fn pick<'a>(&self, workers: &'a [Worker], prompt: &[u32]) -> &'a Worker {
        if let [worker] = workers {
            return worker;
        }
        let blocks = chain(prompt);
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        let known = &mut *known;
        known.beginnings.resize_with(workers.len(), Beginnings::default);
        let standings = workers.iter().zip(&known.beginnings);
        let standings: Vec<Standing> = standings
            .map(|(worker, beginnings)| Standing {
                is_open: worker.is_open(),
                unfinished: worker.unfinished(),
                blocks_used: worker.load().blocks_used,
                known: beginnings.known(&blocks),
            })
            .collect();
        let chosen = choose(&standings, blocks.len(), known.turn);
        known.turn = known.turn.wrapping_add(1);
        known.beginnings[chosen].note(&blocks, workers[chosen].load().blocks);
        &workers[chosen]
    }
}

/// Names of a prompt's full blocks, each with all before it. Not the last token's: it is always computed.
fn chain(prompt: &[u32]) -> Vec<u64> {
    let mut hasher = DefaultHasher::new();
    let before_last = &prompt[..prompt.len().saturating_sub(1)];
    let blocks = before_last.chunks_exact(BLOCK_TOKENS).take(BLOCKS_MAX);
    blocks
        .map(|block| {
            block.hash(&mut hasher);
            hasher.finish()
        })
        .collect()
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

    fn submit(router: &Router, workers: &[Worker], request: Request) -> Events {
        router.pick(workers, &request.prompt).submit(request).unwrap()
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

    #[track_caller]
    fn check(standings: &[(usize, usize)], blocks: usize, chosen: usize) {
        let standing = |(unfinished, known): &(usize, usize)| Standing {
            is_open: true,
            unfinished: *unfinished,
            blocks_used: 0,
            known: *known,
        };
        let standings: Vec<Standing> = standings.iter().map(standing).collect();
        assert_eq!(choose(&standings, blocks, 0), chosen, "{standings:?} {blocks}");
    }

    #[test]
    fn a_prompt_goes_where_its_beginning_is_known_unless_that_is_much_busier() {
        // Of each worker the unfinished requests and the blocks it knows; blocks of the prompt.
        check(&[(0, 0), (0, 0)], 10, 0);
        check(&[(1, 0), (0, 0)], 10, 1);
        check(&[(0, 0), (3, 10)], 10, 1);
        check(&[(0, 0), (4, 10)], 10, 1);
        check(&[(0, 0), (5, 10)], 10, 0);
        check(&[(10, 0), (24, 10)], 10, 1);
        check(&[(10, 0), (25, 10)], 10, 0);
        // Half of it is enough, less is not.
        check(&[(0, 0), (1, 5)], 10, 1);
        check(&[(0, 0), (1, 4)], 10, 0);
        // The one that knows most, and of two that know as much the one with less to do.
        check(&[(0, 6), (2, 9)], 10, 1);
        check(&[(2, 9), (1, 9)], 10, 1);
        check(&[(0, 0), (30, 10), (3, 8)], 10, 2);
        // A prompt without a full block.
        check(&[(1, 0), (0, 0)], 0, 1);
    }

    #[test]
    fn a_closed_worker_is_asked_only_if_all_are() {
        let standing = |is_open, known| Standing { is_open, unfinished: 0, blocks_used: 0, known };
        assert_eq!(choose(&[standing(false, 9), standing(true, 0)], 9, 0), 1);
        assert_eq!(choose(&[standing(false, 9), standing(false, 0)], 9, 0), 0);
    }

    #[test]
    fn conversations_go_on_where_they_began() {
        let workers: Vec<Worker> = (0..3).map(|_| worker(fake())).collect();
        let router = Router::default();
        let mut talks: Vec<Vec<u32>> = (0..6).map(|talk| vec![talk; 40]).collect();
        for _ in 0..4 {
            for prompt in &mut talks {
                let sampling = Sampling { max_tokens: 20, ignore_eos: true, ..Sampling::default() };
                let request = Request { prompt: prompt.clone(), sampling };
                prompt.extend(tokens(&submit(&router, &workers, request)));
                prompt.extend([7; 4]);
            }
        }
        let loads: Vec<_> = workers.iter().map(Worker::load).collect();
        assert!(loads.iter().all(|load| load.prompt_tokens > 0), "all have talks");
        let (asked, hits) = loads.iter().fold((0, 0), |(asked, hits), load| {
            (asked + load.prefix_queries, hits + load.prefix_hits)
        });
        // Of 40, 64, 88 and 112 tokens all but the first 40 and the last turn's were there.
        assert!(2 * hits > asked, "{hits} of {asked} tokens were known");
    }

    #[test]
    fn a_router_forgets_the_oldest_first() {
        let (mut beginnings, blocks) = (Beginnings::default(), chain(&[3; 100]));
        assert_eq!(blocks.len(), 6, "the last token is always computed");
        assert_eq!(chain(&[3; 96]).len(), 5);
        beginnings.note(&blocks, 8);
        beginnings.note(&blocks[..2], 8);
        assert_eq!(beginnings.known(&blocks), 6);
        beginnings.note(&chain(&[4; 33]), 8);
        assert_eq!(beginnings.known(&blocks), 6, "the first two were noted twice");
        beginnings.note(&chain(&[5; 17]), 8);
        assert_eq!(beginnings.known(&blocks), 2, "the third is gone");
    }

    #[test]
    fn requests_that_come_together_are_spread_evenly() {
        let workers: Vec<Worker> = (0..4).map(|_| worker(fake())).collect();
        let router = Router::default();
        let events: Vec<Events> =
            (0..32).map(|number| submit(&router, &workers, request(number, 500))).collect();
        assert!(events.iter().all(|events| tokens(events).len() == 500));
        let shares: Vec<u64> =
            workers.iter().map(|worker| worker.load().prompt_tokens / 3).collect();
        assert_eq!(shares.iter().sum::<u64>(), 32);
        assert!(shares.iter().all(|share| (5..=11).contains(share)), "{shares:?}");
    }

    #[test]
    fn one_after_the_other_they_go_round() {
        let workers: Vec<Worker> = (0..3).map(|_| worker(fake())).collect();
        let router = Router::default();
        for number in 0..12 {
            tokens(&submit(&router, &workers, request(number, 5)));
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
        let router = Router::default();
        let answers: Vec<Vec<u32>> =
            (0..6).map(|_| tokens(&submit(&router, &workers, request(3, 60)))).collect();
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
        let router = Router::default();
        for number in 0..6 {
            assert_eq!(tokens(&submit(&router, &workers, request(number, 5))).len(), 5);
        }
        workers[2].drain();
        let closed = router.pick(&workers, &[1]);
        assert!(closed.submit(request(0, 5)).unwrap_err().is_final());
    }
}
