//! Runs programs that nobody has read.
//!
//! A program runs in processes of its own: limits on processor time, memory, files, output, open
//! files and processes; an empty environment; a temporary folder that is wiped; a user id of its own
//! when we are root, and no network where the kernel lets us take it away. A watchdog ends it, and
//! nothing it started outlives it. Expected outputs never enter the box: callers compare.
//!
//! Not yet a jail: the program can read what its user can read. `process` says what is missing.

mod limits;
mod process;
mod python;

use std::ops::ControlFlow;
use std::path::PathBuf;
use std::sync::OnceLock;

pub use limits::Limits;
pub use process::{Confinement, become_program};

/// A Python program.
#[derive(Debug, Clone, Copy)]
pub struct Program<'a> {
    /// Its text.
    pub source: &'a str,
    /// The function to call with each input (a JSON list of arguments); without it the program is
    /// run as `__main__` with each input on standard input.
    pub function: Option<&'a str>,
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
    /// By using up its time.
    TimeLimit,
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
}

impl Run {
    fn forbidden(why: &str) -> Self {
        Self {
            ended: Ended::Forbidden(why.to_owned()),
            stdout: Vec::new(),
            value: None,
            stderr: String::new(),
            cpu_ms: 0,
            wall_ms: 0,
            memory_bytes: 0,
            left_processes: 0,
        }
    }
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

    fn interpreter(&self) -> Result<&process::Interpreter> {
        self.interpreter
            .get_or_init(|| process::find_interpreter(&self.launcher, &self.search_path))
            .as_ref()
            .map_err(|why| Error::Unavailable(why.clone()))
    }
}

#[cfg(test)]
mod tests;
