//! Nothing is lost, and ranks hardly wait.

use proptest::prelude::*;
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;

use super::{Cost, Limits, spread};

const NO_ATTENTION: Cost = Cost { quadratic: 0.0 };

#[test]
fn one_rank_packs_without_gaps() {
    let limits = Limits { examples: usize::MAX, tokens: 10 };
    let spread = spread(&[6, 2, 4, 8], 1, limits, NO_ATTENTION);
    assert_eq!(spread.rounds, [[vec![3, 1]], [vec![0, 2]]]);
}

#[test]
fn every_rank_has_a_micro_batch_in_every_round() {
    let limits = Limits { examples: usize::MAX, tokens: 10 };
    let spread = spread(&[10, 10, 10, 3, 3], 2, limits, NO_ATTENTION);
    assert_eq!(spread.rounds.iter().map(Vec::len).collect::<Vec<_>>(), [2, 2]);
    let few = super::spread(&[5], 4, limits, NO_ATTENTION);
    assert_eq!(few.rounds, [[vec![0], vec![], vec![], vec![]]]);
}

#[test]
fn unpacked_examples_keep_their_order() {
    let rounds = super::Spread::in_order(5, 2, 2).rounds;
    assert_eq!(rounds, [[vec![0, 1], vec![2, 3]], [vec![4], vec![]]]);
}

#[test]
fn a_longer_example_runs_alone() {
    let limits = Limits { examples: usize::MAX, tokens: 10 };
    let spread = spread(&[25, 3, 3], 1, limits, NO_ATTENTION);
    assert_eq!(spread.rounds, [[vec![0]], [vec![1, 2]]]);
}

/// Lengths as of OpenThoughts-114k under cutoff 16384: lognormal, 6.8k tokens on average, one in
/// twenty cut.
fn openthoughts_like(random: &mut ChaCha8Rng, examples: usize) -> Vec<usize> {
    let mut length = || {
        let (u, v): (f64, f64) = (random.random_range(1e-12..1.0), random.random());
        let normal = (-2.0 * u.ln()).sqrt() * (std::f64::consts::TAU * v).cos();
        ((5_800.0 * (0.65 * normal).exp()) as usize).clamp(300, 16_384)
    };
    (0..examples).map(|_| length()).collect()
}

#[test]
fn eight_ranks_hardly_wait_on_lengths_like_openthoughts() {
    let mut random = ChaCha8Rng::seed_from_u64(42);
    let cost = Cost::of_model(28, 3_584, 7_070_285_824);
    let limits = Limits { examples: usize::MAX, tokens: 16_384 };
    let (mut work, mut time, mut lockstep) = (0.0, 0.0, 0.0);
    for _ in 0..8 {
        let lengths = openthoughts_like(&mut random, 96);
        work += lengths.iter().map(|tokens| cost.of(*tokens)).sum::<f64>();
        time += 8.0 * spread(&lengths, 8, limits, cost).time(&lengths, cost);
        let longest = |round: &[usize]| round.iter().map(|l| cost.of(*l)).fold(0.0, f64::max);
        lockstep += 8.0 * lengths.chunks(8).map(longest).sum::<f64>();
    }
    let (balance, before) = (work / time, work / lockstep);
    assert!(balance >= 0.97, "{balance:.4}; one example at a time: {before:.4}");
    assert!(before < 0.6, "the simulation is too easy: {before:.4}");
}

proptest! {
    #[test]
    fn no_example_is_lost_and_no_limit_exceeded(
        lengths in proptest::collection::vec(1usize..200, 0..60),
        ranks in 1usize..9,
        examples in 1usize..10,
        tokens in 1usize..500,
    ) {
        let cost = Cost { quadratic: 1e-3 };
        let spread = spread(&lengths, ranks, Limits { examples, tokens }, cost);
        let mut seen: Vec<usize> = spread.rounds.iter().flatten().flatten().copied().collect();
        seen.sort_unstable();
        prop_assert_eq!(seen, (0..lengths.len()).collect::<Vec<_>>());
        for round in &spread.rounds {
            prop_assert_eq!(round.len(), ranks);
            for bin in round {
                prop_assert!(bin.len() <= examples);
                let held: usize = bin.iter().map(|at| lengths[*at]).sum();
                prop_assert!(bin.len() <= 1 || held <= tokens);
            }
        }
        prop_assert!(spread.balance(&lengths, cost) <= 1.0 + 1e-9);
    }
}
