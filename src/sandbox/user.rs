//! Whom programs run as, and what runs as them.

use std::fs;

use super::Error;
use super::Result;

/// User ids of programs start here. Nobody has accounts up there.
const UID_BASE: u32 = 1_000_000_000;

/// How many there are: enough that two slots on one host, which draw them, hardly ever meet.
const UIDS: u32 = 1 << 30;

/// The user `nobody`, where the high ids do not exist (containers without root).
const UID_NOBODY: u32 = 65_534;

/// Who a program runs as.
#[derive(Debug, Clone, Copy)]
pub(super) struct User {
    /// Its id; none to stay who we are.
    pub(super) uid: Option<u32>,
    /// Whether nobody else has this id.
    exclusive: bool,
}

impl User {
    /// One that nobody else is, if we may choose.
    ///
    /// # Errors
    /// If the system has no random numbers.
    pub(super) fn draw() -> Result<Self> {
        if !rustix::process::geteuid().is_root() {
            return Ok(Self { uid: None, exclusive: false });
        }
        let uid = UID_BASE + random()? % UIDS;
        let exists = uid_exists(uid);
        Ok(Self { uid: Some(if exists { uid } else { UID_NOBODY }), exclusive: exists })
    }

    /// The limit on processes and threads of a program that may have `share`. The kernel counts all of
    /// the user's, so that without a user of its own a program gets its share on top of them.
    /// `in_namespace`: it has a user namespace of its own, which is counted by itself.
    pub(super) fn processes(self, share: u64, in_namespace: bool) -> u64 {
        if self.exclusive || in_namespace && counts_by_namespace() {
            return share;
        }
        let uid = self.uid.unwrap_or_else(|| rustix::process::getuid().as_raw());
        let running: u64 = all().filter(|found| found.uid == uid).map(|found| found.threads).sum();
        running + share
    }
}

/// A random number.
///
/// # Errors
/// If the system has none.
pub(super) fn random() -> Result<u32> {
    let mut bytes = [0; 4];
    getrandom::fill(&mut bytes)
        .map_err(|error| Error::Failed(format!("no random numbers: {error}")))?;
    Ok(u32::from_le_bytes(bytes))
}

/// Whether `uid` means anything in this user namespace.
fn uid_exists(uid: u32) -> bool {
    let map = fs::read_to_string("/proc/self/uid_map").unwrap_or_default();
    map.lines().any(|line| {
        let numbers: Vec<u64> =
            line.split_whitespace().filter_map(|word| word.parse().ok()).collect();
        matches!(numbers[..], [first, _, count] if (first..first + count).contains(&u64::from(uid)))
    })
}

/// Whether this kernel counts processes per user and namespace: Linux 5.14.
fn counts_by_namespace() -> bool {
    let uname = rustix::system::uname();
    let release = uname.release().to_string_lossy().into_owned();
    let numbers: Vec<u32> =
        release.split(['.', '-']).take(2).filter_map(|word| word.parse().ok()).collect();
    numbers.as_slice() >= [5, 14].as_slice()
}

/// A process as `/proc` shows it.
#[derive(Debug)]
pub(super) struct Process {
    pub(super) pid: u32,
    pub(super) parent: u32,
    uid: u32,
    threads: u64,
    /// What it has in memory, with what it shares.
    pub(super) resident_bytes: u64,
    /// Whether it has not ended: who has waits to be waited for.
    pub(super) lives: bool,
}

/// Every process; those that vanish while we look are left out.
fn all() -> impl Iterator<Item = Process> {
    fs::read_dir("/proc").into_iter().flatten().flatten().filter_map(|entry| {
        let pid: u32 = entry.file_name().to_str()?.parse().ok()?;
        let status = fs::read_to_string(entry.path().join("status")).ok()?;
        let field = |name: &str| {
            let line = status.lines().find_map(|line| line.strip_prefix(name))?;
            line.split_whitespace().next()
        };
        let kib: u64 = field("VmRSS:").and_then(|text| text.parse().ok()).unwrap_or(0);
        Some(Process {
            pid,
            parent: field("PPid:")?.parse().ok()?,
            uid: field("Uid:")?.parse().ok()?,
            threads: field("Threads:")?.parse().ok()?,
            resident_bytes: kib << 10,
            lives: !matches!(field("State:")?, "Z" | "X"),
        })
    })
}

/// How long, in milliseconds, the process has been ready to run while others ran: that of its thread
/// which waited longest. 0 where the kernel does not count it.
pub(super) fn waited_ms(pid: u32) -> u64 {
    let tasks = fs::read_dir(format!("/proc/{pid}/task")).into_iter().flatten().flatten();
    let waited_ns = tasks.filter_map(|task| {
        let text = fs::read_to_string(task.path().join("schedstat")).ok()?;
        text.split_whitespace().nth(1)?.parse::<u64>().ok()
    });
    waited_ns.max().unwrap_or(0) / 1_000_000
}

/// The processes below `pid`, children before theirs.
pub(super) fn below(pid: u32) -> Vec<Process> {
    let mut others: Vec<Process> = all().collect();
    let mut parents = vec![pid];
    let mut found = Vec::new();
    while let Some(parent) = parents.pop() {
        let (children, rest): (Vec<Process>, Vec<Process>) =
            others.into_iter().partition(|process| process.parent == parent);
        others = rest;
        parents.extend(children.iter().map(|child| child.pid));
        found.extend(children);
    }
    found
}
