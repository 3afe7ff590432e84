//! What the server measures of its requests, for `/metrics`; the engine counts the rest itself.
//!
//! Bounds of the histograms are vLLM's, so that its dashboards read ours.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// Upper bounds in seconds of the time until the first token.
const FIRST_TOKEN: &[f64] = &[
    0.001, 0.005, 0.01, 0.02, 0.04, 0.06, 0.08, 0.1, 0.25, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0,
    20.0, 40.0, 80.0, 160.0, 640.0, 2560.0,
];

/// Upper bounds in seconds of the time between tokens.
const BETWEEN_TOKENS: &[f64] = &[
    0.01, 0.025, 0.05, 0.075, 0.1, 0.15, 0.2, 0.3, 0.4, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0, 20.0,
    40.0, 80.0,
];

/// Upper bounds in seconds of the time that a request takes.
const REQUEST: &[f64] = &[
    0.3, 0.5, 0.8, 1.0, 1.5, 2.0, 2.5, 5.0, 10.0, 15.0, 20.0, 30.0, 40.0, 50.0, 60.0, 120.0, 240.0,
    480.0, 960.0, 1920.0, 7680.0,
];

/// Upper bounds of the tokens of a prompt or an answer.
const TOKENS: &[f64] = &[
    1.0, 2.0, 5.0, 10.0, 20.0, 50.0, 100.0, 200.0, 500.0, 1000.0, 2000.0, 5000.0, 10_000.0,
    20_000.0, 50_000.0, 100_000.0,
];

/// How often values of which size were seen.
#[derive(Debug)]
pub(super) struct Histogram {
    bounds: &'static [f64],
    /// One for each bound, and one for all above.
    counts: Box<[AtomicU64]>,
    /// Sum of all values in millionths: microseconds.
    sum: AtomicU64,
}

impl Histogram {
    fn new(bounds: &'static [f64]) -> Self {
        let counts = (0..=bounds.len()).map(|_| AtomicU64::new(0)).collect();
        Self { bounds, counts, sum: AtomicU64::new(0) }
    }

    /// Counts a value.
    pub(super) fn observe(&self, value: f64) {
        let bucket = self.bounds.partition_point(|bound| *bound < value);
        self.counts[bucket].fetch_add(1, Ordering::Relaxed);
        self.sum.fetch_add((value * 1e6) as u64, Ordering::Relaxed);
    }

    /// Counts a time in seconds.
    pub(super) fn time(&self, time: Duration) {
        self.observe(time.as_secs_f64());
    }

    /// Upper bounds with how many values were at most as large; the last is the number of all.
    pub(super) fn cumulative(&self) -> Vec<(f64, u64)> {
        let bounds = self.bounds.iter().copied().chain([f64::INFINITY]);
        let mut sum = 0;
        let counts = self.counts.iter().map(|count| {
            sum += count.load(Ordering::Relaxed);
            sum
        });
        bounds.zip(counts).collect()
    }

    /// Sum of all values.
    pub(super) fn sum(&self) -> f64 {
        self.sum.load(Ordering::Relaxed) as f64 / 1e6
    }
}

/// How an answer ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Ended {
    /// At its end.
    Stop,
    /// At its limit.
    Length,
    /// Because the client went away or the server was stopped.
    Abort,
    /// Because of an error.
    Error,
}

impl Ended {
    /// All, in the order of their numbers.
    pub(super) const ALL: [Self; 4] = [Self::Stop, Self::Length, Self::Abort, Self::Error];

    /// vLLM's word for it.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Stop => "stop",
            Self::Length => "length",
            Self::Abort => "abort",
            Self::Error => "error",
        }
    }
}

/// What is measured of the requests to one model.
#[derive(Debug)]
pub(super) struct Meters {
    /// Until the first token of an answer.
    pub(super) first_token: Histogram,
    /// Between two tokens of an answer.
    pub(super) between_tokens: Histogram,
    /// From the request to the end of its answers.
    pub(super) request: Histogram,
    /// Tokens of prompts.
    pub(super) prompt_tokens: Histogram,
    /// Tokens of answers.
    pub(super) generated_tokens: Histogram,
    ended: [AtomicU64; Ended::ALL.len()],
}

impl Default for Meters {
    fn default() -> Self {
        Self {
            first_token: Histogram::new(FIRST_TOKEN),
            between_tokens: Histogram::new(BETWEEN_TOKENS),
            request: Histogram::new(REQUEST),
            prompt_tokens: Histogram::new(TOKENS),
            generated_tokens: Histogram::new(TOKENS),
            ended: Default::default(),
        }
    }
}

impl Meters {
    /// Counts answers that ended.
    pub(super) fn end(&self, ended: Ended, answers: u64) {
        self.ended[ended as usize].fetch_add(answers, Ordering::Relaxed);
    }

    /// How many answers ended so.
    pub(super) fn ended(&self, ended: Ended) -> u64 {
        self.ended[ended as usize].load(Ordering::Relaxed)
    }
}

/// Why a request was turned away before it reached a model.
#[derive(Debug, Default)]
pub(super) struct Rejections([AtomicU64; Self::REASONS.len()]);

impl Rejections {
    /// The reasons, by number.
    pub(super) const REASONS: [&str; 4] = ["bad_request", "queue_full", "unavailable", "error"];

    /// Counts a response with this status, if it is a rejection.
    pub(super) fn count(&self, status: u16) {
        let reason = match status {
            429 => 1,
            503 => 2,
            400..=499 => 0,
            500..=599 => 3,
            _ => return,
        };
        self.0[reason].fetch_add(1, Ordering::Relaxed);
    }

    /// How often each reason came up.
    pub(super) fn counts(&self) -> impl Iterator<Item = (&'static str, u64)> {
        Self::REASONS.into_iter().zip(self.0.iter().map(|count| count.load(Ordering::Relaxed)))
    }
}

#[cfg(test)]
mod tests {
    use super::{Ended, Meters};

    #[test]
    fn a_histogram_counts_values_up_to_each_bound() {
        let meters = Meters::default();
        for value in [0.2, 0.3, 0.31, 9_000.0] {
            meters.request.observe(value);
        }
        let counts = meters.request.cumulative();
        assert_eq!(counts[0], (0.3, 2));
        assert_eq!(counts[1], (0.5, 3));
        assert_eq!(counts.last().unwrap(), &(f64::INFINITY, 4));
        assert!((meters.request.sum() - 9_000.81).abs() < 1e-3);
    }

    #[test]
    fn every_end_has_a_count_of_its_own() {
        let meters = Meters::default();
        for (number, ended) in Ended::ALL.into_iter().enumerate() {
            meters.end(ended, number as u64);
        }
        assert_eq!(Ended::ALL.map(|ended| meters.ended(ended)), [0, 1, 2, 3]);
    }
}
