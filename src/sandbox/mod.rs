//! Runs programs that nobody has read.
//!
//! A program runs in a slot (`slot`): an interpreter that has locked itself in (`enter`) and forks per
//! run. How well it is locked in is the tier. In the best a slot has namespaces of its own, a file
//! system with nothing but the interpreter in it (`mount`), a control group (`cgroup`), rules on files
//! (`landlock`), a filter of system calls (`seccomp`), no rights, and limits per run. Nothing that a
//! program starts or writes outlives its run. Expected outputs never enter: callers compare.

mod limits;
mod probes;
mod tier;

mod python;
mod session;
mod slot;
mod steal;

mod cgroup;
mod enter;
mod interpreter;
pub mod landlock;
mod mount;
mod process;
pub mod seccomp;
mod user;

use std::ops::ControlFlow;
use std::path::PathBuf;
use std::sync::{Mutex, OnceLock, PoisonError, RwLock};

use serde::Serialize;

pub use enter::{Layer, Plan, enter};
pub use limits::Limits;
pub use probes::{Finding, PROBES};
pub use tier::{Refusal, Tier};

use slot::{Slot, Trouble};
use steal::Steal;
use tier::{Allowed, Choice, Chosen};

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
    /// That second run ended, wrote or returned otherwise than the first.
    pub flaky: bool,
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
            flaky: false,
            seed: 0,
        }
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
    /// Nothing on this machine holds a program.
    #[error("could not lock programs in: {0}")]
    Unheld(String),
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
            Self::Unheld(_) => Some(
                "`thinkery doctor` shows what this machine lacks; \
                 --allow-unsandboxed runs programs with limits only",
            ),
            Self::Failed(_) => Some("check free memory, processes and space for temporary files"),
            Self::Stopped => None,
        }
    }
}

/// Result of the sandbox.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Runs programs. Cheap to share between threads; each thread runs one program at a time, in a slot
/// that is kept for the next one.
#[derive(Debug)]
pub struct Sandbox {
    /// Our own executable, whose hidden verb locks itself in and becomes the interpreter.
    launcher: PathBuf,
    /// Folders in which `python3` is looked for.
    search_path: Vec<PathBuf>,
    /// Which tiers may be used.
    allowed: Allowed,
    /// Layers to leave out, in tests of their probes.
    without: Vec<Layer>,
    /// What programs run in, once somebody has asked.
    choice: OnceLock<Choice>,
    /// Slots that nobody uses. Ended with the sandbox.
    idle: Mutex<Vec<Slot>>,
    /// Held for reading by each run, for writing by one that must have no other beside it.
    alone: RwLock<()>,
    /// What the host takes of this machine's time.
    steal: Steal,
}

/// What `doctor` says about the sandbox.
#[derive(Debug, Clone, Serialize)]
pub struct Report {
    /// How well programs are locked in; none if they cannot be run.
    pub tier: Option<Tier>,
    /// The interpreter; none if there is none that will do.
    pub interpreter: Option<String>,
    /// Why there is none.
    pub no_interpreter: Option<String>,
    /// Tiers that were not taken.
    pub refused: Vec<Refusal>,
    /// How the probes came out, in the tier that was taken or else in the last one tried.
    pub probes: Vec<Finding>,
    /// The generation of Landlock that the kernel offers.
    pub landlock: u32,
}

impl Sandbox {
    /// A sandbox that starts programs through `launcher`, our own executable, with the first
    /// `python3` in `search_path` that works, locked in as well as this machine can. Nothing is
    /// started yet.
    pub fn new(launcher: PathBuf, search_path: Vec<PathBuf>) -> Self {
        Self {
            launcher,
            search_path,
            allowed: Allowed::Holding,
            without: Vec::new(),
            choice: OnceLock::new(),
            idle: Mutex::new(Vec::new()),
            alone: RwLock::new(()),
            steal: Steal::new(),
        }
    }

    /// The same, but where nothing can hold programs they run with limits only. Somebody must have
    /// asked for that.
    #[must_use]
    pub fn or_unsandboxed(self) -> Self {
        Self { allowed: Allowed::OrNone, ..self }
    }

    /// The same in `tier` or not at all.
    #[must_use]
    pub fn only(self, tier: Tier) -> Self {
        Self { allowed: Allowed::Only(tier), ..self }
    }

    /// The same without some layers, for tests that show what each is for.
    #[must_use]
    pub fn without(self, layers: &[Layer]) -> Self {
        Self { without: layers.to_vec(), ..self }
    }

    /// Runs a program on each of its inputs in order and hands each run to `sink`, until it breaks.
    ///
    /// # Errors
    /// [`Error::Unavailable`] without Python or anything that holds it, [`Error::Stopped`] as soon as
    /// `stop` says so, and [`Error::Failed`] if the operating system refuses. None of them says
    /// anything about the program.
    pub fn run(
        &self,
        job: &Job<'_>,
        stop: &dyn Fn() -> bool,
        sink: &mut dyn FnMut(Run) -> ControlFlow<()>,
    ) -> Result<()> {
        check_files(job.program.files)?;
        let job = Job { limits: job.limits.bounded(), ..*job };
        let mut session = session::Session::begin(self, &job, stop)?;
        for index in 0..job.inputs.len() {
            if sink(session.run(index)?).is_break() {
                break;
            }
        }
        session.end();
        Ok(())
    }

    /// The interpreter that programs run in, for people.
    ///
    /// # Errors
    /// [`Error::Unavailable`] if there is none.
    pub fn describe(&self) -> Result<String> {
        Ok(self.chosen()?.interpreter.to_string())
    }

    /// How well programs are locked in.
    ///
    /// # Errors
    /// [`Error::Unavailable`] if there is no interpreter, or nothing that holds it.
    pub fn tier(&self) -> Result<Tier> {
        self.chosen().map(|chosen| chosen.tier)
    }

    /// What programs run in.
    ///
    /// # Errors
    /// As [`Self::tier`].
    pub fn setting(&self) -> Result<Setting> {
        self.chosen().map(|chosen| chosen.interpreter.setting(chosen.tier))
    }

    /// What this machine allows, and what it does not.
    pub fn report(&self) -> Report {
        let choice = self.choice();
        let (interpreter, no_interpreter) = match choice.interpreter.clone() {
            Ok(found) => (Some(found), None),
            Err(why) => (None, Some(why)),
        };
        Report {
            tier: choice.chosen.as_ref().map(|chosen| chosen.tier),
            interpreter,
            no_interpreter,
            refused: choice.refused.clone(),
            probes: choice.findings.clone(),
            landlock: landlock::abi(),
        }
    }

    fn choice(&self) -> &Choice {
        self.choice.get_or_init(|| {
            let Self { launcher, search_path, allowed, without, .. } = self;
            let (allowed, folders) = (*allowed, search_path.as_slice());
            let search = tier::Search { launcher, folders, allowed, without };
            let (choice, slot) = search.choose();
            if let Some(slot) = slot {
                self.put_back(slot);
            }
            choice
        })
    }

    fn chosen(&self) -> Result<&Chosen> {
        let choice = self.choice();
        choice.chosen.as_ref().ok_or_else(|| match &choice.interpreter {
            Err(why) => Error::Unavailable(why.clone()),
            Ok(_) => Error::Unheld(choice.why()),
        })
    }

    /// A slot that nobody uses, or a new one.
    fn take(&self, stop: &dyn Fn() -> bool) -> Result<Slot, Trouble> {
        let chosen = self.chosen()?;
        let idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner).pop();
        if let Some(slot) = idle {
            return Ok(slot);
        }
        let place = slot::Place {
            launcher: &self.launcher,
            interpreter: &chosen.interpreter,
            tier: chosen.tier,
            groups: chosen.groups.as_ref(),
            without: &self.without,
        };
        Slot::start(&place, stop)
    }

    /// Keeps a slot for the next program.
    fn put_back(&self, slot: Slot) {
        if !slot.worn {
            self.idle.lock().unwrap_or_else(PoisonError::into_inner).push(slot);
        }
    }
}

/// Files go into the program's folder, by plain names.
fn check_files(files: &[(&str, &[u8])]) -> Result<()> {
    let plain = |name: &str| {
        let odd = name.contains(['/', '\0']) || [".", "..", ""].contains(&name);
        !odd && name.len() <= FILE_NAME_BYTES_MAX
    };
    match files.iter().find(|(name, _)| !plain(name)) {
        None => Ok(()),
        Some((name, _)) => Err(Error::Failed(format!("`{name}` is no name for a program's file"))),
    }
}

/// Longest name of a program's file, as file systems have it.
const FILE_NAME_BYTES_MAX: usize = 255;

#[cfg(test)]
mod tests;
