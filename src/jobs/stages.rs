//! What each kind of job runs, and how to see that it has nothing to do.

use anyhow::Context as _;
use serde::Serialize;
use serde::de::DeserializeOwned;
use sha2::{Digest, Sha256};

use super::child::Helper;
use super::{Launch, Secrets};
use crate::records::{JobKind, RunState};
use crate::sandbox::Sandbox;
use crate::stage::Context;
use crate::store::Store;
use crate::{dataset, distill, evaluate, questions, serve, train, verify};

/// Runs the stage `kind` with `config` and gives its summary.
pub(super) fn run(
    cx: &Context,
    launch: &Launch,
    kind: JobKind,
    config: serde_json::Value,
) -> anyhow::Result<serde_json::Value> {
    match kind {
        JobKind::Questions => stage(cx, config, questions::run),
        JobKind::Distill => {
            stage(cx, config, |cx, config: &distill::Config| ask_teacher(cx, config, launch))
        }
        JobKind::Verify => stage(cx, config, |cx, config| verify::run(cx, config, &tools(launch))),
        JobKind::Dataset => stage(cx, config, dataset::run),
        JobKind::Train => stage(cx, config, train::run),
        JobKind::Evaluate => stage(cx, config, |cx, config| {
            let key = launch.secrets.teacher_key.as_deref();
            evaluate::run(cx, config, &evaluate::Means { tools: &tools(launch), key })
        }),
        JobKind::Serve => stage(cx, config, serve::run),
    }
}

/// What answers are judged with: programs run in a sandbox that is our own executable.
pub(super) fn tools(launch: &Launch) -> verify::Tools {
    let mut sandbox = Sandbox::new(launch.exe.clone(), launch.search_path.clone());
    if launch.allow_unsandboxed {
        sandbox = sandbox.or_unsandboxed();
    }
    let judge_key = launch.secrets.for_judge().map(verify::judge::Key);
    verify::Tools { judge_key, ..verify::Tools::new(sandbox) }
}

/// Distils; where the rehearsal teacher is meant, it is a server of our own for as long as that
/// takes.
fn ask_teacher(
    cx: &Context,
    config: &distill::Config,
    launch: &Launch,
) -> anyhow::Result<distill::Summary> {
    if config.endpoint != distill::REHEARSAL {
        return distill::run(cx, config, &launch.secrets);
    }
    let seed = config.seed.to_string();
    let args = ["teacher", "--listen", "127.0.0.1:0", "--json", "--seed", &seed];
    let teacher = Helper::start(&launch.exe, &args, &cx.stop)?;
    let config = distill::Config {
        endpoint: teacher.url.clone(),
        // The port differs each time; what it is does not.
        endpoint_label: config.endpoint_label.clone().or(Some(distill::REHEARSAL.into())),
        ..config.clone()
    };
    // The key is somebody else's: the rehearsal teacher asks for none and is sent none.
    distill::run(cx, &config, &Secrets::default())
}

/// Runs one stage: its configuration from JSON, its summary to JSON.
fn stage<C: DeserializeOwned, S: Serialize>(
    cx: &Context,
    config: serde_json::Value,
    run: impl FnOnce(&Context, &C) -> anyhow::Result<S>,
) -> anyhow::Result<serde_json::Value> {
    let config = serde_json::from_value(config).context("could not read the job's settings")?;
    serde_json::to_value(run(cx, &config)?).context("could not write the summary")
}

/// Fingerprint of everything in the store that `kind` reads. Equal to the one of a finished job
/// with the same settings: nothing to do.
pub(super) fn inputs(store: &Store, kind: JobKind) -> anyhow::Result<String> {
    let questions = || -> anyhow::Result<String> {
        let counts = store.question_counts()?;
        let one = |count: &crate::store::QuestionCount| {
            format!("{}/{}/{}/{}", count.split, count.source, count.family, count.count)
        };
        Ok(counts.iter().map(one).collect::<Vec<_>>().join(","))
    };
    let seen = match kind {
        JobKind::Questions => String::new(),
        JobKind::Distill => questions()?,
        JobKind::Verify => {
            let traces = store.trace_counts()?.traces;
            format!("{} {traces}", questions()?)
        }
        JobKind::Dataset => format!("{:?} {}", store.trace_counts()?, store.decisions_stamp()?),
        JobKind::Train => {
            let datasets = store.datasets()?;
            let one = |set: &crate::records::Dataset| format!("{}:{}", set.id, set.path);
            datasets.iter().map(one).collect::<Vec<_>>().join(",")
        }
        JobKind::Evaluate => format!("{} {}", questions()?, models(store)?),
        JobKind::Serve => models(store)?,
    };
    Ok(format!("{:x}", Sha256::digest(seen)))
}

/// The models that training left, as far as their files are there.
fn models(store: &Store) -> anyhow::Result<String> {
    let mut models = Vec::new();
    for run in store.runs()? {
        let there = store.absolute(&run.path).join("final/config.json").exists();
        models.push(format!("{}:{}:{there}", run.path, run.state == RunState::Done));
    }
    models.sort();
    Ok(models.join(","))
}

/// Whether a stage that summed up so has done all there was.
pub(super) fn is_complete(kind: JobKind, summary: &serde_json::Value) -> bool {
    let is = |name: &str, value: serde_json::Value| summary.get(name) == Some(&value);
    match kind {
        JobKind::Distill => is("paused", false.into()) && is("failed", 0.into()),
        // What the judge did not answer is asked again.
        JobKind::Verify => {
            let failed = summary.pointer("/judge/failed").and_then(serde_json::Value::as_u64);
            !is("paused", true.into()) && failed.unwrap_or(0) == 0
        }
        JobKind::Questions
        | JobKind::Dataset
        | JobKind::Train
        | JobKind::Evaluate
        | JobKind::Serve => true,
    }
}

/// Whether what `kind` writes is still there.
pub(super) fn outputs_exist(store: &Store, kind: JobKind) -> anyhow::Result<bool> {
    Ok(match kind {
        JobKind::Dataset => {
            store.datasets()?.iter().all(|dataset| store.absolute(&dataset.path).exists())
        }
        JobKind::Train => {
            let done = |run: &crate::records::Run| {
                run.state == RunState::Done && store.absolute(&run.path).join("final").exists()
            };
            store.runs()?.iter().all(done)
        }
        JobKind::Questions
        | JobKind::Distill
        | JobKind::Verify
        | JobKind::Evaluate
        | JobKind::Serve => true,
    })
}
