//! Judges traces by the rules: programs by their tests, math by the engine.
//!
//! The missing verdicts are the work list. A trace that cannot be judged, through no fault of its own,
//! stays without a verdict and is judged again by the next run.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use super::{Attempt, Config, Summary, Tools, Unjudged, VERIFIERS, verifier};
use crate::records::{Domain, FinishReason, Question, Trace, TraceId, Unresolved, VerdictRow};
use crate::stage;

/// Traces on the work list at once. Texts and tests are fetched one by one: a question of
/// CodeContests may have 5 MB of tests.
const BATCH: u32 = 4096;

/// How often verdicts are stored. A crash loses no more than this.
const STORE_INTERVAL: Duration = Duration::from_millis(500);

/// What became of one trace.
pub(super) enum Judged {
    Verdict(VerdictRow),
    Unresolved(Unresolved),
}

/// Judges every trace without a current verdict by the rules.
///
/// # Errors
/// If the store refuses, no program can be run, or somebody asked us to stop.
pub(super) fn by_rules(
    cx: &stage::Context,
    config: &Config,
    tools: &Tools,
) -> anyhow::Result<Summary> {
    let tools =
        Tools { limits: config.limits, mode: config.mode, stop: cx.stop.clone(), ..tools.clone() };
    let current: Vec<(&str, u32)> = VERIFIERS
        .iter()
        .filter(|verifier| verifier.modes().contains(&config.mode))
        .map(|verifier| (verifier.name(), verifier.version()))
        .collect();
    let total = cx.store.trace_counts()?.traces;
    let mut summary = Summary { mode: config.mode, ..Summary::default() };
    let mut after = TraceId(0);
    loop {
        cx.stop_requested()?;
        let batch = cx.store.traces_without_verdict(config.mode, &current, after, BATCH)?;
        let Some(last) = batch.last() else { return Ok(summary) };
        after = *last;
        judge_batch(cx, &tools, &batch, &mut |domain, judged| {
            summary.count(domain, judged);
            let done = summary.judged + summary.counts.unresolved;
            cx.progress.set(done, total.max(done), "judging traces");
        })?;
    }
}

/// Judges a batch on every core, storing verdicts as they come.
fn judge_batch(
    cx: &stage::Context,
    tools: &Tools,
    batch: &[TraceId],
    seen: &mut dyn FnMut(Domain, &Judged),
) -> anyhow::Result<()> {
    let threads = std::thread::available_parallelism().map_or(1, usize::from).min(batch.len());
    let next = AtomicUsize::new(0);
    let (sender, receiver) = mpsc::channel();
    std::thread::scope(|scope| {
        for _ in 0..threads {
            let (sender, next) = (sender.clone(), &next);
            scope.spawn(move || {
                while let Some(id) = batch.get(next.fetch_add(1, Ordering::Relaxed)) {
                    let judged = judge_one(cx, *id, tools);
                    let failed = judged.is_err();
                    // Nobody listens any more once something failed: then there is nothing to do.
                    let heard = sender.send(judged);
                    if failed || heard.is_err() {
                        return;
                    }
                }
            });
        }
        drop(sender);
        let mut keeper = Keeper { cx, rows: Vec::new(), unresolved: Vec::new() };
        let mut stored = Instant::now();
        let mut failure = None;
        for judged in receiver {
            match judged {
                Ok((domain, judged)) => {
                    seen(domain, &judged);
                    keeper.take(judged);
                }
                Err(error) => {
                    // The others stop at their next trace; programs that run finish within limits.
                    next.store(batch.len(), Ordering::Relaxed);
                    failure.get_or_insert(error);
                }
            }
            if stored.elapsed() >= STORE_INTERVAL {
                keeper.store()?;
                stored = Instant::now();
            }
        }
        keeper.store()?;
        failure.map_or(Ok(()), Err)
    })
}

/// What waits to be stored.
struct Keeper<'a> {
    cx: &'a stage::Context,
    rows: Vec<VerdictRow>,
    unresolved: Vec<Unresolved>,
}

impl Keeper<'_> {
    fn take(&mut self, judged: Judged) {
        match judged {
            Judged::Verdict(row) => self.rows.push(row),
            Judged::Unresolved(row) => self.unresolved.push(row),
        }
    }

    fn store(&mut self) -> anyhow::Result<()> {
        self.cx.store.put_verdicts(&self.rows)?;
        self.cx.store.put_unresolved(&self.unresolved)?;
        self.rows.clear();
        self.unresolved.clear();
        Ok(())
    }
}

fn judge_one(
    cx: &stage::Context,
    trace_id: TraceId,
    tools: &Tools,
) -> anyhow::Result<(Domain, Judged)> {
    cx.stop_requested()?;
    let (question, trace) = cx.store.asked_and_answered(trace_id)?;
    let judged = match judge(&question, &trace, tools) {
        Ok(row) => Judged::Verdict(row),
        Err(error) => match error.downcast::<Unjudged>() {
            Ok(Unjudged(why)) => Judged::Unresolved(Unresolved { trace_id, mode: tools.mode, why }),
            Err(error) => return Err(error),
        },
    };
    Ok((question.domain, judged))
}

/// Judges one trace with the tools as they are.
pub(super) fn judge(
    question: &Question,
    trace: &Trace,
    tools: &Tools,
) -> anyhow::Result<VerdictRow> {
    let verifier = verifier(question, tools.mode);
    let attempt = Attempt {
        solution: &trace.solution,
        truncated: trace.finish_reason == FinishReason::Length,
    };
    let judgement = verifier.verify(question, &attempt, tools)?;
    Ok(VerdictRow {
        trace_id: trace.id,
        mode: tools.mode,
        verdict: judgement.verdict,
        verifier: verifier.name().to_owned(),
        version: verifier.version(),
        detail: judgement.detail,
    })
}
