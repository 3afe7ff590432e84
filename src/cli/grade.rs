//! The verb `grade`: grades answers from standard input, one JSON object per line in and out, in
//! order. A line that cannot be read gets the verdict `unreadable`; the stream goes on.

use std::io::{BufRead, Write};

use anyhow::Context;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::Global;
use super::sandboxed::sandbox;
use crate::records::{Tests, Verdict};
use crate::sandbox::Limits;
use crate::verify::{self, CodeGrade, Grader, Mode, Outcome, Policy, TestResult, Tools};

/// Options of `grade`.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, clap::Subcommand)]
enum What {
    /// Compare answers: `{id, reference, answer}` per line
    Math(MathArgs),
    /// Run programs: `{id, solution, tests: {inputs, outputs, fn_name?}, limits?}` per line
    Code {
        /// How to decide
        #[arg(long, value_enum, default_value = "strict")]
        mode: GradeMode,
    },
}

/// Options of `grade math`.
#[derive(Debug, clap::Args)]
struct MathArgs {
    /// Who decides: the engine, or the rules that published scores used
    #[arg(long, value_enum, default_value = "engine")]
    grader: MathGrader,
    /// Decimals from which a correctly rounded number stands for an exact one
    #[arg(long, value_name = "N", default_value_t = 6)]
    decimals: u32,
    /// Accept nothing by convention: percent signs, units and digits must be written
    #[arg(long)]
    exact: bool,
}

impl MathArgs {
    fn policy(&self) -> Policy {
        if self.exact {
            Policy::exact()
        } else {
            Policy { rounded_places: Some(self.decimals), ..Policy::default() }
        }
    }
}

/// Who grades answers, as written on the command line.
#[derive(Debug, Clone, Copy, clap::ValueEnum)]
enum MathGrader {
    /// Proves or refutes, or says that it cannot
    Engine,
    /// The string rules of the MATH benchmark
    #[value(name = "hendrycks_math")]
    HendrycksMath,
    /// The last letter from A to D
    Gpqa,
    /// What OpenThoughts asks of Math-Verify, decided by the engine
    #[value(name = "math_verify")]
    MathVerify,
}

impl From<MathGrader> for Grader {
    fn from(grader: MathGrader) -> Self {
        match grader {
            MathGrader::Engine => Self::Engine,
            MathGrader::HendrycksMath => Self::HendrycksMath,
            MathGrader::Gpqa => Self::Gpqa,
            MathGrader::MathVerify => Self::MathVerify,
        }
    }
}

/// How programs are graded, as written on the command line.
#[derive(Debug, Clone, clap::ValueEnum)]
pub(super) enum GradeMode {
    /// Correct if every test passes
    Strict,
    /// What the published code of OpenThoughts decides
    Upstream,
}

impl From<GradeMode> for Mode {
    fn from(mode: GradeMode) -> Self {
        match mode {
            GradeMode::Strict => Self::Strict,
            GradeMode::Upstream => Self::Upstream,
        }
    }
}

pub(super) fn run(_global: &Global, args: Args) -> anyhow::Result<()> {
    let Args { what } = args;
    match what {
        What::Math(args) => {
            let (grader, policy) = (args.grader.into(), args.policy());
            each_line(&mut |line| Ok(serde_json::to_value(math(line, grader, &policy))?))
        }
        What::Code { mode } => {
            let tools = Tools { mode: mode.into(), ..Tools::new(sandbox()?) };
            each_line(&mut |line| Ok(serde_json::to_value(code(line, &tools)?)?))
        }
    }
}

/// Writes one line per line of standard input; blank lines are passed over.
fn each_line(grade: &mut dyn FnMut(&[u8]) -> anyhow::Result<Value>) -> anyhow::Result<()> {
    let mut input = std::io::stdin().lock();
    let mut output = std::io::stdout().lock();
    let mut line = Vec::new();
    loop {
        line.clear();
        let read = input.read_until(b'\n', &mut line).context("could not read standard input")?;
        if read == 0 {
            return Ok(());
        }
        if line.trim_ascii().is_empty() {
            continue;
        }
        let graded = grade(line.trim_ascii())?;
        match writeln!(output, "{graded}").and_then(|()| output.flush()) {
            // Whoever reads us has seen enough.
            Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => return Ok(()),
            written => written.context("could not write the result")?,
        }
    }
}

#[derive(Debug, Deserialize)]
struct MathLine {
    #[serde(default)]
    id: Value,
    reference: Scalar,
    answer: Scalar,
}

/// An answer: text, or a number that somebody did not quote.
#[derive(Debug, Deserialize)]
#[serde(untagged)]
enum Scalar {
    Text(String),
    Number(serde_json::Number),
    Nothing(()),
}

impl Scalar {
    fn text(self) -> String {
        match self {
            Self::Text(text) => text,
            Self::Number(number) => number.to_string(),
            Self::Nothing(()) => String::new(),
        }
    }
}

#[derive(Debug, Serialize)]
struct MathGrade {
    id: Value,
    verdict: &'static str,
    reference_parsed: Option<String>,
    answer_parsed: Option<String>,
    why: String,
    /// How the decision was reached.
    reason: &'static str,
}

fn math(line: &[u8], grader: Grader, policy: &Policy) -> MathGrade {
    let parsed: MathLine = match serde_json::from_slice(line) {
        Ok(parsed) => parsed,
        Err(error) => {
            return MathGrade {
                id: id_of(line),
                verdict: "unreadable",
                reference_parsed: None,
                answer_parsed: None,
                why: not_read(&error),
                reason: "",
            };
        }
    };
    let (reference, answer) = (parsed.reference.text(), parsed.answer.text());
    let compared = verify::compare(&reference, &answer, grader, policy);
    MathGrade {
        id: parsed.id,
        verdict: compared.verdict.name(),
        reference_parsed: compared.reference,
        answer_parsed: compared.answer,
        why: compared.verdict.why().to_owned(),
        reason: compared.reason,
    }
}

#[derive(Debug, Deserialize)]
struct CodeLine {
    #[serde(default)]
    id: Value,
    #[serde(default)]
    solution: String,
    tests: Tests,
    #[serde(default)]
    limits: Option<Limits>,
}

#[derive(Debug, Serialize)]
struct CodeLineGrade {
    id: Value,
    verdict: &'static str,
    outcome: Option<Outcome>,
    first_failed: Option<usize>,
    tests: Vec<TestResult>,
    why: String,
}

impl CodeLineGrade {
    fn new(id: Value, graded: CodeGrade) -> Self {
        Self {
            id,
            verdict: graded.verdict.name(),
            outcome: graded.outcome,
            first_failed: graded.first_failed,
            tests: graded.tests,
            why: graded.verdict.why().to_owned(),
        }
    }
}

fn code(line: &[u8], tools: &Tools) -> anyhow::Result<CodeLineGrade> {
    let parsed: CodeLine = match serde_json::from_slice(line) {
        Ok(parsed) => parsed,
        Err(error) => {
            let verdict = Verdict::Unreadable(not_read(&error));
            let graded =
                CodeGrade { verdict, outcome: None, first_failed: None, tests: Vec::new() };
            return Ok(CodeLineGrade::new(id_of(line), graded));
        }
    };
    let limits = parsed.limits.unwrap_or_default();
    let tools = Tools { limits, ..tools.clone() };
    let graded = verify::grade_code(&parsed.solution, &parsed.tests, &tools)?;
    Ok(CodeLineGrade::new(parsed.id, graded))
}

/// The id of a line that could not be read as a whole; null if there is none.
fn id_of(line: &[u8]) -> Value {
    let value: Value = serde_json::from_slice(line).unwrap_or_default();
    value.get("id").cloned().unwrap_or_default()
}

fn not_read(error: &serde_json::Error) -> String {
    format!("could not read the line: {error}")
}
