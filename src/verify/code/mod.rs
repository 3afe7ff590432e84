//! Code: the last fenced block of the solution, run against the question's tests.
//!
//! A program is correct if there is a test and it passes every one, ending normally. Expected outputs
//! stay on this side of the sandbox. Tests after the first failure are not run. Which output counts as
//! right is the problem's comparator's decision; other modes decide as published harnesses do.

mod checker;
mod compare;
mod evidence;
mod grade;
mod infer;
mod json;
mod judge;
mod measure;
mod published;
mod runner;
mod usable;
mod value;

use anyhow::Context;
use serde::ser::SerializeStruct;
use serde::{Serialize, Serializer};

pub use grade::grade_code;
pub use infer::{Inferred, Soundness, infer};
pub use measure::Measure;

use super::{Attempt, Judgement, Tools, Verifier};
use crate::records::{Comparator, Domain, Mode, NewQuestion, Tests, Tolerance, Verdict};
use crate::sandbox::{Limits, Setting, Tier};

/// Tests whose results are kept with a verdict. The one that failed is always told.
const RESULTS_KEPT: usize = 200;

/// Programs against tests, by the rules of a mode.
pub(super) struct Code(pub(super) Mode);

impl Verifier for Code {
    fn name(&self) -> &'static str {
        match self.0 {
            Mode::Strict => "code",
            Mode::Upstream => "code_openthoughts",
            Mode::Lcb => "code_lcb",
            Mode::EvalchemyLcb => "code_evalchemy_lcb",
        }
    }

    fn version(&self) -> u32 {
        match self.0 {
            Mode::Strict | Mode::Upstream => 2,
            Mode::Lcb | Mode::EvalchemyLcb => 1,
        }
    }

    fn modes(&self) -> &'static [Mode] {
        match self.0 {
            Mode::Strict => &[Mode::Strict],
            Mode::Upstream => &[Mode::Upstream],
            Mode::Lcb => &[Mode::Lcb],
            Mode::EvalchemyLcb => &[Mode::EvalchemyLcb],
        }
    }

    fn accepts(&self, question: &NewQuestion) -> bool {
        question.domain == Domain::Code
    }

    fn verify(
        &self,
        question: &NewQuestion,
        attempt: &Attempt<'_>,
        tools: &Tools,
    ) -> anyhow::Result<Judgement> {
        let Some(tests) = &question.tests else {
            return Ok(Judgement::unchecked("the question has no tests"));
        };
        if attempt.truncated {
            return Ok(Judgement::unreadable("cut off by the token limit"));
        }
        let tools = Tools { mode: self.0, ..tools.clone() };
        let limits = limits(tools.limits, tests, self.0);
        let mut graded = grade_code(attempt.solution, tests, &Tools { limits, ..tools })?;
        graded.tests.truncate(RESULTS_KEPT);
        let detail =
            serde_json::to_value(&graded).context("could not keep the outcomes of tests")?;
        Ok(Judgement { verdict: graded.verdict, detail })
    }
}

/// What a program of a question may use: the author's own limits where there are any, never more
/// memory than is configured, and the time that the published harness allowed.
pub fn limits(configured: Limits, tests: &Tests, mode: Mode) -> Limits {
    let stated = tests.limits.unwrap_or_default();
    let cpu_ms = match mode {
        Mode::Strict | Mode::Upstream => configured.cpu_ms,
        Mode::Lcb | Mode::EvalchemyLcb => configured.cpu_ms.max(published::lcb::CPU_MS),
    };
    Limits {
        cpu_ms: stated.cpu_ms.unwrap_or(cpu_ms),
        memory_bytes: stated
            .memory_bytes
            .map_or(configured.memory_bytes, |stated| stated.min(configured.memory_bytes)),
        ..configured
    }
}

/// How a program did on one test, or on all.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// It said what it should.
    Passed,
    /// It said something else.
    WrongAnswer,
    /// It raised, crashed or left with an exit status other than 0.
    RuntimeError,
    /// It is no Python.
    CompileError,
    /// The solution has no code block.
    NoCode,
    /// It used up its processor time, or the watchdog ended it.
    TimeLimit,
    /// It used up its memory.
    MemoryLimit,
    /// It wrote too much.
    OutputLimit,
    /// It tampered with the harness.
    Forbidden,
}

/// One test. Eight bytes, because there may be a million.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TestResult {
    /// How it did.
    pub outcome: Outcome,
    /// Wall time.
    pub wall_ms: Measure,
    /// Processor time.
    pub cpu_ms: Measure,
    /// Peak resident memory.
    pub memory_kib: Measure,
    /// It came near the time limit: this is a second run, alone.
    pub repeated: bool,
    /// The second run did not come out as the first.
    pub flaky: bool,
}

impl Serialize for TestResult {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let marks = [("repeated", self.repeated), ("flaky", self.flaky)];
        let marked = marks.into_iter().filter(|(_, is)| *is);
        let mut fields = serializer.serialize_struct("TestResult", 4 + marked.clone().count())?;
        fields.serialize_field("outcome", &self.outcome)?;
        fields.serialize_field("wall_ms", &self.wall_ms.get())?;
        fields.serialize_field("cpu_ms", &self.cpu_ms.get())?;
        fields.serialize_field("memory_bytes", &(self.memory_kib.get() << 10))?;
        // Written only where they hold: there may be a million tests.
        for (name, is) in marked {
            fields.serialize_field(name, &is)?;
        }
        fields.end()
    }
}

/// What the first failed test was given and what became of it, each cut to the few kilobytes where
/// expected and given part.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct Failed {
    /// The test, from 0.
    pub index: usize,
    /// What the program was given.
    pub input: String,
    /// What it should have said.
    pub expected: String,
    /// What it printed, or returned.
    pub got: String,
    /// Where the kept part of expected and given begins, in bytes.
    pub from_byte: usize,
    /// The end of standard error.
    pub stderr: String,
    /// Where it differs first: the token or line, from 1.
    pub position: Option<u64>,
    /// Exit status of the program; none after a signal.
    pub exit_status: Option<i32>,
    /// The signal that ended it.
    pub signal: Option<i32>,
    /// What `random` was seeded with.
    pub seed: u64,
}

/// What programs ran in.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Interpreter {
    /// Its path.
    pub path: String,
    /// Its version.
    pub version: String,
    /// SHA-256 of its executable, in hexadecimal.
    pub sha256: String,
}

impl From<&Setting> for Interpreter {
    fn from(setting: &Setting) -> Self {
        let Setting { tier: _, interpreter, version, sha256 } = setting;
        Self { path: interpreter.clone(), version: version.clone(), sha256: sha256.clone() }
    }
}

/// A program's grade, with all that is needed to grade it again.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct CodeGrade {
    /// The decision.
    #[serde(skip)]
    pub verdict: Verdict,
    /// That of the first failed test; `passed` if there is none; none if nothing was run.
    pub outcome: Option<Outcome>,
    /// The first failed test, from 0.
    pub first_failed: Option<usize>,
    /// The tests that were run, in order.
    pub tests: Vec<TestResult>,
    /// How many there are in all.
    pub tests_total: usize,
    /// By whose rules.
    pub mode: Mode,
    /// How outputs were compared.
    pub comparator: Comparator,
    /// How far decimals could be off.
    pub tolerance: Tolerance,
    /// What every test could use.
    pub limits: Limits,
    /// How well the program was locked in.
    pub tier: Option<Tier>,
    /// What it ran in.
    pub interpreter: Option<Interpreter>,
    /// Processor time of all tests.
    pub cpu_ms: u64,
    /// Wall time of all tests.
    pub wall_ms: u64,
    /// Peak resident memory of any test.
    pub memory_bytes: u64,
    /// Tests near the time limit that were run a second time, alone.
    pub repeated: u64,
    /// Of these, those that did not come out as the first time.
    pub flaky: u64,
    /// How often the sandbox failed and was tried again.
    pub retries: u32,
    /// The first failed test.
    pub failed: Option<Failed>,
}

impl CodeGrade {
    /// The grade of what was never run.
    pub fn without_run(verdict: Verdict, outcome: Option<Outcome>) -> Self {
        Self {
            verdict,
            outcome,
            first_failed: None,
            tests: Vec::new(),
            tests_total: 0,
            mode: Mode::default(),
            comparator: Comparator::Tokens,
            tolerance: Tolerance::default(),
            limits: Limits::default(),
            tier: None,
            interpreter: None,
            cpu_ms: 0,
            wall_ms: 0,
            memory_bytes: 0,
            repeated: 0,
            flaky: 0,
            retries: 0,
            failed: None,
        }
    }
}
