//! Which examples each step sees.
//!
//! The order is the one of Hugging Face's trainer: a permutation per epoch, made as `torch.randperm`
//! makes it on the processor from the seed plus the epoch, so that a published run can be followed
//! example by example. What does not fill a batch at the end of an epoch waits for the next one, as
//! Hugging Face counts its steps.

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
}

impl Walk {
    /// Steps of one pass.
    pub fn steps_per_epoch(&self) -> u64 {
        (self.examples / self.batch.max(1)).max(1) as u64
    }

    /// The epoch that `step` is in.
    pub fn epoch(&self, step: u64) -> u64 {
        step / self.steps_per_epoch()
    }

    /// The order of the examples in `epoch`.
    pub fn order(&self, epoch: u64) -> Vec<usize> {
        if self.shuffle {
            permutation(self.examples, self.seed.wrapping_add(epoch))
        } else {
            (0..self.examples).collect()
        }
    }

    /// The examples of `step`, given the order of its epoch.
    pub fn batch<'a>(&self, step: u64, order: &'a [usize]) -> &'a [usize] {
        let first = (step % self.steps_per_epoch()) as usize * self.batch;
        &order[first..(first + self.batch).min(self.examples)]
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

    use super::{Walk, permutation};

    /// First entries of `torch.randperm(113957)` seeded 42 and 43: the published run's first epochs.
    #[test]
    fn the_order_is_torchs() {
        let first = permutation(113_957, 42);
        assert_eq!(first[..6], [20_530, 52_992, 51_318, 82_415, 40_713, 39_916]);
        let second = permutation(113_957, 43);
        assert_eq!(second[..6], [38_036, 62_953, 83_872, 101_928, 68_118, 45_151]);
    }

    #[test]
    fn the_published_run_has_1187_steps_per_epoch() {
        let walk = Walk { examples: 113_957, batch: 96, shuffle: true, seed: 42 };
        assert_eq!(walk.steps_per_epoch(), 1_187);
        assert_eq!((walk.epoch(1_186), walk.epoch(1_187)), (0, 1));
        assert_eq!(walk.batch(1_187, &walk.order(1))[0], 38_036);
    }

    #[test]
    fn fewer_examples_than_a_batch_make_one_step() {
        let walk = Walk { examples: 3, batch: 8, shuffle: false, seed: 0 };
        assert_eq!(walk.steps_per_epoch(), 1);
        assert_eq!(walk.batch(5, &walk.order(5)), [0, 1, 2]);
    }

    proptest! {
        #[test]
        fn an_epoch_shows_no_example_twice(examples in 1usize..300, batch in 1usize..40, seed: u64) {
            let walk = Walk { examples, batch, shuffle: true, seed };
            let order = walk.order(0);
            let steps = 0..walk.steps_per_epoch();
            let mut seen: Vec<usize> = steps.flat_map(|s| walk.batch(s, &order).to_vec()).collect();
            seen.sort_unstable();
            seen.dedup();
            prop_assert_eq!(seen.len(), examples.min((examples / batch).max(1) * batch));
        }
    }
}
