//! Child processes of the same binary: jobs, and the servers that a job needs for a while.
//!
//! The only file outside `sandbox` that starts processes. Everything started here ends with the
//! one who started it: a job has a process group of its own, which is swept when it ends, and every
//! child asks the kernel for a signal when its parent dies.

use std::fs::File;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use rustix::process::{Pid, Signal, WaitId, WaitIdOptions};

use super::Secrets;
use crate::hint::Hinted;
use crate::records::{Job, JobKind};
use crate::stage::Stop;

/// How long a helper may take until it listens: a model of some GB has to be read.
const HELPER_START: Duration = Duration::from_secs(300);

/// How long a helper may take to end before it is killed; it has nothing to lose.
const HELPER_END: Duration = Duration::from_millis(300);

/// Between two looks at a process.
pub(super) const POLL: Duration = Duration::from_millis(20);

/// How to start this binary again.
#[derive(Debug, Clone)]
pub struct Launch {
    /// The executable: `/proc/self/exe` outlives a rebuild of the file.
    pub exe: PathBuf,
    /// Folders in which `python3` is looked for: the user's search path.
    pub search_path: Vec<PathBuf>,
    /// Where nothing can hold programs, they run with limits only: somebody asked for that.
    pub allow_unsandboxed: bool,
    /// What a job may need to know and no row may hold.
    pub secrets: Secrets,
}

/// Time between SIGTERM and SIGKILL: a job is to be gone within two seconds, and whatever it has not
/// stored is on the work list again. Training writes a checkpoint first.
pub(super) fn grace(kind: JobKind) -> Duration {
    match kind {
        JobKind::Train => Duration::from_secs(30),
        JobKind::Questions
        | JobKind::Distill
        | JobKind::Verify
        | JobKind::Dataset
        | JobKind::Evaluate
        | JobKind::Serve => Duration::from_millis(1_200),
    }
}

/// The process of a job. Dropping it kills the job and all that it started.
pub(super) struct Worker {
    child: Child,
    group: Pid,
    reaped: bool,
}

/// The variable that carries the teacher's key from the owner to a job.
pub const TEACHER_KEY: &str = "THINKERY_TEACHER_KEY";

/// The variable that carries the judge's key.
pub const JUDGE_KEY: &str = "THINKERY_JUDGE_KEY";

/// The variable that carries the leave to run programs without a sandbox from the owner to a job.
pub const ALLOW_UNSANDBOXED: &str = "THINKERY_ALLOW_UNSANDBOXED";

impl Worker {
    /// Starts `job` on the data folder `dir`; its standard error is `log`.
    pub(super) fn start(
        launch: &Launch,
        dir: &Path,
        job: &Job,
        log: &Path,
    ) -> anyhow::Result<Self> {
        use std::os::unix::process::CommandExt;
        if let Some(folder) = log.parent() {
            std::fs::create_dir_all(folder)
                .with_context(|| format!("could not make `{}`", folder.display()))?;
        }
        let open = || File::options().append(true).create(true).open(log);
        let file = open().with_context(|| format!("could not open `{}`", log.display()))?;
        let dir = std::path::absolute(dir)?;
        let mut command = Command::new(&launch.exe);
        command.arg0("thinkery").arg("job").arg(job.id.to_string()).arg("--data").arg(dir);
        command.stdin(Stdio::null()).stdout(file.try_clone()?).stderr(file).process_group(0);
        if launch.allow_unsandboxed {
            command.env(ALLOW_UNSANDBOXED, "1");
        }
        let Secrets { teacher_key, judge_key } = &launch.secrets;
        for (name, key) in [(TEACHER_KEY, teacher_key), (JUDGE_KEY, judge_key)] {
            match key {
                Some(key) => command.env(name, key),
                None => command.env_remove(name),
            };
        }
        let child = command.spawn().context("could not start the process of the job")?;
        let group = Pid::from_child(&child);
        Ok(Self { child, group, reaped: false })
    }

    /// Asks it to end.
    pub(super) fn terminate(&self) -> anyhow::Result<()> {
        signal(self.group, Signal::TERM, Whom::Process)
    }

    /// Ends it and all that it started.
    pub(super) fn kill(&self) -> anyhow::Result<()> {
        signal(self.group, Signal::KILL, Whom::Group)
    }

    /// How it ended, if it has; whatever it left running is killed.
    pub(super) fn ended(&mut self) -> anyhow::Result<Option<ExitStatus>> {
        let options = WaitIdOptions::EXITED | WaitIdOptions::NOHANG | WaitIdOptions::NOWAIT;
        if rustix::process::waitid(WaitId::Pid(self.group), options)?.is_none() {
            return Ok(None);
        }
        // Not reaped yet, so nobody else can have got its number: the sweep hits only our own.
        self.kill()?;
        let status = self.child.wait()?;
        self.reaped = true;
        Ok(Some(status))
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        if !self.reaped && self.kill().is_ok() {
            // Killed: it ends at once. There is nobody left to tell if it cannot be waited for.
            _ = self.child.wait();
        }
    }
}

#[derive(Clone, Copy)]
enum Whom {
    Process,
    Group,
}

/// Sends `signal`; that nobody is there any more is no error.
fn signal(pid: Pid, signal: Signal, whom: Whom) -> anyhow::Result<()> {
    let sent = match whom {
        Whom::Process => rustix::process::kill_process(pid, signal),
        Whom::Group => rustix::process::kill_process_group(pid, signal),
    };
    match sent {
        Ok(()) | Err(rustix::io::Errno::SRCH) => Ok(()),
        Err(error) => Err(error).with_context(|| format!("could not signal process {pid:?}")),
    }
}

/// Kills the process of a job that an owner left behind when it died, if `pid` is still that.
pub(super) fn kill_survivor(pid: u32, job: &Job) -> anyhow::Result<()> {
    if !is_job(pid, job) {
        return Ok(());
    }
    let group = i32::try_from(pid).ok().and_then(Pid::from_raw).context("a pid is positive")?;
    signal(group, Signal::KILL, Whom::Group)?;
    let since = Instant::now();
    while is_job(pid, job) {
        if since.elapsed() > Duration::from_secs(10) {
            bail!("could not end process {pid}, which still works on job {}", job.id);
        }
        std::thread::sleep(POLL);
    }
    Ok(())
}

/// Whether process `pid` is our binary at work on `job`. A zombie has no command line.
fn is_job(pid: u32, job: &Job) -> bool {
    let Ok(line) = std::fs::read(format!("/proc/{pid}/cmdline")) else { return false };
    let mut words = line.split(|byte| *byte == 0);
    let mut is_next = |word: &str| words.next() == Some(word.as_bytes());
    is_next("thinkery") && is_next("job") && is_next(&job.id.to_string())
}

/// A server that a job needs for a while: the rehearsal teacher, or a served model.
#[derive(Debug)]
pub(super) struct Helper {
    child: Child,
    /// Where it listens, `http://127.0.0.1:PORT`.
    pub(super) url: String,
}

impl Helper {
    /// Starts `thinkery ARGS…` and waits until it says where it listens.
    pub(super) fn start(exe: &Path, args: &[&str], stop: &Stop) -> anyhow::Result<Self> {
        use std::os::unix::process::CommandExt;
        let mut command = Command::new(exe);
        command.arg0("thinkery").args(["job", "--tied-to", &std::process::id().to_string(), "--"]);
        command.args(args).stdin(Stdio::null()).stdout(Stdio::piped());
        let what = args.first().copied().unwrap_or_default();
        let mut child = command.spawn().with_context(|| format!("could not start `{what}`"))?;
        let output = child.stdout.take().context("standard output is piped")?;
        let (sender, first_line) = mpsc::channel();
        std::thread::spawn(move || {
            let mut lines = BufReader::new(output).lines();
            // The receiver is gone when the job was stopped: nothing to do about it.
            _ = lines.next().map(|line| sender.send(line));
            lines.for_each(drop);
        });
        let mut helper = Self { child, url: String::new() };
        helper.url = helper.wait_for_address(&first_line, what, stop)?;
        Ok(helper)
    }

    fn wait_for_address(
        &mut self,
        first_line: &mpsc::Receiver<std::io::Result<String>>,
        what: &str,
        stop: &Stop,
    ) -> anyhow::Result<String> {
        let since = Instant::now();
        loop {
            match first_line.recv_timeout(POLL) {
                Ok(line) => return address(&line?, what),
                Err(mpsc::RecvTimeoutError::Timeout) => {}
                Err(mpsc::RecvTimeoutError::Disconnected) => {
                    let status = self.child.wait()?;
                    let message = format!("`{what}` ended before it listened ({status})");
                    return Err(Hinted::new(message, "its own error is in the job's log").into());
                }
            }
            if stop.is_requested() {
                return Err(crate::stage::Stopped.into());
            }
            if since.elapsed() > HELPER_START {
                bail!("`{what}` did not listen within {} s", HELPER_START.as_secs());
            }
        }
    }
}

impl Drop for Helper {
    fn drop(&mut self) {
        let pid = Pid::from_child(&self.child);
        let asked = signal(pid, Signal::TERM, Whom::Process).is_ok();
        let since = Instant::now();
        while asked && since.elapsed() < HELPER_END {
            if matches!(self.child.try_wait(), Ok(Some(_))) {
                return;
            }
            std::thread::sleep(POLL);
        }
        if self.child.kill().is_ok() {
            // Killed: it ends at once.
            _ = self.child.wait();
        }
    }
}

/// The address in the line `{"listening":"http://…"}`.
fn address(line: &str, what: &str) -> anyhow::Result<String> {
    let value: serde_json::Value = serde_json::from_str(line)
        .with_context(|| format!("`{what}` said `{line}` instead of where it listens"))?;
    let url = value.get("listening").and_then(serde_json::Value::as_str);
    Ok(url.with_context(|| format!("`{what}` did not say where it listens: `{line}`"))?.to_owned())
}

/// Becomes `thinkery ARGS…`, to be killed by the kernel when process `parent` ends. Returns only
/// if that is not possible.
pub fn tie(exe: &Path, parent: u32, args: &[String]) -> anyhow::Error {
    use std::os::unix::process::CommandExt;
    if let Err(error) = end_with_parent(parent, Signal::KILL) {
        return error;
    }
    let error = Command::new(exe).arg0("thinkery").args(args).exec();
    anyhow::Error::new(error).context("could not start this program again")
}

/// Asks the kernel for `signal` when the parent dies; fails if that is not `parent` (any more).
pub(super) fn end_with_parent(parent: u32, signal: Signal) -> anyhow::Result<()> {
    rustix::process::set_parent_process_death_signal(Some(signal))?;
    let actual = rustix::process::getppid().map_or(0, |pid| pid.as_raw_nonzero().get());
    if u32::try_from(actual) != Ok(parent) {
        bail!("process {parent} is not the one that started this");
    }
    Ok(())
}
