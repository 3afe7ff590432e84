//! Grades one program by its tests.

use std::borrow::Cow;
use std::ops::ControlFlow;

use super::compare::Comparison;
use super::judge::Judge;
use super::published::{evalchemy, lcb, openthoughts};
use super::runner::{Runner, Watch};
use super::{CodeGrade, Interpreter, Outcome, usable};
use crate::chat::answer::last_code_block;
use crate::chat::thought;
use crate::records::{Cases, Mode, Tests, Verdict};
use crate::sandbox::{Ended, Program, Run};
use crate::verify::Tools;

/// Outputs that wait for a checker at once, at most: each may take all of the output limit.
const CHECKED_AT_ONCE: usize = 4;

/// What the facades call their function.
const FACADE: &str = "thinkery_call";

/// A program made ready for the sandbox.
struct Ready<'a> {
    source: Cow<'a, str>,
    /// What is called; none for a program that reads standard input.
    function: Option<&'a str>,
    /// What the program is given, where that is not what the tests say.
    inputs: Option<Cases>,
}

/// Grades the program in `solution` by `tests`.
///
/// # Errors
/// [`super::super::Unjudged`] if the sandbox fails again and again; if there is no Python; `Stopped`
/// if somebody asked us to stop.
pub fn grade_code(solution: &str, tests: &Tests, tools: &Tools) -> anyhow::Result<CodeGrade> {
    let how = Comparison::of(tests);
    let bare = |verdict, outcome| CodeGrade {
        mode: tools.mode,
        comparator: how.comparator,
        tolerance: how.tolerance,
        limits: tools.limits,
        tests_total: tests.inputs.len(),
        ..CodeGrade::without_run(verdict, outcome)
    };
    let found = match tools.mode {
        Mode::Strict => thought::behind(solution).and_then(last_code_block),
        Mode::Upstream => openthoughts::last_code_block(solution),
        Mode::Lcb => lcb::last_code_block(solution),
        Mode::EvalchemyLcb => evalchemy::last_code_block(solution),
    };
    let Some(source) = found else {
        let verdict = Verdict::Unreadable("the solution has no code block".into());
        return Ok(bare(verdict, Some(Outcome::NoCode)));
    };
    if let Some(why) = usable::why_not(tests) {
        return Ok(bare(Verdict::Unchecked(why), None));
    }
    let setting = tools.sandbox.setting().ok();
    let graded = |grade: CodeGrade| CodeGrade {
        tier: setting.as_ref().map(|setting| setting.tier),
        interpreter: setting.as_ref().map(Interpreter::from),
        ..grade
    };
    if tools.mode == Mode::Upstream && !compiles(source, tests, tools)? {
        // Stored as correct: all numbers but 0 count as true.
        return Ok(graded(bare(Verdict::Correct, Some(Outcome::CompileError))));
    }
    let ready = ready(source, tests, tools.mode).map_err(anyhow::Error::msg)?;
    let mut judge = Judge::new(tests, tools);
    let mut runner = Runner::new(tools.sandbox.as_ref(), &tools.stop, tools.limits);
    if judge.needs_checker() {
        runner.chunk = CHECKED_AT_ONCE;
    }
    let program = Program { source: &ready.source, function: ready.function, ..Program::default() };
    let inputs = ready.inputs.as_ref().unwrap_or(&tests.inputs);
    let retries = runner.run(&program, inputs, &mut judge)?;
    let verdict = verdict(&judge, tests, tools.mode);
    let seen = judge.seen;
    let failed = seen.first_failed.and_then(|index| seen.results.get(index));
    let outcome = match (&verdict, failed) {
        (Verdict::Unchecked(_), _) => None,
        (_, failed) => Some(failed.map_or(Outcome::Passed, |test| test.outcome)),
    };
    Ok(graded(CodeGrade {
        first_failed: seen.first_failed,
        tests: seen.results,
        cpu_ms: seen.cpu_ms,
        wall_ms: seen.wall_ms,
        memory_bytes: seen.memory_bytes,
        repeated: seen.repeated,
        flaky: seen.flaky,
        retries,
        failed: seen.failed,
        ..bare(verdict, outcome)
    }))
}

fn verdict(judge: &Judge<'_>, tests: &Tests, mode: Mode) -> Verdict {
    let seen = &judge.seen;
    if let Some(why) = &seen.undecided {
        return Verdict::Unchecked(why.clone());
    }
    let passed = match mode {
        Mode::Strict => seen.first_failed.is_none() && seen.results.len() == tests.outputs.len(),
        Mode::Upstream => seen.counts && !seen.results.is_empty(),
        Mode::Lcb | Mode::EvalchemyLcb => seen.counts && seen.results.len() == tests.outputs.len(),
    };
    if passed {
        return Verdict::Correct;
    }
    let number = seen.first_failed.unwrap_or(seen.results.len()) + 1;
    Verdict::Wrong(format!("test {number} of {}: {}", tests.outputs.len(), seen.why))
}

/// The program as the mode runs it.
fn ready<'a>(source: &'a str, tests: &'a Tests, mode: Mode) -> Result<Ready<'a>, String> {
    let function = tests.function();
    let owned = |source: String, function| Ready { source: source.into(), function, inputs: None };
    Ok(match (mode, function) {
        (Mode::Strict, _) => Ready { source: source.into(), function, inputs: None },
        (Mode::Upstream, None) => owned(openthoughts::program(source), None),
        (Mode::Upstream, Some(_)) => owned(openthoughts::module(source), function),
        (Mode::Lcb, None) => owned(lcb::program(source), None),
        (Mode::Lcb, Some(name)) => owned(lcb::module(source, name), Some(FACADE)),
        (Mode::EvalchemyLcb, None) => owned(evalchemy::program(source), None),
        (Mode::EvalchemyLcb, Some(_)) => Ready {
            source: evalchemy::module(source).into(),
            function: Some(FACADE),
            inputs: Some(as_lines(&tests.inputs)?),
        },
    })
}

/// The arguments of each call as the text of LiveCodeBench: one JSON value per line, all one string.
fn as_lines(inputs: &Cases) -> Result<Cases, String> {
    let mut all = Cases::default();
    for input in inputs.iter() {
        let lines = match serde_json::from_str::<Vec<&serde_json::value::RawValue>>(input) {
            Ok(arguments) => arguments.iter().map(|json| json.get()).collect::<Vec<_>>().join("\n"),
            Err(_) => input.to_owned(),
        };
        all.push(&serde_json::json!([lines]).to_string())?;
    }
    Ok(all)
}

/// Whether the published harness calls the program Python.
fn compiles(source: &str, tests: &Tests, tools: &Tools) -> anyhow::Result<bool> {
    struct Compiles(bool);

    impl Watch for Compiles {
        fn see(&mut self, _index: usize, run: Run) -> ControlFlow<()> {
            self.0 = run.ended == Ended::Normally;
            ControlFlow::Break(())
        }
    }

    let text = match tests.function() {
        Some(_) => openthoughts::module(source),
        None => openthoughts::compiled(source),
    };
    let program = Program {
        source: "import sys\ncompile(sys.stdin.read(), 'program.py', 'exec', dont_inherit=True)\n",
        ..Program::default()
    };
    let mut compiles = Compiles(false);
    let input = Cases::from(vec![serde_json::Value::from(text)]);
    Runner::new(tools.sandbox.as_ref(), &tools.stop, tools.limits).run(
        &program,
        &input,
        &mut compiles,
    )?;
    Ok(compiles.0)
}
