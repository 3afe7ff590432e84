//! The three tables of a dataset's folder, with the columns of OpenThoughts-114k.
//!
//! `default` for training, `metadata` with everything apart, `provenance` with what is ours: where a
//! row comes from and who decided what.

use std::collections::HashMap;
use std::path::Path;

use super::card::Card;
use super::conversation::conversation;
use crate::chat::Role;
use crate::formats::{Cell, Format, Kind, TableWriter, Written};
use crate::records::{Example, TraceId};

/// A table: the name of its configuration, its folder, its columns.
pub(super) struct Table {
    pub(super) config: &'static str,
    pub(super) folder: &'static str,
    pub(super) columns: &'static [(&'static str, Kind)],
}

/// The tables, in the order of the card.
pub(super) const TABLES: [Table; 3] = [
    Table {
        config: "default",
        folder: "data",
        columns: &[("system", Kind::Text), ("conversations", Kind::Turns)],
    },
    Table {
        config: "metadata",
        folder: "metadata",
        columns: &[
            ("problem", Kind::Text),
            ("deepseek_reasoning", Kind::Text),
            ("deepseek_solution", Kind::Text),
            ("ground_truth_solution", Kind::Text),
            ("domain", Kind::Text),
            ("source", Kind::Text),
            ("test_cases", Kind::Text),
            ("starter_code", Kind::Text),
        ],
    },
    Table {
        config: "provenance",
        folder: "provenance",
        columns: &[
            ("question", Kind::Text),
            ("family", Kind::Text),
            ("sample", Kind::Whole),
            ("teacher", Kind::Text),
            ("endpoint", Kind::Text),
            ("finish_reason", Kind::Text),
            ("prompt_tokens", Kind::Whole),
            ("completion_tokens", Kind::Whole),
            ("cost_usd", Kind::Real),
            ("verdict", Kind::Text),
            ("why", Kind::Text),
            ("verifier", Kind::Text),
            ("verifier_version", Kind::Whole),
        ],
    },
];

/// Who judged each trace, and in which version.
pub(super) type Verifiers = HashMap<TraceId, (String, u32)>;

/// Writes the tables of one dataset, row by row.
pub(super) struct TablesWriter {
    tables: [TableWriter; 3],
    format: Format,
    card: Card,
}

impl TablesWriter {
    /// Begins the tables in `folder`.
    pub(super) fn new(folder: &Path, format: Format, card: Card) -> anyhow::Result<Self> {
        let [a, b, c] =
            TABLES.map(|table| TableWriter::new(&folder.join(table.folder), format, table.columns));
        Ok(Self { tables: [a?, b?, c?], format, card })
    }

    /// Appends one example to each table.
    pub(super) fn push(&mut self, example: &Example, verifiers: &Verifiers) -> anyhow::Result<()> {
        self.card.count(example);
        let [default, metadata, provenance] = &mut self.tables;
        let messages = conversation(example);
        let mut system = Cell::Empty;
        let mut turns = Vec::new();
        for message in &messages {
            match message.role {
                Role::System => system = Cell::Text(&message.content),
                Role::User => turns.push(("user", message.content.as_str())),
                Role::Assistant => turns.push(("assistant", message.content.as_str())),
                Role::Tool => turns.push(("tool", message.content.as_str())),
            }
        }
        default.push(&[system, Cell::Turns(&turns)])?;
        let (question, trace) = (&example.question, &example.trace);
        let tests = question.tests.as_ref().map(serde_json::to_string).transpose()?;
        metadata.push(&[
            Cell::Text(&question.problem),
            Cell::Text(&trace.reasoning),
            Cell::Text(&trace.solution),
            Cell::text(question.reference.as_deref()),
            Cell::Text(question.domain.name()),
            Cell::Text(&question.source),
            Cell::text(tests.as_deref()),
            Cell::text(question.starter_code.as_deref()),
        ])?;
        let endpoint = endpoint(&trace.endpoint);
        let verifier = verifiers.get(&trace.id);
        provenance.push(&[
            Cell::Text(&question.key),
            Cell::Text(&question.family),
            Cell::Whole(i64::from(trace.sample)),
            Cell::Text(&trace.model),
            Cell::Text(&endpoint),
            Cell::Text(trace.finish_reason.name()),
            Cell::Whole(i64::try_from(trace.prompt_tokens)?),
            Cell::Whole(i64::try_from(trace.completion_tokens)?),
            Cell::Real(trace.cost_usd),
            Cell::text(example.verdict.as_ref().map(|verdict| verdict.name())),
            Cell::text(example.verdict.as_ref().map(|verdict| verdict.why())),
            Cell::text(verifier.map(|(name, _)| name.as_str())),
            verifier.map_or(Cell::Empty, |(_, version)| Cell::Whole(i64::from(*version))),
        ])
    }

    /// Ends the tables and writes the card beside them.
    pub(super) fn finish(self, folder: &Path) -> anyhow::Result<u64> {
        let [a, b, c] = self.tables.map(TableWriter::finish);
        let written: [Written; 3] = [a?, b?, c?];
        self.card.write(folder, self.format, &written)?;
        Ok(written[0].rows)
    }
}

/// An endpoint as it is published: a port of this machine says nothing to anybody else, and differs
/// from run to run, where the same traces shall make the same bytes.
pub(super) fn endpoint(url: &str) -> String {
    for host in ["127.0.0.1", "localhost", "[::1]"] {
        if let Some((scheme, rest)) = url.split_once(&format!("//{host}:")) {
            let rest = rest.trim_start_matches(|letter: char| letter.is_ascii_digit());
            return format!("{scheme}//{host}{rest}");
        }
    }
    url.to_owned()
}
