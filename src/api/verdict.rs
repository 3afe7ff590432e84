//! One trace's verdict as it goes over the wire: what was extracted, how it was read, test by test,
//! what the judge thought, what people did.

use serde::Serialize;
use serde_json::Value;
use utoipa::ToSchema;

use super::diff::{DiffPart, diff};
use super::reviews::{LogEntry, ReviewState};
use crate::jobs;
use crate::records::{self, Cases, Mode, Tests, TraceId, VerdictRow};
use crate::store::{self, Store};

/// Characters of an input or output that are shown; the panel says that there are more.
const SHOWN_CHARACTERS_MAX: usize = 2_000;

/// Tests that are shown at most: generated ones come by the thousand.
const SHOWN_TESTS_MAX: usize = 200;

/// Everything that is known about the verdict on one trace.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct VerdictDetail {
    /// The trace.
    pub trace_id: i64,
    /// What was asked.
    pub question_id: i64,
    /// What the question is about.
    pub domain: String,
    /// The text that was asked.
    pub problem: String,
    /// Reference answer, if there is one.
    pub reference: Option<String>,
    /// The final answer.
    pub solution: String,
    /// What counts; null if nobody has looked.
    pub decided: Option<Decided>,
    /// What the rules say, mode by mode.
    pub rules: Vec<RuleVerdict>,
    /// How the math engine read the answers; null where it did not look.
    pub math: Option<MathEvidence>,
    /// The tests that were run, in order; those of the strict mode.
    pub tests: Vec<TestEvidence>,
    /// What the judge or the majority says; null where neither was asked.
    pub judge: Option<JudgeVerdict>,
    /// Where its review stands; null if nobody was asked.
    pub review: Option<ReviewState>,
    /// What people did with it, oldest first.
    pub log: Vec<LogEntry>,
}

/// What counts, and who says so.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Decided {
    /// correct, wrong, unchecked or unreadable.
    pub verdict: String,
    /// Why; empty if it is correct.
    pub why: String,
    /// Name of a rule, `judge`, `majority` or `human`.
    pub verifier: String,
}

impl From<records::Decided> for Decided {
    fn from(decided: records::Decided) -> Self {
        let records::Decided { verdict, why, verifier } = decided;
        Self { verdict, why, verifier }
    }
}

/// What the rules say.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct RuleVerdict {
    /// How programs were judged: `strict`, `upstream`, …
    pub mode: String,
    /// correct, wrong, unchecked or unreadable.
    pub verdict: String,
    /// Why; empty if it is correct.
    pub why: String,
    /// Name of the rule.
    pub verifier: String,
    /// Its version.
    pub version: u32,
    /// Everything it saw.
    pub detail: Value,
}

impl RuleVerdict {
    fn new(row: VerdictRow) -> Self {
        Self {
            mode: row.mode.name().to_owned(),
            verdict: row.verdict.name().to_owned(),
            why: row.verdict.why().to_owned(),
            verifier: row.verifier,
            version: row.version,
            detail: row.detail,
        }
    }
}

/// How the math engine read the answers.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct MathEvidence {
    /// The answer as it was found.
    pub answer: String,
    /// How it was marked: box, announced, open_box, formula, bold, choice, alone or nothing; null for
    /// verdicts of before.
    pub found: Option<String>,
    /// equal, different, open, unboxed or unmarked; null for verdicts of before.
    pub outcome: Option<String>,
    /// Its normalised form; null if it could not be read.
    pub answer_parsed: Option<String>,
    /// The normalised form of the reference; null if it could not be read.
    pub reference_parsed: Option<String>,
    /// How the decision was reached.
    pub reason: String,
}

impl MathEvidence {
    fn of(detail: &Value) -> Option<Self> {
        let text = |name: &str| detail.get(name).and_then(Value::as_str).map(str::to_owned);
        Some(Self {
            answer: text("answer")?,
            found: text("found"),
            outcome: text("outcome"),
            answer_parsed: text("answer_parsed"),
            reference_parsed: text("reference_parsed"),
            reason: text("reason").unwrap_or_default(),
        })
    }
}

/// One test of a program.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct TestEvidence {
    /// Which, from 1.
    pub number: u64,
    /// passed, wrong_answer, runtime_error, time_limit, …
    pub outcome: String,
    /// What went in, as far as it is shown.
    pub input: String,
    /// What should come out.
    pub expected: String,
    /// What came out; null where it was not kept.
    pub got: Option<String>,
    /// Where the two part, piece by piece; null where that was not kept.
    pub diff: Option<Vec<DiffPart>>,
    /// The first token or line that differs, from 1; null where that is not known.
    pub position: Option<u64>,
    /// Bytes that both have in common and that are left out before the pieces.
    pub skipped_bytes: u64,
    /// Wall time in milliseconds.
    pub wall_ms: u64,
    /// Processor time in milliseconds.
    pub cpu_ms: u64,
    /// Peak memory in bytes.
    pub memory_bytes: u64,
    /// Whether it came near the time limit and was run a second time, alone.
    pub repeated: bool,
    /// Whether it came out differently then.
    pub flaky: bool,
}

impl TestEvidence {
    fn all(detail: &Value, tests: Option<&Tests>) -> Vec<Self> {
        let Some(run) = detail.get("tests").and_then(Value::as_array) else { return Vec::new() };
        let failed = detail.get("failed").filter(|failed| !failed.is_null());
        let failed_at = failed.and_then(|failed| failed.get("index")?.as_u64());
        let at = |values: Option<&Cases>, index: usize| {
            let json = values.and_then(|values| values.get(index)).unwrap_or_default();
            shown(&serde_json::from_str(json).unwrap_or_else(|_| Value::from(json)))
        };
        let one = |(index, test): (usize, &Value)| {
            let failed = failed.filter(|_| failed_at == Some(index as u64));
            let text = |value: &Value, name: &str| {
                value.get(name).and_then(Value::as_str).map(str::to_owned)
            };
            let number = |name: &str| test.get(name).and_then(Value::as_u64).unwrap_or(0);
            let of_failed = |name: &str| failed.and_then(|failed| failed.get(name)?.as_u64());
            let is = |name: &str| test.get(name).and_then(Value::as_bool).unwrap_or(false);
            let kept = |name: &str| failed.and_then(|failed| failed.get(name)?.as_str());
            let both = kept("expected").zip(kept("got"));
            Self {
                number: index as u64 + 1,
                outcome: text(test, "outcome").unwrap_or_default(),
                input: at(tests.map(|tests| &tests.inputs), index),
                expected: at(tests.map(|tests| &tests.outputs), index),
                got: kept("got").map(|got| shown(&Value::from(got))),
                diff: both.map(|(expected, got)| diff(expected, got)),
                position: of_failed("position"),
                skipped_bytes: of_failed("from_byte").unwrap_or(0),
                wall_ms: number("wall_ms"),
                cpu_ms: number("cpu_ms"),
                memory_bytes: number("memory_bytes"),
                repeated: is("repeated"),
                flaky: is("flaky"),
            }
        };
        run.iter().enumerate().take(SHOWN_TESTS_MAX).map(one).collect()
    }
}

/// A text, or a value as JSON, as far as it is shown.
fn shown(value: &Value) -> String {
    let text = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
    match text.char_indices().nth(SHOWN_CHARACTERS_MAX) {
        Some((at, _)) => format!("{}…", &text[..at]),
        None => text,
    }
}

/// What the judge or the majority says.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct JudgeVerdict {
    /// correct, wrong, or unchecked: it abstains.
    pub verdict: String,
    /// Why; empty if it is correct.
    pub why: String,
    /// `judge` or `majority`.
    pub verifier: String,
    /// Its version.
    pub version: u32,
    /// Name of the model that judged; null for a majority.
    pub model: Option<String>,
    /// Name of the prompt; null for a majority.
    pub prompt: Option<String>,
    /// Each vote.
    pub votes: Vec<JudgeVote>,
    /// Everything it saw.
    pub detail: Value,
}

/// One vote of the judge.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct JudgeVote {
    /// correct, wrong, or unsure.
    pub decision: String,
    /// What it thought.
    pub reasoning: String,
}

impl From<records::Judgement> for JudgeVerdict {
    fn from(judgement: records::Judgement) -> Self {
        let records::Judgement { verdict, verifier, version, detail, .. } = judgement;
        let text =
            |value: &Value, name: &str| value.get(name).and_then(Value::as_str).map(str::to_owned);
        let vote = |vote: &Value| JudgeVote {
            decision: text(vote, "decision").unwrap_or_default(),
            reasoning: text(vote, "reasoning").unwrap_or_default(),
        };
        let votes = detail.get("votes").and_then(Value::as_array);
        Self {
            verdict: verdict.name().to_owned(),
            why: verdict.why().to_owned(),
            verifier,
            version,
            model: text(&detail, "model"),
            prompt: text(&detail, "prompt"),
            votes: votes.map(|votes| votes.iter().map(vote).collect()).unwrap_or_default(),
            detail,
        }
    }
}

impl VerdictDetail {
    /// What is known about trace `id`.
    pub(super) fn of(store: &Store, id: TraceId) -> store::Result<Self> {
        let records::Example { question, trace, .. } = store.example(id)?;
        let strict = store.verdict(id, Mode::Strict)?;
        let detail = strict.as_ref().map_or(&Value::Null, |row| &row.detail);
        let mut rules = Vec::new();
        for mode in Mode::ALL {
            rules.extend(store.verdict(id, mode)?.map(RuleVerdict::new));
        }
        Ok(Self {
            trace_id: id.0,
            question_id: question.id.0,
            domain: question.domain.name().to_owned(),
            math: MathEvidence::of(detail),
            tests: TestEvidence::all(detail, question.tests.as_ref()),
            problem: question.content.problem,
            reference: question.content.reference,
            solution: trace.content.solution,
            decided: store.decided(id)?.map(Decided::from),
            judge: store.judgement(id)?.map(JudgeVerdict::from),
            review: store.review(id)?.map(|item| item.review.state.into()),
            log: store.review_log(id)?.into_iter().map(LogEntry::from).collect(),
            rules,
        })
    }
}

/// A trace judged again.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Replay {
    /// Whether the stored verdict came out again, with everything that it rests on.
    pub same: bool,
    /// What differs, in words; empty if nothing does.
    pub differences: Vec<String>,
    /// What is stored; null if the rules have not looked yet.
    pub before: Option<RuleVerdict>,
    /// What came out now.
    pub after: RuleVerdict,
}

impl From<jobs::Replay> for Replay {
    fn from(replay: jobs::Replay) -> Self {
        let same = replay.is_same();
        let jobs::Replay { before, after, differences } = replay;
        let before = before.map(RuleVerdict::new);
        Self { same, differences, before, after: RuleVerdict::new(after) }
    }
}
