//! Saves checkpoints while training goes on.
//!
//! The model and its state are copied to the host between two steps; writing, flushing and renaming
//! happen on a thread. One checkpoint is written at a time: the next waits for it. A checkpoint that
//! cannot be written does not end the run, whose state is safe in memory: the run says so and tries
//! again with the next one. Only where the very last cannot be written is there nothing to go on for.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::thread::{self, JoinHandle};

use anyhow::{Context, anyhow, ensure};

use super::resume::{self, Progress};
use crate::engine::Snapshot;
use crate::hint::Hinted;

/// What became of a checkpoint.
#[derive(Debug)]
pub(super) struct Saved {
    /// Steps in it.
    pub(super) step: u64,
    /// Checkpoints that were deleted for it, or why it was not written.
    pub(super) result: anyhow::Result<Vec<u64>>,
}

/// What is to be written.
pub(super) struct Save {
    /// The copy.
    pub(super) snapshot: Box<dyn Snapshot>,
    /// Where tokenizer files come from.
    pub(super) model: PathBuf,
    /// The run's folder.
    pub(super) out: PathBuf,
    /// How far the run is.
    pub(super) progress: Progress,
    /// How many of the newest checkpoints stay; 0 = all.
    pub(super) keep: u32,
}

/// Writes one checkpoint at a time.
#[derive(Debug, Default)]
pub(super) struct Saver {
    writing: Option<(u64, JoinHandle<anyhow::Result<Vec<u64>>>)>,
}

impl Saver {
    /// Begins to write a checkpoint; the one before must have been waited for.
    ///
    /// # Errors
    /// If there can be no thread.
    pub(super) fn begin(&mut self, save: Save) -> anyhow::Result<()> {
        let step = save.progress.step;
        let write = move || {
            resume::save(save.snapshot.as_ref(), &save.model, &save.out, &save.progress)?;
            resume::prune(&save.out, save.keep)
        };
        let thread = thread::Builder::new().name("checkpoint".to_owned()).spawn(write);
        self.writing = Some((step, thread.context("could not start a thread")?));
        Ok(())
    }

    /// What became of the checkpoint that was being written, if it is done.
    pub(super) fn done(&mut self) -> Option<Saved> {
        let is_done = self.writing.as_ref().is_some_and(|(_, thread)| thread.is_finished());
        if is_done { self.wait() } else { None }
    }

    /// The same, waiting for it.
    pub(super) fn wait(&mut self) -> Option<Saved> {
        let (step, thread) = self.writing.take()?;
        let result = thread.join().unwrap_or_else(|_| Err(anyhow!("the writing thread crashed")));
        Some(Saved { step, result })
    }
}

/// A run that ends early does not leave a folder half-written.
impl Drop for Saver {
    fn drop(&mut self) {
        self.wait();
    }
}

/// Makes sure, before the first step, that a checkpoint can be written into `out`: a file as large as
/// the largest, and room for all of it; of so many bytes of weights and of the optimizer's state.
///
/// # Errors
/// If the folder cannot be written, a file cannot be as large, or there is too little room.
pub(super) fn rehearse(out: &Path, [weights, state]: [u64; 2]) -> anyhow::Result<()> {
    let named = || format!("could not make room for a checkpoint in `{}`", out.display());
    let write = || -> anyhow::Result<()> {
        let probe = tempfile::Builder::new().prefix(".room-").tempfile_in(out)?;
        // No byte is written, but a limit on the size of files speaks up.
        probe.as_file().set_len(state)?;
        Ok(())
    };
    write().with_context(named)?;
    let space = rustix::fs::statvfs(out).with_context(named)?;
    let free = space.f_bavail.saturating_mul(space.f_frsize);
    let needed = weights + state;
    ensure!(
        free >= needed,
        Hinted::new(
            format!(
                "a checkpoint takes {needed} bytes but `{}` has room for {free}",
                out.display()
            ),
            "free some space, or give another folder",
        )
    );
    Ok(())
}

/// Deletes what a killed run has left half-written in `out`.
///
/// # Errors
/// If it cannot be deleted.
pub(super) fn sweep(out: &Path) -> anyhow::Result<()> {
    for entry in fs::read_dir(out)? {
        let entry = entry?;
        let name = entry.file_name();
        if name.to_str().is_some_and(|name| name.starts_with(resume::UNFINISHED)) {
            let path = entry.path();
            let left =
                if path.is_dir() { fs::remove_dir_all(&path) } else { fs::remove_file(&path) };
            left.with_context(|| format!("could not delete `{}`", path.display()))?;
        }
    }
    File::open(out)?.sync_all()?;
    Ok(())
}
