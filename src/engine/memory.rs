//! How much memory this process may still take, so that what cannot fit is refused before it is
//! begun.

use std::fs;

use crate::{Error, Result};

/// Bytes that are free: what the kernel could give without swapping, or what the control group
/// leaves if that is less. None where the kernel does not say.
pub(crate) fn free_bytes() -> Option<u64> {
    let text = fs::read_to_string("/proc/meminfo").ok()?;
    let machine = available(&text)?;
    let group = || {
        let read = |name: &str| fs::read_to_string(format!("/sys/fs/cgroup/{name}")).ok();
        let number = |text: String| text.trim().parse::<u64>().ok();
        let limit = number(read("memory.max")?)?;
        Some(limit.saturating_sub(number(read("memory.current")?)?))
    };
    Some(group().map_or(machine, |group| group.min(machine)))
}

/// Refuses what needs more than there is.
///
/// # Errors
/// [`Error::OutOfMemory`] with both numbers.
pub(crate) fn require(needed_bytes: u64) -> Result<()> {
    match free_bytes() {
        Some(free_bytes) if needed_bytes > free_bytes => {
            Err(Error::OutOfMemory { needed_bytes, free_bytes })
        }
        Some(_) | None => Ok(()),
    }
}

/// `MemAvailable` of `/proc/meminfo`, in bytes.
fn available(meminfo: &str) -> Option<u64> {
    let line = meminfo.lines().find_map(|line| line.strip_prefix("MemAvailable:"))?;
    let kib: u64 = line.trim().trim_end_matches("kB").trim().parse().ok()?;
    Some(kib * 1024)
}

#[cfg(test)]
mod tests {
    use super::{available, require};
    use crate::Error;

    #[test]
    fn the_kernels_word_is_understood() {
        let text = "MemTotal:       24000000 kB\nMemAvailable:    1000000 kB\n";
        assert_eq!(available(text), Some(1_024_000_000));
        assert_eq!(available("MemTotal: 1 kB\n"), None);
    }

    #[test]
    fn what_no_machine_has_is_refused_with_the_number() {
        require(1).unwrap();
        let needed = 1 << 60;
        match require(needed) {
            Err(Error::OutOfMemory { needed_bytes, free_bytes }) => {
                assert!(needed_bytes == needed && free_bytes < needed);
            }
            other => panic!("{other:?}"),
        }
    }
}
