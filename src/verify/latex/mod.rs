//! Decides whether two math answers say the same.
//!
//! `extract` finds the answer in a text, `lexer` and `parse` make a typed tree of it, `canon` brings
//! values into canonical form, `zero` decides on values and `compare` on everything built of them.
//! Pure, deterministic and bounded: depth, size and steps have caps, and whatever exceeds them is
//! `Unknown`, never a guess. What is `Equal` by convention and not by proof is a [`Policy`].

#![expect(
    clippy::wildcard_enum_match_arm,
    reason = "a tree has thirty kinds of nodes: a rule names those it knows, the rest is not its case"
)]

mod atoms;
mod canon;
mod compare;
mod evaluate;
mod extract;
mod fraction;
mod interval;
mod lexer;
mod modular;
mod number;
mod parse;
mod poly;
mod relations;
mod rounded;
mod separation;
mod sets;
mod shape;
mod spelling;
mod statement;
mod tree;
mod trig;
mod units;
mod zero;

use serde::Serialize;

pub use extract::Mark;
pub(crate) use extract::{extract, find, find_boxed, last_boxes};
pub(crate) use tree::Node;

/// Steps that one comparison may take: about 10 ms of one core (2.6 GHz EPYC, opt-level 1).
const STEPS_MAX: u64 = 100_000;

/// What is taken for equal without being the same.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Policy {
    /// Decimals that a correctly rounded number must have to stand for an exact one; none: never.
    pub rounded_places: Option<u32>,
    /// Whether `28` may stand for `28%`. `0.28` always does.
    pub bare_percent: bool,
    /// Whether a unit may be left out on one side.
    pub bare_unit: bool,
    /// Whether `yes` may stand for `Yes`. In single letters case always counts.
    pub fold_case: bool,
}

impl Default for Policy {
    fn default() -> Self {
        Self { rounded_places: Some(6), bare_percent: true, bare_unit: true, fold_case: true }
    }
}

impl Policy {
    /// Nothing is taken for equal that is not the same.
    pub fn exact() -> Self {
        Self { rounded_places: None, bare_percent: false, bare_unit: false, fold_case: false }
    }
}

/// Whether two answers say the same.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// They do.
    Equal,
    /// They do not.
    Different,
    /// Neither can be shown.
    Unknown,
}

/// An outcome and how it was reached.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Decision {
    /// What was decided.
    pub(crate) outcome: Outcome,
    /// How, for people.
    pub(crate) why: &'static str,
}

impl Decision {
    fn equal(why: &'static str) -> Self {
        Self { outcome: Outcome::Equal, why }
    }

    fn different(why: &'static str) -> Self {
        Self { outcome: Outcome::Different, why }
    }

    fn unknown(why: &'static str) -> Self {
        Self { outcome: Outcome::Unknown, why }
    }

    fn is_equal(&self) -> bool {
        self.outcome == Outcome::Equal
    }
}

/// Reads an answer. `Err` says why it cannot be read.
pub(crate) fn read(text: &str) -> Result<Node, &'static str> {
    statement::read(text).map_err(|why| match why {
        parse::Unread::Unexpected => "makes no sense as mathematics",
        parse::Unread::Deep => "nested too deeply",
        parse::Unread::Large => "too long",
    })
}

/// Two answers, as they were read, and what follows.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Compared {
    /// How the reference was read.
    pub(crate) reference: Option<Node>,
    /// How the answer was read.
    pub(crate) answer: Option<Node>,
    /// What follows.
    pub(crate) decision: Decision,
}

/// Reads and compares two answers that were found. A decimal comma is tried where a comma may be one.
pub(crate) fn compare(reference: &str, answer: &str, policy: &Policy) -> Compared {
    let (left, right) = (read(reference), read(answer));
    let decision = match (&left, &right) {
        (Ok(a), Ok(b)) => decide(a, b, policy),
        (Err(why), _) | (_, Err(why)) if reference.trim() != answer.trim() => {
            Decision::unknown(why)
        }
        _ => Decision::equal("written the same"),
    };
    let again = |reference: &str, answer: &str| match (read(reference), read(answer)) {
        (Ok(a), Ok(b)) => decide(&a, &b, policy).is_equal(),
        _ => false,
    };
    let comma = |text: &str| number::decimal_comma(text);
    let other = if decision.is_equal() {
        false
    } else {
        comma(reference).is_some_and(|reference| again(&reference, answer))
            || comma(answer).is_some_and(|answer| again(reference, &answer))
    };
    let decision = if other { Decision::equal("with a decimal comma") } else { decision };
    Compared { reference: left.ok(), answer: right.ok(), decision }
}

/// Decides whether two answers that were read say the same.
pub(crate) fn decide(reference: &Node, answer: &Node, policy: &Policy) -> Decision {
    let budget = poly::Budget::new(STEPS_MAX);
    compare::Comparison { policy, budget: &budget }.decide(reference, answer, 0)
}

#[cfg(test)]
mod tests;
