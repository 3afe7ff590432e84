//! What is to be asked: each model with the samples that are missing.

use std::io::Read;
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use sha2::{Digest, Sha256};

use super::protocol::hex;
use super::{Config, Problem, Protocol};
use crate::engine::dummy;
use crate::hint::Hinted;
use crate::records::RunState;
use crate::stage;
use crate::store::Store;

/// The name of what the finished runs began with.
const UNTRAINED: &str = "untrained";

/// Files larger than this are known by length, beginning and end: hashing a 32B model whole would
/// take a minute of every evaluation.
const WHOLE_FILE_MAX: u64 = 1 << 30;

/// Bytes of beginning and end.
const EDGE: u64 = 1 << 20;

/// A model and what it is still to be asked.
#[derive(Debug)]
pub(super) struct Target {
    /// Its name in the score table.
    pub(super) name: String,
    /// Its folder; none if it is behind an endpoint.
    pub(super) dir: Option<PathBuf>,
    pub(super) benchmark: String,
    pub(super) protocol: Protocol,
    /// Hash of protocol, problems and model.
    pub(super) protocol_hash: String,
    /// The missing samples.
    pub(super) missing: Vec<(Problem, u32)>,
    /// Samples that are there.
    pub(super) kept: u64,
}

/// Every model of `config` with its missing samples.
pub(super) fn targets(
    cx: &stage::Context,
    config: &Config,
    benchmark: &str,
    problems: &[Problem],
) -> anyhow::Result<Vec<Target>> {
    let mut targets = Vec::new();
    for model in &config.models {
        cx.stop_requested()?;
        let (name, dir, identity) = if config.endpoint.is_empty() {
            let (name, dir) = folder(&cx.store, config, model)?;
            let identity = fingerprint(&dir)?;
            (name, Some(dir), identity)
        } else {
            (model.clone(), None, config.endpoint.clone())
        };
        let protocol = config.protocol();
        let protocol_hash = protocol.hash(&identity, problems);
        let there = cx.store.sampled(&name, benchmark, &protocol_hash)?;
        // One sample of every problem before the next: an evaluation that is cut short is even.
        let missing: Vec<(Problem, u32)> = (0..config.samples)
            .flat_map(|sample| problems.iter().map(move |problem| (problem, sample)))
            .filter(|(problem, sample)| !there.contains(&(problem.id.clone(), *sample)))
            .map(|(problem, sample)| (problem.clone(), sample))
            .collect();
        let wanted = problems.len() as u64 * u64::from(config.samples);
        let kept = wanted - missing.len() as u64;
        let benchmark = benchmark.to_owned();
        targets.push(Target { name, dir, benchmark, protocol, protocol_hash, missing, kept });
    }
    Ok(targets)
}

/// Name and folder of `model`: a finished run, `untrained`, a dummy, or a folder.
fn folder(store: &Store, config: &Config, model: &str) -> anyhow::Result<(String, PathBuf)> {
    let run = store.run_named(model)?.filter(|run| run.state == RunState::Done);
    if let Some(run) = run {
        return Ok((model.to_owned(), store.absolute(&run.path).join("final")));
    }
    if model == UNTRAINED
        && let Some(dir) = beginning(store, config)?
    {
        return Ok((model.to_owned(), dir));
    }
    if dummy::named(Path::new(model)).is_some() {
        return Ok((model.to_owned(), PathBuf::from(model)));
    }
    let named = store.dir().join("models").join(model);
    for dir in [named, PathBuf::from(model)] {
        if dir.is_dir() {
            return Ok((folder_name(&dir), dir));
        }
    }
    Err(Hinted::new(
        format!("there is no model `{model}`: no finished run, no folder"),
        "train it first, or give the folder that holds config.json and the weights",
    )
    .into())
}

/// The folder that the other models of this evaluation were trained from.
fn beginning(store: &Store, config: &Config) -> anyhow::Result<Option<PathBuf>> {
    for model in &config.models {
        let Some(run) = store.run_named(model)? else { continue };
        let Some(base) = run.config["model"].as_str() else { continue };
        for dir in [store.dir().join("models").join(base), store.absolute(base)] {
            if dir.is_dir() {
                return Ok(Some(dir));
            }
        }
    }
    Ok(None)
}

/// What a folder is called in the score table: its own name, or its run's for a checkpoint.
fn folder_name(dir: &Path) -> String {
    let name = |path: &Path| path.file_name().map(|name| name.to_string_lossy().into_owned());
    let own = name(dir).unwrap_or_else(|| "model".into());
    match dir.parent().and_then(name) {
        Some(run) if own == "final" || own.starts_with("checkpoint-") => format!("{run}/{own}"),
        Some(_) | None => own,
    }
}

/// SHA-256 over everything in the folder that decides what the model answers; a dummy's name says
/// it all.
fn fingerprint(dir: &Path) -> anyhow::Result<String> {
    if dummy::named(dir).is_some() {
        return Ok(dir.display().to_string());
    }
    let mut files: Vec<PathBuf> = std::fs::read_dir(dir)
        .with_context(|| format!("could not read the model folder `{}`", dir.display()))?
        .collect::<Result<Vec<_>, _>>()?
        .into_iter()
        .map(|entry| entry.path())
        .filter(|path| path.is_file() && decides(path))
        .collect();
    files.sort();
    let mut hasher = Sha256::new();
    for file in files {
        let add = |hasher: &mut Sha256| add_file(hasher, &file);
        add(&mut hasher).with_context(|| format!("could not read `{}`", file.display()))?;
    }
    Ok(hex(&hasher.finalize()))
}

fn decides(path: &Path) -> bool {
    let ends = ["json", "safetensors", "jinja", "txt"];
    path.extension().is_some_and(|end| ends.iter().any(|known| end == *known))
}

fn add_file(hasher: &mut Sha256, path: &Path) -> std::io::Result<()> {
    use std::io::{Seek, SeekFrom};
    let mut file = std::fs::File::open(path)?;
    let length = file.metadata()?.len();
    hasher.update(path.file_name().unwrap_or_default().as_encoded_bytes());
    hasher.update(length.to_le_bytes());
    if length <= WHOLE_FILE_MAX {
        std::io::copy(&mut file, hasher)?;
        return Ok(());
    }
    let mut edge = Vec::new();
    file.by_ref().take(EDGE).read_to_end(&mut edge)?;
    file.seek(SeekFrom::End(-(EDGE as i64)))?;
    file.take(EDGE).read_to_end(&mut edge)?;
    hasher.update(&edge);
    Ok(())
}
