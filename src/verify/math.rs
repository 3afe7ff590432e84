//! Math: the answer of the solution against the reference answer.
//!
//! Only the solution is looked at, never the thought: a box that was considered is no answer. A box or
//! an announced answer counts either way. What is merely the last formula, bold or a letter may be the
//! answer: if it equals the reference it is, if not nobody knows, and a judge may look at it. A number
//! that just stands last in prose counts as nothing. Reading and comparing is the engine's job (`latex`);
//! what it can neither prove nor refute is `Unchecked`, too.

use serde_json::json;

use super::graders::{self, Grader, Strings};
use super::latex::{self, Mark, Outcome, Policy};
use super::{Attempt, Judgement, Tools, Verifier};
use crate::records::{Domain, NewQuestion, Verdict};

/// Proves or refutes that boxed answers equal the reference.
pub(super) struct Math;

impl Verifier for Math {
    fn name(&self) -> &'static str {
        "math"
    }

    fn version(&self) -> u32 {
        3
    }

    fn accepts(&self, question: &NewQuestion) -> bool {
        question.domain == Domain::Math
    }

    fn verify(
        &self,
        question: &NewQuestion,
        attempt: &Attempt<'_>,
        _tools: &Tools,
    ) -> anyhow::Result<Judgement> {
        let Some(reference) = &question.reference else {
            let verdict = Verdict::Unchecked("the question has no reference answer".into());
            return Ok(bare(verdict, "no_reference"));
        };
        if attempt.truncated {
            let verdict = Verdict::Unreadable("cut off by the token limit".into());
            return Ok(bare(verdict, "truncated"));
        }
        let Some((mark, given)) = latex::find_boxed(attempt.solution) else {
            let verdict = Verdict::Unreadable("the solution gives no answer".into());
            return Ok(bare(verdict, "no_answer"));
        };
        let reference = latex::extract(reference);
        let policy = Policy::default();
        let compared = decided(reference.as_deref(), Some(&given), &policy);
        let (verdict, outcome) = weighed(compared.verdict, mark, &given);
        let detail = json!({
            "outcome": outcome,
            "answer": given,
            "found": mark,
            "answer_parsed": compared.answer,
            "reference_parsed": compared.reference,
            "reason": compared.reason,
            "policy": policy,
        });
        Ok(Judgement { verdict, detail })
    }
}

fn bare(verdict: Verdict, outcome: &str) -> Judgement {
    Judgement { verdict, detail: json!({ "outcome": outcome }) }
}

/// What `compared` counts of an answer that was marked so, and what that is called.
fn weighed(compared: Verdict, mark: Mark, given: &str) -> (Verdict, &'static str) {
    let given = short(given);
    match (mark, compared) {
        (Mark::Nothing, _) => {
            let why = format!("the solution marks no answer; what stands last is `{given}`");
            (Verdict::Unreadable(why), "unmarked")
        }
        (_, Verdict::Correct) => (Verdict::Correct, "equal"),
        (Mark::Box | Mark::Announced, wrong @ Verdict::Wrong(_)) => (wrong, "different"),
        (Mark::OpenBox | Mark::Formula | Mark::Bold | Mark::Choice, Verdict::Wrong(why)) => {
            let why = format!("the answer is not boxed, and perhaps it is not `{given}`: {why}");
            (Verdict::Unchecked(why), "unboxed")
        }
        (Mark::Alone, Verdict::Wrong(_) | Verdict::Unchecked(_)) => {
            let why = format!("the solution is only `{given}`, without a box");
            (Verdict::Unreadable(why), "unmarked")
        }
        (_, open @ Verdict::Unchecked(_)) => (open, "open"),
        (_, unreadable @ Verdict::Unreadable(_)) => (unreadable, "no_answer"),
    }
}

/// Two answers, as they were read, and what follows.
#[derive(Debug, Clone, PartialEq)]
pub struct Compared {
    /// The decision.
    pub verdict: Verdict,
    /// How the reference was read.
    pub reference: Option<String>,
    /// How the answer was read.
    pub answer: Option<String>,
    /// How the answer was marked; none if there is none, or a grader does not look.
    pub found: Option<Mark>,
    /// How the decision was reached.
    pub reason: &'static str,
}

/// Finds the answers in `reference` and `answer` and compares them. Both may be bare, boxed or
/// anywhere in a text.
pub fn compare(reference: &str, answer: &str, grader: Grader, policy: &Policy) -> Compared {
    let by_strings = |strings: Strings| {
        let verdict = verdict_of_strings(&strings);
        let Strings { reference, answer, .. } = strings;
        Compared { verdict, reference, answer, found: None, reason: "compared as strings" }
    };
    match grader {
        Grader::HendrycksMath => by_strings(graders::hendrycks_math(reference, answer)),
        Grader::Gpqa => by_strings(graders::gpqa(reference, answer)),
        Grader::Engine | Grader::MathVerify => {
            let (reference, answer) = (latex::extract(reference), latex::find(answer));
            let given = answer.as_ref().map(|(_, answer)| answer.as_str());
            let found = answer.as_ref().map(|(mark, _)| *mark);
            let compared = Compared { found, ..decided(reference.as_deref(), given, policy) };
            let open = matches!(compared.verdict, Verdict::Unchecked(_) | Verdict::Unreadable(_));
            if open && grader == Grader::MathVerify {
                let why = compared.verdict.why().to_owned();
                return Compared { verdict: Verdict::Wrong(why), ..compared };
            }
            compared
        }
    }
}

fn verdict_of_strings(strings: &Strings) -> Verdict {
    match (&strings.reference, &strings.answer) {
        _ if strings.same => Verdict::Correct,
        (None, _) => Verdict::Unchecked("the reference answer is empty".into()),
        (_, None) => Verdict::Unreadable("the answer is empty".into()),
        (Some(reference), Some(answer)) => {
            Verdict::Wrong(format!("`{}` is not `{}`", short(answer), short(reference)))
        }
    }
}

/// What the engine says of two answers that were found.
fn decided(reference: Option<&str>, answer: Option<&str>, policy: &Policy) -> Compared {
    let nothing =
        |verdict| Compared { verdict, reference: None, answer: None, found: None, reason: "" };
    let (reference, answer) = match (reference, answer) {
        (None, _) => {
            return nothing(Verdict::Unchecked("the reference answer is empty".into()));
        }
        (_, None) => return nothing(Verdict::Unreadable("the answer is empty".into())),
        (Some(reference), Some(answer)) => (reference, answer),
    };
    let compared = latex::compare(reference, answer, policy);
    let reason = compared.decision.why;
    let text = |node: Option<latex::Node>| node.map(|node| short(&node.to_string()));
    let (read_reference, read_answer) = (text(compared.reference), text(compared.answer));
    let shown =
        |read: &Option<String>, written: &str| read.clone().unwrap_or_else(|| short(written));
    let (left, right) = (shown(&read_reference, reference), shown(&read_answer, answer));
    let verdict = match compared.decision.outcome {
        Outcome::Equal => Verdict::Correct,
        Outcome::Different => Verdict::Wrong(format!("`{right}` is not `{left}`")),
        Outcome::Unknown => {
            Verdict::Unchecked(format!("`{right}` against `{left}` is open: {reason}"))
        }
    };
    Compared { verdict, reference: read_reference, answer: read_answer, found: None, reason }
}

/// An answer for people: its first hundred characters.
fn short(answer: &str) -> String {
    answer.chars().take(100).collect()
}
