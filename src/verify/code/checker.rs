//! A problem's own checker: a Python program that reads files of the input, the expected output and the
//! actual one, and says whether the last is right.
//!
//! It runs in a slot of its own, where the program under test never was. It says so as checkers of
//! Codeforces do: a number on standard output (1 right, 0 wrong, between: partly right, which is wrong
//! here), or by testlib's exit status (0 right; 1, 2 wrong) with or without a word.

use std::ops::ControlFlow;

use super::runner::{Runner, Watch};
use crate::records::Cases;
use crate::sandbox::{Ended, Limits, Program, Run};
use crate::verify::Tools;

/// Reads the three files from standard input, then becomes the checker.
const DRIVER: &str = include_str!("checker.py");

/// What a checker says of one output.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Said {
    Right,
    Wrong(String),
    /// It failed itself; the text says how.
    Broken(String),
}

/// One output to be checked.
pub(super) struct Checked {
    pub(super) input: String,
    pub(super) expected: String,
    pub(super) given: Vec<u8>,
}

/// Asks `checker` about each of `outputs`, in order.
///
/// # Errors
/// If it could not be run.
pub(super) fn ask(checker: &str, outputs: &[Checked], tools: &Tools) -> anyhow::Result<Vec<Said>> {
    let source = format!("SOURCE = {}\n{DRIVER}", serde_json::Value::from(checker));
    let mut frames = Cases::default();
    for output in outputs {
        let given = String::from_utf8_lossy(&output.given);
        let frame = serde_json::json!([output.input, output.expected, given]).to_string();
        // The frame is text that the driver reads as JSON.
        let frame = serde_json::Value::from(frame).to_string();
        frames.push(&frame).map_err(anyhow::Error::msg)?;
    }
    let limits = Limits { file_bytes: u64::MAX, ..tools.limits };
    let runner = Runner::new(tools.sandbox.as_ref(), &tools.stop, limits);
    let mut said = Vec::new();
    let program = Program { source: &source, ..Program::default() };
    runner.run(&program, &frames, &mut Hear(&mut said))?;
    Ok(said)
}

struct Hear<'a>(&'a mut Vec<Said>);

impl Watch for Hear<'_> {
    fn see(&mut self, _index: usize, run: Run) -> ControlFlow<()> {
        self.0.push(said(&run));
        ControlFlow::Continue(())
    }
}

fn said(run: &Run) -> Said {
    let text = String::from_utf8_lossy(&run.stdout);
    let last = text.split_whitespace().next_back().unwrap_or_default();
    let first = text.split_whitespace().next().unwrap_or_default().to_lowercase();
    let why = || {
        let line = text.lines().chain(run.stderr.lines()).find(|line| !line.trim().is_empty());
        let line: String = line.unwrap_or_default().trim().chars().take(200).collect();
        format!("the checker says `{line}`")
    };
    match (&run.ended, run.exit_status) {
        (Ended::Normally, _) => match last.parse::<f64>() {
            Ok(points) if points >= 1.0 => Said::Right,
            Ok(_) => Said::Wrong(why()),
            Err(_) => match first.as_str() {
                "" | "ok" | "accepted" | "ac" | "yes" | "true" | "correct" => Said::Right,
                _ => Said::Wrong(why()),
            },
        },
        (Ended::RuntimeError(_), Some(1 | 2)) if !run.stderr.contains("Traceback (most recent") => {
            Said::Wrong(why())
        }
        (ended, _) => Said::Broken(broken(ended)),
    }
}

fn broken(ended: &Ended) -> String {
    match ended {
        Ended::Normally => "it said nothing".into(),
        Ended::RuntimeError(why) | Ended::CompileError(why) | Ended::Forbidden(why) => {
            why.chars().take(300).collect()
        }
        Ended::CpuTimeLimit | Ended::WallTimeLimit => "it ran out of time".into(),
        Ended::MemoryLimit => "it ran out of memory".into(),
        Ended::OutputLimit => "it wrote too much".into(),
    }
}

#[cfg(test)]
mod tests {
    use super::{Said, said};
    use crate::sandbox::{Ended, Run};

    #[track_caller]
    fn check(ended: Ended, status: i32, stdout: &str, stderr: &str, expected: &str) {
        let run = Run {
            stdout: stdout.into(),
            stderr: stderr.into(),
            exit_status: Some(status),
            ..Run::empty(ended)
        };
        let found = match said(&run) {
            Said::Right => "right",
            Said::Wrong(_) => "wrong",
            Said::Broken(_) => "broken",
        };
        assert_eq!(found, expected, "{run:?}");
    }

    #[test]
    fn checkers_speak_by_number_word_or_exit_status() {
        for (stdout, expected) in [
            ("1\n", "right"),
            ("1.0", "right"),
            ("100", "right"),
            ("0", "wrong"),
            ("0.5", "wrong"),
            ("", "right"),
            ("ok 3 numbers", "right"),
            ("Accepted", "right"),
            ("wrong answer: 3 differs", "wrong"),
            ("False", "wrong"),
        ] {
            check(Ended::Normally, 0, stdout, "", expected);
        }
        let failed = || Ended::RuntimeError("exit status 1".into());
        check(failed(), 1, "", "wrong answer 1st number", "wrong");
        check(failed(), 2, "", "", "wrong");
        check(failed(), 3, "", "", "broken");
    }

    #[test]
    fn a_checker_that_fails_itself_is_broken_and_no_verdict() {
        let raised = "Traceback (most recent call last):\nValueError";
        check(Ended::RuntimeError("exit status 1: ValueError".into()), 1, "", raised, "broken");
        check(Ended::CompileError("SyntaxError".into()), 121, "", "", "broken");
        check(Ended::CpuTimeLimit, 0, "1", "", "broken");
    }
}
