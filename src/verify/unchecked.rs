//! What no rule can check: biology, chemistry, physics and puzzles.
//!
//! The last entry of the registry: it accepts every question and checks none. OpenThoughts marks such
//! traces as correct; here they say what they are, and `dataset::mix` decides in the open.

use super::{Attempt, Judgement, Tools, Verifier};
use crate::records::NewQuestion;

/// Says of everything that it cannot be checked.
pub(super) struct Unchecked;

impl Verifier for Unchecked {
    fn name(&self) -> &'static str {
        "unchecked"
    }

    fn version(&self) -> u32 {
        1
    }

    fn accepts(&self, _question: &NewQuestion) -> bool {
        true
    }

    fn verify(
        &self,
        question: &NewQuestion,
        attempt: &Attempt<'_>,
        _tools: &Tools,
    ) -> anyhow::Result<Judgement> {
        Ok(if attempt.solution.trim().is_empty() {
            Judgement::unreadable("the solution is empty")
        } else if attempt.truncated {
            Judgement::unreadable("cut off by the token limit")
        } else {
            Judgement::unchecked(&format!("no rule can check domain `{}`", question.domain))
        })
    }
}
