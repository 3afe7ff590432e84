//! Starts the box, watches it, and takes it down with everything in it.
//!
//! Ground floor: limits, a user of its own, an empty environment, no network where that can be had.
//! Missing, and written down so that nobody believes otherwise: a file system of its own, a process
//! namespace, a system call filter. A program can read what its user can read, and leave files in
//! folders that everybody may write to.

use std::convert::Infallible;
use std::ffi::OsString;
use std::fmt;
use std::fs::{self, File};
use std::io::{Read, Seek, SeekFrom, Write};
use std::ops::ControlFlow;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, Resource, Rlimit, Signal};
use rustix::thread::UnshareFlags;
use sha2::{Digest, Sha256};

use super::python::{self, Answer};
use super::{Ended, Error, Job, Limits, Result, Run, Setting, Tier};

/// How often a waiting thread looks whether it should stop.
const STOP_INTERVAL: Timespec = Timespec { tv_sec: 0, tv_nsec: 50_000_000 };

/// What starting the interpreter may take on a very busy machine, on top of a run's own time.
const START_GRACE: Duration = Duration::from_secs(20);

/// Stack of a program. Recursion of the depth that contest solutions use needs more than the usual
/// 8 MiB in older interpreters; every thread reserves as much, so it cannot be much more.
const STACK_BYTES: u64 = 64 << 20;

/// User ids of programs: one per process of ours and slot, so that what belongs to a program can be
/// found by its owner. Nobody has accounts up there.
const UID_BASE: u32 = 1_000_000_000;

/// User ids that one process of ours uses in turn.
const UID_SLOTS: u32 = 64;

/// The user `nobody`, where the high ids do not exist (containers without root).
const UID_NOBODY: u32 = 65_534;

/// Rounds of killing before a box counts as immortal. Each kills all that it finds.
const KILL_ROUNDS: usize = 200;

/// An interpreter that works inside the box.
#[derive(Debug, Clone)]
pub(super) struct Interpreter {
    path: PathBuf,
    version: String,
    sha256: String,
}

impl Interpreter {
    /// What programs in it run in.
    pub(super) fn setting(&self, tier: Tier) -> Setting {
        Setting {
            tier,
            interpreter: self.path.display().to_string(),
            version: self.version.clone(),
            sha256: self.sha256.clone(),
        }
    }
}

impl fmt::Display for Interpreter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Python {} ({})", self.version, self.path.display())
    }
}

/// How a box is started.
pub(super) struct Start<'a> {
    pub(super) launcher: &'a Path,
    pub(super) interpreter: &'a Interpreter,
}

/// What the launcher does to itself before it becomes the interpreter.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Confinement {
    /// User and group to become; none to stay who we are.
    pub uid: Option<u32>,
    /// Address space in bytes.
    pub memory_bytes: u64,
    /// Processes and threads of that user.
    pub processes: u64,
}

impl Confinement {
    fn arguments(&self) -> Vec<OsString> {
        let mut arguments: Vec<OsString> = vec!["sandboxed".into()];
        let mut push = |name: &str, value: u64| {
            arguments.push(name.into());
            arguments.push(value.to_string().into());
        };
        if let Some(uid) = self.uid {
            push("--uid", u64::from(uid));
        }
        push("--memory-bytes", self.memory_bytes);
        push("--processes", self.processes);
        arguments.push("--".into());
        arguments
    }
}

/// Confines this process, then becomes `program`. Returns only if it could not.
///
/// # Errors
/// If a limit cannot be set or the program cannot be started.
pub fn become_program(
    confinement: &Confinement,
    program: &Path,
    arguments: &[OsString],
) -> anyhow::Result<Infallible> {
    confine(confinement)
        .map_err(|error| anyhow::anyhow!("could not confine a program: {error}"))?;
    let error = Command::new(program).args(arguments).exec();
    anyhow::bail!("could not start `{}`: {error}", program.display())
}

fn confine(confinement: &Confinement) -> rustix::io::Result<()> {
    use rustix::process::{
        set_child_subreaper, set_parent_process_death_signal, setrlimit, setsid,
    };
    use rustix::thread::{
        set_no_new_privs, set_thread_groups, set_thread_res_gid, set_thread_res_uid,
    };

    setsid()?;
    let limits = [
        (Resource::As, confinement.memory_bytes),
        (Resource::Nproc, confinement.processes),
        (Resource::Core, 0),
        (Resource::Stack, STACK_BYTES),
    ];
    for (resource, limit) in limits {
        setrlimit(resource, Rlimit { current: Some(limit), maximum: Some(limit) })?;
    }
    take_network_away();
    if let Some(uid) = confinement.uid {
        let (user, group) = (rustix::fs::Uid::from_raw(uid), rustix::fs::Gid::from_raw(uid));
        set_thread_groups(&[])?;
        set_thread_res_gid(group, group, group)?;
        set_thread_res_uid(user, user, user)?;
    }
    set_no_new_privs(true)?;
    // After the change of user, which clears it. The harness takes its children with it.
    set_parent_process_death_signal(Some(Signal::TERM))?;
    set_child_subreaper(Some(rustix::process::getpid()))
}

/// Moves into a network of our own, which is empty. Kernels and containers may refuse; then the
/// program keeps the network, as `doctor` says.
#[expect(deprecated, reason = "only unsharing open files is unsafe, and that is not asked for")]
fn take_network_away() {
    let ours = UnshareFlags::NEWNET | UnshareFlags::NEWIPC;
    let flags =
        if rustix::process::geteuid().is_root() { ours } else { ours | UnshareFlags::NEWUSER };
    let _refused = rustix::thread::unshare(flags);
}

/// The first `python3` in `folders` that works inside a box; the text says why there is none.
pub(super) fn find_interpreter(
    launcher: &Path,
    folders: &[PathBuf],
) -> Result<Interpreter, String> {
    let mut refusals = Vec::new();
    for folder in folders {
        let candidate = folder.join("python3");
        if !candidate.is_file() {
            continue;
        }
        match probe(launcher, &candidate) {
            Ok(interpreter) => return Ok(interpreter),
            Err(why) => refusals.push(format!("`{}` {why}", candidate.display())),
        }
    }
    let nowhere = "it is nowhere on the search path".to_owned();
    Err(if refusals.is_empty() { nowhere } else { refusals.join("; ") })
}

fn probe(launcher: &Path, candidate: &Path) -> Result<Interpreter, String> {
    // A version manager's shim is a script: ask for the interpreter behind it.
    let ask =
        "import sys; print(sys.executable, '.'.join(map(str, sys.version_info[:3])), sep='\\n')";
    let said = Command::new(candidate).args(["-I", "-S", "-c", ask]).stdin(Stdio::null()).output();
    let said = said.map_err(|error| format!("does not start: {error}"))?;
    let text = String::from_utf8_lossy(&said.stdout).into_owned();
    let mut lines = text.lines();
    let (Some(path), Some(version)) = (lines.next(), lines.next()) else {
        return Err("is no Python".into());
    };
    let numbers: Vec<u32> = version.split('.').filter_map(|part| part.parse().ok()).collect();
    if numbers.as_slice() < [3, 9].as_slice() {
        return Err(format!("is Python {version}, older than 3.9"));
    }
    let user = User::next();
    let confinement = Confinement {
        uid: user.uid,
        memory_bytes: Limits::default().memory_bytes,
        processes: user.processes(Limits::default().processes),
    };
    let tried = Command::new(launcher)
        .args(confinement.arguments())
        .arg(path)
        .args(["-s", "-S", "-B", "-c", "import select, resource; print('ok')"])
        .env_clear()
        .current_dir("/")
        .stdin(Stdio::null())
        .output()
        .map_err(|error| format!("cannot be confined: {error}"))?;
    if tried.stdout.trim_ascii() != b"ok" {
        let why = String::from_utf8_lossy(&tried.stderr).trim().to_owned();
        return Err(format!("does not work inside the sandbox ({why})"));
    }
    let bytes = fs::read(path).map_err(|error| format!("cannot be read: {error}"))?;
    let sha256 = Sha256::digest(&bytes).iter().map(|byte| format!("{byte:02x}")).collect();
    Ok(Interpreter { path: path.into(), version: version.to_owned(), sha256 })
}

/// Who a program runs as.
#[derive(Debug, Clone, Copy)]
struct User {
    uid: Option<u32>,
    /// Whether nobody else has this id, so that what belongs to it belongs to the program.
    exclusive: bool,
}

impl User {
    fn next() -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        if !rustix::process::geteuid().is_root() {
            return Self { uid: None, exclusive: false };
        }
        let process = rustix::process::getpid().as_raw_nonzero().get().unsigned_abs();
        let slot = NEXT.fetch_add(1, Ordering::Relaxed) % UID_SLOTS;
        let uid = UID_BASE + (process % 4_194_304) * UID_SLOTS + slot;
        if uid_exists(uid) {
            Self { uid: Some(uid), exclusive: true }
        } else {
            Self { uid: Some(UID_NOBODY), exclusive: false }
        }
    }

    /// The limit on processes, which counts all of the user's: without a user of its own a program
    /// gets its share on top of what is running already.
    fn processes(self, share: u64) -> u64 {
        if self.exclusive {
            return share;
        }
        let uid = self.uid.unwrap_or_else(|| rustix::process::getuid().as_raw());
        let running: u64 =
            processes().filter(|found| found.uid == uid).map(|found| found.threads).sum();
        running + share
    }
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

/// Runs one program; see [`super::Sandbox::run`].
pub(super) fn run(
    start: &Start<'_>,
    job: &Job<'_>,
    stop: &dyn Fn() -> bool,
    sink: &mut dyn FnMut(Run) -> ControlFlow<()>,
) -> Result<()> {
    let failed = |what: &str| {
        let what = what.to_owned();
        move |error: std::io::Error| Error::Failed(format!("{what}: {error}"))
    };
    let user = User::next();
    let folder = tempfile::Builder::new()
        .prefix("thinkery-box-")
        .tempdir()
        .map_err(failed("no temporary folder"))?;
    if let Some(uid) = user.uid {
        let (user, group) = (rustix::fs::Uid::from_raw(uid), rustix::fs::Gid::from_raw(uid));
        rustix::fs::chown(folder.path(), Some(user), Some(group))
            .map_err(|error| failed("no temporary folder")(error.into()))?;
    }
    let mut stdin = memory_file("job").map_err(failed("no memory for the job"))?;
    stdin
        .write_all(&python::job(job))
        .and_then(|()| stdin.seek(SeekFrom::Start(0)).map(drop))
        .map_err(failed("no memory for the job"))?;
    let stderr = memory_file("errors").map_err(failed("no memory for errors"))?;
    let errors = stderr.try_clone().map_err(failed("no file for errors"))?;
    let confinement = Confinement {
        uid: user.uid,
        memory_bytes: job.limits.memory_bytes,
        // The harness itself is one of them.
        processes: user.processes(job.limits.processes + 1),
    };
    let mut child = Command::new(start.launcher)
        .args(confinement.arguments())
        .arg(&start.interpreter.path)
        .args(["-s", "-S", "-B", "-c", python::HARNESS])
        .env_clear()
        // Sets of strings are ordered by hash: the same program prints the same twice.
        .envs([("PYTHONHASHSEED", "0"), ("PYTHONUTF8", "1"), ("PYTHONSAFEPATH", "1")])
        .env("HOME", folder.path())
        .env("TMPDIR", folder.path())
        .current_dir(folder.path())
        .stdin(stdin)
        .stdout(Stdio::piped())
        .stderr(stderr)
        .spawn()
        .map_err(failed("could not start"))?;
    let watched = match child.stdout.take() {
        Some(stdout) => watch(stdout, job, stop, sink),
        None => Err(Error::Failed("the program has no output".into())),
    };
    let finished = matches!(watched, Ok(Watched::All));
    let status = take_down(&mut child, user, finished).map_err(failed("could not wait"))?;
    match watched? {
        Watched::All | Watched::Enough => Ok(()),
        Watched::Silent => {
            let _last = sink(Run::empty(Ended::WallTimeLimit));
            Ok(())
        }
        Watched::Forged => {
            let _last = sink(Run::forbidden("it wrote to the harness' channel"));
            Ok(())
        }
        Watched::Ended => {
            let said = tail(errors);
            if status.signal().is_none() && said.starts_with("error: ") {
                return Err(Error::Failed(said));
            }
            let _last = sink(Run::forbidden(&format!("the harness ended early: {said}")));
            Ok(())
        }
    }
}

/// How watching a box ended.
enum Watched {
    /// Every input has its run, and the harness is leaving.
    All,
    /// The caller has seen enough.
    Enough,
    /// The harness says nothing any more.
    Silent,
    /// What it says is not from the harness.
    Forged,
    /// It ended without a word.
    Ended,
}

fn watch(
    mut stdout: ChildStdout,
    job: &Job<'_>,
    stop: &dyn Fn() -> bool,
    sink: &mut dyn FnMut(Run) -> ControlFlow<()>,
) -> Result<Watched> {
    let patience = Duration::from_millis(job.limits.watchdog_ms()) + START_GRACE;
    let mut deadline = Instant::now() + patience;
    let mut bytes = Vec::new();
    let mut chunk = vec![0; 1 << 16];
    let mut index = 0;
    while index < job.inputs.len() {
        match python::answer(&bytes, index, &job.limits) {
            Answer::Whole(run, used) => {
                bytes.drain(..used);
                index += 1;
                deadline = Instant::now() + patience;
                if sink(*run).is_break() && index < job.inputs.len() {
                    return Ok(Watched::Enough);
                }
                continue;
            }
            Answer::Forged => return Ok(Watched::Forged),
            Answer::Partial => {}
        }
        if stop() {
            return Err(Error::Stopped);
        }
        if Instant::now() > deadline {
            return Ok(Watched::Silent);
        }
        let mut waited = [PollFd::new(&stdout, PollFlags::IN)];
        match poll(&mut waited, Some(&STOP_INTERVAL)) {
            Ok(0) | Err(rustix::io::Errno::INTR) => continue,
            Ok(_) => {}
            Err(error) => return Err(Error::Failed(format!("could not wait: {error}"))),
        }
        let read = stdout.read(&mut chunk).map_err(|error| Error::Failed(error.to_string()))?;
        if read == 0 {
            return Ok(Watched::Ended);
        }
        bytes.extend_from_slice(&chunk[..read]);
    }
    Ok(Watched::All)
}

/// Ends the box: everything the program started, then the harness.
fn take_down(
    child: &mut Child,
    user: User,
    finished: bool,
) -> std::io::Result<std::process::ExitStatus> {
    // A harness that finished has seen to it that nothing is left.
    if !finished {
        let harness = child.id();
        for _ in 0..KILL_ROUNDS {
            let left = inside(harness, user);
            if left.is_empty() {
                break;
            }
            left.iter().for_each(|pid| kill(*pid));
        }
        kill(harness);
    }
    child.wait()
}

/// Living processes of the box, except the harness.
fn inside(harness: u32, user: User) -> Vec<u32> {
    let all: Vec<Process> = processes().filter(|process| !process.dead).collect();
    if user.exclusive {
        let ours = |process: &&Process| Some(process.uid) == user.uid && process.pid != harness;
        return all.iter().filter(ours).map(|process| process.pid).collect();
    }
    // Orphans come to the harness, so that all of them hang below it.
    let mut found = vec![harness];
    let mut at = 0;
    while at < found.len() {
        let parent = found[at];
        found.extend(
            all.iter().filter(|process| process.parent == parent).map(|process| process.pid),
        );
        at += 1;
    }
    found.split_off(1)
}

fn kill(pid: u32) {
    let pid = i32::try_from(pid).ok().and_then(Pid::from_raw);
    // Gone already is what we want.
    let _gone = pid.map(|pid| rustix::process::kill_process(pid, Signal::KILL));
}

/// A process as `/proc` shows it.
struct Process {
    pid: u32,
    parent: u32,
    uid: u32,
    threads: u64,
    dead: bool,
}

/// Every process; those that vanish while we look are left out.
fn processes() -> impl Iterator<Item = Process> {
    fs::read_dir("/proc").into_iter().flatten().flatten().filter_map(|entry| {
        let pid: u32 = entry.file_name().to_str()?.parse().ok()?;
        let status = fs::read_to_string(entry.path().join("status")).ok()?;
        let field = |name: &str| {
            let line = status.lines().find_map(|line| line.strip_prefix(name))?;
            line.split_whitespace().next()
        };
        Some(Process {
            pid,
            parent: field("PPid:")?.parse().ok()?,
            uid: field("Uid:")?.parse().ok()?,
            threads: field("Threads:")?.parse().ok()?,
            dead: matches!(field("State:")?, "Z" | "X"),
        })
    })
}

/// A file that exists in memory only.
fn memory_file(name: &str) -> std::io::Result<File> {
    let file = rustix::fs::memfd_create(name, rustix::fs::MemfdFlags::CLOEXEC)?;
    Ok(File::from(file))
}

/// The last line of what was written to `file`.
fn tail(mut file: File) -> String {
    let mut bytes = Vec::new();
    let read =
        file.seek(SeekFrom::Start(0)).and_then(|_| file.take(1 << 16).read_to_end(&mut bytes));
    let text = String::from_utf8_lossy(&bytes).trim().to_owned();
    match read {
        Ok(_) => text.lines().last().unwrap_or("it said nothing").to_owned(),
        Err(error) => error.to_string(),
    }
}
