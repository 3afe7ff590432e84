//! What a plan has to fit on: facts that are found, never configured.

use serde::Serialize;

/// A machine, as far as a plan depends on it.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize)]
pub struct Machine {
    /// Processor cores.
    pub cores: usize,
    /// Memory of the machine; 0 if unknown.
    pub memory_bytes: u64,
    /// GPUs.
    pub gpus: usize,
    /// Memory of one GPU, where it is known.
    pub gpu_memory_bytes: Option<u64>,
}

impl Machine {
    /// This machine's processor and memory; GPUs are the engine's to find.
    pub fn here() -> Self {
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        let memory_bytes = std::fs::read_to_string("/proc/meminfo")
            .ok()
            .and_then(|text| meminfo(&text, "MemTotal:"))
            .unwrap_or(0);
        Self { cores, memory_bytes, gpus: 0, gpu_memory_bytes: None }
    }
}

/// Bytes of a line `NAME   123 kB`.
fn meminfo(text: &str, name: &str) -> Option<u64> {
    let line = text.lines().find(|line| line.starts_with(name))?;
    let kib: u64 = line.split_whitespace().nth(1)?.parse().ok()?;
    Some(kib * 1024)
}

#[cfg(test)]
mod tests {
    use super::meminfo;

    #[test]
    fn memory_is_read_in_kib() {
        let text = "MemTotal:       24000 kB\nMemFree:        1 kB\n";
        assert_eq!(meminfo(text, "MemTotal:"), Some(24_576_000));
        assert_eq!(meminfo(text, "SwapTotal:"), None);
    }
}
