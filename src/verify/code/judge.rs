//! Looks at the runs of one program as they come, and decides of each by the rules of a mode.

use std::ops::ControlFlow;

use serde_json::value::RawValue;

use super::checker::{self, Checked, Said};
use super::compare::{Comparison, Difference, same_text};
use super::evidence;
use super::json::{self, Json};
use super::published::openthoughts::Counts;
use super::published::{evalchemy, lcb, openthoughts};
use super::runner::Watch;
use super::value::{no_data, same_value};
use super::{Failed, Outcome, TestResult};
use crate::records::{Comparator, Mode, Tests};
use crate::sandbox::{Ended, Run};
use crate::verify::Tools;

/// What is decided of one run.
struct Decision {
    outcome: Outcome,
    /// Whether the published harness counts it as right.
    counts: bool,
    go_on: bool,
    why: String,
    position: Option<u64>,
}

impl Decision {
    fn passed() -> Self {
        let (outcome, why) = (Outcome::Passed, String::new());
        Self { outcome, counts: true, go_on: true, why, position: None }
    }

    fn failed(outcome: Outcome, why: String) -> Self {
        Self { outcome, counts: false, go_on: false, why, position: None }
    }
}

impl From<Result<(), Difference>> for Decision {
    fn from(compared: Result<(), Difference>) -> Self {
        match compared {
            Ok(()) => Self::passed(),
            Err(Difference { position, why }) => {
                Self { position: Some(position), ..Self::failed(Outcome::WrongAnswer, why) }
            }
        }
    }
}

/// What the runs of one program came to.
#[derive(Default)]
pub(super) struct Seen {
    pub(super) results: Vec<TestResult>,
    pub(super) first_failed: Option<usize>,
    pub(super) why: String,
    pub(super) failed: Option<Failed>,
    /// Whether the published harness counts every test so far as right.
    pub(super) counts: bool,
    /// Why nobody can say, through no fault of the program.
    pub(super) undecided: Option<String>,
    pub(super) cpu_ms: u64,
    pub(super) wall_ms: u64,
    pub(super) memory_bytes: u64,
    pub(super) repeated: u64,
    pub(super) flaky: u64,
}

/// Looks at the runs of one program as they come.
pub(super) struct Judge<'a> {
    tests: &'a Tests,
    tools: &'a Tools,
    how: Comparison,
    called: bool,
    /// Whether the returned values have been the expected ones so far.
    plain: bool,
    /// Whether they have been the only elements of the expected lists so far. APPS wraps every return
    /// value in a list; that is found per question, never per answer.
    wrapped: bool,
    /// Outputs that wait for the checker, with their tests.
    waiting: Vec<(usize, Run)>,
    pub(super) seen: Seen,
}

impl<'a> Judge<'a> {
    pub(super) fn new(tests: &'a Tests, tools: &'a Tools) -> Self {
        let called = tests.function().is_some();
        Self {
            tests,
            tools,
            how: Comparison::of(tests),
            called,
            plain: true,
            wrapped: called && tests.outputs.iter().all(is_single),
            waiting: Vec::new(),
            seen: Seen { counts: true, ..Seen::default() },
        }
    }

    /// Whether outputs are compared by a program.
    pub(super) fn needs_checker(&self) -> bool {
        self.tools.mode == Mode::Strict && self.how.comparator == Comparator::Checker
    }

    fn expected(&self, index: usize) -> &'a str {
        self.tests.outputs.get(index).unwrap_or("null")
    }

    fn decide(&mut self, index: usize, run: &Run) -> Result<Decision, String> {
        match self.tools.mode {
            Mode::Strict => self.strict(index, run),
            Mode::Upstream => {
                let counts = if self.called {
                    openthoughts::decide_call(run, &Json::parse(self.expected(index))?)
                } else {
                    openthoughts::decide(run, &json::text(self.expected(index))?)
                };
                if counts == Counts::Hangs {
                    return Err("the published harness waits for ever for this program".into());
                }
                let (right, go_on) = (counts != Counts::False, counts == Counts::True);
                Ok(Decision { counts: right, go_on, ..told(run, right) })
            }
            Mode::Lcb | Mode::EvalchemyLcb => {
                let right = run.ended == Ended::Normally && self.same(index, run)?;
                Ok(Decision { counts: right, go_on: right, ..told(run, right) })
            }
        }
    }

    /// What the harnesses of LiveCodeBench compare.
    fn same(&self, index: usize, run: &Run) -> Result<bool, String> {
        let ours = self.tools.mode == Mode::Lcb;
        if self.called {
            let Some(given) = &run.value else { return Ok(false) };
            let expected = Json::parse(self.expected(index))?;
            let same = if ours { lcb::same_value } else { evalchemy::same_value };
            return Ok(same(given, &expected));
        }
        let (given, expected) =
            (String::from_utf8_lossy(&run.stdout), json::text(self.expected(index))?);
        let same = if ours { lcb::same_text } else { evalchemy::same_text };
        Ok(same(&given, &expected))
    }

    fn strict(&mut self, index: usize, run: &Run) -> Result<Decision, String> {
        if let Some(outcome) = outcome_of(&run.ended) {
            return Ok(Decision::failed(outcome, reason(&run.ended)));
        }
        if !self.called {
            let expected = json::text(self.expected(index))?;
            return Ok(same_text(&run.stdout, &expected, &self.how).into());
        }
        let failed = |outcome, why: &str| Ok(Decision::failed(outcome, why.to_owned()));
        let Some(given) = &run.value else {
            return failed(Outcome::RuntimeError, "the function did not return");
        };
        if let Some(kind) = no_data(given) {
            return failed(Outcome::RuntimeError, &format!("the function returned a {kind}"));
        }
        let expected = Json::parse(self.expected(index))?;
        self.plain &= same_value(given, &expected, &self.how);
        self.wrapped &= match &expected {
            Json::List(items) => {
                items.first().is_some_and(|only| same_value(given, only, &self.how))
            }
            Json::Null | Json::Bool(_) | Json::Number(_) | Json::Text(_) | Json::Map(_) => false,
        };
        if self.plain || self.wrapped {
            Ok(Decision::passed())
        } else {
            failed(Outcome::WrongAnswer, "the function returned another value")
        }
    }

    /// Keeps what was decided of the test at `index`.
    fn keep(&mut self, index: usize, run: &Run, decision: Decision) -> ControlFlow<()> {
        let Decision { outcome, counts, go_on, why, position } = decision;
        let seen = &mut self.seen;
        seen.counts &= counts;
        seen.cpu_ms += run.cpu_ms;
        seen.wall_ms += run.wall_ms;
        seen.memory_bytes = seen.memory_bytes.max(run.memory_bytes);
        seen.repeated += u64::from(run.repeated_alone);
        seen.flaky += u64::from(run.flaky);
        seen.results.push(TestResult {
            outcome,
            wall_ms: run.wall_ms.into(),
            cpu_ms: run.cpu_ms.into(),
            memory_kib: (run.memory_bytes >> 10).into(),
            repeated: run.repeated_alone,
            flaky: run.flaky,
        });
        if outcome != Outcome::Passed && seen.first_failed.is_none() {
            seen.first_failed = Some(index);
            seen.why = why;
            let failed = Failed { position, ..self.failed(index, run) };
            self.seen.failed = Some(failed);
        }
        if go_on { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
    }

    fn failed(&self, index: usize, run: &Run) -> Failed {
        let texts = (self.tests.inputs.get(index).unwrap_or_default(), self.expected(index));
        evidence::failed(index, run, texts, self.called)
    }

    /// Nobody can say whether the program is right.
    fn give_up(&mut self, index: usize, why: &str) -> ControlFlow<()> {
        self.seen.undecided = Some(format!("test {}: {why}", index + 1));
        ControlFlow::Break(())
    }
}

impl Watch for Judge<'_> {
    fn see(&mut self, index: usize, run: Run) -> ControlFlow<()> {
        if self.needs_checker() && run.ended == Ended::Normally {
            self.waiting.push((index, run));
            return ControlFlow::Continue(());
        }
        // Those that wait for the checker come first: this test may not be the first that fails.
        if !self.waiting.is_empty() {
            self.waiting.push((index, run));
            return ControlFlow::Break(());
        }
        match self.decide(index, &run) {
            Ok(decision) => self.keep(index, &run, decision),
            Err(why) => self.give_up(index, &why),
        }
    }

    fn settle(&mut self) -> anyhow::Result<ControlFlow<()>> {
        let waiting = std::mem::take(&mut self.waiting);
        let Some(checker) = &self.tests.checker else { return Ok(ControlFlow::Continue(())) };
        let mut outputs = Vec::new();
        for (index, run) in waiting.iter().filter(|(_, run)| run.ended == Ended::Normally) {
            let input = self.tests.inputs.get(*index).unwrap_or_default();
            let text = |json| json::text(json).map_err(anyhow::Error::msg);
            outputs.push(Checked {
                input: text(input)?,
                expected: text(self.expected(*index))?,
                given: run.stdout.clone(),
            });
        }
        if outputs.is_empty() {
            return Ok(ControlFlow::Continue(()));
        }
        let mut said = checker::ask(checker, &outputs, self.tools)?.into_iter();
        for (index, run) in waiting {
            let decision = if run.ended == Ended::Normally {
                match said.next() {
                    Some(Said::Right) => Ok(Decision::passed()),
                    Some(Said::Wrong(why)) => Ok(Decision::failed(Outcome::WrongAnswer, why)),
                    Some(Said::Broken(why)) => Err(format!("the checker failed: {why}")),
                    None => Err("the checker did not answer".into()),
                }
            } else {
                self.strict(index, &run)
            };
            let decision = match decision {
                Ok(decision) => decision,
                Err(why) => return Ok(self.give_up(index, &why)),
            };
            if self.keep(index, &run, decision).is_break() {
                return Ok(ControlFlow::Break(()));
            }
        }
        Ok(ControlFlow::Continue(()))
    }
}

/// What is told of a run that a published harness decided on.
fn told(run: &Run, right: bool) -> Decision {
    match outcome_of(&run.ended) {
        Some(outcome) => Decision::failed(outcome, reason(&run.ended)),
        None if right => Decision::passed(),
        None => Decision::failed(Outcome::WrongAnswer, "the output differs".into()),
    }
}

fn is_single(json: &str) -> bool {
    json.starts_with('[')
        && serde_json::from_str::<Vec<&RawValue>>(json).is_ok_and(|items| items.len() == 1)
}

/// The outcome of a run that did not end normally.
fn outcome_of(ended: &Ended) -> Option<Outcome> {
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

fn reason(ended: &Ended) -> String {
    match ended {
        Ended::Normally => String::new(),
        Ended::RuntimeError(why) | Ended::CompileError(why) | Ended::Forbidden(why) => {
            why.chars().take(300).collect()
        }
        Ended::CpuTimeLimit => "time limit".into(),
        Ended::WallTimeLimit => "time limit (it waited)".into(),
        Ended::MemoryLimit => "memory limit".into(),
        Ended::OutputLimit => "output limit".into(),
    }
}
