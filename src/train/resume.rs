//! Checkpoints: complete folders in Hugging Face layout with the training state beside the model.
//!
//! A checkpoint is written into a hidden folder, flushed to the disk and renamed, so that a folder
//! called `checkpoint-N` is always whole: a run that was killed goes on from the newest one.

use std::fs::{self, File};
use std::path::{Path, PathBuf};

use anyhow::Context;
use serde::{Deserialize, Serialize};

use super::identity::Identity;
use crate::engine::{Snapshot, Trainer};
use crate::hint::Hinted;

/// Folder of the finished model.
pub(super) const FINAL: &str = "final";

const PREFIX: &str = "checkpoint-";
const STATE: &str = "state";
const PROGRESS: &str = "progress.json";

/// How the folder of a checkpoint begins that is being written.
pub(super) const UNFINISHED: &str = ".unfinished-";

/// Files of a model folder that the engine writes itself or that are weights.
const ENGINES: [&str; 3] =
    ["config.json", "generation_config.json", "model.safetensors.index.json"];

/// Endings of the files that go with a model: tokenizer, templates, licence.
const ENDINGS: [&str; 5] = ["json", "jinja", "txt", "model", "md"];

/// How far a run was when the checkpoint was made.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct Progress {
    /// Steps done; the next step has this number.
    pub(super) step: u64,
    /// What made it this run.
    pub(super) run: Identity,
    /// Mean loss of the steps since the checkpoint before, if there were any.
    pub(super) loss: Option<f64>,
}

/// Folder of the checkpoint after `step` steps.
pub(super) fn folder(out: &Path, step: u64) -> PathBuf {
    out.join(format!("{PREFIX}{step}"))
}

/// The newest checkpoint in `out`, if there is one.
///
/// # Errors
/// If it belongs to another run, naming what is different, or cannot be read.
pub(super) fn newest(out: &Path, run: &Identity) -> anyhow::Result<Option<(PathBuf, Progress)>> {
    let Some(step) = steps(out)?.pop() else { return Ok(None) };
    let dir = folder(out, step);
    let progress = checked(&dir, run)?;
    Ok(Some((dir, progress)))
}

/// How far the checkpoint in `dir` is.
///
/// # Errors
/// If it belongs to another run, naming what is different, or cannot be read.
pub(super) fn checked(dir: &Path, run: &Identity) -> anyhow::Result<Progress> {
    let progress = progress(dir)?;
    if progress.run != *run {
        return Err(Hinted::new(
            format!(
                "`{}` belongs to a run with other settings or data: {}",
                dir.display(),
                progress.run.differences(run).join("; ")
            ),
            "set them back, give another --out, or delete the checkpoints to start over",
        )
        .into());
    }
    Ok(progress)
}

/// Makes the checkpoint after `step` steps the newest one of the run in `out`, and gives the steps of
/// those deleted for it. The newest is deleted first: whatever ends this early leaves a run that can
/// go on, or back.
///
/// # Errors
/// If there is no such checkpoint, or a later one cannot be deleted.
pub(super) fn go_back(out: &Path, step: u64) -> anyhow::Result<Vec<u64>> {
    let known = steps(out)?;
    if !known.contains(&step) {
        let named: Vec<String> = known.iter().map(u64::to_string).collect();
        let hint = match named.as_slice() {
            [] => "there is none yet; leave out train.resume_from".to_owned(),
            _ => format!("there are checkpoints after {} steps", named.join(", ")),
        };
        let message = format!("there is no checkpoint after {step} steps in `{}`", out.display());
        return Err(Hinted::new(message, hint).into());
    }
    let later: Vec<u64> = known.into_iter().filter(|known| *known > step).collect();
    for step in later.iter().rev() {
        let dir = folder(out, *step);
        fs::remove_dir_all(&dir)
            .with_context(|| format!("could not delete `{}`", dir.display()))?;
    }
    Ok(later)
}

fn progress(dir: &Path) -> anyhow::Result<Progress> {
    let path = dir.join(STATE).join(PROGRESS);
    let text = fs::read_to_string(&path)
        .with_context(|| format!("could not read `{}`", path.display()))?;
    serde_json::from_str(&text).with_context(|| format!("could not read `{}`", path.display()))
}

/// Steps of the checkpoints in `out`, oldest first.
///
/// # Errors
/// If the folder cannot be read.
pub(super) fn steps(out: &Path) -> anyhow::Result<Vec<u64>> {
    if !out.is_dir() {
        return Ok(Vec::new());
    }
    let entries =
        fs::read_dir(out).with_context(|| format!("could not read `{}`", out.display()))?;
    let mut steps = Vec::new();
    for entry in entries {
        let name =
            entry.with_context(|| format!("could not read `{}`", out.display()))?.file_name();
        let step = name.to_str().and_then(|name| name.strip_prefix(PREFIX));
        steps.extend(step.and_then(|step| step.parse::<u64>().ok()));
    }
    steps.sort_unstable();
    Ok(steps)
}

/// Reads the optimizer's state of a checkpoint.
///
/// # Errors
/// If it is missing or does not fit.
pub(super) fn load_state(trainer: &mut dyn Trainer, checkpoint: &Path) -> anyhow::Result<()> {
    trainer
        .load_state(&checkpoint.join(STATE))
        .with_context(|| format!("could not go on from `{}`", checkpoint.display()))
}

/// Writes a checkpoint; `model` is where tokenizer files come from.
///
/// # Errors
/// If a file cannot be written.
pub(super) fn save(
    snapshot: &dyn Snapshot,
    model: &Path,
    out: &Path,
    progress: &Progress,
) -> anyhow::Result<PathBuf> {
    let dir = folder(out, progress.step);
    replace(&dir, |dir| {
        snapshot.save_model(dir)?;
        copy_companions(model, dir)?;
        let state = dir.join(STATE);
        fs::create_dir(&state)?;
        snapshot.save_state(&state)?;
        fs::write(state.join(PROGRESS), serde_json::to_string(progress)?)?;
        Ok(())
    })?;
    Ok(dir)
}

/// Writes the finished model.
///
/// # Errors
/// If a file cannot be written.
pub(super) fn save_final(snapshot: &dyn Snapshot, model: &Path, out: &Path) -> anyhow::Result<()> {
    replace(&out.join(FINAL), |dir| {
        snapshot.export(dir)?;
        copy_companions(model, dir)
    })
}

/// Deletes all but the newest `keep` checkpoints and the one with the least loss (0 keeps all); gives
/// the steps of those deleted.
///
/// # Errors
/// If a folder cannot be read or deleted.
pub(super) fn prune(out: &Path, keep: u32) -> anyhow::Result<Vec<u64>> {
    if keep == 0 {
        return Ok(Vec::new());
    }
    let mut old = steps(out)?;
    let mut best: Option<(f64, u64)> = None;
    for step in &old {
        let loss = progress(&folder(out, *step))?.loss.filter(|loss| loss.is_finite());
        if let Some(loss) = loss.filter(|loss| best.is_none_or(|(least, _)| *loss < least)) {
            best = Some((loss, *step));
        }
    }
    old.truncate(old.len().saturating_sub(keep as usize));
    old.retain(|step| best.is_none_or(|(_, best)| best != *step));
    for step in &old {
        let dir = folder(out, *step);
        fs::remove_dir_all(&dir)
            .with_context(|| format!("could not delete `{}`", dir.display()))?;
    }
    Ok(old)
}

/// Makes `dir` anew with what `fill` writes: all of it or nothing.
pub(super) fn replace(
    dir: &Path,
    fill: impl FnOnce(&Path) -> anyhow::Result<()>,
) -> anyhow::Result<()> {
    let write = || -> anyhow::Result<()> {
        let parent = dir.parent().context("it has no parent folder")?;
        let unfinished = tempfile::Builder::new().prefix(UNFINISHED).tempdir_in(parent)?;
        fill(unfinished.path())?;
        flush(unfinished.path())?;
        if dir.exists() {
            fs::remove_dir_all(dir)?;
        }
        fs::rename(unfinished.path(), dir)?;
        // It is not there any more under this name; nothing is left to delete.
        let _ = unfinished.keep();
        File::open(parent)?.sync_all()?;
        Ok(())
    };
    write().with_context(|| format!("could not write `{}`", dir.display()))
}

/// Flushes every file below `dir` to the disk.
fn flush(dir: &Path) -> anyhow::Result<()> {
    for entry in fs::read_dir(dir)? {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            flush(&entry.path())?;
        } else {
            File::open(entry.path())?.sync_all()?;
        }
    }
    File::open(dir)?.sync_all()?;
    Ok(())
}

/// Copies what goes with a model and is not made by the engine.
fn copy_companions(from: &Path, to: &Path) -> anyhow::Result<()> {
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        let name = entry.file_name();
        let ending = Path::new(&name).extension().and_then(|ending| ending.to_str());
        let wanted = ending.is_some_and(|ending| ENDINGS.contains(&ending))
            && !ENGINES.iter().any(|own| name == *own)
            && entry.file_type()?.is_file();
        if wanted {
            fs::copy(entry.path(), to.join(&name))?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::path::Path;

    use super::{Identity, Progress, folder, go_back, newest, prune, replace, steps};
    use crate::hint;

    fn run(model: &str) -> Identity {
        let settings = [("learning_rate".to_owned(), 1e-3.into())].into();
        Identity { settings, examples: "e".into(), model: model.into() }
    }

    fn checkpoint(out: &Path, step: u64, loss: Option<f64>) {
        replace(&folder(out, step), |dir| {
            fs::create_dir(dir.join("state"))?;
            let progress = Progress { step, run: run("a"), loss };
            fs::write(dir.join("state/progress.json"), serde_json::to_string(&progress)?)?;
            Ok(())
        })
        .unwrap();
    }

    #[test]
    fn the_newest_is_by_number_not_by_name() {
        let out = tempfile::tempdir().unwrap();
        for step in [100, 20, 9] {
            checkpoint(out.path(), step, None);
        }
        fs::create_dir(out.path().join(".unfinished-x")).unwrap();
        assert_eq!(steps(out.path()).unwrap(), [9, 20, 100]);
        assert_eq!(newest(out.path(), &run("a")).unwrap().unwrap().1.step, 100);
    }

    #[test]
    fn another_run_is_not_continued() {
        let out = tempfile::tempdir().unwrap();
        assert!(newest(out.path(), &run("a")).unwrap().is_none());
        checkpoint(out.path(), 5, None);
        let error = newest(out.path(), &run("b")).unwrap_err().to_string();
        let expected = "belongs to a run with other settings or data: the model to begin with is";
        assert!(error.contains(expected), "{error}");
        let mut other = run("a");
        other.settings.insert("learning_rate".into(), 2e-3.into());
        let error = newest(out.path(), &other).unwrap_err().to_string();
        assert!(error.contains("`train.learning_rate` was `0.001` and is `0.002`"), "{error}");
    }

    #[test]
    fn the_newest_and_the_best_are_kept() {
        let out = tempfile::tempdir().unwrap();
        for (step, loss) in [(1, 3.0), (2, 1.0), (3, f64::NAN), (4, 2.0), (5, 1.5)] {
            checkpoint(out.path(), step, Some(loss).filter(|loss| loss.is_finite()));
        }
        assert_eq!(prune(out.path(), 0).unwrap(), [0; 0]);
        assert_eq!(prune(out.path(), 2).unwrap(), [1, 3]);
        assert_eq!(steps(out.path()).unwrap(), [2, 4, 5]);
    }

    #[test]
    fn going_back_leaves_the_checkpoint_and_those_before_it() {
        let out = tempfile::tempdir().unwrap();
        let error = go_back(out.path(), 4).unwrap_err();
        assert!(hint::of(&error).unwrap().starts_with("there is none yet"), "{error:?}");
        for step in [2, 4, 6, 8] {
            checkpoint(out.path(), step, None);
        }
        let error = go_back(out.path(), 5).unwrap_err();
        assert!(error.to_string().starts_with("there is no checkpoint after 5 steps in"));
        assert_eq!(hint::of(&error), Some("there are checkpoints after 2, 4, 6, 8 steps"));
        assert_eq!(go_back(out.path(), 4).unwrap(), [6, 8]);
        assert_eq!(steps(out.path()).unwrap(), [2, 4]);
        assert_eq!(go_back(out.path(), 4).unwrap(), [0; 0]);
    }

    #[test]
    fn what_fails_leaves_the_old_folder_alone() {
        let out = tempfile::tempdir().unwrap();
        checkpoint(out.path(), 1, None);
        let failed = replace(&folder(out.path(), 1), |_| anyhow::bail!("disk is full"));
        assert!(failed.is_err());
        assert!(newest(out.path(), &run("a")).unwrap().is_some());
        assert_eq!(fs::read_dir(out.path()).unwrap().count(), 1);
    }
}
