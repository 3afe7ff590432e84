//! What a judge's answer says. Strict: whatever is not exactly the form that was asked for is no vote.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::prompts::Prompt;

/// Characters of a judge's reasoning that are kept.
const REASONING_CHARACTERS_MAX: usize = 4_000;

/// What a judge decides.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Decision {
    /// The answer is right.
    Correct,
    /// It is not.
    Wrong,
    /// It cannot tell.
    Unsure,
}

/// One vote.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Vote {
    /// What it decides.
    pub decision: Decision,
    /// What it thought.
    pub reasoning: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Ours {
    reasoning: String,
    verdict: Decision,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Compat {
    correct: bool,
    reasoning: String,
}

/// The vote in `answer`.
///
/// # Errors
/// Why it is none.
pub(super) fn read(prompt: Prompt, answer: &str) -> Result<Vote, String> {
    let text = without_fence(answer.trim());
    // Unknown fields and fields that come twice are errors; whatever stands around the object, too.
    let vote = match prompt {
        Prompt::Default => {
            let Ours { reasoning, verdict } =
                serde_json::from_str(text).map_err(|error| error.to_string())?;
            in_order(text)?;
            Vote { decision: verdict, reasoning }
        }
        Prompt::Compat => {
            let Compat { correct, reasoning } =
                serde_json::from_str(text).map_err(|error| error.to_string())?;
            let decision = if correct { Decision::Correct } else { Decision::Wrong };
            Vote { decision, reasoning }
        }
    };
    let reasoning = vote.reasoning.chars().take(REASONING_CHARACTERS_MAX).collect();
    Ok(Vote { reasoning, ..vote })
}

/// A verdict that comes first was not thought about.
fn in_order(text: &str) -> Result<(), String> {
    let fields: Map<String, Value> =
        serde_json::from_str(text).map_err(|error| error.to_string())?;
    match fields.keys().next().map(String::as_str) {
        Some("reasoning") => Ok(()),
        _ => Err("the verdict stands before the reasoning".into()),
    }
}

/// `text` without a Markdown fence around all of it, which models write where no schema stops them.
fn without_fence(text: &str) -> &str {
    let inner = text.strip_prefix("```").and_then(|rest| rest.strip_suffix("```"));
    match inner.and_then(|inner| inner.split_once('\n')) {
        Some(("" | "json" | "JSON", inner)) => inner.trim(),
        Some(_) | None => text,
    }
}

/// What follows from the votes that are in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Tally {
    /// More than half of all votes say this.
    Decided(Decision),
    /// No decision can get more than half any more.
    Split,
    /// So many more votes are needed before it can be decided.
    Open(u32),
}

/// What `votes` of the `of` that there will be decide.
pub(super) fn tally(votes: &[Vote], of: u32) -> Tally {
    let count = |decision| votes.iter().filter(|vote| vote.decision == decision).count() as u32;
    let (correct, wrong) = (count(Decision::Correct), count(Decision::Wrong));
    let needed = of / 2 + 1;
    let left = of.saturating_sub(votes.len() as u32);
    if correct >= needed {
        Tally::Decided(Decision::Correct)
    } else if wrong >= needed {
        Tally::Decided(Decision::Wrong)
    } else if correct.max(wrong) + left < needed {
        Tally::Split
    } else {
        Tally::Open(needed - correct.max(wrong))
    }
}
