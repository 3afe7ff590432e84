//! What votes come to, in words and as a verdict.

use super::reply::{Decision, Tally, Vote};
use crate::records::Verdict;

/// Characters of a judge's reasoning in the reason of a verdict.
const WHY_CHARACTERS_MAX: usize = 300;

/// What the votes on one case come to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Opinion {
    /// What more than half of the votes say, or that it is open.
    pub decision: Decision,
    /// In words; empty for a correct answer.
    pub why: String,
    /// The votes, in order.
    pub votes: Vec<Vote>,
}

impl Opinion {
    pub(super) fn of(votes: Vec<Vote>, tally: &Tally) -> Self {
        let said = |decision| votes.iter().find(|vote| vote.decision == decision);
        let (decision, why) = match tally {
            Tally::Decided(Decision::Correct) => (Decision::Correct, String::new()),
            Tally::Decided(Decision::Wrong) => {
                let reasoning = said(Decision::Wrong).map_or("", |vote| vote.reasoning.as_str());
                (Decision::Wrong, format!("the judge: {}", shortened(reasoning)))
            }
            Tally::Decided(Decision::Unsure) | Tally::Split | Tally::Open(_) => {
                let count = |decision| votes.iter().filter(|v| v.decision == decision).count();
                let why = match votes.as_slice() {
                    [only] => format!("the judge is unsure: {}", shortened(&only.reasoning)),
                    _ => format!(
                        "the judge's votes are split: {} correct, {} wrong, {} unsure",
                        count(Decision::Correct),
                        count(Decision::Wrong),
                        count(Decision::Unsure)
                    ),
                };
                (Decision::Unsure, why)
            }
        };
        Self { decision, why, votes }
    }

    /// As a verdict: who is unsure has checked nothing.
    pub fn verdict(&self) -> Verdict {
        match self.decision {
            Decision::Correct => Verdict::Correct,
            Decision::Wrong => Verdict::Wrong(self.why.clone()),
            Decision::Unsure => Verdict::Unchecked(self.why.clone()),
        }
    }
}

fn shortened(text: &str) -> String {
    match text.char_indices().nth(WHY_CHARACTERS_MAX) {
        Some((at, _)) => format!("{}…", &text[..at]),
        None => text.to_owned(),
    }
}
