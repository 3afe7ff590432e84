//! Random schedules over a model that knows what every place of its cache holds.

use std::collections::BTreeMap;
use std::hash::Hasher;

use proptest::prelude::*;
use proptest::strategy::ValueTree;
use proptest::test_runner::TestRunner;

use super::*;

/// Schedules in each of the two tests.
const SCHEDULES: u32 = 50_000;

/// Eight bits of a hash: beginnings of sequences collide all the time.
#[derive(Debug, Default)]
struct EightBits(DefaultHasher);

impl Hasher for EightBits {
    fn finish(&self) -> u64 {
        self.0.finish() & 0xFF
    }

    fn write(&mut self, bytes: &[u8]) {
        self.0.write(bytes);
    }
}

/// What arrives when.
#[derive(Debug, Clone)]
struct Arrival {
    step: usize,
    prompt: Vec<u32>,
    generates: usize,
    samples: u32,
    scores_prompt: bool,
    cancelled: Option<usize>,
}

#[derive(Debug, Clone)]
struct Setting {
    size: usize,
    blocks: usize,
    limits: Limits,
    arrivals: Vec<Arrival>,
}

/// Prompts begin alike: there are few different tokens, and a run of the same at the front.
fn arrival(capacity: usize) -> impl Strategy<Value = Arrival> {
    let prompt = (1..capacity, any::<u64>()).prop_map(|(length, bits)| {
        let ones = (bits % 7) as usize;
        (0..length).map(|at| if at < ones { 1 } else { (bits >> (at % 60)) as u32 & 1 }).collect()
    });
    let cancelled = prop_oneof![3 => Just(None), 1 => (0_usize..20).prop_map(Some)];
    (0_usize..12, prompt, 1..capacity, 1_u32..4, prop::bool::weighted(0.2), cancelled).prop_map(
        move |(step, prompt, generates, samples, scores_prompt, cancelled)| {
            let prompt: Vec<u32> = prompt;
            let generates = generates.min(capacity - prompt.len());
            let samples = if scores_prompt { 1 } else { samples };
            Arrival { step, prompt, generates, samples, scores_prompt, cancelled }
        },
    )
}

fn setting() -> impl Strategy<Value = Setting> {
    (1_usize..5, 2_usize..12, 1_usize..6, 1_usize..12, 1_usize..4).prop_flat_map(
        |(size, blocks, sequences, tokens, rows)| {
            let limits =
                Limits { step_tokens: sequences + tokens, sequences, logit_rows: sequences + rows };
            prop::collection::vec(arrival(size * blocks), 1..7).prop_map(move |arrivals| Setting {
                size,
                blocks,
                limits,
                arrivals,
            })
        },
    )
}

/// Mixes a token into what stands for all before it.
fn mix(before: u64, token: u32) -> u64 {
    (before ^ u64::from(token).wrapping_add(0x9E37_79B9))
        .wrapping_mul(0x9E37_79B9_7F4A_7C15)
        .rotate_left(23)
}

/// The token after a beginning, for one of the request's answers.
fn next(beginning: u64, sample: u32) -> u32 {
    (mix(beginning, sample + 7) >> 40) as u32 & 1
}

/// What a sequence becomes that has the model for itself.
fn alone(arrival: &Arrival, sample: u32) -> Vec<u32> {
    let mut tokens = arrival.prompt.clone();
    let mut beginning = tokens.iter().fold(0, |before, token| mix(before, *token));
    for _ in 0..arrival.generates {
        tokens.push(next(beginning, sample));
        beginning = mix(beginning, tokens[tokens.len() - 1]);
    }
    tokens
}

/// A run of a setting.
struct Run<'a, H> {
    setting: &'a Setting,
    scheduler: Scheduler<H>,
    /// What each place of the cache holds: all tokens up to it.
    cache: Vec<u64>,
    /// Requests in the order of arrival: which of the setting.
    requests: Vec<usize>,
    /// Logits of prompts that were given, by request.
    scored: BTreeMap<u64, usize>,
    finished: BTreeMap<Order, Vec<u32>>,
    begun: Vec<Order>,
}

impl<'a, H: BuildHasher + Default> Run<'a, H> {
    fn new(setting: &'a Setting) -> Self {
        Self {
            setting,
            scheduler: Scheduler::new(setting.limits, Blocks::new(setting.size, setting.blocks)),
            cache: vec![0; setting.size * setting.blocks],
            requests: Vec::new(),
            scored: BTreeMap::new(),
            finished: BTreeMap::new(),
            begun: Vec::new(),
        }
    }

    fn arrival(&self, order: Order) -> &'a Arrival {
        &self.setting.arrivals[self.requests[order.request as usize]]
    }

    /// Runs until nothing is left.
    fn run(&mut self) {
        let last = self.setting.arrivals.iter().map(|arrival| arrival.step).max().unwrap_or(0);
        let mut step = 0;
        while step <= last || self.scheduler.sequences().next().is_some() {
            assert!(step < 20_000, "it never ends");
            self.arrive(step);
            self.cancel(step);
            let plan = self.scheduler.schedule();
            self.check_plan(&plan);
            for work in &plan {
                self.compute(work);
            }
            self.scheduler.check();
            self.scheduler.computed();
            plan.iter().for_each(|work| self.advance(work));
            step += 1;
        }
        assert_eq!(self.scheduler.blocks().available(), self.setting.blocks, "blocks are lost");
    }

    fn arrive(&mut self, step: usize) {
        for (at, arrival) in self.setting.arrivals.iter().enumerate() {
            if arrival.step == step {
                let order = Order { request: self.requests.len() as u64, sample: 0 };
                self.requests.push(at);
                let prompt = arrival.prompt.clone();
                self.scheduler.add(Sequence::new(order, prompt, arrival.scores_prompt));
            }
        }
    }

    fn cancel(&mut self, step: usize) {
        let (requests, arrivals) = (&self.requests, &self.setting.arrivals);
        let leaves =
            |order: Order| arrivals[requests[order.request as usize]].cancelled == Some(step);
        self.scheduler.remove(leaves);
    }

    fn check_plan(&mut self, plan: &[Work]) {
        let limits = self.setting.limits;
        let busy = self.scheduler.sequences().next().is_some();
        assert!(!busy || !plan.is_empty(), "there is work but none is done");
        assert!(plan.iter().map(|work| work.positions.len()).sum::<usize>() <= limits.step_tokens);
        assert!(plan.iter().map(|work| work.logits.len()).sum::<usize>() <= limits.logit_rows);
        assert!(self.scheduler.running() <= limits.sequences);
        if let Some(oldest) = self.scheduler.sequences().map(Sequence::order).min() {
            let is_running = self.scheduler.running.iter().any(|running| running.order == oldest);
            let works = plan.iter().any(|work| work.order == oldest);
            assert!(works || !is_running, "the oldest stands still");
        }
        for work in plan {
            if !self.begun.contains(&work.order) {
                let older = |other: &&Order| other.sample == 0 && **other > work.order;
                let overtaken = self.begun.iter().find(older);
                assert!(overtaken.is_none() || work.order.sample > 0, "{work:?} was overtaken");
                self.begun.push(work.order);
            }
        }
    }

    /// Does what a model does, and checks that the cache holds what it must.
    fn compute(&mut self, work: &Work) {
        let size = self.setting.size;
        let sequence = self.scheduler.get(work.order);
        let place = |at: usize| sequence.blocks()[at / size] as usize * size + at % size;
        let start = work.positions.start;
        let mut beginning = start.checked_sub(1).map_or(0, |at| self.cache[place(at)]);
        let expected = sequence.tokens()[..start].iter().fold(0, |all, token| mix(all, *token));
        assert_eq!(beginning, expected, "the cache holds something else before {start}");
        for at in work.positions.clone() {
            beginning = mix(beginning, sequence.tokens()[at]);
            self.cache[place(at)] = beginning;
        }
        let prompt = sequence.prompt() - 1;
        let scores = work.logits.clone().filter(|at| *at < prompt).count();
        *self.scored.entry(work.order.request).or_default() += scores;
    }

    fn advance(&mut self, work: &Work) {
        let sequence = self.scheduler.get(work.order);
        if work.positions.end < sequence.tokens().len() {
            return;
        }
        assert_eq!(work.logits.end, work.positions.end, "the last token's logits are given");
        let arrival = self.arrival(work.order);
        let is_first = sequence.generated().is_empty();
        let beginning = self.cache[sequence.blocks()[(work.positions.end - 1) / self.setting.size]
            as usize
            * self.setting.size
            + (work.positions.end - 1) % self.setting.size];
        let token = next(beginning, work.order.sample);
        if is_first && work.order.sample == 0 {
            for sample in 1..arrival.samples {
                let order = Order { sample, ..work.order };
                self.scheduler.add(Sequence::new(order, arrival.prompt.clone(), false));
            }
        }
        self.scheduler.append(work.order, token);
        let sequence = self.scheduler.get(work.order);
        // Twice the room is asked for each time, and there is no more than all of it.
        assert!(sequence.preemptions() <= self.setting.blocks.ilog2() + 2, "preempted too often");
        if sequence.generated().len() == arrival.generates {
            self.finished.insert(work.order, sequence.tokens().to_vec());
            self.scheduler.remove(|other| other == work.order);
        }
    }

    /// Everyone has the answer that it would have had alone.
    fn check_answers(&self) {
        for request in 0..self.requests.len() as u64 {
            let arrival = self.arrival(Order { request, sample: 0 });
            for sample in 0..arrival.samples {
                let answer = self.finished.get(&Order { request, sample });
                match answer {
                    Some(tokens) => assert_eq!(tokens, &alone(arrival, sample)),
                    None => assert!(arrival.cancelled.is_some(), "a request did not finish"),
                }
            }
            if arrival.scores_prompt && self.finished.contains_key(&Order { request, sample: 0 }) {
                assert_eq!(self.scored[&request], arrival.prompt.len() - 1, "scores of a prompt");
            }
        }
    }
}

fn check<H: BuildHasher + Default>(setting: &Setting) -> Counts {
    let mut run = Run::<H>::new(setting);
    run.run();
    run.check_answers();
    run.scheduler.counts()
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(SCHEDULES) })]

    #[test]
    fn every_schedule_ends_with_the_right_answers_and_all_blocks(setting in setting()) {
        check::<BuildHasherDefault<DefaultHasher>>(&setting);
    }

    #[test]
    fn colliding_hashes_change_no_answer(setting in setting()) {
        check::<BuildHasherDefault<EightBits>>(&setting);
    }
}

#[test]
fn random_schedules_share_blocks_and_take_them_away() {
    let mut runner = TestRunner::deterministic();
    let mut sum = Counts::default();
    for _ in 0..500 {
        let setting = setting().new_tree(&mut runner).unwrap().current();
        let counts = check::<BuildHasherDefault<DefaultHasher>>(&setting);
        sum.preemptions += counts.preemptions;
        sum.prefix_hits += counts.prefix_hits;
    }
    assert!(sum.preemptions > 100 && sum.prefix_hits > 1000, "{sum:?}");
}

fn scheduler(blocks: usize) -> Scheduler {
    let limits = Limits { step_tokens: 8, sequences: 4, logit_rows: 8 };
    Scheduler::new(limits, Blocks::new(2, blocks))
}

fn order(request: u64) -> Order {
    Order { request, sample: 0 }
}

/// Adds a sequence whose prompt is `length` times a token of its own.
fn add(scheduler: &mut Scheduler, request: u64, length: usize) {
    scheduler.add(Sequence::new(order(request), vec![request as u32; length], false));
}

/// Schedules a step, and appends a token to whoever comes to its end.
fn step(scheduler: &mut Scheduler) -> Vec<(u64, Range<usize>)> {
    let plan = scheduler.schedule();
    scheduler.computed();
    for work in &plan {
        if work.positions.end == scheduler.get(work.order).tokens().len() {
            scheduler.append(work.order, 9);
        }
    }
    scheduler.check();
    plan.into_iter().map(|work| (work.order.request, work.positions)).collect()
}

#[test]
fn single_tokens_come_first_and_prompts_fill_the_rest_of_a_step() {
    let mut scheduler = scheduler(32);
    add(&mut scheduler, 0, 3);
    assert_eq!(step(&mut scheduler), [(0, 0..3)]);
    add(&mut scheduler, 1, 20);
    add(&mut scheduler, 2, 4);
    assert_eq!(step(&mut scheduler), [(0, 3..4), (1, 0..7)]);
    assert_eq!(step(&mut scheduler), [(0, 4..5), (1, 7..14)]);
    assert_eq!(step(&mut scheduler), [(0, 5..6), (1, 14..20), (2, 0..1)]);
    assert_eq!(step(&mut scheduler), [(0, 6..7), (1, 20..21), (2, 1..4)]);
}

#[test]
fn the_youngest_gives_way_and_keeps_what_nobody_needed() {
    let mut scheduler = scheduler(5);
    add(&mut scheduler, 0, 4);
    add(&mut scheduler, 1, 4);
    assert_eq!(step(&mut scheduler), [(0, 0..4), (1, 0..4)]);
    // The fifth block is for the older one.
    assert_eq!(step(&mut scheduler), [(0, 4..5)]);
    assert_eq!((scheduler.running(), scheduler.waiting()), (1, 1));
    assert_eq!(scheduler.counts().preemptions, 1);
    scheduler.remove(|leaving| leaving == order(0));
    // Its two blocks are still there; only the last token is new.
    assert_eq!(step(&mut scheduler), [(1, 4..5)]);
    assert_eq!(scheduler.counts().prefix_hits, 4);
}

#[test]
fn a_prompt_that_was_seen_is_not_computed_again() {
    let mut scheduler = scheduler(32);
    add(&mut scheduler, 0, 7);
    step(&mut scheduler);
    scheduler.add(Sequence::new(order(1), vec![0; 7], false));
    scheduler.add(Sequence::new(order(2), vec![0; 6], false));
    // Whole blocks only, and never the last token.
    assert_eq!(step(&mut scheduler), [(0, 7..8), (1, 6..7), (2, 4..6)]);
    scheduler.distrust(order(0));
    scheduler.remove(|leaving| leaving == order(0));
    scheduler.add(Sequence::new(order(3), vec![0; 7], false));
    assert!(step(&mut scheduler).contains(&(3, 0..6)), "what is distrusted is computed again");
}

#[test]
fn what_leaves_frees_its_blocks_at_once() {
    let mut scheduler = scheduler(8);
    add(&mut scheduler, 0, 8);
    add(&mut scheduler, 1, 4);
    step(&mut scheduler);
    scheduler.remove(|leaving| leaving == order(0) || leaving == order(1));
    assert_eq!(scheduler.blocks().available(), 8);
    assert!(scheduler.schedule().is_empty());
}

#[test]
fn logits_of_a_prompt_are_cut_to_what_a_step_may_hold() {
    let mut scheduler = scheduler(32);
    scheduler.add(Sequence::new(order(0), vec![1; 20], true));
    let mut rows = Vec::new();
    while scheduler.get_rows(&mut rows) < 20 {}
    assert_eq!(rows, [0..8, 8..16, 16..20]);
}

impl Scheduler {
    /// Runs a step, notes which logits are wanted, and says up to where.
    fn get_rows(&mut self, rows: &mut Vec<Range<usize>>) -> usize {
        rows.extend(self.schedule().into_iter().map(|work| work.logits));
        self.computed();
        rows.last().map_or(0, |range| range.end)
    }
}
