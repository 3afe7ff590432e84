//! The stage: judges every trace that has no verdict of the current verifiers.
//!
//! Resumes by nature: the missing verdicts are the work list.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

use super::{Attempt, Mode, Tools, VERIFIERS, judge, majority, verifier};
use crate::hint::Hinted;
use crate::records::{FinishReason, Question, Trace, Verdict, VerdictRow};
use crate::sandbox::Limits;
use crate::stage;

/// Traces that are fetched at once: 20 MB of text at the length of R1's traces.
const BATCH: u32 = 1024;

/// How often verdicts are stored. A crash loses no more than this.
const STORE_INTERVAL: Duration = Duration::from_millis(500);

/// Configuration of the stage.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// `strict`, or `upstream`: what the published code of OpenThoughts decides on programs.
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
}

impl Counts {
    fn count(&mut self, verdict: &Verdict) {
        match verdict {
            Verdict::Correct => self.correct += 1,
            Verdict::Wrong(_) => self.wrong += 1,
            Verdict::Unchecked(_) => self.unchecked += 1,
            Verdict::Unreadable(_) => self.unreadable += 1,
        }
    }
}

/// What the stage did.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Summary {
    /// Traces judged this time.
    pub judged: u64,
    /// How they did.
    #[serde(flatten)]
    pub counts: Counts,
    /// The same by domain.
    pub by_domain: BTreeMap<String, Counts>,
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

/// Judges every trace without a current verdict: by the rules, then, where they leave it open, by a
/// majority and by a judge if there are such; puts those into the queue that a person should look at.
///
/// # Errors
/// [`Paused`] if the judge's account is empty. If the store refuses, there is no Python for a program,
/// the judge cannot be asked, or somebody asked us to stop. Verdicts until then are kept.
pub fn run(cx: &stage::Context, config: &Config, tools: &Tools) -> anyhow::Result<Summary> {
    let begin = Instant::now();
    let mut summary = by_rules(cx, config, tools)?;
    if config.majority.min_samples > 0 {
        summary.majority = Some(majority::run(cx, &config.majority)?);
    }
    let ended = if config.judge.endpoint.is_some() {
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

/// Judges every trace without a current verdict by the rules.
fn by_rules(cx: &stage::Context, config: &Config, tools: &Tools) -> anyhow::Result<Summary> {
    let tools =
        Tools { limits: config.limits, mode: config.mode, stop: cx.stop.clone(), ..tools.clone() };
    let current: Vec<(&str, u32)> = VERIFIERS
        .iter()
        .filter(|verifier| verifier.modes().contains(&config.mode))
        .map(|verifier| (verifier.name(), verifier.version()))
        .collect();
    let total = cx.store.trace_counts()?.traces;
    let mut summary = Summary::default();
    loop {
        cx.stop_requested()?;
        let batch = cx.store.traces_without_verdict(&current, BATCH)?;
        if batch.is_empty() {
            return Ok(summary);
        }
        judge_batch(cx, &tools, &batch, &mut |question, row| {
            summary.judged += 1;
            summary.counts.count(&row.verdict);
            summary
                .by_domain
                .entry(question.domain.name().to_owned())
                .or_default()
                .count(&row.verdict);
            cx.progress.set(summary.judged, total.max(summary.judged), "judging traces");
        })?;
    }
}

/// Judges a batch on every core, storing verdicts as they come.
fn judge_batch(
    cx: &stage::Context,
    tools: &Tools,
    batch: &[(Question, Trace)],
    seen: &mut dyn FnMut(&Question, &VerdictRow),
) -> anyhow::Result<()> {
    let threads = std::thread::available_parallelism().map_or(1, usize::from).min(batch.len());
    let next = AtomicUsize::new(0);
    let (sender, receiver) = mpsc::channel();
    std::thread::scope(|scope| {
        for _ in 0..threads {
            let (sender, next) = (sender.clone(), &next);
            scope.spawn(move || {
                while let Some((question, trace)) = batch.get(next.fetch_add(1, Ordering::Relaxed))
                {
                    let judged = cx
                        .stop_requested()
                        .map_err(anyhow::Error::from)
                        .and_then(|()| judge(question, trace, tools));
                    let failed = judged.is_err();
                    // Nobody listens any more once something failed: then there is nothing to do.
                    let heard = sender.send(judged.map(|row| (question, row)));
                    if failed || heard.is_err() {
                        return;
                    }
                }
            });
        }
        drop(sender);
        let mut rows = Vec::new();
        let mut stored = Instant::now();
        let mut failure = None;
        for judged in receiver {
            match judged {
                Ok((question, row)) => {
                    seen(question, &row);
                    rows.push(row);
                }
                Err(error) => {
                    // The others stop at their next trace; programs that run finish within limits.
                    next.store(batch.len(), Ordering::Relaxed);
                    failure.get_or_insert(error);
                }
            }
            if stored.elapsed() >= STORE_INTERVAL {
                cx.store.put_verdicts(&rows)?;
                rows.clear();
                stored = Instant::now();
            }
        }
        cx.store.put_verdicts(&rows)?;
        failure.map_or(Ok(()), Err)
    })
}

fn judge(question: &Question, trace: &Trace, tools: &Tools) -> anyhow::Result<VerdictRow> {
    let verifier = verifier(question, tools.mode);
    let attempt = Attempt {
        solution: &trace.solution,
        truncated: trace.finish_reason == FinishReason::Length,
    };
    let judgement = verifier.verify(question, &attempt, tools)?;
    Ok(VerdictRow {
        trace_id: trace.id,
        verdict: judgement.verdict,
        verifier: verifier.name().to_owned(),
        version: verifier.version(),
        detail: judgement.detail,
    })
}
