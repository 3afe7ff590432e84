//! `verify review`: the traces that a person should look at, and what they decide.

use serde_json::{Value, json};

use super::Global;
use crate::hint::Hinted;
use crate::records::{ReviewAction, ReviewEntry, ReviewItem, ReviewReason, ReviewState, TraceId};
use crate::store::{self, ReviewFilter, Store};

/// Reviews that are listed where nobody says how many.
const LISTED: u32 = 20;

/// Characters of an answer in a list for people.
const SHOWN: usize = 60;

/// Options of `verify review`.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Say that these traces are correct
    #[arg(long, value_name = "ID", num_args = 1..)]
    accept: Vec<i64>,
    /// Say that these traces are wrong
    #[arg(long, value_name = "ID", num_args = 1..)]
    reject: Vec<i64>,
    /// Do not ask about these traces again
    #[arg(long, value_name = "ID", num_args = 1..)]
    skip: Vec<i64>,
    /// Take back what was decided about these traces
    #[arg(long, value_name = "ID", num_args = 1..)]
    reopen: Vec<i64>,
    /// Why, for whoever asks later
    #[arg(long, value_name = "TEXT", default_value = "")]
    note: String,
    /// Only those that stand so
    #[arg(long, value_name = "STATE", default_value = "open",
          value_parser = ["open", "accepted", "rejected", "skipped", "all"])]
    state: String,
    /// Only those that are here for this
    #[arg(long, value_name = "REASON", value_parser = ["disagreement", "abstained", "asked"])]
    reason: Option<String>,
    /// How many at most
    #[arg(long, value_name = "N", default_value_t = LISTED)]
    limit: u32,
    /// Only those after this trace
    #[arg(long, value_name = "ID", default_value_t = 0)]
    after: i64,
}

pub(super) fn run(global: &Global, args: &Args) -> anyhow::Result<()> {
    let store = Store::open(&global.data_dir())?;
    let decisions: Vec<(ReviewAction, i64)> = [
        (ReviewAction::Accept, &args.accept),
        (ReviewAction::Reject, &args.reject),
        (ReviewAction::Skip, &args.skip),
        (ReviewAction::Reopen, &args.reopen),
    ]
    .into_iter()
    .flat_map(|(action, ids)| ids.iter().map(move |id| (action, *id)))
    .collect();
    if decisions.is_empty() {
        return list(global, &store, args);
    }
    let who = who();
    let mut decided = Vec::new();
    for (action, id) in decisions {
        let id = TraceId(id);
        store.decide_review(id, action, &who, &args.note).map_err(unknown)?;
        decided.push((id, store.review_log(id)?.pop()));
    }
    show_decided(global, &decided);
    Ok(())
}

fn unknown(error: store::Error) -> anyhow::Error {
    if matches!(error, store::Error::NotFound { .. }) {
        let hint = "ids are those of `thinkery verify review --json`";
        return Hinted::new(error.to_string(), hint).into();
    }
    error.into()
}

/// Who decides: the user of the command line.
fn who() -> String {
    let name = |name| std::env::var(name).ok().filter(|user| !user.trim().is_empty());
    name("USER").or_else(|| name("LOGNAME")).unwrap_or_else(|| "command line".into())
}

fn list(global: &Global, store: &Store, args: &Args) -> anyhow::Result<()> {
    let filter = ReviewFilter {
        state: ReviewState::from_name(&args.state),
        reason: args.reason.as_deref().and_then(ReviewReason::from_name),
    };
    let items = store.reviews_page(filter, TraceId(args.after), args.limit)?;
    let full = items.len() >= args.limit as usize;
    let next = items.last().filter(|_| full).map(|item| item.review.trace_id.0);
    show(global, &items, next);
    Ok(())
}

fn json_of(item: &ReviewItem) -> Value {
    let ReviewItem { review, example, rule, judgement } = item;
    json!({
        "id": review.trace_id.0,
        "reason": review.reason,
        "state": review.state,
        "domain": example.question.domain,
        "problem": example.question.problem,
        "reference": example.question.reference,
        "solution": example.trace.solution,
        "verdict": example.verdict.as_ref().map(crate::records::Verdict::name),
        "rule": rule.as_ref().map(|row| json!({
            "verifier": row.verifier,
            "version": row.version,
            "verdict": row.verdict.name(),
            "why": row.verdict.why(),
        })),
        "judge": judgement.as_ref().map(|judgement| json!({
            "verifier": judgement.verifier,
            "version": judgement.version,
            "verdict": judgement.verdict.name(),
            "why": judgement.verdict.why(),
            "detail": judgement.detail,
        })),
        "opened_at": review.opened_at,
        "decided_at": review.decided_at,
        "decided_by": review.decided_by,
    })
}

#[expect(clippy::print_stdout, reason = "the result of the verb")]
fn show(global: &Global, items: &[ReviewItem], next: Option<i64>) {
    if global.json {
        let items: Vec<Value> = items.iter().map(json_of).collect();
        println!("{}", json!({ "items": items, "next": next }));
        return;
    }
    if items.is_empty() {
        println!("nothing to review");
        return;
    }
    println!("{:>8} {:<12} {:<9} {:<10} {:<10} answer", "id", "reason", "domain", "rules", "judge");
    for item in items {
        let rule = item.rule.as_ref().map_or("-", |row| row.verdict.name());
        let judge = item.judgement.as_ref().map_or("-", |judgement| judgement.verdict.name());
        let answer = item.example.trace.solution.split_whitespace().collect::<Vec<_>>().join(" ");
        let skip = answer.chars().count().saturating_sub(SHOWN);
        let end: String = answer.chars().skip(skip).collect();
        println!(
            "{:>8} {:<12} {:<9} {rule:<10} {judge:<10} {end}",
            item.review.trace_id.0,
            item.review.reason.name(),
            item.example.question.domain.name(),
        );
    }
    if let Some(next) = next {
        println!("more with --after {next}");
    }
}

#[expect(clippy::print_stdout, reason = "the result of the verb")]
fn show_decided(global: &Global, decided: &[(TraceId, Option<ReviewEntry>)]) {
    let pair = |verdict: &Option<(String, String)>| match verdict {
        Some((verdict, verifier)) => format!("{verdict} ({verifier})"),
        None => "nothing".into(),
    };
    let side = |verdict: &Option<(String, String)>| {
        verdict.as_ref().map(|(verdict, by)| json!({ "verdict": verdict, "verifier": by }))
    };
    let mut rows = Vec::new();
    for (id, entry) in decided {
        let Some(entry) = entry else { continue };
        if global.json {
            rows.push(json!({
                "id": id.0,
                "action": entry.action,
                "who": entry.who,
                "note": entry.note,
                "before": side(&entry.before),
                "after": side(&entry.after),
                "at": entry.at,
            }));
        } else {
            let (before, after) = (pair(&entry.before), pair(&entry.after));
            println!("{id}: {} by {}: {before} -> {after}", entry.action.name(), entry.who);
        }
    }
    if global.json {
        println!("{}", json!({ "decided": rows }));
    }
}
