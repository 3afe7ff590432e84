//! The verb `grade`: grades answers from standard input, one JSON object per line in and out, in
//! order. A line that cannot be read gets the verdict `unreadable`; the stream goes on.

use std::io::{BufReader, BufWriter, Read, Write};

use anyhow::Context;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use serde_json::value::RawValue;

use super::Global;
use super::lines::{LINE_BYTES_MAX, Line, Lines, Long};
use super::sandboxed::sandbox;
use crate::formats::cases;
use crate::records::{Tests, Verdict};
use crate::sandbox::Limits;
use crate::verify::{self, CodeGrade, Grader, Mark, Mode, Policy, Tools, Unjudged};

/// What is said if standard input breaks.
const NOT_READ: &str = "could not read standard input";

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
    /// Run programs: `{id, solution, tests: {inputs, outputs, fn_name?, …}, limits?}` per line
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

/// Whose rules decide on programs, as written on the command line.
#[derive(Debug, Clone, Copy, clap::ValueEnum)]
pub(super) enum GradeMode {
    /// Correct if every test passes
    Strict,
    /// What the published code of OpenThoughts decides
    Upstream,
    /// What LiveCodeBench's own harness decides
    Lcb,
    /// What evalchemy's harness for LiveCodeBench decides
    EvalchemyLcb,
}

impl From<GradeMode> for Mode {
    fn from(mode: GradeMode) -> Self {
        match mode {
            GradeMode::Strict => Self::Strict,
            GradeMode::Upstream => Self::Upstream,
            GradeMode::Lcb => Self::Lcb,
            GradeMode::EvalchemyLcb => Self::EvalchemyLcb,
        }
    }
}

pub(super) fn run(_global: &Global, args: Args) -> anyhow::Result<()> {
    let Args { what } = args;
    match what {
        What::Math(args) => {
            let (grader, policy) = (args.grader.into(), args.policy());
            each_line(&mut |line, out| {
                let graded = match line {
                    Line::Whole(line) => math(&line, grader, &policy),
                    Line::Long(mut long) => {
                        let mut line = Vec::new();
                        let read = long.read_to_end(&mut line);
                        match long.too_long().context(NOT_READ)? {
                            Some(bytes) => bad_math(long.head(), too_long(bytes)),
                            None => {
                                read.context(NOT_READ)?;
                                math(&line, grader, &policy)
                            }
                        }
                    }
                };
                Ok(serde_json::to_writer(out, &graded)?)
            })
        }
        What::Code { mode } => {
            let tools = Tools { mode: mode.into(), ..Tools::new(sandbox()?) };
            each_line(&mut |line, out| {
                let graded = match line {
                    Line::Whole(line) => code(&line, &tools)?,
                    Line::Long(long) => long_code(long, &tools)?,
                };
                Ok(serde_json::to_writer(out, &graded)?)
            })
        }
    }
}

/// Grades a line and writes the result.
type GradeLine<'a> = dyn FnMut(Line<'_, '_>, &mut dyn Write) -> anyhow::Result<()> + 'a;

/// Writes one line per line of standard input; blank lines are passed over.
fn each_line(grade: &mut GradeLine<'_>) -> anyhow::Result<()> {
    let mut input = std::io::stdin().lock();
    let mut output = BufWriter::new(std::io::stdout().lock());
    let mut lines = Lines::new(&mut input);
    while let Some(line) = lines.next().context(NOT_READ)? {
        if matches!(&line, Line::Whole(line) if line.trim_ascii().is_empty()) {
            continue;
        }
        let graded = grade(line, &mut output).and_then(|()| {
            output.write_all(b"\n")?;
            Ok(output.flush()?)
        });
        match graded {
            // Whoever reads us has seen enough.
            Err(error) if is_broken_pipe(&error) => return Ok(()),
            graded => graded?,
        }
    }
    Ok(())
}

fn is_broken_pipe(error: &anyhow::Error) -> bool {
    let io = error.downcast_ref::<std::io::Error>().map(std::io::Error::kind);
    let json = error.downcast_ref::<serde_json::Error>().and_then(serde_json::Error::io_error_kind);
    io.or(json) == Some(std::io::ErrorKind::BrokenPipe)
}

fn too_long(bytes: u64) -> String {
    format!("the line has {bytes} bytes, more than the limit of {LINE_BYTES_MAX}")
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
    /// How the answer was marked.
    found: Option<Mark>,
    /// How the decision was reached.
    reason: &'static str,
}

fn bad_math(line: &[u8], why: String) -> MathGrade {
    MathGrade {
        id: id_of(line),
        verdict: "unreadable",
        reference_parsed: None,
        answer_parsed: None,
        why,
        found: None,
        reason: "",
    }
}

fn math(line: &[u8], grader: Grader, policy: &Policy) -> MathGrade {
    let parsed: MathLine = match serde_json::from_slice(line) {
        Ok(parsed) => parsed,
        Err(error) => return bad_math(line, not_read(&error)),
    };
    let (reference, answer) = (parsed.reference.text(), parsed.answer.text());
    let compared = verify::compare(&reference, &answer, grader, policy);
    MathGrade {
        id: parsed.id,
        verdict: compared.verdict.name(),
        reference_parsed: compared.reference,
        answer_parsed: compared.answer,
        why: compared.verdict.why().to_owned(),
        found: compared.found,
        reason: compared.reason,
    }
}

#[derive(Debug, Deserialize)]
struct CodeLine<'a> {
    #[serde(default)]
    id: Value,
    #[serde(default)]
    solution: String,
    #[serde(borrow)]
    tests: &'a RawValue,
    #[serde(default)]
    limits: Option<Limits>,
}

#[derive(Debug, Serialize)]
struct CodeLineGrade {
    id: Value,
    verdict: &'static str,
    why: String,
    #[serde(flatten)]
    grade: CodeGrade,
}

impl CodeLineGrade {
    fn new(id: Value, grade: CodeGrade) -> Self {
        let (verdict, why) = (grade.verdict.name(), grade.verdict.why().to_owned());
        Self { id, verdict, why, grade }
    }
}

fn bad_code(line: &[u8], why: String) -> CodeLineGrade {
    CodeLineGrade::new(id_of(line), CodeGrade::without_run(Verdict::Unreadable(why), None))
}

fn code(line: &[u8], tools: &Tools) -> anyhow::Result<CodeLineGrade> {
    let parsed: CodeLine<'_> = match serde_json::from_slice(line) {
        Ok(parsed) => parsed,
        Err(error) => return Ok(bad_code(line, not_read(&error))),
    };
    let CodeLine { id, solution, tests, limits } = parsed;
    let tests = cases::read(tests.get());
    by_tests(id, &solution, (tests, limits), tools)
}

/// A line with its tests, as it comes.
#[derive(Debug, Deserialize)]
struct LongLine {
    #[serde(default)]
    id: Value,
    #[serde(default)]
    solution: String,
    tests: cases::Streamed,
    #[serde(default)]
    limits: Option<Limits>,
}

/// A line that is too long to be kept: a million tests are in memory once.
fn long_code(mut long: Long<'_, '_>, tools: &Tools) -> anyhow::Result<CodeLineGrade> {
    let parsed = serde_json::from_reader(BufReader::new(&mut long));
    if let Some(bytes) = long.too_long().context(NOT_READ)? {
        return Ok(bad_code(long.head(), too_long(bytes)));
    }
    let LongLine { id, solution, tests, limits } = match parsed {
        Ok(parsed) => parsed,
        Err(error) if error.is_io() => {
            return Err(error).context(NOT_READ);
        }
        Err(error) => return Ok(bad_code(long.head(), not_read(&error))),
    };
    drop(long);
    by_tests(id, &solution, (tests.0, limits), tools)
}

/// Grades `solution` by tests, if they could be read.
fn by_tests(
    id: Value,
    solution: &str,
    (tests, limits): (Result<Tests, String>, Option<Limits>),
    tools: &Tools,
) -> anyhow::Result<CodeLineGrade> {
    let tests = match tests {
        Ok(tests) => tests,
        Err(why) => {
            let verdict = Verdict::Unchecked(format!("could not read the tests: {why}"));
            return Ok(CodeLineGrade::new(id, CodeGrade::without_run(verdict, None)));
        }
    };
    let limits =
        limits.unwrap_or_else(|| verify::code_limits(Limits::default(), &tests, tools.mode));
    let tools = Tools { limits, ..tools.clone() };
    match verify::grade_code(solution, &tests, &tools) {
        Ok(graded) => Ok(CodeLineGrade::new(id, graded)),
        Err(error) => {
            let Unjudged(why) = error.downcast()?;
            let grade = CodeGrade::without_run(Verdict::Unchecked(why), None);
            // Neither right nor wrong: we could not do our job.
            Ok(CodeLineGrade { verdict: "unresolved", ..CodeLineGrade::new(id, grade) })
        }
    }
}

/// The id of a line that could not be read as a whole, if it stands first or the rest is JSON; else
/// null.
fn id_of(line: &[u8]) -> Value {
    if let Ok(Value::Object(row)) = serde_json::from_slice(line) {
        return row.get("id").cloned().unwrap_or_default();
    }
    let after =
        |text: &[u8], mark: &[u8]| text.trim_ascii_start().strip_prefix(mark).map(<[u8]>::to_vec);
    let rest = after(line, b"{")
        .and_then(|rest| after(&rest, b"\"id\""))
        .and_then(|rest| after(&rest, b":"));
    let mut values =
        serde_json::Deserializer::from_slice(rest.as_deref().unwrap_or_default()).into_iter();
    values.next().and_then(Result::ok).unwrap_or_default()
}

fn not_read(error: &serde_json::Error) -> String {
    format!("could not read the line: {error}")
}
