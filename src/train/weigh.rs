//! How much each example's loss counts in its step.
//!
//! Whatever ranks and micro-batches an example falls into, its weight is the same: this is what
//! makes packing and sharding a matter of speed alone.

use super::batches::{Orders, Walk};
use super::config::LossNormalisation;

/// A step whose examples are to be weighed.
pub(super) struct Batch<'a> {
    /// How the run walks.
    pub(super) walk: &'a Walk,
    /// Which step.
    pub(super) step: u64,
    /// Its examples.
    pub(super) examples: &'a [usize],
    /// Examples of a micro-batch where that decides.
    pub(super) device_batch: usize,
}

/// The weight of each example of `batch`: what the sum of its tokens' losses is multiplied by.
/// `trained` gives the trained tokens of an example. A group without any counts for nothing, not even
/// as a group.
pub(super) fn weights(
    batch: &Batch<'_>,
    normalisation: LossNormalisation,
    trained: &dyn Fn(usize) -> usize,
    orders: &mut Orders,
) -> Vec<f64> {
    let sum = |examples: &[usize]| examples.iter().map(|example| trained(*example)).sum::<usize>();
    // For each example the group it is in and what divides its loss.
    let places = 0..batch.examples.len();
    let divisors: Vec<(usize, usize)> = match normalisation {
        LossNormalisation::GlobalTokens => {
            let tokens = sum(batch.examples);
            places.map(|_| (0, tokens)).collect()
        }
        LossNormalisation::PerMicro => {
            let micros: Vec<usize> =
                batch.examples.chunks(batch.device_batch.max(1)).map(sum).collect();
            let micro = |place: usize| place / batch.device_batch.max(1);
            places.map(|place| (micro(place), micros[micro(place)])).collect()
        }
        LossNormalisation::PerGroup(_) => places
            .map(|place| {
                let group = batch.walk.group_of(place);
                (group, sum(&batch.walk.divisor(batch.step, place, orders)))
            })
            .collect(),
    };
    let mut counted: Vec<usize> = divisors
        .iter()
        .zip(batch.examples)
        .filter(|(_, example)| trained(**example) > 0)
        .map(|((group, _), _)| *group)
        .collect();
    counted.sort_unstable();
    counted.dedup();
    let groups = counted.len().max(1) as f64;
    divisors
        .into_iter()
        .map(|(_, tokens)| if tokens > 0 { 1.0 / (groups * tokens as f64) } else { 0.0 })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::{Batch, weights};
    use crate::train::batches::{Orders, Walk};
    use crate::train::config::LossNormalisation::{self, GlobalTokens, PerGroup, PerMicro};

    /// Examples 0, 1, 2, … with these trained tokens, in order, four to a step.
    #[track_caller]
    fn check(normalisation: LossNormalisation, tokens: &[usize], step: u64, expected: &[f64]) {
        let group = match normalisation {
            PerGroup(group) => Some(group as usize),
            GlobalTokens | PerMicro => None,
        };
        let walk = Walk { examples: tokens.len(), batch: 4, shuffle: false, seed: 0, group };
        let mut orders = Orders::default();
        let examples = walk.batch(step, &mut orders);
        let batch = Batch { walk: &walk, step, examples: &examples, device_batch: 2 };
        let weights = weights(&batch, normalisation, &|example| tokens[example], &mut orders);
        let close = |(a, b): (&f64, &f64)| (a - b).abs() < 1e-12;
        assert!(weights.iter().zip(expected).all(close), "{weights:?} {expected:?}");
        assert_eq!(weights.len(), expected.len());
    }

    #[test]
    fn all_tokens_of_a_step_count_the_same() {
        check(GlobalTokens, &[1, 2, 3, 4], 0, &[0.1; 4]);
    }

    #[test]
    fn a_micro_batch_counts_as_much_as_another() {
        let (a, b) = (1.0 / 6.0, 1.0 / 14.0);
        check(PerMicro, &[1, 2, 3, 4], 0, &[a, a, b, b]);
    }

    /// Two ranks that accumulate two each: examples 0 and 2, 1 and 3.
    #[test]
    fn a_ranks_examples_share_a_divisor() {
        let (a, b) = (1.0 / 8.0, 1.0 / 12.0);
        check(PerGroup(2), &[1, 2, 3, 4], 0, &[a, b, a, b]);
    }

    /// Three rounds of two: the second step has the last round and the next epoch's first.
    #[test]
    fn at_the_end_of_an_epoch_the_divisors_are_mixed() {
        let expected = [1.0 / 10.0, 1.0 / 12.0, 1.0 / 8.0, 1.0 / 12.0];
        check(PerGroup(2), &[1, 2, 3, 4, 5, 6], 1, &expected);
    }

    #[test]
    fn what_has_no_trained_token_neither_divides_by_zero_nor_counts() {
        check(PerMicro, &[0, 0, 3, 1], 0, &[0.0, 0.0, 0.25, 0.25]);
        check(PerGroup(2), &[0, 2, 0, 4], 0, &[0.0, 1.0 / 6.0, 0.0, 1.0 / 6.0]);
        check(GlobalTokens, &[0, 0, 0, 0], 0, &[0.0; 4]);
    }
}
