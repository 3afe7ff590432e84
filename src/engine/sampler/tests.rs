//! What is drawn how often.

use super::*;

fn sampling(temperature: f32, top_p: f32, seed: u64) -> Sampling {
    Sampling { temperature, top_p, seed, ..Sampling::default() }
}

/// The token drawn at a position, as the first one generated.
#[track_caller]
fn draw(logits: &[f32], sampling: &Sampling, position: usize) -> u32 {
    let mut sampler = Sampler::new(sampling, 0, &[]);
    sampler.next(&mut logits.to_vec(), sampling, (position, 0), &[]).unwrap()
}

/// How often each id comes in `draws` positions.
fn shares(logits: &[f32], sampling: &Sampling, draws: usize) -> Vec<f64> {
    let mut counts = vec![0.0; logits.len()];
    for position in 0..draws {
        counts[draw(logits, sampling, position) as usize] += 1.0 / draws as f64;
    }
    counts
}

#[track_caller]
fn check_shares(logits: &[f32], sampling: &Sampling, expected: &[f64]) {
    let shares = shares(logits, sampling, 40_000);
    for (share, expected) in shares.iter().zip(expected) {
        // What must never come does not come once.
        let tolerance = if *expected == 0.0 { 0.0 } else { 0.01 };
        assert!((share - expected).abs() <= tolerance, "{shares:?}, not {expected:?}");
    }
}

/// Softmax over some of the logits, 0 for the rest.
fn softmax(logits: &[f32], temperature: f32, kept: &[usize]) -> Vec<f64> {
    let weight = |id: usize| match kept.contains(&id) {
        true => f64::from(logits[id] / temperature).exp(),
        false => 0.0,
    };
    let weights: Vec<f64> = (0..logits.len()).map(weight).collect();
    let total: f64 = weights.iter().sum();
    weights.iter().map(|weight| weight / total).collect()
}

const LOGITS: [f32; 4] = [0.0, 1.0, 2.0, -1.0];

#[test]
fn temperature_zero_takes_the_first_of_the_largest() {
    assert_eq!(draw(&[1.0, 3.0, 3.0], &sampling(0.0, 1.0, 7), 0), 1);
}

#[test]
fn samples_follow_the_softmax() {
    for temperature in [0.5_f32, 1.0, 2.0] {
        let expected = softmax(&LOGITS, temperature, &[0, 1, 2, 3]);
        check_shares(&LOGITS, &sampling(temperature, 1.0, 3), &expected);
    }
}

#[test]
fn top_p_drops_the_tail_and_keeps_at_least_one() {
    let logits = [2.0, 1.0, 0.0, -5.0];
    check_shares(&logits, &sampling(1.0, 0.0, 1), &[1.0, 0.0, 0.0, 0.0]);
    check_shares(&logits, &sampling(1.0, 0.8, 1), &softmax(&logits, 1.0, &[0, 1]));
}

#[test]
fn top_k_keeps_the_largest_and_top_p_looks_only_at_them() {
    let only = |top_k, top_p| Sampling { top_k, ..sampling(1.0, top_p, 4) };
    check_shares(&LOGITS, &only(2, 1.0), &softmax(&LOGITS, 1.0, &[1, 2]));
    check_shares(&LOGITS, &only(1, 1.0), &[0.0, 0.0, 1.0, 0.0]);
    check_shares(&LOGITS, &only(9, 1.0), &softmax(&LOGITS, 1.0, &[0, 1, 2, 3]));
    // Of all, 2 has 64 %; of the two largest 73 %.
    check_shares(&LOGITS, &only(2, 0.7), &[0.0, 0.0, 1.0, 0.0]);
    check_shares(&LOGITS, &only(0, 0.7), &softmax(&LOGITS, 1.0, &[1, 2]));
}

#[test]
fn min_p_keeps_what_is_likely_beside_the_likeliest() {
    let only = |min_p| Sampling { min_p, ..sampling(1.0, 1.0, 4) };
    check_shares(&LOGITS, &only(0.3), &softmax(&LOGITS, 1.0, &[1, 2]));
    check_shares(&LOGITS, &only(0.1), &softmax(&LOGITS, 1.0, &[0, 1, 2]));
}

#[test]
fn the_nucleus_of_a_flat_distribution_may_be_large() {
    let logits = vec![0.0; 500];
    let sampling = sampling(1.0, 0.9, 1);
    let drawn: HashSet<u32> = (0..4000).map(|at| draw(&logits, &sampling, at)).collect();
    assert!(drawn.len() > 440 && drawn.iter().all(|id| *id < 450), "{}", drawn.len());
}

#[test]
fn a_bias_is_added_before_everything_else() {
    let biased = |id, bias| Sampling { logit_bias: vec![(id, bias)], ..sampling(0.0, 1.0, 0) };
    assert_eq!(draw(&LOGITS, &biased(3, 3.5), 0), 3);
    assert_eq!(draw(&LOGITS, &biased(2, -100.0), 0), 1);
    assert_eq!(draw(&LOGITS, &biased(99, 100.0), 0), 2, "beyond the vocabulary");
}

/// Greedy tokens, one after the other, always from the same logits.
fn repeated(sampling: &Sampling, prompt: &[u32], count: usize) -> Vec<u32> {
    let mut sampler = Sampler::new(sampling, 0, prompt);
    let mut next = |at: usize| {
        sampler.next(&mut LOGITS.to_vec(), sampling, (prompt.len() + at, at), &[0]).unwrap()
    };
    (0..count).map(&mut next).collect()
}

#[test]
fn penalties_look_at_what_was_generated_and_one_also_at_the_prompt() {
    let greedy = || sampling(0.0, 1.0, 0);
    let presence = Sampling { presence_penalty: 1.5, ..greedy() };
    assert_eq!(repeated(&presence, &[2], 4), [2, 1, 2, 2]);
    let frequency = Sampling { frequency_penalty: 0.75, ..greedy() };
    assert_eq!(repeated(&frequency, &[2], 5), [2, 2, 1, 2, 1]);
    let repetition = Sampling { repetition_penalty: 3.0, ..greedy() };
    assert_eq!(repeated(&repetition, &[], 3), [2, 1, 2]);
    assert_eq!(repeated(&repetition, &[2], 3), [1, 2, 2], "0.67, then 0.33");
    assert_eq!(repeated(&greedy(), &[2], 3), [2, 2, 2]);
}

#[test]
fn ends_do_not_come_before_there_are_enough_tokens() {
    let early = Sampling { min_tokens: 2, stop_ids: vec![2], ..sampling(0.0, 1.0, 0) };
    assert_eq!(repeated(&early, &[], 4), [1, 1, 2, 2]);
    let logits = [5.0, 1.0];
    let sampling = Sampling { min_tokens: 1, ..sampling(0.0, 1.0, 0) };
    let mut sampler = Sampler::new(&sampling, 0, &[]);
    let mut next = |at| sampler.next(&mut logits.to_vec(), &sampling, (at, at), &[0]).unwrap();
    assert_eq!([next(0), next(1)], [1, 0]);
}

#[test]
fn same_seed_sample_and_position_draw_the_same() {
    let logits: Vec<f32> = (0..100).map(|id| (id % 7) as f32).collect();
    let at = |seed, sample, position| {
        let sampling = sampling(1.0, 0.9, seed);
        let mut sampler = Sampler::new(&sampling, sample, &[]);
        sampler.next(&mut logits.clone(), &sampling, (position, 0), &[]).unwrap()
    };
    assert!((0..50).all(|position| at(5, 1, position) == at(5, 1, position)));
    assert!((0..50).any(|position| at(5, 1, position) != at(6, 1, position)));
    assert!((0..50).any(|position| at(5, 1, position) != at(5, 2, position)));
}

#[test]
fn scores_are_those_of_the_model_and_sum_to_one() {
    let score = score(&LOGITS, 3, 3);
    let expected = softmax(&LOGITS, 1.0, &[0, 1, 2, 3]);
    let ids: Vec<u32> = score.top.iter().map(|one| one.id).collect();
    assert_eq!((ids, score.chosen.id), (vec![2, 1, 0], 3));
    for one in score.top.iter().chain([&score.chosen]) {
        let error = f64::from(one.logprob).exp() - expected[one.id as usize];
        assert!(error.abs() < 1e-6, "{one:?}");
    }
    assert_eq!(super::score(&[1.0, 1.0, 1.0], 0, 2).top.len(), 2);
    assert_eq!(super::score(&[1.0, 1.0], 0, 20).top.len(), 2, "no more than there are");
    assert_eq!(super::score(&LOGITS, 0, 0).top, []);
}

#[test]
fn logits_that_are_no_numbers_are_an_error() {
    let greedy = sampling(0.0, 1.0, 0);
    for mut logits in [[0.0, f32::NAN], [0.0, f32::INFINITY], [f32::NEG_INFINITY; 2]] {
        let result = Sampler::new(&greedy, 0, &[]).next(&mut logits, &greedy, (0, 0), &[]);
        assert!(matches!(result, Err(Error::NotFinite { .. })), "{result:?}");
    }
}

#[test]
fn a_bias_that_leaves_nothing_is_an_error() {
    let logit_bias = vec![(0, f32::NEG_INFINITY), (1, f32::NEG_INFINITY)];
    let sampling = Sampling { logit_bias, ..sampling(1.0, 1.0, 0) };
    let result = Sampler::new(&sampling, 0, &[]).next(&mut [0.0, 1.0], &sampling, (0, 0), &[]);
    assert!(matches!(result, Err(Error::NotFinite { .. })), "{result:?}");
}
