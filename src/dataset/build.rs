//! The stage: turns traces and verdicts into one dataset per arm, and datasets into exports.
//!
//! A dataset is named by the hash of its content, so building the same thing twice does nothing. Files
//! are written beside their place and renamed when they are whole.

use std::collections::{BTreeMap, HashSet};
use std::fs;
use std::path::Path;
use std::time::Instant;

use anyhow::{Context, bail};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::base::{self, Base};
use super::card::Card;
use super::conversation;
use super::mix::{self, Rejection};
use super::tables::{TablesWriter, Verifiers, endpoint};
use crate::formats::Format;
use crate::hint::Hinted;
use crate::records::{Arm, Dataset, DatasetId, Example, Mode, TraceId};
use crate::stage;
use crate::store::{Store, TraceFilter};

/// Raised whenever the files of the same examples change.
const LAYOUT: u32 = 1;

/// Configuration of the stage.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// What the datasets are called.
    pub name: String,
    /// Which arms to build: `verified`, `unverified`. OpenThoughts published both.
    pub arms: Vec<Arm>,
    /// Only traces of questions from this source; empty: all.
    pub source: String,
    /// Only traces of this teacher; empty: all.
    pub teacher: String,
    /// Whose verdicts decide: `strict`, or `upstream`, `lcb`, `evalchemy-lcb` for what the published
    /// harnesses decide on programs. OpenThoughts: upstream.
    pub verdicts: Mode,
    /// Whether the verified arm keeps traces of domains that no verifier can check. OpenThoughts:
    /// yes, for science.
    pub keep_unchecked: bool,
    /// A model that begins from nothing, made of these traces' texts: its name under `models/` of the
    /// data folder. Empty: a model is brought.
    pub base_model: String,
    /// The shape of that model.
    pub base: Base,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            name: "openthinker".into(),
            arms: vec![Arm::Verified, Arm::Unverified],
            source: String::new(),
            teacher: String::new(),
            verdicts: Mode::Strict,
            keep_unchecked: true,
            base_model: String::new(),
            base: Base::default(),
        }
    }
}

/// One dataset of the summary.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Built {
    /// Its row.
    pub id: i64,
    /// What it is called.
    pub name: String,
    /// Which traces it admits.
    pub arm: String,
    /// SHA-256 over its configuration and content.
    pub hash: String,
    /// Its folder, relative to the data folder.
    pub path: String,
    /// Examples.
    pub rows: u64,
    /// Examples by domain.
    pub admitted: BTreeMap<String, u64>,
    /// Traces that were not admitted, by reason.
    pub rejected: BTreeMap<String, u64>,
    /// Whether it was there already.
    pub existed: bool,
}

/// What the stage did.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Summary {
    /// One per arm.
    pub datasets: Vec<Built>,
    /// Wall time in seconds.
    pub seconds: f64,
}

/// Builds the dataset of each arm that is not there yet.
///
/// # Errors
/// If there is nothing to build from, traces wait for their verdict, a file cannot be written, or
/// somebody asked us to stop. Then no dataset was added half.
pub fn run(cx: &stage::Context, config: &Config) -> anyhow::Result<Summary> {
    let begin = Instant::now();
    check_name(&config.name)?;
    let verifiers = cx.store.verifiers(config.verdicts)?;
    let mut summary = Summary::default();
    for (number, arm) in config.arms.iter().enumerate() {
        cx.progress.set(number as u64, config.arms.len() as u64, format!("{} arm", arm.name()));
        let picked = pick(cx, config, *arm, &verifiers)?;
        summary.datasets.push(build(cx, config, *arm, picked, &verifiers)?);
    }
    let arms = config.arms.len() as u64;
    if !config.base_model.is_empty() {
        check_name(&config.base_model)?;
        cx.progress.set(arms, arms, "making the tokenizer");
        make_base(cx, config)?;
    }
    cx.progress.set(arms, arms, "datasets are there");
    summary.seconds = begin.elapsed().as_secs_f64();
    Ok(summary)
}

/// Makes the model to begin with from everything that was asked and answered, admitted or not: both
/// arms begin with the same one.
fn make_base(cx: &stage::Context, config: &Config) -> anyhow::Result<()> {
    let mut texts = Vec::new();
    cx.store.each_example(&filter(config), |example| {
        cx.stop_requested()?;
        texts.push(conversation::asked(&example.question));
        texts.push(conversation::answered(&example.trace.reasoning, &example.trace.solution));
        anyhow::Ok(())
    })?;
    base::make(&cx.store.dir().join("models").join(&config.base_model), &config.base, &texts)?;
    Ok(())
}

fn check_name(name: &str) -> anyhow::Result<()> {
    let plain = |letter: char| letter.is_ascii_alphanumeric() || matches!(letter, '-' | '_' | '.');
    if name.is_empty() || name.starts_with('.') || !name.chars().all(plain) || name.len() > 64 {
        let message = format!("`{name}` cannot be the name of a dataset");
        return Err(Hinted::new(message, "use letters, digits, `-` and `_`, at most 64").into());
    }
    Ok(())
}

/// What an arm admits.
struct Picked {
    hash: String,
    traces: Vec<TraceId>,
    admitted: BTreeMap<String, u64>,
    rejected: BTreeMap<String, u64>,
}

/// Decides of each trace, and hashes those that are in.
fn pick(
    cx: &stage::Context,
    config: &Config,
    arm: Arm,
    verifiers: &Verifiers,
) -> anyhow::Result<Picked> {
    let mut hasher = Sha256::new();
    let head = serde_json::json!([LAYOUT, config.name, arm, config.keep_unchecked]);
    hasher.update(head.to_string());
    // Strict verdicts go without saying, so that older datasets keep their hash.
    if config.verdicts != Mode::Strict {
        hasher.update(config.verdicts.name());
    }
    let unresolved = cx.store.unresolved_traces(config.verdicts)?;
    let mut traces = Vec::new();
    let mut admitted = BTreeMap::new();
    let mut rejected: BTreeMap<String, u64> = BTreeMap::new();
    cx.store.each_example(&filter(config), |example| -> anyhow::Result<()> {
        cx.stop_requested()?;
        match mix::admit(arm, &example, config.keep_unchecked) {
            Ok(()) => {
                hasher.update(fingerprint(&example, verifiers));
                traces.push(example.trace.id);
                *admitted.entry(example.question.domain.name().to_owned()).or_default() += 1;
            }
            Err(Rejection::NotJudged) if unresolved.contains(&example.trace.id) => {
                *rejected.entry(Rejection::Unresolved.name().to_owned()).or_default() += 1;
            }
            Err(reason) => *rejected.entry(reason.name().to_owned()).or_default() += 1,
        }
        Ok(())
    })?;
    if let Some(waiting) = rejected.get(Rejection::NotJudged.name()) {
        let message = format!("{waiting} traces have no verdict yet");
        return Err(Hinted::new(message, "run `thinkery verify` first").into());
    }
    if traces.is_empty() {
        let message =
            format!("no trace is admitted to the {} arm of `{}`", arm.name(), config.name);
        return Err(
            Hinted::new(message, "import questions and run `thinkery distill` first").into()
        );
    }
    Ok(Picked { hash: hex(&hasher.finalize()), traces, admitted, rejected })
}

fn filter(config: &Config) -> TraceFilter {
    let some = |text: &str| (!text.is_empty()).then(|| text.to_owned());
    TraceFilter {
        model: some(&config.teacher),
        source: some(&config.source),
        mode: config.verdicts,
    }
}

/// Everything of an example that its files show.
fn fingerprint(example: &Example, verifiers: &Verifiers) -> Vec<u8> {
    let (question, trace) = (&example.question, &example.trace);
    let parts = serde_json::json!([
        question.source,
        question.key,
        question.domain,
        question.family,
        question.problem,
        question.reference,
        question.tests,
        question.starter_code,
        trace.sample,
        trace.model,
        endpoint(&trace.endpoint),
        trace.reasoning,
        trace.solution,
        trace.finish_reason,
        trace.prompt_tokens,
        trace.completion_tokens,
        trace.cost_usd,
        example.verdict,
        verifiers.get(&trace.id),
    ]);
    Sha256::digest(parts.to_string()).to_vec()
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn build(
    cx: &stage::Context,
    config: &Config,
    arm: Arm,
    picked: Picked,
    verifiers: &Verifiers,
) -> anyhow::Result<Built> {
    let Picked { hash, traces, admitted, rejected } = picked;
    let path = format!("datasets/{}-{}-{}", config.name, arm.name(), &hash[..8]);
    let folder = cx.store.absolute(&path);
    let known = cx.store.datasets()?.iter().any(|dataset| dataset.hash == hash);
    let existed = known && folder.join("README.md").is_file();
    if !existed {
        let wanted: HashSet<TraceId> = traces.iter().copied().collect();
        let card = Card::new(&config.name, arm);
        let verdicts = config.verdicts;
        let files = Files { wanted: &wanted, verdicts, verifiers, format: Format::Parquet, card };
        let rows = write_whole(&folder, |folder| {
            write_files(&cx.store, files, folder, &|| cx.stop_requested())
        })?;
        if rows != traces.len() as u64 {
            bail!("the traces changed while the dataset was built; build it again");
        }
    }
    let dataset =
        cx.store.add_dataset((&config.name, arm, config.verdicts), &hash, &path, &traces)?;
    Ok(Built {
        id: dataset.id.0,
        name: dataset.name,
        arm: arm.name().to_owned(),
        hash: dataset.hash,
        path: dataset.path,
        rows: dataset.rows,
        admitted,
        rejected,
        existed,
    })
}

/// Which examples are written, and how.
struct Files<'a> {
    wanted: &'a HashSet<TraceId>,
    verdicts: Mode,
    verifiers: &'a Verifiers,
    format: Format,
    card: Card,
}

fn write_files(
    store: &Store,
    files: Files<'_>,
    folder: &Path,
    stop: &dyn Fn() -> Result<(), stage::Stopped>,
) -> anyhow::Result<u64> {
    let mut writer = TablesWriter::new(folder, files.format, files.card)?;
    let filter = TraceFilter { mode: files.verdicts, ..TraceFilter::default() };
    store.each_example(&filter, |example| -> anyhow::Result<()> {
        stop()?;
        if files.wanted.contains(&example.trace.id) {
            writer.push(&example, files.verifiers)?;
        }
        Ok(())
    })?;
    writer.finish(folder)
}

/// Lets `write` fill a folder beside `folder`, then moves it there.
fn write_whole<T>(
    folder: &Path,
    write: impl FnOnce(&Path) -> anyhow::Result<T>,
) -> anyhow::Result<T> {
    let name = folder.file_name().context("a dataset needs a folder of its own")?;
    let parent = folder.parent().context("a dataset needs a folder of its own")?;
    fs::create_dir_all(parent).with_context(|| format!("could not make `{}`", parent.display()))?;
    let beside = tempfile::Builder::new()
        .prefix(&format!(".{}-", name.to_string_lossy()))
        .tempdir_in(parent)
        .with_context(|| format!("could not write into `{}`", parent.display()))?;
    let value = write(beside.path()).map_err(|error| disk_full(error, parent))?;
    // Left behind by a crash between the renaming and the row, or an empty folder to export into.
    if folder.exists() {
        fs::remove_dir_all(folder)
            .with_context(|| format!("could not replace `{}`", folder.display()))?;
    }
    open_to_others(beside.path())?;
    let beside = beside.keep();
    fs::rename(&beside, folder)
        .with_context(|| format!("could not move a dataset to `{}`", folder.display()))?;
    Ok(value)
}

/// Temporary folders are private; a dataset is an ordinary folder.
fn open_to_others(folder: &Path) -> anyhow::Result<()> {
    use std::os::unix::fs::PermissionsExt;
    fs::set_permissions(folder, fs::Permissions::from_mode(0o755))
        .with_context(|| format!("could not open `{}` to others", folder.display()))
}

fn disk_full(error: anyhow::Error, parent: &Path) -> anyhow::Error {
    // The writers of tables keep the text of an error and not its kind.
    let reasons = [
        ("No space left", "the disk is full"),
        ("quota exceeded", "the quota is full"),
        ("File too large", "the limit on files is reached"),
    ];
    let text = format!("{error:#}");
    let Some((_, why)) = reasons.iter().find(|(words, _)| text.contains(words)) else {
        return error;
    };
    let message = format!("could not write to `{}`: {why}", parent.display());
    let hint = "free some space or raise the quota, or move the data with --data DIR";
    Hinted::new(message, hint).into()
}

/// Writes the dataset `id` into `out`, which must not exist or be empty, so that
/// `datasets.load_dataset(out, "default")` reads it. Gives the dataset.
///
/// # Errors
/// If there is no such dataset, `out` holds something, or a file cannot be written.
pub fn export(store: &Store, id: DatasetId, format: Format, out: &Path) -> anyhow::Result<Dataset> {
    let dataset = store.dataset(id).map_err(|error| {
        Hinted::new(error.to_string(), "`thinkery dataset list` shows what there is")
    })?;
    let used = fs::read_dir(out).is_ok_and(|mut entries| entries.next().is_some());
    if used || out.is_file() {
        let message = format!("`{}` is not empty", out.display());
        return Err(Hinted::new(message, "name a folder that does not exist yet").into());
    }
    let out = std::path::absolute(out)?;
    let wanted: HashSet<TraceId> = store.dataset_traces(id)?.into_iter().collect();
    let verifiers = store.verifiers(dataset.verdicts)?;
    let card = Card::new(&dataset.name, dataset.arm);
    let verdicts = dataset.verdicts;
    let files = Files { wanted: &wanted, verdicts, verifiers: &verifiers, format, card };
    write_whole(&out, |folder| write_files(store, files, folder, &|| Ok(())))?;
    Ok(dataset)
}
