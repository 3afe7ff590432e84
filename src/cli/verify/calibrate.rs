//! `verify calibrate`: how far engine and judge agree with people.

use std::path::{Path, PathBuf};

use anyhow::Context as _;

use super::super::sandboxed::sandbox;
use super::asked::JudgeArgs;
use super::{Global, foreground};
use crate::hint::Hinted;
use crate::stage;
use crate::store::Store;
use crate::verify::judge::{Config, Judge, Key};
use crate::verify::{Confusion, Labelled, Report, Tools, calibrate};

/// Options of `verify calibrate`.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Labelled rows: `{id?, domain?, problem?, reference, answer | solution, label}` per line, where
    /// the label is `correct` or `wrong`
    #[arg(value_name = "FILE.jsonl")]
    file: PathBuf,
    #[command(flatten)]
    judge: JudgeArgs,
}

pub(super) fn run(global: &Global, args: Args) -> anyhow::Result<()> {
    let rows = rows(&args.file)?;
    let tools = Tools::new(sandbox()?);
    let config = Config::from(args.judge);
    let report = if config.endpoint.is_some() {
        let cx = stage::Context {
            store: Store::open(&global.data_dir())?,
            progress: stage::Progress::silent(),
            stop: foreground::stop_on_signals()?,
        };
        let key = foreground::secrets()?.for_judge().map(Key);
        let mut judge = Judge::new(&cx, &config, key)?;
        calibrate(&rows, &tools, Some((&mut judge, config.prompt, config.shows)))?
    } else {
        calibrate(&rows, &tools, None)?
    };
    show(global, &report)
}

fn rows(file: &Path) -> anyhow::Result<Vec<Labelled>> {
    let shown = file.display();
    let text =
        std::fs::read_to_string(file).with_context(|| format!("could not read `{shown}`"))?;
    let hint = "a row is {\"reference\": \"5\", \"answer\": \"5\", \"label\": \"correct\"}";
    let mut rows = Vec::new();
    let lines = text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty());
    for (index, line) in lines {
        let number = index + 1;
        let row = Labelled::parse(line, number)
            .map_err(|why| Hinted::new(format!("line {number} of `{shown}`: {why}"), hint))?;
        rows.push(row);
    }
    if rows.is_empty() {
        return Err(Hinted::new(format!("`{shown}` has no rows"), hint).into());
    }
    Ok(rows)
}

#[expect(clippy::print_stdout, reason = "the result of the verb")]
fn show(global: &Global, report: &Report) -> anyhow::Result<()> {
    if global.json {
        println!("{}", serde_json::to_string(report)?);
        return Ok(());
    }
    println!("{} rows", report.rows);
    show_table("engine", &report.engine);
    match &report.judge {
        Some(judge) => show_table("judge", judge),
        None => println!("\njudge: none; give one with --endpoint URL --model NAME"),
    }
    show_table("cascade", &report.cascade);
    if let Some(asked) = &report.asked {
        println!(
            "\nthe judge: {} requests, {} votes kept from before, {} answers of the wrong form, {} \
             rows without an answer, {:.4} US dollars",
            asked.requests, asked.cached, asked.malformed, asked.failed, asked.cost_usd
        );
        if asked.paused {
            println!("paused: the money is spent; the rows left count as undecided");
        }
    }
    for row in &report.differs {
        let said: Vec<String> =
            row.said.iter().map(|(who, what)| format!("{who} says {what}")).collect();
        println!("row {}: labelled {}, {}", row.id, row.label, said.join(", "));
    }
    Ok(())
}

#[expect(clippy::print_stdout, reason = "the result of the verb")]
fn show_table(name: &str, table: &Confusion) {
    println!("\n{name:<16} {:>10} {:>10} {:>10}", "correct", "wrong", "undecided");
    for (label, said) in [("correct", table.correct), ("wrong", table.wrong)] {
        println!(
            "  labelled {label:<7} {:>8} {:>10} {:>10}",
            said.correct, said.wrong, said.undecided
        );
    }
    let number = |value: Option<f64>| value.map_or("-".to_owned(), |value| format!("{value:.3}"));
    println!(
        "  kappa {}, {} over what it decides; decides {}, of that rightly {}",
        number(table.kappa),
        number(table.kappa_decided),
        number(table.coverage),
        number(table.accuracy)
    );
}
