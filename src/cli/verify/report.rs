//! `verify report`: what each mode decided, and what it would keep that strict rules would not.

use std::collections::BTreeMap;

use serde::Serialize;

use super::super::Global;
use crate::chat::remote::Provider;
use crate::records::Mode;
use crate::store::{ModeCount, Spent, Store};

/// One mode's line.
#[derive(Serialize)]
struct Line {
    correct: u64,
    wrong: u64,
    unchecked: u64,
    unreadable: u64,
    /// Traces that could not be judged.
    unresolved: u64,
    /// Traces that have a strict verdict too.
    compared: u64,
    /// Of these, correct here and not by strict rules.
    only_here: u64,
    /// Of these, correct by strict rules and not here.
    only_strict: u64,
}

impl From<ModeCount> for Line {
    fn from(count: ModeCount) -> Self {
        let of = |verdict| count.verdicts.get(verdict).copied().unwrap_or_default();
        Self {
            correct: of("correct"),
            wrong: of("wrong"),
            unchecked: of("unchecked"),
            unreadable: of("unreadable"),
            unresolved: count.unresolved,
            compared: count.compared,
            only_here: count.only_here,
            only_strict: count.only_strict,
        }
    }
}

/// Programs compared in one way.
#[derive(Serialize)]
struct Compared {
    programs: u64,
    /// Part of all programs.
    share: f64,
    correct: u64,
}

/// What was spent at one endpoint.
#[derive(Serialize)]
struct Account {
    endpoint: String,
    provider: &'static str,
    traces: u64,
    judge_replies: u64,
    teachers_usd: f64,
    judges_usd: f64,
}

impl From<Spent> for Account {
    fn from(spent: Spent) -> Self {
        let Spent { endpoint, traces, judge_replies, teachers_usd, judges_usd } = spent;
        let provider = Provider::of(&endpoint).name;
        Self { endpoint, provider, traces, judge_replies, teachers_usd, judges_usd }
    }
}

#[derive(Serialize)]
struct Report {
    modes: BTreeMap<&'static str, Line>,
    comparators: BTreeMap<String, Compared>,
    /// Teachers and judges, endpoint by endpoint: budgets count all of it.
    ledger: Vec<Account>,
}

#[expect(clippy::print_stdout, reason = "the result of the verb")]
pub(super) fn run(global: &Global) -> anyhow::Result<()> {
    let report = report(&Store::open(&global.data_dir())?)?;
    if global.json {
        println!("{}", serde_json::to_string(&report)?);
        return Ok(());
    }
    println!(
        "{:<14} {:>8} {:>8} {:>9} {:>10} {:>10} {:>11} {:>11}",
        "mode",
        "correct",
        "wrong",
        "unchecked",
        "unreadable",
        "unresolved",
        "only here",
        "only strict"
    );
    for mode in Mode::ALL {
        let Some(line) = report.modes.get(mode.name()) else { continue };
        println!(
            "{:<14} {:>8} {:>8} {:>9} {:>10} {:>10} {:>11} {:>11}",
            mode.name(),
            line.correct,
            line.wrong,
            line.unchecked,
            line.unreadable,
            line.unresolved,
            line.only_here,
            line.only_strict
        );
    }
    for (name, compared) in &report.comparators {
        let Compared { programs, share, correct } = compared;
        println!("{name:<16} {programs:>8} programs ({:.1} %), {correct} correct", share * 100.0);
    }
    for (mode, line) in report.modes.iter().filter(|(_, line)| line.only_here > 0) {
        let (more, of) = (line.only_here, line.compared);
        println!("{more} of {of} traces that `{mode}` keeps would not pass strict rules");
    }
    for account in report.ledger.iter().filter(|a| a.teachers_usd + a.judges_usd > 0.0) {
        let Account { endpoint, teachers_usd, judges_usd, .. } = account;
        println!(
            "{endpoint}: {teachers_usd:.4} US dollars for teachers, {judges_usd:.4} for judges"
        );
    }
    Ok(())
}

fn report(store: &Store) -> anyhow::Result<Report> {
    let mut modes = BTreeMap::new();
    for mode in Mode::ALL {
        let count = store.mode_count(mode)?;
        if !count.verdicts.is_empty() || count.unresolved > 0 {
            modes.insert(mode.name(), Line::from(count));
        }
    }
    let counts = store.comparator_counts(Mode::Strict)?;
    let all: u64 = counts.values().map(|(programs, _)| programs).sum();
    let compared = |(name, (programs, correct)): (String, (u64, u64))| {
        (name, Compared { programs, share: programs as f64 / all as f64, correct })
    };
    let comparators = counts.into_iter().map(compared).collect();
    let ledger = store.ledger()?.into_iter().map(Account::from).collect();
    Ok(Report { modes, comparators, ledger })
}
