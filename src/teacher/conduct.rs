//! When the rehearsal teacher errs, breaks off or refuses: decided by seed, question and sample.
//!
//! Independent of order and of how many ask at once, so that a rehearsal can be repeated.

use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use sha2::{Digest, Sha256};

use super::solve::{Slip, Solved, solve, solve_with, steps};

/// Share of traces that are wrong: about what verification removed from OpenThoughts' math.
pub const WRONG: f64 = 0.30;

/// Share of traces that are broken off, with `finish_reason` `length`.
pub const TRUNCATED: f64 = 0.02;

/// Share of questions whose first request is refused, half with 429 and half with 500.
pub const REFUSED: f64 = 0.01;

/// Share of wrong traces that are right up to the last line.
const FINAL: f64 = 0.1;

/// Share of the other wrong traces that slip in their last step, where the numbers are largest.
const LAST: f64 = 0.75;

/// By how much a slip is off: one too many, more often than one too few.
const SLIPS: [i64; 5] = [1, 1, 1, 1, -1];

/// How often a slip is drawn again that happens to leave the answer right.
const DRAWS_MAX: usize = 16;

/// What the teacher does with one question.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Given {
    /// The answer, cut short if `truncated`.
    pub solved: Solved,
    /// Whether a slip went into it.
    pub wrong: bool,
    /// Whether it is broken off.
    pub truncated: bool,
    /// HTTP status that the first request gets instead.
    pub refused: Option<u16>,
}

/// What the teacher with this `seed` answers to `sample` of the question in `text`; none if the
/// question is not the rehearsal's.
pub fn conduct(seed: u64, text: &str, sample: u64) -> Option<Given> {
    let right = solve(text)?;
    let mut hash = Sha256::new();
    hash.update(seed.to_le_bytes());
    hash.update(sample.to_le_bytes());
    hash.update(text.trim());
    let mut rng = ChaCha8Rng::from_seed(hash.finalize().into());
    // Each decision has a draw of its own, taken always: changing one rate moves nothing else.
    let (wrong, truncated, refused) =
        (rng.random::<f64>() < WRONG, rng.random::<f64>() < TRUNCATED, rng.random::<f64>());
    let refused = (refused < REFUSED).then_some(if refused < REFUSED / 2.0 { 429 } else { 500 });
    let mut solved = if wrong { mistaken(text, &right, &mut rng) } else { right };
    if truncated {
        let half = solved.reasoning.len() / 2;
        cut(&mut solved.reasoning, half);
        solved.solution.clear();
    }
    Some(Given { solved, wrong, truncated, refused })
}

impl Given {
    /// Breaks the answer off after `bytes` bytes, if it is longer.
    pub(super) fn limit(&mut self, bytes: u64) {
        let bytes = usize::try_from(bytes).unwrap_or(usize::MAX);
        let thought = self.solved.reasoning.len();
        if thought + self.solved.solution.len() > bytes {
            self.truncated = true;
            cut(&mut self.solved.reasoning, bytes);
            cut(&mut self.solved.solution, bytes.saturating_sub(thought));
        }
    }
}

/// A wrong solution of the question in `text`.
fn mistaken(text: &str, right: &Solved, rng: &mut ChaCha8Rng) -> Solved {
    let steps = steps(text).max(1);
    for _ in 0..DRAWS_MAX {
        let by = SLIPS[rng.random_range(0..SLIPS.len())];
        let any = rng.random_range(0..steps);
        let at = if rng.random::<f64>() < LAST { steps - 1 } else { any };
        let slip = if rng.random::<f64>() < FINAL { Slip::Final(by) } else { Slip::Step(at, by) };
        let slipped =
            solve_with(text, Some(slip)).filter(|slipped| slipped.solution != right.solution);
        if let Some(slipped) = slipped {
            return slipped;
        }
    }
    solve_with(text, Some(Slip::Final(1))).unwrap_or_else(|| right.clone())
}

/// Leaves at most `bytes` bytes of `text`.
fn cut(text: &mut String, bytes: usize) {
    let bytes = bytes.min(text.len());
    let at = (0..=bytes).rev().find(|&at| text.is_char_boundary(at)).unwrap_or(0);
    text.truncate(at);
}
