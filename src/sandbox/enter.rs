//! What a launcher does: locks itself in, then becomes the interpreter.
//!
//! A launcher is our own executable, started again by `slot` with the hidden verb `sandboxed` and a
//! [`Plan`]. In T3 and T2 there are two: the outer one makes the namespaces, stays outside of them and
//! takes everything down when the slot's owner is gone; the inner one, their first process, makes the
//! file system, gives up every right and becomes the interpreter. In T1 every run goes through one.

use std::convert::Infallible;
use std::ffi::OsString;
use std::os::fd::AsRawFd;
use std::path::{Path, PathBuf};

use anyhow::Context;
use rustix::event::{PollFd, PollFlags, poll};
use rustix::process::{PidfdFlags, Resource, Rlimit, Signal};
use rustix::thread::{CapabilitySet, CapabilitySets, UnshareFlags};
use serde::{Deserialize, Serialize};

use super::interpreter::Interpreter;
use super::{cgroup, landlock, mount, process, seccomp};

/// Runs programs inside; see the file's own head.
const HARNESS: &str = include_str!("harness.py");

/// Stack of a program's first thread: contest solutions recurse deeply. Set before the interpreter
/// starts, because the kernel leaves room for it then.
const STACK_BYTES: u64 = 1 << 30;

/// Number of the open launcher in T1, above those that the harness uses.
const LAUNCHER_FROM: i32 = 100;

/// What a launcher is to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Stage {
    /// Make namespaces and start the inner launcher in them.
    Outer,
    /// Furnish them and become the interpreter that serves a slot.
    Inner,
    /// Become the interpreter that serves a slot by starting a launcher per run (T1).
    Keeper,
    /// Become the interpreter for one run (T1).
    Single,
    /// Become the interpreter that serves a slot, with limits only (T0).
    Open,
}

/// A layer of the sandbox. Tests leave one out to see the probe for it fail.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, clap::ValueEnum)]
pub enum Layer {
    /// A network of its own, which is empty.
    Network,
    /// A file system of its own.
    Root,
    /// Rules on files.
    Landlock,
    /// A filter of system calls.
    Seccomp,
    /// A limit on processes.
    Processes,
    /// A limit on the memory of all processes together.
    Memory,
    /// Processes of its own: without them it has the host's.
    Pids,
    /// No view of processes: without it there is a `/proc`.
    Proc,
}

/// Everything a launcher needs to know.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Plan {
    pub(super) stage: Stage,
    /// Our own executable.
    pub(super) launcher: PathBuf,
    pub(super) interpreter: Interpreter,
    /// User and group to become; none to stay who we are.
    pub(super) uid: Option<u32>,
    /// The folders of the slot's control group.
    pub(super) groups: Vec<PathBuf>,
    /// The folder to run in, where the slot has no file system of its own.
    pub(super) folder: Option<PathBuf>,
    /// Layers to leave out.
    pub(super) without: Vec<Layer>,
}

impl Plan {
    /// Reads what [`Self::written`] wrote.
    ///
    /// # Errors
    /// If it is something else.
    pub fn read(text: &str) -> anyhow::Result<Self> {
        serde_json::from_str(text).context("could not read the launcher's plan")
    }

    pub(super) fn written(&self) -> anyhow::Result<String> {
        serde_json::to_string(self).context("could not write the launcher's plan")
    }

    fn has(&self, layer: Layer) -> bool {
        !self.without.contains(&layer)
    }
}

/// Does what `plan` says. `rest` are the words after it: of a run in T1, for the harness.
///
/// # Errors
/// If any lock cannot be closed; nothing that it should hold has been started then.
pub fn enter(plan: &Plan, rest: &[OsString]) -> anyhow::Result<()> {
    match plan.stage {
        Stage::Outer => outer(plan),
        Stage::Inner => match inner(plan)? {},
        Stage::Keeper => match keeper(plan)? {},
        Stage::Single => match single(plan, rest)? {},
        Stage::Open => match open(plan)? {},
    }
}

/// Makes the namespaces, starts their first process, and ends it when nobody owns the slot any more.
fn outer(plan: &Plan) -> anyhow::Result<()> {
    rustix::process::setsid().context("could not leave the session")?;
    let mut flags = UnshareFlags::NEWIPC | UnshareFlags::NEWUTS;
    flags.set(UnshareFlags::NEWPID, plan.has(Layer::Pids));
    flags.set(UnshareFlags::NEWNET, plan.has(Layer::Network));
    if plan.uid.is_some() {
        unshare(flags).context("could not make namespaces")?;
    } else {
        // An ordinary user gets the right to make the others from a user namespace of its own.
        let (uid, gid) = (rustix::process::getuid().as_raw(), rustix::process::getgid().as_raw());
        unshare(flags | UnshareFlags::NEWUSER).context("could not make a user namespace")?;
        for (file, text) in [
            ("setgroups", "deny".to_owned()),
            ("uid_map", format!("{uid} {uid} 1")),
            ("gid_map", format!("{gid} {gid} 1")),
        ] {
            std::fs::write(Path::new("/proc/self").join(file), text)
                .with_context(|| format!("could not write `{file}` of the user namespace"))?;
        }
        keep_rights(&[CapabilitySet::SYS_ADMIN, CapabilitySet::SETPCAP])?;
    }
    let mut first = process::launch_inside(&Plan { stage: Stage::Inner, ..plan.clone() })?;
    let pid = i32::try_from(first.id()).ok().and_then(rustix::process::Pid::from_raw);
    let pid = pid.context("the first process has no id")?;
    let ended = rustix::process::pidfd_open(pid, PidfdFlags::empty())
        .context("could not watch the first process")?;
    // Its owner holds the other end of our standard input, which hangs up with the owner's end.
    let owner = std::io::stdin();
    loop {
        let mut waited =
            [PollFd::new(&owner, PollFlags::empty()), PollFd::new(&ended, PollFlags::IN)];
        match poll(&mut waited, None) {
            Ok(_) => break,
            Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(error).context("could not watch the slot"),
        }
    }
    // Gone already is as good. With it go all others of its namespace.
    let _gone = first.kill();
    first.wait().context("could not wait for the slot")?;
    cgroup::remove(&plan.groups);
    Ok(())
}

/// Keeps rights over our own namespaces when this executable is started again: only root's stay by
/// themselves.
fn keep_rights(rights: &[CapabilitySet]) -> anyhow::Result<()> {
    let mut held = rustix::thread::capabilities(None).context("could not read capabilities")?;
    for right in rights {
        held.inheritable |= *right;
        rustix::thread::set_capabilities(None, held).context("could not keep capabilities")?;
        rustix::thread::configure_capability_in_ambient_set(*right, true)
            .context("could not keep capabilities")?;
    }
    Ok(())
}

/// Furnishes the namespaces from inside and becomes the interpreter.
fn inner(plan: &Plan) -> anyhow::Result<Infallible> {
    cgroup::join(&plan.groups)?;
    // Not by the outer one, which would be moved to the new root as well, and still has to reach the
    // host's control groups.
    unshare(UnshareFlags::NEWNS | UnshareFlags::NEWCGROUP)
        .context("could not make a mount namespace")?;
    rustix::system::sethostname(b"box").context("could not name the host")?;
    let folder = if plan.has(Layer::Root) {
        mount::replace_root(&plan.interpreter, plan.uid, plan.has(Layer::Proc))?;
        Path::new(mount::FOLDER)
    } else {
        Path::new("/")
    };
    give_up_rights(plan.uid)?;
    limit()?;
    if !plan.has(Layer::Pids) {
        adopt_orphans()?;
    }
    become_interpreter(plan, folder, Kind::Forking, &["serve".into(), "jail".into()])
}

/// Becomes the harness that starts [`single`] per run.
fn keeper(plan: &Plan) -> anyhow::Result<Infallible> {
    rustix::process::setsid().context("could not leave the session")?;
    give_up_rights(plan.uid)?;
    // By its number, since the user that we are now might not reach it by its path.
    let launcher = std::fs::File::open(&plan.launcher).context("could not open the launcher")?;
    let launcher = rustix::io::fcntl_dupfd_cloexec(&launcher, LAUNCHER_FROM)
        .context("could not keep the launcher open")?;
    rustix::io::fcntl_setfd(&launcher, rustix::io::FdFlags::empty())
        .context("could not keep the launcher open")?;
    let path = format!("/proc/self/fd/{}", launcher.as_raw_fd()).into();
    let single = Plan { stage: Stage::Single, uid: None, launcher: path, ..plan.clone() };
    let mut arguments: Vec<OsString> = vec!["serve".into(), "spawn".into()];
    arguments.extend(process::launch_line(&single)?);
    become_interpreter(plan, plan.own_folder()?, Kind::Trusted, &arguments)
}

/// Locks itself in without namespaces and becomes the interpreter for one run.
fn single(plan: &Plan, rest: &[OsString]) -> anyhow::Result<Infallible> {
    give_up_rights(None)?;
    limit()?;
    let mut arguments: Vec<OsString> = vec!["single".into()];
    arguments.extend_from_slice(rest);
    become_interpreter(plan, plan.own_folder()?, Kind::Single, &arguments)
}

/// Becomes the harness with limits only.
fn open(plan: &Plan) -> anyhow::Result<Infallible> {
    rustix::process::setsid().context("could not leave the session")?;
    give_up_rights(plan.uid)?;
    limit()?;
    adopt_orphans()?;
    become_interpreter(plan, plan.own_folder()?, Kind::Trusted, &["serve".into(), "open".into()])
}

/// Makes this process the parent of what programs leave behind, as the first of a namespace is.
fn adopt_orphans() -> anyhow::Result<()> {
    rustix::process::set_child_subreaper(Some(rustix::process::getpid()))
        .context("could not adopt orphans")
}

impl Plan {
    fn own_folder(&self) -> anyhow::Result<&Path> {
        self.folder.as_deref().context("the plan has no folder")
    }
}

/// Which locks the interpreter runs behind.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Forking,
    Single,
    /// None: it runs nothing but our harness, or no locks were asked for.
    Trusted,
}

fn become_interpreter(
    plan: &Plan,
    folder: &Path,
    kind: Kind,
    words: &[OsString],
) -> anyhow::Result<Infallible> {
    let mut arguments: Vec<OsString> =
        ["-s", "-S", "-B", "-c", HARNESS].into_iter().map(OsString::from).collect();
    arguments.extend_from_slice(words);
    process::become_program(&plan.interpreter.executable, &arguments, folder, |path| {
        let (own, filter) = match kind {
            Kind::Forking => (Own::Write, seccomp::Kind::Forking),
            Kind::Single => (Own::Read, seccomp::Kind::Single),
            Kind::Trusted => return Ok(()),
        };
        if plan.has(Layer::Landlock) {
            restrict_files(plan, folder, own).map_err(anyhow::Error::msg)?;
        }
        if plan.has(Layer::Seccomp) {
            let filter = seccomp::Filter::new(filter, path).map_err(anyhow::Error::msg)?;
            filter.apply().map_err(anyhow::Error::msg)?;
        }
        Ok(())
    })
}

/// What a program may do in the folder it runs in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Own {
    Read,
    Write,
}

/// Leaves to this process the interpreter, some devices and its folder.
fn restrict_files(plan: &Plan, folder: &Path, own: Own) -> Result<(), String> {
    let Interpreter { executable, loader, folders, files, .. } = &plan.interpreter;
    // Rules are about what a path leads to, so that either side of a pair will do.
    let pairs = folders.iter().chain(files);
    let mut read: Vec<&Path> = pairs.map(|(at, _)| at.as_path()).collect();
    let mut write = Vec::new();
    match own {
        Own::Read => read.push(folder),
        Own::Write => write.push(folder),
    }
    let execute: Vec<&Path> =
        [Some(executable), loader.as_ref()].into_iter().flatten().map(PathBuf::as_path).collect();
    let devices = mount::DEVICES.map(Path::new);
    landlock::restrict(&landlock::Access {
        read: &read,
        devices: &devices,
        write: &write,
        execute: &execute,
    })
}

/// Becomes the user `uid`, in no group but its own, and gives up every capability, also those that
/// a program started later would get.
fn give_up_rights(uid: Option<u32>) -> anyhow::Result<()> {
    let held = rustix::thread::capabilities(None).context("could not read capabilities")?;
    if held.effective.contains(CapabilitySet::SETPCAP) {
        for capability in CapabilitySet::all() {
            // Kernels know fewer than the list.
            let _unknown = rustix::thread::remove_capability_from_bounding_set(capability);
        }
    }
    if let Some(uid) = uid {
        let (user, group) = (rustix::fs::Uid::from_raw(uid), rustix::fs::Gid::from_raw(uid));
        rustix::thread::set_thread_groups(&[]).context("could not leave groups")?;
        rustix::thread::set_thread_res_gid(group, group, group)
            .context("could not change group")?;
        rustix::thread::set_thread_res_uid(user, user, user).context("could not change user")?;
    }
    let none = CapabilitySets {
        effective: CapabilitySet::empty(),
        permitted: CapabilitySet::empty(),
        inheritable: CapabilitySet::empty(),
    };
    rustix::thread::clear_ambient_capability_set().context("could not clear capabilities")?;
    rustix::thread::set_capabilities(None, none).context("could not give up capabilities")?;
    rustix::thread::set_no_new_privs(true).context("could not give up new rights")?;
    // The change of user clears what was set before.
    rustix::process::set_parent_process_death_signal(Some(Signal::KILL))
        .context("could not tie this process to its parent")
}

/// Limits that every run has; those of a job are set per run, by the harness.
fn limit() -> anyhow::Result<()> {
    for (resource, most) in [(Resource::Core, 0), (Resource::Stack, STACK_BYTES)] {
        let held = rustix::process::getrlimit(resource).maximum.unwrap_or(u64::MAX);
        let most = Some(most.min(held));
        rustix::process::setrlimit(resource, Rlimit { current: most, maximum: most })
            .with_context(|| format!("could not limit {resource:?}"))?;
    }
    Ok(())
}

#[expect(deprecated, reason = "only unsharing open files is unsafe, and that is not asked for")]
fn unshare(flags: UnshareFlags) -> rustix::io::Result<()> {
    rustix::thread::unshare(flags)
}
