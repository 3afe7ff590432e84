//! The verb `train`: fine-tunes a model on a file of examples or a dataset, into a folder.

use std::cell::Cell;
use std::io::IsTerminal;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use anyhow::{Context, ensure};
use indicatif::{ProgressBar, ProgressStyle};
use serde_json::json;

use super::Global;
use super::foreground::LINE_INTERVAL;
use crate::dataset::shards::Shards;
use crate::dataset::{self, encode, rows};
use crate::hint::Hinted;
use crate::records::{RunEvent, Step};
use crate::store::Store;
use crate::train::{self, Config, Observer, Task};

/// Options of `train`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Folder of the model to begin with
    #[arg(long, value_name = "DIR")]
    model: PathBuf,
    /// Examples: a JSONL file, or a dataset of the store by name, number, hash or folder
    #[arg(long, value_name = "FILE_OR_DATASET")]
    examples: String,
    /// Folder for the learning curve, checkpoints and the finished model; again = resume
    #[arg(long, value_name = "DIR")]
    out: PathBuf,
    /// One setting, e.g. train.learning_rate=1e-4
    #[arg(long = "set", value_name = "PATH=VALUE")]
    sets: Vec<String>,
    /// Where to train: cpu or cuda:0
    #[arg(long, value_name = "DEVICE")]
    device: Option<String>,
}

#[expect(clippy::print_stdout, reason = "prints the result")]
pub(super) fn run(global: &Global, args: Args) -> anyhow::Result<()> {
    let mut config = settings(&args.sets)?;
    if let Some(device) = args.device {
        config.device = device;
    }
    train::sound(&config, &args.model)?;
    train::ensure_weights(&args.model, &config)?;
    let began = Instant::now();
    let shards = examples(global, &args.examples, &args.model, &config)?;
    let data_seconds = began.elapsed().as_secs_f64();
    let task = Task { model: &args.model, shards: &shards, out: &args.out, config: &config };
    let stop = Arc::new(AtomicBool::new(false));
    for signal in [signal_hook::consts::SIGINT, signal_hook::consts::SIGTERM] {
        signal_hook::flag::register(signal, Arc::clone(&stop)).context("could not hear signals")?;
    }
    let mut meter = Meter::new(task.plan().steps);
    let ended = train::fit(task, &|| stop.load(Ordering::Relaxed), &mut meter);
    meter.end();
    ended?;
    let steps = train::steps(&args.out)?;
    let loss = steps.last().map(|step| step.loss);
    let finished = args.out.join("final");
    if global.json {
        let counts = shards.counts();
        println!(
            "{}",
            json!({
                "steps": steps.len(), "loss": loss, "data": counts, "data_seconds": data_seconds,
                "model": finished
            })
        );
    } else {
        println!("{} steps, loss {:.4}: {}", steps.len(), loss.unwrap_or(0.0), finished.display());
    }
    Ok(())
}

/// The `[train]` section that `sets` describe, all problems at once.
pub(super) fn settings(sets: &[String]) -> anyhow::Result<Config> {
    let mut table = toml::Table::new();
    for set in sets {
        let usage = || {
            Hinted::new(
                format!("`--set {set}` is not of the form train.name=value"),
                "for example: --set train.learning_rate=1e-4",
            )
        };
        let (path, value) = set.split_once('=').ok_or_else(usage)?;
        let name = path.trim().strip_prefix("train.").ok_or_else(usage)?;
        let value = value.trim();
        // What is no TOML value by itself is text, so that names need no quotes.
        let value = toml::from_str::<toml::Table>(&format!("value = {value}"))
            .ok()
            .and_then(|mut table| table.remove("value"))
            .unwrap_or_else(|| toml::Value::String(value.to_owned()));
        table.insert(name.to_owned(), value);
    }
    let known = serde_json::to_value(Config {
        steps: Some(1),
        warmup_steps: Some(1),
        resume_from: Some(1),
        ..Config::default()
    })?;
    let known: Vec<&str> = known
        .as_object()
        .map(|known| known.keys().map(String::as_str).collect())
        .unwrap_or_default();
    let unknown: Vec<String> = table
        .keys()
        .filter(|name| !known.contains(&name.as_str()))
        .map(|name| {
            let near = known.iter().max_by(|a, b| {
                strsim::jaro_winkler(a, name).total_cmp(&strsim::jaro_winkler(b, name))
            });
            format!(
                "there is no setting `train.{name}`; did you mean `train.{}`?",
                near.unwrap_or(&"")
            )
        })
        .collect();
    ensure!(unknown.is_empty(), "{}", unknown.join("; "));
    table.try_into().context("a setting of `train` has the wrong kind of value")
}

fn examples(
    global: &Global,
    examples: &str,
    model: &Path,
    config: &Config,
) -> anyhow::Result<Shards> {
    let path = PathBuf::from(examples);
    let encoding = config.encoding(train::cutoff(config, model)?);
    let encoding = (model, &encoding);
    let meter = Encoding::new();
    let progress = |done: u64, total: u64| meter.told(done, total);
    if path.is_file() {
        let shards = global.data_dir().join("shards");
        return rows::of_file(&path, encoding, &shards, &progress);
    }
    let store = Store::open(&global.data_dir())?;
    let dataset =
        dataset::find(&store, examples).map_err(|error| match Path::new(examples).extension() {
            Some(_) => {
                Hinted::new(format!("there is no file `{examples}`"), "give a JSONL file").into()
            }
            None => error,
        })?;
    encode::of_dataset(&store, &dataset, encoding, &progress)
}

/// How far the encoding of examples is, a line every ten seconds.
struct Encoding {
    began: Instant,
    said: Cell<Instant>,
}

impl Encoding {
    fn new() -> Self {
        Self { began: Instant::now(), said: Cell::new(Instant::now()) }
    }

    fn told(&self, done: u64, total: u64) {
        if self.said.get().elapsed() < LINE_INTERVAL || done == 0 {
            return;
        }
        self.said.set(Instant::now());
        let part = done as f64 / total.max(1) as f64;
        let left = self.began.elapsed().as_secs_f64() * (1.0 / part - 1.0);
        say(&format!("encoding the examples: {:.0} %, {left:.0} s left", 100.0 * part));
    }
}

/// Progress on standard error: a bar on a terminal, a line every ten seconds otherwise.
struct Meter {
    bar: Option<ProgressBar>,
    said: Instant,
    steps: u64,
}

impl Meter {
    fn new(steps: u64) -> Self {
        let bar = std::io::stderr().is_terminal().then(|| {
            let style = ProgressStyle::with_template("{bar:30} {pos}/{len} {msg} {eta}")
                .unwrap_or_else(|_| ProgressStyle::default_bar());
            ProgressBar::new(steps).with_style(style)
        });
        Self { bar, said: Instant::now(), steps }
    }

    fn end(&self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}

impl Observer for Meter {
    fn began(&mut self, first: u64) -> anyhow::Result<()> {
        if let Some(bar) = &self.bar {
            bar.set_position(first);
        } else if first > 0 {
            say(&format!("going on after step {first} of {}", self.steps));
        }
        Ok(())
    }

    fn stepped(&mut self, step: &Step) -> anyhow::Result<()> {
        let (done, loss) = (step.step + 1, format!("loss {:.4}", step.loss));
        if let Some(bar) = &self.bar {
            bar.set_message(loss);
            bar.set_position(done);
        } else if self.said.elapsed() >= LINE_INTERVAL {
            say(&format!("step {done} of {}, {loss}", self.steps));
            self.said = Instant::now();
        }
        Ok(())
    }

    fn saved(&mut self, _step: u64, _gone: &[u64]) -> anyhow::Result<()> {
        Ok(())
    }

    fn happened(&mut self, event: &RunEvent) -> anyhow::Result<()> {
        let word = if event.kind.is_warning() { "warning: " } else { "" };
        let line = match &event.hint {
            Some(hint) => format!("{word}{} (hint: {hint})", event.message),
            None => format!("{word}{}", event.message),
        };
        match &self.bar {
            Some(bar) => bar.println(line),
            None => say(&line),
        }
        Ok(())
    }
}

#[expect(clippy::print_stderr, reason = "progress for people")]
fn say(line: &str) {
    eprintln!("{line}");
}
