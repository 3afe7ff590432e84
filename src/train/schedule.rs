//! The learning rate of each step: linear warm-up, then cosine, linear or constant.
//!
//! Follows Hugging Face's `get_*_schedule_with_warmup`: step 0 of a warm-up has rate 0, so it moves
//! the optimizer's moments and no weight.

use std::f64::consts::PI;

use serde::{Deserialize, Serialize};

/// What the learning rate does after the warm-up.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Schedule {
    /// Half a cosine down to 0.
    Cosine,
    /// A straight line down to 0.
    Linear,
    /// Stays.
    Constant,
}

/// A schedule with its lengths.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Plan {
    /// The rate after the warm-up.
    pub peak: f64,
    /// What happens after the warm-up.
    pub schedule: Schedule,
    /// Steps of warm-up.
    pub warmup_steps: u64,
    /// Steps in all.
    pub steps: u64,
}

impl Plan {
    /// The learning rate that step `step` uses; steps count from 0.
    pub fn rate(&self, step: u64) -> f64 {
        if step < self.warmup_steps {
            return self.peak * step as f64 / self.warmup_steps.max(1) as f64;
        }
        let after = (step - self.warmup_steps) as f64;
        let length = self.steps.saturating_sub(self.warmup_steps).max(1) as f64;
        let factor = match self.schedule {
            Schedule::Cosine => 0.5 * (1.0 + (PI * after / length).cos()),
            Schedule::Linear => (length - after) / length,
            Schedule::Constant => 1.0,
        };
        self.peak * factor.max(0.0)
    }
}

#[cfg(test)]
mod tests {
    use super::{Plan, Schedule};

    const PUBLISHED: Plan =
        Plan { peak: 1e-5, schedule: Schedule::Cosine, warmup_steps: 357, steps: 3_561 };

    #[track_caller]
    fn check(plan: Plan, step: u64, expected: f64) {
        let rate = plan.rate(step);
        assert!((rate - expected).abs() <= 1e-9 * plan.peak, "step {step}: {rate} {expected}");
    }

    #[test]
    fn the_published_run_starts_at_zero_and_peaks_after_its_warm_up() {
        check(PUBLISHED, 0, 0.0);
        check(PUBLISHED, 1, 1e-5 / 357.0);
        check(PUBLISHED, 356, 1e-5 * 356.0 / 357.0);
        check(PUBLISHED, 357, 1e-5);
    }

    #[test]
    fn the_published_run_is_at_half_in_the_middle_and_not_quite_zero_at_the_end() {
        check(PUBLISHED, 357 + 1_602, 0.5e-5);
        let last = PUBLISHED.rate(3_560);
        assert!((2.3e-12..2.5e-12).contains(&last), "{last}");
    }

    #[test]
    fn a_line_falls_evenly_and_a_constant_stays() {
        let line = Plan { peak: 1.0, schedule: Schedule::Linear, warmup_steps: 2, steps: 12 };
        check(line, 1, 0.5);
        check(line, 2, 1.0);
        check(line, 7, 0.5);
        check(line, 12, 0.0);
        check(line, 20, 0.0);
        let constant = Plan { schedule: Schedule::Constant, ..line };
        check(constant, 0, 0.0);
        check(constant, 9, 1.0);
    }

    #[test]
    fn without_a_warm_up_the_first_step_has_the_full_rate() {
        let plan = Plan { peak: 3e-3, schedule: Schedule::Cosine, warmup_steps: 0, steps: 1 };
        check(plan, 0, 3e-3);
    }
}
