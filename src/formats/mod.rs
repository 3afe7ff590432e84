//! Other people's files, read and written row by row.
//!
//! Knows tables of text, numbers and conversations; what they mean is the callers' business.

pub mod cases;
mod jsonl;
mod parquet;

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::Context;

/// Raw bytes of one file of a table. The Hub's own files stay below 500 MB, and a table of ours is
/// read whole by many tools.
const FILE_BYTES: u64 = 400 << 20;

/// What a column holds. Every column may hold nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Text.
    Text,
    /// Whole numbers of 64 bits.
    Whole,
    /// Floating-point numbers of 64 bits.
    Real,
    /// A conversation: a list of `{from, value}`.
    Turns,
}

/// One cell of a row.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Cell<'a> {
    /// Nothing.
    Empty,
    /// Text.
    Text(&'a str),
    /// A whole number.
    Whole(i64),
    /// A floating-point number.
    Real(f64),
    /// Pairs of who speaks and what is said.
    Turns(&'a [(&'a str, &'a str)]),
}

impl<'a> Cell<'a> {
    /// Text, or nothing.
    pub fn text(text: Option<&'a str>) -> Self {
        text.map_or(Self::Empty, Self::Text)
    }

    /// Bytes of its content.
    fn bytes(&self) -> u64 {
        let count = |text: &str| text.len() as u64;
        match self {
            Self::Empty => 0,
            Self::Text(text) => count(text),
            Self::Whole(_) | Self::Real(_) => 8,
            Self::Turns(turns) => {
                turns.iter().map(|(from, value)| count(from) + count(value)).sum()
            }
        }
    }
}

/// How a table is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// Apache Parquet, compressed with zstd.
    Parquet,
    /// One JSON object per line.
    Jsonl,
}

impl Format {
    /// How its files end.
    pub fn extension(self) -> &'static str {
        match self {
            Self::Parquet => "parquet",
            Self::Jsonl => "jsonl",
        }
    }
}

/// What was written.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Written {
    /// Rows.
    pub rows: u64,
    /// Bytes of their content.
    pub raw_bytes: u64,
    /// Bytes of the files.
    pub file_bytes: u64,
}

/// Writes a table as files `train-00000-of-0000N` in a folder. The same rows make the same bytes.
pub struct TableWriter {
    folder: PathBuf,
    format: Format,
    columns: Vec<(&'static str, Kind)>,
    part: Option<Part>,
    part_bytes: u64,
    parts: usize,
    written: Written,
}

enum Part {
    Parquet(Box<parquet::Part>),
    Jsonl(jsonl::Part),
}

impl TableWriter {
    /// Begins a table in `folder`, which is made.
    ///
    /// # Errors
    /// If the folder cannot be made.
    pub fn new(
        folder: &Path,
        format: Format,
        columns: &[(&'static str, Kind)],
    ) -> anyhow::Result<Self> {
        fs::create_dir_all(folder)
            .with_context(|| format!("could not make `{}`", folder.display()))?;
        Ok(Self {
            folder: folder.to_path_buf(),
            format,
            columns: columns.to_vec(),
            part: None,
            part_bytes: 0,
            parts: 0,
            written: Written::default(),
        })
    }

    /// Appends a row with one cell per column.
    ///
    /// # Errors
    /// If the file cannot be written.
    pub fn push(&mut self, row: &[Cell<'_>]) -> anyhow::Result<()> {
        let bytes: u64 = row.iter().map(Cell::bytes).sum();
        if self.part.is_some() && self.part_bytes + bytes > FILE_BYTES {
            self.close_part()?;
        }
        let columns = &self.columns;
        let part = match &mut self.part {
            Some(part) => part,
            empty => {
                let path = self.folder.join(format!("part-{:05}", self.parts));
                empty.insert(match self.format {
                    Format::Parquet => Part::Parquet(Box::new(parquet::Part::new(&path, columns)?)),
                    Format::Jsonl => Part::Jsonl(jsonl::Part::new(&path)?),
                })
            }
        };
        match part {
            Part::Parquet(part) => part.push(row)?,
            Part::Jsonl(part) => part.push(columns, row)?,
        }
        self.part_bytes += bytes;
        self.written.rows += 1;
        self.written.raw_bytes += bytes;
        Ok(())
    }

    /// Ends the table and gives its files their names. A table without rows has no files.
    ///
    /// # Errors
    /// If a file cannot be written or renamed.
    pub fn finish(mut self) -> anyhow::Result<Written> {
        self.close_part()?;
        for part in 0..self.parts {
            let from = self.folder.join(format!("part-{part:05}"));
            let name = format!("train-{part:05}-of-{:05}.{}", self.parts, self.format.extension());
            fs::rename(&from, self.folder.join(&name))
                .with_context(|| format!("could not rename `{}`", from.display()))?;
        }
        Ok(self.written)
    }

    fn close_part(&mut self) -> anyhow::Result<()> {
        let bytes = match self.part.take() {
            Some(Part::Parquet(part)) => part.finish()?,
            Some(Part::Jsonl(part)) => part.finish()?,
            None => return Ok(()),
        };
        self.written.file_bytes += bytes;
        self.part_bytes = 0;
        self.parts += 1;
        Ok(())
    }
}

#[cfg(test)]
mod tests;
