//! What a run leaves in its folder besides model and curve: read, never written.

use std::fs;

use super::{Error, Result, Store};
use crate::records::{Run, RunEvent};

/// What happened in a run, a line each.
const EVENTS: &str = "events.jsonl";

/// Its first steps beside the plain way.
const CERTIFICATE: &str = "certificate.json";

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

    fn in_run(&self, run: &Run, name: &str) -> Result<Option<String>> {
        let path = self.absolute(&run.path).join(name);
        match fs::read_to_string(&path) {
            Ok(text) => Ok(Some(text)),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(Error::Decode {
                what: "run",
                message: format!("could not read `{}`: {error}", path.display()),
            }),
        }
    }
}
