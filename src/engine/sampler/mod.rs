//! Chooses the next token from logits.
//!
//! A pure function of logits, [`Sampling`], the tokens before and the sample's number: the same
//! request gives the same tokens whatever else is in the batch. In the order of vLLM: bias and ids
//! that may not come yet, penalties, temperature, `min_p`, `top_k`, `top_p`.

use std::collections::{HashMap, HashSet};

use super::{Error, Result, Sampling};

/// A token and how likely the model found it, before any bias, penalty or temperature.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Likelihood {
    /// The token.
    pub id: u32,
    /// Natural logarithm of its probability.
    pub logprob: f32,
}

/// What the model thought of a token and of its alternatives.
#[derive(Debug, Clone, PartialEq)]
pub struct Score {
    /// The token that stands there.
    pub chosen: Likelihood,
    /// The most likely tokens, the likeliest first.
    pub top: Vec<Likelihood>,
}

/// Chooses the tokens of one sample of a request.
#[derive(Debug, Clone)]
pub struct Sampler {
    /// Which sample of the request.
    sample: u32,
    /// The penalties' memory.
    seen: Option<Seen>,
}

/// Which tokens there were; kept only if something is penalised.
#[derive(Debug, Clone, Default)]
struct Seen {
    prompt: HashSet<u32>,
    generated: HashMap<u32, u32>,
}

impl Sampler {
    /// For the sample of this number, after `prompt`.
    pub fn new(sampling: &Sampling, sample: u32, prompt: &[u32]) -> Self {
        let penalised = sampling.presence_penalty != 0.0
            || sampling.frequency_penalty != 0.0
            || sampling.repetition_penalty != 1.0;
        let seen = penalised
            .then(|| Seen { prompt: prompt.iter().copied().collect(), generated: HashMap::new() });
        Self { sample, seen }
    }

    /// The next token. `position` is how many tokens stand before it, the prompt's included, and
    /// `generated` how many of them are not the prompt's; `ends` are the ids that end the answer.
    ///
    /// # Errors
    /// [`Error::NotFinite`] if a logit is NaN or all are minus infinity.
    pub fn next(
        &mut self,
        logits: &mut [f32],
        sampling: &Sampling,
        (position, generated): (usize, usize),
        ends: &[u32],
    ) -> Result<u32> {
        check(logits)?;
        for (id, bias) in &sampling.logit_bias {
            if let Some(logit) = logits.get_mut(*id as usize) {
                *logit += bias;
            }
        }
        if generated < sampling.min_tokens {
            for id in ends.iter().chain(&sampling.stop_ids) {
                if let Some(logit) = logits.get_mut(*id as usize) {
                    *logit = f32::NEG_INFINITY;
                }
            }
        }
        if let Some(seen) = &self.seen {
            seen.penalise(logits, sampling);
        }
        let token = choose(logits, sampling, uniform(sampling.seed, self.sample, position))?;
        if let Some(seen) = &mut self.seen {
            *seen.generated.entry(token).or_default() += 1;
        }
        Ok(token)
    }
}

impl Seen {
    fn penalise(&self, logits: &mut [f32], sampling: &Sampling) {
        let factor = sampling.repetition_penalty;
        let mut repeated = |id: u32| {
            if let Some(logit) = logits.get_mut(id as usize) {
                *logit = if *logit > 0.0 { *logit / factor } else { *logit * factor };
            }
        };
        if factor != 1.0 {
            self.prompt.iter().copied().for_each(&mut repeated);
            let only_generated = self.generated.keys().filter(|id| !self.prompt.contains(id));
            only_generated.copied().for_each(&mut repeated);
        }
        for (id, count) in &self.generated {
            if let Some(logit) = logits.get_mut(*id as usize) {
                *logit -= sampling.presence_penalty + sampling.frequency_penalty * *count as f32;
            }
        }
    }
}

/// What the model thought of `chosen` and of the `count` likeliest tokens.
pub fn score(logits: &[f32], chosen: u32, count: usize) -> Score {
    let most = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let sum: f64 = logits.iter().map(|logit| f64::from(logit - most).exp()).sum();
    let normaliser = f64::from(most) + sum.ln();
    let likelihood =
        |id: u32| Likelihood { id, logprob: (f64::from(logits[id as usize]) - normaliser) as f32 };
    let top = likeliest(logits, count).into_iter().map(likelihood).collect();
    Score { chosen: likelihood(chosen), top }
}

/// The ids of the `count` largest logits, the largest first; of equal ones the first.
fn likeliest(logits: &[f32], count: usize) -> Vec<u32> {
    let mut ids: Vec<u32> = (0..logits.len() as u32).collect();
    let order =
        |a: &u32, b: &u32| logits[*b as usize].total_cmp(&logits[*a as usize]).then(a.cmp(b));
    if count == 0 {
        return Vec::new();
    }
    if count < ids.len() {
        ids.select_nth_unstable_by(count - 1, order);
        ids.truncate(count);
    }
    ids.sort_unstable_by(order);
    ids
}

fn check(logits: &[f32]) -> Result<()> {
    match logits.iter().any(|logit| logit.is_nan() || *logit == f32::INFINITY) {
        true => Err(Error::NotFinite { what: "logit" }),
        false => Ok(()),
    }
}

fn choose(logits: &[f32], sampling: &Sampling, draw: f64) -> Result<u32> {
    let (best, highest) = greatest(logits)?;
    if sampling.temperature <= 0.0 || sampling.top_k == 1 {
        return Ok(best);
    }
    let temperature = f64::from(sampling.temperature);
    let weight = |logit: f32| (f64::from(logit - highest) / temperature).exp();
    // Below this the weight is under a 2^60th of the largest one's: it cannot be drawn.
    let lowest = highest - (41.0 * temperature).min(f64::from(f32::MAX)) as f32;
    let least = f64::from(sampling.min_p);
    let mut weights: Vec<(u32, f64)> = logits
        .iter()
        .enumerate()
        .filter(|(_, logit)| **logit >= lowest)
        .map(|(id, logit)| (id as u32, weight(*logit)))
        .filter(|(_, weight)| *weight >= least)
        .collect();
    if sampling.top_k > 0 && sampling.top_k < weights.len() {
        weights.select_nth_unstable_by(sampling.top_k - 1, heavier);
        weights.truncate(sampling.top_k);
        // Whatever the selection left, in the order of ids.
        weights.sort_unstable_by_key(|(id, _)| *id);
    }
    if sampling.top_p < 1.0 {
        nucleus(&mut weights, f64::from(sampling.top_p));
    }
    let total: f64 = weights.iter().map(|(_, weight)| weight).sum();
    Ok(pick(&weights, draw * total).unwrap_or(best))
}

/// The first of the largest logits.
fn greatest(logits: &[f32]) -> Result<(u32, f32)> {
    let mut best = (0, f32::NEG_INFINITY);
    for (id, logit) in logits.iter().enumerate() {
        if *logit > best.1 {
            best = (id as u32, *logit);
        }
    }
    match best.1.is_finite() {
        true => Ok(best),
        false => Err(Error::NotFinite { what: "largest logit" }),
    }
}

/// The most probable first, and of equal ones the first.
fn heavier(a: &(u32, f64), b: &(u32, f64)) -> std::cmp::Ordering {
    b.1.total_cmp(&a.1).then(a.0.cmp(&b.0))
}

/// How many of the heaviest are sorted before looking whether they are enough.
const NUCLEUS_FIRST: usize = 256;

/// Keeps the fewest, most probable first, that have at least `mass` of the probability.
fn nucleus(weights: &mut Vec<(u32, f64)>, mass: f64) {
    let total: f64 = weights.iter().map(|(_, weight)| weight).sum();
    let mut sorted = NUCLEUS_FIRST;
    loop {
        // Mostly a few hold nearly all: not everything needs to be sorted.
        if sorted < weights.len() {
            weights.select_nth_unstable_by(sorted - 1, heavier);
        }
        let front = sorted.min(weights.len());
        weights[..front].sort_unstable_by(heavier);
        let mut sum = 0.0;
        let enough = weights[..front].iter().position(|(_, weight)| {
            sum += weight;
            sum >= mass * total
        });
        match enough {
            Some(last) => return weights.truncate(last + 1),
            None if front == weights.len() => return,
            None => sorted *= 8,
        }
    }
}

/// The first id whose running sum exceeds `target`; rounding may leave none.
fn pick(weights: &[(u32, f64)], target: f64) -> Option<u32> {
    let mut sum = 0.0;
    for (id, weight) in weights {
        sum += weight;
        if sum > target {
            return Some(*id);
        }
    }
    weights.last().map(|(id, _)| *id)
}

/// A number in `[0, 1)` that depends on seed, sample and position only (SplitMix64 of all three).
fn uniform(seed: u64, sample: u32, position: usize) -> f64 {
    let stream = split_mix(split_mix(seed).wrapping_add(u64::from(sample)));
    let mixed = split_mix(stream.wrapping_add(position as u64));
    (mixed >> 11) as f64 / (1_u64 << 53) as f64
}

fn split_mix(state: u64) -> u64 {
    let mut z = state.wrapping_add(0x9E37_79B9_7F4A_7C15);
    z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    z ^ (z >> 31)
}

#[cfg(test)]
mod tests;
