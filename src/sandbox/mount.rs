//! The file system of a slot: an empty one with the interpreter in it, read-only, and a folder to write to.
//!
//! Runs in the launcher, in a mount namespace of its own. There is no `/proc`, no `/sys`, nothing of
//! the host but the interpreter's files and four devices.

use std::ffi::CString;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::Context;
use rustix::fs::StatVfsMountFlags;
use rustix::io::Errno;
use rustix::mount::{
    MountFlags, MountPropagationFlags, UnmountFlags, mount, mount_bind, mount_bind_recursive,
    mount_change, mount_remount, unmount,
};

use super::interpreter::Interpreter;

/// Space for what programs write, all files together. A single file has a limit of its own.
const SPACE_BYTES: u64 = 64 << 20;

/// Files and folders that programs may make. Wiping as many takes a tenth of a second.
const FILES_MAX: u64 = 4096;

/// The folder programs run in and may write to.
pub(super) const FOLDER: &str = "/tmp";

/// Devices that ordinary programs open.
pub(super) const DEVICES: [&str; 4] = ["/dev/null", "/dev/zero", "/dev/full", "/dev/urandom"];

/// Where the host's root stands while the new one is furnished.
const HOST: &str = "/host";

/// Folders over which the new root may be mounted: any that exists, since it moves away from there.
const STEPS: [&str; 5] = ["/tmp", "/run", "/mnt", "/var", "/proc"];

/// Replaces the root of this mount namespace. `owner` gets the folder to write to. Processes are
/// shown unless `blind`, in tests of what that would be worth.
///
/// # Errors
/// If the kernel refuses any part; the old root may be half gone then, so give up.
pub(super) fn replace_root(
    interpreter: &Interpreter,
    owner: Option<u32>,
    blind: bool,
) -> anyhow::Result<()> {
    mount_change("/", MountPropagationFlags::PRIVATE | MountPropagationFlags::REC)
        .context("could not make mounts private")?;
    let step = STEPS
        .iter()
        .filter_map(|folder| fs::canonicalize(folder).ok())
        .find(|folder| folder.is_dir())
        .context("there is no folder to mount a root on")?;
    let plain = MountFlags::NOSUID | MountFlags::NODEV;
    tmpfs(&step, "mode=0755,size=4m,nr_inodes=4096", plain)?;
    let host = step.join(HOST.trim_start_matches('/'));
    fs::create_dir(&host).context("could not furnish the root")?;
    rustix::process::pivot_root(&step, &host).context("could not change the root")?;
    rustix::process::chdir("/").context("could not enter the root")?;
    furnish(interpreter)?;
    for device in DEVICES {
        bind(Path::new(device), Path::new(device), false)?;
    }
    if !blind {
        fs::create_dir("/proc").context("could not furnish the root")?;
        mount("proc", "/proc", "proc", plain, c"").context("could not show processes")?;
    }
    fs::create_dir(FOLDER).context("could not make the folder for programs")?;
    let owned = owner.map(|uid| format!(",uid={uid},gid={uid}")).unwrap_or_default();
    let space = format!("mode=0700,size={SPACE_BYTES},nr_inodes={FILES_MAX}{owned}");
    tmpfs(Path::new(FOLDER), &space, plain)?;
    unmount(HOST, UnmountFlags::DETACH).context("could not let go of the old root")?;
    fs::remove_dir(HOST).context("could not remove the old root's place")?;
    mount_remount("/", MountFlags::BIND | MountFlags::RDONLY | plain, c"")
        .context("could not make the root read-only")
}

fn tmpfs(at: &Path, options: &str, flags: MountFlags) -> anyhow::Result<()> {
    let options = CString::new(options).context("mount options with a zero byte")?;
    mount("tmpfs", at, "tmpfs", flags, options.as_c_str())
        .with_context(|| format!("could not mount an empty file system on `{}`", at.display()))
}

/// Brings in the interpreter: links first, since files stand below them.
fn furnish(interpreter: &Interpreter) -> anyhow::Result<()> {
    for (at, to) in &interpreter.links {
        make_folders(at.parent())?;
        std::os::unix::fs::symlink(to, at)
            .with_context(|| format!("could not link `{}`", at.display()))?;
    }
    for (at, from) in &interpreter.folders {
        let inside_another = |(other, _): &(PathBuf, PathBuf)| at != other && at.starts_with(other);
        if !interpreter.folders.iter().any(inside_another) {
            bind(from, at, true)?;
        }
    }
    for (at, from) in &interpreter.files {
        bind(from, at, true)?;
    }
    Ok(())
}

fn make_folders(folder: Option<&Path>) -> anyhow::Result<()> {
    let Some(folder) = folder else { return Ok(()) };
    fs::create_dir_all(folder).with_context(|| format!("could not make `{}`", folder.display()))
}

/// Shows the host's `from` at `at`, read-only; as a device if it is one.
fn bind(from: &Path, at: &Path, devices_off: bool) -> anyhow::Result<()> {
    let failed = || format!("could not bring in `{}`", from.display());
    let relative = from.strip_prefix("/").with_context(failed)?;
    let source = Path::new(HOST).join(relative);
    if fs::metadata(&source).with_context(failed)?.is_dir() {
        make_folders(Some(at))?;
    } else {
        make_folders(at.parent())?;
        fs::File::create(at).with_context(failed)?;
    }
    // Other mounts below it may be locked to it: then they come along.
    mount_bind(&source, at)
        .or_else(|error| match error {
            Errno::INVAL => mount_bind_recursive(&source, at),
            other => Err(other),
        })
        .with_context(failed)?;
    let extra = if devices_off { MountFlags::NODEV } else { MountFlags::empty() };
    let flags = MountFlags::BIND | MountFlags::RDONLY | MountFlags::NOSUID | extra;
    mount_remount(at, flags | kept(at), c"").with_context(failed)
}

/// Flags that a mount from another user's namespace must keep.
fn kept(at: &Path) -> MountFlags {
    let Ok(found) = rustix::fs::statvfs(at) else { return MountFlags::empty() };
    let pairs = [
        (StatVfsMountFlags::NODEV, MountFlags::NODEV),
        (StatVfsMountFlags::NOEXEC, MountFlags::NOEXEC),
        (StatVfsMountFlags::NOATIME, MountFlags::NOATIME),
        (StatVfsMountFlags::NODIRATIME, MountFlags::NODIRATIME),
        (StatVfsMountFlags::RELATIME, MountFlags::RELATIME),
    ];
    pairs
        .iter()
        .filter(|(seen, _)| found.f_flag.contains(*seen))
        .fold(MountFlags::empty(), |flags, (_, flag)| flags | *flag)
}
