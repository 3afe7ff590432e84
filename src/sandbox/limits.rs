//! What a program may use.

use serde::{Deserialize, Serialize};

/// What one run of a program may use. Every field can be left out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Limits {
    /// Processor time in milliseconds; decides `time_limit`. OpenThoughts: 4000 of wall time.
    pub cpu_ms: u64,
    /// Wall time in milliseconds: a watchdog only, so that a busy machine does not turn answers
    /// wrong. 0: three times `cpu_ms` and two seconds.
    pub wall_ms: u64,
    /// Memory in bytes, of all its processes where the kernel counts them together. OpenThoughts: none;
    /// 1 GiB lets two programs run beside a model.
    pub memory_bytes: u64,
    /// Standard output in bytes; outputs of contest problems stay below a few MiB.
    pub output_bytes: u64,
    /// Largest file the program may write, in bytes.
    pub file_bytes: u64,
    /// Processes and threads.
    pub processes: u64,
    /// Open files.
    pub open_files: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            cpu_ms: 4000,
            wall_ms: 0,
            memory_bytes: 1 << 30,
            output_bytes: 16 << 20,
            file_bytes: 16 << 20,
            processes: 32,
            open_files: 64,
        }
    }
}

impl Limits {
    /// The watchdog's time in milliseconds.
    pub fn watchdog_ms(&self) -> u64 {
        if self.wall_ms == 0 {
            self.cpu_ms.saturating_mul(3).saturating_add(2000)
        } else {
            self.wall_ms
        }
    }

    /// The processor time in milliseconds at which a run is killed: a little over its limit, so that
    /// the clock's grain and a program just at the limit can be told apart.
    pub fn kill_ms(&self) -> u64 {
        self.cpu_ms + (self.cpu_ms / 10).clamp(10, 500)
    }

    /// Whether a run that took `cpu_ms` came so close to the limit that a busy machine might have
    /// decided it: within a fifth.
    pub fn is_borderline(&self, cpu_ms: u64) -> bool {
        cpu_ms * 5 >= self.cpu_ms * 4 && cpu_ms * 5 <= self.cpu_ms * 6
    }

    /// Addresses in bytes: more than memory, since the stacks of threads take up addresses that
    /// are hardly used, and yet a list of 10^12 numbers is refused at once.
    pub fn address_bytes(&self) -> u64 {
        self.memory_bytes * 2 + (1 << 30)
    }

    /// The limits with every value brought into the range in which a Python interpreter starts and
    /// this process stays small.
    pub fn bounded(self) -> Self {
        Self {
            cpu_ms: self.cpu_ms.clamp(1, 600_000),
            wall_ms: self.wall_ms.min(1_800_000),
            memory_bytes: self.memory_bytes.clamp(64 << 20, 64 << 30),
            output_bytes: self.output_bytes.clamp(1, 256 << 20),
            file_bytes: self.file_bytes.clamp(4096, 1 << 30),
            processes: self.processes.clamp(4, 1024),
            open_files: self.open_files.clamp(16, 1024),
        }
    }
}
