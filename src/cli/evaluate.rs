//! The verb `evaluate`: scores a model on a benchmark. Every sample is kept in the data folder, and
//! written to a file if asked for.

use std::path::PathBuf;

use anyhow::Context;

use super::{Global, foreground};
use crate::engine::WeightType;
use crate::evaluate::{self, Config, Report, Summary};
use crate::jobs::Kind;
use crate::store::Store;

/// Options of `evaluate`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The model's folder or a run's name; with --endpoint the model's name there. May be repeated
    #[arg(long, value_name = "DIR", required = true)]
    model: Vec<String>,
    /// Base address of an OpenAI-compatible server that has the model
    #[arg(long, value_name = "URL")]
    endpoint: Option<String>,
    /// Name of a benchmark, or a JSONL file of problems
    #[arg(long, value_name = "NAME_OR_FILE")]
    benchmark: String,
    /// Answers per problem
    #[arg(long, value_name = "N")]
    samples: Option<u32>,
    /// Tokens of an answer at most
    #[arg(long, value_name = "N")]
    max_tokens: Option<u32>,
    /// Sampling temperature
    #[arg(long)]
    temperature: Option<f64>,
    /// Where the model runs: `cpu` or `cuda:0`
    #[arg(long, default_value = "cpu")]
    device: String,
    /// What weights are kept as on the processor: `auto` (as in the files), `f32`, `bf16` or `int8`
    #[arg(long, value_name = "TYPE", default_value = "auto")]
    weights: WeightType,
    /// Write every sample into this file
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
}

pub(super) fn run(global: &Global, args: Args) -> anyhow::Result<()> {
    let out = args.out.clone();
    let config = config(args);
    let summary = foreground::run(global, Kind::Evaluate, &config)?;
    let summary: Summary =
        serde_json::from_value(summary).context("could not read the job's summary")?;
    let store = Store::open(&global.data_dir())?;
    let reports = evaluate::report(&store, &summary, config.protocol())?;
    if let Some(out) = out {
        write(&out, &reports)?;
    }
    show(global, &summary, &reports)
}

fn config(args: Args) -> Config {
    // The job runs elsewhere: what is a path here must be one there.
    let anchored = |text: String| match std::path::absolute(&text) {
        Ok(path) if path.exists() => path.display().to_string(),
        Ok(_) | Err(_) => text,
    };
    let default = Config::default();
    let endpoint = args.endpoint.unwrap_or_default();
    Config {
        device: args.device,
        weights: args.weights,
        benchmark: anchored(args.benchmark),
        models: if endpoint.is_empty() {
            args.model.into_iter().map(anchored).collect()
        } else {
            args.model
        },
        endpoint,
        samples: args.samples.unwrap_or(default.samples),
        max_tokens: args.max_tokens.unwrap_or(default.max_tokens),
        temperature: args.temperature.unwrap_or(default.temperature),
        ..default
    }
}

/// One object for one model, a list for several.
fn write(out: &std::path::Path, reports: &[Report]) -> anyhow::Result<()> {
    let json = match reports {
        [one] => serde_json::to_string_pretty(one)?,
        several => serde_json::to_string_pretty(several)?,
    };
    std::fs::write(out, json + "\n").with_context(|| format!("could not write `{}`", out.display()))
}

#[expect(clippy::print_stdout, reason = "the result of the verb")]
fn show(global: &Global, summary: &Summary, reports: &[Report]) -> anyhow::Result<()> {
    if global.json {
        let json = match reports {
            [one] => serde_json::to_value(one)?,
            several => serde_json::to_value(several)?,
        };
        println!("{json}");
        return Ok(());
    }
    println!("{:<28} {:<28} {:>16} {:>9}", "model", "benchmark", "correct in %", "problems");
    for score in &summary.scores {
        let value = format!("{:.1} ± {:.1}", score.mean, score.standard_error);
        println!("{:<28} {:<28} {value:>16} {:>9}", score.model, score.benchmark, score.n);
    }
    for scored in summary.models.iter().filter(|scored| scored.truncated > 0) {
        println!("{}: {} answers ran into the token limit", scored.name, scored.truncated);
    }
    Ok(())
}
