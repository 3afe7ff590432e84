//! Chooses the next token from logits.
//!
//! A pure function of logits, [`Sampling`] and position: the same request gives the same tokens
//! whatever else is in the batch.

use super::{Error, Result, Sampling};

/// The next token of a sequence whose next position is `position` (tokens before it, prompt
/// included).
///
/// # Errors
/// [`Error::NotFinite`] if a logit is NaN or all are minus infinity.
pub fn sample(logits: &[f32], sampling: &Sampling, position: usize) -> Result<u32> {
    let (best, highest) = greatest(logits)?;
    if sampling.temperature <= 0.0 {
        return Ok(best);
    }
    let temperature = f64::from(sampling.temperature);
    let weight = |logit: f32| (f64::from(logit - highest) / temperature).exp();
    let draw = uniform(sampling.seed, position as u64);
    if sampling.top_p >= 1.0 {
        let total: f64 = logits.iter().map(|logit| weight(*logit)).sum();
        let weights = logits.iter().enumerate().map(|(id, logit)| (id as u32, weight(*logit)));
        return Ok(pick(weights, draw * total).unwrap_or(best));
    }
    let nucleus = nucleus(logits, weight, f64::from(sampling.top_p));
    let total: f64 = nucleus.iter().map(|(_, weight)| weight).sum();
    Ok(pick(nucleus.into_iter(), draw * total).unwrap_or(best))
}

/// The first of the largest logits.
fn greatest(logits: &[f32]) -> Result<(u32, f32)> {
    let mut best = (0, f32::NEG_INFINITY);
    for (id, logit) in logits.iter().enumerate() {
        if logit.is_nan() {
            return Err(Error::NotFinite { what: "logit" });
        }
        if *logit > best.1 {
            best = (id as u32, *logit);
        }
    }
    match best.1.is_finite() {
        true => Ok(best),
        false => Err(Error::NotFinite { what: "largest logit" }),
    }
}

/// The fewest tokens, most probable first, that have at least `mass` of the probability.
fn nucleus(logits: &[f32], weight: impl Fn(f32) -> f64, mass: f64) -> Vec<(u32, f64)> {
    let mut weights: Vec<(u32, f64)> =
        logits.iter().enumerate().map(|(id, logit)| (id as u32, weight(*logit))).collect();
    let total: f64 = weights.iter().map(|(_, weight)| weight).sum();
    weights.sort_by(|a, b| b.1.total_cmp(&a.1).then(a.0.cmp(&b.0)));
    let mut sum = 0.0;
    let enough = weights.iter().position(|(_, weight)| {
        sum += weight;
        sum >= mass * total
    });
    weights.truncate(enough.map_or(weights.len(), |last| last + 1));
    weights
}

/// The first id whose running sum exceeds `target`; rounding may leave none.
fn pick(weights: impl Iterator<Item = (u32, f64)>, target: f64) -> Option<u32> {
    let mut sum = 0.0;
    let mut last = None;
    for (id, weight) in weights {
        sum += weight;
        if sum > target {
            return Some(id);
        }
        if weight > 0.0 {
            last = Some(id);
        }
    }
    last
}

/// A number in `[0, 1)` that depends on seed and position only (SplitMix64 of both).
fn uniform(seed: u64, position: u64) -> f64 {
    let mixed = split_mix(split_mix(seed).wrapping_add(position));
    (mixed >> 11) as f64 / (1_u64 << 53) as f64
}

fn split_mix(state: u64) -> u64 {
    let mut z = state.wrapping_add(0x9E37_79B9_7F4A_7C15);
    z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    z ^ (z >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sampling(temperature: f32, top_p: f32, seed: u64) -> Sampling {
        Sampling { temperature, top_p, seed, max_tokens: 1, stop_ids: vec![] }
    }

    /// How often each id comes in `draws` positions.
    fn shares(logits: &[f32], sampling: &Sampling, draws: usize) -> Vec<f64> {
        let mut counts = vec![0.0; logits.len()];
        for position in 0..draws {
            counts[sample(logits, sampling, position).unwrap() as usize] += 1.0 / draws as f64;
        }
        counts
    }

    #[test]
    fn temperature_zero_takes_the_first_of_the_largest() {
        assert_eq!(sample(&[1.0, 3.0, 3.0], &sampling(0.0, 1.0, 7), 0).unwrap(), 1);
    }

    #[test]
    fn samples_follow_the_softmax() {
        let logits = [0.0, 1.0, 2.0, -1.0];
        for temperature in [0.5_f32, 1.0, 2.0] {
            let shares = shares(&logits, &sampling(temperature, 1.0, 3), 40_000);
            let weights = logits.map(|logit| f64::from(logit / temperature).exp());
            let total: f64 = weights.iter().sum();
            for (share, weight) in shares.iter().zip(weights) {
                assert!((share - weight / total).abs() < 0.01, "{shares:?} at {temperature}");
            }
        }
    }

    #[test]
    fn top_p_drops_the_tail_and_keeps_at_least_one() {
        let logits = [2.0, 1.0, 0.0, -5.0];
        assert_eq!(shares(&logits, &sampling(1.0, 0.0, 1), 64)[0], 1.0);
        let shares = shares(&logits, &sampling(1.0, 0.8, 1), 10_000);
        assert!(shares[0] > 0.0 && shares[1] > 0.0);
        assert_eq!(shares[2..], [0.0, 0.0]);
    }

    #[test]
    fn same_seed_and_position_draw_the_same() {
        let logits: Vec<f32> = (0..100).map(|id| (id % 7) as f32).collect();
        let draw = |seed, position| sample(&logits, &sampling(1.0, 0.9, seed), position).unwrap();
        assert!((0..50).all(|position| draw(5, position) == draw(5, position)));
        assert!((0..50).any(|position| draw(5, position) != draw(6, position)));
    }

    #[test]
    fn logits_that_are_no_numbers_are_an_error() {
        let greedy = sampling(0.0, 1.0, 0);
        assert!(sample(&[0.0, f32::NAN], &greedy, 0).is_err());
        assert!(sample(&[f32::NEG_INFINITY; 2], &greedy, 0).is_err());
    }
}
