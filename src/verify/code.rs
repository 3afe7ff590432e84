//! Code: the last fenced block of the solution, run against the question's tests.
//!
//! A program is correct if there is a test and it passes every one, ending normally. Expected outputs
//! stay on this side of the sandbox. Tests after the first failure are not run.

use std::ops::ControlFlow;

use anyhow::Context;
use serde::Serialize;
use serde_json::Value;

use super::{Attempt, Judgement, Mode, Tools, Verifier, output, upstream};
use crate::chat::answer::last_code_block;
use crate::hint::Hinted;
use crate::records::{Domain, NewQuestion, Tests, Verdict};
use crate::sandbox::{self, Ended, Job, Program, Run};
use crate::stage::Stopped;

/// Programs against tests.
pub(super) struct Code;

impl Verifier for Code {
    fn name(&self) -> &'static str {
        "code"
    }

    fn version(&self) -> u32 {
        1
    }

    fn modes(&self) -> &'static [Mode] {
        &[Mode::Strict]
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
        verify_program(question, attempt, tools)
    }
}

/// Judges a code question by its tests, in the mode of `tools`.
pub(super) fn verify_program(
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
    let graded = grade_code(attempt.solution, tests, tools)?;
    let detail = serde_json::to_value(&graded).context("could not keep the outcomes of tests")?;
    Ok(Judgement { verdict: graded.verdict, detail })
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

/// One test.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct TestResult {
    /// How it did.
    pub outcome: Outcome,
    /// Wall time.
    pub wall_ms: u64,
    /// Processor time.
    pub cpu_ms: u64,
    /// Peak resident memory.
    pub memory_bytes: u64,
}

/// A program's grade.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
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
}

impl CodeGrade {
    fn without_run(verdict: Verdict, outcome: Option<Outcome>) -> Self {
        Self { verdict, outcome, first_failed: None, tests: Vec::new() }
    }
}

/// Grades the program in `solution` by `tests`.
///
/// # Errors
/// If there is no Python or the operating system refuses; [`Stopped`] if somebody asked us to stop.
pub fn grade_code(solution: &str, tests: &Tests, tools: &Tools) -> anyhow::Result<CodeGrade> {
    let found = match tools.mode {
        Mode::Strict => last_code_block(solution),
        Mode::Upstream => upstream::last_code_block(solution),
    };
    let Some(source) = found else {
        let verdict = Verdict::Unreadable("the solution has no code block".into());
        return Ok(CodeGrade::without_run(verdict, Some(Outcome::NoCode)));
    };
    if tests.inputs.is_empty() {
        return Ok(CodeGrade::without_run(Verdict::Unchecked("there are no tests".into()), None));
    }
    if tests.inputs.len() != tests.outputs.len() {
        let (inputs, outputs) = (tests.inputs.len(), tests.outputs.len());
        let why = format!("the tests have {inputs} inputs but {outputs} outputs");
        return Ok(CodeGrade::without_run(Verdict::Unchecked(why), None));
    }
    let function = tests.fn_name.as_deref().filter(|name| !name.is_empty());
    let inputs: Vec<Vec<u8>> = tests.inputs.iter().map(|input| bytes(input, function)).collect();
    let mut judge = Judge::new(tests, tools.mode);
    let job = Job {
        program: Program { source, function, ..Program::default() },
        inputs: &inputs,
        limits: tools.limits,
    };
    tools
        .sandbox
        .run(&job, &|| tools.stop.is_requested(), &mut |run| judge.see(&run))
        .map_err(sandbox_error)?;
    Ok(judge.grade())
}

fn sandbox_error(error: sandbox::Error) -> anyhow::Error {
    match (&error, error.hint()) {
        (sandbox::Error::Stopped, _) => Stopped.into(),
        (_, Some(hint)) => Hinted::new(error.to_string(), hint).into(),
        (_, None) => error.into(),
    }
}

/// What goes into the sandbox for one test.
fn bytes(input: &Value, function: Option<&str>) -> Vec<u8> {
    match (function, input) {
        (None, input) => output::text(input).into_bytes(),
        (Some(_), Value::Array(_)) => input.to_string().into_bytes(),
        // One argument that is not in a list of arguments.
        (Some(_), single) => Value::Array(vec![single.clone()]).to_string().into_bytes(),
    }
}

/// Looks at the runs of one program as they come.
struct Judge<'a> {
    expected: &'a [Value],
    called: bool,
    mode: Mode,
    /// Whether the returned values have been the expected ones so far.
    plain: bool,
    /// Whether they have been the only elements of the expected lists so far. APPS wraps every return
    /// value in a list; that is found per question, never per answer.
    wrapped: bool,
    /// Whether the upstream decision is still `correct`.
    counts: bool,
    why: String,
    tests: Vec<TestResult>,
    first_failed: Option<usize>,
}

impl<'a> Judge<'a> {
    fn new(tests: &'a Tests, mode: Mode) -> Self {
        let called = tests.fn_name.as_ref().is_some_and(|name| !name.is_empty());
        let single = |value: &Value| value.as_array().is_some_and(|items| items.len() == 1);
        Self {
            expected: &tests.outputs,
            called,
            mode,
            plain: true,
            wrapped: called && tests.outputs.iter().all(single),
            counts: true,
            why: String::new(),
            tests: Vec::new(),
            first_failed: None,
        }
    }

    fn see(&mut self, run: &Run) -> ControlFlow<()> {
        let index = self.tests.len();
        let expected = self.expected.get(index).unwrap_or(&Value::Null);
        let (outcome, go_on) = match self.mode {
            Mode::Strict => {
                let outcome = self.strict(run, expected);
                (outcome, outcome == Outcome::Passed)
            }
            Mode::Upstream => {
                let (counts, go_on) = upstream::decide(run, expected, self.called);
                self.counts &= counts;
                (upstream::outcome(run, counts), go_on)
            }
        };
        self.tests.push(TestResult {
            outcome,
            wall_ms: run.wall_ms,
            cpu_ms: run.cpu_ms,
            memory_bytes: run.memory_bytes,
        });
        if outcome != Outcome::Passed && self.first_failed.is_none() {
            self.first_failed = Some(index);
            if let Some(why) = reason(&run.ended) {
                self.why = why;
            }
        }
        if go_on { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
    }

    fn strict(&mut self, run: &Run, expected: &Value) -> Outcome {
        if let Some(outcome) = outcome_of(&run.ended) {
            return outcome;
        }
        if !self.called {
            return match output::same_tokens(&run.stdout, &output::text(expected)) {
                Ok(()) => Outcome::Passed,
                Err(why) => {
                    self.why = why;
                    Outcome::WrongAnswer
                }
            };
        }
        let Some(given) = &run.value else {
            self.why = "the function did not return".into();
            return Outcome::RuntimeError;
        };
        self.plain &= output::same_value(given, expected);
        self.wrapped &= expected.get(0).is_some_and(|only| output::same_value(given, only));
        if self.plain || self.wrapped {
            Outcome::Passed
        } else {
            self.why = "the function returned another value".into();
            Outcome::WrongAnswer
        }
    }

    fn grade(self) -> CodeGrade {
        let Self { mode, counts, why, tests, first_failed, expected, .. } = self;
        let outcome = match first_failed.and_then(|index| tests.get(index)) {
            Some(test) => test.outcome,
            None => Outcome::Passed,
        };
        let passed = match mode {
            Mode::Strict => first_failed.is_none() && tests.len() == expected.len(),
            Mode::Upstream => counts && !tests.is_empty(),
        };
        let verdict = if passed {
            Verdict::Correct
        } else {
            let number = first_failed.unwrap_or(tests.len()) + 1;
            Verdict::Wrong(format!("test {number} of {}: {why}", expected.len()))
        };
        CodeGrade { verdict, outcome: Some(outcome), first_failed, tests }
    }
}

/// The outcome of a run that did not end normally.
pub(super) fn outcome_of(ended: &Ended) -> Option<Outcome> {
    Some(match ended {
        Ended::Normally => return None,
        Ended::RuntimeError(_) => Outcome::RuntimeError,
        Ended::CompileError(_) => Outcome::CompileError,
        Ended::CpuTimeLimit | Ended::WallTimeLimit => Outcome::TimeLimit,
        Ended::MemoryLimit => Outcome::MemoryLimit,
        Ended::OutputLimit => Outcome::OutputLimit,
        Ended::Forbidden(_) => Outcome::Forbidden,
    })
}

fn reason(ended: &Ended) -> Option<String> {
    Some(match ended {
        Ended::Normally => return None,
        Ended::RuntimeError(why) | Ended::CompileError(why) | Ended::Forbidden(why) => {
            why.chars().take(300).collect()
        }
        Ended::CpuTimeLimit => "time limit".into(),
        Ended::WallTimeLimit => "time limit (it waited)".into(),
        Ended::MemoryLimit => "memory limit".into(),
        Ended::OutputLimit => "output limit".into(),
    })
}
