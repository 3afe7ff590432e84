//! A slot: a place in which programs run one after another, and this side of its wire.
//!
//! Starts the launcher, hands programs and runs to the harness inside, and reads what a run left in
//! files that this side made and holds. Never opens a path inside. Says nothing about what a run was
//! worth; `python` does.

use std::fmt;
use std::fs::File;
use std::io::{IoSlice, Read, Seek, SeekFrom, Write};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::process::Child;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::{MemfdFlags, SealFlags};
use rustix::net::{
    AddressFamily, RecvFlags, SendAncillaryBuffer, SendAncillaryMessage, SendFlags, SocketFlags,
    SocketType,
};
use rustix::process::{Pid, Signal};

use super::cgroup::{Group, Parent};
use super::enter::{Layer, Plan, Stage};
use super::interpreter::Interpreter;
use super::python::{self, Left, Reply};
use super::user::{self, User};
use super::{Error, Limits, Program, Tier, process};

/// How often a waiting thread looks whether it should stop, and how much memory is used where the
/// kernel does not count it.
const TICK: Timespec = Timespec { tv_sec: 0, tv_nsec: 20_000_000 };

/// What starting the interpreter may take on a very busy machine, and an answer on top of its time.
const GRACE: Duration = Duration::from_secs(20);

/// What ending the interpreter may take before it is killed.
const LEAVE: Timespec = Timespec { tv_sec: 10, tv_nsec: 0 };

/// How many times its wall time a program may wait for a processor on top.
const WAITS_MAX: u64 = 20;

/// Longest packet from the harness: a few numbers or one sentence.
const PACKET_BYTES_MAX: usize = 1 << 12;

/// Bytes of standard error that are kept, from its end.
const STDERR_KEPT: u64 = 4096;

/// Memory of the interpreter itself, where the kernel does not count it apart.
const BASE_BYTES: u64 = 64 << 20;

/// Where and how a slot is started.
pub(super) struct Place<'a> {
    pub(super) launcher: &'a Path,
    pub(super) interpreter: &'a Interpreter,
    pub(super) tier: Tier,
    /// Where control groups can be made; used in T3.
    pub(super) groups: Option<&'a Parent>,
    /// Layers to leave out.
    pub(super) without: &'a [Layer],
}

/// Why a slot did not answer.
#[derive(Debug)]
pub(super) enum Trouble {
    /// We were asked to stop.
    Stopped,
    /// The slot is broken; another one may do.
    Broken(String),
    /// The kernel ended all of it for want of memory.
    OutOfMemory,
}

impl fmt::Display for Trouble {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Stopped => f.write_str("stopped on request"),
            Self::Broken(why) => f.write_str(why),
            Self::OutOfMemory => f.write_str("ran out of memory"),
        }
    }
}

impl From<std::io::Error> for Trouble {
    fn from(error: std::io::Error) -> Self {
        Self::Broken(error.to_string())
    }
}

impl From<rustix::io::Errno> for Trouble {
    fn from(error: rustix::io::Errno) -> Self {
        Self::Broken(error.to_string())
    }
}

impl From<Error> for Trouble {
    fn from(error: Error) -> Self {
        Self::Broken(error.to_string())
    }
}

/// A running slot.
#[derive(Debug)]
pub(super) struct Slot {
    tier: Tier,
    /// The launcher: the outer one where there are namespaces, else what became the interpreter.
    launched: Child,
    /// Our end of the wire; gone once the slot is to end.
    control: Option<OwnedFd>,
    /// What the launcher and the harness complain about.
    errors: File,
    group: Option<Group>,
    user: User,
    /// Layers left out, in tests of what they are worth.
    without: Vec<Layer>,
    /// The folder to run in, where there is no file system of its own.
    _folder: Option<tempfile::TempDir>,
    /// Something is left in it that could not be wiped.
    pub(super) worn: bool,
}

impl Slot {
    /// Starts a slot and waits until it is ready.
    pub(super) fn start(place: &Place<'_>, stop: &dyn Fn() -> bool) -> Result<Self, Trouble> {
        let user = User::draw()?;
        let group = match (place.tier, place.groups) {
            (Tier::T3, Some(parent)) => Some(Group::create(parent)?),
            (Tier::T3, None) => return Err(Trouble::Broken("there are no control groups".into())),
            (Tier::T2 | Tier::T1 | Tier::T0, _) => None,
        };
        let folder = match place.tier {
            Tier::T3 | Tier::T2 => None,
            Tier::T1 | Tier::T0 => Some(own_folder(user)?),
        };
        let stage = match place.tier {
            Tier::T3 | Tier::T2 => Stage::Outer,
            Tier::T1 => Stage::Keeper,
            Tier::T0 => Stage::Open,
        };
        let plan = Plan {
            stage,
            launcher: place.launcher.to_owned(),
            interpreter: place.interpreter.clone(),
            uid: user.uid,
            groups: group.as_ref().map(|group| group.folders.clone()).unwrap_or_default(),
            folder: folder.as_ref().map(|folder| folder.path().to_owned()),
            without: place.without.to_owned(),
        };
        let (ours, theirs) = rustix::net::socketpair(
            AddressFamily::UNIX,
            SocketType::SEQPACKET,
            SocketFlags::CLOEXEC,
            None,
        )?;
        let errors = memory_file("errors")?;
        let launched = process::launch(&plan, theirs, errors.try_clone()?)
            .map_err(|error| Trouble::Broken(format!("{error:#}")))?;
        let control = Some(ours);
        let slot = Self {
            tier: place.tier,
            launched,
            control,
            errors,
            group,
            user,
            without: place.without.to_vec(),
            _folder: folder,
            worn: false,
        };
        let ready = slot.packet(Instant::now() + GRACE, u64::MAX, stop)?.0;
        if ready.starts_with(b"K ") { Ok(slot) } else { Err(slot.broken("it is not ready")) }
    }

    /// Hands over the program that the next runs are of.
    pub(super) fn load(
        &mut self,
        program: &Program<'_>,
        stop: &dyn Fn() -> bool,
    ) -> Result<(), Trouble> {
        let (head, text) = python::program(program);
        self.send(&head, &[sealed("program", &text)?.as_fd()])?;
        match self.packet(Instant::now() + GRACE, u64::MAX, stop)?.0.as_slice() {
            b"K" => Ok(()),
            other => Err(self.broken(&complaint(other))),
        }
    }

    /// Runs the loaded program once and brings back what it left.
    pub(super) fn run(
        &mut self,
        order: &Order<'_>,
        stop: &dyn Fn() -> bool,
    ) -> Result<Left, Trouble> {
        let limits = order.limits;
        if let Some(group) = &mut self.group {
            let limited = |layer, limit| (!self.without.contains(&layer)).then_some(limit);
            group.limit(
                limited(Layer::Memory, limits.memory_bytes),
                limited(Layer::Processes, limits.processes),
            )?;
        }
        let kills_before = self.group.as_ref().map_or(0, Group::memory_kills);
        let stdin = sealed("stdin", order.input)?;
        let names =
            if order.called { &["stdout", "stderr", "value"][..] } else { &["stdout", "stderr"] };
        let files: Vec<File> =
            names.iter().map(|name| memory_file(name)).collect::<std::io::Result<_>>()?;
        let mut handed: Vec<BorrowedFd<'_>> = vec![stdin.as_fd()];
        handed.extend(files.iter().map(AsFd::as_fd));
        // The first process of a namespace counts with its user's others.
        let own = u64::from(matches!(self.tier, Tier::T2 | Tier::T3)) + 1;
        let namespaced = matches!(self.tier, Tier::T2 | Tier::T3);
        let processes = match self.without.contains(&Layer::Processes) {
            false => self.user.processes(limits.processes + own, namespaced),
            true => 0,
        };
        self.send(&python::run(limits, processes, order.seed), &handed)?;
        let deadline = Instant::now() + Duration::from_millis(limits.watchdog_ms()) + GRACE;
        let counted = if self.group.is_some() || self.without.contains(&Layer::Memory) {
            u64::MAX
        } else {
            limits.memory_bytes + BASE_BYTES
        };
        let (packet, memory_was_full) = match self.reply(deadline, counted, limits, stop) {
            Err(Trouble::Broken(_)) if self.memory_kills() > kills_before => {
                return Err(Trouble::OutOfMemory);
            }
            other => other?,
        };
        let Some(reply) = Reply::read(&packet) else {
            return Err(self.broken(&complaint(&packet)));
        };
        self.worn |= !reply.clean;
        let killed_for_memory =
            memory_was_full || reply.signal().is_some() && self.memory_kills() > kills_before;
        let most = limits.output_bytes + 1;
        Ok(Left {
            reply,
            killed_for_memory,
            stdout: head(&files[0], most)?,
            stderr: tail(&files[1], STDERR_KEPT)?,
            stderr_bytes: files[1].metadata()?.len(),
            value: files.get(2).map(|value| head(value, most.max(4096))).transpose()?,
        })
    }

    fn memory_kills(&self) -> u64 {
        self.group.as_ref().map_or(0, Group::memory_kills)
    }

    fn send(&self, bytes: &[u8], files: &[BorrowedFd<'_>]) -> Result<(), Trouble> {
        let Some(control) = &self.control else { return Err(self.broken("it is closed")) };
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(4))];
        let mut ancillary = SendAncillaryBuffer::new(&mut space);
        let fits = files.is_empty() || ancillary.push(SendAncillaryMessage::ScmRights(files));
        assert!(fits, "a run has at most four files");
        let parts = [IoSlice::new(bytes)];
        match rustix::net::sendmsg(control, &parts, &mut ancillary, SendFlags::NOSIGNAL) {
            Ok(_) => Ok(()),
            Err(error) => Err(self.broken(&error.to_string())),
        }
    }

    /// The packet that ends a run. A program that waits for a processor gets as much more wall time:
    /// on a busy machine right programs would fail otherwise. A fork bomb gets none for its own load.
    fn reply(
        &self,
        mut deadline: Instant,
        memory_bytes: u64,
        limits: &Limits,
        stop: &dyn Fn() -> bool,
    ) -> Result<(Vec<u8>, bool), Trouble> {
        let most = limits.watchdog_ms().saturating_mul(WAITS_MAX);
        let mut given_ms = 0;
        let mut memory_was_full = false;
        loop {
            let (packet, full) = self.packet(deadline, memory_bytes, stop)?;
            memory_was_full |= full;
            if packet != b"W" {
                return Ok((packet, memory_was_full));
            }
            let waited_ms = self.lone_program().map_or(0, user::waited_ms).min(most);
            let more_ms = waited_ms.saturating_sub(given_ms);
            given_ms += more_ms;
            deadline += Duration::from_millis(more_ms);
            self.send(format!("W {more_ms}").as_bytes(), &[])?;
        }
    }

    /// The process of the run, if it is the only one: several make each other wait.
    fn lone_program(&self) -> Option<u32> {
        let launched = self.launched.id();
        let inside = user::below(launched);
        let harness = match self.tier {
            Tier::T3 | Tier::T2 => inside.iter().find(|process| process.parent == launched)?.pid,
            Tier::T1 | Tier::T0 => launched,
        };
        let mut programs = inside.iter().filter(|process| process.lives && process.pid != harness);
        let first = programs.next()?.pid;
        programs.next().is_none().then_some(first)
    }

    /// The next packet, and whether the slot used more than `memory_bytes` until then and had its
    /// programs killed for it.
    fn packet(
        &self,
        deadline: Instant,
        memory_bytes: u64,
        stop: &dyn Fn() -> bool,
    ) -> Result<(Vec<u8>, bool), Trouble> {
        let Some(control) = &self.control else { return Err(self.broken("it is closed")) };
        let mut memory_was_full = false;
        loop {
            let mut waited = [PollFd::new(control, PollFlags::IN)];
            match poll(&mut waited, Some(&TICK)) {
                Ok(0) => {}
                Ok(_) => break,
                Err(rustix::io::Errno::INTR) => continue,
                Err(error) => return Err(error.into()),
            }
            if stop() {
                return Err(Trouble::Stopped);
            }
            if Instant::now() > deadline {
                return Err(self.broken("it does not answer"));
            }
            memory_was_full |= memory_bytes < u64::MAX && self.kill_above(memory_bytes);
        }
        let mut bytes = vec![0; PACKET_BYTES_MAX];
        let (read, _) = rustix::net::recv(control, bytes.as_mut_slice(), RecvFlags::empty())?;
        bytes.truncate(read);
        if bytes.is_empty() {
            return Err(self.broken("it ended"));
        }
        Ok((bytes, memory_was_full))
    }

    /// Kills the programs inside if together they use more than `memory_bytes`.
    fn kill_above(&self, memory_bytes: u64) -> bool {
        let inside = user::below(self.launched.id());
        // The interpreter that serves the slot stays: our child, or its child where that one is
        // the outer launcher.
        let spared = match self.tier {
            Tier::T3 | Tier::T2 => {
                inside.iter().find(|process| process.parent == self.launched.id())
            }
            Tier::T1 | Tier::T0 => None,
        };
        // Programs share what they have not changed of it: that is not theirs.
        let shared = spared.map_or(0, |process| process.resident_bytes);
        let spared = spared.map(|process| process.pid);
        let programs = || inside.iter().filter(|process| Some(process.pid) != spared);
        let used: u64 =
            programs().map(|process| process.resident_bytes.saturating_sub(shared)).sum();
        if used <= memory_bytes {
            return false;
        }
        for process in programs() {
            let pid = i32::try_from(process.pid).ok().and_then(Pid::from_raw);
            // Gone already is what we want.
            let _gone = pid.map(|pid| rustix::process::kill_process(pid, Signal::KILL));
        }
        true
    }

    /// The slot is of no more use; what it said last tells why.
    fn broken(&self, what: &str) -> Trouble {
        let mut errors = &self.errors;
        let mut said = Vec::new();
        let read = errors
            .seek(SeekFrom::Start(0))
            .and_then(|_| errors.take(1 << 16).read_to_end(&mut said));
        let said = String::from_utf8_lossy(&said);
        let last = match &read {
            Ok(_) => said.lines().find(|line| line.starts_with("error: ")).or(said.lines().last()),
            Err(_) => None,
        };
        Trouble::Broken(match last {
            Some(last) => format!("{what}: {}", last.trim_start_matches("error: ")),
            None => what.to_owned(),
        })
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        // Nobody at the other end: the launcher takes everything down and leaves.
        self.control = None;
        let pid = i32::try_from(self.launched.id()).ok().and_then(Pid::from_raw);
        let ended = pid.map(|pid| {
            rustix::process::pidfd_open(pid, rustix::process::PidfdFlags::empty())
                .and_then(|fd| poll(&mut [PollFd::new(&fd, PollFlags::IN)], Some(&LEAVE)))
        });
        if !matches!(ended, Some(Ok(1..))) {
            // It should not have taken so long; what it started ends with it.
            let _gone = self.launched.kill();
        }
        // Our own child: there is nothing to be done if it cannot be waited for.
        let _status = self.launched.wait();
    }
}

/// What the harness complains of in `packet`.
fn complaint(packet: &[u8]) -> String {
    let text = String::from_utf8_lossy(packet);
    text.strip_prefix("E ").unwrap_or(&text).replacen("error: ", "", 1)
}

/// What one run is given.
pub(super) struct Order<'a> {
    pub(super) input: &'a [u8],
    /// Whether a function is called, whose value comes back.
    pub(super) called: bool,
    pub(super) limits: &'a Limits,
    pub(super) seed: u64,
}

/// A folder for a slot without a file system of its own.
fn own_folder(user: User) -> Result<tempfile::TempDir, Trouble> {
    let folder = tempfile::Builder::new()
        .prefix("thinkery-box-")
        .tempdir()
        .map_err(|error| Trouble::Broken(format!("no temporary folder: {error}")))?;
    if let Some(uid) = user.uid {
        let (user, group) = (rustix::fs::Uid::from_raw(uid), rustix::fs::Gid::from_raw(uid));
        rustix::fs::chown(folder.path(), Some(user), Some(group))?;
    }
    Ok(folder)
}

/// A file that exists in memory only.
fn memory_file(name: &str) -> std::io::Result<File> {
    Ok(File::from(rustix::fs::memfd_create(name, MemfdFlags::CLOEXEC)?))
}

/// The same with `content`, for reading only: nobody can make it grow, and it can be mapped.
fn sealed(name: &str, content: &[u8]) -> std::io::Result<File> {
    use std::os::fd::AsRawFd;
    let flags = MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING;
    let mut file = File::from(rustix::fs::memfd_create(name, flags)?);
    file.write_all(content)?;
    let seals = SealFlags::SEAL | SealFlags::SHRINK | SealFlags::GROW | SealFlags::WRITE;
    rustix::fs::fcntl_add_seals(&file, seals)?;
    File::open(format!("/proc/self/fd/{}", file.as_raw_fd()))
}

/// The first `most` bytes of a file.
fn head(file: &File, most: u64) -> std::io::Result<Vec<u8>> {
    read_at(file, 0, file.metadata()?.len().min(most))
}

/// The last `most` bytes of a file.
fn tail(file: &File, most: u64) -> std::io::Result<Vec<u8>> {
    let size = file.metadata()?.len();
    read_at(file, size.saturating_sub(most), size.min(most))
}

fn read_at(file: &File, from: u64, size: u64) -> std::io::Result<Vec<u8>> {
    let mut bytes = vec![0; usize::try_from(size).unwrap_or(usize::MAX)];
    file.read_exact_at(&mut bytes, from)?;
    Ok(bytes)
}
