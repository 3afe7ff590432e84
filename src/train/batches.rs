//! Which examples each step sees, and by how many tokens each one's loss is divided.
//!
//! The order is the one of Hugging Face's trainer: a permutation per epoch, made as `torch.randperm`
//! makes it on the processor from the seed plus the epoch, so that a published run can be followed
//! example by example. Two ways to cut it into steps:
//!
//! - Whole batches. What does not fill one at the end of an epoch waits for the next epoch, as
//!   Hugging Face counts its steps.
//! - In groups (`per_group:K`), as transformers 4.46.1 with accelerate 1.0.1 does where each of
//!   `batch / K` ranks accumulates K examples: rank r takes example `ranks · t + r` as its
//!   micro-batch t, the last round of an epoch goes on from the epoch's beginning (`even_batches`),
//!   and windows of K micro-batches run across the ends of epochs. A micro-batch is divided by the
//!   tokens of the K that its rank fetched together, which are counted anew in each epoch. Where an
//!   epoch's rounds are no multiple of K, so that later windows hold parts of two such groups
//!   (3,562 = 3 · 1,187 + 1 in OpenThinker's run), their two divisors are mixed as in that run.

use std::rc::Rc;

use serde::{Deserialize, Serialize};

/// How a run walks through its examples.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Walk {
    /// How many examples there are; at least one.
    pub examples: usize,
    /// Examples per step.
    pub batch: usize,
    /// Whether each epoch has an order of its own.
    pub shuffle: bool,
    /// The first epoch's seed; the next one's is one more.
    pub seed: u64,
    /// Examples in a group of the batch, which they divide; none for whole batches.
    pub group: Option<usize>,
}

impl Walk {
    /// Ranks of the run that is followed: groups in a batch.
    fn ranks(&self) -> usize {
        self.group.map_or(1, |group| self.batch / group.max(1)).max(1)
    }

    /// Rounds of one pass: micro-batches of each rank.
    fn rounds(&self) -> usize {
        self.examples.div_ceil(self.ranks()).max(1)
    }

    /// Steps of one pass.
    pub fn steps_per_epoch(&self) -> u64 {
        let steps = match self.group {
            Some(group) => self.rounds() / group.max(1),
            None => self.examples / self.batch.max(1),
        };
        steps.max(1) as u64
    }

    /// Passes that are done when `steps` steps are.
    pub fn epochs_after(&self, steps: u64) -> f64 {
        match self.group {
            Some(group) => steps as f64 * group as f64 / self.rounds() as f64,
            None => steps as f64 / self.steps_per_epoch() as f64,
        }
    }

    /// The order of the examples in `epoch`.
    pub fn order(&self, epoch: u64) -> Vec<usize> {
        if self.shuffle {
            permutation(self.examples, self.seed.wrapping_add(epoch))
        } else {
            (0..self.examples).collect()
        }
    }

    /// The examples of `step`.
    pub fn batch(&self, step: u64, orders: &mut Orders) -> Vec<usize> {
        let Some(group) = self.group else {
            let order = orders.of(self, step / self.steps_per_epoch());
            let first = (step % self.steps_per_epoch()) as usize * self.batch;
            return order[first..(first + self.batch).min(self.examples)].to_vec();
        };
        let (ranks, rounds) = (self.ranks(), self.rounds() as u64);
        let mut batch = Vec::with_capacity(self.batch);
        for micro in step * group as u64..(step + 1) * group as u64 {
            let order = orders.of(self, micro / rounds);
            let first = (micro % rounds) as usize * ranks;
            batch.extend((0..ranks).map(|rank| order[(first + rank) % self.examples]));
        }
        batch
    }

    /// The group that the example at `place` of a step's batch is in, where there are groups.
    pub fn group_of(&self, place: usize) -> usize {
        place % self.ranks()
    }

    /// The examples whose tokens together divide the loss of the one at `place` of `step`'s batch,
    /// where there are groups.
    pub fn divisor(&self, step: u64, place: usize, orders: &mut Orders) -> Vec<usize> {
        let (group, ranks, rounds) = (self.group.unwrap_or(1), self.ranks(), self.rounds());
        let micro = step * group as u64 + (place / ranks) as u64;
        let order = orders.of(self, micro / rounds as u64);
        let first = (micro % rounds as u64) as usize / group * group;
        let fetched = first..(first + group).min(rounds);
        fetched.map(|round| order[(round * ranks + place % ranks) % self.examples]).collect()
    }
}

/// The orders of the epochs that are walked through: the newest two, since a step may be in both.
#[derive(Debug, Default)]
pub struct Orders(Vec<(u64, Rc<[usize]>)>);

impl Orders {
    fn of(&mut self, walk: &Walk, epoch: u64) -> Rc<[usize]> {
        if let Some((_, order)) = self.0.iter().find(|(known, _)| *known == epoch) {
            return Rc::clone(order);
        }
        let order: Rc<[usize]> = walk.order(epoch).into();
        self.0.truncate(1);
        self.0.insert(0, (epoch, Rc::clone(&order)));
        order
    }
}

/// `torch.randperm(n)` on the processor with a generator seeded by `seed`.
pub fn permutation(n: usize, seed: u64) -> Vec<usize> {
    let mut random = Mersenne::new(seed as u32);
    let mut order: Vec<usize> = (0..n).collect();
    for i in 0..n.saturating_sub(1) {
        let step = random.next() as usize % (n - i);
        order.swap(i, i + step);
    }
    order
}

const STATE: usize = 624;
const SHIFT: usize = 397;

/// The Mersenne twister MT19937 with its original seeding.
struct Mersenne {
    state: [u32; STATE],
    at: usize,
}

impl Mersenne {
    fn new(seed: u32) -> Self {
        let mut state = [0; STATE];
        state[0] = seed;
        for i in 1..STATE {
            let before: u32 = state[i - 1];
            state[i] =
                1_812_433_253u32.wrapping_mul(before ^ (before >> 30)).wrapping_add(i as u32);
        }
        Self { state, at: STATE }
    }

    fn next(&mut self) -> u32 {
        if self.at == STATE {
            self.turn();
        }
        let mut word = self.state[self.at];
        self.at += 1;
        word ^= word >> 11;
        word ^= (word << 7) & 0x9d2c_5680;
        word ^= (word << 15) & 0xefc6_0000;
        word ^ (word >> 18)
    }

    fn turn(&mut self) {
        for i in 0..STATE {
            let mixed = (self.state[i] & 0x8000_0000) | (self.state[(i + 1) % STATE] & 0x7fff_ffff);
            let odd = if mixed & 1 == 1 { 0x9908_b0df } else { 0 };
            self.state[i] = self.state[(i + SHIFT) % STATE] ^ (mixed >> 1) ^ odd;
        }
        self.at = 0;
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::{Orders, Walk, permutation};

    /// First entries of `torch.randperm(113957)` seeded 42 and 43: the published run's first epochs.
    #[test]
    fn the_order_is_torchs() {
        let first = permutation(113_957, 42);
        assert_eq!(first[..6], [20_530, 52_992, 51_318, 82_415, 40_713, 39_916]);
        let second = permutation(113_957, 43);
        assert_eq!(second[..6], [38_036, 62_953, 83_872, 101_928, 68_118, 45_151]);
    }

    const PUBLISHED: Walk =
        Walk { examples: 113_957, batch: 96, shuffle: true, seed: 42, group: None };

    fn examples(walk: &Walk, step: u64) -> Vec<usize> {
        walk.batch(step, &mut Orders::default())
    }

    #[test]
    fn the_published_run_has_1187_steps_per_epoch() {
        let grouped = Walk { group: Some(3), ..PUBLISHED };
        assert_eq!((PUBLISHED.steps_per_epoch(), grouped.steps_per_epoch()), (1_187, 1_187));
        assert_eq!(examples(&PUBLISHED, 1_187)[0], 38_036);
        assert_eq!(grouped.rounds(), 3_562);
        // The card's epoch after its 3,561 steps.
        assert!((grouped.epochs_after(3_561) - 3.0 * 3_561.0 / 3_562.0).abs() < 1e-12);
    }

    /// Rank r's micro-batch t is `order[32 t + r]`; a rank's three are divided by their own tokens.
    #[test]
    fn groups_are_the_ranks_of_the_published_run() {
        let walk = Walk { group: Some(3), ..PUBLISHED };
        let order = walk.order(0);
        assert_eq!(examples(&walk, 5), order[480..576], "a step has the same examples either way");
        assert_eq!((walk.group_of(7), walk.group_of(39)), (7, 7));
        let divisor = walk.divisor(5, 39, &mut Orders::default());
        assert_eq!(divisor, [order[480 + 7], order[512 + 7], order[544 + 7]]);
    }

    /// The last round of an epoch has 5 examples left and takes 27 from its beginning; it is alone in
    /// its divisor, and shares its step with two rounds of the next epoch.
    #[test]
    fn a_window_across_the_end_of_an_epoch_mixes_two_divisors() {
        let walk = Walk { group: Some(3), ..PUBLISHED };
        let (first, second) = (walk.order(0), walk.order(1));
        let step = examples(&walk, 1_187);
        assert_eq!(step[..5], first[113_952..]);
        assert_eq!(step[5..32], first[..27]);
        assert_eq!(step[32..], second[..64]);
        let mut orders = Orders::default();
        assert_eq!(walk.divisor(1_187, 4, &mut orders), [first[113_956]]);
        assert_eq!(walk.divisor(1_187, 32, &mut orders), [second[0], second[32], second[64]]);
        assert_eq!(walk.divisor(1_188, 0, &mut orders), [second[0], second[32], second[64]]);
        assert_eq!(walk.divisor(1_188, 32, &mut orders), [second[96], second[128], second[160]]);
    }

    #[test]
    fn fewer_examples_than_a_batch_make_one_step() {
        let walk = Walk { examples: 3, batch: 8, shuffle: false, seed: 0, group: None };
        assert_eq!(walk.steps_per_epoch(), 1);
        assert_eq!(examples(&walk, 5), [0, 1, 2]);
        let grouped = Walk { group: Some(2), ..walk };
        assert_eq!(examples(&grouped, 0), [0, 1, 2, 0, 0, 1, 2, 0]);
    }

    proptest! {
        #[test]
        fn an_epoch_shows_no_example_twice(examples in 1usize..300, batch in 1usize..40, seed: u64) {
            let walk = Walk { examples, batch, shuffle: true, seed, group: None };
            let steps = 0..walk.steps_per_epoch();
            let mut seen: Vec<usize> = steps.flat_map(|s| self::examples(&walk, s)).collect();
            seen.sort_unstable();
            seen.dedup();
            prop_assert_eq!(seen.len(), examples.min((examples / batch).max(1) * batch));
        }
    }
}
