//! One JSON object per line, as `datasets` reads it.

use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};

use anyhow::Context;
use serde_json::{Map, Value, json};

use super::{Cell, Kind};

/// A file that is being written.
pub(super) struct Part {
    path: PathBuf,
    file: BufWriter<File>,
}

impl Part {
    pub(super) fn new(path: &Path) -> anyhow::Result<Self> {
        let file =
            File::create(path).with_context(|| format!("could not make `{}`", path.display()))?;
        Ok(Self { path: path.to_path_buf(), file: BufWriter::new(file) })
    }

    pub(super) fn push(
        &mut self,
        columns: &[(&'static str, Kind)],
        row: &[Cell<'_>],
    ) -> anyhow::Result<()> {
        let object: Map<String, Value> = columns
            .iter()
            .zip(row)
            .map(|((name, _), cell)| ((*name).to_owned(), value(cell)))
            .collect();
        serde_json::to_writer(&mut self.file, &object)
            .map_err(std::io::Error::from)
            .and_then(|()| self.file.write_all(b"\n"))
            .with_context(|| format!("could not write `{}`", self.path.display()))
    }

    /// Ends the file; gives its size.
    pub(super) fn finish(self) -> anyhow::Result<u64> {
        let end = |file: BufWriter<File>| {
            let file = file.into_inner().map_err(std::io::IntoInnerError::into_error)?;
            file.sync_all()?;
            Ok::<u64, std::io::Error>(file.metadata()?.len())
        };
        end(self.file).with_context(|| format!("could not write `{}`", self.path.display()))
    }
}

fn value(cell: &Cell<'_>) -> Value {
    match cell {
        Cell::Empty => Value::Null,
        Cell::Text(text) => json!(text),
        Cell::Whole(number) => json!(number),
        Cell::Real(number) => json!(number),
        Cell::Turns(turns) => {
            turns.iter().map(|(from, value)| json!({ "from": from, "value": value })).collect()
        }
    }
}
