//! The verb `distill`: asks a teacher every question that has no trace yet.

use std::path::PathBuf;

use anyhow::Context as _;

use super::{Global, foreground, questions};
use crate::chat::remote::Provider;
use crate::distill::{Config, Summary};
use crate::jobs::{Kind, Owner};

/// DeepSeek R1's prices when OpenThoughts was made, in US dollars per million tokens.
const R1_PRICES: [f64; 2] = [0.55, 2.19];

/// Options of `distill`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Questions to import first, and then to ask; without it every question in the store
    #[arg(value_name = "QUESTIONS.jsonl")]
    file: Option<PathBuf>,
    /// Address of an OpenAI-compatible endpoint, or `rehearsal`; its key comes from
    /// `THINKERY_TEACHER_KEY`
    #[arg(long, value_name = "URL")]
    endpoint: String,
    /// The model's name there
    #[arg(long, value_name = "NAME")]
    model: String,
    /// Traces per question
    #[arg(long, value_name = "K", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..))]
    samples: u32,
    /// Stop before more than this is spent, in US dollars
    #[arg(long, value_name = "X")]
    budget_usd: Option<f64>,
    /// US dollars per million tokens of prompt; the provider's or DeepSeek R1's if not given
    #[arg(long, value_name = "X")]
    price_prompt: Option<f64>,
    /// US dollars per million tokens of thought and solution; the provider's or DeepSeek R1's if not given
    #[arg(long, value_name = "X")]
    price_completion: Option<f64>,
    /// Tokens of an answer at most
    #[arg(long, value_name = "N", default_value_t = Config::default().max_tokens)]
    max_tokens: u32,
    /// Sampling temperature
    #[arg(long, value_name = "T", default_value_t = Config::default().temperature)]
    temperature: f32,
    /// Requests under way at most
    #[arg(long, value_name = "N", default_value_t = Config::default().in_flight, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    in_flight: u32,
    /// Send again what the endpoint refused for good
    #[arg(long)]
    retry_dead_letters: bool,
    /// Take replies as server-sent events
    #[arg(long)]
    stream: bool,
}

pub(super) fn run(global: &Global, args: Args) -> anyhow::Result<()> {
    let source = import(global, args.file.as_ref())?;
    let list = list_prices(&args.endpoint, &args.model);
    let config = Config {
        endpoint: args.endpoint,
        model: args.model,
        source,
        samples: args.samples,
        budget_usd: args.budget_usd,
        price_prompt: args.price_prompt.unwrap_or(list[0]),
        price_completion: args.price_completion.unwrap_or(list[1]),
        max_tokens: args.max_tokens,
        temperature: args.temperature,
        in_flight: args.in_flight,
        stream: args.stream,
        retry_dead_letters: args.retry_dead_letters,
        ..Config::default()
    };
    let job = foreground::job(global, Kind::Distill, &config)?;
    // A job that ran out of money has counted what it did, too.
    if let Some(summary) = &job.summary {
        show(global, summary)?;
    }
    Owner::summary(job).map(drop)
}

/// What the provider charges; where that is not known, what DeepSeek charged for R1.
fn list_prices(endpoint: &str, model: &str) -> [f64; 2] {
    if endpoint == crate::distill::REHEARSAL {
        return [0.0; 2];
    }
    let known = Provider::of(endpoint).model(model).and_then(|model| model.price);
    known.map_or(R1_PRICES, |price| [price.prompt, price.completion])
}

/// Imports the questions of `file`; the source that they are filed under.
fn import(global: &Global, file: Option<&PathBuf>) -> anyhow::Result<Option<String>> {
    let Some(file) = file else { return Ok(None) };
    let stem = file.file_stem().context("the file of questions has no name")?;
    let source = stem.to_string_lossy().into_owned();
    let config = questions::from_file(file)?;
    let config = crate::questions::Config { source_name: Some(source.clone()), ..config };
    let summary = foreground::run(global, Kind::Questions, &config)?;
    let summary = serde_json::from_value(summary)?;
    questions::report_rejected(&summary);
    questions::ensure_some(&summary)?;
    Ok(Some(source))
}

#[expect(clippy::print_stdout, reason = "the result of the verb")]
fn show(global: &Global, summary: &serde_json::Value) -> anyhow::Result<()> {
    if global.json {
        println!("{summary}");
        return Ok(());
    }
    let summary: Summary = serde_json::from_value(summary.clone())?;
    println!(
        "{} of {} traces in {:.1} s, {} truncated",
        summary.succeeded, summary.requested, summary.seconds, summary.truncated
    );
    println!(
        "{} requests, {} of them again; {} given up, {} refused",
        summary.attempts, summary.retries, summary.failed, summary.dead_letter
    );
    println!(
        "{} tokens asked, {} answered, {:.4} US dollars",
        summary.prompt_tokens, summary.completion_tokens, summary.cost_usd
    );
    if summary.dead_letter > 0 {
        println!("what was refused is sent again only with --retry-dead-letters");
    }
    if summary.paused {
        println!("paused: the money is spent; start again for the rest");
    }
    Ok(())
}
