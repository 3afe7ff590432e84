//! The learning curve: `steps.jsonl` beside the checkpoints, and the same as `steps.csv` for tables
//! and plots.
//!
//! A line is written when its step is done, so that a killed run has lost none. A resumed run takes
//! back the lines it is about to repeat.

use std::fs::{self, File, OpenOptions};
use std::io::Write;
use std::path::Path;

use anyhow::Context;

use crate::records::{self, Step};

const FILE: &str = "steps.jsonl";

const TABLE: &str = "steps.csv";

/// The open files.
#[derive(Debug)]
pub(super) struct Curve {
    lines: Opened,
    table: Opened,
}

/// A file that grows.
#[derive(Debug)]
struct Opened {
    file: File,
    path: String,
}

impl Opened {
    /// The file called `name` in `dir`, with this content.
    fn new(dir: &Path, name: &str, content: &str) -> anyhow::Result<Self> {
        let path = dir.join(name);
        let replace = || {
            let unfinished = dir.join(format!(".{name}"));
            fs::write(&unfinished, content)?;
            fs::rename(&unfinished, &path)?;
            OpenOptions::new().append(true).open(&path)
        };
        let file = replace().with_context(|| format!("could not write `{}`", path.display()))?;
        Ok(Self { file, path: path.display().to_string() })
    }

    fn add(&mut self, text: &str) -> anyhow::Result<()> {
        let written = self.file.write_all(text.as_bytes());
        written.with_context(|| format!("could not write `{}`", self.path))
    }
}

impl Curve {
    /// Opens the curve in `dir` so that step `first` comes next.
    ///
    /// # Errors
    /// If the file cannot be read or written.
    pub(super) fn open(dir: &Path, first: u64) -> anyhow::Result<Self> {
        let mut steps = read(dir)?;
        steps.retain(|step| step.step < first);
        let lines: String = steps.iter().map(line).collect::<anyhow::Result<_>>()?;
        Ok(Self {
            lines: Opened::new(dir, FILE, &lines)?,
            table: Opened::new(dir, TABLE, &records::table(&steps))?,
        })
    }

    /// Adds a step.
    ///
    /// # Errors
    /// If it cannot be written.
    pub(super) fn push(&mut self, step: &Step) -> anyhow::Result<()> {
        self.lines.add(&line(step)?)?;
        self.table.add(&step.row())
    }
}

/// The steps in `dir`; a last line that was cut off by a crash is left out.
///
/// # Errors
/// If the file is there and cannot be read.
pub(super) fn read(dir: &Path) -> anyhow::Result<Vec<Step>> {
    let path = dir.join(FILE);
    if !path.is_file() {
        return Ok(Vec::new());
    }
    let text = fs::read_to_string(&path)
        .with_context(|| format!("could not read `{}`", path.display()))?;
    Ok(text.lines().map_while(|line| serde_json::from_str(line).ok()).collect())
}

fn line(step: &Step) -> anyhow::Result<String> {
    Ok(format!("{}\n", serde_json::to_string(step)?))
}

#[cfg(test)]
mod tests {
    use super::{Curve, read};
    use crate::records::Step;

    fn step(step: u64) -> Step {
        Step {
            step,
            epoch: 0.5,
            loss: 1.25,
            grad_norm: 2.0,
            learning_rate: 1e-3,
            tokens: 10,
            trained_tokens: 5,
            tokens_per_second: 100.0,
            mfu: None,
            seconds: 0.1,
            peak_memory_bytes: 1,
            balance: None,
        }
    }

    #[test]
    fn a_resumed_run_takes_back_the_steps_it_repeats() {
        let dir = tempfile::tempdir().unwrap();
        let mut curve = Curve::open(dir.path(), 0).unwrap();
        for number in 0..5 {
            curve.push(&step(number)).unwrap();
        }
        let path = dir.path().join("steps.jsonl");
        let text = std::fs::read_to_string(&path).unwrap();
        std::fs::write(&path, &text[..text.len() - 7]).unwrap();
        assert_eq!(read(dir.path()).unwrap().len(), 4);
        let mut curve = Curve::open(dir.path(), 2).unwrap();
        curve.push(&step(2)).unwrap();
        assert_eq!(read(dir.path()).unwrap(), [step(0), step(1), step(2)]);
        let table = std::fs::read_to_string(dir.path().join("steps.csv")).unwrap();
        let rows: Vec<&str> = table.lines().collect();
        assert_eq!(rows.len(), 4);
        assert_eq!(rows[0].split(',').count(), rows[3].split(',').count());
        assert_eq!(rows[3], "2,0.5,1.25,2,0.001,10,5,100,,0.1,1,");
    }

    #[test]
    fn a_line_has_the_names_of_the_contract() {
        let line = super::line(&step(3)).unwrap();
        assert_eq!(
            line,
            "{\"step\":3,\"epoch\":0.5,\"loss\":1.25,\"grad_norm\":2.0,\"learning_rate\":0.001,\
             \"tokens\":10,\"trained_tokens\":5,\"tokens_per_second\":100.0,\"mfu\":null,\
             \"seconds\":0.1,\"peak_memory_bytes\":1}\n"
        );
    }
}
