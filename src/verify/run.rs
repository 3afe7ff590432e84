//! The stage: judges every trace that has no verdict of the current verifiers.
//!
//! Resumes by nature: the missing verdicts are the work list. A trace that cannot be judged, through no
//! fault of its own, stays without a verdict, is counted, and is judged again by the next run.

use std::collections::BTreeMap;
use std::time::Instant;

use serde::{Deserialize, Serialize};

use super::rules::{Judged, by_rules};
use super::{Mode, Tools, judge, majority};
use crate::hint::Hinted;
use crate::records::{Domain, Verdict};
use crate::sandbox::Limits;
use crate::stage;

/// Unresolved traces that are listed one by one; the rest is only counted.
const UNRESOLVED_LISTED: usize = 20;

/// Configuration of the stage.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// `strict`, or what a published harness decides on programs: `upstream` (OpenThoughts), `lcb`
    /// (LiveCodeBench), `evalchemy-lcb`. Verdicts of different modes live side by side.
    pub mode: Mode,
    /// What one run of a program may use. OpenThoughts: 4 s of wall time, nothing else.
    pub limits: Limits,
    /// Who judges what the rules leave open; nobody unless an endpoint is named.
    pub judge: judge::Config,
    /// When attempts at a question without a reference are voted on; never unless it is said.
    pub majority: majority::Config,
}

impl Config {
    /// Every rule between the settings that is broken.
    pub fn problems(&self) -> Vec<String> {
        [self.judge.problems(), self.majority.problems()].concat()
    }
}

/// How many verdicts of each kind.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Counts {
    /// Judged correct.
    pub correct: u64,
    /// Judged wrong.
    pub wrong: u64,
    /// No verifier can decide.
    pub unchecked: u64,
    /// No answer found.
    pub unreadable: u64,
    /// Could not be judged, through no fault of their own: they have no verdict.
    #[serde(default)]
    pub unresolved: u64,
}

impl Counts {
    fn count(&mut self, judged: &Judged) {
        match judged {
            Judged::Verdict(row) => match row.verdict {
                Verdict::Correct => self.correct += 1,
                Verdict::Wrong(_) => self.wrong += 1,
                Verdict::Unchecked(_) => self.unchecked += 1,
                Verdict::Unreadable(_) => self.unreadable += 1,
            },
            Judged::Unresolved(_) => self.unresolved += 1,
        }
    }
}

/// What the stage did.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Summary {
    /// By whose rules.
    #[serde(default)]
    pub mode: Mode,
    /// Traces judged this time.
    pub judged: u64,
    /// How they did.
    #[serde(flatten)]
    pub counts: Counts,
    /// The same by domain.
    pub by_domain: BTreeMap<String, Counts>,
    /// Programs judged, by comparator.
    #[serde(default)]
    pub by_comparator: BTreeMap<String, u64>,
    /// Why traces could not be judged, the first few.
    #[serde(default)]
    pub unresolved_why: Vec<String>,
    /// Wall time in seconds.
    pub seconds: f64,
    /// What was voted on; none if nothing is.
    #[serde(default)]
    pub majority: Option<majority::Counts>,
    /// What the judge did; none if nobody was asked.
    #[serde(default)]
    pub judge: Option<judge::Counts>,
    /// Traces that wait for a person.
    #[serde(default)]
    pub reviews_open: u64,
    /// Whether it ended early because there is no more money for the judge.
    #[serde(default)]
    pub paused: bool,
}

/// The judge's account is empty: nothing can be asked before somebody pays.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[error("{why}")]
pub struct Paused {
    /// What the endpoint says.
    pub why: String,
    /// What was done until then.
    pub summary: Summary,
}

impl Summary {
    /// Counts one trace.
    pub(super) fn count(&mut self, domain: Domain, judged: &Judged) {
        self.counts.count(judged);
        self.by_domain.entry(domain.name().to_owned()).or_default().count(judged);
        match judged {
            Judged::Verdict(row) => {
                self.judged += 1;
                if let Some(comparator) = row.detail["comparator"].as_str() {
                    *self.by_comparator.entry(comparator.to_owned()).or_default() += 1;
                }
            }
            Judged::Unresolved(row) if self.unresolved_why.len() < UNRESOLVED_LISTED => {
                self.unresolved_why.push(format!("trace {}: {}", row.trace_id, row.why));
            }
            Judged::Unresolved(_) => {}
        }
    }
}

/// Judges every trace without a current verdict: by the rules, then, where they leave it open, by a
/// majority and by a judge if there are such; puts those into the queue that a person should look at.
///
/// # Errors
/// [`Paused`] if the judge's account is empty. If the store refuses, there is no Python for a program,
/// the judge cannot be asked, or somebody asked us to stop. Verdicts until then are kept.
pub fn run(cx: &stage::Context, config: &Config, tools: &Tools) -> anyhow::Result<Summary> {
    let begin = Instant::now();
    let mut summary = by_rules(cx, config, tools)?;
    // Judges and people decide beside the strict rules alone.
    let strict = config.mode == Mode::Strict;
    if strict && config.majority.min_samples > 0 {
        summary.majority = Some(majority::run(cx, &config.majority)?);
    }
    let ended = if strict && config.judge.endpoint.is_some() {
        let (counts, ended) = judge::run(cx, &config.judge, tools.judge_key.clone());
        summary.paused = counts.paused;
        summary.judge = Some(counts);
        ended
    } else {
        Ok(())
    };
    cx.store.refresh_reviews()?;
    let open = |(state, count): (String, u64)| if state == "open" { count } else { 0 };
    summary.reviews_open = cx.store.review_counts()?.into_iter().map(open).sum();
    summary.seconds = begin.elapsed().as_secs_f64();
    match ended {
        Ok(()) => Ok(summary),
        Err(error) if summary.paused => {
            let why = error.root_cause().to_string();
            let hint = stage::hint_of(&error).unwrap_or_default();
            let context = Hinted::new(error.to_string(), hint);
            Err(anyhow::Error::new(Paused { why, summary }).context(context))
        }
        Err(error) => Err(error),
    }
}
