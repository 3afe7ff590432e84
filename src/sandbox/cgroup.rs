//! Control groups: memory and processes of a slot counted together, by the kernel.
//!
//! Version 2 where it has the controllers, else version 1, else none, which is tier T2. Written for
//! what those trees look like as text, so that tests can make their own.

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::Duration;

use super::user;
use super::{Error, Result};

/// What the interpreter and the kernel need beside what a program may have.
const BASE_BYTES: u64 = 64 << 20;

/// The slot's first process, and one to spare while another ends.
const BASE_PROCESSES: u64 = 2;

/// How often a group that is still being left is tried to be removed, with a pause in between.
const REMOVALS: u32 = 1000;

/// That pause: what a process takes to leave its groups after it was waited for.
const REMOVAL_PAUSE: Duration = Duration::from_millis(2);

/// Where groups can be made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Parent {
    /// One folder for all controllers.
    V2(PathBuf),
    /// One folder each.
    V1 { memory: PathBuf, pids: PathBuf },
}

impl Parent {
    /// The first place at which a group with both controllers can be made; the text says why there
    /// is none.
    pub(super) fn find() -> std::result::Result<Self, String> {
        let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
        let own = fs::read_to_string("/proc/self/cgroup").unwrap_or_default();
        let mut refusals = Vec::new();
        for parent in places(&mounts, &own) {
            match parent.enable().and_then(|()| Group::create(&parent).map(drop)) {
                Ok(()) => return Ok(parent),
                Err(error) => refusals.push(error.to_string()),
            }
        }
        let nowhere = "no control groups are mounted".to_owned();
        Err(if refusals.is_empty() { nowhere } else { refusals.join("; ") })
    }

    /// Turns the controllers on for groups below. Version 1 has them on everywhere.
    fn enable(&self) -> Result<()> {
        let Self::V2(folder) = self else { return Ok(()) };
        let has_both = |file: &str| {
            let text = fs::read_to_string(folder.join(file)).unwrap_or_default();
            ["memory", "pids"].iter().all(|name| text.split_whitespace().any(|word| word == *name))
        };
        if !has_both("cgroup.controllers") {
            let shown = folder.display();
            return Err(Error::Failed(format!("`{shown}` has no memory and pids controllers")));
        }
        if has_both("cgroup.subtree_control") {
            return Ok(());
        }
        write(&folder.join("cgroup.subtree_control"), "+memory +pids")
    }
}

/// Where groups might be made, best first: below our own group, then below the root's.
fn places(mounts: &str, own: &str) -> Vec<Parent> {
    let own_path = |controller: &str| {
        own.lines().find_map(|line| {
            let mut parts = line.splitn(3, ':');
            let (_, names, path) = (parts.next()?, parts.next()?, parts.next()?);
            names.split(',').any(|name| name == controller).then(|| path.to_owned())
        })
    };
    let places_of = |kind: &str, controller: &str| -> Vec<PathBuf> {
        let Some((root, point)) = mounted(mounts, kind, controller) else { return Vec::new() };
        let path = own_path(controller).unwrap_or_else(|| "/".into());
        let below = Path::new(&path).strip_prefix(&root).unwrap_or(Path::new("")).to_owned();
        let below = below.strip_prefix("/").unwrap_or(&below).to_owned();
        let mut found = vec![point.join(&below)];
        if below != Path::new("") {
            found.push(point);
        }
        found
    };
    let mut found: Vec<Parent> = places_of("cgroup2", "").into_iter().map(Parent::V2).collect();
    let pids = places_of("cgroup", "pids");
    for memory in places_of("cgroup", "memory") {
        found.extend(
            pids.iter().map(|pids| Parent::V1 { memory: memory.clone(), pids: pids.clone() }),
        );
    }
    found
}

/// The root and place of the mount of `controller`, from the text of `mountinfo`.
fn mounted(mounts: &str, kind: &str, controller: &str) -> Option<(PathBuf, PathBuf)> {
    mounts.lines().find_map(|line| {
        let (place, source) = line.split_once(" - ")?;
        let place: Vec<&str> = place.split(' ').collect();
        let source: Vec<&str> = source.split(' ').collect();
        let named =
            controller.is_empty() || source.get(2)?.split(',').any(|option| option == controller);
        (source.first() == Some(&kind) && named)
            .then(|| Some((place.get(3)?.into(), place.get(4)?.into())))?
    })
}

/// A slot's group. Removed when dropped; its processes must be gone by then.
#[derive(Debug)]
pub(super) struct Group {
    parent: Parent,
    /// One folder, or one per controller.
    pub(super) folders: Vec<PathBuf>,
    /// The limits that are set: memory and processes, each if there is one.
    set: Option<(Option<u64>, Option<u64>)>,
}

impl Group {
    /// A new one with no processes and no limits.
    ///
    /// # Errors
    /// If the folder cannot be made or is no group.
    pub(super) fn create(parent: &Parent) -> Result<Self> {
        let own = rustix::process::getpid().as_raw_nonzero();
        let name = format!("thinkery-{own}-{:08x}", user::random()?);
        let parents = match parent {
            Parent::V2(folder) => vec![folder],
            Parent::V1 { memory, pids } if memory == pids => vec![memory],
            Parent::V1 { memory, pids } => vec![memory, pids],
        };
        let mut made = Self { parent: parent.clone(), folders: Vec::new(), set: None };
        for folder in parents {
            let folder = folder.join(&name);
            fs::create_dir(&folder).map_err(|error| refused("make", &folder, &error))?;
            made.folders.push(folder);
        }
        made.limit(Some(1 << 30), Some(32))?;
        Ok(made)
    }

    /// Sets what a program may have from now on; without a number, as much as there is.
    ///
    /// # Errors
    /// If the kernel refuses.
    pub(super) fn limit(
        &mut self,
        memory_bytes: Option<u64>,
        processes: Option<u64>,
    ) -> Result<()> {
        if self.set == Some((memory_bytes, processes)) {
            return Ok(());
        }
        let unlimited = if matches!(self.parent, Parent::V2(_)) { "max" } else { "-1" };
        let memory =
            memory_bytes.map_or(unlimited.to_owned(), |most| (most + BASE_BYTES).to_string());
        let pids = processes.map_or("max".to_owned(), |most| (most + BASE_PROCESSES).to_string());
        match &self.parent {
            Parent::V2(_) => {
                write(&self.folder(0).join("memory.max"), &memory)?;
                // Not there without swap.
                write_if_there(&self.folder(0).join("memory.swap.max"), "0")?;
                write(&self.folder(0).join("pids.max"), &pids)?;
            }
            Parent::V1 { .. } => {
                let limit = self.folder(0).join("memory.limit_in_bytes");
                let with_swap = self.folder(0).join("memory.memsw.limit_in_bytes");
                // The second may never be the smaller: up it goes first, down it goes last.
                if write(&limit, &memory).is_err() {
                    write_if_there(&with_swap, &memory)?;
                    write(&limit, &memory)?;
                }
                write_if_there(&with_swap, &memory)?;
                write(&self.folder(1).join("pids.max"), &pids)?;
            }
        }
        self.set = Some((memory_bytes, processes));
        Ok(())
    }

    /// How many of its processes the kernel has killed for want of memory.
    pub(super) fn memory_kills(&self) -> u64 {
        let file = match self.parent {
            Parent::V2(_) => "memory.events",
            Parent::V1 { .. } => "memory.oom_control",
        };
        let text = fs::read_to_string(self.folder(0).join(file)).unwrap_or_default();
        let count = text.lines().find_map(|line| line.strip_prefix("oom_kill "));
        count.and_then(|count| count.trim().parse().ok()).unwrap_or(0)
    }

    fn folder(&self, index: usize) -> &Path {
        let last = self.folders.len() - 1;
        &self.folders[index.min(last)]
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        remove(&self.folders);
    }
}

/// Moves this process into the group of these folders.
///
/// # Errors
/// If the kernel refuses.
pub(super) fn join(folders: &[PathBuf]) -> Result<()> {
    folders.iter().try_for_each(|folder| write(&folder.join("cgroup.procs"), "0"))
}

/// Removes groups. The last process may still be on its way out of them; what is gone is well.
pub(super) fn remove(folders: &[PathBuf]) {
    for folder in folders {
        for _ in 0..REMOVALS {
            match fs::remove_dir(folder) {
                Err(error) if error.raw_os_error() == Some(BUSY) => thread::sleep(REMOVAL_PAUSE),
                Ok(()) | Err(_) => break,
            }
        }
    }
}

/// `EBUSY`.
const BUSY: i32 = rustix::io::Errno::BUSY.raw_os_error();

fn write(file: &Path, text: &str) -> Result<()> {
    let opened = fs::OpenOptions::new().write(true).truncate(true).open(file);
    opened
        .and_then(|mut opened| opened.write_all(text.as_bytes()))
        .map_err(|error| refused("write to", file, &error))
}

fn write_if_there(file: &Path, text: &str) -> Result<()> {
    if file.exists() { write(file, text) } else { Ok(()) }
}

fn refused(what: &str, file: &Path, error: &std::io::Error) -> Error {
    Error::Failed(format!("could not {what} `{}`: {error}", file.display()))
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::path::Path;

    use super::{Group, Parent, places, remove};

    const V1: &str = "\
        36 25 0:31 / /sys/fs/cgroup/memory rw,relatime - cgroup cgroup rw,memory\n\
        37 25 0:32 / /sys/fs/cgroup/pids rw,relatime - cgroup cgroup rw,pids\n";
    const V2: &str = "40 25 0:35 / /sys/fs/cgroup rw,nosuid - cgroup2 cgroup2 rw,nsdelegate\n";
    const CONTAINER: &str = "50 49 0:31 /docker/ab /cg rw - cgroup cgroup rw,memory,pids\n";

    #[test]
    fn groups_are_made_below_our_own_or_the_roots() {
        let v2 = |path: &str| Parent::V2(path.into());
        let v1 = |memory: &str, pids: &str| Parent::V1 { memory: memory.into(), pids: pids.into() };
        for (mounts, own, expected) in [
            ("", "", vec![]),
            (V2, "0::/\n", vec![v2("/sys/fs/cgroup/")]),
            (
                V2,
                "0::/user.slice/a\n",
                vec![v2("/sys/fs/cgroup/user.slice/a"), v2("/sys/fs/cgroup")],
            ),
            (
                V1,
                "8:pids:/\n4:memory:/own\n0::/\n",
                vec![
                    v1("/sys/fs/cgroup/memory/own", "/sys/fs/cgroup/pids/"),
                    v1("/sys/fs/cgroup/memory", "/sys/fs/cgroup/pids/"),
                ],
            ),
            (CONTAINER, "4:memory,pids:/docker/ab\n", vec![v1("/cg/", "/cg/")]),
        ] {
            assert_eq!(places(mounts, own), expected, "{mounts} and {own}");
        }
    }

    /// A folder that looks like a new group.
    fn fake(folder: &Path, files: &[(&str, &str)]) {
        fs::create_dir_all(folder).unwrap();
        files.iter().for_each(|(name, text)| fs::write(folder.join(name), text).unwrap());
    }

    #[test]
    fn limits_are_written_once_with_room_for_the_interpreter() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("group");
        let files = [("memory.max", "max"), ("memory.swap.max", "max"), ("pids.max", "max")];
        fake(&path, &files);
        let parent = Parent::V2(folder.path().to_owned());
        let mut group = Group { parent, folders: vec![path.clone()], set: None };
        let read = |name: &str| fs::read_to_string(path.join(name)).unwrap();
        group.limit(Some(1 << 30), Some(32)).unwrap();
        assert_eq!(read("memory.max"), ((1 << 30) + (64 << 20)).to_string());
        assert_eq!((read("memory.swap.max").as_str(), read("pids.max").as_str()), ("0", "34"));
        fs::write(path.join("pids.max"), "unchanged").unwrap();
        group.limit(Some(1 << 30), Some(32)).unwrap();
        assert_eq!(read("pids.max"), "unchanged");
        std::mem::forget(group);
    }

    #[test]
    fn kills_for_memory_are_counted_in_both_versions() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().to_owned();
        fake(&path, &[("memory.events", "low 0\noom 3\noom_kill 2\n")]);
        fake(&path, &[("memory.oom_control", "oom_kill_disable 0\nunder_oom 0\noom_kill 5\n")]);
        for (parent, expected) in [
            (Parent::V2(path.clone()), 2),
            (Parent::V1 { memory: path.clone(), pids: path.clone() }, 5),
        ] {
            let group = Group { parent, folders: vec![path.clone()], set: None };
            assert_eq!(group.memory_kills(), expected);
            std::mem::forget(group);
        }
    }

    #[test]
    fn a_place_without_controllers_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        fake(folder.path(), &[("cgroup.controllers", "cpu hugetlb")]);
        let parent = Parent::V2(folder.path().to_owned());
        let error = parent.enable().unwrap_err().to_string();
        assert!(error.contains("has no memory and pids controllers"), "{error}");
    }

    #[test]
    fn a_folder_that_is_no_group_is_removed_again() {
        let folder = tempfile::tempdir().unwrap();
        let parent = Parent::V2(folder.path().to_owned());
        let error = Group::create(&parent).unwrap_err().to_string();
        assert!(error.contains("could not write to"), "{error}");
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0);
        remove(&[folder.path().join("gone")]);
    }
}
