//! What happens in a run besides its steps: `events.jsonl`, one line each, the run's whole history.
//!
//! Guards live here too: what is no error but ought to be looked at.

use std::collections::VecDeque;
use std::fs::OpenOptions;
use std::io::Write;
use std::path::Path;
use std::time::{Duration, Instant, SystemTime};

use anyhow::Context;
use tracing::{info, warn};

use crate::records::{RunEvent, RunEventKind};

/// The file's name.
pub(crate) const FILE: &str = "events.jsonl";

/// Steps that a loss is compared with.
const WINDOW: usize = 50;

/// Fewer than these say nothing.
const WINDOW_MIN: usize = 10;

/// A loss this many standard deviations above its window's mean is a spike, …
const DEVIATIONS: f64 = 6.0;

/// … if it is this many times the mean, too: late in a run deviations are tiny.
const TIMES: f64 = 1.25;

/// How far wall clock and monotonic clock may part within a step: what is more, somebody set.
const CLOCK_JUMP: Duration = Duration::from_secs(30);

/// An event of this moment.
pub(super) fn event(kind: RunEventKind, step: u64, message: impl Into<String>) -> RunEvent {
    RunEvent {
        at: jiff::Timestamp::now().to_string(),
        step,
        kind,
        message: message.into(),
        hint: None,
        examples: Vec::new(),
    }
}

/// Adds an event to the file in `dir`, and to the program's log.
///
/// # Errors
/// If it cannot be written.
pub(super) fn note(dir: &Path, event: &RunEvent) -> anyhow::Result<()> {
    let RunEvent { step, message, .. } = event;
    if event.kind.is_warning() {
        warn!(step, "step {step}: {message}");
    } else {
        info!(step, "step {step}: {message}");
    }
    let path = dir.join(FILE);
    let line = format!("{}\n", serde_json::to_string(event)?);
    let add =
        || OpenOptions::new().create(true).append(true).open(&path)?.write_all(line.as_bytes());
    add().with_context(|| format!("could not write `{}`", path.display()))
}

/// Notes that a run went back to `step`, for which the checkpoints after `gone` steps were deleted.
///
/// # Errors
/// If it cannot be written.
pub(super) fn went_back(dir: &Path, step: u64, gone: &[u64]) -> anyhow::Result<()> {
    if gone.is_empty() {
        return Ok(());
    }
    let gone: Vec<String> = gone.iter().map(u64::to_string).collect();
    let message = format!(
        "went back to the checkpoint after {step} steps; the steps after it are made again, and the \
         checkpoints after {} were deleted",
        gone.join(", ")
    );
    note(dir, &event(RunEventKind::WentBack, step, message))
}

/// Watches the losses of a run.
#[derive(Debug, Default)]
pub(super) struct Spikes(VecDeque<f64>);

impl Spikes {
    /// The mean of the steps before, if `loss` is far above it.
    pub(super) fn see(&mut self, loss: f64) -> Option<f64> {
        let count = self.0.len() as f64;
        let mean = self.0.iter().sum::<f64>() / count.max(1.0);
        let squares: f64 = self.0.iter().map(|loss| (loss - mean).powi(2)).sum();
        let deviation = (squares / count.max(1.0)).sqrt();
        let spike = self.0.len() >= WINDOW_MIN
            && loss > mean + DEVIATIONS * deviation
            && loss > TIMES * mean;
        if self.0.len() == WINDOW {
            self.0.pop_front();
        }
        self.0.push_back(loss);
        spike.then_some(mean)
    }
}

/// Watches the wall clock.
#[derive(Debug)]
pub(super) struct Clock {
    wall: SystemTime,
    steady: Instant,
}

impl Clock {
    /// From now on.
    pub(super) fn new() -> Self {
        Self { wall: SystemTime::now(), steady: Instant::now() }
    }

    /// By how many seconds the wall clock has jumped since it was asked last, if it has.
    pub(super) fn jump(&mut self) -> Option<f64> {
        let now = Self::new();
        let steady = now.steady.duration_since(self.steady).as_secs_f64();
        let wall = match now.wall.duration_since(self.wall) {
            Ok(forward) => forward.as_secs_f64(),
            Err(backward) => -backward.duration().as_secs_f64(),
        };
        *self = now;
        jump(wall, steady)
    }
}

fn jump(wall: f64, steady: f64) -> Option<f64> {
    let jump = wall - steady;
    (jump.abs() > CLOCK_JUMP.as_secs_f64()).then_some(jump)
}

#[cfg(test)]
mod tests {
    use super::{Spikes, event, jump, note};
    use crate::records::{RunEvent, RunEventKind};

    #[test]
    fn a_loss_far_above_the_ones_before_is_a_spike() {
        let mut spikes = Spikes::default();
        for step in 0..40 {
            let loss = 2.0 - 0.01 * f64::from(step) + if step % 2 == 0 { 0.05 } else { -0.05 };
            assert_eq!(spikes.see(loss), None, "step {step}");
        }
        let mean = spikes.see(6.0).unwrap();
        assert!((1.7..1.9).contains(&mean), "{mean}");
        assert_eq!(spikes.see(1.7), None);
    }

    #[test]
    fn the_first_losses_are_no_spikes() {
        let mut spikes = Spikes::default();
        assert_eq!([10.0, 5.0, 30.0, 2.0].map(|loss| spikes.see(loss)), [None; 4]);
    }

    #[test]
    fn only_a_clock_that_was_set_jumps() {
        assert_eq!(jump(4_000.0, 4_001.0), None);
        assert_eq!(jump(3_610.0, 10.0), Some(3_600.0));
        assert_eq!(jump(-50.0, 10.0), Some(-60.0));
    }

    #[test]
    fn events_are_lines_that_are_added() {
        let dir = tempfile::tempdir().unwrap();
        let spike = event(RunEventKind::LossSpike, 7, "loss 9 after a mean of 2");
        note(dir.path(), &spike).unwrap();
        let named = RunEvent { examples: vec![3, 4], ..event(RunEventKind::ZeroTokens, 8, "none") };
        note(dir.path(), &named).unwrap();
        let text = std::fs::read_to_string(dir.path().join("events.jsonl")).unwrap();
        let read: Vec<RunEvent> =
            text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        assert_eq!(read, [spike, named]);
    }
}
