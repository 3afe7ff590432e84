//! Math: the last `\boxed{}` of the solution against the reference answer.
//!
//! Only the solution is looked at, never the thought: a box that was considered is no answer.
//! Reading and comparing answers is `answer`'s job.

use serde_json::json;

use super::answer::{self, Answer};
use super::{Attempt, Judgement, Tools, Verifier};
use crate::chat::answer::last_boxed;
use crate::records::{Domain, NewQuestion, Verdict};

/// Exact comparison of boxed answers.
pub(super) struct Math;

impl Verifier for Math {
    fn name(&self) -> &'static str {
        "math"
    }

    fn version(&self) -> u32 {
        1
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
            return Ok(Judgement::unchecked("the question has no reference answer"));
        };
        if attempt.truncated {
            return Ok(Judgement::unreadable("cut off by the token limit"));
        }
        let Some(given) = last_boxed(attempt.solution) else {
            return Ok(Judgement::unreadable("the solution has no closed \\boxed{}"));
        };
        let compared = compare(reference, given);
        let detail = json!({
            "answer": given,
            "answer_parsed": compared.answer,
            "reference_parsed": compared.reference,
        });
        Ok(Judgement { verdict: compared.verdict, detail })
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
}

/// Compares the answer in `given` with the one in `reference`; either may be boxed or bare.
pub fn compare(reference: &str, given: &str) -> Compared {
    let read = |text: &str| answer::parse(last_boxed(text).unwrap_or(text));
    let (reference, answer) = (read(reference), read(given));
    let verdict = match (&reference, &answer) {
        (None, _) => Verdict::Unchecked("the reference answer is empty".into()),
        (_, None) => Verdict::Unreadable("the answer is empty".into()),
        (Some(reference), Some(answer)) if answer::equal(reference, answer) => Verdict::Correct,
        (Some(reference), Some(answer)) => {
            Verdict::Wrong(format!("`{}` is not `{}`", short(answer), short(reference)))
        }
    };
    let text = |answer: &Option<Answer>| answer.as_ref().map(ToString::to_string);
    Compared { verdict, reference: text(&reference), answer: text(&answer) }
}

/// An answer for people: its first hundred characters.
fn short(answer: &Answer) -> String {
    answer.to_string().chars().take(100).collect()
}
