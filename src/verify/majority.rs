//! What several attempts at one question agree on, where there is no reference to compare with.
//!
//! Answers are the same if the math engine proves it. The largest group wins if it is large enough
//! and alone; its answer is taken for right, and the verdict says that it was only voted on. Off
//! unless a least number of attempts is set. OpenThoughts' authors advise it for 16 attempts.

use serde::{Deserialize, Serialize};
use serde_json::json;
use sha2::{Digest, Sha256};

use super::latex::{self, Mark, Outcome, Policy};
use crate::records::{FinishReason, Judgement, Trace, Verdict};
use crate::stage::Context;

/// Raised whenever a change can alter a verdict.
const VERSION: u32 = 2;

/// Name of the majority as a verifier; never renamed.
const NAME: &str = "majority";

/// When a majority decides.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// Attempts that a question must have; 0: nothing is voted on.
    pub min_samples: u32,
    /// Part of all attempts that must agree, 0 to 1.
    pub min_share: f64,
}

impl Default for Config {
    fn default() -> Self {
        Self { min_samples: 0, min_share: 0.5 }
    }
}

impl Config {
    /// Every rule between the settings that is broken.
    pub fn problems(&self) -> Vec<String> {
        let mut problems = Vec::new();
        if self.min_samples == 1 {
            problems.push("`majority.min_samples` is 1: one attempt always agrees".into());
        }
        if !(self.min_share > 0.0 && self.min_share <= 1.0) {
            let share = self.min_share;
            problems.push(format!("`majority.min_share` is {share}; a part is above 0, at most 1"));
        }
        problems
    }
}

/// What was voted on.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Counts {
    /// Questions without a reference that had enough attempts.
    pub questions: u64,
    /// Those with a majority.
    pub decided: u64,
}

/// Votes on every question without a reference that has enough attempts.
///
/// # Errors
/// If the store refuses or somebody asked us to stop.
pub(super) fn run(cx: &Context, config: &Config) -> anyhow::Result<Counts> {
    let mut counts = Counts::default();
    if config.min_samples == 0 {
        return Ok(counts);
    }
    for question in cx.store.questions_to_vote_on(config.min_samples)? {
        cx.stop_requested()?;
        let traces = cx.store.traces_of(question)?;
        let answers: Vec<Option<String>> = traces.iter().map(answer).collect();
        let tally = tally(&answers, config.min_share);
        counts.questions += 1;
        counts.decided += u64::from(tally.is_decided());
        let settings = settings(config, &traces);
        let rows: Vec<Judgement> = traces
            .iter()
            .enumerate()
            .filter(|(index, _)| answers[*index].is_some())
            .map(|(index, trace)| Judgement {
                trace_id: trace.id,
                verdict: tally.verdict(index),
                verifier: NAME.to_owned(),
                version: VERSION,
                settings: settings.clone(),
                detail: tally.detail(config),
            })
            .collect();
        cx.store.put_judgements(&rows)?;
    }
    Ok(counts)
}

/// The answer of a trace that is complete and marks it clearly.
fn answer(trace: &Trace) -> Option<String> {
    if trace.finish_reason == FinishReason::Length {
        return None;
    }
    let (mark, answer) = latex::find_boxed(&trace.solution)?;
    (mark <= Mark::Announced).then_some(answer)
}

fn settings(config: &Config, traces: &[Trace]) -> String {
    let ids: Vec<i64> = traces.iter().map(|trace| trace.id.0).collect();
    format!("{:x}", Sha256::digest(json!([config, ids]).to_string()))
}

/// What the attempts at one question say.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Tally<'a> {
    /// Which attempts say the same, the largest group first.
    groups: Vec<Vec<usize>>,
    answers: &'a [Option<String>],
    decided: bool,
}

/// Groups `answers` by equality and sees whether one group is large enough and alone.
fn tally(answers: &[Option<String>], min_share: f64) -> Tally<'_> {
    let mut groups: Vec<Vec<usize>> = Vec::new();
    for (index, answer) in answers.iter().enumerate() {
        let Some(answer) = answer else { continue };
        let same = |group: &&mut Vec<usize>| {
            let first = group.first().and_then(|first| answers[*first].as_deref());
            first.is_some_and(|first| is_same(first, answer))
        };
        match groups.iter_mut().find(same) {
            Some(group) => group.push(index),
            None => groups.push(vec![index]),
        }
    }
    groups.sort_by_key(|group| std::cmp::Reverse(group.len()));
    let size = |at: usize| groups.get(at).map_or(0, Vec::len);
    let share = size(0) as f64 / answers.len().max(1) as f64;
    let decided = size(0) > size(1) && size(0) > 1 && share >= min_share;
    Tally { groups, answers, decided }
}

fn is_same(left: &str, right: &str) -> bool {
    let compared = latex::compare(left, right, &Policy::default());
    left == right || compared.decision.outcome == Outcome::Equal
}

impl Tally<'_> {
    fn is_decided(&self) -> bool {
        self.decided
    }

    /// The answer of the largest group.
    fn winner(&self) -> &str {
        let first = self.groups.first().and_then(|group| group.first());
        first.and_then(|index| self.answers[*index].as_deref()).unwrap_or_default()
    }

    fn size(&self) -> usize {
        self.groups.first().map_or(0, Vec::len)
    }

    /// The verdict on attempt `index`.
    fn verdict(&self, index: usize) -> Verdict {
        let (size, all) = (self.size(), self.answers.len());
        if !self.decided {
            let why = format!("no majority: at most {size} of {all} attempts agree");
            return Verdict::Unchecked(why);
        }
        if self.groups.first().is_some_and(|group| group.contains(&index)) {
            return Verdict::Correct;
        }
        Verdict::Wrong(format!("{size} of {all} attempts agree on `{}`", self.winner()))
    }

    fn detail(&self, config: &Config) -> serde_json::Value {
        json!({
            "answer": self.winner(),
            "agree": self.size(),
            "samples": self.answers.len(),
            "groups": self.groups.iter().map(Vec::len).collect::<Vec<_>>(),
            "min_share": config.min_share,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::tally;

    #[track_caller]
    fn check(answers: &[&str], min_share: f64, expected: &str) {
        let answers: Vec<Option<String>> = answers
            .iter()
            .map(|answer| Some((*answer).to_owned()).filter(|a| !a.is_empty()))
            .collect();
        let tally = tally(&answers, min_share);
        let letters: String = (0..answers.len())
            .map(|index| tally.verdict(index).name().chars().next().unwrap())
            .collect();
        assert_eq!(letters, expected, "{answers:?}");
    }

    #[test]
    fn the_largest_group_of_equal_answers_wins_if_it_is_large_enough_and_alone() {
        check(&[r"\frac{1}{2}", "0.5", "2"], 0.5, "ccw");
        check(&["1", "2", "1", "2"], 0.5, "uuuu");
        check(&["1", "2", "3"], 0.3, "uuu");
        check(&["1", "1", "2", "3", "4"], 0.5, "uuuuu");
        check(&["1", "1", "2", "3", "4"], 0.4, "ccwww");
        check(&["7", "7"], 1.0, "cc");
        check(&["7"], 0.5, "u");
    }

    #[test]
    fn attempts_without_an_answer_count_against_the_majority() {
        check(&["1", "1", "", "", ""], 0.5, "uuuuu");
        check(&["1", "1", "1", "", ""], 0.5, "cccww");
        check(&[], 0.5, "");
        check(&["", ""], 0.5, "uu");
    }
}
