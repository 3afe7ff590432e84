//! Runs programs that nobody has read.
//!
//! A program runs in processes of its own: limits on processor time, memory, files, output, open
//! files and processes; an empty environment; a temporary folder that is wiped; a user id of its own
//! when we are root, and no network where the kernel lets us take it away. A watchdog ends it, and
//! nothing it started outlives it. Expected outputs never enter the box: callers compare.
//!
//! Not yet a jail: the program can read what its user can read. `process` says what is missing.

pub mod landlock;
mod limits;
mod process;
mod python;
pub mod seccomp;
mod tier;

use std::ops::ControlFlow;
use std::path::PathBuf;
use std::sync::OnceLock;

use serde::Serialize;

pub use limits::Limits;
pub use process::{Confinement, become_program};
pub use tier::Tier;

/// A Python program.
#[derive(Debug, Clone, Copy, Default)]
pub struct Program<'a> {
    /// Its text.
    pub source: &'a str,
    /// The function to call with each input (a JSON list of arguments); without it the program is
    /// run as `__main__` with each input on standard input.
    pub function: Option<&'a str>,
    /// Files it finds in its folder: name and content.
    pub files: &'a [(&'a str, &'a [u8])],
    /// Its arguments, after its own name.
    pub arguments: &'a [&'a str],
}

/// A program and what it is run on.
#[derive(Debug, Clone, Copy)]
pub struct Job<'a> {
    /// What to run.
    pub program: Program<'a>,
    /// One run each: standard input, or the arguments of a call as JSON.
    pub inputs: &'a [Vec<u8>],
    /// What each run may use.
    pub limits: Limits,
}

/// How a run ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Ended {
    /// With exit status 0.
    Normally,
    /// With another status or a signal.
    RuntimeError(String),
    /// Before it began: the text is no Python.
    CompileError(String),
    /// By using up its processor time.
    CpuTimeLimit,
    /// By using up its wall time with processor time left: it slept.
    WallTimeLimit,
    /// By using up its memory.
    MemoryLimit,
    /// By writing too much.
    OutputLimit,
    /// It tampered with the harness.
    Forbidden(String),
}

/// One run of a program.
#[derive(Debug, Clone, PartialEq)]
pub struct Run {
    /// How it ended.
    pub ended: Ended,
    /// Standard output.
    pub stdout: Vec<u8>,
    /// What the called function returned, tagged by type (`["i", "12"]`, `["l", […]]`, …).
    pub value: Option<serde_json::Value>,
    /// The end of standard error.
    pub stderr: String,
    /// Processor time used.
    pub cpu_ms: u64,
    /// Wall time used.
    pub wall_ms: u64,
    /// Peak resident memory.
    pub memory_bytes: u64,
    /// Processes it left behind, all of them killed.
    pub left_processes: u64,
    /// Its exit status; none after a signal.
    pub exit_status: Option<i32>,
    /// The signal that ended it.
    pub signal: Option<i32>,
    /// The first run came within a fifth of the time limit; this is a second one, with no other
    /// program of ours beside it.
    pub repeated_alone: bool,
    /// What `random` was seeded with: the same for the same program and input.
    pub seed: u64,
}

impl Run {
    /// A run that ended so and left nothing.
    pub fn empty(ended: Ended) -> Self {
        Self {
            ended,
            stdout: Vec::new(),
            value: None,
            stderr: String::new(),
            cpu_ms: 0,
            wall_ms: 0,
            memory_bytes: 0,
            left_processes: 0,
            exit_status: None,
            signal: None,
            repeated_alone: false,
            seed: 0,
        }
    }

    fn forbidden(why: &str) -> Self {
        Self::empty(Ended::Forbidden(why.to_owned()))
    }
}

/// What programs run in; stored with every verdict.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Setting {
    /// How well they are locked in.
    pub tier: Tier,
    /// The interpreter's path.
    pub interpreter: String,
    /// Its version, `3.11.7`.
    pub version: String,
    /// SHA-256 of its executable, in hexadecimal.
    pub sha256: String,
}

/// Why a program could not be run at all. Whatever the program itself does is a [`Run`].
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// There is no Python, or none that is new enough.
    #[error("could not find python3: {0}")]
    Unavailable(String),
    /// Somebody asked us to stop; the program was killed.
    #[error("stopped on request")]
    Stopped,
    /// The operating system refused.
    #[error("could not run a program in the sandbox: {0}")]
    Failed(String),
}

impl Error {
    /// What the user can do about it.
    pub fn hint(&self) -> Option<&'static str> {
        match self {
            Self::Unavailable(_) => {
                Some("install Python 3.9 or newer (Debian: apt-get install python3)")
            }
            Self::Failed(_) => Some("check free memory, processes and space for temporary files"),
            Self::Stopped => None,
        }
    }
}

/// Result of the sandbox.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Runs programs. Cheap to share between threads; each thread runs one program at a time.
#[derive(Debug)]
pub struct Sandbox {
    /// Our own executable, whose hidden verb sets the limits and becomes the interpreter.
    launcher: PathBuf,
    /// Folders in which `python3` is looked for.
    search_path: Vec<PathBuf>,
    /// The first that works, once somebody has asked.
    interpreter: OnceLock<Result<process::Interpreter, String>>,
}

impl Sandbox {
    /// A sandbox that starts programs through `launcher`, our own executable, with the first
    /// `python3` in `search_path`. Nothing is started yet.
    pub fn new(launcher: PathBuf, search_path: Vec<PathBuf>) -> Self {
        Self { launcher, search_path, interpreter: OnceLock::new() }
    }

    /// Runs a program on each of its inputs in order and hands each run to `sink`, until it breaks.
    ///
    /// # Errors
    /// [`Error::Unavailable`] without Python, [`Error::Stopped`] as soon as `stop` says so, and
    /// [`Error::Failed`] if the operating system refuses.
    pub fn run(
        &self,
        job: &Job<'_>,
        stop: &dyn Fn() -> bool,
        sink: &mut dyn FnMut(Run) -> ControlFlow<()>,
    ) -> Result<()> {
        let interpreter = self.interpreter()?;
        let job = Job { limits: job.limits.bounded(), ..*job };
        process::run(&process::Start { launcher: &self.launcher, interpreter }, &job, stop, sink)
    }

    /// The interpreter that programs run in, for people.
    ///
    /// # Errors
    /// [`Error::Unavailable`] if there is none.
    pub fn describe(&self) -> Result<String> {
        Ok(self.interpreter()?.to_string())
    }

    /// How well programs are locked in.
    ///
    /// # Errors
    /// [`Error::Unavailable`] if there is no interpreter, or nothing that holds it.
    pub fn tier(&self) -> Result<Tier> {
        self.interpreter().map(|_| Tier::T0)
    }

    /// What programs run in.
    ///
    /// # Errors
    /// As [`Self::tier`].
    pub fn setting(&self) -> Result<Setting> {
        let tier = self.tier()?;
        Ok(self.interpreter()?.setting(tier))
    }

    fn interpreter(&self) -> Result<&process::Interpreter> {
        self.interpreter
            .get_or_init(|| process::find_interpreter(&self.launcher, &self.search_path))
            .as_ref()
            .map_err(|why| Error::Unavailable(why.clone()))
    }
}

#[cfg(test)]
mod tests;
