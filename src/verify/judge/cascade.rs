//! Which traces a judge is asked about, and what its word counts.
//!
//! What the rules have decided stays decided; what they leave open goes to the judge. A part of the
//! decided ones may go there as well, to see whether the two agree: where they do not, a person is
//! asked.

use std::time::{Duration, Instant};

use serde_json::json;
use sha2::{Digest, Sha256};

use super::ask::{Counts, Judge};
use super::opinion::Opinion;
use super::prompts::Case;
use super::reply::Decision;
use super::{Config, Key, NAME, Shows, VERSION};
use crate::records::{Domain, Judgement, Question, Trace, TraceId, Verdict};
use crate::stage::Context;
use crate::store::ToJudge;
use crate::verify::latex;

/// Traces that are fetched at once: 20 MB of text at the length of R1's traces.
const BATCH: u32 = 1_024;

/// How often judgements are stored. Replies are kept as they come, so a crash loses none of these.
const STORE_INTERVAL: Duration = Duration::from_millis(500);

/// What counts if the rules say `rule` and the judge decides `judge`.
pub(in crate::verify) fn cascade(rule: &Verdict, judge: Option<Decision>) -> Verdict {
    match (rule, judge) {
        (Verdict::Unchecked(_), Some(Decision::Correct)) => Verdict::Correct,
        (Verdict::Unchecked(_), Some(Decision::Wrong)) => Verdict::Wrong("the judge".into()),
        (Verdict::Unchecked(_), Some(Decision::Unsure) | None)
        | (Verdict::Correct | Verdict::Wrong(_) | Verdict::Unreadable(_), _) => rule.clone(),
    }
}

/// What the judge is shown of an attempt at `reference`.
pub(in crate::verify) fn case<'a>(
    shows: Shows,
    (domain, problem): (Domain, &'a str),
    (candidate, answer): (&'a str, Option<&'a str>),
    reference: &'a str,
) -> Case<'a> {
    let candidate = match shows {
        Shows::Solution => candidate,
        Shows::Answer => answer.unwrap_or(candidate),
    };
    Case { domain, problem, candidate, reference }
}

/// Asks the judge about every trace that it has not judged under these settings. What it did comes
/// back however that ended.
pub(in crate::verify) fn run(
    cx: &Context,
    config: &Config,
    key: Option<Key>,
) -> (Counts, anyhow::Result<()>) {
    let mut judge = match Judge::new(cx, config, key) {
        Ok(judge) => judge,
        Err(error) => return (Counts::default(), Err(error)),
    };
    let ended = judge_all(cx, config, &mut judge).and_then(|()| {
        let Counts { judged, failed, .. } = judge.counts;
        match judge.last_error() {
            Some(error) if judged == 0 && failed > 0 => Err(judge.explained(error)),
            Some(_) | None => Ok(()),
        }
    });
    (judge.counts, ended)
}

fn judge_all(cx: &Context, config: &Config, judge: &mut Judge<'_>) -> anyhow::Result<()> {
    let settings = settings(config);
    let domains: Vec<&str> =
        Domain::ALL.into_iter().filter(|d| config.prompt.covers(*d)).map(Domain::name).collect();
    let wanted = ToJudge {
        version: VERSION,
        settings: &settings,
        domains: &domains,
        audit_per_million: (config.audit * 1e6).round() as u32,
    };
    let total = cx.store.count_to_judge(&wanted)?;
    let mut after = TraceId(0);
    while !judge.counts.paused {
        cx.stop_requested()?;
        let batch = cx.store.traces_to_judge(&wanted, after, BATCH)?;
        let Some((_, last)) = batch.last() else { break };
        after = last.id;
        let done = judge.counts.judged;
        judge_batch(cx, (config, &settings), judge, &batch, &mut |more| {
            cx.progress.set(done + more, total.max(done + more), "asking the judge");
        })?;
    }
    Ok(())
}

fn judge_batch(
    cx: &Context,
    (config, settings): (&Config, &str),
    judge: &mut Judge<'_>,
    batch: &[(Question, Trace)],
    seen: &mut dyn FnMut(u64),
) -> anyhow::Result<()> {
    let answers: Vec<Option<String>> =
        batch.iter().map(|(_, trace)| latex::last_boxes(&trace.solution)).collect();
    let cases: Vec<Case<'_>> = batch
        .iter()
        .zip(&answers)
        .map(|((question, trace), answer)| {
            let asked = (question.domain, question.problem.as_str());
            let reference = question.reference.as_deref().unwrap_or_default();
            case(config.shows, asked, (&trace.solution, answer.as_deref()), reference)
        })
        .collect();
    let mut rows: Vec<Judgement> = Vec::new();
    let mut stored = Instant::now();
    let mut done = 0;
    let ended = judge.ask(&cases, &mut |index, opinion| {
        rows.push(row(config, settings, batch[index].1.id, &opinion));
        done += 1;
        seen(done);
        if stored.elapsed() >= STORE_INTERVAL {
            cx.store.put_judgements(&rows)?;
            rows.clear();
            stored = Instant::now();
        }
        Ok(())
    });
    cx.store.put_judgements(&rows)?;
    ended
}

fn row(config: &Config, settings: &str, trace_id: TraceId, opinion: &Opinion) -> Judgement {
    Judgement {
        trace_id,
        verdict: opinion.verdict(),
        verifier: NAME.to_owned(),
        version: VERSION,
        settings: settings.to_owned(),
        detail: json!({
            "model": config.model,
            "endpoint": config.label(),
            "prompt": config.prompt,
            "shows": config.shows,
            "temperature": config.temperature,
            "of": config.votes,
            "votes": opinion.votes,
        }),
    }
}

/// Hash of everything that can alter a judgement.
fn settings(config: &Config) -> String {
    let parts = json!([
        config.label(),
        config.model,
        config.prompt,
        config.votes,
        config.shows,
        config.schema,
        config.temperature,
        config.max_tokens,
        config.seed,
        config.form_attempts_max,
    ]);
    format!("{:x}", Sha256::digest(parts.to_string()))
}
