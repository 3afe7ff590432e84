//! The verb `dataset`: builds, lists and exports datasets.

use std::path::PathBuf;

use anyhow::Context;
use serde_json::{Map, Value};

use super::{Global, foreground, train};
use crate::dataset::encode::{self, Shown};
use crate::dataset::{self, Config, Summary};
use crate::formats::Format;
use crate::hint::Hinted;
use crate::jobs::Kind;
use crate::records::DatasetId;
use crate::store::Store;

/// Options of `dataset`.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, clap::Subcommand)]
enum What {
    /// Build the verified and the unverified dataset
    Build {
        /// Change a setting, e.g. `name=mine`, `arms=["verified"]`, `keep_unchecked=false`
        #[arg(long = "set", value_name = "NAME=VALUE")]
        set: Vec<String>,
    },
    /// List the datasets, newest first
    List,
    /// Show a row as tokens, as a model is trained on it: what it learns to say and what it only reads
    Show {
        /// The dataset, by name, number, hash or folder
        dataset: String,
        /// The row, from 1
        #[arg(long, value_name = "N", default_value_t = 1)]
        row: u64,
        /// Folder of the model whose tokens they are
        #[arg(long, value_name = "DIR")]
        model: PathBuf,
        /// A setting that decides the tokens, e.g. train.cutoff_len=4096
        #[arg(long = "set", value_name = "PATH=VALUE")]
        set: Vec<String>,
    },
    /// Write a dataset into a folder that `datasets.load_dataset` reads
    Export {
        /// Its row, as `dataset list` shows it
        id: i64,
        /// How its tables are written
        #[arg(long, value_enum, default_value = "parquet")]
        format: ExportFormat,
        /// Where to; must not exist or be empty
        #[arg(long)]
        out: PathBuf,
    },
}

/// How tables are written, as written on the command line.
#[derive(Debug, Clone, Copy, clap::ValueEnum)]
enum ExportFormat {
    /// Apache Parquet
    Parquet,
    /// One JSON object per line
    Jsonl,
}

pub(super) fn run(global: &Global, args: Args) -> anyhow::Result<()> {
    match args.what {
        What::Build { set } => {
            let summary = foreground::run(global, Kind::Dataset, &config(&set)?)?;
            show_built(global, &summary)
        }
        What::List => list(global),
        What::Show { dataset, row, model, set } => {
            let config = train::settings(&set)?;
            let encoding = config.encoding(crate::train::cutoff(&config, &model)?);
            let store = Store::open(&global.data_dir())?;
            let dataset = dataset::find(&store, &dataset)?;
            show_row(global, &encode::row_of_dataset(&store, &dataset, (&model, &encoding), row)?)
        }
        What::Export { id, format, out } => {
            let format = match format {
                ExportFormat::Parquet => Format::Parquet,
                ExportFormat::Jsonl => Format::Jsonl,
            };
            let store = Store::open(&global.data_dir())?;
            let dataset = dataset::export(&store, DatasetId(id), format, &out)?;
            show_exported(global, &dataset, &out)
        }
    }
}

/// The settings with every `NAME=VALUE` applied; a value is TOML, or a word taken as text.
fn config(set: &[String]) -> anyhow::Result<Config> {
    let Value::Object(mut settings) = serde_json::to_value(Config::default())? else {
        anyhow::bail!("the settings of `dataset build` are no table");
    };
    let known: Vec<String> = settings.keys().cloned().collect();
    for given in set {
        let (name, value) = given.split_once('=').with_context(|| {
            Hinted::new(format!("`{given}` is no setting"), "write --set name=value")
        })?;
        let name = name.trim();
        let name = name.strip_prefix("dataset.").unwrap_or(name);
        if !settings.contains_key(name) {
            let nearest = known.iter().min_by_key(|known| strsim::levenshtein(known, name));
            let nearest = nearest.map_or("", String::as_str);
            let message = format!("there is no setting `{name}`");
            return Err(Hinted::new(message, format!("did you mean `{nearest}`?")).into());
        }
        settings.insert(name.to_owned(), parsed(value)?);
    }
    serde_json::from_value(Value::Object(settings)).context("could not use the settings")
}

fn parsed(value: &str) -> anyhow::Result<Value> {
    let line = format!("value = {value}");
    let table: Map<String, Value> = match toml::from_str(&line) {
        Ok(table) => table,
        Err(_) => return Ok(Value::String(value.to_owned())),
    };
    table.get("value").cloned().context("a value is missing")
}

#[expect(clippy::print_stdout, reason = "the result of the verb")]
fn show_built(global: &Global, summary: &Value) -> anyhow::Result<()> {
    if global.json {
        println!("{summary}");
        return Ok(());
    }
    let summary: Summary = serde_json::from_value(summary.clone())?;
    for built in &summary.datasets {
        let state = if built.existed { ", there already" } else { "" };
        println!("{} {} {}: {} examples{state}", built.id, built.name, built.arm, built.rows);
        println!("  {}", built.path);
        for (title, counts) in [("admitted", &built.admitted), ("rejected", &built.rejected)] {
            let counts: Vec<String> =
                counts.iter().map(|(name, count)| format!("{name} {count}")).collect();
            if !counts.is_empty() {
                println!("  {title}: {}", counts.join(", "));
            }
        }
    }
    Ok(())
}

#[expect(clippy::print_stdout, reason = "the result of the verb")]
fn list(global: &Global) -> anyhow::Result<()> {
    let datasets = Store::open(&global.data_dir())?.datasets()?;
    if global.json {
        println!("{}", serde_json::json!({ "datasets": datasets }));
        return Ok(());
    }
    println!("{:>4}  {:<24} {:<11} {:>9}  path", "id", "name", "arm", "examples");
    for dataset in datasets {
        let (id, arm) = (dataset.id.0, dataset.arm.name());
        println!("{id:>4}  {:<24} {arm:<11} {:>9}  {}", dataset.name, dataset.rows, dataset.path);
    }
    Ok(())
}

#[expect(clippy::print_stdout, reason = "the result of the verb")]
fn show_exported(
    global: &Global,
    dataset: &crate::records::Dataset,
    out: &std::path::Path,
) -> anyhow::Result<()> {
    if global.json {
        let shown = serde_json::json!({ "dataset": dataset, "out": out });
        println!("{shown}");
    } else {
        println!("{} examples in `{}`", dataset.rows, out.display());
    }
    Ok(())
}

#[expect(clippy::print_stdout, reason = "the result of the verb")]
fn show_row(global: &Global, shown: &Shown) -> anyhow::Result<()> {
    if global.json {
        println!("{}", serde_json::to_string(shown)?);
        return Ok(());
    }
    let Shown { row, rows, tokens, trained_tokens, .. } = shown;
    let cut = if shown.truncated { ", cut to train.cutoff_len" } else { "" };
    println!("row {row} of {rows}: {} tokens, {trained_tokens} trained on{cut}", tokens.len());
    if let Some(why) = &shown.left_out {
        println!("left out of training: it {why}");
    }
    for piece in tokens.chunk_by(|a, b| a.trained == b.trained) {
        let trained = piece.first().is_some_and(|token| token.trained);
        println!("\n== {} ==", if trained { "trained on" } else { "not trained on" });
        println!("{}", piece.iter().map(|token| token.text.as_str()).collect::<String>());
    }
    Ok(())
}
