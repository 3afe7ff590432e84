//! How much memory this process may still take, so that what cannot fit is refused before it is
//! begun.

use std::fs;
use std::path::Path;

use crate::{Error, Result};

/// Where control groups are mounted.
const GROUPS: &str = "/sys/fs/cgroup";

/// Bytes that are free: what the kernel could give without swapping, or what the tightest of the
/// control groups around this process leaves if that is less. None where the kernel does not say.
pub(crate) fn free_bytes() -> Option<u64> {
    let machine = available(&fs::read_to_string("/proc/meminfo").ok()?)?;
    let own = fs::read_to_string("/proc/self/cgroup").unwrap_or_default();
    Some(group_bytes(Path::new(GROUPS), &own).map_or(machine, |group| group.min(machine)))
}

/// Bytes that the control groups leave in which `/proc/self/cgroup` says that a process is: its own
/// and all around it, up to the root of what is mounted.
fn group_bytes(mounted: &Path, own: &str) -> Option<u64> {
    let group = |line: &str| {
        let mut fields = line.splitn(3, ':').skip(1);
        let (controllers, path) = (fields.next()?, fields.next()?);
        let (root, files) = match controllers {
            "" => (mounted.to_owned(), &UNIFIED),
            _ if controllers.split(',').any(|name| name == "memory") => {
                (mounted.join("memory"), &OLD)
            }
            _ => return None,
        };
        // In a container the path may be the host's: what is not there limits nothing.
        let inner = root.join(path.trim_start_matches('/'));
        let around = inner.ancestors().take_while(|dir| dir.starts_with(&root));
        around.filter_map(|dir| left(dir, files)).min()
    };
    own.lines().filter_map(group).min()
}

/// What the two versions of control groups call limit, use, and what of the use is only a copy of
/// files.
const UNIFIED: [&str; 3] = ["memory.max", "memory.current", "inactive_file"];
const OLD: [&str; 3] = ["memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file"];

/// Bytes that a group leaves; none if it has no limit.
fn left(dir: &Path, [limit, used, files]: &[&str; 3]) -> Option<u64> {
    let read = |name: &str| fs::read_to_string(dir.join(name)).ok();
    let number = |name: &str| read(name)?.trim().parse::<u64>().ok();
    let stat = read("memory.stat").unwrap_or_default();
    let given_back = stat.lines().find_map(|line| line.strip_prefix(files)?.trim().parse().ok());
    let used = number(used)?.saturating_sub(given_back.unwrap_or(0));
    Some(number(limit)?.saturating_sub(used))
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
    use std::fs;
    use std::path::Path;

    use super::{available, group_bytes, require};
    use crate::Error;

    fn group(dir: &Path, files: &[(&str, &str)]) {
        fs::create_dir_all(dir).unwrap();
        files.iter().for_each(|(name, text)| fs::write(dir.join(name), text).unwrap());
    }

    #[test]
    fn the_tightest_of_the_groups_around_a_process_counts() {
        let root = tempfile::tempdir().unwrap();
        let limited = |path: &str, limit: &str, used: &str| {
            let stat = "anon 1\ninactive_file 50\nactive_file 7\n";
            let files = [("memory.max", limit), ("memory.current", used), ("memory.stat", stat)];
            group(&root.path().join(path), &files);
        };
        let free = |own: &str| group_bytes(root.path(), own);
        limited("a", "1000\n", "300\n");
        limited("a/b", "max\n", "200\n");
        limited("a/b/c", "900\n", "100\n");
        limited("a/b/d", "500\n", "800\n");
        assert_eq!(free("0::/a/b/c\n"), Some(750), "the outer one is tighter");
        assert_eq!(free("0::/a/b/d\n"), Some(0), "nothing is left");
        assert_eq!(free("0::/a/b\n"), Some(750));
        assert_eq!(free("0::/\n"), None, "the root has no limit");
        assert_eq!(free("0::/elsewhere/on/the/host\n"), None);
        assert_eq!(free(""), None);
        let old = [
            ("memory.limit_in_bytes", "4096"),
            ("memory.usage_in_bytes", "1096"),
            ("memory.stat", "inactive_file 9\ntotal_inactive_file 96\n"),
        ];
        group(&root.path().join("memory/jobs"), &old);
        let both = "12:pids:/jobs\n5:cpu,memory:/jobs/7\n0::/a/b/c\n";
        assert_eq!(free(both), Some(750));
        assert_eq!(free("5:memory:/jobs/7\n"), Some(3096));
    }

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
