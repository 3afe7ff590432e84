//! Time that a host took from this machine while its programs seemed to run.
//!
//! On a virtual machine whose host is busy a program's clock of processor time goes on while the host
//! runs somebody else: by hundreds of milliseconds, which no program has used. The kernel counts it
//! for the machine as a whole (`steal` in proc_stat(5)), not per program.

use std::fs;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// How old a reading may be at the beginning of a run: reading takes longer the more processors there are.
const FRESH: Duration = Duration::from_secs(1);

/// A kernel's tick, as all files of `/proc` count them.
const TICK_MS: u64 = 10;

/// The last reading.
#[derive(Debug)]
pub(super) struct Steal(Mutex<(Instant, u64)>);

impl Steal {
    pub(super) fn new() -> Self {
        Self(Mutex::new((Instant::now(), total_ms())))
    }

    /// Where something begins of which [`may_have_taken`] will be asked.
    pub(super) fn mark(&self) -> Mark {
        let mut read = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if read.0.elapsed() > FRESH {
            *read = (Instant::now(), total_ms());
        }
        Mark(read.1)
    }
}

/// What had been taken in all, in milliseconds.
#[derive(Debug, Clone, Copy)]
pub(super) struct Mark(u64);

/// Whether the host took as much as a tenth of `used_ms` since `mark`, or shortly before.
pub(super) fn may_have_taken(mark: Mark, used_ms: u64) -> bool {
    total_ms().saturating_sub(mark.0) * 10 >= used_ms.max(1)
}

/// What was taken from all processors since this machine started; 0 where nobody counts it.
fn total_ms() -> u64 {
    stolen_ms(&fs::read_to_string("/proc/stat").unwrap_or_default())
}

fn stolen_ms(stat: &str) -> u64 {
    let line = stat.lines().find(|line| line.starts_with("cpu "));
    let ticks = line.and_then(|line| line.split_whitespace().nth(8)?.parse::<u64>().ok());
    ticks.unwrap_or(0) * TICK_MS
}

#[cfg(test)]
mod tests {
    use super::{Steal, may_have_taken, stolen_ms};

    #[test]
    fn what_was_taken_is_the_eighth_number_of_all_processors() {
        for (stat, expected) in [
            ("cpu  45 24 72 77 21 0 63 302 0 0\ncpu0 1 2 3 4 5 6 7 8 9 10\n", 3020),
            ("cpu  45 24 72 77\n", 0),
            ("", 0),
        ] {
            assert_eq!(stolen_ms(stat), expected, "{stat}");
        }
    }

    #[test]
    fn nobody_takes_an_hour_at_once() {
        assert!(!may_have_taken(Steal::new().mark(), 36_000_000));
    }
}
