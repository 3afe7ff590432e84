//! The card of a dataset: what `datasets` needs to find the tables, and what people need to know.
//!
//! No dates and no machine: the same rows make the same card.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::path::Path;

use anyhow::Context;

use super::tables::TABLES;
use crate::formats::{Format, Kind, Written};
use crate::records::{Arm, Domain, Example, Verdict};

/// What the card counts while rows are written.
#[derive(Debug, Clone)]
pub(super) struct Card {
    name: String,
    arm: Arm,
    domains: BTreeMap<Domain, u64>,
    verdicts: BTreeMap<&'static str, u64>,
    teachers: BTreeMap<String, u64>,
    completion_tokens: u64,
}

impl Card {
    pub(super) fn new(name: &str, arm: Arm) -> Self {
        Self {
            name: name.to_owned(),
            arm,
            domains: BTreeMap::new(),
            verdicts: BTreeMap::new(),
            teachers: BTreeMap::new(),
            completion_tokens: 0,
        }
    }

    pub(super) fn count(&mut self, example: &Example) {
        let verdict = example.verdict.as_ref().map_or("not judged", Verdict::name);
        *self.domains.entry(example.question.domain).or_default() += 1;
        *self.verdicts.entry(verdict).or_default() += 1;
        *self.teachers.entry(example.trace.model.clone()).or_default() += 1;
        self.completion_tokens += example.trace.completion_tokens;
    }

    /// Writes `README.md` into `folder`.
    pub(super) fn write(
        &self,
        folder: &Path,
        format: Format,
        written: &[Written; 3],
    ) -> anyhow::Result<()> {
        let path = folder.join("README.md");
        std::fs::write(&path, self.text(format, written)?)
            .with_context(|| format!("could not write `{}`", path.display()))
    }

    fn text(&self, format: Format, written: &[Written; 3]) -> Result<String, std::fmt::Error> {
        let mut text = String::from("---\nconfigs:\n");
        for table in &TABLES {
            let extension = format.extension();
            writeln!(text, "- config_name: {}", table.config)?;
            writeln!(text, "  data_files:")?;
            writeln!(text, "  - split: train")?;
            writeln!(text, "    path: {}/train-*.{extension}", table.folder)?;
        }
        text.push_str("dataset_info:\n");
        for (table, written) in TABLES.iter().zip(written) {
            writeln!(text, "- config_name: {}", table.config)?;
            writeln!(text, "  features:")?;
            for (name, kind) in table.columns {
                feature(&mut text, name, *kind)?;
            }
            writeln!(text, "  splits:")?;
            writeln!(text, "  - name: train")?;
            writeln!(text, "    num_bytes: {}", written.raw_bytes)?;
            writeln!(text, "    num_examples: {}", written.rows)?;
            writeln!(text, "  download_size: {}", written.file_bytes)?;
            writeln!(text, "  dataset_size: {}", written.raw_bytes)?;
        }
        text.push_str("tags:\n- synthetic\n- reasoning\n---\n\n");
        self.body(&mut text, written[0].rows)?;
        Ok(text)
    }

    fn body(&self, text: &mut String, rows: u64) -> std::fmt::Result {
        let Self { name, arm, .. } = self;
        writeln!(text, "# {name}, {} arm\n", arm.name())?;
        let admitted = match arm {
            Arm::Verified => {
                "Traces whose answers were checked and found correct, and traces of domains that no \
                 rule can check; the column `verdict` of `provenance` says which is which."
            }
            Arm::Unverified => "Every trace, right or wrong, whole or cut off.",
        };
        writeln!(text, "{rows} examples. {admitted}\n")?;
        writeln!(text, "| | examples |\n|---|---|")?;
        for (domain, count) in &self.domains {
            writeln!(text, "| domain {domain} | {count} |")?;
        }
        for (verdict, count) in &self.verdicts {
            writeln!(text, "| verdict {verdict} | {count} |")?;
        }
        for (teacher, count) in &self.teachers {
            writeln!(text, "| teacher {teacher} | {count} |")?;
        }
        writeln!(text, "\nThe teachers wrote {} tokens.\n", self.completion_tokens)?;
        text.push_str(
            "`default` holds conversations in the two-part format of OpenThoughts, `metadata` the \
             parts of each row with the columns of OpenThoughts-114k (the columns named after \
             DeepSeek hold whatever teacher `provenance` names), `provenance` where each row comes \
             from. Rows stand in the same order in all three.\n",
        );
        Ok(())
    }
}

fn feature(text: &mut String, name: &str, kind: Kind) -> std::fmt::Result {
    writeln!(text, "  - name: {name}")?;
    match kind {
        Kind::Text => writeln!(text, "    dtype: string"),
        Kind::Whole => writeln!(text, "    dtype: int64"),
        Kind::Real => writeln!(text, "    dtype: float64"),
        Kind::Turns => {
            writeln!(text, "    list:")?;
            writeln!(text, "    - name: from\n      dtype: string")?;
            writeln!(text, "    - name: value\n      dtype: string")
        }
    }
}
