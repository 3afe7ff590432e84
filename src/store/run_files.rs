//! What a run leaves in its folder besides model and curve: read, never written.

use std::fs;
use std::io;
use std::path::Path;

use super::{Error, Result, Store};
use crate::records::{Checkpoint, CheckpointFiles, Run, RunEvent};

/// What happened in a run, a line each.
const EVENTS: &str = "events.jsonl";

/// Its first steps beside the plain way.
const CERTIFICATE: &str = "certificate.json";

/// How far a run was when a checkpoint was made; written last.
const PROGRESS: &str = "state/progress.json";

impl Store {
    /// What happened in a run, in order; nothing where it has not begun. A last line that is still
    /// being written is left out.
    ///
    /// # Errors
    /// If the file is there and cannot be read.
    pub fn run_events(&self, run: &Run) -> Result<Vec<RunEvent>> {
        let text = self.in_run(run, EVENTS)?.unwrap_or_default();
        Ok(text.lines().map_while(|line| serde_json::from_str(line).ok()).collect())
    }

    /// A run's certificate, if it has one.
    ///
    /// # Errors
    /// If the file is there and cannot be read.
    pub fn run_certificate(&self, run: &Run) -> Result<Option<serde_json::Value>> {
        let decode = |error: serde_json::Error| Error::Decode {
            what: "certificate",
            message: error.to_string(),
        };
        let text = self.in_run(run, CERTIFICATE)?;
        text.map(|text| serde_json::from_str(&text).map_err(decode)).transpose()
    }

    /// What lies in the folder of a checkpoint; none if somebody has deleted it.
    ///
    /// # Errors
    /// If it is there and cannot be read.
    pub fn checkpoint_files(&self, checkpoint: &Checkpoint) -> Result<Option<CheckpointFiles>> {
        let folder = self.absolute(&checkpoint.path);
        let look = || -> io::Result<CheckpointFiles> {
            let path = folder.join(PROGRESS);
            let progress: serde_json::Value = serde_json::from_str(&fs::read_to_string(&path)?)?;
            let saved = jiff::Timestamp::try_from(fs::metadata(&path)?.modified()?);
            Ok(CheckpointFiles {
                bytes: bytes(&folder)?,
                loss: progress["loss"].as_f64(),
                saved_at: saved.map_err(io::Error::other)?.to_string(),
            })
        };
        match look() {
            Ok(files) => Ok(Some(files)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(Error::Decode {
                what: "checkpoint",
                message: format!("could not read `{}`: {error}", folder.display()),
            }),
        }
    }

    fn in_run(&self, run: &Run, name: &str) -> Result<Option<String>> {
        let path = self.absolute(&run.path).join(name);
        match fs::read_to_string(&path) {
            Ok(text) => Ok(Some(text)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(Error::Decode {
                what: "run",
                message: format!("could not read `{}`: {error}", path.display()),
            }),
        }
    }
}

/// Bytes of every file below `dir`.
fn bytes(dir: &Path) -> io::Result<u64> {
    let mut sum = 0;
    for entry in fs::read_dir(dir)? {
        let entry = entry?;
        let facts = entry.metadata()?;
        sum += if facts.is_dir() { bytes(&entry.path())? } else { facts.len() };
    }
    Ok(sum)
}
